//! Invariant 1 for what outlives a request (trap 33): whoever waits for the end of a verdict is told, once, and why.
//!
//! A waiter looks at the clocks every 30 s though nothing was heard. Where a wake must not be lost, the tests tell the one
//! from the other: time is paused, so that it jumps ahead only when nothing else can happen, and it must not have.

use std::future::{Future, IntoFuture as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::proto::crypto::ScopeKind;
use authmesh::proto::keys::KeyPolicy;
use authmesh::{
    Answer, AuthMesh, Client, Ended, JwtId, Session, SigningKey, Subject, Target, Token, WhenBlind, WholeIssuer,
};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{
    HookedClock, TestIssuer, builder, cluster_with, eager_keys, eventually, manual_clock, node, poll_once, soon,
};

/// Well below the 30 s of a waiter without a wake, and far above what a wake takes.
const WOKEN: Duration = Duration::from_secs(20);

async fn answer(mesh: &AuthMesh, token: &str) -> Answer {
    mesh.verifier().answer(token).await.unwrap()
}

type Ending = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// A waiter that has registered, and has not ended.
async fn waiting(answer: Answer) -> Ending {
    let mut ending: Ending = Box::pin(async move { answer.revoked().await });
    assert_eq!(poll_once(ending.as_mut()).await, None, "it has not ended");
    ending
}

/// Ends without a jump of the clock.
async fn woken(ending: Ending) -> Ended {
    let began = Instant::now();
    let ended = soon("it ends", ending).await;
    assert!(
        began.elapsed() < WOKEN,
        "it was not woken: {ended} came after {:?}",
        began.elapsed()
    );
    ended
}

/// What the revocation of a scope does to three waiters: one who waits already, one on another node, one who comes late.
async fn ends(kind: ScopeKind, target: impl FnOnce(&TestIssuer, &str) -> Target) {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let token = issuer.token_with(json!({"jti": "j1", "sid": "s1", "client_id": "app"}));
    let (here, there, late) = (
        answer(&a, &token).await,
        answer(&b, &token).await,
        answer(&a, &token).await,
    );
    let (here, there) = (waiting(here).await, waiting(there).await);
    a.revoke(target(&issuer, &token)).await.unwrap();
    for ending in [here, there, Box::pin(async move { late.revoked().await })] {
        assert_eq!(woken(ending).await, Ended::Revoked(kind));
    }
}

#[tokio::test(start_paused = true)]
async fn by_a_mark_of_any_of_its_scopes() {
    ends(ScopeKind::Subject, |issuer, _| {
        Subject::new(issuer.url(), "alice").into()
    })
    .await;
    ends(ScopeKind::Session, |issuer, _| Session::new(issuer.url(), "s1").into()).await;
    ends(ScopeKind::Client, |issuer, _| Client::new(issuer.url(), "app").into()).await;
    ends(ScopeKind::JwtId, |issuer, _| JwtId::new(issuer.url(), "j1").into()).await;
    ends(ScopeKind::Token, |_, token| Token::new(token).into()).await;
    ends(ScopeKind::SigningKey, |issuer, _| {
        SigningKey::kid(issuer.url(), "k1").into()
    })
    .await;
    ends(ScopeKind::Issuer, |issuer, _| WholeIssuer::new(issuer.url()).into()).await;
}

#[tokio::test(start_paused = true)]
async fn and_not_by_what_concerns_others() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({"sid": "s1"}));
    let mut ending = waiting(answer(&mesh, &token).await).await;

    // Many, so that some of them fall into the shards of the waiter.
    let others = (0..1000).map(|n| Subject::new(issuer.url(), format!("user-{n}")));
    mesh.revoke_all(others).await.unwrap();
    mesh.revoke(Subject::new(issuer.url(), "alice"))
        .except_session("s1")
        .await
        .unwrap();
    mesh.revoke(Subject::new(issuer.url(), "alice"))
        .not_before(issuer.now() - 3600)
        .await
        .unwrap();
    mesh.clear().await.unwrap();
    mesh.verifier().invalidate(&token).await.unwrap();
    mesh.refresh_keys(issuer.url()).await.unwrap().unwrap();
    assert_eq!(poll_once(ending.as_mut()).await, None, "the token is valid");
    mesh.verifier().verify(&token).await.unwrap();

    mesh.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    assert_eq!(woken(ending).await, Ended::Revoked(ScopeKind::Subject));
}

