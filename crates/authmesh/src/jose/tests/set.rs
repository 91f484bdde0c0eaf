//! Key sets: limits, clashes, selection, identity.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::keys::{ED, P256, P384, Pair, RSA, document, set};
use crate::jose::json::JsonError;
use crate::jose::{
    Algorithm, AlgorithmSet, CompactJws, JwsError, KeySet, KeySetError, KeySetLimits, MAX_UNNAMED_CANDIDATES,
    SkipReason, verify_jws,
};

fn parse(document: &[u8]) -> Result<KeySet, KeySetError> {
    KeySet::parse(document, &KeySetLimits::default())
}

fn reasons(set: &KeySet) -> Vec<(usize, SkipReason)> {
    set.skipped().iter().map(|key| (key.index, key.reason)).collect()
}

/// The kids of the candidates for a token with this header.
fn candidates(set: &KeySet, algorithm: Algorithm, kid: Option<&str>) -> Result<Vec<Option<String>>, JwsError> {
    let header = kid.map_or(json!({}), |kid| json!({"kid": kid}));
    let token = Pair::of(algorithm).token(algorithm, header, b"{}");
    let jws = CompactJws::parse(&token).unwrap();
    let found = set.candidates(jws.header())?;
    Ok(found.map(|key| key.kid().map(|kid| kid.to_string())).collect())
}

