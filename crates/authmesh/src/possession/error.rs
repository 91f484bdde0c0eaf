//! Why a proof is none.

use std::time::Duration;

/// What is wrong with a DPoP proof (RFC 9449 section 4.3). Holds no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no `DPoP` header.
    #[error("there is none; send one in the DPoP header")]
    Missing,
    /// There is more than one.
    #[error("there is more than one DPoP header")]
    Several,
    /// It is too long.
    #[error("it is longer than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It is no JWT.
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
    /// Its `alg` is not accepted, or it has an extension that is not supported.
    #[error("it is not supported: {0}")]
    Unsupported(&'static str),
    /// Its `typ` is not `dpop+jwt`.
    #[error("its typ is not dpop+jwt")]
    WrongType,
    /// `jwk` of its header is missing, or is no public key that could have signed it.
    #[error("jwk in its header is no public key for its alg: {0}")]
    BadKey(&'static str),
    /// `jwk` of its header holds a private key. Whoever sent that should make a new one.
    #[error("jwk in its header holds a private key; make a new one, and send its public half only")]
    PrivateKey,
    /// Its key is not the one that the token is bound to.
    #[error("its key is not the one that the token is bound to")]
    WrongKey,
    /// The signature does not match.
    #[error("its signature does not match")]
    BadSignature,
    /// A claim is missing.
    #[error("its claim {0} is missing")]
    MissingClaim(&'static str),
    /// A claim has the wrong type or an impossible value.
    #[error("its claim {0} is not what RFC 9449 asks for")]
    InvalidClaim(&'static str),
    /// It was made for another method (`htm`).
    #[error("it was made for another method (htm)")]
    WrongMethod,
    /// It was made for another URI (`htu`).
    #[error("it was made for another URI (htu)")]
    WrongUri,
    /// It was made for another token (`ath`).
    #[error("it was made for another token (ath)")]
    WrongToken,
    /// Whoever took the request did not tell its method and URI.
    #[error("which URI the client asked for is not known here: tell the service its origin, or let the proxy tell")]
    UnknownRequest,
    /// It is older than the window.
    #[error("it is too old: it was made {ago:?} ago")]
    TooOld {
        /// When it was made.
        ago: Duration,
    },
    /// Its `iat` lies ahead.
    #[error("its iat lies {ahead:?} ahead")]
    Early {
        /// How far.
        ahead: Duration,
    },
    /// It was used before, or nobody can tell any more that it was not.
    #[error("it was used before; make one for each request")]
    Replayed,
}
