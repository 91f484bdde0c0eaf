//! Invariant 9: "could not ask" is an answer of its own, never "invalid token", and is never cached as one.

use std::time::Duration;

use authmesh::{AuthMesh, Fault, KeyPolicy, Outcome, VerifyError};
use serde_json::json;

use crate::support::{TestIssuer, cluster_with, eager_keys, eventually, manual_clock, node, ring};

fn could_not_ask(result: Result<impl Sized, VerifyError>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) => {
            // 503, with a time to ask again; and a token is to blame for everything else.
            let asked = matches!(error, VerifyError::CouldNotAsk { .. });
            assert_eq!(
                asked,
                error.fault() == Fault::Service && error.retry_after() >= Some(Duration::from_secs(1))
            );
            asked
        }
    }
}

#[tokio::test]
async fn the_keys_cannot_be_had_at_the_start() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    issuer.fail();
    let mesh = node("a", &cluster, &issuer).await;
    let (token, forged) = (issuer.token_with(json!({})), issuer.token_with(json!({"sub": "bob"})));
    let forged = forged[..forged.len() - 4].to_owned() + "AAAA";
    for _ in 0..3 {
        for token in [&token, &forged] {
            assert!(could_not_ask(mesh.verifier().verify(token).await));
        }
        clock.advance(Duration::from_millis(400));
    }
    assert!(mesh.stats().counts.could_not_ask >= 6);
    assert_eq!(mesh.stats().counts.refused, 0);

    issuer.recover();
    eventually("the keys are there again", || async {
        clock.advance(Duration::from_millis(50));
        match mesh.verifier().verify(&token).await {
            Ok(_) => true,
            error => {
                assert!(could_not_ask(error));
                false
            }
        }
    })
    .await;
    assert_eq!(
        mesh.verifier().verify(&forged).await.unwrap_err(),
        VerifyError::BadSignature
    );
}

#[tokio::test]
async fn an_unknown_kid_while_the_keys_cannot_be_had() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    let known = issuer.token_with(json!({}));
    mesh.verifier().verify(&known).await.unwrap();
    issuer.fail();
    issuer.new_key();
    let unknown = issuer.token_with(json!({}));
    for _ in 0..5 {
        assert!(could_not_ask(mesh.verifier().verify(&unknown).await));
        // The key that is at hand answers, in memory and freshly.
        assert_eq!(mesh.verifier().answer(&known).await.unwrap().outcome, Outcome::Hit);
        mesh.verifier().max_age(Duration::ZERO).verify(&known).await.unwrap();
        clock.advance(Duration::from_millis(300));
        eventually("coherent again", || async { mesh.health().coherent }).await;
    }

    issuer.publish();
    issuer.recover();
    eventually("the new key is there", || async {
        clock.advance(Duration::from_millis(50));
        match mesh.verifier().verify(&unknown).await {
            Ok(_) => true,
            error => {
                assert!(could_not_ask(error));
                false
            }
        }
    })
    .await;
    mesh.verifier().verify(&known).await.unwrap();
}

#[tokio::test]
async fn the_budget_for_unknown_kids_is_spent() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let policy = KeyPolicy {
        unknown_kid_burst: 3,
        reserve: 0,
        ..eager_keys()
    };
    let mesh = AuthMesh::builder()
        .key_ring(ring())
        .clock(issuer.clock())
        .issuer_with(issuer.url(), issuer.source(), policy, issuer.rules())
        .join(std::sync::Arc::new(cluster))
        .start()
        .await
        .unwrap();
    let known = issuer.token_with(json!({}));
    mesh.verifier().verify(&known).await.unwrap();
    let with_kid = |n: u32| issuer.sign(json!({"kid": format!("made-up-{n}")}), issuer.claims(json!({})));
    for n in 0..3 {
        assert_eq!(
            mesh.verifier().verify(with_kid(n)).await.unwrap_err(),
            VerifyError::UnknownKey
        );
    }
    let fetches = issuer.requests();
    for n in 3..20 {
        assert!(could_not_ask(mesh.verifier().verify(with_kid(n)).await));
    }
    // What is known to be absent is absent, and costs nothing.
    assert_eq!(
        mesh.verifier().verify(with_kid(0)).await.unwrap_err(),
        VerifyError::UnknownKey
    );
    // A rotation meets the empty budget: not a verdict, and forgotten as soon as there is one again.
    issuer.new_key();
    issuer.publish();
    let rotated = issuer.token_with(json!({}));
    assert!(could_not_ask(mesh.verifier().verify(&rotated).await));
    assert_eq!(issuer.requests(), fetches);
    mesh.verifier().verify(&known).await.unwrap();

    clock.advance(policy.unknown_kid_period);
    eventually("coherent again", || async { mesh.health().coherent }).await;
    mesh.verifier().verify(&rotated).await.unwrap();
}
