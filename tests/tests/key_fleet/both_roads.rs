//! Redis goes away: the nodes find each other by gossip, and at most three ask.

use std::time::Duration;

use crate::world::{CALLERS, NO_MORE, Roads, World, everyone};

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_killed_a_rotation_costs_at_most_three_requests() {
    let world = World::start(Roads::Both, NO_MORE).await;
    world.everybody_calls(&everyone(), 1).await.all(200);
    for n in 0..world.nodes.redis().urls().len() {
        world.nodes.redis().kill(n);
    }
    for _ in 0..2 {
        let before = world.idp.key_sets();
        world.idp.rotate(true);
        let said = world.everybody_calls(&everyone(), CALLERS).await;
        said.all(200);
        let seen = world.idp.key_sets() - before;
        println!(
            "FIGURE rotation without Redis: {seen} requests, the last of 256 callers after {} ms",
            said.worst.as_millis()
        );
        assert!((1..=3).contains(&seen), "{seen} requests: {:#?}", world.tail());
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}
