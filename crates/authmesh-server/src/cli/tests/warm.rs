//! `authmesh warm` and `authmesh presets`.

use authmesh_oidc::presets;
use serde_json::{Value, json};

use super::authmesh;
use super::stub::Stub;
use crate::cli::io::Exit;

const KEYS: &str = "/v1/keys/refresh";
const TOKENS: &str = "/v1/warm";

fn keys(refreshed: bool) -> String {
    json!({ "issuers": [
        { "issuer": "https://a", "refreshed": true },
        { "issuer": "https://b\u{1b}", "refreshed": refreshed, "problem": if refreshed { Value::Null } else { "HTTP 500".into() } },
    ] })
    .to_string()
}

fn warmed() -> String {
    json!({ "accepted": 1, "refused": { "expired": 1 }, "unanswered": {} }).to_string()
}

#[test]
fn all_key_sets_are_fetched() {
    let stub = Stub::start(&[(KEYS, 200, keys(true))]);
    let ran = authmesh(&["warm"]).at(&stub.url).run();
    ran.says(Exit::Yes, "keys     2 of 2 key sets fetched\n");
    assert_eq!((stub.only().method.as_str(), stub.only().body), ("POST", json!({})));

    let stub = Stub::start(&[(KEYS, 200, keys(false))]);
    let ran = authmesh(&["warm"]).at(&stub.url).run();
    ran.says(
        Exit::No,
        "keys     1 of 2 key sets fetched\n  failed   https://b?: HTTP 500\n",
    );
}

#[test]
fn tokens_come_from_standard_input_in_batches() {
    let stub = Stub::start(&[(TOKENS, 200, warmed())]);
    let tokens: String = (0..501).map(|at| format!("  token-{at} \r\n\n")).collect();
    let ran = authmesh(&["warm", "--no-keys", "--tokens", "-"])
        .at(&stub.url)
        .stdin(tokens)
        .run();
    ran.says(Exit::Yes, "tokens   2 of 501 tokens accepted\n  refused  2 expired\n");
    assert!(ran.stderr.contains("500 of 501 tokens"), "{ran:?}");
    let sizes: Vec<usize> = stub
        .seen()
        .iter()
        .map(|seen| seen.body["tokens"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [500, 1]);
    assert_eq!(stub.seen()[0].body["tokens"][0], "token-0");
    ran.hides("token-");
}

#[test]
fn tokens_come_from_a_file_and_one_that_could_not_be_judged_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    // Two megabytes: more than one request takes.
    std::fs::write(&file, format!("{}\n{}\n", "a".repeat(1_000_000), "b".repeat(1_000_000))).unwrap();
    let lacking = json!({ "accepted": 0, "refused": {}, "unanswered": { "could-not-ask": 1 } }).to_string();
    let stub = Stub::start(&[(KEYS, 200, keys(true)), (TOKENS, 200, lacking)]);
    let ran = authmesh(&["warm", "--tokens", file.to_str().unwrap()])
        .at(&stub.url)
        .run();
    assert_eq!(ran.exit, Exit::No, "{ran:?}");
    assert!(ran.stdout.contains("lacking  2 could-not-ask"), "{ran:?}");
    assert_eq!(stub.seen().len(), 3);
}

#[test]
fn what_is_no_list_of_tokens_is_refused_before_anything_is_sent_and_not_repeated() {
    let stub = Stub::start(&[]);
    let warm = |stdin: &str| authmesh(&["warm", "--tokens", "-"]).at(&stub.url).stdin(stdin).run();
    let ran = warm("good\nse cret\n");
    ran.fails("--tokens: line 2 holds something that no token can be")
        .hides("cret");
    let given = authmesh(&["warm", "--tokens", "eyJhbGciOi.secret.x"])
        .at(&stub.url)
        .run();
    given.fails("a token itself is never an argument").hides("secret");
    authmesh(&["warm", "--no-keys"]).at(&stub.url).run().fails("--tokens");
    assert!(stub.seen().is_empty());
}

#[test]
fn a_node_that_quotes_a_token_is_not_repeated() {
    let quoted = json!({ "title": "Bad", "detail": "what is s3cr3t-token?" }).to_string();
    let stub = Stub::start(&[(TOKENS, 400, quoted)]);
    let ran = authmesh(&["warm", "--no-keys", "--tokens", "-"])
        .at(&stub.url)
        .stdin("s3cr3t-token\n")
        .run();
    ran.fails("answered: what is").hides("s3cr3t-token");
}

#[test]
fn every_preset_is_listed_with_what_to_fill_in_and_where_it_is_documented() {
    let all = authmesh(&["presets"]).run();
    assert_eq!(all.exit, Exit::Yes);
    for name in presets::names() {
        let preset = presets::Preset::named(name).unwrap();
        let one = authmesh(&["presets", name]).run();
        assert_eq!(one.exit, Exit::Yes);
        assert!(all.stdout.contains(&one.stdout), "{name}");
        assert!(one.stdout.contains(&format!("  name = \"{name}\"\n")));
        for parameter in preset.parameters() {
            assert!(
                one.stdout
                    .contains(&format!("  {} = \"{}\"\n", parameter.name, parameter.example))
            );
            assert!(one.stdout.contains(parameter.about), "{name}");
        }
        assert!(preset.docs().len() > 0 || name == "oidc", "{name}");
        assert!(preset.docs().all(|page| one.stdout.contains(page)), "{name}");
    }
    let json = authmesh(&["presets", "--json"]).run();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["presets"].as_array().unwrap().len(), presets::names().len());

    let none = authmesh(&["presets", "auth1"]).run();
    assert_eq!(none.exit, Exit::No, "{none:?}");
    assert!(
        none.stderr.contains("There are: oidc, auth0, ") && !none.stderr.contains("auth1"),
        "{none:?}"
    );
}
