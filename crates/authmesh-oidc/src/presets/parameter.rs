//! What a parameter may be: a closed list of kinds, so that no value can break out of its place in a URL.

use std::fmt;

use serde::Deserialize;

use crate::endpoint::{Endpoint, UrlPolicy};

/// Longest value, in bytes: that of a URL.
const MAX_BYTES: usize = 2_048;

/// The pattern of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A host name of at least two labels, in lower case.
    Host,
    /// A host name, maybe with a port and a path: `sso.example.com:8443/auth`.
    Place,
    /// One label of a host name.
    Label,
    /// One piece of a path: letters, digits, `.`, `_`, `~`, `-`.
    Segment,
    /// Letters, digits, `_`, `-`.
    Word,
    /// A UUID in lower case.
    Uuid,
    /// A whole issuer: an `https` URL without a query.
    Issuer,
}

impl Kind {
    pub(super) fn accepts(self, value: &str) -> bool {
        if value.is_empty() || value.len() > MAX_BYTES {
            return false;
        }
        match self {
            Self::Host => is_host(value),
            Self::Place => is_place(value),
            Self::Label => is_label(value),
            Self::Segment => is_segment(value),
            Self::Word => value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')),
            Self::Uuid => is_uuid(value),
            // Whether http is allowed is up to the client that asks.
            Self::Issuer => Endpoint::parse_issuer(
                value,
                UrlPolicy {
                    allow_http: true,
                    public_only: false,
                },
            )
            .is_ok(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "a host name in lower case, without https:// and without a slash",
            Self::Place => {
                "a host name in lower case, maybe with a port and a path, without https:// and without a slash at its end"
            }
            Self::Label => "lower case letters, digits and hyphens",
            Self::Segment => "letters, digits, dots, hyphens, underscores and tildes",
            Self::Word => "letters, digits, hyphens and underscores",
            Self::Uuid => "a UUID in lower case",
            Self::Issuer => "a URL without a query and a fragment",
        })
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A name, never an address: the last label of an address is a number.
fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(is_label)
        && text
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.starts_with(|c: char| c.is_ascii_digit()))
}

fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-'))
}

fn is_place(text: &str) -> bool {
    let (authority, path) = match text.split_once('/') {
        Some((authority, path)) => (authority, Some(path)),
        None => (text, None),
    };
    let host_is_good = match authority.split_once(':') {
        // 443 is never written: https://x:443 and https://x are two issuers by their bytes.
        Some((host, port)) => {
            is_host(host)
                && !port.starts_with('0')
                && port != "443"
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && port.parse::<u16>().is_ok()
        }
        None => is_host(authority),
    };
    host_is_good && path.is_none_or(|path| path.split('/').all(is_segment))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn no_value_breaks_out_of_its_place() {
        for (kind, good, bad) in [
            (
                Kind::Host,
                &["acme.eu.auth0.com", "a.b", "xn--bcher-kva.example"][..],
                &[
                    "acme",
                    "Acme.com",
                    "a..b",
                    "a.b.",
                    "-a.b",
                    "a.b/c",
                    "a.b:1",
                    "user@a.b",
                    "https://a.b",
                    "1.2.3.4",
                    "a.b?c",
                ][..],
            ),
            (
                Kind::Place,
                &[
                    "sso.example.com",
                    "sso.example.com:8443",
                    "sso.example.com/auth",
                    "sso.example.com:8443/a/b",
                ],
                &[
                    "sso.example.com/",
                    "sso.example.com:443",
                    "sso.example.com:99999",
                    "sso.example.com:",
                    "a.b/../c",
                    "a.b//c",
                    "a.b/c?d",
                ],
            ),
            (Kind::Label, &["eu-central-1"], &["eu.central", "-a", "a-", "A", "a_b"]),
            (
                Kind::Segment,
                &["default", "a.b_c~d-E"],
                &[".", "..", "a/b", "a%2fb", "a b", "a#", "a?"],
            ),
            (Kind::Word, &["eu-central-1_AbC"], &["a.b", "a/b"]),
            (
                Kind::Uuid,
                &["8eaef023-2b34-4da1-9baa-8bc8c9d6a490"],
                &[
                    "common",
                    "8EAEF023-2b34-4da1-9baa-8bc8c9d6a490",
                    "8eaef023-2b34-4da1-9baa-8bc8c9d6a49",
                    "{tenant}",
                ],
            ),
            (
                Kind::Issuer,
                &["https://login.example.com", "https://login.example.com/tenant/"],
                &[
                    "login.example.com",
                    "https://a@b",
                    "https://a?b",
                    "https://a#b",
                    "ftp://a",
                ],
            ),
        ] {
            for value in good {
                assert!(kind.accepts(value), "{kind:?} {value}");
            }
            for value in bad.iter().chain(&["", "\n", "a\u{0}"]) {
                assert!(!kind.accepts(value), "{kind:?} {value}");
            }
        }
    }
}
