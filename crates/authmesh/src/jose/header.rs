//! The protected header of a JWS.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::{Algorithm, JwsError, MAX_KID_BYTES, json};

/// Longest header that is read, in bytes of JSON: room for a certificate chain, which is the longest thing in common use.
///
/// A header is parsed before anything is proven, so this bounds what a stranger can make this node allocate.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What matters of a JOSE header (RFC 7515 section 4).
///
/// Unverified until [`verify_jws`](super::verify_jws) returns it. `jwk`, `jku`, `x5u` and `x5c` may be present and are
/// not kept: a key that a token brings along proves nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    algorithm: Algorithm,
    kid: Option<Arc<str>>,
    typ: Option<Box<str>>,
    cty: Option<Box<str>>,
}

impl Header {
    /// Reads the JSON of a protected header.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, JwsError> {
        if document.len() > MAX_HEADER_BYTES {
            return Err(JwsError::Malformed("the header is longer than 16 KiB"));
        }
        let members = json::parse_object(document).map_err(|error| {
            JwsError::Malformed(match error {
                json::JsonError::RepeatedMember => "the header names a member twice",
                json::JsonError::TooDeep { .. } => "the header is nested deeper than 32 levels",
                json::JsonError::NotAnObject => "the header is not a JSON object",
                json::JsonError::NotUtf8 { .. } => "the header is not UTF-8",
                json::JsonError::Syntax { .. } | json::JsonError::NumberTooLarge => "the header is not JSON",
            })
        })?;
        let text = |name: &str, wrong: &'static str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(JwsError::Malformed(wrong)),
        };

        // Whoever sets crit says: refuse the token unless you understand. This verifier understands no extension, and
        // an empty crit is an error of its own (RFC 7515 section 4.1.11).
        if members.contains_key("crit") {
            return Err(JwsError::Unsupported(
                "the header has crit, and no extension is supported",
            ));
        }
        match members.get("b64") {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => {
                return Err(JwsError::Unsupported(
                    "the payload is not base64url (b64 is false, RFC 7797)",
                ));
            }
            Some(_) => return Err(JwsError::Malformed("b64 in the header is not a boolean")),
        }
        let algorithm = text("alg", "alg in the header is not a string")?
            .ok_or(JwsError::Malformed("the header has no alg"))?
            .parse()
            .map_err(|_| JwsError::Unsupported("alg is none, symmetric, or not supported"))?;
        let kid = text("kid", "kid in the header is not a string")?;
        if kid.is_some_and(|kid| kid.len() > MAX_KID_BYTES) {
            return Err(JwsError::Malformed("kid in the header is longer than 1024 bytes"));
        }
        Ok(Self {
            algorithm,
            kid: kid.map(Arc::from),
            typ: text("typ", "typ in the header is not a string")?.map(Box::from),
            cty: text("cty", "cty in the header is not a string")?.map(Box::from),
        })
    }

    /// `alg`.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `kid`, at most [`MAX_KID_BYTES`] long.
    #[must_use]
    pub fn kid(&self) -> Option<&Arc<str>> {
        self.kid.as_ref()
    }

    /// `typ` as it stands. To compare it, use [`typ_is`](Self::typ_is).
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// `cty` as it stands.
    #[must_use]
    pub fn cty(&self) -> Option<&str> {
        self.cty.as_deref()
    }

    /// Whether `typ` is the media type `expected`, such as `at+jwt` (RFC 9068). `false` if there is no `typ`.
    ///
    /// Case does not matter, nor does a leading `application/` on either side (RFC 7515 section 4.1.9). Media type
    /// parameters are not understood: `at+jwt;x=y` equals only itself.
    #[must_use]
    pub fn typ_is(&self, expected: &str) -> bool {
        self.typ()
            .is_some_and(|typ| short_media_type(typ).eq_ignore_ascii_case(short_media_type(expected)))
    }
}

/// Drops `application/` where RFC 7515 section 4.1.9 says that it may be left out: if no other slash follows.
fn short_media_type(media_type: &str) -> &str {
    match media_type.split_once('/') {
        Some((tree, subtype)) if tree.eq_ignore_ascii_case("application") && !subtype.contains('/') => subtype,
        _ => media_type,
    }
}

impl fmt::Debug for Header {
    /// Unverified text is not shown: only that it is there, and its length in bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("algorithm", &self.algorithm)
            .field("kid_bytes", &self.kid.as_ref().map(|kid| kid.len()))
            .field("typ_bytes", &self.typ.as_ref().map(|typ| typ.len()))
            .field("cty_bytes", &self.cty.as_ref().map(|cty| cty.len()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn malformed(document: &str) -> &'static str {
        match Header::parse(document.as_bytes()) {
            Err(JwsError::Malformed(rule)) => rule,
            other => panic!("{document}: {other:?}"),
        }
    }

    fn unsupported(document: &str) -> &'static str {
        match Header::parse(document.as_bytes()) {
            Err(JwsError::Unsupported(what)) => what,
            other => panic!("{document}: {other:?}"),
        }
    }

