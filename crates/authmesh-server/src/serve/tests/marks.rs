//! The admin API about marks: batches, confirmations, exceptions, lists. And that the documents tell the truth.

use std::collections::BTreeSet;

use authmesh_tower::rejection::problem_types;
use serde_json::{Value, json};

use super::{ISSUER, World, header};
use crate::serve::admin::problem;

const REVOCATIONS: &str = "/v1/revocations";

impl World {
    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, answer) = self.admin("POST", path, &body.to_string()).await;
        (status.as_u16(), answer)
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, answer) = self.admin("GET", path, "").await;
        (status.as_u16(), answer)
    }

    async fn accepts(&self, token: &str) -> bool {
        self.verify(Some(token), &[]).await.status().is_success()
    }
}

#[tokio::test]
async fn a_batch_has_one_receipt_each_and_is_refused_as_a_whole() {
    let world = World::new(&[]).await;
    let (alice, bob) = (world.token("alice", "read"), world.token("bob", "read"));
    let refused = world
        .post(
            REVOCATIONS,
            json!([{ "subject": "alice" }, { "subject": "bob", "issuer": "https://other.example" }]),
        )
        .await;
    assert_eq!((refused.0, &refused.1["at"]), (422, &json!(1)), "{}", refused.1);
    assert!(
        refused.1["detail"]
            .as_str()
            .unwrap()
            .starts_with("revocation 2 of the batch: ")
    );
    for (body, code) in [
        (json!([{ "subject": "alice" }, {}]), "revocation"),
        (json!([{ "subject": "alice" }, { "subjekt": "bob" }]), "body"),
        (json!(vec![json!({ "subject": "alice" }); 1001]), "revocation"),
        (json!([1]), "body"),
        (
            json!([{ "subject": "alice" }, { "client": "dev-client" }]),
            "confirmation",
        ),
    ] {
        let (status, problem) = world.post(REVOCATIONS, body).await;
        assert!((400..500).contains(&status), "{problem}");
        assert_eq!(
            problem["type"],
            format!("https://authmesh.dev/problems/{code}"),
            "{problem}"
        );
    }
    assert!(
        world.accepts(&alice).await && world.accepts(&bob).await,
        "nothing was carried out"
    );
    assert_eq!(world.get("/v1/stats").await.1["marks"], 0);

    let (status, done) = world
        .post(
            REVOCATIONS,
            json!([{ "subject": "alice", "why": "left" }, { "subject": "bob", "by": "jo" }]),
        )
        .await;
    assert_eq!(status, 200, "{done}");
    let receipts = done["receipts"].as_array().unwrap();
    assert_eq!(receipts.len(), 2);
    for receipt in receipts {
        assert_eq!(
            (&receipt["state"], &receipt["scope"]),
            (&json!("committed"), &json!("subject"))
        );
    }
    assert!(!world.accepts(&alice).await && !world.accepts(&bob).await);
    assert_eq!(
        world.post(REVOCATIONS, json!([])).await,
        (200, json!({ "receipts": [] }))
    );
}

