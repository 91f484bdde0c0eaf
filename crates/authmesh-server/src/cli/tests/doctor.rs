//! `authmesh doctor` about a running node.

use serde_json::{Value, json};

use super::stub::Stub;
use super::{CREDENTIAL, authmesh};

/// What it finds of the node, as `level what`, where the node's health is this.
fn findings(status: u16, health: &Value) -> Vec<String> {
    let stub = Stub::start(&[("/v1/health", status, health.to_string())]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authmesh.toml");
    // Nobody listens at the issuer: of that the doctor speaks under another topic.
    let text = format!(
        "[admin]\nlisten = \"{}\"\n[[issuers]]\nurl = \"http://127.0.0.1:1\"\naudience = \"x\"\nkeys.max_trust_age = \"8h\"\n\
         [danger]\nallow_http = true\n",
        stub.url.trim_start_matches("http://")
    );
    std::fs::write(&file, text).unwrap();
    let ran = authmesh(&["doctor", "--json", "--config", file.to_str().unwrap()])
        .env("AUTHMESH_ADMIN_TOKEN", CREDENTIAL)
        .run();
    ran.hides(CREDENTIAL);
    let said: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    let word = |check: &Value, name: &str| check[name].as_str().unwrap().to_owned();
    let checks = said["checks"].as_array().unwrap().iter();
    checks
        .filter(|check| check["topic"] == "node")
        .map(|check| format!("{} {}", word(check, "level"), word(check, "what")))
        .collect()
}

fn health(trusted: bool, seconds: u64, open: bool) -> Value {
    json!({
        "status": "ok", "coherent": true, "blind_for_seconds": null,
        "issuers": [{ "issuer": "http://127.0.0.1:1", "trusted": trusted, "trusted_seconds": seconds, "failures": 6,
                      "circuit_open": open, "trouble": "HTTP 500" }],
        "upstreams": [{ "issuer": "https://b", "failures": 7, "open": open, "trouble": "HTTP 501" }],
    })
}

#[test]
fn the_doctor_warns_before_the_trust_in_keys_ends() {
    for (health, expected) in [
        (
            health(true, 7_200, false),
            [
                "ok issuer http://127.0.0.1:1: the node has keys",
                "ok issuer https://b: it answers",
            ],
        ),
        (
            health(true, 7_199, false),
            [
                "warn issuer http://127.0.0.1:1: its keys are trusted for 1 h more (HTTP 500)",
                "ok ",
            ],
        ),
        (
            health(true, 20_000, true),
            [
                "warn issuer http://127.0.0.1:1: 6 fetches of its keys failed in a row",
                "warn issuer https://b: 7 questions about tokens failed in a row, so it is left alone: HTTP 501",
            ],
        ),
        (
            health(false, 0, false),
            [
                "fail issuer http://127.0.0.1:1: the node has no keys that it trusts (HTTP 500)",
                "ok ",
            ],
        ),
    ] {
        let found = findings(200, &health);
        assert_eq!(found.len(), 2, "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
    }
}

#[test]
fn a_node_that_does_not_know_us_is_a_warning_and_none_at_all_is_not() {
    let refused = json!({ "title": "admin-credential", "detail": "wrong" });
    let found = findings(401, &refused);
    assert!(found[0].starts_with("warn ") && found[0].contains("wrong"), "{found:?}");
}
