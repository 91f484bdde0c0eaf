//! Signatures: what verifies, and that nothing else does.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::keys::{ED, P256, P384, Pair, RSA, set};
use crate::jose::{Algorithm, AlgorithmSet, CompactJws, JwsError, KeySet, base64url, json as strict, verify_jws};

const CLAIMS: &[u8] = br#"{"iss":"https://issuer.example","sub":"alice"}"#;

fn everyone() -> KeySet {
    set(&[
        RSA.jwk(json!({"kid": "rsa"})),
        P256.jwk(json!({"kid": "p256"})),
        P384.jwk(json!({"kid": "p384"})),
        ED.jwk(json!({"kid": "ed"})),
    ])
}

fn kid_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "p256",
        Algorithm::ES384 => "p384",
        Algorithm::EdDSA => "ed",
        _ => "rsa",
    }
}

fn token(algorithm: Algorithm) -> String {
    Pair::of(algorithm).token(algorithm, json!({"kid": kid_of(algorithm), "typ": "at+jwt"}), CLAIMS)
}

fn refusal(token: &str, keys: &KeySet) -> JwsError {
    verify_jws(token, keys, AlgorithmSet::ALL).unwrap_err()
}

/// The token with another signature.
fn resigned(token: &str, signature: &[u8]) -> String {
    let (signing_input, _) = token.rsplit_once('.').unwrap();
    format!("{signing_input}.{}", base64url::encode(signature))
}

fn signature(token: &str) -> Vec<u8> {
    CompactJws::parse(token).unwrap().signature().to_vec()
}

#[test]
fn every_algorithm_verifies() {
    let keys = everyone();
    for algorithm in Algorithm::ALL {
        let token = token(algorithm);
        let verified = verify_jws(&token, &keys, AlgorithmSet::from(algorithm)).unwrap();
        assert_eq!(verified.payload(), CLAIMS);
        assert_eq!(verified.claims().unwrap()["sub"], "alice");
        assert_eq!(verified.header().algorithm(), algorithm);
        assert!(verified.header().typ_is("at+jwt"));
        assert_eq!(verified.key().kid().map(|kid| &**kid), Some(kid_of(algorithm)));
        assert_eq!(verified.key_identity().alg, algorithm);
        assert!(keys.contains(verified.key_identity()));
        assert_eq!(
            verified.signing_input_sha256(),
            CompactJws::parse(&token).unwrap().signing_input_sha256()
        );
        // Bytes and text are the same token.
        assert!(verify_jws(token.as_bytes(), &keys, AlgorithmSet::ALL).is_ok());
    }
}

#[test]
fn the_allow_list_comes_before_the_keys() {
    let keys = set(&[ED.jwk(json!({"kid": "another"}))]);
    for algorithm in Algorithm::ALL {
        let others: AlgorithmSet = AlgorithmSet::ALL.iter().filter(|other| *other != algorithm).collect();
        let token = token(algorithm);
        for allowed in [others, AlgorithmSet::EMPTY] {
            assert_eq!(
                verify_jws(&token, &keys, allowed).unwrap_err(),
                JwsError::AlgorithmNotAllowed(algorithm)
            );
            let all = everyone();
            let jws = CompactJws::parse(&token).unwrap();
            for key in all.iter() {
                assert_eq!(key.verify(&jws, allowed), Err(JwsError::AlgorithmNotAllowed(algorithm)));
            }
        }
        assert_eq!(
            verify_jws(&token, &keys, AlgorithmSet::ALL).unwrap_err(),
            JwsError::UnknownKey
        );
    }
}

#[test]
fn the_keys_own_alg_decides() {
    for (algorithm, of_key) in [("RS256", "RS384"), ("RS256", "PS256"), ("PS512", "PS384")] {
        let algorithm: Algorithm = algorithm.parse().unwrap();
        let keys = set(&[RSA.jwk(json!({"kid": "rsa", "alg": of_key}))]);
        assert_eq!(refusal(&token(algorithm), &keys), JwsError::KeyMismatch);
        let unnamed = RSA.token(algorithm, json!({}), CLAIMS);
        assert_eq!(refusal(&unnamed, &keys), JwsError::UnknownKey);
        // Whoever picked the key, it refuses.
        let key = keys.iter().next().unwrap();
        let jws = CompactJws::parse(&unnamed).unwrap();
        assert_eq!(key.verify(&jws, AlgorithmSet::ALL), Err(JwsError::KeyMismatch));
    }
}

