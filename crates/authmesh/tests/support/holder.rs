//! A client with a key of its own, to which its tokens are bound.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::issuer::{Pair, encode, overlay};

/// Makes proofs (RFC 9449 section 4.2), and what passes for one.
pub(crate) struct Holder(Pair);

impl Holder {
    pub(crate) fn new() -> Self {
        Self(Pair::p256())
    }

    pub(crate) fn ed25519() -> Self {
        Self(Pair::ed25519())
    }

    /// The public key, without a `kid`.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.0.jwk("");
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    }

    /// The confirmation claim of a token that is bound to the key (RFC 9449 section 6.1).
    pub(crate) fn cnf(&self) -> Value {
        // The members are sorted, as RFC 7638 asks: serde_json keeps them in a sorted map.
        let jkt = URL_SAFE_NO_PAD.encode(Sha256::digest(self.jwk().to_string()));
        json!({ "jkt": jkt })
    }

    /// A proof for a request with a token at a time, with `header` and `claims` laid over it; `null` removes a member.
    pub(crate) fn proof_with(&self, request: &Request<'_>, header: Value, claims: Value) -> String {
        let mut full = json!({"typ": "dpop+jwt", "alg": self.0.alg(), "jwk": self.jwk()});
        overlay(&mut full, header);
        let mut said = json!({
            "jti": request.jti,
            "htm": request.method,
            "htu": request.uri,
            "iat": request.at,
            "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(request.token)),
        });
        overlay(&mut said, claims);
        let input = format!("{}.{}", encode(full.to_string()), encode(said.to_string()));
        format!("{input}.{}", encode(self.0.sign(input.as_bytes())))
    }

    /// A good proof.
    pub(crate) fn proof(&self, request: &Request<'_>) -> String {
        self.proof_with(request, json!({}), json!({}))
    }
}

/// What a proof is for.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) token: &'a str,
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    pub(crate) at: u64,
    pub(crate) jti: &'a str,
}
