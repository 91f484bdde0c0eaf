//! A client with a key of its own, to which its tokens are bound.

use authmesh::jose::Algorithm;
use authmesh_testkit::TestIssuer;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Makes proofs (RFC 9449 section 4.2), and what passes for one. Its key is that of an issuer whom nobody asks.
pub(crate) struct Holder(TestIssuer);

impl Holder {
    pub(crate) fn new() -> Self {
        Self::of(Algorithm::ES256)
    }

    pub(crate) fn ed25519() -> Self {
        Self::of(Algorithm::EdDSA)
    }

    fn of(algorithm: Algorithm) -> Self {
        Self(TestIssuer::builder().algorithm(algorithm).build())
    }

    /// The public key, and nothing that says what it is for.
    pub(crate) fn jwk(&self) -> Value {
        let set: Value = serde_json::from_slice(&self.0.document()).unwrap();
        let mut jwk = set["keys"][0].clone();
        for name in ["kid", "alg", "use"] {
            jwk.as_object_mut().unwrap().remove(name);
        }
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
        let mut full = json!({"typ": "dpop+jwt", "kid": null, "jwk": self.jwk()});
        let mut said = json!({
            "jti": request.jti,
            "htm": request.method,
            "htu": request.uri,
            "iat": request.at,
            "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(request.token)),
        });
        for (onto, more) in [(&mut full, header), (&mut said, claims)] {
            for (name, value) in more.as_object().unwrap() {
                onto[name] = value.clone();
            }
        }
        said.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.0.sign(full, said)
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
