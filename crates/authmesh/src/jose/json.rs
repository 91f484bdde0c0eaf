//! JSON that can be read in one way only (RFC 8259, I-JSON of RFC 7493).
//!
//! Two parsers that disagree about a repeated member are a way around every check: one judges the first `alg`, the
//! other obeys the last. RFC 7515 section 4 and RFC 7519 section 4 allow a parser to refuse such documents; this one
//! always does.

use serde_json::{Map, Value};

/// Deepest nesting of objects and arrays that is read. The outermost one counts as 1.
pub const MAX_DEPTH: usize = 32;

/// A document that is not strict JSON. Holds no text of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The bytes are not UTF-8 (RFC 8259 section 8.1).
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset of the first bad byte.
        at: usize,
    },
    /// Not JSON, more than one JSON text, or a number that no IEEE 754 double can hold.
    #[error("not JSON at line {line}, column {column}")]
    Syntax {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault in bytes, from 1; 0 if the fault is the line break itself.
        column: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels at byte {at}")]
    TooDeep {
        /// Offset of the bracket that went too deep.
        at: usize,
    },
    /// A number that no IEEE 754 double can hold. Only where a crate of the build turns on `arbitrary_precision` of
    /// serde_json; otherwise such a number is [`Syntax`](Self::Syntax).
    #[error("a number is too large for a double")]
    NumberTooLarge,
    /// An object, at whatever depth, names a member twice.
    #[error("an object names a member twice; name each member once")]
    RepeatedMember,
    /// JSON, but not an object where one is needed.
    #[error("not a JSON object")]
    NotAnObject,
}