#[test]
fn a_document_that_is_no_key_set_is_refused() {
    assert_eq!(parse(b"[]"), Err(KeySetError::Json(JsonError::NotAnObject)));
    assert!(matches!(parse(b""), Err(KeySetError::Json(JsonError::Syntax { .. }))));
    assert!(matches!(
        parse(b"<html>"),
        Err(KeySetError::Json(JsonError::Syntax { .. }))
    ));
    for text in [
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"Keys":[]}"#,
        r#"{"kty":"OKP"}"#,
    ] {
        assert_eq!(parse(text.as_bytes()), Err(KeySetError::NoKeysArray), "{text}");
    }
    assert_eq!(
        parse(br#"{"keys":[]}"#),
        Err(KeySetError::NoUsableKey { skipped: Vec::new() })
    );
    assert_eq!(
        parse(br#"{"keys":[],"keys":[]}"#),
        Err(KeySetError::Json(JsonError::RepeatedMember))
    );
    let repeated = document(&[ED.jwk(json!({}))])
        .iter()
        .map(|byte| char::from(*byte))
        .collect::<String>()
        .replace(r#""kty""#, r#""kty":"EC","kty""#);
    assert_eq!(
        parse(repeated.as_bytes()),
        Err(KeySetError::Json(JsonError::RepeatedMember))
    );
}

#[test]
fn unknown_members_of_the_set_are_ignored() {
    let mut whole = json!({"keys": [ED.jwk(json!({}))]});
    whole["issuer"] = json!({"any": ["thing"]});
    assert_eq!(parse(whole.to_string().as_bytes()).unwrap().len(), 1);
}

#[test]
fn every_truncation_of_a_document_is_refused() {
    let whole = document(&[ED.jwk(json!({"kid": "a"})), P256.jwk(json!({"kid": "b"}))]);
    assert_eq!(parse(&whole).unwrap().len(), 2);
    for end in 0..whole.len() {
        assert!(matches!(parse(&whole[..end]), Err(KeySetError::Json(_))), "{end}");
    }
}

#[test]
fn a_document_over_the_limit_is_not_read() {
    let ten_mib = vec![b' '; 10 << 20];
    assert_eq!(
        parse(&ten_mib),
        Err(KeySetError::DocumentTooLong {
            bytes: 10 << 20,
            limit: 512 << 10
        })
    );
    // It is not JSON either, but nobody looked.
    assert_eq!(
        parse(&vec![0xff; 10 << 20]),
        Err(KeySetError::DocumentTooLong {
            bytes: 10 << 20,
            limit: 512 << 10
        })
    );

    let whole = document(&[ED.jwk(json!({}))]);
    let limits = |max_document_bytes| KeySetLimits {
        max_document_bytes,
        ..KeySetLimits::default()
    };
    assert!(KeySet::parse(&whole, &limits(whole.len())).is_ok());
    assert!(matches!(
        KeySet::parse(&whole, &limits(whole.len() - 1)),
        Err(KeySetError::DocumentTooLong { .. })
    ));
}

#[test]
fn more_entries_than_the_limit_are_refused_usable_or_not() {
    let many = json!({ "keys": vec![json!({}); 10_000] }).to_string();
    assert_eq!(
        parse(many.as_bytes()),
        Err(KeySetError::TooManyKeys {
            keys: 10_000,
            limit: 128
        })
    );
    let mut keys = vec![json!({"kty": "oct"}); 127];
    keys.push(ED.jwk(json!({})));
    assert_eq!(set(&keys).skipped().len(), 127);
    keys.push(json!(null));
    assert_eq!(
        parse(&document(&keys)),
        Err(KeySetError::TooManyKeys { keys: 129, limit: 128 })
    );
}

#[test]
fn bad_keys_do_not_spoil_the_set() {
    let set = set(&[
        json!(7),
        RSA.jwk(json!({"kid": "r"})),
        ED.jwk(json!({"kid": "short", "x": "AAAA"})),
        P256.jwk(json!({"kid": "enc", "use": "enc"})),
        P256.jwk(json!({"kid": "p"})),
        json!({"kty": "oct", "kid": 3}),
    ]);
    assert_eq!(
        reasons(&set),
        [
            (0, SkipReason::NotAnObject),
            (2, SkipReason::CoordinateLength("x")),
            (3, SkipReason::UseNotSig),
            (5, SkipReason::SymmetricKey),
        ]
    );
    assert_eq!(set.skipped()[1].kid.as_deref(), Some("short"));
    assert_eq!(set.skipped()[3].kid, None);
    assert_eq!(
        candidates(&set, Algorithm::RS256, Some("r")).unwrap(),
        [Some("r".to_owned())]
    );
}

#[test]
fn identical_keys_are_merged() {
    let key = ED.jwk(json!({"kid": "a"}));
    let merged = set(&[key.clone(), key.clone(), key]);
    assert_eq!((merged.len(), merged.skipped().len()), (1, 0));
    let unnamed = set(&[ED.jwk(json!({})), ED.jwk(json!({"x5t": "other members do not matter"}))]);
    assert_eq!(unnamed.len(), 1);
    // Without a kid there is no name to clash over.
    let two = set(&[ED.jwk(json!({})), Pair::fresh().jwk(json!({}))]);
    assert_eq!((two.len(), two.skipped().len()), (2, 0));
}

#[test]
fn one_kid_for_two_keys_leaves_out_all_that_clash() {
    let other = Pair::fresh();
    let beside = P256.jwk(json!({"kid": "b"}));
    let clash = set(&[
        ED.jwk(json!({"kid": "a"})),
        beside.clone(),
        other.jwk(json!({"kid": "a"})),
    ]);
    assert_eq!(
        reasons(&clash),
        [(0, SkipReason::DuplicateKid), (2, SkipReason::DuplicateKid)]
    );
    assert_eq!(clash.len(), 1);
    assert_eq!(
        candidates(&clash, Algorithm::EdDSA, Some("a")),
        Err(JwsError::UnknownKey)
    );

    // One key published twice with two meanings is as unclear as two keys.
    let two_meanings = set(&[
        ED.jwk(json!({"kid": "a"})),
        ED.jwk(json!({"kid": "a", "use": "sig"})),
        beside,
    ]);
    assert_eq!(
        reasons(&two_meanings),
        [(0, SkipReason::DuplicateKid), (1, SkipReason::DuplicateKid)]
    );

    // Of three, the one in the middle clashes with both others, which do not clash with each other.
    let three = set(&[
        RSA.jwk(json!({"kid": "a", "alg": "RS256"})),
        RSA.jwk(json!({"kid": "a"})),
        RSA.jwk(json!({"kid": "a", "alg": "PS256"})),
        ED.jwk(json!({"kid": "a"})),
    ]);
    assert_eq!(three.skipped().len(), 3);
    assert_eq!(three.len(), 1);
}

#[test]
fn one_kid_for_two_algorithms_is_clear() {
    let set = set(&[
        RSA.jwk(json!({"kid": "a", "alg": "RS256"})),
        RSA.jwk(json!({"kid": "a", "alg": "PS256"})),
        P256.jwk(json!({"kid": "a"})),
        P384.jwk(json!({"kid": "a"})),
        ED.jwk(json!({"kid": "a"})),
    ]);
    assert_eq!((set.len(), set.skipped().len()), (5, 0));
    for algorithm in [
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ] {
        assert_eq!(candidates(&set, algorithm, Some("a")).unwrap().len(), 1, "{algorithm}");
        let token = Pair::of(algorithm).token(algorithm, json!({"kid": "a"}), b"{}");
        assert!(verify_jws(&token, &set, AlgorithmSet::ALL).is_ok(), "{algorithm}");
    }
    assert_eq!(
        candidates(&set, Algorithm::RS512, Some("a")),
        Err(JwsError::KeyMismatch)
    );
}

#[test]
fn a_skipped_key_does_not_clash() {
    let set = set(&[
        ED.jwk(json!({"kid": "a"})),
        Pair::fresh().jwk(json!({"kid": "a", "use": "enc"})),
    ]);
    assert_eq!(reasons(&set), [(1, SkipReason::UseNotSig)]);
    assert_eq!(candidates(&set, Algorithm::EdDSA, Some("a")).unwrap().len(), 1);
}

#[test]
fn a_kid_selects_only_its_own_key() {
    let set = set(&[
        ED.jwk(json!({"kid": "a"})),
        Pair::fresh().jwk(json!({})),
        P256.jwk(json!({"kid": "b"})),
    ]);
    assert_eq!(
        candidates(&set, Algorithm::EdDSA, Some("a")).unwrap(),
        [Some("a".to_owned())]
    );
    for unknown in ["c", "", "A", "a "] {
        assert_eq!(
            candidates(&set, Algorithm::EdDSA, Some(unknown)),
            Err(JwsError::UnknownKey),
            "{unknown:?}"
        );
    }
    // Found, but for another algorithm: no newer key set is called for.
    assert_eq!(
        candidates(&set, Algorithm::EdDSA, Some("b")),
        Err(JwsError::KeyMismatch)
    );
}

#[test]
fn without_a_kid_at_most_four_keys_are_tried() {
    let mut keys: Vec<Value> = (1..MAX_UNNAMED_CANDIDATES)
        .map(|at| Pair::fresh().jwk(json!({"kid": format!("k{at}")})))
        .collect();
    keys.push(ED.jwk(json!({"kid": "zz"})));
    keys.extend([RSA.jwk(json!({})), P256.jwk(json!({"kid": "p"}))]);
    let four = set(&keys);
    assert_eq!(
        candidates(&four, Algorithm::EdDSA, None).unwrap().len(),
        MAX_UNNAMED_CANDIDATES
    );
    assert_eq!(
        candidates(&four, Algorithm::ES256, None).unwrap(),
        [Some("p".to_owned())]
    );
    assert_eq!(candidates(&four, Algorithm::ES384, None), Err(JwsError::UnknownKey));
    let token = ED.token(Algorithm::EdDSA, json!({}), b"{}");
    assert_eq!(
        verify_jws(&token, &four, AlgorithmSet::ALL)
            .unwrap()
            .key()
            .kid()
            .map(|kid| &**kid),
        Some("zz")
    );
    let stranger = Pair::fresh().token(Algorithm::EdDSA, json!({}), b"{}");
    assert_eq!(
        verify_jws(&stranger, &four, AlgorithmSet::ALL).unwrap_err(),
        JwsError::BadSignature
    );

    keys.push(Pair::fresh().jwk(json!({})));
    let five = set(&keys);
    assert_eq!(candidates(&five, Algorithm::EdDSA, None), Err(JwsError::AmbiguousKey));
    assert_eq!(candidates(&five, Algorithm::EdDSA, Some("zz")).unwrap().len(), 1);
}

#[test]
fn a_key_that_changed_is_no_longer_contained() {
    let identity = |jwk: &Value| {
        let set = set(std::slice::from_ref(jwk));
        let identity = set.iter().next().unwrap().identity(Algorithm::PS256).unwrap();
        assert!(set.contains(&identity));
        identity
    };
    let plain = RSA.jwk(json!({"kid": "a"}));
    let signed_by = identity(&plain);
    let kept = [plain.clone(), RSA.jwk(json!({"kid": "a", "alg": "PS256"}))];
    let changed = [
        RSA.jwk(json!({"kid": "b"})),
        RSA.jwk(json!({})),
        RSA.jwk(json!({"kid": "a", "alg": "RS256"})),
        RSA.jwk(json!({"kid": "a", "use": "sig"})),
        RSA.jwk(json!({"kid": "a", "key_ops": ["verify"]})),
        RSA.jwk(json!({"kid": "a", "e": "Aw"})),
        ED.jwk(json!({"kid": "a"})),
    ];
    for jwk in kept {
        assert!(set(std::slice::from_ref(&jwk)).contains(&signed_by), "{jwk}");
    }
    for jwk in changed {
        assert!(!set(std::slice::from_ref(&jwk)).contains(&signed_by), "{jwk}");
    }
    let unnamed = identity(&RSA.jwk(json!({})));
    assert!(set(&[ED.jwk(json!({"kid": "x"})), RSA.jwk(json!({}))]).contains(&unnamed));
    assert!(!set(&[plain]).contains(&unnamed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The order of the document decides nothing.
    #[test]
    fn sets_do_not_depend_on_order(order in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle()) {
        let keys = [
            RSA.jwk(json!({"kid": "a", "alg": "RS256"})), RSA.jwk(json!({"kid": "a"})), ED.jwk(json!({"kid": "a"})),
            P256.jwk(json!({})), P384.jwk(json!({"kid": "b", "use": "sig"})), P384.jwk(json!({"kid": "b"})),
            json!({"kty": "oct"}), P256.jwk(json!({})),
        ];
        let shuffled: Vec<Value> = order.iter().map(|at| keys[*at].clone()).collect();
        let (straight, shuffled) = (set(&keys), set(&shuffled));
        prop_assert_eq!(&straight, &shuffled);
        prop_assert!(straight.iter().eq(shuffled.iter()));
        prop_assert_eq!(straight.len(), 2);
        prop_assert_eq!(straight.skipped().len(), shuffled.skipped().len());
    }

    #[test]
    fn arbitrary_documents_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(parse(&bytes).is_err());
    }

    /// A set that is damaged in one place is refused, or read without the damaged key, or says something else; it
    /// never panics, and it never holds a key under a kid that the document does not have.
    #[test]
    fn damaged_documents_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut document = document(&[ED.jwk(json!({"kid": "a"})), RSA.jwk(json!({"kid": "b", "alg": "RS256"}))]);
        let at = at.index(document.len());
        document[at] = byte;
        if let Ok(set) = parse(&document) {
            let text = String::from_utf8(document).unwrap();
            for kid in set.iter().filter_map(|key| key.kid()) {
                prop_assert!(text.contains(&format!("{:?}", &**kid)) || text.contains('\\'), "{}", text);
            }
        }
    }
}
