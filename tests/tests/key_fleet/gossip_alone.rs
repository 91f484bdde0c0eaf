//! No Redis at all: the owner among the live members asks, and hands on what it got.

use crate::world::{CALLERS, DEADLINE, NO_MORE, Roads, World, everyone};

#[tokio::test(flavor = "multi_thread")]
async fn by_gossip_alone_a_rotation_costs_at_most_three_requests() {
    let world = World::start(Roads::Gossip, NO_MORE).await;
    world.everybody_calls(&everyone(), 1).await.all(200);
    let before = world.idp.key_sets();
    world.idp.rotate(true);
    let said = world.everybody_calls(&everyone(), CALLERS).await;
    said.all(200);
    let seen = world.idp.key_sets() - before;
    println!(
        "FIGURE rotation by gossip: {seen} requests, the last of 256 callers after {} ms",
        said.worst.as_millis()
    );
    assert!((1..=3).contains(&seen), "{seen} requests: {:#?}", world.tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_just_killed_is_followed_by_the_next() {
    let mut world = World::start(Roads::Gossip, NO_MORE).await;
    world.everybody_calls(&everyone(), 1).await.all(200);
    let fetches = async |world: &World, node: usize| {
        let stats = world.nodes.fleet.node(node).try_admin("/v1/stats", DEADLINE).await;
        stats.unwrap().json()["counts"]["key_fetches_ok"].as_u64().unwrap()
    };
    let mut before = Vec::new();
    for node in everyone() {
        before.push(fetches(&world, node).await);
    }
    world.idp.rotate(true);
    world.everybody_calls(&everyone(), 1).await.all(200);
    let mut owner = None;
    for node in everyone() {
        if fetches(&world, node).await > before[node] {
            owner = Some(node);
        }
    }
    let owner = owner.expect("somebody has asked");

    // Nobody has given it up yet when the rotation comes.
    world.nodes.fleet.kill(owner);
    let left: Vec<usize> = everyone().into_iter().filter(|node| *node != owner).collect();
    let seen = world.idp.key_sets();
    world.idp.rotate(true);
    let said = world.everybody_calls(&left, CALLERS).await;
    said.all(200);
    let seen = world.idp.key_sets() - seen;
    println!(
        "FIGURE the owner was killed: {seen} requests, the last of 240 callers after {} ms",
        said.worst.as_millis()
    );
    assert!((1..=3).contains(&seen), "{seen} requests: {:#?}", world.tail());
}