/// Parses one JSON text.
///
/// The caller bounds the length: memory is up to some 100 times the length of `document` (many tiny objects).
///
/// # Errors
/// [`JsonError`], except [`JsonError::NotAnObject`].
pub fn parse(document: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(document).map_err(|error| JsonError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    let members = scan(text.as_bytes())?;
    let value: Value = serde_json::from_str(text).map_err(|error| JsonError::Syntax {
        line: error.line(),
        column: error.column(),
    })?;
    // serde_json keeps the last of two members of one name and forgets what hung below the first. So the tree holds as
    // many members as the text if, and only if, no name came twice. Unlike a visitor that collects names, this does
    // not depend on how features of serde_json, which any crate in the build may turn on, represent numbers.
    if count_members(&value)? != members {
        return Err(JsonError::RepeatedMember);
    }
    Ok(value)
}

/// Parses one JSON object.
///
/// # Errors
/// [`JsonError`].
pub fn parse_object(document: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match parse(document)? {
        Value::Object(object) => Ok(object),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Bounds the depth, and counts the members of all objects: in JSON, a colon outside a string stands behind a member
/// name and nowhere else. On text that is not JSON the count means nothing, but then the parser refuses it afterwards.
fn scan(text: &[u8]) -> Result<usize, JsonError> {
    let mut members = 0;
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b':' => members += 1,
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(JsonError::TooDeep { at });
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(members)
}

/// Counts the members of all objects. Recursion is bounded by [`MAX_DEPTH`], which [`scan`] has checked.
fn count_members(value: &Value) -> Result<usize, JsonError> {
    match value {
        Value::Object(object) => object
            .values()
            .try_fold(object.len(), |sum, value| Ok(sum + count_members(value)?)),
        Value::Array(array) => array.iter().try_fold(0, |sum, value| Ok(sum + count_members(value)?)),
        Value::Number(number) if !number.as_f64().is_some_and(f64::is_finite) => Err(JsonError::NumberTooLarge),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_documents_are_read_as_they_stand() {
        let text = br#" {"a":[1,-2.5e3,{"b":"x:\"y\\"}],"c":{"a":null,"\u0062":true}} "#;
        let object = parse_object(text).unwrap();
        assert_eq!(Value::Object(object), serde_json::from_slice::<Value>(text).unwrap());
        assert_eq!(parse(b"[]").unwrap(), Value::Array(Vec::new()));
    }

    #[test]
    fn a_member_named_twice_is_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"":1,"":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"[[{"x":[{"a":{},"a":{}}]}]]"#,
            r#"{"a":{"b":1,"c":2},"a":{"b":1}}"#,
            // Fewer members below the first than below the second.
            r#"{"a":{},"a":{"b":{"c":1}}}"#,
        ] {
            assert_eq!(parse(text.as_bytes()), Err(JsonError::RepeatedMember), "{text}");
        }
    }

    #[test]
    fn one_name_in_two_objects_is_no_repetition() {
        for text in [
            r#"[{"a":1},{"a":1}]"#,
            r#"{"a":{"a":{"a":1}}}"#,
            r#"{"a":"a:a","A":":"}"#,
        ] {
            assert!(parse(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn trailing_bytes_and_non_json_are_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "{}{}",
            "{} x",
            "{}\0",
            "\u{feff}{}",
            "{a:1}",
            "{'a':1}",
            r#"{"a":1,}"#,
            "[1,]",
            "nul",
            "NaN",
            "01",
            "+1",
            r#""\ud800""#,
            "\"\t\"",
            "{}//",
            r#"{"a"}"#,
            r#"{"a"::1}"#,
            r#"{"a":1"b":2}"#,
        ] {
            assert!(
                matches!(parse(text.as_bytes()), Err(JsonError::Syntax { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn numbers_that_no_double_can_hold_are_refused() {
        // Which of the two errors it is, is up to the features of serde_json.
        for text in ["1e400", "-1e400", r#"{"exp":[1e999]}"#] {
            assert!(
                matches!(
                    parse(text.as_bytes()),
                    Err(JsonError::Syntax { .. } | JsonError::NumberTooLarge)
                ),
                "{text}"
            );
        }
        assert!(parse(b"[1e308,-1e308,18446744073709551616]").is_ok());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_place() {
        assert_eq!(parse(b"{\"a\":\"\xff\"}"), Err(JsonError::NotUtf8 { at: 6 }));
        // An overlong slash, and a surrogate in UTF-8.
        assert!(matches!(parse(b"\"\xc0\xaf\""), Err(JsonError::NotUtf8 { .. })));
        assert!(matches!(parse(b"\"\xed\xa0\x80\""), Err(JsonError::NotUtf8 { .. })));
    }

    #[test]
    fn depth_is_bounded_at_32() {
        let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(parse(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep { at: MAX_DEPTH }));
        assert_eq!(parse(&vec![b'['; 1 << 20]), Err(JsonError::TooDeep { at: MAX_DEPTH }));
        assert_eq!(
            parse("{\"a\":".repeat(1 << 16).as_bytes()),
            Err(JsonError::TooDeep { at: 5 * MAX_DEPTH })
        );
        // Brackets inside a string nest nothing.
        assert!(parse(format!("\"{}\"", "[{\\\"".repeat(100)).as_bytes()).is_ok());
    }

    #[test]
    fn only_an_object_is_an_object() {
        for text in ["[]", "null", "1", "\"{}\"", "true"] {
            assert_eq!(parse_object(text.as_bytes()), Err(JsonError::NotAnObject), "{text}");
        }
    }

    /// Any JSON value of a few levels, members drawn from few names.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c:{}\\[\\]\"\\\\]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c:\"\\\\]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_serde_json_writes_is_read_back(value in value()) {
            prop_assert_eq!(parse(value.to_string().as_bytes()), Ok(value));
        }

        #[test]
        fn a_repeated_member_never_hides(value in value(), name in "[a-c:\"\\\\]{0,3}", twin in value()) {
            let name = Value::from(name).to_string();
            let text = format!("[{{{name}:{value},{name}:{twin}}}]");
            prop_assert_eq!(parse(text.as_bytes()), Err(JsonError::RepeatedMember));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        /// Only what serde_json takes too is taken, with the same meaning.
        #[test]
        fn never_laxer_than_serde_json(text in "[\\[\\]{}:,\"\\\\a1 ]{0,24}") {
            if let Ok(value) = parse(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
            }
        }
    }
}
