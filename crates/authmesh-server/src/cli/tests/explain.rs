//! `authmesh token explain`, and what all client commands share.

use serde_json::{Value, json};

use super::forge::{ISSUER, claims, claims_with, file, key_file, sign_bytes, tampered, token};
use super::stub::Stub;
use super::{CREDENTIAL, NOW, authmesh};
use crate::cli::io::Exit;

const PATH: &str = "/v1/explain";

fn revoked() -> Value {
    json!({
        "decision": "refused", "code": "revoked", "reason": "a subject mark voids the token", "outcome": null,
        "issuer": { "url": ISSUER, "known": true, "keys_age_seconds": 245, "generation": 17 },
        "key": { "kid": "2026-11-a", "alg": "RS256", "in_current_set": true },
        "time": { "issued_at": NOW - 1_740, "expires_at": NOW + 1_860, "now": NOW },
        "revoked": { "scope": "subject", "at": NOW - 517, "by": "admin/jo", "why": "password changed", "not_before": NOW - 517 },
    })
}

#[test]
fn a_node_explains_in_words() {
    let stub = Stub::start(&[(PATH, 200, revoked().to_string())]);
    let token = token(&claims());
    let ran = authmesh(&["token", "explain"])
        .stdin(format!("{token}\n"))
        .at(&stub.url)
        .run();
    ran.says(
        Exit::No,
        "refused: revoked\n\
         \x20 issuer   https://login.example.com (known, keys fetched 4 min ago, generation 17)\n\
         \x20 key      kid 2026-11-a RS256, in the current set\n\
         \x20 time     issued 12:01:40, valid until 13:01:40 UTC (in 31 min)\n\
         \x20 revoked  subject mark set 12:22:03 UTC by admin/jo, why: \"password changed\", covers tokens issued up to 12:22:03 UTC\n",
    );
    assert_eq!(ran.stderr, "");
    let seen = stub.only();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", PATH));
    assert_eq!(seen.bearer, format!("Bearer {CREDENTIAL}"));
    assert_eq!(seen.body, json!({ "token": token }));
}

#[test]
fn the_decision_is_the_exit_code() {
    for (answer, exit, head) in [
        (
            json!({ "decision": "accepted", "reason": "accepted", "outcome": "hit" }),
            Exit::Yes,
            "accepted: hit\n",
        ),
        (json!({ "decision": "accepted" }), Exit::Yes, "accepted\n"),
        (
            json!({ "decision": "accepted", "outcome": "hit", "binding": { "jkt": "0ZcO", "x5t#S256": "A4Dt" } }),
            Exit::Yes,
            "accepted: hit\n\x20 bound    to key 0ZcO (every request needs a DPoP proof), and to client certificate A4Dt (mutual TLS)\n",
        ),
        (
            json!({ "decision": "accepted", "outcome": "blind", "level": "l1", "age_seconds": 12, "blind_for_seconds": 90 }),
            Exit::Yes,
            "accepted: blind\n\x20 how      from l1, verified 12 s ago, while the node was blind for 1 min\n",
        ),
        (
            json!({ "decision": "accepted", "outcome": "verified", "level": "source\n", "age_seconds": 0, "blind_for_seconds": null }),
            Exit::Yes,
            "accepted: verified\n\x20 how      from source?, verified 0 s ago\n",
        ),
        (
            json!({ "decision": "refused", "code": "expired" }),
            Exit::No,
            "refused: expired\n",
        ),
        (
            json!({ "decision": "could_not_tell", "code": "blind" }),
            Exit::Unknown,
            "could not tell: blind\n",
        ),
    ] {
        let stub = Stub::start(&[(PATH, 200, answer.to_string())]);
        authmesh(&["token", "explain", "-"])
            .stdin("a.b.c")
            .at(&stub.url)
            .run()
            .says(exit, head);
    }
}

#[test]
fn sparse_answers_are_explained_too() {
    let answer = json!({
        "decision": "refused", "code": "wrong_issuer", "reason": "r",
        "issuer": { "url": "https://x\u{1b}[2J", "known": false, "keys_age_seconds": null, "generation": null },
        "key": { "kid": null, "alg": "ES256", "in_current_set": false },
        "time": { "issued_at": null, "expires_at": NOW - 5, "now": NOW },
    });
    let mark = json!({ "scope": "jti", "at": null, "by": null, "why": null, "not_before": null });
    let revoked = json!({ "decision": "refused", "code": "revoked", "reason": "r", "revoked": mark });
    let stub = Stub::start(&[(PATH, 200, revoked.to_string())]);
    authmesh(&["token", "explain"])
        .stdin("a.b.c")
        .at(&stub.url)
        .run()
        .says(Exit::No, "refused: revoked\n  revoked  jti mark\n");

    let stub = Stub::start(&[(PATH, 200, answer.to_string())]);
    authmesh(&["token", "explain"]).stdin("a.b.c").at(&stub.url).run().says(
        Exit::No,
        "refused: wrong_issuer\n\
         \x20 issuer   https://x?[2J (not one of the node's issuers)\n\
         \x20 key      without kid, ES256, not in the current set\n\
         \x20 time     issued at an unknown time, was valid until 12:30:35 UTC (5 s ago)\n\
         \x20 reason   r\n",
    );
}

