//! Failed requests, in words that an operator can act on.

use std::error::Error;
use std::time::Duration;

use authmesh::ports::{UpstreamError, UpstreamFault};
use reqwest::StatusCode;

use crate::address::Refused;
use crate::endpoint::Endpoint;

/// Longest piece of foreign text in a message, in characters.
const MAX_QUOTED: usize = 160;

/// A request that brought no usable answer, with the status that came, if one came.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: UpstreamError,
    pub(crate) status: Option<StatusCode>,
    /// The error code that came: of a `Bearer` challenge (RFC 6750 section 3), else of the body (RFC 6749 section 5.2).
    pub(crate) code: Option<String>,
}

impl Failure {
    /// The upstream answered, but not as it should.
    pub(crate) fn answer(status: StatusCode, what: String) -> Self {
        Self {
            error: UpstreamError::new(UpstreamFault::Answer, what),
            status: Some(status),
            code: None,
        }
    }

    pub(crate) fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.error.retry_after = wait;
        self
    }

    /// Whether the answer says that the document is not at this address (any more). 429 says only that we ask too often.
    pub(crate) fn address_is_wrong(&self) -> bool {
        self.status
            .is_some_and(|status| status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS)
    }

    /// Whether the upstream gave one of these error codes.
    pub(crate) fn says(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// Whether there is no such endpoint (any more). What it says of credentials, or of a token, is no word about its address.
    pub(crate) fn endpoint_is_gone(&self) -> bool {
        matches!(
            self.status,
            Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE)
        )
    }

    /// No answer, or not a whole one.
    pub(crate) fn transport(error: &reqwest::Error, endpoint: &Endpoint, limits: Limits) -> Self {
        let (fault, what) = if let Some(refused) = refused_address(error) {
            (
                UpstreamFault::Configuration,
                format!("{endpoint} is not asked: {refused}"),
            )
        } else if error.is_timeout() {
            let what = if error.is_connect() {
                format!("no connection to {endpoint} within {:?}", limits.connect)
            } else {
                format!(
                    "{endpoint} gave no complete answer within {:?}, the limit for a whole request",
                    limits.request
                )
            };
            (UpstreamFault::Timeout, what)
        } else if error.is_builder() {
            let what = format!("no request to {endpoint} could be made: {}", cause(error));
            (UpstreamFault::Configuration, what)
        } else if error.is_connect() {
            let what = format!(
                "no connection to {endpoint}: {}. Check the address, the network, the proxy settings, and that its certificate comes from a known authority",
                cause(error)
            );
            (UpstreamFault::Unreachable, what)
        } else {
            let what = format!(
                "the connection to {endpoint} broke before the answer was complete: {}",
                cause(error)
            );
            (UpstreamFault::Unreachable, what)
        };
        Self {
            error: UpstreamError::new(fault, what),
            status: None,
            code: None,
        }
    }
}

impl From<UpstreamError> for Failure {
    /// A failure that no status came with.
    fn from(error: UpstreamError) -> Self {
        Self {
            error,
            status: None,
            code: None,
        }
    }
}

/// The timeouts that a message names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) request: Duration,
}

/// The word of [`PublicOnly`](crate::address::PublicOnly), if it was that which refused.
fn refused_address(error: &reqwest::Error) -> Option<&Refused> {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(refused) = error.downcast_ref() {
            return Some(refused);
        }
        next = error.source();
    }
    None
}

/// The innermost cause. The outer ones only say that something failed, and `reqwest` puts the whole URL there.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: Option<&(dyn Error + 'static)> = error.source();
    while let Some(next) = innermost.and_then(Error::source) {
        innermost = Some(next);
    }
    match innermost {
        Some(inner) if !inner.is::<reqwest::Error>() => plain(&inner.to_string()),
        _ => "no further cause is known".to_owned(),
    }
}

/// Foreign text on one line, cut to a bounded length.
fn plain(text: &str) -> String {
    text.chars()
        .take(MAX_QUOTED)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Foreign text in quotes, escaped and cut to a bounded length.
pub(crate) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(MAX_QUOTED).collect();
    let more = if cut.len() < text.len() { " (cut)" } else { "" };
    format!("{cut:?}{more}")
}

/// A URL that another party wrote, in quotes. One that may hold a credential is not shown.
pub(crate) fn quoted_url(text: &str) -> String {
    if text.contains(['@', '?', '#']) {
        return "another value (not shown: it holds an @, ? or #)".to_owned();
    }
    quoted(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn foreign_text_stays_on_one_bounded_line() {
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
        assert!(quoted(&"x".repeat(10_000)).len() < MAX_QUOTED + 20);
        assert_eq!(plain("a\r\nb"), "a  b");
        assert!(plain(&"x".repeat(10_000)).len() <= MAX_QUOTED);
        assert!(!quoted_url("https://user:secret@x").contains("secret"));
        assert!(!quoted_url("https://x?secret").contains("secret"));
    }

    #[test]
    fn a_refused_credential_is_no_word_about_the_address() {
        let of = |code| Failure::answer(StatusCode::from_u16(code).unwrap(), String::new()).endpoint_is_gone();
        assert!(of(404) && of(405) && of(410));
        assert!(!of(400) && !of(401) && !of(403) && !of(429) && !of(500));
    }

    #[test]
    fn only_a_wrong_address_asks_for_rediscovery() {
        let of = |code| Failure::answer(StatusCode::from_u16(code).unwrap(), String::new()).address_is_wrong();
        assert!(of(404) && of(410) && of(403));
        assert!(!of(429) && !of(500) && !of(503) && !of(302) && !of(200));
    }
}
