//! Each reason to leave a key out is seen.

use serde_json::{Value, json};

use super::keys::{ED, P256, P384, Pair, RSA, document, set};
use crate::jose::{
    Algorithm, AlgorithmSet, JwsError, KeySet, KeySetError, KeySetLimits, KeyType, MAX_KID_BYTES, SkipReason,
    base64url, verify_jws,
};

/// Why a set of this key alone is unusable. The key must also be skipped, and nothing else, beside a good one.
fn reason(jwk: &Value) -> SkipReason {
    let beside = set(&[jwk.clone(), ED.jwk(json!({}))]);
    assert_eq!(beside.len(), 1, "{jwk}");
    let limits = KeySetLimits::default();
    match KeySet::parse(&document(std::slice::from_ref(jwk)), &limits) {
        Err(KeySetError::NoUsableKey { skipped }) => {
            assert_eq!(beside.skipped(), skipped);
            assert_eq!((skipped.len(), skipped[0].index), (1, 0));
            skipped[0].reason
        }
        other => panic!("{jwk}: {other:?}"),
    }
}

fn rsa_with(modulus: &[u8], exponent: &[u8]) -> Value {
    json!({"kty": "RSA", "n": base64url::encode(modulus), "e": base64url::encode(exponent)})
}

/// An odd integer of exactly so many bits.
fn modulus(bits: usize) -> Vec<u8> {
    let mut modulus = vec![0_u8; bits.div_ceil(8)];
    modulus[0] = 1 << ((bits - 1) % 8);
    *modulus.last_mut().unwrap() |= 1;
    modulus
}

#[test]
fn good_keys_are_read_with_all_that_names_them() {
    let kinds = [
        (&RSA, KeyType::Rsa, 6),
        (&P256, KeyType::P256, 1),
        (&P384, KeyType::P384, 1),
        (&ED, KeyType::Ed25519, 1),
    ];
    for (pair, key_type, algorithms) in kinds {
        let plain = set(&[pair.jwk(json!({}))]);
        let key = plain.iter().next().unwrap();
        assert_eq!((key.key_type(), key.kid(), key.alg()), (key_type, None, None));
        assert_eq!(key.algorithms().len(), algorithms);

        let alg = key_type.algorithms().iter().next().unwrap();
        let full = set(&[pair.jwk(json!({
            "kid": "k", "alg": alg, "use": "sig", "key_ops": ["verify"], "x5c": ["?"], "x5t": 1, "ext": true, "unknown": {},
        }))]);
        let full = full.iter().next().unwrap();
        assert_eq!(full.kid().map(|kid| &**kid), Some("k"));
        assert_eq!(full.algorithms(), AlgorithmSet::from(alg));
        assert_eq!(
            full.thumbprint(),
            key.thumbprint(),
            "the thumbprint is that of the key alone"
        );
        let identity = full.identity(alg).unwrap();
        assert!(identity.use_sig && identity.key_ops.unwrap().verifies());
        assert_ne!(full, key);
    }
}

#[test]
fn thumbprints_are_those_of_the_standards() {
    // RFC 7638 section 3.1 and RFC 8037 appendix A.3.
    let rsa = json!({
        "kty": "RSA", "alg": "RS256", "kid": "2011-04-29", "e": "AQAB",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhM\
              stn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbI\
              SD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    });
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    for (jwk, expected) in [
        (rsa, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (ed, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ] {
        let set = set(&[jwk]);
        assert_eq!(base64url::encode(&set.iter().next().unwrap().thumbprint()), expected);
    }
    // The members of an EC key, in their order: recomputed here by other means.
    let jwk = P256.jwk(json!({}));
    let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
    let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    assert_eq!(set(&[jwk]).iter().next().unwrap().thumbprint(), expected.as_ref());
}

#[test]
fn private_key_material_is_refused_by_name() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"] {
        for pair in [&RSA, &P256, &ED] {
            // Whatever else is wrong with the key, and whatever the member holds.
            for more in [
                json!({name: "AA"}),
                json!({name: null, "use": "enc"}),
                json!({name: 1, "kty": "??", "kid": 7}),
            ] {
                let reason = reason(&pair.jwk(more));
                assert_eq!(reason, SkipReason::PrivateKeyMaterial);
                assert!(reason.exposes_secret());
            }
        }
    }
}