    #[test]
    fn the_members_that_matter_are_kept() {
        let header = Header::parse(br#"{"alg":"ES256","kid":"k","typ":"at+jwt","cty":"x"}"#).unwrap();
        assert_eq!(header.algorithm(), Algorithm::ES256);
        assert_eq!(header.kid().map(|kid| &**kid), Some("k"));
        assert_eq!((header.typ(), header.cty()), (Some("at+jwt"), Some("x")));
        let bare = Header::parse(br#"{"alg":"ES256"}"#).unwrap();
        assert_eq!((bare.kid(), bare.typ(), bare.cty()), (None, None, None));
    }

    #[test]
    fn members_of_the_wrong_type_are_malformed() {
        assert!(malformed("{}").contains("no alg"));
        for wrong in ["null", "1", "[\"ES256\"]", "{}", "true"] {
            assert!(malformed(&format!(r#"{{"alg":{wrong}}}"#)).contains("alg"));
            for member in ["kid", "typ", "cty"] {
                assert!(malformed(&format!(r#"{{"alg":"ES256","{member}":{wrong}}}"#)).contains(member));
            }
        }
    }

    #[test]
    fn none_and_symmetric_and_unknown_algorithms_are_unsupported() {
        for name in [
            "none", "None", "", "HS256", "HS384", "HS512", "ES512", "ES256K", "Ed25519", "es256",
        ] {
            assert!(unsupported(&format!(r#"{{"alg":"{name}"}}"#)).contains("alg"));
        }
    }

    #[test]
    fn any_crit_is_unsupported() {
        for crit in ["[]", "[\"exp\"]", "[\"b64\"]", "null", "\"b64\"", "{}", "false"] {
            assert!(unsupported(&format!(r#"{{"alg":"ES256","crit":{crit}}}"#)).contains("crit"));
        }
        assert!(unsupported(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#).contains("crit"));
    }

    #[test]
    fn b64_must_be_true_if_present() {
        assert!(unsupported(r#"{"alg":"ES256","b64":false}"#).contains("b64"));
        assert!(malformed(r#"{"alg":"ES256","b64":"true"}"#).contains("b64"));
        assert!(malformed(r#"{"alg":"ES256","b64":null}"#).contains("b64"));
        assert!(Header::parse(br#"{"alg":"ES256","b64":true}"#).is_ok());
    }

    #[test]
    fn key_sources_of_the_header_are_no_error() {
        let header = br#"{"alg":"ES256","jwk":{"kty":"oct","k":"AA"},"jku":"https://a","x5u":1,"x5c":["AA"]}"#;
        assert_eq!(Header::parse(header), Header::parse(br#"{"alg":"ES256"}"#));
    }

    #[test]
    fn ambiguous_json_is_malformed() {
        assert!(malformed(r#"{"alg":"none","alg":"ES256"}"#).contains("twice"));
        assert!(malformed(r#"{"alg":"ES256","jwk":{"x":1,"x":2}}"#).contains("twice"));
        assert!(malformed(r#"{"alg":"ES256"}{}"#).contains("JSON"));
        assert!(malformed(r#"["alg"]"#).contains("object"));
        assert!(
            malformed(&format!(
                r#"{{"alg":"ES256","x":{}{}}}"#,
                "[".repeat(40),
                "]".repeat(40)
            ))
            .contains("32")
        );
        assert!(matches!(
            Header::parse(b"{\"alg\":\"ES256\",\"kid\":\"\xff\"}"),
            Err(JwsError::Malformed(_))
        ));
    }

    #[test]
    fn lengths_are_bounded() {
        let with_kid = |bytes: usize| format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(bytes));
        assert!(Header::parse(with_kid(MAX_KID_BYTES).as_bytes()).is_ok());
        assert!(malformed(&with_kid(MAX_KID_BYTES + 1)).contains("1024"));
        let with_filler = |bytes: usize| format!(r#"{{"alg":"ES256","x":"{}"}}"#, "x".repeat(bytes));
        let frame = with_filler(0).len();
        assert!(Header::parse(with_filler(MAX_HEADER_BYTES - frame).as_bytes()).is_ok());
        assert!(malformed(&with_filler(MAX_HEADER_BYTES - frame + 1)).contains("16 KiB"));
    }

    #[test]
    fn typ_is_compared_as_a_media_type() {
        let header = |typ: &str| Header::parse(format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#).as_bytes()).unwrap();
        for same in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
            assert!(
                header(same).typ_is("at+jwt") && header(same).typ_is("application/at+jwt"),
                "{same}"
            );
        }
        for other in [
            "jwt",
            "",
            "at+jwt ",
            "text/at+jwt",
            "application/application/at+jwt",
            "at+jwt;x=y",
        ] {
            assert!(!header(other).typ_is("at+jwt"), "{other}");
        }
        // Only a subtype may stand alone: a name with a second slash is not short for anything.
        assert!(!header("application/a/b").typ_is("a/b") && header("a/b").typ_is("A/B"));
        assert!(!Header::parse(br#"{"alg":"ES256"}"#).unwrap().typ_is(""));
    }

    #[test]
    fn debug_shows_lengths_only() {
        let header = Header::parse(br#"{"alg":"ES256","kid":"topsecret","typ":"topsecret"}"#).unwrap();
        let shown = format!("{header:?}");
        assert!(
            !shown.contains("topsecret") && shown.contains("ES256") && shown.contains('9'),
            "{shown}"
        );
    }
}
