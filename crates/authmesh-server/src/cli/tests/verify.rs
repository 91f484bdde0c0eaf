//! `authmesh token verify`.

use std::io::{ErrorKind, repeat};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::forge::{ISSUER, claims, claims_with, file, key_file, key_set, sign_bytes, tampered, token};
use super::{Broken, Cmd, NOW, authmesh};
use crate::cli::io::{Exit, MAX_INPUT_BYTES};

fn verify(keys: &str, more: &[&str]) -> Cmd {
    authmesh(&[&["token", "verify", "--jwks", keys], more, &["-"]].concat())
}

/// With issuer and audience.
fn strict(keys: &str, more: &[&str]) -> Cmd {
    verify(
        keys,
        &[&["--issuer", ISSUER, "--audience", "orders-api"], more].concat(),
    )
}

#[test]
fn a_good_token_is_accepted() {
    let (_folder, keys) = key_file();
    let token = token(&claims());
    let ran = strict(&keys, &[]).stdin(token.as_str()).run();
    ran.says(
        Exit::Yes,
        "accepted\n\
         \x20 issuer   https://login.example.com\n\
         \x20 subject  alice\n\
         \x20 audience orders-api\n\
         \x20 key      kid k1 EdDSA\n\
         \x20 time     issued 12:01:40, valid until 13:01:40 UTC (in 31 min)\n",
    );
    assert_eq!(ran.stderr, "");
    ran.hides(token.rsplit('.').next().unwrap());
    for padded in [format!("{token}\n"), format!("  {token}\r\n\t ")] {
        assert_eq!(strict(&keys, &[]).stdin(padded).run().exit, Exit::Yes);
    }
}

#[test]
fn every_fault_has_its_code() {
    let (_folder, keys) = key_file();
    let good = claims();
    let bearer = format!("Bearer {}", token(&good));
    let no_kid = sign_bytes(&json!({ "alg": "EdDSA" }), good.to_string().as_bytes());
    let other_kid = sign_bytes(&json!({ "alg": "EdDSA", "kid": "k2" }), good.to_string().as_bytes());
    let twice = sign_bytes(&json!({ "alg": "EdDSA" }), br#"{"iss":"a","iss":"b"}"#);
    let none = sign_bytes(&json!({ "alg": "none" }), good.to_string().as_bytes());
    let with = |changes: Value| token(&claims_with(changes));
    assert_eq!(strict(&keys, &[]).stdin(no_kid).run().exit, Exit::Yes);
    for (token, code) in [
        (String::new(), "malformed"),
        ("\n".to_owned(), "malformed"),
        ("not a token".to_owned(), "malformed"),
        (bearer, "malformed"),
        (twice, "malformed"),
        (none, "unsupported"),
        (tampered(&token(&good)), "bad_signature"),
        (other_kid, "unknown_key"),
        (with(json!({ "exp": NOW - 30 })), "expired"),
        (with(json!({ "exp": null })), "missing_claim"),
        (with(json!({ "exp": "soon" })), "invalid_claim"),
        (with(json!({ "iat": null })), "missing_claim"),
        (with(json!({ "nbf": NOW + 31 })), "not_yet_valid"),
        (with(json!({ "exp": NOW - 1_740 + 86_401 })), "lifetime_too_long"),
        (with(json!({ "iss": "https://other.example" })), "wrong_issuer"),
        (with(json!({ "iss": null })), "missing_claim"),
        (with(json!({ "aud": "billing-api" })), "wrong_audience"),
        (with(json!({ "aud": null })), "missing_claim"),
    ] {
        let ran = strict(&keys, &[]).stdin(token.as_str()).run();
        assert_eq!(ran.exit, Exit::No, "{code}: {ran:?}");
        assert!(
            ran.stdout.starts_with(&format!("refused: {code}\n  reason   ")),
            "{code}: {ran:?}"
        );
        let ran = strict(&keys, &["--json"]).stdin(token).run();
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(
            (ran.exit, &answer["accepted"], &answer["code"]),
            (Exit::No, &json!(false), &json!(code))
        );
        assert!(
            answer["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
            "{ran:?}"
        );
    }
}

#[test]
fn options_decide() {
    let (_folder, keys) = key_file();
    let good = token(&claims());
    let expired = token(&claims_with(json!({ "exp": NOW - 1 })));
    let long = token(&claims_with(json!({ "exp": NOW - 1_740 + 86_401 })));
    for (token, options, exit) in [
        (&good, &["--algorithms", "RS256,EdDSA"][..], Exit::Yes),
        (&good, &["--algorithms", "RS256"], Exit::No),
        (&good, &["--typ", "application/AT+JWT"], Exit::Yes),
        (&good, &["--typ", "logout+jwt"], Exit::No),
        (&good, &["--typ", "logout+jwt", "--typ", "at+jwt"], Exit::Yes),
        (&good, &["--audience", "billing-api"], Exit::Yes),
        (&good, &["--issuer", "https://other.example"], Exit::Yes),
        (&expired, &[], Exit::Yes),
        (&expired, &["--leeway", "0s"], Exit::No),
        (&good, &["--now", "1795266129"], Exit::Yes),
        (&good, &["--now", "1795266130"], Exit::No),
        (&long, &["--max-token-lifetime", "25h"], Exit::Yes),
        (&good, &["--max-token-lifetime", "59m"], Exit::No),
    ] {
        let ran = strict(&keys, options).stdin(token.as_str()).run();
        assert_eq!(ran.exit, exit, "{options:?}: {ran:?}");
    }
}

#[test]
fn what_is_not_compared_is_said() {
    let (_folder, keys) = key_file();
    let anonymous = token(&claims_with(json!({ "iss": null, "aud": null })));
    let ran = verify(&keys, &[]).stdin(anonymous).run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert_eq!(
        ran.stderr,
        "authmesh: the issuer is not compared, because there is no --issuer\n\
         authmesh: the audience is not compared, because there is no --audience\n"
    );
    // Where there is an issuer, it still has to be one.
    let odd = token(&claims_with(json!({ "iss": 7 })));
    assert!(
        verify(&keys, &[])
            .stdin(odd)
            .run()
            .stdout
            .starts_with("refused: invalid_claim")
    );
}

#[test]
fn json_holds_the_claims() {
    let (_folder, keys) = key_file();
    let ran = strict(&keys, &["--json"]).stdin(token(&claims())).run();
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        answer,
        json!({ "accepted": true, "algorithm": "EdDSA", "kid": "k1", "claims": claims() })
    );
    assert_eq!(ran.stdout.lines().count(), 1);
}

#[test]
fn jws_only_gives_the_payload_unchanged() {
    let (_folder, keys) = key_file();
    let payload = "\x1b[31m not JSON, no line end\0";
    let jws = sign_bytes(&json!({ "alg": "EdDSA", "kid": "k1" }), payload.as_bytes());
    verify(&keys, &["--jws-only"])
        .stdin(jws.as_str())
        .run()
        .says(Exit::Yes, payload);

    let ran = verify(&keys, &["--jws-only", "--json"]).stdin(jws.as_str()).run();
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        answer,
        json!({ "accepted": true, "algorithm": "EdDSA", "kid": "k1", "payload": URL_SAFE_NO_PAD.encode(payload) })
    );

    // A refusal leaves standard output empty, for what is piped from it is the payload.
    let ran = verify(&keys, &["--jws-only"]).stdin(tampered(&jws)).run();
    ran.says(Exit::No, "");
    assert!(ran.stderr.starts_with("refused: bad_signature\n"), "{ran:?}");
    let ran = verify(&keys, &["--jws-only", "--algorithms", "ES256"]).stdin(jws).run();
    ran.says(Exit::No, "");
    assert!(ran.stderr.contains("EdDSA, which the policy does not allow"), "{ran:?}");
}

