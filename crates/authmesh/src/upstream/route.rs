//! Which tokens a provider is asked about.

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::Upstream;
use crate::error::VerifyError;
use crate::jose::{base64url, json};
use crate::policy::Rules;
use crate::verify::{Verifier, claims};

/// A token, the provider that is asked about it, and what the token says of itself: believed only together with the
/// provider's "active".
pub(crate) struct Question<'a> {
    pub(crate) upstream: &'a Arc<Upstream>,
    pub(crate) rules: &'a Rules,
    pub(crate) token: &'a str,
    pub(crate) own: Option<Own>,
}

/// What a JWS says of itself.
pub(crate) struct Own {
    pub(crate) typ: Option<String>,
    pub(crate) claims: Map<String, Value>,
    /// How many bytes of it are signed.
    signed: usize,
}

impl Question<'_> {
    /// The value of the token's own scope: of a JWS that of its signing input, as everywhere; of an opaque token SHA-256 of all
    /// of it.
    pub(crate) fn token_scope(&self) -> [u8; 32] {
        match &self.own {
            Some(own) => Sha256::digest(&self.token.as_bytes()[..own.signed]).into(),
            None => Sha256::digest(self.token).into(),
        }
    }
}

impl Verifier {
    /// The question that a token raises, if it is not checked here by its signature.
    ///
    /// A JWS goes to the provider of its own `iss` and to no other: a token of some other issuer is never handed to one.
    ///
    /// # Errors
    /// When the token cannot be one.
    pub(crate) fn question<'a>(&'a self, token: &'a [u8]) -> Result<Option<Question<'a>>, VerifyError> {
        if self.shared.upstreams.is_empty() {
            return Ok(None);
        }
        let policy = &self.policy.policy;
        let (issuer, own) = match shape(token) {
            Shape::Jws(own) => match claims::issuer(&own.claims) {
                Ok(issuer) => (issuer.to_owned(), Some(own)),
                Err(_) => return Ok(None),
            },
            Shape::BrokenJws => return Ok(None),
            Shape::Opaque => match &self.policy.opaque {
                Some(issuer) => (issuer.clone(), None),
                None => return Ok(None),
            },
        };
        let (Some(upstream), Some(rules)) = (
            self.shared.upstreams.get(issuer.as_str()),
            policy.issuers.get(issuer.as_str()),
        ) else {
            return Ok(None);
        };
        // What RFC 6749 appendix A.12 allows, without the space: nothing else can be a bearer token.
        if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
            return Err(VerifyError::Malformed("it has characters that no bearer token has"));
        }
        let token = std::str::from_utf8(token).map_err(|_| VerifyError::Malformed("it is not text"))?;
        Ok(Some(Question {
            upstream,
            rules,
            token,
            own,
        }))
    }
}

enum Shape {
    Jws(Own),
    /// Begins as one, and is none: it may be another issuer's.
    BrokenJws,
    Opaque,
}

fn shape(token: &[u8]) -> Shape {
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Shape::Opaque;
    };
    let Some(decoded) = base64url::decode(header).filter(|decoded| decoded.first() == Some(&b'{')) else {
        return Shape::Opaque;
    };
    let members = json::parse_object(&decoded).ok();
    let claims = base64url::decode(payload).and_then(|payload| json::parse_object(&payload).ok());
    let (Some(members), Some(claims)) = (members, claims) else {
        return Shape::BrokenJws;
    };
    let typ = members.get("typ").and_then(Value::as_str).map(str::to_owned);
    Shape::Jws(Own {
        typ,
        claims,
        signed: header.len() + 1 + payload.len(),
    })
}
