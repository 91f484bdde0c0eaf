//! The admin API about what a node should have before somebody waits for it.

use serde_json::{Value, json};

use super::{ISSUER, World};

#[tokio::test]
async fn tokens_that_were_warmed_are_hits_and_the_others_are_counted() {
    let world = World::new(&[]).await;
    let (alice, bob) = (world.token("alice", "read"), world.token("bob", "read"));
    world.mesh.revoke(authmesh::Subject::new(ISSUER, "bob")).await.unwrap();
    let order = json!({ "tokens": [alice, bob, "garbage", "more.garbage.x"] }).to_string();
    let (status, became) = world.admin("POST", "/v1/warm", &order).await;
    assert_eq!(status.as_u16(), 200, "{became}");
    assert_eq!(became["accepted"], 1);
    assert_eq!(became["refused"]["revoked"], 1, "{became}");
    let refused: u64 = became["refused"]
        .as_object()
        .unwrap()
        .values()
        .map(|it| it.as_u64().unwrap())
        .sum();
    assert_eq!((refused, &became["unanswered"]), (3, &json!({})), "{became}");
    let answer = world.verify(Some(&alice), &[]).await;
    assert_eq!(answer.headers()["x-authmesh-outcome"], "hit");

    let (_, document) = world.admin("GET", "/openapi.json", "").await;
    let described = &document["paths"]["/v1/warm"]["post"]["responses"]["200"]["content"]["application/json"]["schema"];
    let names = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(names(&became), names(&described["properties"]));
}

#[tokio::test]
async fn too_many_tokens_at_once_are_refused_and_no_problem_repeats_one() {
    let world = World::new(&[]).await;
    let many: Vec<String> = (0..1001).map(|at| format!("s3cr3t{at}")).collect();
    for body in [
        json!({ "tokens": many }),
        json!({ "tokens": "s3cr3t" }),
        json!({ "tokens": [1, "s3cr3t"] }),
    ] {
        let (status, problem) = world.admin("POST", "/v1/warm", &body.to_string()).await;
        assert_eq!(status.as_u16(), 400, "{problem}");
        assert!(!problem.to_string().contains("s3cr3t"), "{problem}");
    }
    assert_eq!(world.mesh.stats().counts.refused, 0, "nothing was verified");
}

#[tokio::test]
async fn keys_are_fetched_of_all_issuers_or_of_one() {
    let world = World::new(&[]).await;
    let (status, all) = world.admin("POST", "/v1/keys/refresh", "").await;
    assert_eq!(
        (status.as_u16(), &all["issuers"][0]["issuer"]),
        (200, &json!(ISSUER)),
        "{all}"
    );
    let other = json!({ "issuer": "https://other.example.com" }).to_string();
    let (status, problem) = world.admin("POST", "/v1/keys/refresh", &other).await;
    assert_eq!(status.as_u16(), 422, "{problem}");
}
