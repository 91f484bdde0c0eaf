//! The admin API about observations.

use serde_json::{Value, json};

use super::World;

const PATH: &str = "/v1/observations";

#[tokio::test]
async fn an_observation_counts_what_it_compared() {
    let world = World::new(&[]).await;
    let token = world.token("alice", "read");
    assert!(world.verify(Some(&token), &[]).await.status().is_success());
    let (status, report) = world.admin("POST", PATH, "").await;
    assert_eq!(status.as_u16(), 200, "{report}");
    assert_eq!(report["checked"]["verdicts"], 1, "{report}");
    assert_eq!(
        (&report["inconsistent"], &report["coherent"]),
        (&json!(0), &json!(true)),
        "{report}"
    );
    assert_eq!(report["found"], json!([]));
    let (_, document) = world.admin("GET", "/openapi.json", "").await;
    let described = &document["components"]["schemas"]["Report"]["properties"];
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(&report), names(described));
    assert_eq!(names(&report["checked"]), names(&described["checked"]["properties"]));

    let (status, report) = world.admin("POST", PATH, r#"{"sample": 0, "channels": 64}"#).await;
    assert_eq!(
        (status.as_u16(), &report["checked"]["verdicts"]),
        (200, &json!(0)),
        "{report}"
    );
    let (_, stats) = world.admin("GET", "/v1/stats", "").await;
    assert_eq!(stats["counts"]["observations"], 2);
}

#[tokio::test]
async fn one_that_asks_for_too_much_is_refused() {
    let world = World::new(&[]).await;
    for body in [
        r#"{"sample": 1001}"#,
        r#"{"peers": 17}"#,
        r#"{"channels": 65}"#,
        r#"{"sample": -1}"#,
        r#"{"settle": 0}"#,
        "[]",
    ] {
        let (status, problem) = world.admin("POST", PATH, body).await;
        assert_eq!(status.as_u16(), 400, "{body}: {problem}");
        assert_eq!(problem["type"], "https://authmesh.dev/problems/body", "{body}");
    }
}
