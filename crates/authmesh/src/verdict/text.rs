//! The text of a verdict: the claims as they were written, and where in them the holder, the audiences and the scopes stand.
//!
//! ```text
//! one string:  claims | text that does not stand in the claims as it reads | table
//! table:       subject client session jwt_id, each 0 or (start + 1, length)
//!              audiences, scopes: count, then (start, length) each
//! number:      6 bits a byte, the least first; bit 6: more follow. So the table is ASCII, and the whole is text.
//! ```

/// Searches in vain that packing pays for. What comes after is written once more: a token cannot make packing slow.
const MOST_IN_VAIN: u32 = 32;

/// Texts of a token that may be there or not, in the order of the table.
pub(super) enum Name {
    Subject,
    Client,
    Session,
    JwtId,
}

/// How many there are.
const NAMES: usize = 4;

/// Lists of texts, in the order of the table.
pub(super) enum List {
    Audiences,
    Scopes,
}

/// The claims and what was read from them, in one allocation.
pub(super) struct Text {
    all: Box<str>,
    /// Where the claims end.
    claims: u32,
    /// Where the table begins.
    table: u32,
}

impl Text {
    /// `None` for claims that are no text, or longer than any token.
    pub(super) fn pack(claims: &[u8], names: [Option<&str>; NAMES], lists: [&[Box<str>]; 2]) -> Option<Self> {
        let mut packer = Packer::new(std::str::from_utf8(claims).ok()?);
        for name in names {
            match name {
                None => packer.number(0),
                Some(text) => packer.text(text, 1),
            }
        }
        for list in lists {
            packer.number(list.len());
            for text in list {
                packer.text(text, 0);
            }
        }
        let table = packer.all.len();
        packer.all.push_str(&packer.table);
        // Every number in the table is at most this.
        u32::try_from(packer.all.len()).ok()?;
        Some(Self {
            all: packer.all.into_boxed_str(),
            claims: claims.len() as u32,
            table: table as u32,
        })
    }

    /// The claims as they were written.
    pub(super) fn claims(&self) -> &[u8] {
        self.all.as_bytes().get(..self.claims as usize).unwrap_or_default()
    }

    /// A text, if the token has it.
    pub(super) fn name(&self, name: Name) -> Option<&str> {
        let mut numbers = self.numbers();
        for _ in 0..name as usize {
            if numbers.number() > 0 {
                numbers.number();
            }
        }
        let start = numbers.number().checked_sub(1)?;
        Some(self.slice(start, numbers.number()))
    }

    /// The texts of a list.
    pub(super) fn list(&self, list: List) -> Texts<'_> {
        let mut numbers = self.numbers();
        for _ in 0..NAMES {
            if numbers.number() > 0 {
                numbers.number();
            }
        }
        for _ in 0..list as usize {
            for _ in 0..2 * numbers.number() {
                numbers.number();
            }
        }
        let left = numbers.number();
        Texts {
            text: self,
            numbers,
            left,
        }
    }

    /// What it takes in memory besides itself.
    pub(super) fn bytes(&self) -> usize {
        self.all.len()
    }

    fn numbers(&self) -> Numbers<'_> {
        Numbers(self.all.as_bytes().get(self.table as usize..).unwrap_or_default())
    }

    fn slice(&self, start: usize, length: usize) -> &str {
        self.all.get(start..start + length).unwrap_or_default()
    }
}

/// Reads a table.
#[derive(Clone)]
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    #[inline]
    fn number(&mut self) -> usize {
        let (mut number, mut shift) = (0, 0);
        while let Some((byte, rest)) = self.0.split_first() {
            self.0 = rest;
            number |= usize::from(byte & 0x3f) << shift;
            if byte & 0x40 == 0 {
                break;
            }
            shift += 6;
        }
        number
    }
}

