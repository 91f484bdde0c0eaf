//! `authmesh marks`.

use serde_json::{Value, json};

use super::authmesh;
use super::forge::{claims, token};
use super::stub::Stub;
use crate::cli::io::Exit;

use super::NOW;

const LIST: &str = "/v1/marks";
const EXPLAIN: &str = "/v1/marks/explain";

fn mark(n: u8) -> Value {
    let scope = format!("{n:02x}").repeat(16);
    json!({
        "id": scope, "kind": "subject", "scope": scope, "except": null, "not_before": NOW - 60,
        "expires": NOW + 90_000, "at": NOW - 60, "by": "jo", "why": "lost\nphone",
    })
}

fn page(marks: &[Value], next: Option<u8>) -> String {
    json!({ "marks": marks, "next": next.map(|n| format!("{n:02x}").repeat(16)) }).to_string()
}

#[test]
fn marks_are_a_table() {
    let mut spared = mark(2);
    spared["except"] = "ab".repeat(16).into();
    spared["why"] = "".into();
    let mut jti = mark(3);
    jti["kind"] = "jti".into();
    jti["not_before"] = Value::Null;
    let stub = Stub::start(&[(LIST, 200, page(&[mark(1), spared, jti], None))]);
    let ran = authmesh(&["marks", "list"]).at(&stub.url).run();
    ran.says(
        Exit::Yes,
        "\
kind      name           spares         issued up to   kept until            made       by   why
subject   010101010101   -              12:29:40       2026-11-22 13:30:40   12:29:40   jo   lost?phone
subject   020202020202   abababababab   12:29:40       2026-11-22 13:30:40   12:29:40   jo   -
jti       030303030303   -              any time       2026-11-22 13:30:40   12:29:40   jo   lost?phone
",
    );
    assert_eq!(stub.only().target, "/v1/marks?limit=100");
    let stub = Stub::start(&[(LIST, 200, page(&[], None))]);
    let ran = authmesh(&["marks", "list", "--kind", "issuer"]).at(&stub.url).run();
    ran.says(Exit::Yes, "nothing is revoked\n");
    assert_eq!(stub.only().target, "/v1/marks?limit=100&kind=issuer");
}

#[test]
fn pages_are_followed_and_never_in_a_circle() {
    let first = page(&[mark(1), mark(2)], Some(2));
    let stub = Stub::start(&[(LIST, 200, first.clone())]);
    let ran = authmesh(&["marks", "list", "--limit", "2"]).at(&stub.url).run();
    assert_eq!((ran.exit, ran.stdout.lines().count()), (Exit::Yes, 3), "{ran:?}");
    assert!(ran.stderr.contains("more follow"), "{ran:?}");
    let ran = authmesh(&["marks", "list", "--limit", "2", "--json"])
        .at(&stub.url)
        .run();
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (said["marks"].as_array().unwrap().len(), &said["more"]),
        (2, &json!(true))
    );
    assert_eq!(said["marks"][0]["scope"], "01".repeat(16));

    // The same page again and again.
    authmesh(&["marks", "list"])
        .at(&stub.url)
        .run()
        .fails("do not follow on each other");
    // What a node calls the next page does not become another request.
    let odd = json!({ "marks": [], "next": "x&kind=tag" }).to_string();
    let stub = Stub::start(&[(LIST, 200, odd)]);
    authmesh(&["marks", "list"])
        .at(&stub.url)
        .run()
        .fails("do not follow on each other");
    let stub = Stub::start(&[(LIST, 200, first)]);
    authmesh(&["marks", "list", "--limit", "1"])
        .at(&stub.url)
        .run()
        .fails("do not follow on each other");
}

#[test]
fn what_stands_against_somebody_is_the_exit_code() {
    for (args, body) in [
        (&["--subject", "alice"][..], json!({ "subject": "alice" })),
        (
            &["--kid", "k1", "--issuer", "https://a"],
            json!({ "kid": "k1", "issuer": "https://a" }),
        ),
        (&["--whole-issuer"], json!({ "whole_issuer": true })),
    ] {
        let stub = Stub::start(&[(EXPLAIN, 200, json!({ "marks": [mark(1)] }).to_string())]);
        let ran = authmesh(&[&["marks", "explain"], args].concat()).at(&stub.url).run();
        assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
        assert!(ran.stdout.contains("lost?phone"), "{ran:?}");
        assert_eq!(stub.only().body, body);
        let stub = Stub::start(&[(EXPLAIN, 200, json!({ "marks": [] }).to_string())]);
        let ran = authmesh(&[&["marks", "explain"], args].concat()).at(&stub.url).run();
        ran.says(Exit::No, "nothing stands against it\n");
        let ran = authmesh(&[&["marks", "explain", "--json"], args].concat())
            .at(&stub.url)
            .run();
        ran.says(Exit::No, "{\"marks\":[]}\n");
    }
    let stub = Stub::start(&[]);
    authmesh(&["marks", "explain", "--subject", "a", "--subject", "b"])
        .at(&stub.url)
        .run()
        .fails("one value at a time");
}

#[test]
fn a_token_that_is_asked_about_is_not_repeated() {
    let token = token(&claims());
    let explain = |stub: &Stub, stdin: &str| {
        authmesh(&["marks", "explain", "--token", "-"])
            .stdin(stdin)
            .at(&stub.url)
            .run()
    };
    let stub = Stub::start(&[(EXPLAIN, 200, json!({ "marks": [mark(1)] }).to_string())]);
    assert_eq!(explain(&stub, &token).exit, Exit::Yes);
    assert_eq!(stub.only().body, json!({ "token": token }));
    explain(&stub, " \n").says(Exit::No, "refused\n  reason   standard input holds no token\n");

    let problem = json!({ "type": "x", "title": "Refused", "detail": format!("{token} does not verify") }).to_string();
    for (status, exit) in [(422, Exit::No), (503, Exit::Unknown)] {
        let stub = Stub::start(&[(EXPLAIN, status, problem.clone())]);
        let ran = explain(&stub, &token);
        assert_eq!(ran.exit, exit, "{ran:?}");
        ran.hides(&token);
    }
}

#[test]
fn a_node_that_cannot_be_asked_is_2() {
    for (status, body) in [
        (401, String::new()),
        (404, String::new()),
        (503, String::new()),
        (200, "{}".to_owned()),
    ] {
        let stub = Stub::start(&[(LIST, status, body.clone()), (EXPLAIN, status, body)]);
        for args in [&["marks", "list"][..], &["marks", "explain", "--subject", "a"]] {
            let ran = authmesh(args).at(&stub.url).run();
            assert_eq!(
                (ran.exit, ran.stdout.as_str()),
                (Exit::Unknown, ""),
                "{status}: {ran:?}"
            );
        }
    }
}
