//! Signs what a provider would sign, with the keys of `tests/keys`.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;

/// The public halves.
pub const PUBLIC: &str = include_str!("../keys/public.json");

/// A compact JWS of `claims`, signed as the header's `alg` says.
pub fn sign(header: &Value, claims: &Value) -> String {
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let random = SystemRandom::new();
    let signature = match header["alg"].as_str().unwrap() {
        "RS256" => {
            let key = der(include_bytes!("../keys/rsa.pem"));
            let pair = RsaKeyPair::from_pkcs8(key.secret_der()).unwrap();
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature)
                .unwrap();
            signature
        }
        "ES256" => {
            let key = der(include_bytes!("../keys/p256.pem"));
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der()).unwrap();
            pair.sign(&random, input.as_bytes()).unwrap().as_ref().to_vec()
        }
        other => panic!("{other}"),
    };
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn der(pem: &[u8]) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem).unwrap()
}