/// The texts of a list, one after the other.
pub(super) struct Texts<'a> {
    text: &'a Text,
    numbers: Numbers<'a>,
    left: usize,
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let start = self.numbers.number();
        Some(self.text.slice(start, self.numbers.number()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Texts<'_> {}

/// Writes the claims, what does not stand in them, and a table.
struct Packer {
    all: String,
    table: String,
    /// Behind the last text that was found: lists stand in the claims in their order, so the next one is looked for from here.
    behind: usize,
    in_vain: u32,
}

impl Packer {
    fn new(claims: &str) -> Self {
        Self {
            all: claims.to_owned(),
            table: String::new(),
            behind: 0,
            in_vain: 0,
        }
    }

    fn number(&mut self, mut number: usize) {
        while number >= 0x40 {
            self.table.push(char::from(0x40 | (number & 0x3f) as u8));
            number >>= 6;
        }
        self.table.push(char::from(number as u8));
    }

    /// Notes where a text stands. Wherever the same characters stand is as good as where the claim is.
    fn text(&mut self, text: &str, add: usize) {
        let start = self.find(text).unwrap_or_else(|| {
            self.all.push_str(text);
            self.all.len() - text.len()
        });
        self.number(start + add);
        self.number(text.len());
    }

    fn find(&mut self, text: &str) -> Option<usize> {
        for from in [self.behind, 0] {
            if self.in_vain == MOST_IN_VAIN {
                return None;
            }
            if let Some(at) = self.all.get(from..)?.find(text) {
                self.behind = from + at + text.len();
                return Some(from + at);
            }
            self.in_vain += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written() -> impl Strategy<Value = String> {
        // Escapes, other scripts, the empty text, and text that holds other text.
        prop_oneof!["[ab\"\\\\/\u{e9}\u{1f511}\n\u{0} ]{0,6}", "[a-c]{0,3}", any::<String>()]
    }

    fn boxed(texts: &[String]) -> Vec<Box<str>> {
        texts.iter().map(|text| text.as_str().into()).collect()
    }

    /// JSON in another way to write it: every character escaped that may be.
    fn escaped(json: &str) -> String {
        let escape = |c: char| match c {
            'a'..='c' => format!("\\u{:04x}", c as u32),
            c => c.to_string(),
        };
        json.chars().map(escape).collect()
    }

    proptest! {
        #[test]
        fn packed_text_reads_as_the_claims_do(
            names in [option::of(written()), option::of(written()), option::of(written()), option::of(written())],
            audiences in vec(written(), 0..5),
            scopes in vec(written(), 0..100),
            other in written(),
            before in prop_oneof![0..100_usize, 4_000..10_000_usize],
            is_escaped: bool,
        ) {
            let values: Vec<Value> = names.iter().map(|name| json!(name)).collect();
            let json = json!([values, format!("{}{other}", "z".repeat(before)), audiences, scopes]).to_string();
            let json = if is_escaped { escaped(&json) } else { json };
            let as_read: (Vec<Option<String>>, String, Vec<String>, Vec<String>) = serde_json::from_str(&json).unwrap();
            let texts = [0, 1, 2, 3].map(|n| as_read.0[n].as_deref());
            let text = Text::pack(json.as_bytes(), texts, [&boxed(&as_read.2), &boxed(&as_read.3)]).unwrap();

            prop_assert_eq!(text.claims(), json.as_bytes());
            let read = [Name::Subject, Name::Client, Name::Session, Name::JwtId].map(|name| text.name(name).map(str::to_owned));
            prop_assert_eq!(read, names);
            for (list, expected) in [(List::Audiences, audiences), (List::Scopes, scopes)] {
                let read = text.list(list);
                prop_assert_eq!(read.len(), expected.len());
                prop_assert_eq!(read.collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn text_that_stands_in_the_claims_is_not_written_again() {
        let claims = br#"{"sub":"alice","aud":["orders","billing"],"scope":"orders:read orders:write"}"#;
        let lists = [
            boxed(&["orders".into(), "billing".into()]),
            boxed(&["orders:read".into(), "orders:write".into()]),
        ];
        let text = Text::pack(claims, [Some("alice"), None, None, None], [&lists[0], &lists[1]]).unwrap();
        assert_eq!(text.table as usize, claims.len());
        // Two numbers a text, one or two bytes a number; one for each that is missing, and for each count.
        assert!(
            text.bytes() - claims.len() <= 5 * 3 + 3 + 2,
            "{}",
            text.bytes() - claims.len()
        );
    }

    #[test]
    fn a_token_cannot_make_packing_slow() {
        // Found nowhere, each of them: only the first are looked for.
        let scopes: Vec<Box<str>> = (0..5_000).map(|n| format!("\n{n}").into()).collect();
        let claims = json!({ "scp": scopes }).to_string();
        let mut packer = Packer::new(&claims);
        for scope in &scopes {
            packer.text(scope, 0);
        }
        assert_eq!(packer.in_vain, MOST_IN_VAIN);
    }

    #[test]
    fn claims_that_are_no_text_are_not_packed() {
        assert!(Text::pack(b"\xff", [None; 4], [&[], &[]]).is_none());
    }
}
