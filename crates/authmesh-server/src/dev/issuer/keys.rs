//! The throw-away keys: generated, published and used for signing.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};

use super::{DevAlg, DevIssuerError};

/// Coordinates of P-256 have 32 bytes each (RFC 7518 section 6.2.1.2).
const P256_COORDINATE: usize = 32;

/// One key per algorithm.
pub(super) struct DevKeys {
    rs256: (RsaKeyPair, String),
    es256: (EcdsaKeyPair, String),
    eddsa: (Ed25519KeyPair, String),
    jwks: String,
    etag: String,
}

/// The public members of a JWK, in the order of RFC 7638 section 3.2.
type Members = Vec<(&'static str, String)>;

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

impl DevKeys {
    pub(super) fn generate() -> Result<Self, DevIssuerError> {
        let failed = DevIssuerError::KeyGeneration;
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| failed("RS256"))?;
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| failed("ES256"))?;
        let ed25519 = Ed25519KeyPair::generate().map_err(|_| failed("EdDSA"))?;

        let (rsa_jwk, rsa_kid) = publish(DevAlg::Rs256, rsa_members(&rsa));
        let (p256_jwk, p256_kid) = publish(DevAlg::Es256, p256_members(&p256).ok_or(failed("ES256"))?);
        let (ed25519_jwk, ed25519_kid) = publish(DevAlg::EdDsa, ed25519_members(&ed25519));
        let jwks = json!({ "keys": [rsa_jwk, p256_jwk, ed25519_jwk] }).to_string();
        let etag = format!("\"{}\"", short_hash(jwks.as_bytes()));
        Ok(Self {
            rs256: (rsa, rsa_kid),
            es256: (p256, p256_kid),
            eddsa: (ed25519, ed25519_kid),
            jwks,
            etag,
        })
    }

    /// The JWK set document.
    pub(super) fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Entity tag of [`jwks`](Self::jwks), quotes included.
    pub(super) fn etag(&self) -> &str {
        &self.etag
    }

    pub(super) fn kids(&self) -> [String; 3] {
        DevAlg::ALL.map(|alg| self.kid(alg).to_owned())
    }

    fn kid(&self, alg: DevAlg) -> &str {
        match alg {
            DevAlg::Rs256 => &self.rs256.1,
            DevAlg::Es256 => &self.es256.1,
            DevAlg::EdDsa => &self.eddsa.1,
        }
    }

    /// The compact serialization (RFC 7515 section 7.1) of a signed access token (`typ` of RFC 9068 section 2.1).
    pub(super) fn sign(&self, alg: DevAlg, payload: &impl Serialize) -> Result<String, DevIssuerError> {
        let header = Header {
            alg: alg.name(),
            typ: "at+jwt",
            kid: self.kid(alg),
        };
        let failed = || DevIssuerError::Signing(alg.name());
        let encode = |part: Result<Vec<u8>, serde_json::Error>| part.map(|json| URL_SAFE_NO_PAD.encode(json));
        let header = encode(serde_json::to_vec(&header)).map_err(|_| failed())?;
        let payload = encode(serde_json::to_vec(payload)).map_err(|_| failed())?;
        let mut token = format!("{header}.{payload}");
        let signature = self.signature(alg, token.as_bytes()).ok_or_else(failed)?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn signature(&self, alg: DevAlg, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match alg {
            DevAlg::Rs256 => {
                let key = &self.rs256.0;
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            DevAlg::Es256 => Some(self.es256.0.sign(&random, message).ok()?.as_ref().to_vec()),
            DevAlg::EdDsa => Some(self.eddsa.0.sign(message).as_ref().to_vec()),
        }
    }
}

fn rsa_members(key: &RsaKeyPair) -> Members {
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
    vec![("e", b64(&public.e)), ("kty", "RSA".to_owned()), ("n", b64(&public.n))]
}

fn p256_members(key: &EcdsaKeyPair) -> Option<Members> {
    // SEC 1 section 2.3.3: an uncompressed point is 4, x, y.
    let (tag, point) = key.public_key().as_ref().split_first()?;
    let (x, y) = point.split_at_checked(P256_COORDINATE)?;
    (*tag == 4 && y.len() == P256_COORDINATE).then(|| {
        vec![
            ("crv", "P-256".to_owned()),
            ("kty", "EC".to_owned()),
            ("x", b64(x)),
            ("y", b64(y)),
        ]
    })
}

fn ed25519_members(key: &Ed25519KeyPair) -> Members {
    vec![
        ("crv", "Ed25519".to_owned()),
        ("kty", "OKP".to_owned()),
        ("x", b64(key.public_key().as_ref())),
    ]
}

/// The JWK of a public key, and its ID.
fn publish(alg: DevAlg, members: Members) -> (Value, String) {
    let members: serde_json::Map<String, Value> = members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect();
    let mut jwk = Value::Object(members);
    let kid = format!(
        "dev-{}-{}",
        alg.name().to_ascii_lowercase(),
        short_hash(jwk.to_string().as_bytes())
    );
    jwk["alg"] = alg.name().into();
    jwk["use"] = "sig".into();
    jwk["kid"] = kid.as_str().into();
    (jwk, kid)
}

/// The first 8 hex digits of the SHA-256 hash. Over the required members of a JWK alone, in their order, it is the start of the
/// thumbprint of RFC 7638.
fn short_hash(bytes: &[u8]) -> String {
    digest(&SHA256, bytes)
        .as_ref()
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
