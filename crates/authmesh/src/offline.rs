//! Verification without a node: a token, a key set, the rules, a point in time.
//!
//! For tools and for questions after the fact ("was this token good at noon?"). Pure: no I/O, no clock, no cache. It
//! knows of no revocation; only a node does.

use std::fmt;
use std::sync::Arc;

use authmesh_proto::time::Unix;
use serde_json::{Map, Value};

use crate::error::VerifyError;
use crate::jose::{self, Algorithm, CompactJws, JwsError, KeySet};
use crate::policy::Rules;
use crate::verify::claims;

/// What a token said that [`check`] accepted.
///
/// `Debug` names the key and the times; no claim of the holder.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Offline {
    /// `iss` (RFC 7519 section 4.1.1). `None` only where no issuer was demanded.
    pub issuer: Option<String>,
    /// `sub` (RFC 7519 section 4.1.2).
    pub subject: Option<String>,
    /// `aud` (RFC 7519 section 4.1.3); a single string is a list of one.
    pub audiences: Vec<String>,
    /// `client_id` (RFC 8693 section 4.3), else `azp`.
    pub client: Option<String>,
    /// `sid`: the session at the issuer.
    pub session: Option<String>,
    /// `jti` (RFC 7519 section 4.1.7).
    pub jwt_id: Option<String>,
    /// `iat`, in seconds since the Unix epoch.
    pub issued_at: Option<Unix>,
    /// `exp`, in seconds since the Unix epoch.
    pub expires_at: Unix,
    /// Every claim.
    pub claims: Map<String, Value>,
    /// The algorithm of the signature.
    pub algorithm: Algorithm,
    /// `kid` of the key that signed.
    pub kid: Option<Arc<str>>,
}

/// Verifies a token as a node would that holds these keys at that time, except for revocation and the size limit of its
/// policy.
///
/// `issuers` are the accepted values of `iss`, compared byte by byte. `None` accepts any, and none: then `keys` alone
/// says whose token it is. `now` is in seconds since the Unix epoch. The limits that a policy has for `leeway` (5 min) and
/// `max_token_lifetime` (1 min to 7 days) are not enforced.
///
/// # Errors
/// [`VerifyError`], always with [`Fault::Token`](crate::Fault::Token). A token with several faults is refused for
/// the one that a node would name.
pub fn check(
    token: &[u8],
    keys: &KeySet,
    issuers: Option<&[String]>,
    rules: &Rules,
    now: Unix,
) -> Result<Offline, VerifyError> {
    let jws = CompactJws::parse(token)?;
    let members = jose::json::parse_object(jws.payload()).map_err(|_| NOT_CLAIMS)?;
    let issuer = match (issuers, members.contains_key("iss")) {
        (None, false) => None,
        _ => Some(claims::issuer(&members)?.to_owned()),
    };
    if let (Some(accepted), Some(issuer)) = (issuers, &issuer)
        && !accepted.contains(issuer)
    {
        return Err(VerifyError::WrongIssuer);
    }
    let algorithm = jws.header().algorithm();
    if !rules.algorithms.contains(algorithm) {
        return Err(JwsError::AlgorithmNotAllowed(algorithm).into());
    }

    let verified = jose::verify_jws(token, keys, rules.algorithms)?;
    let checked = claims::check(rules, verified.header().typ(), now, &members)?;

    let owned = |text: Option<Box<str>>| text.map(String::from);
    Ok(Offline {
        issuer,
        subject: owned(checked.subject),
        audiences: checked.audiences.into_iter().map(String::from).collect(),
        client: owned(checked.client),
        session: owned(checked.session),
        jwt_id: owned(checked.jwt_id),
        issued_at: checked.issued_at,
        expires_at: checked.expires_at,
        claims: members,
        algorithm,
        kid: verified.key_identity().kid.clone(),
    })
}

const NOT_CLAIMS: VerifyError =
    VerifyError::Malformed("its payload is not a JSON object without duplicate members");

impl fmt::Debug for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offline")
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .field("algorithm", &self.algorithm)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
