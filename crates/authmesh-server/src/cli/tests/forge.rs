//! Tokens and key sets that the tests sign themselves.

use std::path::PathBuf;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::NOW;

pub(super) const ISSUER: &str = "https://login.example.com";

fn key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// A JWK set with the key of the tests under the name `k1`, and with `more`.
pub(super) fn key_set(more: &[Value]) -> Value {
    let jwk = json!({
        "kty": "OKP", "crv": "Ed25519", "kid": "k1", "alg": "EdDSA", "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(key().public_key().as_ref()),
    });
    let keys: Vec<Value> = std::iter::once(jwk).chain(more.iter().cloned()).collect();
    json!({ "keys": keys })
}

/// Claims that are good at [`NOW`].
pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "aud": "orders-api", "jti": "j1",
        "iat": NOW - 1_740, "exp": NOW + 1_860, "tenant": { "n": 7 },
    })
}

/// The claims, with these changes; `null` takes one out.
pub(super) fn claims_with(changes: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

/// Signs a payload, whatever it is.
pub(super) fn sign_bytes(header: &Value, payload: &[u8]) -> String {
    let header = URL_SAFE_NO_PAD.encode(header.to_string());
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(key().sign(input.as_bytes()));
    format!("{input}.{signature}")
}

/// A token with these claims by `k1`.
pub(super) fn token(claims: &Value) -> String {
    sign_bytes(
        &json!({ "alg": "EdDSA", "kid": "k1", "typ": "at+jwt" }),
        claims.to_string().as_bytes(),
    )
}

/// The token with another payload under the old signature.
pub(super) fn tampered(token: &str) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[1] = URL_SAFE_NO_PAD.encode(claims_with(json!({ "sub": "root" })).to_string());
    parts.join(".")
}

/// A folder with a file, and the path of the file.
pub(super) fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// [`key_set`] in a file.
pub(super) fn key_file() -> (TempDir, String) {
    file("keys.json", key_set(&[]).to_string())
}
