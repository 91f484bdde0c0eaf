//! The token source: a provider that is asked about each token, instead of a signature that is checked here.

use std::fmt;
use std::time::Duration;

use authmesh_proto::time::Unix;

use super::{BoxFuture, UpstreamError};

/// Asks **one** provider about tokens: introspection (RFC 7662), a userinfo endpoint (OpenID Connect Core 1.0 section 5.3),
/// or any provider call of your own.
///
/// A source only asks. How long an answer counts, who waits for it, whether it may be shared or served while the provider is
/// away, and whether a mark voids it, is decided by the SDK, by the same rules as for verdicts.
///
/// Cancel safety: dropping the future abandons the request and changes nothing.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// Asks about one token, once. No retries.
    ///
    /// # Errors
    /// [`UpstreamError`] when no usable answer came. It is never taken for "inactive" (invariant 9: an outage is no verdict).
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenState, UpstreamError>>;

    /// Names everything that an answer depends on beside the token: where it is asked, and as whom. Two sources with one
    /// identity share answers through L2. Holds no secret.
    fn identity(&self) -> String;
}

/// What a provider says of a token.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenState {
    /// It is valid now.
    Active(Box<ActiveToken>),
    /// It is not, or is nothing that the provider knows (RFC 7662 section 2.2: `"active": false` says no more).
    Inactive,
}

/// What a provider says of a valid token. Everything beside `claims` was read from them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ActiveToken {
    /// `iss`, where the answer names one.
    pub issuer: Option<String>,
    /// `sub`.
    pub subject: Option<String>,
    /// `aud`; a single string is a list of one. `None`: the answer names none.
    pub audiences: Option<Vec<String>>,
    /// `client_id`, else `azp`.
    pub client: Option<String>,
    /// `sid`.
    pub session: Option<String>,
    /// `jti`.
    pub jwt_id: Option<String>,
    /// `scope` split at its spaces.
    pub scopes: Vec<String>,
    /// `iat`.
    pub issued_at: Option<Unix>,
    /// `nbf`.
    pub not_before: Option<Unix>,
    /// `exp`. `None`: the provider does not say when the token ends, so that only the policy's lifetime bounds its use.
    pub expires_at: Option<Unix>,
    /// The longest that the provider lets the answer be used (`Cache-Control: max-age`), if it says so.
    pub max_age: Option<Duration>,
    /// The answer: a JSON object.
    pub claims: Vec<u8>,
}

impl fmt::Debug for TokenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active(_) => "Active(..)",
            Self::Inactive => "Inactive",
        })
    }
}

impl fmt::Debug for ActiveToken {
    /// Names the issuer and the times; no claim of the holder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveToken")
            .field("issuer", &self.issuer)
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