/// Waiters come, are told and are gone while their subject is revoked on another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_is_lost_among_many_that_come_meanwhile() {
    const WAITERS: usize = 400;
    const SUBJECTS: usize = 20;
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let mut answers = Vec::new();
    for n in 0..WAITERS {
        let token = issuer.token_with(json!({"sub": format!("user-{}", n % SUBJECTS), "jti": n.to_string()}));
        answers.push(answer(&mesh, &token).await);
    }
    let began = Instant::now();
    let mut waiters = JoinSet::new();
    for (n, answer) in answers.into_iter().enumerate() {
        waiters.spawn(async move { answer.revoked().await });
        if n % SUBJECTS == SUBJECTS - 1 {
            // On another thread, while the last ones are being polled for the first time.
            let (mesh, gone) = (
                mesh.clone(),
                Subject::new(issuer.url(), format!("user-{}", n / SUBJECTS)),
            );
            waiters.spawn(async move {
                mesh.revoke(gone).await.unwrap();
                Ended::Revoked(ScopeKind::Subject)
            });
        }
    }
    let rest = (0..SUBJECTS).map(|n| Subject::new(issuer.url(), format!("user-{n}")));
    mesh.revoke_all(rest).await.unwrap();
    while let Some(ended) = soon("every waiter ends", waiters.join_next()).await {
        assert_eq!(ended.unwrap(), Ended::Revoked(ScopeKind::Subject));
    }
    assert!(began.elapsed() < WOKEN, "some were not woken: {:?}", began.elapsed());
}

/// The narrowest case: the mark comes after the waiter has looked at the marks, and before it has fallen asleep.
#[tokio::test(start_paused = true)]
async fn by_a_mark_between_its_look_and_its_sleep() {
    let clock = HookedClock::new();
    let (cluster, issuer) = (Cluster::new(), TestIssuer::at(Arc::clone(&clock) as _));
    let mesh = node("a", &cluster, &issuer).await;
    let answer = answer(&mesh, &issuer.token_with(json!({}))).await;
    let alice = Subject::new(issuer.url(), "alice");
    let revoking = mesh.clone();
    clock.arm(1, move || {
        let mut revoked = revoking.revoke(alice).into_future();
        // In force from its first poll.
        let polled = revoked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    });
    let mut ending = Box::pin(answer.revoked());
    let at_once = poll_once(ending.as_mut()).await;
    assert!(!clock.is_armed(), "the waiter has looked at the clock");
    assert_eq!(at_once, Some(Ended::Revoked(ScopeKind::Subject)));
}

#[tokio::test(start_paused = true)]
async fn by_expiry_also_where_civil_time_jumps() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    let ending = waiting(answer(&mesh, &issuer.token_with(json!({"exp": issuer.now() + 60}))).await).await;
    let mut longer = waiting(answer(&mesh, &issuer.token_with(json!({"exp": issuer.now() + 7200}))).await).await;
    clock.jump_to(issuer.now() + 89);
    assert!(
        tokio::time::timeout(Duration::from_secs(60), longer.as_mut())
            .await
            .is_err(),
        "within its leeway of 30 s the other one is valid as well"
    );
    let mut ending = ending;
    assert_eq!(poll_once(ending.as_mut()).await, None, "the leeway counts");
    clock.jump_to(issuer.now() + 1);
    assert_eq!(soon("it expires", ending).await, Ended::Expired);
    assert_eq!(poll_once(longer.as_mut()).await, None);
}

#[tokio::test(start_paused = true)]
async fn by_its_key_leaving_the_set() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let old = waiting(answer(&mesh, &issuer.token_with(json!({}))).await).await;
    issuer.new_key();
    issuer.publish();
    let mut new = waiting(answer(&mesh, &issuer.token_with(json!({}))).await).await;
    issuer.retire_old_keys();
    mesh.refresh_keys(issuer.url()).await.unwrap().unwrap();
    assert_eq!(woken(old).await, Ended::KeyGone);
    assert_eq!(poll_once(new.as_mut()).await, None, "the newer key stands");
}

