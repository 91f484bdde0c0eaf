//! `application/x-www-form-urlencoded`, as RFC 6749 appendix B and the URL standard write it.

use std::fmt::Write as _;

use zeroize::Zeroizing;

/// Encodes one name or value.
pub(crate) fn encode(text: &str) -> Zeroizing<String> {
    // The longest that it can become, so that no piece of a secret stays behind where a buffer grew.
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 3 + 1));
    append(&mut out, text);
    out
}

/// Encodes a whole body.
pub(crate) fn body(fields: &[(&str, &str)]) -> Zeroizing<String> {
    let longest = fields
        .iter()
        .map(|(name, value)| (name.len() + value.len()) * 3 + 2)
        .sum();
    let mut out = Zeroizing::new(String::with_capacity(longest));
    for (name, value) in fields {
        if !out.is_empty() {
            out.push('&');
        }
        append(&mut out, name);
        out.push('=');
        append(&mut out, value);
    }
    out
}

fn append(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'*' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_example_of_rfc_6749_is_reproduced() {
        assert_eq!(&**encode(" %&+\u{a3}\u{20ac}"), "+%25%26%2B%C2%A3%E2%82%AC");
        assert_eq!(&**body(&[("a", "b&c=d"), ("e", "*-._")]), "a=b%26c%3Dd&e=*-._");
        assert_eq!(&**body(&[]), "");
    }

    #[test]
    fn what_the_url_standard_reads_is_what_was_written() {
        let all: String = (0..=255_u8).map(char::from).collect();
        let url = reqwest::Url::parse(&format!("https://x/?{}", &**body(&[(&all, &all), ("n", "")]))).unwrap();
        let read: Vec<_> = url
            .query_pairs()
            .map(|(n, v)| (n.into_owned(), v.into_owned()))
            .collect();
        assert_eq!(read, [(all.clone(), all), ("n".to_owned(), String::new())]);
    }
}
