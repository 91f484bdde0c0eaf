//! One DPoP proof, checked (RFC 9449 section 4.3). Pure: the time is an argument, and nothing is remembered.

use std::time::Duration;

use authmesh_proto::time::Unix;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::error::ProofError;
use super::presentation::RequestUri;
use super::rules::DpopRules;
use super::uri;
use crate::jose::{CompactJws, JwsError, SkipReason, base64url, embedded_key, json};
use crate::verify::claims;

/// Longest proof that is read, in bytes: one of an RSA key of 8,192 bits fits, twice.
const MAX_BYTES: usize = 8 * 1024;
/// Longest `jti`, in bytes.
const MAX_JTI: usize = 256;
/// Longest `nonce`, in bytes.
const MAX_NONCE: usize = 256;

/// What a proof has to prove.
pub(super) struct Wanted<'a> {
    pub(super) token: &'a [u8],
    pub(super) request: Option<(&'a str, RequestUri<'a>)>,
    /// The thumbprint of the key that the token is bound to.
    pub(super) jkt: &'a [u8; 32],
    pub(super) rules: &'a DpopRules,
    pub(super) max_skew: Duration,
    pub(super) now: Unix,
}

/// What a good proof says.
#[derive(Debug)]
pub(super) struct Proof {
    /// Names it among all proofs of all keys: of its key and its `jti`.
    pub(super) id: [u8; 16],
    pub(super) issued_at: Unix,
    pub(super) nonce: Option<Box<str>>,
}

/// Checks a proof, cheap things first: a signature is checked of nobody but the owner of the token's key.
pub(super) fn check(proof: &[u8], wanted: &Wanted<'_>) -> Result<Proof, ProofError> {
    if proof.len() > MAX_BYTES {
        return Err(ProofError::TooLarge { limit: MAX_BYTES });
    }
    let (method, request_uri) = wanted.request.ok_or(ProofError::UnknownRequest)?;
    let request_uri = request_uri.normal().ok_or(ProofError::UnknownRequest)?;

    let jws = CompactJws::parse(proof).map_err(of_jws)?;
    if !jws.header().typ_is("dpop+jwt") {
        return Err(ProofError::WrongType);
    }
    if !wanted.rules.algorithms.contains(jws.header().algorithm()) {
        return Err(ProofError::Unsupported("its alg is not allowed by the policy"));
    }
    let key = embedded_key(proof).map_err(|reason| match reason {
        SkipReason::PrivateKeyMaterial => ProofError::PrivateKey,
        SkipReason::SymmetricKey => ProofError::BadKey("it is symmetric"),
        SkipReason::Missing("jwk") => ProofError::BadKey("it is missing"),
        _ => ProofError::BadKey("it is not a JWK that is supported here"),
    })?;
    if key.thumbprint() != *wanted.jkt {
        return Err(ProofError::WrongKey);
    }
    key.verify(&jws, wanted.rules.algorithms).map_err(of_jws)?;

    let claims =
        json::parse_object(jws.payload()).map_err(|_| ProofError::Malformed("its payload is not strict JSON"))?;
    if text(&claims, "htm")? != method {
        return Err(ProofError::WrongMethod);
    }
    if uri::normal(text(&claims, "htu")?).ok_or(ProofError::InvalidClaim("htu"))? != request_uri {
        return Err(ProofError::WrongUri);
    }
    if text(&claims, "ath")? != base64url::encode(&Sha256::digest(wanted.token)) {
        return Err(ProofError::WrongToken);
    }
    let issued_at = issued_at(&claims, wanted)?;
    let jti = text(&claims, "jti")?;
    if jti.is_empty() || jti.len() > MAX_JTI {
        return Err(ProofError::InvalidClaim("jti"));
    }
    let nonce = match claims.get("nonce") {
        None => None,
        Some(Value::String(nonce)) if nonce.len() <= MAX_NONCE => Some(nonce.as_str().into()),
        Some(_) => return Err(ProofError::InvalidClaim("nonce")),
    };
    Ok(Proof {
        id: id(wanted.jkt, jti),
        issued_at,
        nonce,
    })
}

/// Two `jti`s meet with a chance of 2^-128, whoever chooses them: the key is part of it, so one client's never meet another's.
fn id(jkt: &[u8; 32], jti: &str) -> [u8; 16] {
    let hash = Sha256::new().chain_update(jkt).chain_update(jti).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}

fn issued_at(claims: &Map<String, Value>, wanted: &Wanted<'_>) -> Result<Unix, ProofError> {
    let at = claims::time(claims, "iat")
        .map_err(|_| ProofError::InvalidClaim("iat"))?
        .ok_or(ProofError::MissingClaim("iat"))?;
    let at = at.floor() as Unix;
    let now = wanted.now;
    if at > now.saturating_add(wanted.max_skew.as_secs()) {
        return Err(ProofError::Early {
            ahead: Duration::from_secs(at - now),
        });
    }
    let ago = Duration::from_secs(now.saturating_sub(at));
    if ago > wanted.rules.window {
        return Err(ProofError::TooOld { ago });
    }
    Ok(at)
}

fn text<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, ProofError> {
    match claims.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(ProofError::InvalidClaim(name)),
        None => Err(ProofError::MissingClaim(name)),
    }
}

fn of_jws(error: JwsError) -> ProofError {
    match error {
        JwsError::Malformed(what) => ProofError::Malformed(what),
        JwsError::Unsupported(what) => ProofError::Unsupported(what),
        JwsError::AlgorithmNotAllowed(_) => ProofError::Unsupported("its alg is not allowed by the policy"),
        JwsError::KeyMismatch | JwsError::AmbiguousKey | JwsError::UnknownKey => {
            ProofError::BadKey("it is not for the header's alg")
        }
        JwsError::BadSignature => ProofError::BadSignature,
    }
}