#[test]
fn symmetric_keys_are_refused_by_name() {
    for jwk in [
        json!({"kty": "oct", "k": "AAAA", "alg": "HS256"}),
        json!({"kty": "oct"}),
        json!({"kty": "oct", "use": 1}),
    ] {
        let reason = reason(&jwk);
        assert_eq!(reason, SkipReason::SymmetricKey);
        assert!(reason.exposes_secret());
    }
    assert!(!SkipReason::UnknownKeyType.exposes_secret());
}

#[test]
fn unknown_and_ill_typed_keys_are_refused() {
    for jwk in [json!(null), json!(1), json!("x"), json!([]), json!([{"kty": "RSA"}])] {
        assert_eq!(reason(&jwk), SkipReason::NotAnObject);
    }
    assert_eq!(reason(&json!({})), SkipReason::Missing("kty"));
    for kty in ["rsa", "AKP", "", "Oct", "EC2"] {
        assert_eq!(reason(&ED.jwk(json!({"kty": kty}))), SkipReason::UnknownKeyType);
    }
    for name in ["kty", "kid", "use", "alg", "crv", "x", "key_ops"] {
        for wrong in [json!(null), json!(1), json!({}), json!(true)] {
            assert_eq!(reason(&ED.jwk(json!({name: wrong}))), SkipReason::WrongType(name));
        }
    }
    assert_eq!(
        reason(&ED.jwk(json!({"key_ops": ["verify", 1]}))),
        SkipReason::WrongType("key_ops")
    );
    assert_eq!(
        reason(&ED.jwk(json!({"key_ops": "verify"}))),
        SkipReason::WrongType("key_ops")
    );
    for (pair, names) in [
        (&RSA, &["n", "e"][..]),
        (&P256, &["crv", "x", "y"]),
        (&ED, &["crv", "x"]),
    ] {
        for name in names {
            let mut jwk = pair.jwk(json!({}));
            jwk.as_object_mut().unwrap().remove(*name);
            assert_eq!(reason(&jwk), SkipReason::Missing(name));
            // Padding, the standard alphabet, and stray bits.
            if *name != "crv" {
                for bad in ["AA==", "+/+/", "AB", "A A"] {
                    assert_eq!(reason(&pair.jwk(json!({*name: bad}))), SkipReason::NotBase64Url(name));
                }
            }
        }
    }
}

#[test]
fn kid_is_bounded() {
    let at_limit = "k".repeat(MAX_KID_BYTES);
    assert_eq!(set(&[ED.jwk(json!({"kid": at_limit}))]).len(), 1);
    assert_eq!(
        reason(&ED.jwk(json!({"kid": at_limit + "k"}))),
        SkipReason::TooLong("kid")
    );
}

#[test]
fn a_key_for_anything_but_signatures_is_refused() {
    for other in ["enc", "", "SIG", "signature"] {
        assert_eq!(reason(&ED.jwk(json!({"use": other}))), SkipReason::UseNotSig);
    }
    for ops in [json!([]), json!(["sign"]), json!(["encrypt"]), json!(["Verify"])] {
        assert_eq!(
            reason(&ED.jwk(json!({"key_ops": ops}))),
            SkipReason::KeyOpsWithoutVerify
        );
    }
    for ops in [json!(["verify", "verify"]), json!(["x", "verify", "x"])] {
        assert_eq!(reason(&ED.jwk(json!({"key_ops": ops}))), SkipReason::KeyOpsRepeated);
    }
    for op in ["encrypt", "decrypt", "wrapKey", "unwrapKey", "deriveKey", "deriveBits"] {
        let ops = json!(["verify", op]);
        assert_eq!(
            reason(&ED.jwk(json!({"use": "sig", "key_ops": ops}))),
            SkipReason::KeyOpsContradictUse
        );
        assert_eq!(set(&[ED.jwk(json!({"key_ops": ops}))]).len(), 1);
    }
    for ops in [
        json!(["verify"]),
        json!(["sign", "verify"]),
        json!(["verify", "of-my-own"]),
    ] {
        assert_eq!(set(&[ED.jwk(json!({"use": "sig", "key_ops": ops}))]).len(), 1);
    }
    let many: Vec<String> = (0..17)
        .map(|at| format!("op{at}"))
        .chain(["verify".to_owned()])
        .collect();
    assert_eq!(
        reason(&ED.jwk(json!({"key_ops": many}))),
        SkipReason::TooLong("key_ops")
    );
}

