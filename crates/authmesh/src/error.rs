//! Errors: whose fault it was, and what happened to state. One enum per operation.

use std::time::Duration;

use authmesh_proto::crypto::ScopeKind;

use crate::jose::JwsError;
use crate::ports::PortError;
use crate::possession::ProofError;

/// Why there is no verdict for a token.
///
/// [`VerifyError::fault`] says whose fault it is. Nothing here holds the token, a claim's value, or key material.
/// Nothing was cached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The token is longer than the policy allows.
    #[error("the token has {bytes} bytes; at most {limit} are accepted")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not a JWT: its parts, their encoding, or their JSON are not what RFC 7515 and RFC 7519 ask.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// A JWS that this verifier does not support, or that the policy does not allow: `alg`, `crit`, `b64`.
    #[error("the token is not supported: {0}")]
    Unsupported(&'static str),
    /// The signature does not match.
    #[error("the signature does not match")]
    BadSignature,
    /// The issuer's current key set holds no key of that `kid` for that algorithm.
    #[error("no key of the issuer matches the token's header")]
    UnknownKey,
    /// `exp` has passed.
    #[error("the token expired {ago:?} ago")]
    Expired {
        /// How long ago, leeway not counted.
        ago: Duration,
    },
    /// `nbf` or `iat` lies ahead.
    #[error("the token is not valid yet: its {claim} lies {ahead:?} ahead")]
    NotYetValid {
        /// The claim that lies ahead.
        claim: &'static str,
        /// How far.
        ahead: Duration,
    },
    /// `iss` is none of the policy's issuers.
    #[error("the token's issuer is not accepted here")]
    WrongIssuer,
    /// `aud`, or the claim that stands for it, names none of the policy's audiences.
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// `typ` is none of the policy's types, or the token is a logout token or another security event (`events`, RFC 8417).
    #[error("the token's type is not accepted here")]
    WrongType,
    /// A claim that is required is absent.
    #[error("the claim {0} is missing")]
    MissingClaim(String),
    /// A claim has the wrong JSON type or an impossible value.
    #[error("the claim {0} is not what RFC 7519 asks for")]
    InvalidClaim(&'static str),
    /// A claim has another value than the policy demands ([`Rules::claim_equals`](crate::Rules::claim_equals)).
    #[error("the claim {0} has a value that is not accepted here")]
    WrongClaim(String),
    /// The token is bound to a key of its holder (`cnf`, RFC 7800) and came as a bearer token, or DPoP is turned off.
    #[error("the token is bound to a key of its holder (cnf), and is no bearer token")]
    Bound,
    /// The token is bound in a way that is not supported, or that contradicts itself: nobody here could check a proof.
    #[error("the token is bound in a way that is not supported: {0}")]
    UnsupportedBinding(&'static str),
    /// The token is bound to no key, and came with the scheme DPoP or where only bound tokens are accepted
    /// ([`Rules::require_bound`](crate::Rules::require_bound)).
    #[error("the token is bound to no key, and only one that is would be accepted so")]
    NotBound,
    /// The token is bound to a client certificate (RFC 8705), and the connection has another one or none.
    #[error("the token is bound to a client certificate, and {0}")]
    CertificateMismatch(&'static str),
    /// There is no DPoP proof for the token, or it is none for this request (RFC 9449 section 4.3).
    #[error("the DPoP proof is not valid: {0}")]
    InvalidDpopProof(#[from] ProofError),
    /// The DPoP proof must hold this nonce (RFC 9449 section 9). The client makes another proof with it.
    #[error("the DPoP proof must hold the nonce of the header DPoP-Nonce")]
    UseDpopNonce {
        /// The nonce.
        nonce: Box<str>,
    },
    /// More proofs came than can be remembered: of the key, or of all clients ([`ProofMemory`](crate::possession::ProofMemory)).
    /// Not a verdict.
    #[error("more DPoP proofs came than can be remembered")]
    TooManyProofs {
        /// When there may be room again.
        retry_after: Duration,
    },
    /// `exp` lies further ahead than `max_token_lifetime`: how long a revocation must be kept would be unknown.
    #[error("the token lives longer than the {limit:?} that are accepted")]
    LifetimeTooLong {
        /// The limit.
        limit: Duration,
    },
    /// A mark voids the token.
    #[error("the token is revoked ({0})")]
    Revoked(ScopeKind),
    /// The provider says that the token is not active (RFC 7662 section 2.2).
    #[error("the provider says that the token is not active")]
    Inactive,
    /// The issuer could not be asked: for its keys, or about the token. Not a verdict: ask again.
    #[error("the issuer could not be asked: {what}")]
    CouldNotAsk {
        /// What happened, for the operator.
        what: String,
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// The node cannot prove that it has applied every revocation, and the route does not allow that. Not a verdict.
    #[error("the node cannot prove that it knows every revocation{}", since(.blind_for))]
    Blind {
        /// For how long; `None` when it was never coherent since its start.
        blind_for: Option<Duration>,
    },
}

fn since(blind_for: &Option<Duration>) -> String {
    blind_for.map_or_else(|| " since its start".into(), |d| format!(" for {} s", d.as_secs()))
}

/// Whose fault it is that there is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The token's: HTTP 401.
    Token,
    /// Nobody's whom the caller knows: an upstream or this node. HTTP 503; never a verdict.
    Service,
}

impl VerifyError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::CouldNotAsk { .. } | Self::Blind { .. } | Self::TooManyProofs { .. } => Fault::Service,
            _ => Fault::Token,
        }
    }

    /// A stable word for it, in metrics and answers.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) => "malformed",
            Self::Unsupported(_) => "unsupported",
            Self::BadSignature => "bad_signature",
            Self::UnknownKey => "unknown_key",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::WrongType => "wrong_type",
            Self::MissingClaim(_) => "missing_claim",
            Self::InvalidClaim(_) => "invalid_claim",
            Self::WrongClaim(_) => "wrong_claim",
            Self::Bound => "bound",
            Self::UnsupportedBinding(_) => "unsupported_binding",
            Self::NotBound => "not_bound",
            Self::CertificateMismatch(_) => "certificate_mismatch",
            Self::InvalidDpopProof(_) => "invalid_dpop_proof",
            Self::UseDpopNonce { .. } => "use_dpop_nonce",
            Self::TooManyProofs { .. } => "too_many_proofs",
            Self::LifetimeTooLong { .. } => "lifetime_too_long",
            Self::Revoked(_) => "revoked",
            Self::Inactive => "inactive",
            Self::CouldNotAsk { .. } => "could_not_ask",
            Self::Blind { .. } => "blind",
        }
    }

    /// When asking again makes sense, for errors that are no verdict.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CouldNotAsk { retry_after, .. } | Self::TooManyProofs { retry_after } => Some(*retry_after),
            Self::Blind { .. } => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

