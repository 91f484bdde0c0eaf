//! Invariants 1 and 2 for what keeps an answer, as the request scope does: it is judged again at each use.

use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::proto::crypto::ScopeKind;
use authmesh::{AuthMesh, Ended, Kept, Outcome, Policy, Rules, Subject, Verifier, VerifyError, WhenBlind};
use serde_json::json;

use crate::support::{TestIssuer, builder, cluster_with, manual_clock, node};

async fn kept(verifier: &Verifier, token: &str) -> Kept {
    verifier.keep(token, verifier.answer(token).await.unwrap())
}

/// What both ways of using it say now; they say the same.
fn judged(verifier: &Verifier, token: &str, kept: &Kept) -> Result<Outcome, VerifyError> {
    let recalled = verifier.recall(token, kept).unwrap().map(|answer| answer.outcome);
    assert_eq!(kept.judge().map(|answer| answer.outcome), recalled);
    recalled
}

#[tokio::test]
async fn a_mark_voids_what_was_kept_before_it() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let (alice, bob) = (issuer.token_with(json!({})), issuer.token_with(json!({"sub": "bob"})));
    let verifier = a.verifier();
    let (of_alice, of_bob) = (kept(&verifier, &alice).await, kept(&verifier, &bob).await);
    assert_eq!(judged(&verifier, &alice, &of_alice), Ok(Outcome::Verified));
    b.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    crate::support::eventually("a has the mark", || async { a.stats().marks == 1 }).await;
    let refused = a.stats().counts.revoked;
    assert_eq!(
        judged(&verifier, &alice, &of_alice),
        Err(VerifyError::Revoked(ScopeKind::Subject))
    );
    assert_eq!(a.stats().counts.revoked, refused + 1, "it is counted");
    assert_eq!(judged(&verifier, &bob, &of_bob), Ok(Outcome::Verified));
    let answer = of_bob.judge().unwrap();
    assert_eq!(answer.ended_now(), None);
    b.revoke(Subject::new(issuer.url(), "bob")).await.unwrap();
    crate::support::eventually("a has the mark", || async { a.stats().marks == 2 }).await;
    assert_eq!(answer.ended_now(), Some(Ended::Revoked(ScopeKind::Subject)));
}

#[tokio::test]
async fn time_ends_what_was_kept() {
    let clock = manual_clock();
    let issuer = TestIssuer::at(clock.clone());
    let mesh = builder("a", &issuer).start().await.unwrap();
    let token = issuer.token_with(json!({}));
    let verifier = mesh.verifier();
    let of_alice = kept(&verifier, &token).await;
    clock.advance(Duration::from_secs(100));
    assert_eq!(of_alice.judge().unwrap().age, Duration::from_secs(100));
    clock.advance(Duration::from_secs(530));
    let ago = Duration::from_secs(30);
    assert_eq!(of_alice.judge().unwrap_err(), VerifyError::Expired { ago });
    assert!(
        verifier.recall(&token, &of_alice).is_none(),
        "too old to be recalled: ask anew"
    );
}

#[tokio::test]
async fn a_key_that_left_the_set_ends_what_was_kept() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({}));
    let verifier = mesh.verifier();
    let of_alice = kept(&verifier, &token).await;
    issuer.new_key();
    issuer.retire_old_keys();
    mesh.refresh_keys(issuer.url()).await.unwrap().unwrap();
    assert_eq!(judged(&verifier, &token, &of_alice), Err(VerifyError::UnknownKey));
}

#[tokio::test]
async fn a_blind_node_judges_by_the_rule_of_who_asks() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    let at_most = Duration::from_secs(60);
    let serve = mesh.verifier().when_blind(WhenBlind::Serve { at_most });
    let token = issuer.token_with(json!({}));
    let of_alice = kept(&serve, &token).await;
    cluster.set_up(false);
    clock.advance(Duration::from_secs(3));
    for since in [Duration::ZERO, at_most] {
        clock.advance(since);
        let answer = of_alice.judge().unwrap();
        assert_eq!((answer.outcome, answer.blind_for), (Outcome::Blind, Some(since)));
        let strict = mesh.verifier().sensitive().recall(&token, &of_alice).unwrap();
        assert_eq!(strict.unwrap_err(), VerifyError::Blind { blind_for: Some(since) });
    }
    clock.advance(Duration::from_millis(1));
    assert!(matches!(
        judged(&serve, &token, &of_alice),
        Err(VerifyError::Blind { .. })
    ));
    cluster.set_up(true);
    crate::support::eventually("the node has recovered", || async {
        clock.advance(Duration::from_millis(20));
        mesh.health().coherent
    })
    .await;
    assert_eq!(judged(&serve, &token, &of_alice), Ok(Outcome::Verified));
}

#[tokio::test]
async fn it_answers_for_its_token_and_its_policy_alone() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let (alice, bob) = (issuer.token_with(json!({})), issuer.token_with(json!({"sub": "bob"})));
    let verifier = mesh.verifier();
    let of_alice = kept(&verifier, &alice).await;
    assert!(verifier.recall(&bob, &of_alice).is_none());
    let rules = Rules::for_audiences(["another"]);
    let other = mesh
        .verifier_for(Policy {
            issuers: [(issuer.url().to_owned(), rules)].into(),
            ..Policy::default()
        })
        .unwrap();
    assert!(other.recall(&alice, &of_alice).is_none());
    assert!(other.recall_of_policy(&of_alice).is_none());
    assert!(verifier.recall_of_policy(&of_alice).unwrap().is_ok());
}

#[tokio::test]
async fn a_demand_for_a_new_check_takes_one_of_the_last_second() {
    let clock = manual_clock();
    let issuer = TestIssuer::at(clock.clone());
    let mesh: AuthMesh = builder("a", &issuer).start().await.unwrap();
    let token = issuer.token_with(json!({}));
    let (plain, fresh) = (mesh.verifier(), mesh.verifier().max_age(Duration::ZERO));
    let verified = kept(&plain, &token).await;
    let hit = kept(&plain, &token).await;
    assert!(fresh.recall(&token, &verified).is_some());
    assert!(fresh.recall(&token, &hit).is_none(), "memory is no new check");
    assert!(plain.recall(&token, &hit).is_some());
    clock.advance(Duration::from_secs(1));
    assert!(fresh.recall(&token, &verified).is_none());
    assert!(plain.recall(&token, &verified).is_some());
    clock.advance(mesh.verifier().policy().max_verdict_age);
    assert!(plain.recall(&token, &verified).is_none());
}
