//! The first minute: what `serve --dev` prints is what happens.

use std::time::Duration;

use authmesh_tests::dev::DevCluster;
use authmesh_tests::forge;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_commands_do_what_they_promise() {
    let mut cluster = DevCluster::start(3).await;
    let bob = cluster.token(&[("sub", "bob")]).await;
    cluster
        .verify(2, &bob)
        .await
        .expect(200, "bob on the third node, before");

    let tried = cluster.printed().try_it().await;
    for step in &tried {
        let (command, promise, answer) = (&step.command, step.promise(), &step.answer);
        let status = promise.get(..3).and_then(|digits| digits.parse().ok()).unwrap_or(200);
        answer.expect(status, command);
        if let Some((_, outcome)) = promise.split_once("X-Authmesh-Outcome: ") {
            assert_eq!(answer.header("x-authmesh-outcome"), outcome, "{command}: {answer:?}");
        }
    }
    // The story that the commands must tell, whatever their comments say.
    let story: Vec<(u16, &str)> = tried
        .iter()
        .map(|step| (step.answer.status, step.answer.header("x-authmesh-outcome")))
        .collect();
    assert_eq!(story[..2], [(200, "verified"), (200, "hit")], "{tried:#?}");
    let revocation = tried
        .iter()
        .position(|step| step.command.contains("/v1/revocations"))
        .expect("one revokes");
    assert_eq!(tried[revocation].answer.status, 200, "{tried:#?}");
    let last = tried.last().unwrap();
    assert_eq!(last.answer.status, 401, "{tried:#?}");
    assert!(
        last.command.contains(&cluster.printed().nodes[2].forward_auth),
        "the refusal must come from another node than the revocation: {}",
        last.command
    );

    cluster
        .verify(2, &bob)
        .await
        .expect(200, "bob on the third node, after alice was revoked");
    let log = cluster.process().log();
    assert!(!log.contains(forge::signature(&bob)), "the output shows a token");
    assert!(!log.contains("eyJ"), "the output shows a token, or a part of one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_on_one_node_holds_on_every_node() {
    let cluster = DevCluster::start(3).await;
    for origin in 0..3 {
        let subject = format!("user-{origin}");
        let token = cluster.token(&[("sub", &subject)]).await;
        for node in 0..3 {
            cluster.verify(node, &token).await.expect(200, "before");
        }
        let admin = format!("{}/v1/revocations", cluster.printed().nodes[origin].admin);
        let request = authmesh_tests::client::http()
            .post(admin)
            .bearer_auth(cluster.printed().admin_credential())
            .json(&json!({ "subject": subject, "why": "end-to-end test" }));
        authmesh_tests::client::send(request).await.expect(200, "a revocation");
        for node in 0..3 {
            let answer = cluster.verify(node, &token).await;
            answer.expect(401, &format!("revoked on node {origin}, asked on node {node}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_development_issuer_signs_with_every_algorithm() {
    let cluster = DevCluster::start(1).await;
    for alg in ["RS256", "ES256", "EdDSA"] {
        let token = cluster.token(&[("sub", "alice"), ("alg", alg)]).await;
        assert_eq!(forge::header(&token)["alg"], alg);
        let answer = cluster.verify(0, &token).await;
        assert_eq!(answer.expect(200, alg).header("x-auth-subject"), "alice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_it_and_says_what_it_did() {
    let mut cluster = DevCluster::start(2).await;
    let token = cluster.token(&[("sub", "alice")]).await;
    for _ in 0..3 {
        cluster.verify(0, &token).await.expect(200, "a good token");
    }
    cluster.process().signal("INT");
    let status = cluster.process().ended(Duration::from_secs(15)).await;
    let log = cluster.process().log().to_lowercase();
    assert!(status.success(), "Ctrl-C is a wish, not an error: {status}");
    for word in ["requests", "hits"] {
        assert!(log.contains(word), "the farewell does not count {word}");
    }
}
