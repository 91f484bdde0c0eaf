//! Tokens for benchmarks: as long as an access token with the usual claims, and signed in bulk.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc;
use serde_json::{Value, json};

/// The issuer of every token.
pub const ISSUER: &str = "https://login.example.com";
/// The audience of every token.
pub const AUDIENCE: &str = "orders-api";
/// Length of every token, give or take one: base64url skips every fourth length.
pub const TOKEN_BYTES: usize = 870;

/// An issuer with one key that signs like most do, and one that signs fast: 200,000 RSA signatures take minutes.
#[derive(Debug)]
pub struct Issuer {
    /// Absent in one that has to start fast.
    rsa: Option<RsaKeyPair>,
    ed: Ed25519KeyPair,
    random: SystemRandom,
    now: u64,
}

impl Issuer {
    /// An issuer with new keys.
    ///
    /// # Panics
    ///
    /// When the system has no random bytes.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            rsa: Some(RsaKeyPair::generate(KeySize::Rsa2048).expect("a key")),
            ..Self::quick()
        }
    }

    /// An issuer without the RSA key, which takes long to make where instructions are counted.
    ///
    /// # Panics
    ///
    /// When the system has no random bytes.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            rsa: None,
            ed: Ed25519KeyPair::generate().expect("a key"),
            random: SystemRandom::new(),
            now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("it is after 1970")
                .as_secs(),
        }
    }

    /// The key set, with both keys: RSA first.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.rsa_jwk(), self.ed_jwk()]})
    }

    /// The key set of an issuer that has no RSA key.
    #[must_use]
    pub fn ed_jwks(&self) -> Value {
        json!({"keys": [self.ed_jwk()]})
    }

    fn ed_jwk(&self) -> Value {
        let x = encode(self.ed.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "x": x})
    }

    fn rsa(&self) -> &RsaKeyPair {
        self.rsa.as_ref().expect("an issuer that was made with an RSA key")
    }

    /// The RSA key.
    ///
    /// # Panics
    ///
    /// When the issuer has none.
    #[must_use]
    pub fn rsa_jwk(&self) -> Value {
        let components = aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
        let (n, e) = components(self.rsa_public()).expect("an RSA key");
        json!({"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "n": encode(&n), "e": encode(&e)})
    }

    /// The RSA public key in DER (RFC 8017 A.1.1).
    ///
    /// # Panics
    ///
    /// When the issuer has none.
    #[must_use]
    pub fn rsa_public(&self) -> &[u8] {
        self.rsa().public_key().as_ref()
    }

    /// The token of a user, with an RSA signature.
    ///
    /// # Panics
    ///
    /// When it cannot be signed.
    #[must_use]
    pub fn rs256(&self, n: usize) -> String {
        self.token("RS256", "rsa", n, 256, |input| {
            let mut signature = vec![0; self.rsa().public_modulus_len()];
            self.rsa()
                .sign(&RSA_PKCS1_SHA256, &self.random, input, &mut signature)
                .expect("a signature");
            signature
        })
    }

    /// The token of a user, with an Ed25519 signature, and as long as the other kind.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn ed25519(&self, n: usize) -> String {
        self.token("EdDSA", "ed", n, 64, |input| self.ed.sign(input).as_ref().to_vec())
    }

    fn token(&self, alg: &str, kid: &str, n: usize, signature: usize, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let header = encode(json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string().as_bytes());
        let base64 = |bytes: usize| (bytes * 4).div_ceil(3);
        let claims = |padding: usize| {
            json!({
                "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{n:08}"), "client_id": "web-frontend",
                "jti": format!("3f2a6c1e-{n:012}"), "sid": format!("session-{n:08}"),
                "scope": "orders:read orders:write profile", "iat": self.now - 10, "exp": self.now + 7_200,
                "ctx": "x".repeat(padding),
            })
            .to_string()
        };
        let other = header.len() + 2 + base64(signature);
        let room = (TOKEN_BYTES - other) * 3 / 4;
        let input = format!("{header}.{}", encode(claims(room - claims(0).len()).as_bytes()));
        let token = format!("{input}.{}", encode(&sign(input.as_bytes())));
        assert!(token.len().abs_diff(TOKEN_BYTES) <= 1, "{} bytes", token.len());
        token
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
