//! The key source: where an issuer's public keys come from.

use std::fmt;
use std::time::Duration;

use super::BoxFuture;

/// Fetches the JSON Web Key Set (RFC 7517 section 5) of **one** issuer.
///
/// A source only fetches. When to fetch, how long to trust what came, and who waits for it is decided by the key machine.
///
/// Cancel safety: dropping the future abandons the request and changes nothing.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// Fetches the key set once. No retries: the key machine counts attempts.
    ///
    /// # Errors
    /// [`UpstreamError`] when no usable answer came; nothing has changed in that case.
    fn fetch(&self, request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>>;
}

/// What the key machine asks of a [`KeySource`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFetch {
    /// Send `Cache-Control: no-cache`, so that a stale edge cache cannot answer. Set when a `kid` is unknown.
    pub no_cache: bool,
    /// The entity tag of the set that the caller holds, for `If-None-Match`. `None` asks for the whole document.
    pub etag: Option<String>,
}

/// A key set document as it came, not yet parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The document, or the word that it has not changed.
    pub body: FetchedBody,
    /// Entity tag of the document, to be sent back in [`KeyFetch::etag`].
    pub etag: Option<String>,
    /// `max-age` of `Cache-Control`, as the upstream sent it. The key machine clamps it.
    pub max_age: Option<Duration>,
    /// The upstream's `Date` header in seconds since the Unix epoch (UTC): the issuer's own clock.
    pub date: Option<u64>,
}

/// The body of a [`Fetched`] answer.
#[derive(Clone, PartialEq, Eq)]
pub enum FetchedBody {
    /// The bytes of a JWK set document, at most as long as the source's body limit.
    Document(Vec<u8>),
    /// HTTP 304: the document behind [`KeyFetch::etag`] is still the current one.
    NotModified,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched")
            .field("body", &self.body)
            .field("etag", &self.etag)
            .field("max_age", &self.max_age)
            .field("date", &self.date)
            .finish()
    }
}

impl fmt::Debug for FetchedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(bytes) => write!(f, "Document({} bytes)", bytes.len()),
            Self::NotModified => f.write_str("NotModified"),
        }
    }
}

/// Whose fault a failed upstream call was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpstreamFault {
    /// No connection, connection lost, name not resolved, TLS refused.
    Unreachable,
    /// A deadline ran out (connect, or the whole call).
    Timeout,
    /// The upstream answered, but not with what the standard asks: status, redirect, content, size, another issuer.
    Answer,
    /// Something here must be changed: a URL that policy forbids, or credentials that the upstream refuses. Asking again
    /// brings nothing.
    Configuration,
}

impl UpstreamFault {
    /// A stable word for it, in metrics and traces.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Answer => "answer",
            Self::Configuration => "configuration",
        }
    }
}

/// An upstream (the identity provider) gave no usable answer. Never a verdict about a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct UpstreamError {
    /// Whose fault it was.
    pub fault: UpstreamFault,
    /// What happened, in words an operator can act on. Holds no secret and no token.
    pub what: String,
    /// How long the upstream asked to be left alone (`Retry-After`), if it did.
    pub retry_after: Option<Duration>,
}

impl UpstreamError {
    /// An error with a fault and a sentence.
    #[must_use]
    pub fn new(fault: UpstreamFault, what: impl Into<String>) -> Self {
        Self {
            fault,
            what: what.into(),
            retry_after: None,
        }
    }
}
