//! Nodes of a cluster: one call for all of them.

use std::time::Duration;

use authmesh::proto::crypto::ScopeKind;
use authmesh::{Decision, Level, Outcome, Session, Subject, Token, VerifyError};
use serde_json::json;

use crate::provider::{ISSUER, LIFETIME, S, Says, World, active, active_with, answer, outcome, pass, refused, with};
use crate::support::{START, eventually, soon};

#[tokio::test(start_paused = true)]
async fn one_call_serves_every_node_and_one_that_starts_later() {
    let world = World::new();
    let (a, b) = (world.node("a").await, world.node("b").await);
    assert_eq!(outcome(&a, "good").await, "verified");
    pass(5 * S).await;
    for mesh in [b, world.node("restarted").await] {
        let shared = answer(&mesh, "good").await;
        assert_eq!(
            (shared.outcome, shared.level, shared.age),
            (Outcome::L2, Level::L2, 5 * S)
        );
        assert_eq!(shared.verdict.subject(), Some("alice"));
        assert_eq!(outcome(&mesh, "good").await, "hit");
        assert_eq!((mesh.stats().counts.l2, mesh.stats().counts.hits), (1, 1));
    }
    assert_eq!(world.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn callers_of_all_nodes_wait_for_one_call() {
    wait_for_one_call_that_takes(S / 2).await;
}

/// A call that goes on is worth waiting for: each node's own would be another one, and as slow.
#[tokio::test(start_paused = true)]
async fn also_where_it_is_slow() {
    wait_for_one_call_that_takes(7 * S).await;
}

async fn wait_for_one_call_that_takes(long: Duration) {
    let world = World::new();
    world.provider.takes(long);
    let nodes = [world.node("a").await, world.node("b").await, world.node("c").await];
    let calls: Vec<_> = (0..90)
        .map(|n| {
            let mesh = nodes[n % 3].clone();
            tokio::spawn(async move { outcome(&mesh, "good").await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(soon("an answer", call).await.unwrap());
    }
    assert_eq!(world.provider.calls(), 1);
    let count = |word| outcomes.iter().filter(|outcome| **outcome == word).count();
    assert_eq!((count("verified"), count("l2")), (30, 60));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_l2_ends_when_it_does_where_it_was_asked_for() {
    let world = World::new();
    let (a, b) = (world.node("a").await, world.node("b").await);
    outcome(&a, "good").await;
    pass(200 * S).await;
    assert_eq!(outcome(&b, "good").await, "l2");
    pass(60 * S).await;
    world.provider.blocks();
    pass(40 * S).await;
    assert!(b.verifier().try_hit("good").is_none(), "five minutes after the call");
}

#[tokio::test(start_paused = true)]
async fn without_l2_each_node_asks() {
    let world = World::new();
    for name in ["a", "b"] {
        let mesh = world.node_with(name, with(|rules| rules.l2 = false)).await;
        assert_eq!(outcome(&mesh, "good").await, "verified");
    }
    assert_eq!(world.provider.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_has_ended_is_forgotten_on_every_node() {
    let world = World::new();
    let (a, b, c) = (world.node("a").await, world.node("b").await, world.node("c").await);
    for mesh in [&a, &b] {
        outcome(mesh, "good").await;
    }
    world.provider.says("good", Says::Inactive);
    assert_eq!(outcome(&b, "good").await, "hit", "nobody has asked again");
    // A node that never saw the token finds out, past every cache.
    let always = c.verifier().max_age(Duration::ZERO);
    assert_eq!(always.verify("good").await.unwrap_err(), VerifyError::Inactive);
    pass(S).await;
    for mesh in [&a, &b, &c, &world.node("d").await] {
        assert_eq!(refused(mesh, "good").await, VerifyError::Inactive);
    }
    // By a demand for a younger answer than L2 has, too.
    for mesh in [&a, &b] {
        world.provider.says("other", Says::Active(active()));
        outcome(mesh, "other").await;
    }
    world.provider.says("other", Says::Inactive);
    pass(30 * S).await;
    assert!(c.verifier().max_age(20 * S).verify("other").await.is_err());
    pass(S).await;
    assert_eq!(refused(&a, "other").await, VerifyError::Inactive);
}

#[tokio::test(start_paused = true)]
async fn marks_previews_explanations_and_streams_know_such_verdicts() {
    let world = World::new();
    let (a, b) = (world.node("a").await, world.node("b").await);
    for mesh in [&a, &b] {
        outcome(mesh, "good").await;
        assert_eq!(mesh.preview(Subject::new(ISSUER, "alice")).await.unwrap(), 1);
        assert_eq!(mesh.preview(Token::new("good")).await.unwrap(), 1);
        assert_eq!(mesh.preview(Subject::new(ISSUER, "bob")).await.unwrap(), 0);
    }
    let explained = b.verifier().explain("good").await;
    assert_eq!((explained.decision, explained.level), (Decision::Accepted, Some("l1")));
    assert_eq!(explained.issuer.unwrap().url, ISSUER);
    assert_eq!(explained.time.unwrap().expires_at, Some(START + 3600));
    let provider = explained.provider.unwrap();
    assert_eq!(
        (provider.asked_seconds_ago, provider.failures, provider.open),
        (Some(0), 0, false)
    );

    let held = answer(&b, "good").await;
    let ended = tokio::spawn(async move { held.revoked().await });
    a.revoke(Token::new("good")).why("lost laptop").await.unwrap();
    assert!(soon("the stream ends", ended).await.unwrap().is_verdict());
    eventually("b has it", || async { outcome(&b, "good").await == "revoked" }).await;
    let explained = b.verifier().explain("good").await;
    let mark = explained.revoked.unwrap();
    assert_eq!(
        (explained.code, mark.scope, mark.why.as_str()),
        (Some("revoked"), "token", "lost laptop")
    );
    assert_eq!(b.explain_marks(Token::new("good")).await.unwrap().len(), 1);
    assert!(
        a.revoke(Token::new("unheard of")).await.is_err(),
        "only what is active makes marks"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_token_does() {
    let world = World::new();
    world
        .provider
        .says("short", Says::Active(active_with(json!({"exp": START + 400}))));
    let mesh = world.node("a").await;
    let held = answer(&mesh, "short").await;
    let since = tokio::time::Instant::now();
    let ended = held.revoked().await;
    assert_eq!(ended, authmesh::Ended::Expired);
    assert!(
        (398..=401).contains(&since.elapsed().as_secs()),
        "{:?}",
        since.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_revocation_spares_what_it_is_told_to_spare() {
    let world = World::new();
    world
        .provider
        .says("mine", Says::Active(active_with(json!({"sid": "s2", "jti": "j2"}))));
    let (a, b) = (world.node("a").await, world.node("b").await);
    for token in ["good", "mine"] {
        outcome(&b, token).await;
    }
    a.revoke(Subject::new(ISSUER, "alice"))
        .except_token("mine")
        .await
        .unwrap();
    eventually("b has it", || async { outcome(&b, "good").await == "revoked" }).await;
    assert_eq!(outcome(&b, "mine").await, "hit");
    a.revoke(Session::new(ISSUER, "s2")).await.unwrap();
    assert_eq!(refused(&a, "mine").await, VerifyError::Revoked(ScopeKind::Session));
    pass(LIFETIME).await;
}

/// Who wants a younger answer than L2 has takes its place; and gives it back if there is none to be had.
#[tokio::test(start_paused = true)]
async fn a_demand_that_is_not_met_leaves_l2_as_it_was() {
    let world = World::new();
    let (a, b, c) = (world.node("a").await, world.node("b").await, world.node("c").await);
    outcome(&a, "good").await;
    pass(60 * S).await;
    world.provider.goes_down();
    let error = b.verifier().max_age(30 * S).verify("good").await.unwrap_err();
    assert_eq!(error.code(), "could_not_ask");
    pass(S).await;
    let shared = answer(&c, "good").await;
    assert_eq!((shared.outcome, shared.age), (Outcome::L2, 61 * S));
    // Not for longer than before.
    pass(LIFETIME - 61 * S).await;
    assert_eq!(outcome(&world.node("d").await, "good").await, "could_not_ask");
}
