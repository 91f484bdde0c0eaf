//! What can be wrong with a token, a key, or a key set. No error holds a token, a claim, or key material.

use std::fmt;
use std::sync::Arc;

use super::Algorithm;
use super::json::JsonError;

/// Why a token is refused at the JWS level.
///
/// None of these is the fault of this node or of the issuer's key endpoint; all are answers about the token against
/// the keys at hand. [`UnknownKey`](Self::UnknownKey) alone asks for newer keys; see there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JwsError {
    /// Not a JWS in compact serialization (RFC 7515 section 7.1). The text says which rule it breaks.
    Malformed(&'static str),
    /// A JWS that asks for what this verifier refuses to do, whatever the key. The text says what.
    Unsupported(&'static str),
    /// The algorithm is known but not in the caller's allow-list. Found before any key is looked for.
    AlgorithmNotAllowed(Algorithm),
    /// No key of the set has the token's `kid`; or, without a `kid`, no key can check the token's algorithm.
    /// A newer key set may hold the key.
    UnknownKey,
    /// The token has no `kid`, and more keys than [`MAX_UNNAMED_CANDIDATES`](super::MAX_UNNAMED_CANDIDATES) could have
    /// signed it.
    AmbiguousKey,
    /// The key with the token's `kid` is not for the token's algorithm: `alg`, `kty` or `crv` differ.
    KeyMismatch,
    /// The signature is not one by the key over this header and payload.
    BadSignature,
}

impl fmt::Display for JwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(rule) => write!(f, "malformed token: {rule}"),
            Self::Unsupported(what) => write!(f, "unsupported token: {what}"),
            Self::AlgorithmNotAllowed(algorithm) => write!(
                f,
                "the token is signed with {algorithm}, which the policy does not allow; add it to the allowed algorithms if the issuer means it"
            ),
            Self::UnknownKey => f.write_str("no key of the issuer's key set matches the token's kid and algorithm"),
            Self::AmbiguousKey => f.write_str(
                "the token names no kid and too many keys could have signed it; let the issuer put a kid into the header",
            ),
            Self::KeyMismatch => f.write_str(
                "the key that the token names is not for the token's algorithm (alg, kty or crv differ); check the issuer's key set",
            ),
            Self::BadSignature => f.write_str("the signature does not fit the token and the key"),
        }
    }
}

impl std::error::Error for JwsError {}

