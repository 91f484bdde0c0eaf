//! URIs of requests, such that two that are the same compare equal (RFC 9449 section 4.3: syntax-based and scheme-based
//! normalization, RFC 3986 sections 6.2.2 and 6.2.3), without query and fragment.
//!
//! What could be read in two ways is none: user information, an encoded host, a broken percent-encoding, anything that is no
//! ASCII.

use super::presentation::{Parts, RequestUri};

/// Longest URI that is read, in bytes, without its query: what servers take as a request line.
const MAX_BYTES: usize = 8 * 1024;

impl RequestUri<'_> {
    /// Whether both are the same after normalization. What is no `http` or `https` URI is the same as nothing.
    #[must_use]
    pub fn is_same(&self, other: RequestUri<'_>) -> bool {
        self.normal().is_some_and(|normal| other.normal() == Some(normal))
    }

    /// The normal form; `None` if it is no `http` or `https` URI.
    pub(super) fn normal(&self) -> Option<String> {
        match self.0 {
            Parts::Whole(uri) => normal(uri),
            Parts::Split {
                scheme,
                authority,
                prefix,
                path,
            } if !authority.contains(['/', '?', '#']) && !prefix.contains(['?', '#']) => {
                match prefix.trim_end_matches('/') {
                    "" => assemble(scheme, authority, path),
                    prefix if path.starts_with('/') => assemble(scheme, authority, &format!("{prefix}{path}")),
                    _ => None,
                }
            }
            Parts::Split { .. } => None,
        }
    }
}

/// The normal form of an absolute URI.
pub(super) fn normal(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_at);
    assemble(scheme, authority, path)
}

fn assemble(scheme: &str, authority: &str, path: &str) -> Option<String> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    if authority.len() + path.len() > MAX_BYTES {
        return None;
    }
    let (scheme, default_port) = match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => ("https", 443),
        _ if scheme.eq_ignore_ascii_case("http") => ("http", 80),
        _ => return None,
    };
    let (host, port) = host_and_port(authority)?;
    let mut normal = format!("{scheme}://{}", host.to_ascii_lowercase());
    if let Some(port) = port.filter(|port| *port != default_port) {
        normal.push_str(&format!(":{port}"));
    }
    if !path.is_empty() && !path.starts_with('/') {
        return None;
    }
    remove_dot_segments(&normal_escapes(path)?, &mut normal);
    Some(normal)
}

/// An empty port is none (RFC 3986 section 6.2.3).
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_ends = match authority.strip_prefix('[') {
        Some(literal) => literal.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_ends);
    let bytes_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) => !literal.is_empty() && literal.bytes().all(|byte| byte == b':' || bytes_of_host(byte)),
        None => !host.is_empty() && host.bytes().all(bytes_of_host),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    is_host.then_some((host, port))
}

/// Escapes in upper case, and none of what needs none (RFC 3986 sections 6.2.2.1 and 6.2.2.2).
fn normal_escapes(path: &str) -> Option<String> {
    let mut normal = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !byte.is_ascii_graphic() {
                return None;
            }
            normal.push(byte.into());
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        let escaped = u8::try_from(high * 16 + low).ok()?;
        if escaped.is_ascii_alphanumeric() || b"-._~".contains(&escaped) {
            normal.push(escaped.into());
        } else {
            normal.push_str(&format!("%{escaped:02X}"));
        }
    }
    Some(normal)
}