#[test]
fn alg_must_be_known_and_go_with_the_key() {
    for alg in [
        "none", "HS256", "ES512", "ES256K", "RSA-OAEP", "ECDH-ES", "Ed25519", "rs256", "",
    ] {
        assert_eq!(
            reason(&RSA.jwk(json!({"alg": alg}))),
            SkipReason::UnsupportedAlgorithm,
            "{alg}"
        );
    }
    for pair in [&RSA, &P256, &P384, &ED] {
        let fits = set(&[pair.jwk(json!({}))]).iter().next().unwrap().algorithms();
        for alg in Algorithm::ALL {
            let jwk = pair.jwk(json!({"alg": alg}));
            if fits.contains(alg) {
                assert_eq!(set(&[jwk]).iter().next().unwrap().alg(), Some(alg));
            } else {
                assert_eq!(reason(&jwk), SkipReason::AlgorithmContradictsKey);
            }
        }
    }
}

#[test]
fn rsa_moduli_have_2048_to_8192_bits_and_are_odd() {
    let e = [1, 0, 1];
    for bits in [2048, 2049, 3072, 4096, 8191, 8192] {
        assert_eq!(set(&[rsa_with(&modulus(bits), &e)]).len(), 1, "{bits}");
    }
    for bits in [1_u64, 8, 512, 1024, 2040, 2047] {
        assert_eq!(
            reason(&rsa_with(&modulus(bits as usize), &e)),
            SkipReason::RsaTooShort { bits }
        );
    }
    for bits in [8193_u64, 8200, 16_384, 800_000] {
        assert_eq!(
            reason(&rsa_with(&modulus(bits as usize), &e)),
            SkipReason::RsaTooLong { bits }
        );
    }
    let mut even = modulus(2048);
    *even.last_mut().unwrap() = 2;
    assert_eq!(reason(&rsa_with(&even, &e)), SkipReason::RsaModulusEven);
    let padded = [vec![0], modulus(2048)].concat();
    assert_eq!(reason(&rsa_with(&padded, &e)), SkipReason::NotMinimal("n"));
    assert_eq!(reason(&rsa_with(&[], &e)), SkipReason::Missing("n"));
}

#[test]
fn rsa_exponents_are_odd_and_between_3_and_2_to_the_33() {
    let n = modulus(2048);
    for good in [&[3][..], &[17], &[1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff]] {
        assert_eq!(set(&[rsa_with(&n, good)]).len(), 1, "{good:?}");
    }
    for bad in [
        &[1][..],
        &[2],
        &[1, 0, 0],
        &[2, 0, 0, 0, 0],
        &[2, 0, 0, 0, 1],
        &[1, 0, 0, 0, 0, 0, 0, 0, 3],
        &[0xff; 256],
    ] {
        assert_eq!(reason(&rsa_with(&n, bad)), SkipReason::RsaExponent, "{bad:?}");
    }
    assert_eq!(reason(&rsa_with(&n, &[0])), SkipReason::NotMinimal("e"));
    assert_eq!(reason(&rsa_with(&n, &[0, 1, 0, 1])), SkipReason::NotMinimal("e"));
    assert_eq!(reason(&rsa_with(&n, &[])), SkipReason::Missing("e"));
}

#[test]
fn ec_points_lie_on_their_curve_and_have_its_length() {
    for crv in ["P-521", "secp256k1", "p-256", "Ed25519", ""] {
        assert_eq!(reason(&P256.jwk(json!({"crv": crv}))), SkipReason::UnsupportedCurve);
    }
    for (pair, other) in [(&P256, "P-384"), (&P384, "P-256")] {
        assert_eq!(
            reason(&pair.jwk(json!({"crv": other}))),
            SkipReason::CoordinateLength("x")
        );
        let jwk = pair.jwk(json!({}));
        for name in ["x", "y"] {
            let good = base64url::decode(jwk[name].as_str().unwrap().as_bytes()).unwrap();
            for wrong in [
                good[1..].to_vec(),
                [vec![0], good.clone()].concat(),
                Vec::new(),
                vec![4; 133],
            ] {
                let wrong = base64url::encode(&wrong);
                assert_eq!(
                    reason(&pair.jwk(json!({name: wrong}))),
                    SkipReason::CoordinateLength(name)
                );
            }
            let mut off = good.clone();
            off[20] ^= 1;
            for off in [off, vec![0; good.len()], vec![0xff; good.len()]] {
                assert_eq!(
                    reason(&pair.jwk(json!({name: base64url::encode(&off)}))),
                    SkipReason::NotOnCurve
                );
            }
        }
    }
}