#[test]
fn a_key_set_that_cannot_be_used_is_not_a_verdict() {
    let missing = "no-such-folder/keys.json";
    verify(missing, &[])
        .run()
        .fails("no-such-folder/keys.json: the key set cannot be read");
    for (content, says) in [
        ("", "not strict JSON"),
        ("{\"keys\":", "not strict JSON"),
        ("{}", "no array \"keys\""),
        ("{\"keys\":[]}", "none of the 0 keys"),
    ] {
        let (_folder, keys) = file("broken.json", content);
        verify(&keys, &[])
            .stdin(token(&claims()))
            .run()
            .fails(says)
            .fails("broken.json: ");
    }
    let (_folder, keys) = file("broken.json", vec![b' '; 512 * 1024 + 1]);
    verify(&keys, &[])
        .stdin(token(&claims()))
        .run()
        .fails("longer than 524288 bytes");
}

#[test]
fn keys_that_are_left_out_are_named() {
    let more: Vec<Value> = (0..10)
        .map(|number| json!({ "kty": "oct", "kid": format!("s{number}"), "k": "c2VjcmV0" }))
        .collect();
    let (_folder, keys) = file("keys.json", key_set(&more).to_string());
    let ran = strict(&keys, &[]).stdin(token(&claims())).run();
    assert_eq!(ran.exit, Exit::Yes);
    assert!(
        ran.stderr
            .contains("keys[1] (kid \"s0\"): the set publishes a symmetric key"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("2 more keys are left out") && !ran.stderr.contains("keys[9]"),
        "{ran:?}"
    );
    ran.hides("c2VjcmV0");
}

#[test]
fn input_is_bounded() {
    let (_folder, keys) = key_file();
    let ran = strict(&keys, &[]).run_with_stdin(&mut repeat(b'a'));
    assert_eq!(ran.exit, Exit::No);
    assert!(ran.stdout.starts_with("refused: too_large\n"), "{ran:?}");
    let ran = strict(&keys, &["--json"]).run_with_stdin(&mut repeat(b'a'));
    assert!(ran.stdout.contains(r#""code":"too_large""#), "{ran:?}");
    let longest = vec![b'a'; usize::try_from(MAX_INPUT_BYTES).unwrap()];
    let ran = strict(&keys, &[]).stdin(longest).run();
    assert!(ran.stdout.starts_with("refused: malformed\n"), "{ran:?}");
}

#[test]
fn an_input_that_fails_is_not_a_verdict() {
    let (_folder, keys) = key_file();
    strict(&keys, &[])
        .run_with_stdin(&mut Broken(ErrorKind::Other))
        .fails("standard input cannot be read");
}

#[test]
fn a_person_is_told_how_to_end_the_input() {
    let (_folder, keys) = key_file();
    let ran = strict(&keys, &[]).typed(&token(&claims())).run();
    assert_eq!(ran.exit, Exit::Yes);
    assert!(ran.stderr.contains("Ctrl-D"), "{ran:?}");
}

#[test]
fn claims_cannot_drive_the_terminal() {
    let (_folder, keys) = key_file();
    let odd = token(&claims_with(
        json!({ "sub": "al\x1b[2Jice\nissuer   https://trusted", "aud": ["orders-api", "\u{202e}x"] }),
    ));
    let ran = strict(&keys, &[]).stdin(odd).run();
    assert!(
        ran.stdout.contains("subject  al?[2Jice?issuer   https://trusted\n"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("audience orders-api, ?x\n"), "{ran:?}");
}
