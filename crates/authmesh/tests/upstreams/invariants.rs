//! The invariants 1, 2, 3, 7, 8 and 9, for what a provider says.

use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::{Store as _, UpstreamError, UpstreamFault};
use authmesh::proto::crypto::ScopeKind;
use authmesh::{
    AuthMesh, Client, Fault, JwtId, RevokeError, Session, Subject, Target, Token, VerifyError, WholeIssuer,
};
use serde_json::json;

use crate::provider::{
    ISSUER, LIFETIME, S, Says, World, active, active_with, outcome, outcome_of, pass, refused, rules,
};
use crate::support::{START, eventually, soon, wired};

/// Invariant 1, for each scope: in memory, asked again, from L2, and as a stale answer.
#[tokio::test(start_paused = true)]
async fn revoked_is_never_served_from_whichever_level() {
    type To = fn() -> Target;
    let targets: [(ScopeKind, To); 6] = [
        (ScopeKind::Token, || Token::new("good").into()),
        (ScopeKind::JwtId, || JwtId::new(ISSUER, "j1").into()),
        (ScopeKind::Session, || Session::new(ISSUER, "s1").into()),
        (ScopeKind::Subject, || Subject::new(ISSUER, "alice").into()),
        (ScopeKind::Client, || Client::new(ISSUER, "app").into()),
        (ScopeKind::Issuer, || WholeIssuer::new(ISSUER).into()),
    ];
    for (kind, target) in targets {
        let world = World::new();
        let (a, b, c) = (world.node("a").await, world.node("b").await, world.node("c").await);
        for mesh in [&a, &b] {
            outcome(mesh, "good").await;
        }
        a.revoke(target()).await.unwrap();
        let revoked = async |mesh: &AuthMesh| {
            let error = VerifyError::Revoked(kind);
            let verifier = mesh.verifier();
            assert_eq!(verifier.verify("good").await.unwrap_err(), error);
            let asked = verifier.clone().max_age(Duration::ZERO);
            assert_eq!(asked.verify("good").await.unwrap_err(), error, "asked again");
            assert_eq!(verifier.sensitive().verify("good").await.unwrap_err(), error);
        };
        revoked(&a).await;
        eventually("b has the mark", || async { outcome(&b, "good").await == "revoked" }).await;
        revoked(&b).await;
        // What c reads of L2 is what the provider said, not a verdict.
        eventually("c has the mark", || async { c.stats().marks == 1 }).await;
        revoked(&c).await;
        pass(LIFETIME + S).await;
        world.provider.goes_down();
        for mesh in [&a, &b, &c] {
            let code = outcome(mesh, "good").await;
            assert!(["revoked", "could_not_ask"].contains(&code), "{code}");
        }
    }
}

/// Invariant 1: what was asked before the mark does not come back after it.
#[tokio::test(start_paused = true)]
async fn a_call_that_began_before_the_revocation_does_not_bring_the_token_back() {
    let world = World::new();
    let (a, b) = (world.node("a").await, world.node("b").await);
    world.provider.blocks();
    let asking = tokio::spawn({
        let a = a.clone();
        async move { outcome(&a, "good").await }
    });
    world.provider.asked(1).await;
    b.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
    eventually("a has the mark", || async { a.stats().marks == 1 }).await;
    world.provider.opens();
    assert_eq!(soon("the caller", asking).await.unwrap(), "revoked");
    for mesh in [&a, &b] {
        assert_eq!(outcome(mesh, "good").await, "revoked");
    }
}

/// Invariant 2: a node that is blind for longer than the rule gives no such answer either, stale or not.
#[tokio::test(start_paused = true)]
async fn blindness_concerns_what_a_provider_said_as_everything() {
    let world = World::new();
    let wire = wired(&world.cluster);
    let builder = AuthMesh::builder()
        .key_ring(crate::support::ring())
        .clock(Arc::clone(&world.clock) as _);
    let mesh = builder
        .join(Arc::clone(&wire))
        .upstream(ISSUER, Arc::clone(&world.provider) as _, rules())
        .start()
        .await
        .unwrap();
    outcome(&mesh, "good").await;
    wire.faults().cut();
    pass(10 * S).await;
    assert_eq!(outcome(&mesh, "good").await, "blind");
    assert_eq!(
        mesh.verifier().sensitive().verify("good").await.unwrap_err().code(),
        "blind"
    );
    world.provider.goes_down();
    pass(LIFETIME).await;
    let code = mesh.verifier().verify("good").await.unwrap_err().code();
    assert_eq!(code, "blind", "the stale answer is not given either");
}

/// Invariant 3: a call that overlapped a statement for its token enters neither level.
#[tokio::test(start_paused = true)]
async fn a_call_that_overlapped_a_drop_of_its_token_is_kept_nowhere() {
    for whole in [false, true] {
        let world = World::new();
        let (a, b) = (world.node("a").await, world.node("b").await);
        world.provider.blocks();
        let asking = tokio::spawn({
            let a = a.clone();
            async move {
                a.verifier()
                    .answer("good")
                    .await
                    .unwrap()
                    .verdict
                    .subject()
                    .map(str::to_owned)
            }
        });
        world.provider.asked(1).await;
        if whole {
            b.clear().await.unwrap();
        } else {
            b.verifier().invalidate("good").await.unwrap();
        }
        let applied = a.stats().counts.statements_applied;
        eventually("a has applied it", || async {
            applied > 0 || a.stats().counts.statements_applied > applied
        })
        .await;
        world.provider.opens();
        assert_eq!(soon("who came before", asking).await.unwrap().as_deref(), Some("alice"));
        // The provider has changed its mind: whoever comes now hears of it.
        world
            .provider
            .says("good", Says::Active(active_with(json!({"sub": "bob"}))));
        pass(S).await;
        for mesh in [&a, &b, &world.node("c").await] {
            let verdict = mesh.verifier().verify("good").await.unwrap();
            assert_eq!(verdict.subject(), Some("bob"), "whole: {whole}");
        }
        assert_eq!(world.provider.calls(), 2);
    }
}

