//! Published vectors, through the public functions alone: the whole of Wycheproof's `json_web_signature_test.json`,
//! and the examples of RFC 7520, RFC 8037 and RFC 7797. See `docs/vectors.md`.
//!
//! A vector whose outcome is not its label must be in [`DEVIATIONS`], with the outcome and a reason; and a vector that is
//! in [`DEVIATIONS`] must deviate. The table of `docs/vectors.md` is these rows and no others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use authmesh::jose::{
    AlgorithmSet, CompactJws, JwsError, KeySet, KeySetError, KeySetLimits, SkipReason, VerifiedJws, verify_jws,
};
use serde_json::{Value, json};

const WYCHEPROOF: &str = "Wycheproof";
const COOKBOOK: &str = "cookbook";

/// Vectors whose label says that a verifier accepts them, and that this one refuses.
struct Deviation {
    suite: &'static str,
    vectors: &'static [&'static str],
    outcome: &'static str,
    reason: &'static str,
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        suite: WYCHEPROOF,
        vectors: &["1", "348", "352", "357", "358", "359", "376", "377"],
        outcome: "unsupported token; key left out: SymmetricKey",
        reason: "HMAC. Whoever can check such a token can make one; not supported, on purpose.",
    },
    Deviation {
        suite: WYCHEPROOF,
        vectors: &["372"],
        outcome: "malformed token; key left out: SymmetricKey",
        reason: "`?` in the header, which base64url does not have (RFC 7515 section 2). HMAC besides.",
    },
    Deviation {
        suite: WYCHEPROOF,
        vectors: &["373"],
        outcome: "unsupported token; key left out: SymmetricKey",
        reason: "`?` in the payload, which base64url does not have. HMAC besides, and the header is read first.",
    },
    Deviation {
        suite: WYCHEPROOF,
        vectors: &["346", "350"],
        outcome: "KeyMismatch",
        reason: "`alg` is PS256 in the JWK and PS384 in the header. The key's own `alg` decides (RFC 8725 section 3.1).",
    },
    Deviation {
        suite: WYCHEPROOF,
        vectors: &["347", "351"],
        outcome: "unsupported token; key left out: UnsupportedAlgorithm",
        reason: "`alg` of the JWK is ES521, which does not exist. The token is ES512, which the back end lacks.",
    },
    Deviation {
        suite: COOKBOOK,
        vectors: &["jws_4_3"],
        outcome: "unsupported token; key left out: UnsupportedCurve",
        reason: "ES512 on P-521, which the back end lacks.",
    },
    Deviation {
        suite: COOKBOOK,
        vectors: &["jws_4_4", "jws_4_5", "jws_4_6"],
        outcome: "unsupported token; key left out: SymmetricKey",
        reason: "HMAC. 4.5 has its payload detached besides.",
    },
    Deviation {
        suite: COOKBOOK,
        vectors: &["jws_4_7"],
        outcome: "malformed token; key left out: SymmetricKey",
        reason: "No protected header, so nothing says what the signature means; has no compact form. HMAC besides.",
    },
    Deviation {
        suite: COOKBOOK,
        vectors: &["jws_4_8#1"],
        outcome: "malformed token",
        reason: "No protected header, as in 4.7. ES512 besides.",
    },
    Deviation {
        suite: COOKBOOK,
        vectors: &["jws_4_8#2"],
        outcome: "unsupported token",
        reason: "HMAC. Refused by its header, although the key set has a usable key (that of #0).",
    },
    Deviation {
        suite: COOKBOOK,
        vectors: &["rfc7797_hmac-sha2_b64_false"],
        outcome: "unsupported token; key left out: SymmetricKey",
        reason: "`crit` and `b64` that is `false`: refused, on purpose. HMAC besides.",
    },
    Deviation {
        suite: COOKBOOK,
        vectors: &["rfc7797_4.2.hmac-sha2_b64_false"],
        outcome: "malformed token; key left out: SymmetricKey",
        reason: "The bare payload has a dot, so there are four parts; has no compact form.",
    },
];

/// What became of a vector.
#[derive(Debug)]
enum Outcome {
    Accepted(Box<VerifiedJws>),
    /// The key set is usable; the token is refused.
    Token(JwsError),
    /// No key of the set is usable: why each was left out, and what the token alone amounts to.
    Keys(Vec<SkipReason>, Option<JwsError>),
}

