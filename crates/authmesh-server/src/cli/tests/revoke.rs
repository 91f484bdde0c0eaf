//! `authmesh revoke`.

use serde_json::{Value, json};

use super::forge::{claims, file, token};
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
fn a_receipt_names_who_has_it_and_who_has_not() {
    let member = |node: &str| json!({ "node": node, "address": "127.0.0.1:7946", "incarnation": "a1" });
    let partly = json!({ "confirmed_by": [member("b"), member("c\u{1b}")], "missing": [member("d")] });
    for (args, exit) in [
        (&[][..], Exit::Yes),
        (&["--confirm", "committed"], Exit::Yes),
        // Committed, but one has not confirmed it.
        (&["--confirm", "all-live"], Exit::Unknown),
    ] {
        let ran = authmesh(&[&["revoke", "--subject", "alice"], args].concat())
            .at(&node(partly.clone()).url)
            .run();
        assert_eq!(ran.exit, exit, "{ran:?}");
        let end = "  state    committed\n  has it   b, c?\n  missing  d\n";
        assert!(ran.stdout.ends_with(end), "{ran:?}");
    }
    let whole = node(json!({ "confirmed_by": [member("b")], "missing": [] }));
    let ran = authmesh(&["revoke", "--subject", "alice", "--confirm", "all-live"])
        .at(&whole.url)
        .run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert!(!ran.stdout.contains("missing"), "{ran:?}");
}