#[tokio::test(start_paused = true)]
async fn by_keys_that_may_not_be_trusted_any_more() {
    let clock = manual_clock();
    let issuer = TestIssuer::at(clock.clone());
    let policy = KeyPolicy {
        max_trust_age: Duration::from_secs(3600),
        lifetime_ceiling: Duration::from_secs(1800),
        ..eager_keys()
    };
    let mesh = AuthMesh::builder()
        .clock(issuer.clock())
        .issuer_with(issuer.url(), issuer.source(), policy, issuer.rules())
        .start()
        .await
        .unwrap();
    let ending = waiting(answer(&mesh, &issuer.token_with(json!({"exp": issuer.now() + 36_000}))).await).await;
    issuer.fail();
    clock.advance(Duration::from_secs(3601));
    assert_eq!(soon("the trust ends", ending).await, Ended::KeysUntrusted);
}

#[tokio::test(start_paused = true)]
async fn by_blindness_that_lasts_longer_than_the_rule_allows() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({}));
    let by_rule = |rule| {
        let verifier = mesh.verifier().when_blind(rule);
        let token = token.clone();
        async move { verifier.answer(&token).await.unwrap() }
    };
    let deny = waiting(by_rule(WhenBlind::Deny).await).await;
    let mut minute = waiting(
        by_rule(WhenBlind::Serve {
            at_most: Duration::from_secs(60),
        })
        .await,
    )
    .await;
    let mut for_ever = waiting(by_rule(WhenBlind::Serve { at_most: Duration::MAX }).await).await;

    cluster.set_up(false);
    clock.advance(Duration::from_secs(4));
    assert!(matches!(woken(deny).await, Ended::Blind { blind_for: Some(_) }));
    assert_eq!(poll_once(minute.as_mut()).await, None, "within the rule");

    // Coherent again: what was served while blind goes on.
    cluster.set_up(true);
    eventually("the node has recovered", || async {
        clock.advance(Duration::from_millis(20));
        mesh.health().coherent
    })
    .await;
    assert_eq!(poll_once(minute.as_mut()).await, None, "coherent again");

    cluster.set_up(false);
    clock.advance(Duration::from_secs(3 + 61));
    let ended = soon("the minute is over", minute).await;
    assert!(
        matches!(ended, Ended::Blind { blind_for: Some(since) } if since > Duration::from_secs(60)),
        "{ended:?}"
    );
    assert_eq!(poll_once(for_ever.as_mut()).await, None);
    assert!(!ended.is_verdict() && ended.code() == "blind");
}

#[tokio::test(start_paused = true)]
async fn by_the_shutdown_of_the_node_and_a_waiter_holds_nothing_up() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let last = answer(&mesh, &issuer.token_with(json!({}))).await;
    let ending = waiting(last.clone()).await;
    soon("the shutdown", mesh.shutdown()).await;
    assert_eq!(woken(ending).await, Ended::ShutDown);
    assert_eq!(last.revoked().await, Ended::ShutDown, "and so is who comes later");
    // Without its node a verdict has nobody who watches.
    drop(mesh);
    assert_eq!(last.verdict.revoked().await, Ended::ShutDown);
}

/// A future that is dropped leaves nothing behind, and the next one sees what happened meanwhile.
#[tokio::test(start_paused = true)]
async fn also_after_a_wait_that_was_given_up() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let answer = answer(&mesh, &issuer.token_with(json!({}))).await;
    for _ in 0..100 {
        drop(waiting(answer.clone()).await);
    }
    mesh.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    assert_eq!(answer.revoked().await, Ended::Revoked(ScopeKind::Subject));
    assert_eq!(
        answer.revoked().await,
        Ended::Revoked(ScopeKind::Subject),
        "as often as it is asked"
    );
}

/// Waiters hear of a mark that a node learns from the log, and of one that merges into an older one.
#[tokio::test(start_paused = true)]
async fn by_a_mark_that_reaches_further_than_the_one_before() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (
        node("a", &cluster, &issuer).await,
        builder("b", &issuer)
            .join(Arc::new(cluster.clone()))
            .start()
            .await
            .unwrap(),
    );
    let alice = || Subject::new(issuer.url(), "alice");
    a.revoke(alice()).not_before(issuer.now() - 60).await.unwrap();
    eventually("b has the first mark", || async { b.stats().marks == 1 }).await;
    let ending = waiting(answer(&b, &issuer.token_with(json!({}))).await).await;
    a.revoke(alice()).await.unwrap();
    assert_eq!(woken(ending).await, Ended::Revoked(ScopeKind::Subject));
}