/// Invariant 3: flights are joined at an equal fence only. The early call still hangs when the late caller has its answer.
#[tokio::test(start_paused = true)]
async fn who_comes_after_a_drop_does_not_wait_for_the_call_from_before_it() {
    let world = World::new();
    let mesh = world.node("a").await;
    world.provider.takes(5 * S);
    let early = tokio::spawn({
        let mesh = mesh.clone();
        async move { outcome(&mesh, "good").await }
    });
    world.provider.asked(1).await;
    mesh.verifier().invalidate("good").await.unwrap();
    world.provider.takes(Duration::ZERO);
    world
        .provider
        .says("good", Says::Active(active_with(json!({"sub": "bob"}))));
    let began = tokio::time::Instant::now();
    assert_eq!(mesh.verifier().verify("good").await.unwrap().subject(), Some("bob"));
    assert!(began.elapsed() < S, "{:?}", began.elapsed());
    assert_eq!(
        (soon("the early caller", early).await.unwrap(), world.provider.calls()),
        ("verified", 2)
    );
}

/// Invariant 7: no verdict goes, no mark and no statement comes, and the calls are counted.
#[tokio::test(start_paused = true)]
async fn garbage_pushes_out_nothing_and_says_nothing() {
    let world = World::new();
    let mesh = world
        .builder("a")
        .verdict_bytes(256 << 10)
        .entry_bytes(256 << 10)
        .upstream(ISSUER, Arc::clone(&world.provider) as _, rules())
        .start()
        .await
        .unwrap();
    let good: Vec<String> = (0..50).map(|n| format!("good-{n}")).collect();
    for token in &good {
        world.provider.says(token, Says::Active(active()));
        assert_eq!(outcome(&mesh, token).await, "verified");
    }
    for token in &good {
        assert_eq!(outcome(&mesh, token).await, "hit");
    }
    let before = mesh.stats();
    for n in 0..20_000 {
        let garbage = format!("garbage-{n}");
        assert_eq!(refused(&mesh, &garbage).await, VerifyError::Inactive);
        if n % 999 == 0 {
            assert!(matches!(
                mesh.revoke(Token::new(garbage)).await,
                Err(RevokeError::Token(_))
            ));
        }
    }
    for token in &good {
        assert_eq!(outcome(&mesh, token).await, "hit");
    }
    let after = mesh.stats();
    assert_eq!(
        (after.marks, after.outbox, after.verdicts, after.entries),
        (0, 0, 50, 50)
    );
    assert_eq!(after.counts.statements_made, before.counts.statements_made);
    assert_eq!(world.provider.most_at_once(), 1);
}

/// Invariant 8: neither the token nor what the provider said stands in L2 in the clear, under a name that tells it.
#[tokio::test(start_paused = true)]
async fn who_reads_the_store_learns_no_token_and_no_claim() {
    let world = World::new();
    let mesh = world.node("a").await;
    let token = "a-token-that-nobody-else-may-know";
    world.provider.says(
        token,
        Says::Active(active_with(json!({"sub": "nobody-may-know-alice"}))),
    );
    outcome(&mesh, token).await;
    pass(S).await;
    let identity = "introspection of idp.test as orders-api";
    let mut key = (identity.len() as u64).to_be_bytes().to_vec();
    key.extend_from_slice(identity.as_bytes());
    key.extend_from_slice(token.as_bytes());
    let name = crate::support::namer().entry("authmesh/upstream", &key);
    let stored = world.cluster.read(name).await.unwrap().value.unwrap();
    for secret in [token, "nobody-may-know-alice", ISSUER] {
        assert!(
            !stored.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "{secret}"
        );
        assert!(!format!("{mesh:?}{:?}", mesh.verifier()).contains("nobody-may-know"));
    }
}

/// Invariant 9: an outage is no verdict, and is remembered as none.
#[tokio::test(start_paused = true)]
async fn an_outage_is_never_a_verdict_and_is_cached_as_none() {
    for fault in [
        UpstreamFault::Unreachable,
        UpstreamFault::Timeout,
        UpstreamFault::Answer,
        UpstreamFault::Configuration,
    ] {
        let world = World::new();
        let (a, b) = (world.node("a").await, world.node("b").await);
        world
            .provider
            .says_of_all(Says::Fails(UpstreamError::new(fault, "trouble")));
        for _ in 0..3 {
            let error = refused(&a, "good").await;
            assert_eq!((error.fault(), error.code()), (Fault::Service, "could_not_ask"));
            assert!(error.retry_after() >= Some(S));
        }
        let counts = a.stats().counts;
        assert_eq!((counts.could_not_ask, counts.refused, a.stats().verdicts), (3, 0, 0));
        // Up again: the next caller hears it, on this node and on others.
        world.provider.says_of_all(Says::Active(active()));
        assert_eq!(outcome(&a, "good").await, "verified");
        assert_eq!(outcome(&b, "good").await, "l2");
        // Down again, for a token that was refused: it stays refused for its ten seconds, and is no answer afterwards.
        world.provider.says_of_all(Says::Inactive);
        assert_eq!(outcome(&a, "ended").await, "inactive");
        world
            .provider
            .says_of_all(Says::Fails(UpstreamError::new(fault, "trouble")));
        pass(11 * S).await;
        assert_eq!(outcome_of(&a.verifier(), "ended").await, "could_not_ask");
    }
    let _ = START;
}