impl Outcome {
    /// The words of the table.
    fn words(&self) -> String {
        let token = |error: &JwsError| match error {
            JwsError::Malformed(_) => "malformed token".to_owned(),
            JwsError::Unsupported(_) => "unsupported token".to_owned(),
            other => format!("{other:?}"),
        };
        match self {
            Self::Accepted(_) => "accepted".to_owned(),
            Self::Token(error) => token(error),
            Self::Keys(reasons, error) => {
                let reasons: Vec<String> = reasons
                    .iter()
                    .map(|reason| format!("key left out: {reason:?}"))
                    .collect();
                let error = error.as_ref().map(token);
                error.into_iter().chain(reasons).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn run(token: &str, keys: &[Value]) -> Outcome {
    let document = json!({ "keys": keys }).to_string();
    match KeySet::parse(document.as_bytes(), &KeySetLimits::default()) {
        Ok(keys) => match verify_jws(token, &keys, AlgorithmSet::ALL) {
            Ok(verified) => Outcome::Accepted(Box::new(verified)),
            Err(error) => Outcome::Token(error),
        },
        Err(KeySetError::NoUsableKey { skipped }) => Outcome::Keys(
            skipped.iter().map(|key| key.reason).collect(),
            CompactJws::parse(token).err(),
        ),
        Err(error) => panic!("not even a set: {error}"),
    }
}

/// Compares outcomes with labels. Returns the faults as text, so that one run shows all of them.
fn judge(suite: &str, outcomes: &BTreeMap<String, (bool, Outcome)>) -> Vec<String> {
    let mut listed: BTreeMap<&str, &str> = BTreeMap::new();
    for deviation in DEVIATIONS.iter().filter(|deviation| deviation.suite == suite) {
        assert!(!deviation.reason.is_empty());
        for vector in deviation.vectors {
            assert!(
                listed.insert(vector, deviation.outcome).is_none(),
                "{vector} is listed twice"
            );
        }
    }
    let mut faults = Vec::new();
    for (vector, (valid, outcome)) in outcomes {
        let accepted = matches!(outcome, Outcome::Accepted(_));
        let words = outcome.words();
        match listed.remove(vector.as_str()) {
            None if accepted != *valid => {
                faults.push(format!(
                    "{vector}: labelled {}, {words}",
                    if *valid { "valid" } else { "invalid" }
                ));
            }
            Some(_) if accepted == *valid => faults.push(format!("{vector}: listed, and does not deviate")),
            Some(expected) if expected != words => faults.push(format!("{vector}: listed as {expected}, {words}")),
            _ => {}
        }
    }
    faults.extend(
        listed
            .keys()
            .map(|vector| format!("{vector}: listed, and does not exist")),
    );
    faults
}

/// The public half of a JWK.
fn public(jwk: &Value) -> Value {
    let mut jwk = jwk.clone();
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        jwk.as_object_mut().unwrap().remove(name);
    }
    jwk
}

fn wycheproof() -> Value {
    read(&directory().join("wycheproof/json_web_signature_test.json"))
}

/// Each Wycheproof vector with its key: number, JWK, vector.
fn wycheproof_vectors(file: &Value) -> impl Iterator<Item = (String, &Value, &Value)> {
    file["testGroups"].as_array().unwrap().iter().flat_map(|group| {
        // HMAC groups have no public key; the others have both.
        let jwk = group.get("public").unwrap_or(&group["private"]);
        group["tests"]
            .as_array()
            .unwrap()
            .iter()
            .map(move |vector| (vector["tcId"].to_string(), jwk, vector))
    })
}

#[test]
fn wycheproof_outcomes_are_the_labels_or_listed() {
    let file = wycheproof();
    let mut outcomes = BTreeMap::new();
    for (number, jwk, vector) in wycheproof_vectors(&file) {
        let valid = match vector["result"].as_str().unwrap() {
            "valid" => true,
            "invalid" => false,
            other => panic!("{number}: label {other}"),
        };
        let outcome = run(vector["jws"].as_str().unwrap(), std::slice::from_ref(jwk));
        outcomes.insert(number, (valid, outcome));
    }
    assert_eq!(Some(outcomes.len() as u64), file["numberOfTests"].as_u64());
    let faults = judge(WYCHEPROOF, &outcomes);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    // 46 are labelled valid.
    let accepted = outcomes
        .values()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Accepted(_)))
        .count();
    assert_eq!(accepted, 46 - 14);
}

#[test]
fn symmetric_vectors_are_accepted_by_no_key_set() {
    // A usable key beside the symmetric one, so that only the token can be what is refused.
    let beside = &cookbook_vectors()[0].keys[0];
    let file = wycheproof();
    let mut unsupported = 0;
    for (number, jwk, vector) in wycheproof_vectors(&file).filter(|(_, jwk, _)| jwk["kty"] == "oct") {
        match run(vector["jws"].as_str().unwrap(), &[jwk.clone(), beside.clone()]) {
            Outcome::Token(JwsError::Unsupported(_)) => unsupported += 1,
            Outcome::Token(JwsError::Malformed(_)) => {}
            other => panic!("{number}: {other:?}"),
        }
    }
    assert!(unsupported > 10, "{unsupported}");
}

#[test]
fn what_a_jwk_says_about_its_use_is_the_only_reason_to_refuse_these() {
    let file = wycheproof();
    let mut seen = 0;
    for (number, jwk, vector) in wycheproof_vectors(&file) {
        let (members, expected): (&[&str], &str) = match number.as_str() {
            "346" | "350" => (&["alg"], "KeyMismatch"),
            "353" | "354" => (&["use"], "key left out: UseNotSig"),
            "355" | "356" => (&["key_ops"], "key left out: KeyOpsWithoutVerify"),
            _ => continue,
        };
        let token = vector["jws"].as_str().unwrap();
        assert_eq!(run(token, std::slice::from_ref(jwk)).words(), expected, "{number}");
        let mut silent = jwk.clone();
        for member in members {
            silent.as_object_mut().unwrap().remove(*member).unwrap();
        }
        assert_eq!(run(token, &[silent]).words(), "accepted", "{number}");
        seen += 1;
    }
    assert_eq!(seen, 6);
}

/// A signature of the cookbook.
struct Example {
    /// File name up to its title, and `#` with the number of the signature if there are several.
    name: String,
    /// The public keys.
    keys: Vec<Value>,
    /// The keys as the file has them: private.
    private: Vec<Value>,
    token: String,
    payload: String,
}

/// Each signature of the cookbook, written as a compact token.
///
/// A signature of the JSON serializations signs the same bytes as the compact one, without the unprotected header.
fn cookbook_vectors() -> Vec<Example> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory().join("jose-cookbook"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let mut examples = Vec::new();
    for path in paths {
        let file = read(&path);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let Some(input) = file.get("input") else {
            assert!(stem.starts_with("jwk_"), "{stem} is neither a key nor a signature");
            continue;
        };
        let private = match &input["key"] {
            Value::Array(keys) => keys.clone(),
            key => vec![key.clone()],
        };
        let output = &file["output"];
        let text = |object: &Value, name: &str| object.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let token = |payload: &Value, signature: &Value| {
            let payload = text(payload, "payload");
            format!(
                "{}.{payload}.{}",
                text(signature, "protected"),
                text(signature, "signature")
            )
        };
        let general = &output["json"];
        let mut tokens: Vec<String> = general["signatures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|signature| token(general, signature))
            .collect();
        // The other forms hold the same signatures again. 4.5 is detached: no form has the payload.
        for again in output
            .get("json_flat")
            .map(|flat| token(flat, flat))
            .into_iter()
            .chain(output.get("compact").map(|_| text(output, "compact")))
        {
            if !tokens.contains(&again) {
                tokens.push(again);
            }
        }
        let name = match stem.split_once('.') {
            Some((number, _title)) if stem.starts_with("jws_") => number,
            _ => stem,
        };
        let several = tokens.len() > 1;
        examples.extend(tokens.into_iter().enumerate().map(|(at, token)| Example {
            name: if several {
                format!("{name}#{at}")
            } else {
                name.to_owned()
            },
            keys: private.iter().map(public).collect(),
            private: private.clone(),
            token,
            payload: text(input, "payload"),
        }));
    }
    examples
}

#[test]
fn cookbook_outcomes_are_the_labels_or_listed() {
    let mut outcomes = BTreeMap::new();
    for example in cookbook_vectors() {
        let outcome = run(&example.token, &example.keys);
        if let Outcome::Accepted(verified) = &outcome {
            assert_eq!(verified.payload(), example.payload.as_bytes(), "{}", example.name);
        }
        assert!(outcomes.insert(example.name, (true, outcome)).is_none());
    }
    assert_eq!(outcomes.len(), 13);
    let faults = judge(COOKBOOK, &outcomes);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn private_keys_of_the_cookbook_are_never_used() {
    for example in cookbook_vectors() {
        match run(&example.token, &example.private) {
            Outcome::Keys(reasons, _) => {
                assert!(reasons.iter().all(|reason| reason.exposes_secret()), "{}", example.name)
            }
            other => panic!("{}: {other:?}", example.name),
        }
    }
    let jwk = |name: &str| read(&directory().join("jose-cookbook").join(name));
    for (name, words) in [
        ("jwk_3_1.ec_public_key.json", "key left out: UnsupportedCurve"),
        ("jwk_3_2.ec_private_key.json", "key left out: PrivateKeyMaterial"),
        ("jwk_3_3.rsa_public_key.json", "accepted"),
        ("jwk_3_4.rsa_private_key.json", "key left out: PrivateKeyMaterial"),
    ] {
        // The RS256 example, whose key is that of 3.3 and 3.4.
        let example = cookbook_vectors()
            .into_iter()
            .find(|example| example.name == "jws_4_1")
            .unwrap();
        assert_eq!(run(&example.token, &[jwk(name)]).words(), words, "{name}");
    }
}

#[test]
fn the_table_of_the_docs_is_the_list_of_deviations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    let expected: Vec<String> = DEVIATIONS
        .iter()
        .map(|deviation| {
            let vectors = deviation.vectors.join(", ");
            format!(
                "| {} | {vectors} | {} | {} |",
                deviation.suite, deviation.outcome, deviation.reason
            )
        })
        .collect();
    assert_eq!(
        rows,
        expected,
        "write these rows into docs/vectors.md:\n{}",
        expected.join("\n")
    );
}
