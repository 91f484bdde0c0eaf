//! Tokens that no identity provider would sign, made of good ones: what an attacker sends.
//!
//! ```
//! use authmesh_testkit::{TestIssuer, forge};
//!
//! let good = TestIssuer::new().token("alice");
//! let bad = forge::with_claim(&good, "sub", "root");
//! assert_eq!(forge::claims(&bad)["sub"], "root");
//! ```
//!
//! # Panics
//!
//! Everything here panics where it is not given a signed compact token.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The three parts of a compact token.
fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().expect("a compact token has three parts")
}

fn decoded(part: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("a part of a token is base64url");
    serde_json::from_slice(&bytes).expect("a part of a token is JSON")
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// The header of a token.
pub fn header(token: &str) -> Value {
    decoded(parts(token)[0])
}

/// The claims of a token.
pub fn claims(token: &str) -> Value {
    decoded(parts(token)[1])
}

/// The signature part of a token: the piece whose leak a log is searched for.
pub fn signature(token: &str) -> &str {
    parts(token)[2]
}

/// The same token with one claim changed and the signature kept.
pub fn with_claim(token: &str, claim: &str, value: impl Into<Value>) -> String {
    let [header, _, signature] = parts(token);
    let mut claims = claims(token);
    claims[claim] = value.into();
    format!("{header}.{}.{signature}", encoded(&claims))
}

/// The same token with one bit of the signature turned over.
pub fn with_broken_signature(token: &str) -> String {
    let [header, payload, signature] = parts(token);
    let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature is base64url");
    signature[0] ^= 1;
    format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The same claims with `"alg": ALG` in the header and no signature.
pub fn unsigned(token: &str, alg: &str) -> String {
    let mut header = header(token);
    header["alg"] = alg.into();
    format!("{}.{}.", encoded(&header), parts(token)[1])
}

/// The same claims under HS256, keyed with `secret`: the public key, in the hope that a verifier takes it for one.
pub fn hs256(token: &str, secret: &[u8]) -> String {
    let mut header = header(token);
    header["alg"] = "HS256".into();
    let signed = format!("{}.{}", encoded(&header), parts(token)[1]);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The same token with another `kid`, as an attacker writes it who wants the key set fetched.
pub fn with_kid(token: &str, kid: &str) -> String {
    let [_, payload, signature] = parts(token);
    let mut header = header(token);
    header["kid"] = kid.into();
    format!("{}.{payload}.{signature}", encoded(&header))
}

/// The other valid signature of an ES256 token: (r, n - s) in place of (r, s). Same claims, other bytes, and accepted by
/// every verifier.
#[must_use]
pub fn es256_twin(token: &str) -> String {
    // The order of P-256 (FIPS 186-4, D.1.2.3).
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let [header, payload, signature] = parts(token);
    let mut signature = URL_SAFE_NO_PAD.decode(signature).expect("a signature is base64url");
    let mut borrow = false;
    for (byte, n) in signature[32..].iter_mut().zip(N).rev() {
        let (less, under) = n.overflowing_sub(*byte);
        let (less, under_again) = less.overflowing_sub(u8::from(borrow));
        borrow = under || under_again;
        *byte = less;
    }
    format!("{header}.{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
}
