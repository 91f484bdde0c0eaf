//! Nodes that end without a word.

use std::time::Instant;

use serde_json::{Value, json};

use crate::world::{LEASE, SIZE, World, confirmed_by_all_but, everyone, name, print_times};

async fn member(world: &World, index: usize, name: &str) -> Value {
    let list = world.ask(index, "/v1/members").await;
    let rows = list["members"].as_array().unwrap();
    rows.iter().find(|row| row["node"] == name).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_blinds_the_others_until_it_is_forgotten_or_is_there_again() {
    let mut world = World::start(6).await;
    let tokens = world.tokens(2).await;
    let last = SIZE - 1;
    let others: Vec<usize> = (0..last).collect();
    let (receipt, _) = world.revoke(0, json!({ "token": tokens[0] })).await;
    confirmed_by_all_but(0, &receipt);

    let watch = world.asker.watch(&others, "/refund", &world.good);
    world.fleet.kill(last);
    let killed = Instant::now();
    let blind = world.asker.all_say(&others, "/refund", &world.good, 503).await;
    print_times("a node is killed: until another is blind", &blind);
    world
        .eventually("SWIM gives it up", async || {
            member(&world, 0, &name(last)).await["live"] == false
        })
        .await;
    println!(
        "FIGURE a node is killed: {} ms until SWIM gives it up",
        killed.elapsed().as_millis()
    );
    assert_eq!(
        member(&world, 0, &name(last)).await["in_view"],
        true,
        "given up is not forgotten"
    );
    watch.never_since(killed + LEASE, 200, "it might live on a side that nobody sees");
    drop(watch);

    let (code, said, error) = world
        .fleet
        .node(0)
        .command(&["members", "forget", &name(last), "--yes"]);
    assert_eq!(code, 0, "{said}{error}");
    let again = world.whole().await;
    println!(
        "FIGURE a dead node is forgotten: {} ms until all others are whole",
        again.as_millis()
    );
    world
        .asker
        .each_says(&others, "/refund", &world.good, 200, "those that are left are all")
        .await;

    // A new start joins, and is taught what was revoked before it was born.
    world.fleet.restart(last).await;
    world.whole().await;
    world
        .asker
        .each_says(&everyone(), "/", &tokens[0], 401, "revoked, also for a new start")
        .await;

    // Another one is killed, and started again before anybody forgets it: it takes its own former place.
    world.fleet.kill(3);
    let receipt = world.revoke_at_once(5, &tokens[1]).await;
    assert_eq!(receipt["state"], "unconfirmed", "{receipt}");
    world.fleet.restart(3).await;
    let back = Instant::now();
    world.whole().await;
    println!(
        "FIGURE a killed node is started again: {} ms until all are whole",
        back.elapsed().as_millis()
    );
    world
        .asker
        .each_says(&everyone(), "/", &tokens[1], 401, "it was taken over")
        .await;
    let (receipt, _) = world.revoke(3, json!({ "token": world.token().await })).await;
    confirmed_by_all_but(3, &receipt);
}