#[test]
fn a_stale_answer_of_a_provider_says_what_is_wrong_with_it() {
    let answer = json!({
        "decision": "accepted", "code": null, "reason": "r", "outcome": "stale", "level": "l1", "age_seconds": 320,
        "issuer": { "url": "https://login.example.com", "known": true, "keys_age_seconds": null, "generation": null },
        "provider": { "asked_seconds_ago": 320, "failures": 7, "open": true, "trouble": "no answer within 10s" },
    });
    let stub = Stub::start(&[(PATH, 200, answer.to_string())]);
    authmesh(&["token", "explain"])
        .stdin("opaque")
        .at(&stub.url)
        .run()
        .says(
            Exit::Yes,
            "accepted: stale\n\
             \x20 how      from l1, verified 5 min ago\n\
             \x20 issuer   https://login.example.com (known, its provider is asked)\n\
             \x20 provider asked 5 min ago, 7 calls failed since the last good one: no answer within 10s\n",
        );
}

#[test]
fn an_answer_that_is_none_is_not_a_verdict() {
    let token = token(&claims());
    let problem =
        json!({ "title": "Bad", "detail": format!("what is {token} with {CREDENTIAL}?"), "status": 400 }).to_string();
    for (status, body, says) in [
        (200, "hello".to_owned(), "something else than this command expects"),
        (
            200,
            json!({ "decision": "perhaps" }).to_string(),
            "something else than this command expects",
        ),
        (200, " ".repeat(4 * 1024 * 1024 + 1), "more than 4194304 bytes"),
        (400, problem, "what is (not shown) with (not shown)?"),
        (
            401,
            json!({ "title": "Unauthorized" }).to_string(),
            "Unauthorized. Check the credential in AUTHMESH_ADMIN_TOKEN",
        ),
        (404, String::new(), "HTTP status 404. Check that the URL"),
        (
            503,
            json!({ "title": "Busy", "detail": "try again" }).to_string(),
            "try again",
        ),
    ] {
        let stub = Stub::start(&[(PATH, status, body)]);
        let ran = authmesh(&["token", "explain"])
            .stdin(token.as_str())
            .at(&stub.url)
            .run();
        ran.fails(says).hides(&token).hides(CREDENTIAL);
    }
}

#[test]
fn no_redirect_carries_the_credential_away() {
    let thief = Stub::start(&[]);
    let stub = Stub::start(&[(PATH, 307, format!("{}{PATH}", thief.url))]);
    authmesh(&["token", "explain"])
        .stdin("a.b.c")
        .at(&stub.url)
        .run()
        .fails("HTTP status 307");
    assert_eq!(thief.seen(), []);
}

#[test]
fn a_node_that_is_away_is_not_a_verdict() {
    // Port 1 is reserved, and nobody listens there.
    authmesh(&["token", "explain"])
        .stdin("a.b.c")
        .at("http://127.0.0.1:1")
        .run()
        .fails("http://127.0.0.1:1/ could not be reached");
}

#[test]
fn the_option_wins_over_the_variable() {
    let stub = Stub::start(&[("/mesh/v1/explain", 200, json!({ "decision": "accepted" }).to_string())]);
    for option in ["--admin-url", "--url"] {
        let url = format!("{}/mesh", stub.url);
        let ran = authmesh(&["token", "explain", option, &url])
            .stdin("a.b.c")
            .at("http://127.0.0.1:1")
            .run();
        assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    }
}

#[test]
fn urls_that_are_none_are_refused_and_not_repeated() {
    for url in [
        "127.0.0.1:8500",
        "ftp://127.0.0.1",
        "http://jo:secret@127.0.0.1:8500",
        "http://127.0.0.1/?secret",
        "http://127.0.0.1/#secret",
        "http://",
        "secret",
    ] {
        let ran = authmesh(&["token", "explain", "--admin-url", url]).at("").run();
        ran.fails("the URL of the admin API is none").hides("secret");
    }
}

#[test]
fn the_credential_comes_from_a_file_or_a_variable() {
    let answer = json!({ "decision": "accepted" }).to_string();
    let stub = Stub::start(&[(PATH, 200, answer)]);
    let (_folder, path) = file("credential", "from-a-file-credential\r\n");
    let ran = authmesh(&["token", "explain", "--token-file", &path])
        .stdin("a.b.c")
        .at(&stub.url)
        .run();
    assert_eq!(ran.exit, Exit::Yes);
    assert_eq!(stub.only().bearer, "Bearer from-a-file-credential");

    authmesh(&["token", "explain"])
        .env("AUTHMESH_ADMIN_URL", &stub.url)
        .run()
        .fails("set AUTHMESH_ADMIN_TOKEN, or name a file with --token-file");
    authmesh(&["token", "explain", "--token-file", "no-such-file"])
        .run()
        .fails("--token-file: the file cannot be read");
    authmesh(&["token", "explain", "--token-file", CREDENTIAL])
        .run()
        .fails("--token-file")
        .hides(CREDENTIAL);
    for content in [String::new(), "\n".to_owned(), "x".repeat(4_097), "x".repeat(1 << 20)] {
        let (_folder, path) = file("credential", content);
        authmesh(&["token", "explain", "--token-file", &path])
            .run()
            .fails("nothing else, at most 4096 bytes");
    }
    for bad in ["two secret", "secret\nX-Other: secret", "s\u{e9}cret"] {
        let ran = authmesh(&["token", "explain"]).env("AUTHMESH_ADMIN_TOKEN", bad).run();
        ran.fails("no header can carry it").hides("secret").hides("s\u{e9}cret");
    }
    assert_eq!(stub.seen().len(), 1);
}

