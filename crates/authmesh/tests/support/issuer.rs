//! An issuer with its keys in hand.

use std::sync::{Arc, Mutex};

use authmesh::Rules;
use authmesh::clock::SystemClock;
use authmesh::memory::FixedKeys;
use authmesh::ports::Clock;
use authmesh::proto::time::Unix;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

const AUDIENCE: &str = "api";

/// A pair of keys.
pub(super) enum Pair {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
}

/// Signs whatever it is asked to sign.
pub(crate) struct TestIssuer {
    url: String,
    clock: Arc<dyn Clock>,
    /// The newest one signs.
    pairs: Mutex<Vec<(String, Pair)>>,
    source: Arc<FixedKeys>,
}

impl TestIssuer {
    /// An issuer with one Ed25519 key, which goes by the machine's clock.
    pub(crate) fn new() -> Self {
        Self::with("https://issuer.test", Arc::new(SystemClock), false)
    }

    /// The same, by a clock of the test.
    pub(crate) fn at(clock: Arc<dyn Clock>) -> Self {
        Self::with("https://issuer.test", clock, false)
    }

    /// The same, by another name.
    pub(crate) fn named(url: &str, clock: Arc<dyn Clock>) -> Self {
        Self::with(url, clock, false)
    }

    /// Another issuer by the same clock.
    pub(crate) fn other(&self) -> Self {
        Self::named("https://other.test", self.clock())
    }

    /// An issuer with one P-256 key.
    pub(crate) fn es256() -> Self {
        Self::with("https://issuer.test", Arc::new(SystemClock), true)
    }

    fn with(url: &str, clock: Arc<dyn Clock>, es256: bool) -> Self {
        let pair = if es256 { Pair::p256() } else { Pair::ed25519() };
        let issuer = Self {
            url: url.into(),
            clock,
            pairs: Mutex::new(vec![("k1".into(), pair)]),
            source: Arc::new(FixedKeys::new("")),
        };
        issuer.publish();
        issuer
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn now(&self) -> Unix {
        self.clock.now().wall
    }

    pub(crate) fn source(&self) -> Arc<FixedKeys> {
        Arc::clone(&self.source)
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules::for_audiences([AUDIENCE])
    }

    /// The JWK set of every key.
    pub(crate) fn document(&self) -> Vec<u8> {
        let keys: Vec<Value> = self
            .pairs
            .lock()
            .unwrap()
            .iter()
            .map(|(kid, pair)| pair.jwk(kid))
            .collect();
        json!({ "keys": keys }).to_string().into_bytes()
    }

    /// Serves the present keys; a source that was down is up again.
    pub(crate) fn publish(&self) {
        self.source.set(self.document());
    }

    /// Signs with a new key from now on. The old ones stay; nothing is published.
    pub(crate) fn new_key(&self) {
        let mut pairs = self.pairs.lock().unwrap();
        let kid = format!("k{}", pairs.len() + 1);
        pairs.push((kid, Pair::ed25519()));
    }

    /// Publishes the newest key alone.
    pub(crate) fn retire_old_keys(&self) {
        let mut pairs = self.pairs.lock().unwrap();
        let old = pairs.len() - 1;
        pairs.drain(..old);
        drop(pairs);
        self.publish();
    }

    /// A good token of `alice`. `more` adds and replaces claims; `null` removes one.
    pub(crate) fn token(&self, more: Value) -> String {
        self.mint(json!({}), self.claims(more))
    }

    /// The claims of [`TestIssuer::token`].
    pub(crate) fn claims(&self, more: Value) -> Value {
        let now = self.now();
        let mut claims = json!({"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 600});
        overlay(&mut claims, more);
        claims
    }

    /// A token with these claims and nothing else, with `header` laid over `alg`, `typ` and `kid`.
    pub(crate) fn mint(&self, header: Value, claims: Value) -> String {
        let pairs = self.pairs.lock().unwrap();
        let (kid, pair) = pairs.last().unwrap();
        let mut full = json!({"alg": pair.alg(), "typ": "JWT", "kid": kid});
        overlay(&mut full, header);
        let input = format!("{}.{}", encode(full.to_string()), encode(claims.to_string()));
        let signature = pair.sign(input.as_bytes());
        format!("{input}.{}", encode(signature))
    }
}

pub(super) fn overlay(onto: &mut Value, more: Value) {
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            onto.as_object_mut().unwrap().remove(name);
        } else {
            onto[name] = value.clone();
        }
    }
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Pair {
    pub(super) fn p256() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(super) fn ed25519() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    pub(super) fn alg(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
        }
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(pair.public_key())}),
            Self::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": encode(x), "y": encode(y)})
            }
        }
    }

    pub(super) fn sign(&self, input: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed(pair) => pair.sign(input).as_ref().to_vec(),
            Self::Ec(pair) => pair.sign(&SystemRandom::new(), input).unwrap().as_ref().to_vec(),
        }
    }
}

/// The other valid signature of an ES256 token: (r, n - s) in place of (r, s). Same claims, other bytes.
pub(crate) fn twin(token: &str) -> String {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = false;
    for (byte, n) in signature[32..].iter_mut().zip(N).rev() {
        let (less, under) = n.overflowing_sub(*byte);
        let (less, under_again) = less.overflowing_sub(u8::from(borrow));
        borrow = under || under_again;
        *byte = less;
    }
    format!("{input}.{}", encode(signature))
}
