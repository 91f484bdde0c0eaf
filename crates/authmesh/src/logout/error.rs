//! Why a logout was refused.

use std::time::Duration;

use crate::error::{Fault, RevokeError, VerifyError};

/// Why a logout token did nothing. Nothing was voided.
///
/// [`LogoutError::fault`] says whose fault it is. Nothing here holds the token or a claim's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogoutError {
    /// What every token must be, it is not; or its issuer's keys could not be asked for.
    #[error(transparent)]
    Token(#[from] VerifyError),
    /// `events` is no object with the member `http://schemas.openid.net/event/backchannel-logout`, or that is no object: it
    /// may be any other token of the issuer.
    #[error("its events do not name a back-channel logout")]
    NoLogoutEvent,
    /// It has a `nonce`: an ID token in disguise.
    #[error("it has a nonce, which a logout token must not have")]
    HasNonce,
    /// Neither `sid` nor `sub`.
    #[error("it names neither a session (sid) nor a subject (sub)")]
    NobodyNamed,
    /// The mark was not accepted: the table is full, too many statements wait, or the node is shutting down.
    #[error("the mark was not accepted: {0}")]
    Mark(#[from] RevokeError),
}

impl LogoutError {
    /// Whose fault it is: of the token (HTTP 400), or of nobody whom the issuer knows (HTTP 503; the issuer may ask again).
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Token(error) => error.fault(),
            Self::NoLogoutEvent | Self::HasNonce | Self::NobodyNamed => Fault::Token,
            Self::Mark(_) => Fault::Service,
        }
    }

    /// A stable word for it, in metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::NoLogoutEvent => "no_logout_event",
            Self::HasNonce => "has_nonce",
            Self::NobodyNamed => "nobody_named",
            Self::Mark(_) => "mark_not_accepted",
        }
    }

    /// When asking again makes sense, for errors that are no verdict.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Token(error) => error.retry_after(),
            Self::Mark(_) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}
