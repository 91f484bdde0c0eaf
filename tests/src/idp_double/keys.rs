//! The keys of the double: what signs, and what is published.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::AUDIENCE;

/// Ed25519, because a rotation must cost the test nothing.
pub(super) struct Keys {
    /// The newest one signs.
    pairs: Vec<Key>,
    /// Members of the set that are nobody's key.
    more: Vec<Value>,
}

struct Key {
    kid: String,
    pair: Ed25519KeyPair,
    published: bool,
}

impl Keys {
    pub(super) fn new() -> Self {
        let mut keys = Self {
            pairs: Vec::new(),
            more: Vec::new(),
        };
        keys.rotate(true);
        keys
    }

    pub(super) fn rotate(&mut self, keep_old: bool) {
        if !keep_old {
            self.pairs.iter_mut().for_each(|key| key.published = false);
        }
        self.pairs.push(Key {
            kid: format!("key-{}", self.pairs.len() + 1),
            pair: Ed25519KeyPair::generate().expect("a key"),
            published: true,
        });
    }

    pub(super) fn retire(&mut self) {
        let old = self.pairs.len() - 1;
        self.pairs[..old].iter_mut().for_each(|key| key.published = false);
    }

    pub(super) fn publish_also(&mut self, more: &[Value]) {
        self.more = more.to_vec();
    }

    pub(super) fn document(&self) -> String {
        let published = self.pairs.iter().filter(|key| key.published).map(|key| {
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.kid,
                "x": encode(key.pair.public_key())})
        });
        let keys: Vec<Value> = self.more.iter().cloned().chain(published).collect();
        json!({ "keys": keys }).to_string()
    }

    pub(super) fn kid(&self) -> String {
        self.newest().kid.clone()
    }

    pub(super) fn token(&self, issuer: &str, more: Value) -> String {
        self.newest().sign(&self.newest().kid, issuer, more)
    }

    pub(super) fn token_of_kid(&self, issuer: &str, kid: &str, more: Value) -> String {
        let key = self
            .pairs
            .iter()
            .find(|key| key.kid == kid)
            .expect("a key of that name");
        key.sign(kid, issuer, more)
    }

    pub(super) fn token_of(&self, issuer: &str, kid: &str) -> String {
        self.newest().sign(kid, issuer, json!({}))
    }

    fn newest(&self) -> &Key {
        self.pairs.last().expect("there is always one")
    }
}

impl Key {
    fn sign(&self, kid: &str, issuer: &str, more: Value) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("the clock is right");
        let now = now.as_secs();
        let mut claims = json!({"iss": issuer, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600});
        for (name, value) in more.as_object().expect("claims are an object") {
            claims[name] = value.clone();
        }
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid});
        let input = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.pair.sign(input.as_bytes());
        format!("{input}.{}", encode(signature))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
