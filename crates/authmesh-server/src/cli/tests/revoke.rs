//! `authmesh revoke`.

use serde_json::{Value, json};

use super::forge::{claims, token};
use super::stub::Stub;
use super::{CREDENTIAL, NOW, authmesh};
use crate::cli::io::Exit;

const PATH: &str = "/v1/revocations";

fn receipt(changes: Value) -> String {
    let mut receipt = json!({
        "state": "committed", "single_copy": false, "not_before": NOW, "expires": NOW + 90_000, "scope": "subject",
    });
    for (name, value) in changes.as_object().unwrap() {
        receipt[name] = value.clone();
    }
    receipt.to_string()
}

fn node(changes: Value) -> Stub {
    Stub::start(&[(PATH, 200, receipt(changes))])
}

#[test]
fn a_receipt_is_said_in_words() {
    for (changes, exit, says) in [
        (
            json!({}),
            Exit::Yes,
            "revoked: subject\n\
             \x20 covers   tokens issued up to 12:30:40 UTC\n\
             \x20 kept     until 2026-11-22 13:30:40 UTC\n\
             \x20 state    committed\n",
        ),
        (
            json!({ "scope": "jti", "not_before": null, "single_copy": true }),
            Exit::Yes,
            "revoked: jti\n\
             \x20 covers   whatever the time of issue\n\
             \x20 kept     until 2026-11-22 13:30:40 UTC\n\
             \x20 state    committed, in a single copy: no second node or replica has confirmed that it holds it\n",
        ),
    ] {
        let ran = authmesh(&["revoke", "--subject", "alice"]).at(&node(changes).url).run();
        ran.says(exit, says);
    }
    let ran = authmesh(&["revoke", "--subject", "alice"])
        .at(&node(json!({ "state": "unconfirmed" })).url)
        .run();
    assert_eq!(ran.exit, Exit::Unknown);
    assert!(
        ran.stdout.starts_with("unconfirmed: subject\n") && ran.stdout.contains("It is not taken back"),
        "{ran:?}"
    );
}

#[test]
fn the_body_says_what_was_asked_for() {
    for (args, body) in [
        (&["--subject", "alice"][..], json!({ "subject": "alice" })),
        (&["--session", "s1", "--yes"], json!({ "session": "s1" })),
        (&["--jti", "j1"], json!({ "jti": "j1" })),
        (&["--client", "c1", "--yes"], json!({ "client": "c1" })),
        (
            &["--whole-issuer", "--issuer", "https://a", "--why", "stolen", "--yes"],
            json!({ "whole_issuer": true, "issuer": "https://a", "why": "stolen" }),
        ),
        (
            &["--subject", "alice", "--except-session", "s1", "--why", "\"quoted\""],
            json!({ "subject": "alice", "except_session": "s1", "why": "\"quoted\"" }),
        ),
    ] {
        let stub = node(json!({}));
        let ran = authmesh(&[&["revoke"], args].concat()).at(&stub.url).run();
        assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
        let seen = stub.only();
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str(), seen.body),
            ("POST", PATH, body)
        );
        assert_eq!(seen.bearer, format!("Bearer {CREDENTIAL}"));
    }
}

#[test]
fn a_token_comes_from_standard_input() {
    let stub = node(json!({ "scope": "token" }));
    let token = token(&claims());
    let ran = authmesh(&["revoke", "--token", "-"])
        .stdin(format!("{token}\n"))
        .at(&stub.url)
        .run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert_eq!(stub.only().body, json!({ "token": token }));

    for stdin in ["", " \n", "t\u{f6}ken"] {
        let ran = authmesh(&["revoke", "--token", "-"]).stdin(stdin).at(&stub.url).run();
        ran.says(Exit::No, "refused\n  reason   standard input holds no token\n");
    }
    assert_eq!(stub.seen().len(), 1);
}

#[test]
fn wide_revocations_ask_first() {
    for args in [
        &["--client", "c1"][..],
        &["--whole-issuer"],
        &["--whole-issuer", "--issuer", "https://a"],
    ] {
        let stub = node(json!({}));
        let revoke = || authmesh(&[&["revoke"], args].concat()).at(&stub.url);

        revoke().stdin("yes\n").run().fails("add --yes");
        for answer in ["", "\n", "y\n", "no\n", "yes please\n", "YES\n", &"yes".repeat(1_000)] {
            let ran = revoke().typed(answer).run();
            ran.says(Exit::No, "");
            assert!(ran.stderr.contains("nothing was revoked"), "{answer:?}: {ran:?}");
        }
        assert_eq!(stub.seen(), [], "{args:?}");

        for answer in ["yes\n", "yes", "  yes \r\n"] {
            let ran = revoke().typed(answer).run();
            assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
            assert!(
                ran.stderr.contains("on every node") && ran.stderr.contains("Type yes"),
                "{ran:?}"
            );
        }
        assert_eq!(stub.seen().len(), 3);
    }
}

#[test]
fn a_refusal_is_told_from_an_outage() {
    let token = token(&claims());
    let problem = |detail: &str| json!({ "type": "x", "title": "Refused", "detail": detail }).to_string();
    for (status, body, exit, says) in [
        (
            400,
            problem("the issuer is not configured here"),
            Exit::No,
            "the issuer is not configured here",
        ),
        (
            422,
            problem(&format!("{token} does not verify")),
            Exit::No,
            "(not shown) does not verify",
        ),
        (409, problem("full"), Exit::No, "full"),
        (507, problem("too many marks"), Exit::No, "too many marks"),
        (
            404,
            problem("there is nothing at this path"),
            Exit::Unknown,
            "Check that the URL",
        ),
        (404, String::new(), Exit::Unknown, "HTTP status 404"),
        (401, problem("no"), Exit::Unknown, "Check the credential"),
        (429, problem("slower"), Exit::Unknown, "slower"),
        (503, problem("busy"), Exit::Unknown, "busy"),
        (
            200,
            "{}".to_owned(),
            Exit::Unknown,
            "something else than this command expects",
        ),
        (
            200,
            receipt(json!({ "state": "maybe" })),
            Exit::Unknown,
            "something else than this command expects",
        ),
    ] {
        let stub = Stub::start(&[(PATH, status, body)]);
        let ran = authmesh(&["revoke", "--token", "-"])
            .stdin(token.as_str())
            .at(&stub.url)
            .run();
        assert_eq!(ran.exit, exit, "{status}: {ran:?}");
        assert!(
            ran.stdout.contains(says) || ran.stderr.contains(says),
            "{status}: {ran:?}"
        );
        ran.hides(&token).hides(CREDENTIAL);
    }
}