#[test]
fn a_key_refuses_what_it_was_not_picked_for() {
    let all = everyone();
    for algorithm in Algorithm::ALL {
        let named = token(algorithm);
        let unnamed = Pair::of(algorithm).token(algorithm, json!({}), CLAIMS);
        let elsewhere = Pair::of(algorithm).token(algorithm, json!({"kid": "elsewhere"}), CLAIMS);
        for key in all.iter() {
            let fits = key.algorithms().contains(algorithm);
            let verdict = |token: &str| key.verify(&CompactJws::parse(token).unwrap(), AlgorithmSet::ALL);
            let expected = if fits {
                Ok(algorithm)
            } else {
                Err(JwsError::KeyMismatch)
            };
            assert_eq!(verdict(&named), expected);
            assert_eq!(verdict(&unnamed), expected);
            assert_eq!(verdict(&elsewhere), Err(JwsError::KeyMismatch));
            assert_eq!(key.identity(algorithm).is_some(), fits);
        }
    }
}

#[test]
fn the_signature_of_another_key_or_token_does_not_fit() {
    let keys = everyone();
    for algorithm in [
        Algorithm::EdDSA,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::RS256,
        Algorithm::PS256,
    ] {
        let pair = Pair::of(algorithm);
        let one = token(algorithm);
        let other = pair.token(algorithm, json!({"kid": kid_of(algorithm)}), b"{}");
        assert_eq!(
            refusal(&resigned(&one, &signature(&other)), &keys),
            JwsError::BadSignature
        );
    }
    let stranger = Pair::fresh().token(Algorithm::EdDSA, json!({"kid": "ed"}), CLAIMS);
    assert_eq!(refusal(&stranger, &keys), JwsError::BadSignature);
    // RS256 made, PS256 claimed: the same key could check both.
    let header = base64url::encode(br#"{"alg":"PS256","kid":"rsa"}"#);
    let input = format!("{header}.{}", base64url::encode(CLAIMS));
    let crossed = RSA.sign(Algorithm::RS256, input.as_bytes());
    assert_eq!(
        refusal(&format!("{input}.{}", base64url::encode(&crossed)), &keys),
        JwsError::BadSignature
    );
}

#[test]
fn signatures_have_exactly_their_length() {
    let keys = everyone();
    for algorithm in Algorithm::ALL {
        let token = token(algorithm);
        let good = signature(&token);
        assert!(verify_jws(&resigned(&token, &good), &keys, AlgorithmSet::ALL).is_ok());
        let half = good.len() / 2;
        for wrong in [
            Vec::new(),
            good[1..].to_vec(),
            good[..good.len() - 1].to_vec(),
            [&good[..], &[0]].concat(),
            [&[0], &good[..]].concat(),
            [&good[..], &good[..]].concat(),
            good[..half].to_vec(),
            // Each half of an ECDSA signature with a leading zero.
            [&[0], &good[..half], &[0], &good[half..]].concat(),
            vec![0; good.len()],
            vec![0xff; good.len()],
        ] {
            assert_eq!(
                refusal(&resigned(&token, &wrong), &keys),
                JwsError::BadSignature,
                "{algorithm}"
            );
        }
    }
    // ASN.1 form of an ECDSA signature, as some libraries send it.
    let token = token(Algorithm::ES256);
    let good = signature(&token);
    let integer = |half: &[u8]| [&[2, 33, 0], half].concat();
    let content = [integer(&good[..32]), integer(&good[32..])].concat();
    let der = [&[0x30, content.len() as u8], content.as_slice()].concat();
    assert_eq!(refusal(&resigned(&token, &der), &keys), JwsError::BadSignature);
}

#[test]
fn an_ecdsa_twin_is_the_same_token() {
    /// Order of P-256, big-endian.
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let keys = everyone();
    let token = token(Algorithm::ES256);
    let mut twin = signature(&token);
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(twin[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        twin[32 + at] = difference.rem_euclid(256) as u8;
    }
    let twin = resigned(&token, &twin);
    assert_ne!(token, twin);
    let [one, two] = [token, twin].map(|token| verify_jws(&token, &keys, AlgorithmSet::ALL).unwrap());
    assert_eq!(one.signing_input_sha256(), two.signing_input_sha256());
}

#[test]
fn keys_that_a_token_brings_along_are_never_used() {
    let own = Pair::fresh();
    let more = json!({"jwk": own.jwk(json!({})), "jku": "https://127.0.0.1/keys", "x5u": "https://127.0.0.1/x", "x5c": ["AA"]});
    assert_eq!(
        refusal(&own.token(Algorithm::EdDSA, more.clone(), CLAIMS), &everyone()),
        JwsError::BadSignature
    );
    // And they do no harm to a token that a key of the set signed.
    assert!(
        verify_jws(
            &ED.token(Algorithm::EdDSA, more, CLAIMS),
            &everyone(),
            AlgorithmSet::ALL
        )
        .is_ok()
    );
}

#[test]
fn tokens_without_a_real_signature_are_unsupported() {
    let input = |header: &str| format!("{}.{}", base64url::encode(header.as_bytes()), base64url::encode(CLAIMS));
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","kid":"rsa"}"#,
        r#"{"alg":"ES512"}"#,
    ] {
        for signature in ["", "AAAA"] {
            let refusal = refusal(&format!("{}.{signature}", input(header)), &everyone());
            assert!(matches!(refusal, JwsError::Unsupported(_)), "{header}: {refusal:?}");
        }
    }
}

#[test]
fn claims_must_be_a_strict_object() {
    for (payload, error) in [
        (&b""[..], None),
        (b"foo", None),
        (b"[]", Some(strict::JsonError::NotAnObject)),
        (
            br#"{"sub":"alice","sub":"bob"}"#,
            Some(strict::JsonError::RepeatedMember),
        ),
    ] {
        let token = ED.token(Algorithm::EdDSA, json!({"kid": "ed"}), payload);
        let verified = verify_jws(&token, &everyone(), AlgorithmSet::ALL).unwrap();
        assert_eq!(verified.payload(), payload);
        let refused = verified.claims().unwrap_err();
        assert!(error.is_none_or(|error| error == refused), "{refused:?}");
    }
}

#[test]
fn debug_and_messages_tell_nothing() {
    let token = ED.token(Algorithm::EdDSA, json!({"kid": "ed"}), br#"{"sub":"mallory"}"#);
    let verified = verify_jws(&token, &everyone(), AlgorithmSet::ALL).unwrap();
    let shown = format!("{verified:?} {:?}", CompactJws::parse(&token).unwrap());
    assert!(!shown.contains("mallory"), "{shown}");
    for part in token.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
    for error in [
        JwsError::Malformed("x"),
        JwsError::Unsupported("x"),
        JwsError::AlgorithmNotAllowed(Algorithm::RS256),
        JwsError::UnknownKey,
        JwsError::AmbiguousKey,
        JwsError::KeyMismatch,
        JwsError::BadSignature,
    ] {
        assert!(!error.to_string().is_empty());
    }
}

/// Every bit of every part, one at a time.
fn no_flipped_bit_verifies(algorithm: Algorithm) {
    let keys = everyone();
    let token = token(algorithm);
    assert!(verify_jws(&token, &keys, AlgorithmSet::ALL).is_ok());
    let mut bytes = token.into_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(
                verify_jws(&bytes, &keys, AlgorithmSet::ALL).is_err(),
                "{algorithm}: bit {bit} of byte {at}"
            );
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn no_flipped_bit_verifies_eddsa() {
    no_flipped_bit_verifies(Algorithm::EdDSA);
}

#[test]
fn no_flipped_bit_verifies_es256() {
    no_flipped_bit_verifies(Algorithm::ES256);
}

#[test]
fn no_flipped_bit_verifies_rs256() {
    no_flipped_bit_verifies(Algorithm::RS256);
}

#[test]
fn no_flipped_bit_verifies_ps256() {
    no_flipped_bit_verifies(Algorithm::PS256);
}

fn header() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just(json!("EdDSA")),
        Just(json!("ed")),
        Just(json!(null)),
        any::<i32>().prop_map(Value::from),
        ".*".prop_map(Value::from)
    ];
    let name = prop_oneof![
        Just("alg".to_owned()),
        Just("kid".to_owned()),
        Just("typ".to_owned()),
        Just("crit".to_owned()),
        Just("b64".to_owned()),
        ".{0,4}"
    ];
    proptest::collection::btree_map(name, text, 0..5).prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_parse_or_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(CompactJws::parse(&bytes).is_err());
    }

    #[test]
    fn text_of_the_right_alphabet_never_verifies(token in "[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(verify_jws(&token, &everyone(), AlgorithmSet::ALL).is_err());
    }

    /// Whatever the header says, only one that the key's holder signed passes.
    #[test]
    fn invented_headers_never_verify(header in header(), payload in proptest::collection::vec(any::<u8>(), 0..40)) {
        let good = signature(&token(Algorithm::EdDSA));
        let input = format!("{}.{}", base64url::encode(header.to_string().as_bytes()), base64url::encode(&payload));
        let token = format!("{input}.{}", base64url::encode(&good));
        prop_assert!(verify_jws(&token, &everyone(), AlgorithmSet::ALL).is_err());
    }

    /// Bytes overwritten, removed, inserted: it verifies only if nothing changed.
    #[test]
    fn mutated_tokens_never_verify(
        from in any::<prop::sample::Index>(), removed in 0_usize..4, inserted in proptest::collection::vec(any::<u8>(), 0..4)
    ) {
        let token = token(Algorithm::EdDSA).into_bytes();
        let from = from.index(token.len());
        let mut mutated = token.clone();
        mutated.splice(from..(from + removed).min(token.len()), inserted);
        prop_assert_eq!(verify_jws(&mutated, &everyone(), AlgorithmSet::ALL).is_ok(), mutated == token);
    }
}
