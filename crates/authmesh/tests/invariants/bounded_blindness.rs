//! Invariant 2: a node answers only while it is coherent, or inside its route's rule for blindness.

use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::{AuthMesh, Outcome, Subject, VerifyError, WhenBlind};
use serde_json::json;

use crate::support::{TestIssuer, cluster_with, eventually, manual_clock, node, node_through, wired};

const LEASE: Duration = Duration::from_secs(3);
const AT_MOST: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_cut_node_goes_on_for_its_lease_and_then_obeys_its_route() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    let serve = mesh.verifier().when_blind(WhenBlind::Serve { at_most: AT_MOST });
    let fresh = serve.clone().max_age(Duration::ZERO);
    let deny = mesh.verifier().when_blind(WhenBlind::Deny);
    let fresh_deny = deny.clone().max_age(Duration::ZERO);
    let token = issuer.token_with(json!({}));
    serve.verify(&token).await.unwrap();

    cluster.set_up(false);
    clock.advance(LEASE - Duration::from_millis(1));
    for verifier in [&serve, &deny] {
        let answer = verifier.answer(&token).await.unwrap();
        assert_eq!((answer.outcome, answer.blind_for), (Outcome::Hit, None));
    }
    assert_eq!(fresh_deny.answer(&token).await.unwrap().outcome, Outcome::Verified);
    assert!(mesh.health().coherent);

    clock.advance(Duration::from_millis(1));
    assert!(!mesh.health().coherent);
    for since in [Duration::ZERO, AT_MOST] {
        clock.advance(since);
        let blind = VerifyError::Blind { blind_for: Some(since) };
        for verifier in [&serve, &fresh] {
            let answer = verifier.answer(&token).await.unwrap();
            assert_eq!((answer.outcome, answer.blind_for), (Outcome::Blind, Some(since)));
        }
        for verifier in [&deny, &fresh_deny, &mesh.verifier().sensitive()] {
            assert_eq!(verifier.answer(&token).await.unwrap_err(), blind);
        }
    }

    clock.advance(Duration::from_millis(1));
    let blind = VerifyError::Blind {
        blind_for: Some(AT_MOST + Duration::from_millis(1)),
    };
    for verifier in [&serve, &fresh, &deny, &fresh_deny] {
        assert_eq!(verifier.answer(&token).await.unwrap_err(), blind);
    }
    assert!(mesh.is_ready(), "later blindness does not unready a node");
}

/// Trap 1.
#[tokio::test]
async fn a_node_that_was_never_coherent_answers_nothing_and_recovers_by_itself() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    cluster.set_up(false);
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({}));
    let verifiers = [
        mesh.verifier().when_blind(WhenBlind::Deny),
        mesh.verifier().when_blind(WhenBlind::Serve { at_most: Duration::MAX }),
        mesh.verifier().max_age(Duration::ZERO),
    ];
    for verifier in &verifiers {
        // The second time there is something in memory.
        for _ in 0..2 {
            assert_eq!(
                verifier.verify(&token).await.unwrap_err(),
                VerifyError::Blind { blind_for: None }
            );
        }
    }
    assert!(!mesh.is_ready());

    cluster.set_up(true);
    eventually("the node has recovered", || async { mesh.health().coherent }).await;
    for verifier in &verifiers {
        assert_eq!(verifier.answer(&token).await.unwrap().blind_for, None);
    }
    assert!(mesh.is_ready());
}

#[tokio::test]
async fn a_blind_node_recovers_by_itself() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({}));
    mesh.verifier().verify(&token).await.unwrap();
    cluster.set_up(false);
    clock.advance(Duration::from_secs(20));
    assert!(mesh.verifier().sensitive().verify(&token).await.is_err());

    cluster.set_up(true);
    eventually("the node has recovered", || async {
        clock.advance(Duration::from_millis(20));
        mesh.verifier().sensitive().verify(&token).await.is_ok()
    })
    .await;
}

/// The bound itself: after the lease, whatever is answered *as coherent* knows what was said before the cut ended.
#[tokio::test]
async fn what_was_missed_while_cut_is_known_before_the_node_counts_as_coherent_again() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let wire = wired(&cluster);
    let a = node("a", &cluster, &issuer).await;
    let b = node_through("b", &wire, &issuer).await;
    let tokens: Vec<String> = (0..20)
        .map(|n| issuer.token_with(json!({"sub": format!("user-{n}")})))
        .collect();
    for token in &tokens {
        b.verifier().verify(token).await.unwrap();
    }

    wire.faults().cut();
    revoke_all(&a, &issuer, tokens.len()).await;
    for token in &tokens {
        b.verifier().verify(token).await.unwrap();
    }
    clock.advance(LEASE);
    for token in &tokens {
        assert_eq!(b.verifier().answer(token).await.unwrap().outcome, Outcome::Blind);
    }

    wire.faults().clear();
    eventually("b is coherent and knows", || async {
        clock.advance(Duration::from_millis(20));
        let mut all = true;
        for token in &tokens {
            match b.verifier().answer(token).await {
                Ok(answer) => {
                    assert!(answer.blind_for.is_some(), "served as coherent, and revoked long ago");
                    all = false;
                }
                Err(error) => assert!(matches!(error, VerifyError::Revoked(_)), "{error}"),
            }
        }
        all && b.health().coherent
    })
    .await;
}

async fn revoke_all(mesh: &AuthMesh, issuer: &TestIssuer, count: usize) {
    for n in 0..count {
        let receipt = mesh
            .revoke(Subject::new(issuer.url(), format!("user-{n}")))
            .await
            .unwrap();
        assert_eq!(receipt.state, authmesh::CommitState::Committed);
    }
}

/// A node on its own has nobody to prove anything to.
#[tokio::test]
async fn a_node_without_a_cluster_is_its_own_authority() {
    let clock = manual_clock();
    let issuer = TestIssuer::at(Arc::clone(&clock) as _);
    let mesh = crate::support::builder("alone", &issuer).start().await.unwrap();
    let token = issuer.token_with(json!({"exp": issuer.now() + 7200}));
    clock.advance(Duration::from_secs(3600));
    let answer = mesh.verifier().sensitive().answer(&token).await.unwrap();
    assert_eq!(answer.blind_for, None);
}