#[test]
fn ed25519_keys_have_32_bytes() {
    for crv in ["Ed448", "X25519", "ed25519", "P-256"] {
        assert_eq!(reason(&ED.jwk(json!({"crv": crv}))), SkipReason::UnsupportedCurve);
    }
    for length in [0_usize, 3, 31, 33, 57, 64] {
        let x = base64url::encode(&vec![7; length]);
        assert_eq!(reason(&ED.jwk(json!({"x": x}))), SkipReason::CoordinateLength("x"));
    }
}

#[test]
fn ed25519_keys_of_small_order_are_refused() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    };
    let zeros = "00".repeat(31);
    let ones = "ff".repeat(30);
    for low in [
        format!("00{zeros}"),
        format!("01{zeros}"),
        format!("ec{ones}7f"),
        format!("ed{ones}7f"),
        format!("ee{ones}7f"),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".to_owned(),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".to_owned(),
    ] {
        for sign in [0, 0x80] {
            let mut point = hex(&low);
            point[31] |= sign;
            assert_eq!(
                reason(&ED.jwk(json!({"x": base64url::encode(&point)}))),
                SkipReason::WeakPoint,
                "{low}"
            );
        }
    }
    let mut near = hex(&format!("01{zeros}"));
    near[15] = 1;
    assert_eq!(set(&[ED.jwk(json!({"x": base64url::encode(&near)}))]).len(), 1);

    // Why they are refused: under the neutral point, this constant signature fits every message, says the back end.
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    let neutral = hex(&format!("01{zeros}"));
    let forged = [neutral.clone(), vec![0; 32]].concat();
    assert!(
        UnparsedPublicKey::new(&ED25519, &neutral)
            .verify(b"anything", &forged)
            .is_ok()
    );
}

#[test]
fn messages_name_the_key_and_the_fault_but_no_material() {
    let secret = "c2VjcmV0LXNlY3JldA";
    let keys: Vec<Value> = (0..6)
        .map(|at| RSA.jwk(json!({"kid": format!("k{at}\n"), "d": secret})))
        .collect();
    let error = KeySet::parse(&document(&keys), &KeySetLimits::default()).unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains(r#"keys[0] (kid "k0\n"): the set publishes private key material"#),
        "{shown}"
    );
    assert!(
        shown.contains("none of the 6 keys") && shown.ends_with("and 2 more"),
        "{shown}"
    );
    assert!(!format!("{shown}{error:?}").contains(secret));
    let good = RSA.jwk(json!({"kid": "k"}));
    let debug = format!("{:?}", set(std::slice::from_ref(&good)));
    let n = good["n"].as_str().unwrap();
    assert!(!debug.contains(&n[..20]) && debug.contains("Rsa"), "{debug}");
}

#[test]
fn only_the_canonical_form_of_a_kid_matches() {
    // Names are compared as they are: no case folding, no trimming, no Unicode normalization.
    let keys = set(&[ED.jwk(json!({"kid": "caf\u{e9}"}))]);
    for kid in ["cafe\u{301}", "CAF\u{c9}", "caf\u{e9} ", ""] {
        let token = ED.token(Algorithm::EdDSA, json!({"kid": kid}), b"{}");
        assert_eq!(
            verify_jws(&token, &keys, AlgorithmSet::ALL).unwrap_err(),
            JwsError::UnknownKey
        );
    }
    let fresh = Pair::fresh().token(Algorithm::EdDSA, json!({"kid": "caf\u{e9}"}), b"{}");
    assert_eq!(
        verify_jws(&fresh, &keys, AlgorithmSet::ALL).unwrap_err(),
        JwsError::BadSignature
    );
}
