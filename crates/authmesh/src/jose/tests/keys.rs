//! Key pairs for tests.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use jsonwebtoken::crypto::aws_lc;
use serde_json::{Value, json};

use crate::jose::{Algorithm, KeySet, KeySetLimits, base64url};

pub(super) enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

pub(super) static RSA: LazyLock<Pair> = LazyLock::new(|| Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
pub(super) static P256: LazyLock<Pair> =
    LazyLock::new(|| Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()));
pub(super) static P384: LazyLock<Pair> =
    LazyLock::new(|| Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()));
pub(super) static ED: LazyLock<Pair> = LazyLock::new(|| Pair::Ed(Ed25519KeyPair::generate().unwrap()));

impl Pair {
    /// The pair that signs with `algorithm`.
    pub(super) fn of(algorithm: Algorithm) -> &'static Self {
        match algorithm {
            Algorithm::ES256 => &P256,
            Algorithm::ES384 => &P384,
            Algorithm::EdDSA => &ED,
            _ => &RSA,
        }
    }

    /// A new Ed25519 pair: the cheapest way to yet another key.
    pub(super) fn fresh() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    /// The bare public JWK, with `more` members.
    pub(super) fn jwk(&self, more: Value) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let components = aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
                let (n, e) = components(pair.public_key().as_ref()).unwrap();
                json!({"kty": "RSA", "n": base64url::encode(&n), "e": base64url::encode(&e)})
            }
            Self::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": crv, "x": base64url::encode(x), "y": base64url::encode(y)})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64url::encode(pair.public_key().as_ref())})
            }
        };
        for (name, value) in more.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding: &'static dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    Algorithm::RS256 => &RSA_PKCS1_SHA256,
                    Algorithm::RS384 => &RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &RSA_PSS_SHA256,
                    Algorithm::PS384 => &RSA_PSS_SHA384,
                    Algorithm::PS512 => &RSA_PSS_SHA512,
                    other => panic!("{other} is not RSA"),
                };
                pair.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token with `alg` and the members of `more` in its header.
    pub(super) fn token(&self, algorithm: Algorithm, more: Value, payload: &[u8]) -> String {
        let mut header = json!({"alg": algorithm});
        for (name, value) in more.as_object().unwrap() {
            header[name] = value.clone();
        }
        let header = base64url::encode(header.to_string().as_bytes());
        let signing_input = format!("{header}.{}", base64url::encode(payload));
        let signature = self.sign(algorithm, signing_input.as_bytes());
        format!("{signing_input}.{}", base64url::encode(&signature))
    }
}

/// The document of a set of these keys.
pub(super) fn document(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

/// A set of these keys, of which at least one is usable.
pub(super) fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(&document(keys), &KeySetLimits::default()).unwrap()
}
