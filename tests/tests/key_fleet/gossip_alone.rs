//! No Redis at all: the owner among the live members asks, and hands on what it got.

use authmesh_tests::idp_double::IdpDouble;

use crate::world::{CALLERS, NO_MORE, Roads, World, everyone};

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
async fn an_owner_that_is_killed_is_followed_by_the_next() {
    let idp = IdpDouble::start().await;
    let mut world = World::start_over(idp, Roads::Gossip, NO_MORE).await;
    world.everybody_calls(&everyone(), 1).await.all(200);
    // Whoever is the owner is among these; nobody has given them up yet when the rotation comes.
    for index in 0..4 {
        world.nodes.fleet.kill(index);
    }
    let left: Vec<usize> = (4..world.nodes.fleet.count()).collect();
    let before = world.idp.key_sets();
    world.idp.rotate(true);
    let said = world.everybody_calls(&left, CALLERS).await;
    said.all(200);
    let seen = world.idp.key_sets() - before;
    println!(
        "FIGURE four members killed: {seen} requests, the last caller after {} ms",
        said.worst.as_millis()
    );
}