/// Trap 36.
#[tokio::test]
async fn what_is_wide_is_confirmed_and_says_how_far_it_reaches() {
    let world = World::new(&[]).await;
    let tokens = [world.token("alice", "read"), world.token("bob", "read")];
    for token in &tokens {
        assert!(world.accepts(token).await);
    }
    let client = world
        .mesh
        .verifier()
        .verify(&tokens[0])
        .await
        .unwrap()
        .client()
        .unwrap()
        .to_owned();
    let kid = {
        let verdict = world.mesh.verifier().verify(&tokens[0]).await.unwrap();
        verdict.key().unwrap().kid.clone().unwrap().to_string()
    };
    for (body, name, scope) in [
        (json!({ "client": client }), client.as_str(), "client"),
        (json!({ "kid": kid }), &kid, "key"),
        (json!({ "whole_issuer": true }), ISSUER, "issuer"),
    ] {
        let marks = world.get("/v1/stats").await.1["marks"].clone();
        for confirm in [None, Some(""), Some("yes"), Some("true")] {
            let mut body = body.clone();
            if let Some(confirm) = confirm {
                body["confirm"] = confirm.into();
            }
            let (status, problem) = world.post(REVOCATIONS, body).await;
            assert_eq!(status, 409, "{problem}");
            assert_eq!(problem["type"], "https://authmesh.dev/problems/confirmation");
            assert_eq!(
                (&problem["confirm"], &problem["verdicts"]),
                (&json!(name), &json!(2)),
                "{problem}"
            );
        }
        assert_eq!(world.get("/v1/stats").await.1["marks"], marks, "nothing was revoked");
        // What is not there needs no confirmation to be refused.
        let mut past = body.clone();
        past["confirm"] = name.into();
        past["not_before"] = json!(1);
        let (status, receipt) = world.post(REVOCATIONS, past).await;
        assert_eq!(
            (status, &receipt["scope"], &receipt["not_before"]),
            (200, &json!(scope), &json!(1))
        );
        assert!(world.accepts(&tokens[0]).await, "its tokens are younger than 1970");
    }
    let (status, problem) = world
        .post(REVOCATIONS, json!({ "kid": "none", "confirm": "none" }))
        .await;
    assert_eq!(
        (status, &problem["type"]),
        (422, &json!("https://authmesh.dev/problems/key-not-found"))
    );
    let (status, _) = world
        .post(REVOCATIONS, json!({ "whole_issuer": true, "confirm": ISSUER }))
        .await;
    assert_eq!(status, 200);
    for token in &tokens {
        assert!(!world.accepts(token).await);
    }
}

#[tokio::test]
async fn a_token_is_spared() {
    let world = World::new(&[]).await;
    let (kept, lost) = (world.token("alice", "read"), world.token("alice", "read write"));
    let (status, receipt) = world
        .post(REVOCATIONS, json!({ "subject": "alice", "except_token": kept }))
        .await;
    assert_eq!((status, &receipt["scope"]), (200, &json!("subject")), "{receipt}");
    assert!(world.accepts(&kept).await && !world.accepts(&lost).await);
    for body in [
        json!({ "subject": "alice", "except_token": "garbage" }),
        json!({ "subject": "alice", "except_token": kept, "except_session": "s1" }),
    ] {
        let (status, problem) = world.post(REVOCATIONS, body).await;
        assert!(matches!(status, 400 | 422), "{problem}");
        let said = problem.to_string();
        assert!(!said.contains("garbage") && !said.contains(&kept), "{said}");
    }
}