#[test]
fn how_long_is_waited_and_for_what_is_asked_for() {
    for (args, more) in [
        (&["--confirm", "committed", "--deadline", "2s"][..], json!({})),
        (&["--confirm", "all-live"], json!({ "wait_for": "all_live" })),
        (&["--deadline", "1m"], json!({ "deadline_seconds": 60 })),
    ] {
        let stub = node(json!({}));
        let ran = authmesh(&[&["revoke", "--subject", "alice"], args].concat())
            .at(&stub.url)
            .run();
        assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
        let mut body = json!({ "subject": "alice" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(stub.only().body, body);
    }
    for args in [["--deadline", "61s"], ["--deadline", "soon"], ["--confirm", "all"]] {
        let ran = authmesh(&[&["revoke", "--subject", "alice"], &args[..]].concat()).run();
        assert_eq!(ran.exit, Exit::Unknown, "{ran:?}");
    }
}

#[test]
fn the_body_says_what_was_asked_for() {
    for (args, body) in [
        (&["--subject", "alice"][..], json!({ "subject": "alice" })),
        (&["--session", "s1", "--yes"], json!({ "session": "s1" })),
        (&["--jti", "j1"], json!({ "jti": "j1" })),
        (&["--client", "c1", "--yes"], json!({ "client": "c1", "confirm": "c1" })),
        (&["--kid", "k1", "--yes"], json!({ "kid": "k1", "confirm": "k1" })),
        (
            &["--thumbprint", "t1", "--yes", "--issuer", "https://a"],
            json!({ "thumbprint": "t1", "issuer": "https://a", "confirm": "t1" }),
        ),
        (
            &["--whole-issuer", "--issuer", "https://a", "--why", "stolen", "--yes"],
            json!({ "whole_issuer": true, "issuer": "https://a", "why": "stolen", "confirm": "https://a" }),
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

/// A node that wants to hear `name` before it revokes.
fn cautious(name: &str, changes: Value) -> Stub {
    let mut problem =
        json!({ "type": "x", "title": "Conflict", "detail": "confirm", "confirm": name, "verdicts": 1_204 });
    for (name, value) in changes.as_object().unwrap() {
        problem[name] = value.clone();
    }
    Stub::start(&[
        (PATH, 409, problem.to_string()),
        ("/v1/revocations+confirm", 200, receipt(json!({}))),
    ])
}

#[test]
fn wide_revocations_say_how_far_they_reach_and_ask_first() {
    for (args, name) in [
        (&["--client", "c1"][..], "c1"),
        (&["--kid", "k1"], "k1"),
        (&["--thumbprint", "t1"], "t1"),
        (&["--whole-issuer"], "https://a"),
        (&["--whole-issuer", "--issuer", "https://a"], "https://a"),
    ] {
        let stub = cautious(name, json!({}));
        let revoke = || authmesh(&[&["revoke"], args].concat()).at(&stub.url);

        revoke().stdin("yes\n").run().fails("add --yes");
        assert_eq!(stub.seen(), [], "{args:?}: nobody was there to ask");
        for answer in ["", "\n", "y\n", "no\n", "yes please\n", "YES\n", &"yes".repeat(1_000)] {
            let ran = revoke().typed(answer).run();
            ran.says(Exit::No, "");
            assert!(ran.stderr.contains("nothing was revoked"), "{answer:?}: {ran:?}");
        }
        assert!(
            stub.seen().iter().all(|seen| seen.body.get("confirm").is_none()),
            "{args:?}"
        );

        for answer in ["yes\n", "yes", "  yes \r\n"] {
            let ran = revoke().typed(answer).run();
            assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
            for words in ["on every node", "1,204 verdicts", "Type yes"] {
                assert!(ran.stderr.contains(words), "{words}: {ran:?}");
            }
        }
        let confirmed: Vec<Value> = stub
            .seen()
            .into_iter()
            .filter_map(|seen| seen.body.get("confirm").cloned())
            .collect();
        assert_eq!(confirmed, vec![json!(name); 3]);

        // Whoever says yes beforehand is not asked, also where only the node knows the name.
        let ran = authmesh(&[&["revoke", "--yes"], args].concat()).at(&stub.url).run();
        assert_eq!((ran.exit, ran.stderr.as_str()), (Exit::Yes, ""), "{ran:?}");
    }
}

#[test]
fn a_node_that_is_never_content_with_a_confirmation_is_a_refusal() {
    let problem = json!({ "type": "x", "title": "Conflict", "detail": "again", "confirm": "c1", "verdicts": 1 });
    let stub = Stub::start(&[(PATH, 409, problem.to_string())]);
    let ran = authmesh(&["revoke", "--client", "c1"])
        .typed("yes\nyes\nyes\nyes\nyes\n")
        .at(&stub.url)
        .run();
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
    assert!(ran.stdout.starts_with("refused: nothing was revoked\n"), "{ran:?}");
    // The place in the batch that a node names need not be there.
    let stub = cautious("c1", json!({ "at": 7 }));
    let ran = authmesh(&["revoke", "--client", "c1"])
        .typed("yes\n")
        .at(&stub.url)
        .run();
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
}

#[test]
fn several_values_are_one_batch() {
    let receipts = |second: &str| {
        format!(
            r#"{{"receipts":[{},{}]}}"#,
            receipt(json!({})),
            receipt(json!({ "state": second }))
        )
    };
    let args = ["revoke", "--subject", "alice", "--subject", "b\nob", "--why", "left"];
    let stub = Stub::start(&[(PATH, 200, receipts("committed"))]);
    let ran = authmesh(&args).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert!(
        ran.stdout.contains("revoked: subject alice\n") && ran.stdout.contains("revoked: subject b?ob\n"),
        "{ran:?}"
    );
    assert_eq!(
        stub.only().body,
        json!([{ "subject": "alice", "why": "left" }, { "subject": "b\nob", "why": "left" }])
    );

    let stub = Stub::start(&[(PATH, 200, receipts("unconfirmed"))]);
    let ran = authmesh(&args).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::Unknown, "one is not proven: {ran:?}");

    let stub = Stub::start(&[(
        PATH,
        200,
        format!(r#"{{"receipts":[{0},{0}]}}"#, receipt(json!({ "scope": "client" }))),
    )]);
    let ran = authmesh(&["revoke", "--client", "a", "--client", "b", "--yes"])
        .at(&stub.url)
        .run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert_eq!(
        stub.only().body,
        json!([{ "client": "a", "confirm": "a" }, { "client": "b", "confirm": "b" }])
    );
    let many: Vec<String> = (0..1001)
        .flat_map(|n| ["--subject".to_owned(), n.to_string()])
        .collect();
    let many: Vec<&str> = std::iter::once("revoke")
        .chain(many.iter().map(String::as_str))
        .collect();
    authmesh(&many).at(&stub.url).run().fails("more than 1000 values");
}

#[test]
fn a_spared_token_comes_from_a_file_and_is_never_repeated() {
    let token = token(&claims());
    let (_folder, spared) = file("spared", format!("{token}\n"));
    let revoke = |url: &str, file: &str| {
        authmesh(&["revoke", "--subject", "alice", "--except-token-file", file])
            .at(url)
            .run()
    };
    let stub = node(json!({}));
    let ran = revoke(&stub.url, &spared);
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert_eq!(stub.only().body, json!({ "subject": "alice", "except_token": token }));
    ran.hides(&token);

    let problem = json!({ "type": "x", "title": "Refused", "detail": format!("{token} is expired") }).to_string();
    let stub = Stub::start(&[(PATH, 422, problem)]);
    let ran = revoke(&stub.url, &spared);
    assert_eq!(ran.exit, Exit::No);
    ran.hides(&token);

    let stub = node(json!({}));
    for content in ["", " \n", "t\u{f6}ken"] {
        let (_folder, wrong) = file("wrong", content);
        revoke(&stub.url, &wrong).fails("must hold one token");
    }
    // Somebody may take the option for the token itself.
    revoke(&stub.url, &token).fails("cannot be read").hides(&token);
    authmesh(&[
        "revoke",
        "--subject",
        "a",
        "--except-token-file",
        "f",
        "--except-session",
        "s",
    ])
    .at(&stub.url)
    .run()
    .fails("cannot be used with");
    assert_eq!(stub.seen(), []);
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
