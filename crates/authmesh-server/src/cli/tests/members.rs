//! `authmesh members`.

use serde_json::{Value, json};

use super::stub::Stub;
use super::{CREDENTIAL, Cmd, authmesh};
use crate::cli::io::Exit;

const PATH: &str = "/v1/members";
const A: &str = "92b9f0c1fd054b10d259c6cecbabb12e";
const B: &str = "f8b1a71ce54f60d92dae5f502e32f82f";
const C: &str = "d8b14e77e4e861144ae8c0e0f2776d3a";

fn member(node: &str, incarnation: &str, live: bool, changes: Value) -> Value {
    let mut member = json!({
        "node": node, "incarnation": incarnation, "address": "", "version": "0.4.1", "age_seconds": 12, "live": live, "this": false,
        "registered": true, "gossip": "10.0.0.7:7946", "found": live, "in_view": true, "evidence_age_ms": 120,
        "waited_for": false,
    });
    for (name, value) in changes.as_object().unwrap() {
        member[name] = value.clone();
    }
    member
}

/// a is the node itself, b lives, c does not.
fn members() -> Value {
    json!({ "members": [
        member("a", A, true, json!({ "this": true, "address": "127.0.0.1:8400" })),
        member("b", B, true, json!({ "waited_for": true })),
        member("c\u{1b}", C, false, json!({ "registered": false, "version": "", "evidence_age_ms": null })),
    ] })
}

fn node(forget: (&str, u16, Value)) -> Stub {
    Stub::start(&[
        (PATH, 200, members().to_string()),
        (&format!("{PATH}/{}", forget.0), forget.1, forget.2.to_string()),
    ])
}

fn forgets() -> Stub {
    node((C, 200, json!({ "forgotten": { "node": "c", "incarnation": C } })))
}

fn forget(args: &[&str]) -> Cmd {
    authmesh(&[&["members", "forget"], args].concat())
}

/// The requests that would change something.
fn deleted(stub: &Stub) -> Vec<String> {
    let seen = stub.seen().into_iter();
    seen.filter(|seen| seen.method != "GET")
        .map(|seen| seen.target)
        .collect()
}

#[test]
fn members_are_listed_with_all_that_is_known() {
    let stub = forgets();
    authmesh(&["members", "list"]).at(&stub.url).run().says(
        Exit::Yes,
        "node   incarnation    live   seen        found   in view   evidence     version   address          gossip\n\
         a      92b9f0c1fd05   yes    this node   yes     yes       -            0.4.1     127.0.0.1:8400   10.0.0.7:7946\n\
         b      f8b1a71ce54f   yes    12 s ago    yes     yes       waited for   0.4.1     -                10.0.0.7:7946\n\
         c?     d8b14e77e4e8   no     -           no      yes       none         -         -                10.0.0.7:7946\n",
    );
    assert_eq!(stub.only().bearer, format!("Bearer {CREDENTIAL}"));
    let ran = authmesh(&["members", "list", "--json"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), members());
    let stub = Stub::start(&[(PATH, 503, json!({ "title": "store" }).to_string())]);
    authmesh(&["members", "list"]).at(&stub.url).run().fails("store");
}

#[test]
fn a_member_that_died_is_forgotten_once_that_was_confirmed() {
    let says = format!("forgotten: c? ({C})\n");
    for (args, typed) in [
        (&["c\u{1b}"][..], "yes\n"),
        (&[C], "yes\n"),
        (&["c\u{1b}", "--yes"], ""),
    ] {
        let stub = forgets();
        let ran = forget(args).typed(typed).at(&stub.url).run();
        ran.says(Exit::Yes, &says);
        assert_eq!(
            ran.stderr.contains("turns blind and has to be started anew"),
            !typed.is_empty()
        );
        assert_eq!(deleted(&stub), [format!("{PATH}/{C}")]);
    }
    let stub = forgets();
    let ran = forget(&[C]).typed("no\n").at(&stub.url).run();
    ran.says(Exit::No, "");
    assert!(ran.stderr.contains("nothing was forgotten"), "{ran:?}");
    forget(&[C]).at(&stub.url).run().fails("add --yes");
    assert!(deleted(&stub).is_empty());
}

#[test]
fn a_member_that_lives_is_spared_and_so_is_the_node_itself() {
    let stub = node((B, 200, json!({})));
    for (name, why) in [
        ("b", "is live: stop it instead"),
        ("a", "is the node that was asked"),
        ("d", "no member has this name"),
    ] {
        let ran = forget(&[name, "--yes"]).at(&stub.url).run();
        assert_eq!(ran.exit, Exit::No, "{ran:?}");
        assert!(
            ran.stdout.starts_with("refused: nothing was forgotten\n") && ran.stdout.contains(why),
            "{ran:?}"
        );
    }
    assert!(deleted(&stub).is_empty());
    let ran = forget(&["a", "--yes", "--force"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
    let ran = forget(&["b", "--yes", "--force"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
    assert_eq!(deleted(&stub), [format!("{PATH}/{B}?force=true")]);
}

#[test]
fn of_several_starts_with_one_name_the_incarnation_is_asked_for() {
    let list = json!({ "members": [member("c", B, true, json!({})), member("c", C, false, json!({}))] });
    let stub = Stub::start(&[
        (PATH, 200, list.to_string()),
        (&format!("{PATH}/{C}"), 200, "{}".to_owned()),
    ]);
    let ran = forget(&["c", "--yes"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
    let named = format!("{B} (live), {C} (not live)");
    assert!(
        ran.stdout.contains("2 starts have this name") && ran.stdout.contains(&named),
        "{ran:?}"
    );
    let ran = forget(&[&C.to_uppercase(), "--yes"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::Yes, "{ran:?}");
}

#[test]
fn what_the_node_says_against_it_is_told() {
    // It came back to life between the question and the order.
    for status in [404, 409] {
        let problem = json!({ "title": "Conflict", "detail": "the member is live" });
        let stub = node((C, status, problem));
        let ran = forget(&[C, "--yes"]).at(&stub.url).run();
        assert_eq!(ran.exit, Exit::No, "{ran:?}");
        assert!(ran.stdout.contains("the member is live"), "{ran:?}");
    }
    let stub = node((C, 503, json!({ "title": "store" })));
    forget(&[C, "--yes"]).at(&stub.url).run().fails("store");
    // An incarnation becomes a part of a path.
    let list = json!({ "members": [member("c", "../clear", false, json!({}))] });
    let stub = Stub::start(&[(PATH, 200, list.to_string())]);
    forget(&["c", "--yes"]).at(&stub.url).run().fails("no incarnation");
    assert!(deleted(&stub).is_empty());
}
