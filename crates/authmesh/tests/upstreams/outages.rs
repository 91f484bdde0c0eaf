//! The provider is slow, down, or wants to be left alone.

use std::time::Duration;

use authmesh::ports::{UpstreamError, UpstreamFault};
use authmesh::{Decision, Fault, Outcome, Status, Subject, VerifyError, WhenBlind};
use serde_json::json;

use crate::provider::{
    ISSUER, LIFETIME, Provider, S, Says, World, active, active_with, answer, outcome, outcome_of, pass, refused, rules,
    with,
};
use crate::support::{START, TestIssuer};
use std::sync::Arc;
use tokio::time::Instant;

const SOFT: Duration = Duration::from_millis(250);

#[tokio::test(start_paused = true)]
async fn a_slow_provider_costs_a_quarter_of_a_second_where_a_stale_answer_is_at_hand() {
    let world = World::new();
    let mesh = world.node("a").await;
    outcome(&mesh, "good").await;
    pass(LIFETIME + 10 * S).await;
    world.provider.takes(3 * S);
    let asked = Instant::now();
    let stale = answer(&mesh, "good").await;
    assert_eq!((stale.outcome, stale.age), (Outcome::Stale, LIFETIME + 10 * S + SOFT));
    assert_eq!(asked.elapsed(), SOFT);
    assert_eq!(mesh.stats().counts.stale, 1);
    // Another caller waits for the same call.
    assert_eq!(outcome(&mesh, "good").await, "stale");
    assert_eq!(world.provider.calls(), 2);
    // It went on, and what it brought counts.
    pass(3 * S).await;
    let fresh = answer(&mesh, "good").await;
    assert_eq!(fresh.outcome, Outcome::Hit);
    assert!(fresh.age < 4 * S);
    assert_eq!(world.provider.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_one_a_caller_waits_ten_seconds_and_no_longer() {
    let world = World::new();
    let mesh = world.node("a").await;
    world.provider.takes(3 * S);
    let asked = Instant::now();
    assert_eq!(outcome(&mesh, "good").await, "verified");
    assert_eq!(asked.elapsed(), 3 * S);
    world.provider.takes(3600 * S);
    let asked = Instant::now();
    let error = refused(&mesh, "new").await;
    assert_eq!((error.code(), error.fault()), ("could_not_ask", Fault::Service));
    assert!(error.retry_after() >= Some(S));
    assert_eq!(asked.elapsed(), 10 * S);
    pass(S).await;
    assert_eq!(mesh.stats().counts.upstream_failed, 1, "the call itself was given up");
}

/// Until when a held answer stands in, in seconds after the call that brought it.
async fn stands_in_until(world: &World, token: &str, rules: authmesh::UpstreamRules) -> u64 {
    let mesh = world.node_with("a", rules).await;
    let began = Instant::now();
    assert_eq!(outcome(&mesh, token).await, "verified");
    let says = Says::Fails(UpstreamError::new(UpstreamFault::Unreachable, "it is down"));
    pass(20 * S).await;
    world.provider.says_of_all(says);
    let mut last = 0;
    loop {
        match outcome(&mesh, token).await {
            "hit" | "stale" => last = began.elapsed().as_secs(),
            other => {
                assert!(["could_not_ask", "expired"].contains(&other), "{other}");
                return last;
            }
        }
        pass(S).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_stands_in_up_to_its_cap() {
    for (stale_for, end) in [(0, 300), (60, 360), (300, 600)] {
        let rules = with(|rules| rules.stale_for = stale_for * S);
        let last = stands_in_until(&World::new(), "good", rules).await;
        assert!((end - 2..end).contains(&last), "{last} of {end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_never_stands_in_beyond_exp() {
    let world = World::new();
    world
        .provider
        .says("short", Says::Active(active_with(json!({"exp": START + 400}))));
    let last = stands_in_until(&world, "short", rules()).await;
    assert!((397..400).contains(&last), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_marked_counted_and_explained() {
    let world = World::new();
    let mesh = world.node("a").await;
    outcome(&mesh, "good").await;
    pass(LIFETIME + S).await;
    world.provider.goes_down();
    let stale = answer(&mesh, "good").await;
    assert_eq!(
        (stale.outcome.as_str(), stale.level.as_str(), stale.age),
        ("stale", "l1", LIFETIME + S)
    );
    let explained = mesh.verifier().explain("good").await;
    assert_eq!(
        (explained.decision, explained.outcome),
        (Decision::Accepted, Some("stale"))
    );
    assert!(explained.reason.contains("301 s ago"), "{}", explained.reason);
    let provider = explained.provider.unwrap();
    assert_eq!((provider.asked_seconds_ago, provider.failures), (Some(301), 2));
    assert_eq!(provider.trouble.as_deref(), Some("it is down"));
    assert_eq!((mesh.stats().counts.stale, mesh.stats().counts.upstream_failed), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn no_stale_answer_on_a_route_that_demands_better() {
    let world = World::new();
    let mesh = world.node_with("a", with(|rules| rules.lifetime = 30 * S)).await;
    let verifier = mesh.verifier();
    outcome(&mesh, "good").await;
    pass(40 * S).await;
    world.provider.goes_down();
    for strict in [
        verifier.clone().sensitive(),
        verifier.clone().sensitive().when_blind(WhenBlind::default()),
        verifier.clone().when_blind(WhenBlind::Deny),
        verifier.clone().max_age(35 * S),
        verifier.clone().max_age(Duration::ZERO),
    ] {
        assert_eq!(outcome_of(&strict, "good").await, "could_not_ask");
    }
    // One that is young enough for the route may be given.
    assert_eq!(outcome_of(&verifier.clone().max_age(60 * S), "good").await, "stale");
    assert_eq!(outcome_of(&verifier, "good").await, "stale");
}

#[tokio::test(start_paused = true)]
async fn no_stale_answer_after_the_provider_has_ended_the_token() {
    let world = World::new();
    let mesh = world.node("a").await;
    outcome(&mesh, "good").await;
    pass(LIFETIME + S).await;
    world.provider.says("good", Says::Inactive);
    assert_eq!(refused(&mesh, "good").await, VerifyError::Inactive);
    world.provider.goes_down();
    pass(11 * S).await;
    assert_eq!(outcome(&mesh, "good").await, "could_not_ask");
}

#[tokio::test(start_paused = true)]
async fn after_five_failures_the_provider_is_left_alone_but_for_one_probe_at_a_time() {
    let world = World::new();
    let mesh = world.node("a").await;
    world.provider.goes_down();
    for n in 0..5 {
        assert_eq!(outcome(&mesh, &format!("new-{n}")).await, "could_not_ask");
    }
    assert_eq!(mesh.health().status, Status::Degraded);
    assert!(mesh.health().upstreams[0].open && mesh.health().upstreams[0].failures == 5);
    let asked = Instant::now();
    for n in 0..100 {
        let error = refused(&mesh, &format!("more-{n}")).await;
        assert!(error.retry_after() >= Some(S) && error.code() == "could_not_ask");
    }
    assert_eq!(
        (world.provider.calls(), asked.elapsed()),
        (5, Duration::ZERO),
        "at once"
    );

    world.provider.takes(S);
    pass(S).await;
    let many: Vec<_> = (0..50)
        .map(|n| {
            let mesh = mesh.clone();
            tokio::spawn(async move { outcome(&mesh, &format!("probe-{n}")).await })
        })
        .collect();
    for one in many {
        assert_eq!(one.await.unwrap(), "could_not_ask");
    }
    assert_eq!(world.provider.calls(), 6, "one probe");
    // Half an hour of trouble: a call every half to half a minute, never more.
    world.provider.takes(Duration::ZERO);
    for _ in 0..18_000 {
        outcome(&mesh, "good").await;
        pass(S / 10).await;
    }
    let probes = world.provider.calls() - 6;
    assert!((1800 / 31..400).contains(&probes), "{probes}");
    world.provider.says_of_all(Says::Active(active()));
    let mut waited = 0;
    while outcome(&mesh, "good").await != "verified" {
        pass(S).await;
        waited += 1;
    }
    assert!(waited <= 31, "{waited}");
    assert_eq!(mesh.health().status, Status::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_asks_to_be_left_alone_is() {
    let world = World::new();
    let mesh = world.node("a").await;
    let mut busy = UpstreamError::new(UpstreamFault::Answer, "429");
    busy.retry_after = Some(20 * S);
    world.provider.says_of_all(Says::Fails(busy));
    assert_eq!(refused(&mesh, "good").await.retry_after(), Some(20 * S));
    world.provider.says_of_all(Says::Active(active()));
    pass(10 * S).await;
    assert_eq!(refused(&mesh, "good").await.retry_after(), Some(10 * S));
    assert_eq!(world.provider.calls(), 1);
    pass(10 * S).await;
    assert_eq!(outcome(&mesh, "good").await, "verified");
}

#[tokio::test(start_paused = true)]
async fn a_dead_provider_costs_other_issuers_nothing() {
    let world = World::new();
    let signer = TestIssuer::at(Arc::clone(&world.clock) as _);
    let other = Provider::named("another");
    let shut = with(|rules| rules.tokens = rules.tokens.clone().opaque(false));
    let mesh = world
        .builder("a")
        .upstream(ISSUER, Arc::clone(&world.provider) as _, rules())
        .upstream("https://other.test", Arc::clone(&other) as _, shut)
        .issuer(signer.url(), signer.source(), signer.rules())
        .start()
        .await
        .unwrap();
    world.provider.blocks();
    let stuck: Vec<_> = (0..1000)
        .map(|n| {
            let mesh = mesh.clone();
            tokio::spawn(async move { outcome(&mesh, &format!("stuck-{n}")).await })
        })
        .collect();
    world.provider.asked(64).await;
    let asked = Instant::now();
    for n in 0..200 {
        let theirs = signer.sign(
            json!({}),
            json!({"iss": "https://other.test", "n": n, "iat": START, "exp": START + 600}),
        );
        other.says(&theirs, Says::Active(active()));
        assert_eq!(outcome(&mesh, &theirs).await, "verified");
        assert_eq!(outcome(&mesh, &signer.token_with(json!({"n": n}))).await, "verified");
    }
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(
        mesh.verifier().verify("good").await.unwrap_err().code(),
        "could_not_ask"
    );
    for one in stuck {
        assert_eq!(one.await.unwrap(), "could_not_ask");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_that_is_revoked_meanwhile_is_not_given() {
    let world = World::new();
    let (a, b) = (world.node("a").await, world.node("b").await);
    for mesh in [&a, &b] {
        outcome(mesh, "good").await;
    }
    pass(LIFETIME + S).await;
    world.provider.goes_down();
    assert_eq!(outcome(&b, "good").await, "stale");
    a.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
    assert_eq!(outcome(&a, "good").await, "revoked");
    pass(S).await;
    assert_eq!(outcome(&b, "good").await, "revoked");
}

#[tokio::test(start_paused = true)]
async fn no_stale_answer_of_what_was_dropped() {
    for whole in [false, true] {
        let world = World::new();
        let (a, b) = (world.node("a").await, world.node("b").await);
        outcome(&a, "good").await;
        pass(LIFETIME + S).await;
        world.provider.goes_down();
        assert_eq!(outcome(&a, "good").await, "stale");
        if whole {
            b.clear().await.unwrap();
        } else {
            b.verifier().invalidate("good").await.unwrap();
        }
        pass(S).await;
        assert_eq!(outcome(&a, "good").await, "could_not_ask", "whole: {whole}");
    }
}
