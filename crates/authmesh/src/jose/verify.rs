//! From a token and a key set to a verified payload.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::json::{self, JsonError};
use super::{AlgorithmSet, CompactJws, Header, JwsError, KeyIdentity, KeySet, VerificationKey};

/// A token whose signature one of the issuer's keys made. Its claims are not judged yet.
///
/// Holds no part of the token as it was sent. `Debug` shows lengths only.
#[derive(Clone)]
pub struct VerifiedJws {
    header: Header,
    payload: Vec<u8>,
    key: Arc<VerificationKey>,
    key_identity: KeyIdentity,
    signing_input_sha256: [u8; 32],
}

impl VerifiedJws {
    /// The header, now proven.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload, now proven to be what the key's holder signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload as claims (RFC 7519 section 7.2): a strict JSON object.
    ///
    /// # Errors
    /// [`JsonError`], if the issuer signed something else.
    pub fn claims(&self) -> Result<Map<String, Value>, JsonError> {
        json::parse_object(&self.payload)
    }

    /// The key that signed.
    #[must_use]
    pub fn key(&self) -> &Arc<VerificationKey> {
        &self.key
    }

    /// The identity of the key that signed, with the algorithm that it was used with.
    #[must_use]
    pub fn key_identity(&self) -> &KeyIdentity {
        &self.key_identity
    }

    /// SHA-256 of the bytes that are signed; see [`CompactJws::signing_input_sha256`].
    #[must_use]
    pub fn signing_input_sha256(&self) -> [u8; 32] {
        self.signing_input_sha256
    }
}

impl fmt::Debug for VerifiedJws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedJws")
            .field("header", &self.header)
            .field("payload_bytes", &self.payload.len())
            .field("key_identity", &self.key_identity)
            .finish_non_exhaustive()
    }
}

/// Parses a token, picks its key from `keys`, and checks the signature. At most
/// [`MAX_UNNAMED_CANDIDATES`](super::MAX_UNNAMED_CANDIDATES) signature checks; exactly one if the token has a `kid`.
///
/// # Errors
/// [`JwsError`]. The allow-list is asked before the key set, so a token that cannot be accepted never reads
/// as [`JwsError::UnknownKey`], and so never makes anyone fetch keys.
pub fn verify_jws<T: AsRef<[u8]> + ?Sized>(
    token: &T,
    keys: &KeySet,
    allowed: AlgorithmSet,
) -> Result<VerifiedJws, JwsError> {
    let jws = CompactJws::parse(token)?;
    let algorithm = jws.header().algorithm();
    if !allowed.contains(algorithm) {
        return Err(JwsError::AlgorithmNotAllowed(algorithm));
    }
    let mut refusal = JwsError::UnknownKey;
    for key in keys.candidates(jws.header())? {
        match key.verify(&jws, allowed) {
            Ok(algorithm) => {
                let key_identity = key.identity(algorithm).ok_or(JwsError::KeyMismatch)?;
                let signing_input_sha256 = jws.signing_input_sha256();
                let (header, payload) = jws.into_header_and_payload();
                return Ok(VerifiedJws {
                    header,
                    payload,
                    key: Arc::clone(key),
                    key_identity,
                    signing_input_sha256,
                });
            }
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}
