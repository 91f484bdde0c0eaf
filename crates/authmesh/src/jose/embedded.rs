//! The key that a JWS brings along in its own header (`jwk`, RFC 7515 section 4.1.3).
//!
//! It proves nothing but that the sender has its private half. So it is read in one place only: for a DPoP proof
//! (RFC 9449), whose key the access token names.

use super::{SkipReason, VerificationKey, base64url, json, jwk};

/// Reads `jwk` of a token's header. The token was parsed already; `kid` of the header is none of the key's.
///
/// # Errors
/// [`SkipReason`]: it is missing, holds a private key, or is no key that could have made a signature.
pub(crate) fn embedded_key(token: &[u8]) -> Result<VerificationKey, SkipReason> {
    let header = token.split(|byte| *byte == b'.').next().unwrap_or_default();
    let members = base64url::decode(header).and_then(|header| json::parse_object(&header).ok());
    let members = members.ok_or(SkipReason::NotAnObject)?;
    let mut key = jwk::parse(members.get("jwk").ok_or(SkipReason::Missing("jwk"))?)?;
    // Nothing is looked up by it: whatever the header calls the key, this is the one.
    key.kid = members
        .get("kid")
        .and_then(serde_json::Value::as_str)
        .map(std::sync::Arc::from);
    Ok(key)
}