/// Why a node did not start, or a policy was refused. Nothing is running.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct BuildError {
    /// The setting.
    pub setting: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl BuildError {
    /// A setting, what is wrong with it, and what would be right. For steps given to [`Builder::at_start`](crate::Builder::at_start).
    #[must_use]
    pub fn new(setting: &'static str, problem: impl Into<String>) -> Self {
        Self {
            setting,
            problem: problem.into(),
        }
    }
}

/// Why a revocation was refused. Nothing was voided, unless the variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// The issuer is not one that this node is configured with.
    #[error("the issuer is not configured here; a mark for it would void nothing")]
    UnknownIssuer,
    /// A value is empty or longer than 1,024 bytes, or a note longer than 256.
    #[error("{0}")]
    BadValue(&'static str),
    /// The issuer's present key set holds no key with this `kid`, or more than one.
    #[error("{0}")]
    UnknownKey(&'static str),
    /// The token to revoke or to spare did not verify: only verified tokens make marks.
    #[error("only a token that verifies can be revoked or spared: {0}")]
    Token(#[from] VerifyError),
    /// The table of marks is full. Marks are never dropped to make room: raise the cap, or revoke a wider scope.
    #[error("{cap} marks are held already; raise the cap, or revoke a wider scope")]
    Full {
        /// The cap.
        cap: usize,
    },
    /// Too many statements wait for their commit. Try again.
    #[error("too many statements wait for their commit; try again")]
    Busy,
    /// An issuer's clock claims to be further ahead than `max_skew`.
    #[error("the issuer's clock is further ahead than {max_skew:?}; a mark in its time would void tokens yet to come")]
    AbsurdTime {
        /// The limit.
        max_skew: Duration,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    ShutDown,
    /// A member of the cluster does not know statements of this kind: it would turn blind. Upgrade it first, or forget it.
    #[error("a member of the cluster does not know statements of kind {kind} yet: upgrade it first, or forget it")]
    UnknownKind {
        /// The kind.
        kind: u16,
    },
}

impl RevokeError {
    /// A stable word for it, in traces.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownIssuer => "unknown_issuer",
            Self::BadValue(_) => "bad_value",
            Self::UnknownKey(_) => "unknown_key",
            Self::Token(error) => error.code(),
            Self::Full { .. } => "full",
            Self::Busy => "busy",
            Self::AbsurdTime { .. } => "absurd_time",
            Self::ShutDown => "shut_down",
            Self::UnknownKind { .. } => "unknown_kind",
        }
    }
}

/// Why a batch of revocations was refused. None of them was carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{error}", place(.at))]
pub struct BatchError {
    /// Which of them is at fault, from 0; `None` when the batch as a whole is.
    pub at: Option<usize>,
    /// Why.
    pub error: RevokeError,
}

fn place(at: &Option<usize>) -> String {
    at.map_or_else(String::new, |at| format!("revocation {} of the batch: ", at + 1))
}

/// Why a cache operation failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError<E> {
    /// The loader failed; every caller who waited for it gets its error. Nothing was cached.
    #[error("the loader failed: {0}")]
    Load(E),
    /// The load ended without an answer: the loader panicked, the runtime is going down, or the load was another caller's
    /// with another error type, and failed. Nothing was cached.
    #[error("the load ended without an answer")]
    NoAnswer,
    /// The value could not be encoded. Nothing was cached.
    #[error("the value cannot be encoded: {0}")]
    Encode(String),
    /// L2 did not do it, and nothing else can (counters, insert-if-absent, drops).
    #[error("the shared store did not do it: {0}")]
    Store(#[from] PortError),
    /// Too many statements wait for their commit, or the node is shutting down.
    #[error("the statement was not accepted: {0}")]
    Statement(RevokeError),
}

/// Why a write of a source has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// No key was named, or too many. The write has not run.
    #[error("a write names 1 to {most} keys")]
    Keys {
        /// How many one write can name.
        most: usize,
    },
    /// The node is shutting down. The write has not run.
    #[error("the node is shutting down; the write has not run")]
    ShutDown,
    /// The node shut down while it ran. It goes on, if the runtime does; its keys were voided, and stay on hold until that
    /// runs out.
    #[error("the node shut down before the write ended")]
    StillRunning,
    /// It panicked, or the runtime is going down. It may have been carried out; its keys were voided.
    #[error("the write ended without an answer")]
    NoAnswer,
}

impl From<JwsError> for VerifyError {
    fn from(error: JwsError) -> Self {
        match error {
            JwsError::Malformed(what) => Self::Malformed(what),
            JwsError::Unsupported(what) => Self::Unsupported(what),
            JwsError::AlgorithmNotAllowed(_) => Self::Unsupported("its alg is not allowed by the policy"),
            JwsError::KeyMismatch => Self::Unsupported("the key that its kid names is not for its alg"),
            JwsError::AmbiguousKey => Self::Unsupported("it names no kid, and too many keys could have signed it"),
            JwsError::BadSignature => Self::BadSignature,
            JwsError::UnknownKey => Self::UnknownKey,
        }
    }
}