/// RFC 3986 section 5.2.4, of a path that is empty or begins with a slash.
fn remove_dot_segments(path: &str, onto: &mut String) {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    if kept.is_empty() {
        onto.push('/');
    }
    for segment in kept {
        onto.push('/');
        onto.push_str(segment);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_uri_are_the_same() {
        for spelling in [
            "https://api.example.com/a/b",
            "HTTPS://API.example.COM:443/a/b",
            "https://api.example.com:/a/b?query#fragment",
            "https://api.example.com:0443/a/./b",
            "https://api.example.com/x/../a/%62",
            "https://api.example.com/%61/%2e/b#x?y",
        ] {
            assert_eq!(
                normal(spelling).as_deref(),
                Some("https://api.example.com/a/b"),
                "{spelling}"
            );
        }
        assert_eq!(normal("http://h:80").as_deref(), Some("http://h/"));
        assert_eq!(normal("http://h?q").as_deref(), Some("http://h/"));
        assert_eq!(
            normal("http://[2001:DB8::1]:8080/").as_deref(),
            Some("http://[2001:db8::1]:8080/")
        );
        assert_eq!(
            normal("https://h/a%2fb%c3%bc").as_deref(),
            Some("https://h/a%2Fb%C3%BC")
        );
        for (path, is) in [
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/../a", "/a"),
            ("//a//", "//a//"),
        ] {
            assert_eq!(
                normal(&format!("https://h{path}")),
                Some(format!("https://h{is}")),
                "{path}"
            );
        }
        let parts = |scheme, authority, path| RequestUri::from_parts(scheme, authority, path).normal();
        assert_eq!(parts("https", "H:443", "/a?b").as_deref(), Some("https://h/a"));
        assert_eq!(parts("https", "h", "").as_deref(), Some("https://h/"));
        let below = |prefix, path| RequestUri::from_parts("https", "h", path).below(prefix).normal();
        for prefix in ["/v1", "/v1/"] {
            assert_eq!(below(prefix, "/a").as_deref(), Some("https://h/v1/a"));
        }
        assert_eq!(below("/", "/a").as_deref(), Some("https://h/a"));
        for (prefix, path) in [("v1", "/a"), ("/v1?", "/a"), ("/v1", "a")] {
            assert_eq!(below(prefix, path), None, "{prefix} {path}");
        }
    }

    #[test]
    fn different_uris_stay_different() {
        let all = [
            "https://h/a",
            "http://h/a",
            "https://h:8443/a",
            "https://h/A",
            "https://h/a/",
            "https://h//a",
            "https://h./a",
            "https://h/a%2F",
            "https://h2/a",
        ];
        let normals: std::collections::BTreeSet<_> = all.iter().map(|uri| normal(uri).unwrap()).collect();
        assert_eq!(normals.len(), all.len());
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_uri() {
        for bad in [
            "",
            "/a",
            "h/a",
            "ftp://h/a",
            "https:/h/a",
            "https:///a",
            "https://",
            "https://user@h/a",
            "https://h%41/a",
            "https://h:x/a",
            "https://h:65536/a",
            "https://h:1:2/a",
            "https://[::1/a",
            "https://[::1]x/a",
            "https://[]/a",
            "https://h\\a",
            "https://h/a b",
            "https://h/\u{fc}",
            "https://h\u{fc}/",
            "https://h/%",
            "https://h/%4",
            "https://h/%zz",
            " https://h/a",
            "https://h/a\n",
        ] {
            assert_eq!(normal(bad), None, "{bad:?}");
        }
        for (authority, path) in [
            ("h/x", "/a"),
            ("h?x", "/a"),
            ("h#", "/a"),
            ("h", "a"),
            ("h", "*"),
            ("", "/a"),
        ] {
            assert_eq!(
                RequestUri::from_parts("https", authority, path).normal(),
                None,
                "{authority} {path}"
            );
        }
        assert_eq!(normal(&format!("https://h/{}", "a".repeat(MAX_BYTES))), None);
        assert!(normal(&format!("https://h/a?{}", "a".repeat(MAX_BYTES))).is_some());
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own(uri in "https?://[a-zA-Z.:0-9\\[\\]]{0,12}[a-z/.%0-9A-F?#]{0,24}") {
            if let Some(once) = normal(&uri) {
                prop_assert_eq!(normal(&once), Some(once));
            }
        }

        #[test]
        fn arbitrary_text_never_panics(uri in ".{0,40}") {
            let _ = normal(&uri);
        }
    }
}
