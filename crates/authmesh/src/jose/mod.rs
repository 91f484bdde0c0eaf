//! Strict JOSE: parse a compact JWS, pick the key, check the signature.
//!
//! Pure and synchronous: no I/O, no clock, no process-wide state. Claims are not judged here; the policy does that.
//!
//! The layer refuses whatever the standards leave open or whatever two parsers could read in two ways:
//!
//! - JSON with a repeated member, at any depth ([`json`], RFC 7515 section 4, RFC 7519 section 4);
//! - base64url with padding, white space, a foreign character, or stray bits behind the last byte (RFC 7515 section 2);
//! - every `crit`, and `b64` unless it is `true` (RFC 7515 section 4.1.11, RFC 7797);
//! - `none`, every HMAC, and every algorithm outside [`Algorithm`] (RFC 8725 sections 3.1 and 3.2);
//! - a key whose `kty`, `crv`, `use`, `key_ops` and `alg` do not agree with each other and with the header (RFC 7517).
//!
//! Keys of tokens come from a [`KeySet`] and from nowhere else: `jwk`, `jku`, `x5u` and `x5c` of a token header are never read.
//! `jwk` of a DPoP proof is: the token names the key ([`possession`](crate::possession)).
//!
//! ```
//! use authmesh::jose::{AlgorithmSet, JwsError, KeySet, KeySetLimits, verify_jws};
//!
//! // The key of RFC 8037 appendix A.
//! let set = KeySet::parse(
//!     br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
//!     &KeySetLimits::default(),
//! )?;
//! let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc\
//!     .hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
//!
//! let verified = verify_jws(token, &set, AlgorithmSet::ALL)?;
//! assert_eq!(verified.payload(), b"Example of Ed25519 signing");
//! assert!(set.contains(verified.key_identity()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algorithm;
pub(crate) mod base64url;
mod embedded;
mod error;
mod header;
mod jwk;
mod jws;
mod key;
mod set;
mod verify;

pub mod json;

#[cfg(test)]
mod tests;

pub(crate) use embedded::embedded_key;

pub use algorithm::{Algorithm, AlgorithmSet, UnsupportedAlgorithm};
pub use error::{JwsError, KeySetError, SkipReason, SkippedKey};
pub use header::Header;
pub use jws::CompactJws;
pub use key::{KeyIdentity, KeyOps, KeyType, VerificationKey};
pub use set::{Candidates, KeySet, KeySetLimits, MAX_UNNAMED_CANDIDATES};
pub use verify::{VerifiedJws, verify_jws};

/// Longest `kid` that is read, in bytes, in a token header and in a JWK alike.
///
/// RFC 7515 sets no limit. Key ARNs and URLs, the longest in common use, are far shorter.
pub const MAX_KID_BYTES: usize = 1024;
