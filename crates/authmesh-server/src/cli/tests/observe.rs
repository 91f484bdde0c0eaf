//! `authmesh observe`.

use serde_json::{Value, json};

use super::authmesh;
use super::stub::Stub;
use crate::cli::io::Exit;

const PATH: &str = "/v1/observations";

fn report(coherent: bool, found: Value) -> Value {
    let inconsistent: u64 = found
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["count"].as_u64().unwrap())
        .sum();
    json!({
        "node": "orders\u{7}5d", "at": 1, "took_ms": 5240, "settle_ms": 5000, "coherent": coherent,
        "checked": {"verdicts": 100, "entries": 1, "in_l2": 1, "channels": 8, "peers": 3, "at_peers": 2},
        "in_flight": 1, "could_not_ask": 0, "inconsistent": inconsistent, "oldest_seconds": null, "found": found,
    })
}

#[test]
fn a_node_that_agrees_with_everything_is_consistent() {
    let stub = Stub::start(&[(PATH, 200, report(true, json!([])).to_string())]);
    authmesh(&["observe"]).at(&stub.url).run().says(
        Exit::Yes,
        "\
orders?5d   consistent
  memory   100 verdicts against the marks, 1 entry of the cache (1 of them in L2)
  redis    8 channels of 64
  members  3 members, 2 values
  flight   1 difference that went away
  took     5.2 s
",
    );
    let seen = stub.only();
    assert_eq!((seen.method.as_str(), &seen.body), ("POST", &json!({})));
}

#[test]
fn what_was_found_is_explained_and_fails_the_command() {
    let found = json!([{
        "kind": "peer_value", "count": 2, "oldest_seconds": 65,
        "first": {
            "what": "this node serves a value filled 70 s ago", "name": "ab".repeat(32), "channel": 7, "peer": "orders-9f",
            "age_seconds": 65,
        },
    }]);
    let body = report(true, found);
    let stub = Stub::start(&[(PATH, 200, body.to_string())]);
    let ran = authmesh(&["observe", "--sample", "7", "--peers", "2", "--channels", "0"])
        .at(&stub.url)
        .run();
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
    for line in [
        "orders?5d   2 inconsistencies\n",
        "\npeer_value   2 times, the oldest for 1 min\n",
        "  first    this node serves a value filled 70 s ago\n",
        "  member   orders-9f\n",
    ] {
        assert!(ran.stdout.contains(line), "{line}: {ran:?}");
    }
    assert!(ran.stdout.contains(&"ab".repeat(32)));
    assert_eq!(stub.only().body, json!({"sample": 7, "peers": 2, "channels": 0}));

    let ran = authmesh(&["observe", "--json"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::No);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), body);
}

#[test]
fn a_blind_node_proves_nothing() {
    let stub = Stub::start(&[(PATH, 200, report(false, json!([])).to_string())]);
    let ran = authmesh(&["observe"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
    assert!(
        ran.stdout
            .contains("blind: only its memory and its marks were compared")
    );
}

#[test]
fn whoever_cannot_be_asked_or_asks_for_too_much_gets_no_answer() {
    let busy = json!({"title": "busy", "detail": "this node is looking already"}).to_string();
    let stub = Stub::start(&[(PATH, 503, busy)]);
    let ran = authmesh(&["observe"]).at(&stub.url).run();
    assert_eq!(ran.exit, Exit::Unknown);
    assert!(ran.stderr.contains("looking already"), "{ran:?}");
    for wrong in [
        ["--sample", "1001"],
        ["--peers", "17"],
        ["--channels", "65"],
        ["--sample", "-1"],
    ] {
        let ran = authmesh(&["observe", wrong[0], wrong[1]]).at(&stub.url).run();
        assert_eq!(ran.exit, Exit::Unknown, "{ran:?}");
    }
}