#[test]
fn the_configuration_of_the_node_names_both() {
    let stub = Stub::start(&[(PATH, 200, json!({ "decision": "accepted" }).to_string())]);
    let listen = stub.url.strip_prefix("http://").unwrap();
    let everywhere = listen.replace("127.0.0.1", "0.0.0.0");
    for listen in [listen, &everywhere] {
        let config =
            format!("[admin]\nlisten = \"{listen}\"\n[[issuers]]\nurl = \"{ISSUER}\"\naudience = \"orders-api\"\n");
        let (_folder, path) = file("authmesh.toml", &config);
        let asked = authmesh(&["token", "explain", "--config", &path]).stdin("a.b.c");
        let ran = asked.env("AUTHMESH_ADMIN_TOKEN", CREDENTIAL).run();
        assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    }
    for seen in stub.seen() {
        assert_eq!(seen.bearer, format!("Bearer {CREDENTIAL}"));
    }
    let (_folder, path) = file(
        "authmesh.toml",
        format!("[[issuers]]\nurl = \"{ISSUER}\"\naudience = \"orders-api\"\n"),
    );
    authmesh(&["token", "explain", "--config", &path])
        .run()
        .fails("the admin API is off");
    authmesh(&["token", "explain", "--config", "no-such-file"])
        .run()
        .fails("no-such-file");
}

#[test]
fn offline_it_says_which_check_fails() {
    let (_folder, keys) = key_file();
    let explain = |token: &str, more: &[&str]| {
        authmesh(&[&["token", "explain", "--jwks", &keys, "--audience", "orders-api"], more].concat())
            .stdin(token)
            .run()
    };
    let good = token(&claims());
    explain(&good, &["--issuer", ISSUER]).says(
        Exit::Yes,
        "accepted\n\
         \x20 issuer   https://login.example.com (accepted)\n\
         \x20 key      kid k1 EdDSA, in the set\n\
         \x20 time     issued 12:01:40, valid until 13:01:40 UTC (in 31 min)\n\
         \x20 revoked  not asked: revocations are known to nodes only\n",
    );
    explain(&tampered(&good), &["--issuer", "https://other.example"]).says(
        Exit::No,
        "refused: wrong_issuer\n\
         \x20 reason   the token's issuer is not accepted here\n\
         \x20 issuer   https://login.example.com (not one of --issuer)\n\
         \x20 key      kid k1 EdDSA, in the set\n\
         \x20 time     issued 12:01:40, valid until 13:01:40 UTC (in 31 min)\n\
         \x20 note     the token says so itself; no signature proves it\n\
         \x20 revoked  not asked: revocations are known to nodes only\n",
    );
    let expired = token(&claims_with(json!({ "exp": NOW - 120 })));
    let ran = explain(&expired, &[]);
    assert!(
        ran.stdout.starts_with("refused: expired\n") && ran.stdout.contains("12:28:40 UTC (2 min ago)"),
        "{ran:?}"
    );
    assert!(!ran.stdout.contains("no signature proves"), "{ran:?}");

    let payload = claims().to_string();
    for (header, says) in [
        (json!({ "alg": "EdDSA", "kid": "k2" }), "kid k2 EdDSA, not in the set"),
        (
            json!({ "alg": "RS256", "kid": "k1" }),
            "kid k1 RS256, in the set, but not for this algorithm",
        ),
        (json!({ "alg": "RS256" }), "without kid, RS256, not in the set"),
        (json!({ "alg": "EdDSA" }), "without kid, EdDSA, one key of the set fits"),
    ] {
        let ran = explain(&sign_bytes(&header, payload.as_bytes()), &[]);
        assert!(ran.stdout.contains(says), "{says}: {ran:?}");
    }
    let odd = token(&json!({ "iat": "x", "exp": 1e300 }));
    let ran = explain(&odd, &[]);
    assert!(
        ran.stdout.contains("refused: invalid_claim") && ran.stdout.contains("beyond the year 9999"),
        "{ran:?}"
    );
    explain("garbage", &[]).says(
        Exit::No,
        "refused: malformed\n\
         \x20 reason   the token is malformed: not three parts with dots between\n\
         \x20 revoked  not asked: revocations are known to nodes only\n",
    );
}
