//! How much unknown tokens may cost.

use std::time::Duration;

use crate::provider::{LIFETIME, S, World, outcome, outcome_of, pass, with};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_flood_waits_in_a_bounded_queue_for_a_bounded_number_of_calls() {
    let world = World::new();
    let mesh = world.node("a").await;
    world.provider.blocks();
    let flood: Vec<_> = (0..1000)
        .map(|n| {
            let mesh = mesh.clone();
            tokio::spawn(async move {
                let began = Instant::now();
                (outcome(&mesh, &format!("garbage-{n}")).await, began.elapsed())
            })
        })
        .collect();
    world.provider.asked(64).await;
    pass(S).await;
    assert_eq!(world.provider.calls(), 64);
    world.provider.opens();
    let (mut refused, mut asked) = (0, 0);
    for one in flood {
        match one.await.unwrap() {
            ("could_not_ask", Duration::ZERO) => refused += 1,
            ("inactive", _) => asked += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((asked, refused), (64 + 256, 1000 - 64 - 256));
    assert_eq!(world.provider.most_at_once(), 64);
    assert_eq!(mesh.stats().counts.upstream_not_asked, refused);
}

#[tokio::test(start_paused = true)]
async fn what_was_active_is_asked_about_whatever_floods() {
    let world = World::new();
    let mesh = world
        .node_with("a", with(|rules| rules.stale_for = Duration::ZERO))
        .await;
    outcome(&mesh, "good").await;
    pass(LIFETIME - S).await;
    world.provider.takes(5 * S);
    for n in 0..2000 {
        let mesh = mesh.clone();
        tokio::spawn(async move { outcome(&mesh, &format!("garbage-{n}")).await });
    }
    pass(2 * S).await;
    let began = Instant::now();
    let fresh = mesh.verifier().max_age(Duration::ZERO);
    assert_eq!(outcome_of(&fresh, "good").await, "verified");
    assert_eq!(began.elapsed(), 5 * S);
}

/// Errors that a stranger can provoke close the way to nobody whose token is known.
#[tokio::test(start_paused = true)]
async fn failures_of_unknown_tokens_do_not_keep_known_ones_from_being_asked_about() {
    use crate::provider::Says;
    use authmesh::ports::{UpstreamError, UpstreamFault};
    let world = World::new();
    let mesh = world.node("a").await;
    outcome(&mesh, "good").await;
    for n in 0..50 {
        let token = format!("odd-{n}");
        world
            .provider
            .says(&token, Says::Fails(UpstreamError::new(UpstreamFault::Answer, "500")));
        assert_eq!(outcome(&mesh, &token).await, "could_not_ask");
    }
    assert!(world.provider.calls() <= 6);
    assert!(mesh.health().upstreams[0].open);
    let fresh = mesh.verifier().max_age(Duration::ZERO);
    assert_eq!(outcome_of(&fresh, "good").await, "verified");
    assert!(
        !mesh.health().upstreams[0].open,
        "and it shows that the provider is there"
    );
}

/// A blocked provider: whoever waits for a turn holds no lease of the cluster.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_blocks_no_other_node() {
    let world = World::new();
    let crowded = world.node_with("a", with(|rules| rules.calls = 1)).await;
    let free = world.node("b").await;
    world.provider.takes(4 * S);
    for n in 0..20 {
        let mesh = crowded.clone();
        tokio::spawn(async move { outcome(&mesh, &format!("garbage-{n}")).await });
    }
    pass(S).await;
    let waiting = tokio::spawn(async move { outcome(&crowded, "good").await });
    // Within the life of a lease that nobody renews.
    pass(S / 10).await;
    world.provider.takes(Duration::ZERO);
    let began = Instant::now();
    assert_eq!(outcome(&free, "good").await, "verified");
    assert!(began.elapsed() < S / 10, "{:?}", began.elapsed());
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_turn_counts_toward_the_ten_seconds() {
    let world = World::new();
    let mesh = world.node_with("a", with(|rules| rules.calls = 1)).await;
    world.provider.takes(9 * S);
    let first = mesh.clone();
    tokio::spawn(async move { outcome(&first, "garbage").await });
    world.provider.asked(1).await;
    let began = Instant::now();
    assert_eq!(outcome(&mesh, "good").await, "could_not_ask");
    assert_eq!(began.elapsed(), 10 * S);
    // The call goes on all the same.
    pass(9 * S).await;
    assert_eq!(outcome(&mesh, "good").await, "hit");
}