#[tokio::test]
async fn marks_are_listed_and_explained() {
    let world = World::new(&[]).await;
    for n in 0..5 {
        let order = json!({ "subject": format!("user-{n}"), "why": "spring cleaning", "by": "jo" });
        assert_eq!(world.post(REVOCATIONS, order).await.0, 200);
    }
    assert_eq!(world.post(REVOCATIONS, json!({ "session": "s1" })).await.0, 200);
    assert_eq!(world.post("/v1/clear", json!({})).await.0, 200);

    let (mut seen, mut after) = (BTreeSet::new(), String::new());
    loop {
        let (status, page) = world.get(&format!("/v1/marks?limit=2{after}")).await;
        assert_eq!(status, 200, "{page}");
        for mark in page["marks"].as_array().unwrap() {
            assert!(seen.insert(mark["id"].to_string()), "twice: {mark}");
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 6);
    for (kind, count) in [("subject", 5), ("session", 1), ("tag", 1), ("issuer", 0)] {
        let page = world.get(&format!("/v1/marks?kind={kind}")).await.1;
        assert_eq!(page["marks"].as_array().unwrap().len(), count, "{kind}");
    }
    for query in [
        "kind=nothing",
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=xyz",
        "more=1",
        "limit=1&limit=2",
    ] {
        let (status, problem) = world.get(&format!("/v1/marks?{query}")).await;
        assert_eq!(
            (status, &problem["type"]),
            (400, &json!("https://authmesh.dev/problems/query")),
            "{query}"
        );
    }

    let (status, found) = world.post("/v1/marks/explain", json!({ "subject": "user-3" })).await;
    assert_eq!(status, 200);
    let mark = &found["marks"][0];
    assert_eq!((&mark["by"], &mark["why"]), (&json!("jo"), &json!("spring cleaning")));
    assert!(!found.to_string().contains("user-3"), "a mark holds no clear value");
    let nobody = world.post("/v1/marks/explain", json!({ "subject": "nobody" })).await;
    assert_eq!(nobody, (200, json!({ "marks": [] })));
    for (body, code) in [
        (json!({}), "revocation"),
        (json!({ "subject": "a", "jti": "b" }), "revocation"),
        (json!({ "subject": "a", "why": "b" }), "body"),
        (json!({ "token": "garbage" }), "token-refused"),
    ] {
        let (_, problem) = world.post("/v1/marks/explain", body).await;
        assert_eq!(problem["type"], format!("https://authmesh.dev/problems/{code}"));
    }
}

/// The properties of a schema of the document, sorted.
fn properties(document: &Value, schema: &str) -> Vec<String> {
    let schema = &document["components"]["schemas"][schema]["properties"];
    let mut names: Vec<String> = schema.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

fn members(answer: &Value) -> Vec<String> {
    let mut names: Vec<String> = answer.as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_document_names_what_is_answered_and_every_path() {
    let world = World::new(&[]).await;
    let token = world.token("alice", "read");
    let document = world.get("/openapi.json").await.1;
    let receipt = world.post(REVOCATIONS, json!({ "subject": "bob" })).await.1;
    let page = world.get("/v1/marks").await.1;
    let explained = world.post("/v1/explain", json!({ "token": token })).await.1;
    let counts = world.get("/v1/stats").await.1["counts"].clone();
    assert_eq!(members(&receipt), properties(&document, "Receipt"));
    assert_eq!(members(&page), properties(&document, "MarkPage"));
    assert_eq!(members(&page["marks"][0]), properties(&document, "Mark"));
    assert_eq!(members(&explained), properties(&document, "Explanation"));
    assert_eq!(
        (
            &explained["level"],
            &explained["age_seconds"],
            &explained["blind_for_seconds"]
        ),
        (&json!("source"), &json!(0), &Value::Null)
    );
    let described = &document["components"]["schemas"]["Stats"]["properties"]["counts"]["properties"];
    assert_eq!(members(&counts), members(described));
    // A field that the document names is taken, and one that it does not name is not.
    for field in properties(&document, "Revocation") {
        let (_, problem) = world.post(REVOCATIONS, json!({ field.as_str(): null })).await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(!detail.contains("unknown field"), "{field}: {problem}");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let (_, answer) = world.admin(&method.to_uppercase(), path, "not json").await;
            // A member that is not there is no path that is not there.
            for unknown in ["not-found", "method-not-allowed"] {
                let unknown = format!("{}{unknown}", authmesh_tower::rejection::PREFIX);
                assert_ne!(answer["type"], unknown, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn headers_say_the_level() {
    let world = World::new(&[]).await;
    let token = world.token("alice", "read");
    for level in ["source", "l1", "l1"] {
        let answer = world.verify(Some(&token), &[]).await;
        assert_eq!(header(&answer, "X-Authmesh-Level"), level);
        assert_eq!(header(&answer, "X-Authmesh-Key-Generation"), "1");
    }
}

/// Clients tell problems apart by their types, so the page that lists them must have them all.
#[test]
fn the_docs_list_every_problem_type_with_its_status() {
    let docs = include_str!("../../../../../docs/server.md");
    let own = problem::NAMES.iter().copied();
    let forward = problem_types().iter().map(|kind| (kind.name, kind.status.as_u16()));
    for (name, status) in own.chain(forward) {
        let row = format!("| `{name}` | {status} |");
        assert!(docs.contains(&row), "{row} is not in docs/server.md");
    }
    // One name, one meaning, one status: both lists go into one table.
    for (name, status) in problem::NAMES {
        if let Some(same) = problem_types().iter().find(|kind| kind.name == *name) {
            assert_eq!(same.status.as_u16(), *status, "{name}");
        }
    }
}
