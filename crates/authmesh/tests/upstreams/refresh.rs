//! Answers are asked for again ahead of their end, by one caller.

use crate::provider::{LIFETIME, S, Says, World, answer, outcome, pass};
use authmesh::ports::{UpstreamError, UpstreamFault};

#[tokio::test(start_paused = true)]
async fn in_its_last_tenth_an_answer_is_asked_for_again_by_one_caller_and_nobody_waits() {
    let world = World::new();
    let mesh = world.node("a").await;
    outcome(&mesh, "good").await;
    pass(LIFETIME * 9 / 10 - S).await;
    assert_eq!(outcome(&mesh, "good").await, "hit");
    pass(S / 2).await;
    assert_eq!(world.provider.calls(), 1, "not before");
    pass(S).await;
    world.provider.takes(2 * S);
    for _ in 0..100 {
        assert_eq!(outcome(&mesh, "good").await, "hit");
        assert!(mesh.verifier().try_hit("good").is_some());
    }
    pass(3 * S).await;
    assert_eq!(world.provider.calls(), 2);
    assert_eq!(mesh.stats().counts.upstream_refreshes, 1);
    assert!(answer(&mesh, "good").await.age < 4 * S);
    pass(LIFETIME / 2).await;
    assert_eq!(outcome(&mesh, "good").await, "hit");
    assert_eq!(world.provider.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn nodes_refresh_an_answer_by_one_call() {
    let world = World::new();
    let nodes = [world.node("a").await, world.node("b").await, world.node("c").await];
    for mesh in &nodes {
        outcome(mesh, "good").await;
    }
    for _ in 0..20 {
        pass(LIFETIME / 20).await;
        for mesh in &nodes {
            assert_eq!(outcome(mesh, "good").await, "hit");
        }
    }
    assert_eq!(world.provider.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_fails_changes_nothing_and_the_next_caller_tries_again() {
    let world = World::new();
    let mesh = world.node("a").await;
    outcome(&mesh, "good").await;
    pass(LIFETIME * 9 / 10).await;
    world
        .provider
        .says("good", Says::Fails(UpstreamError::new(UpstreamFault::Timeout, "slow")));
    for calls in 2..=4 {
        assert_eq!(outcome(&mesh, "good").await, "hit");
        pass(S).await;
        assert_eq!(world.provider.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_hears_inactive_ends_the_token_at_once_and_everywhere() {
    let world = World::new();
    let (a, b) = (world.node("a").await, world.node("b").await);
    for mesh in [&a, &b] {
        outcome(mesh, "good").await;
    }
    pass(LIFETIME * 9 / 10).await;
    world.provider.says("good", Says::Inactive);
    assert_eq!(outcome(&a, "good").await, "hit");
    pass(2 * S).await;
    for mesh in [&a, &b] {
        assert_eq!(outcome(mesh, "good").await, "inactive");
    }
}