/// Why one JWK of a set is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SkipReason {
    /// The entry of `keys` is not a JSON object.
    #[error("not a JSON object")]
    NotAnObject,
    /// A member that this kind of key needs is absent.
    #[error("member {0} is missing")]
    Missing(&'static str),
    /// A member has the wrong JSON type.
    #[error("member {0} has the wrong JSON type")]
    WrongType(&'static str),
    /// A member is longer, or has more elements, than is read.
    #[error("member {0} is too long")]
    TooLong(&'static str),
    /// A member is not canonical base64url without padding.
    #[error("member {0} is not base64url without padding")]
    NotBase64Url(&'static str),
    /// An integer starts with a zero byte (RFC 7518 section 2, `Base64urlUInt`).
    #[error("member {0} starts with a zero byte, which RFC 7518 section 2 forbids")]
    NotMinimal(&'static str),
    /// The set publishes a private key (`d`, `p`, `q`, ...). The key is compromised: replace it.
    #[error("the set publishes private key material; the key is compromised, the issuer must replace it")]
    PrivateKeyMaterial,
    /// The set publishes a symmetric key (`kty` is `oct`). Whoever reads it can sign: replace it.
    #[error("the set publishes a symmetric key; whoever can read it can sign, the issuer must replace it")]
    SymmetricKey,
    /// `kty` is none of `RSA`, `EC`, `OKP`.
    #[error("kty is none of RSA, EC, OKP")]
    UnknownKeyType,
    /// `crv` is none of `P-256`, `P-384` (for `EC`) and `Ed25519` (for `OKP`).
    #[error("crv is none of P-256, P-384 (EC) and Ed25519 (OKP)")]
    UnsupportedCurve,
    /// `use` is present and not `sig` (RFC 7517 section 4.2).
    #[error("use is not sig")]
    UseNotSig,
    /// `key_ops` is present and does not list `verify` (RFC 7517 section 4.3).
    #[error("key_ops does not list verify")]
    KeyOpsWithoutVerify,
    /// `key_ops` lists an operation twice (RFC 7517 section 4.3).
    #[error("key_ops lists an operation twice")]
    KeyOpsRepeated,
    /// `use` is `sig`, but `key_ops` lists an operation that is not about signatures (RFC 7517 section 4.3).
    #[error("key_ops contradicts use")]
    KeyOpsContradictUse,
    /// `alg` is not one of [`Algorithm`]: symmetric, for encryption, or unknown.
    #[error("alg is not a supported signature algorithm")]
    UnsupportedAlgorithm,
    /// `alg` does not go with `kty` and `crv`.
    #[error("alg does not go with kty and crv")]
    AlgorithmContradictsKey,
    /// The RSA modulus is shorter than 2048 bits (RFC 7518 section 3.3).
    #[error("the RSA modulus has {bits} bits, fewer than 2048")]
    RsaTooShort {
        /// Bits of the modulus.
        bits: u64,
    },
    /// The RSA modulus is longer than 8192 bits.
    #[error("the RSA modulus has {bits} bits, more than 8192")]
    RsaTooLong {
        /// Bits of the modulus.
        bits: u64,
    },
    /// The RSA modulus is even, so it is no product of two large primes.
    #[error("the RSA modulus is even")]
    RsaModulusEven,
    /// The RSA exponent is even, below 3, or above 2^33.
    #[error("the RSA exponent is even, below 3, or above 2^33")]
    RsaExponent,
    /// A coordinate does not have the length of the curve (RFC 7518 section 6.2.1.2, RFC 8037 section 2).
    #[error("member {0} does not have the length of the curve")]
    CoordinateLength(&'static str),
    /// The point is not on the curve.
    #[error("the point is not on the curve")]
    NotOnCurve,
    /// The point has small order: anyone could make a signature that fits.
    #[error("the point has small order, anyone could forge signatures for it")]
    WeakPoint,
    /// Another key has the same `kid`, and a token's `alg` cannot tell the two apart.
    #[error("another key has the same kid and could check the same algorithm; give each key a kid of its own")]
    DuplicateKid,
}

impl SkipReason {
    /// Whether the set gives away a secret. Such a key calls for an alarm, not for a line in a debug log.
    #[must_use]
    pub const fn exposes_secret(self) -> bool {
        matches!(self, Self::PrivateKeyMaterial | Self::SymmetricKey)
    }
}

/// A JWK that was left out of a [`KeySet`](super::KeySet), and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// Place in the array `keys`, from 0.
    pub index: usize,
    /// The key's `kid`, if it is a string of at most [`MAX_KID_BYTES`](super::MAX_KID_BYTES). Public, not a secret.
    pub kid: Option<Arc<str>>,
    /// Why the key was left out.
    pub reason: SkipReason,
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys[{}]", self.index)?;
        if let Some(kid) = &self.kid {
            // Quoted and escaped, so that a kid cannot break a log line.
            write!(f, " (kid {kid:?})")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Why a whole key set document is refused. The caller goes on with the set it has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeySetError {
    /// Longer than [`KeySetLimits::max_document_bytes`](super::KeySetLimits::max_document_bytes). Not read at all.
    DocumentTooLong {
        /// Length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not a strict JSON object.
    Json(JsonError),
    /// There is no member `keys`, or it is not an array (RFC 7517 section 5.1).
    NoKeysArray,
    /// More entries than [`KeySetLimits::max_keys`](super::KeySetLimits::max_keys), usable or not.
    TooManyKeys {
        /// Entries in `keys`.
        keys: usize,
        /// The limit.
        limit: usize,
    },
    /// Not one key is usable.
    NoUsableKey {
        /// Every key of the document, each with its reason. Empty if the document has no key at all.
        skipped: Vec<SkippedKey>,
    },
}

impl fmt::Display for KeySetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// How many skipped keys one message names; the rest is only counted.
        const NAMED: usize = 4;

        match self {
            Self::DocumentTooLong { bytes, limit } => {
                write!(
                    f,
                    "the key set has {bytes} bytes, the limit is {limit}; raise max_document_bytes if the issuer means it"
                )
            }
            Self::Json(error) => write!(f, "the key set is not strict JSON: {error}"),
            Self::NoKeysArray => {
                f.write_str("the key set has no array \"keys\"; check that the URL is that of a JWK set")
            }
            Self::TooManyKeys { keys, limit } => {
                write!(
                    f,
                    "the key set has {keys} keys, the limit is {limit}; raise max_keys if the issuer means it"
                )
            }
            Self::NoUsableKey { skipped } => {
                write!(f, "none of the {} keys of the key set is usable", skipped.len())?;
                for (at, key) in skipped.iter().take(NAMED).enumerate() {
                    write!(f, "{} {key}", if at == 0 { ":" } else { ";" })?;
                }
                if skipped.len() > NAMED {
                    write!(f, "; and {} more", skipped.len() - NAMED)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for KeySetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            _ => None,
        }
    }
}

impl From<JsonError> for KeySetError {
    fn from(error: JsonError) -> Self {
        Self::Json(error)
    }
}
