#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use authmesh::jose::{AlgorithmSet, KeySet, KeySetLimits, verify_jws};

use super::*;

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/keys/", $name)).as_slice()
    };
}

/// What the key signs holds under the public key of that name.
fn check(key: SigningKey, name: &str, algorithm: Algorithm) {
    let set = KeySet::parse(file!("public.json"), &KeySetLimits::default()).unwrap();
    let jws = key.kid(name).sign(&json!({"sub": "app"})).unwrap();
    let verified = verify_jws(jws.as_bytes(), &set, AlgorithmSet::of(&[algorithm])).unwrap();
    assert_eq!(verified.payload(), br#"{"sub":"app"}"#);
    assert_eq!(verified.header().kid().map(|kid| &**kid), Some(name));
    assert!(verified.header().typ_is("JWT"));
}

#[test]
fn keys_are_read_from_pem_in_every_common_form() {
    for (pem, name, algorithm) in [
        (file!("rsa.pem"), "rsa", Algorithm::RS256),
        (file!("rsa-pkcs1.pem"), "rsa", Algorithm::RS256),
        (file!("p256.pem"), "p256", Algorithm::ES256),
        (file!("p256-sec1.pem"), "p256", Algorithm::ES256),
        (file!("p384-sec1.pem"), "p384", Algorithm::ES384),
        (file!("ed25519.pem"), "ed25519", Algorithm::EdDSA),
    ] {
        check(SigningKey::from_pem(pem).unwrap(), name, algorithm);
    }
}

#[test]
fn keys_are_read_from_private_jwks() {
    for (jwk, name, algorithm) in [
        (file!("rsa.jwk.json"), "rsa", Algorithm::RS256),
        (file!("p256.jwk.json"), "p256", Algorithm::ES256),
        (file!("p384.jwk.json"), "p384", Algorithm::ES384),
        (file!("ed25519.jwk.json"), "ed25519", Algorithm::EdDSA),
    ] {
        let key = SigningKey::from_jwk(jwk).unwrap();
        assert_eq!(key.kid.as_deref(), Some(name));
        check(key, name, algorithm);
    }
}

#[test]
fn an_rsa_key_signs_with_each_of_its_algorithms_and_no_other_key_does() {
    let rsa = SigningKey::from_pem(file!("rsa.pem")).unwrap();
    for algorithm in Algorithm::ALL {
        match rsa.clone().algorithm(algorithm) {
            Ok(key) => check(key, "rsa", algorithm),
            Err(_) => assert!(rsa_encoding(algorithm).is_none(), "{algorithm:?}"),
        }
    }
    let p256 = SigningKey::from_pem(file!("p256.pem")).unwrap();
    p256.clone().algorithm(Algorithm::ES256).unwrap();
    for algorithm in [Algorithm::ES384, Algorithm::RS256, Algorithm::EdDSA] {
        p256.clone().algorithm(algorithm).unwrap_err();
    }
}

/// `jwk` with one member replaced; `null` removes it.
fn altered(jwk: &[u8], member: &str, value: Value) -> Vec<u8> {
    let mut jwk: Value = serde_json::from_slice(jwk).unwrap();
    match value {
        Value::Null => drop(jwk.as_object_mut().unwrap().remove(member)),
        value => jwk[member] = value,
    }
    jwk.to_string().into_bytes()
}

#[test]
fn what_is_no_private_key_is_refused_without_being_quoted() {
    let p256: Value = serde_json::from_slice(file!("p256.jwk.json")).unwrap();
    let secret = p256["d"].as_str().unwrap().to_owned();
    let twice = format!(r#"{{"kty":"EC","crv":"P-256","d":"{secret}","d":"{secret}"}}"#);
    for jwk in [
        b"no json".to_vec(),
        twice.into_bytes(),
        altered(file!("p256.jwk.json"), "d", Value::Null),
        altered(file!("p256.jwk.json"), "d", "!".into()),
        altered(file!("p256.jwk.json"), "d", "AQ".into()),
        altered(file!("p256.jwk.json"), "x", p256["y"].clone()),
        altered(file!("p256.jwk.json"), "crv", "P-384".into()),
        altered(file!("p256.jwk.json"), "crv", "secp256k1".into()),
        altered(file!("p256.jwk.json"), "use", "enc".into()),
        altered(file!("p256.jwk.json"), "alg", "RS256".into()),
        altered(file!("p256.jwk.json"), "alg", "HS256".into()),
        altered(file!("p256.jwk.json"), "kty", "oct".into()),
        altered(file!("rsa.jwk.json"), "qi", Value::Null),
        altered(file!("rsa.jwk.json"), "e", "AQ".into()),
        altered(file!("ed25519.jwk.json"), "x", p256["x"].clone()),
    ] {
        let error = SigningKey::from_jwk(&jwk).expect_err(&String::from_utf8_lossy(&jwk));
        assert!(!error.to_string().contains(&secret), "{error}");
    }
    for pem in [
        file!("public.json"),
        file!("encrypted.pem"),
        file!("rsa1024.pem"),
        include_bytes!("../../../tests/tls/server.pem").as_slice(),
        b"",
    ] {
        SigningKey::from_pem(pem).unwrap_err();
    }
}

#[test]
fn debug_shows_the_kind_of_key_and_no_key() {
    let shown = format!("{:?}", SigningKey::from_jwk(file!("p256.jwk.json")).unwrap());
    assert_eq!(shown, r#"SigningKey { algorithm: ES256, kid: Some("p256"), .. }"#);
}
