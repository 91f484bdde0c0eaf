//! A network that loses, doubles and reorders whatever passes.

use std::time::Duration;

use serde_json::json;

use crate::world::{SIZE, World, confirmed_by_all_but, everyone, print_times};

/// Within which a revocation is in force on the last of all nodes, though three of ten datagrams are lost.
const REACHES_ALL_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn with_three_of_ten_datagrams_lost_every_revocation_reaches_every_node() {
    let world = World::start(2).await;
    let tokens = world.tokens(20).await;
    let faults = world.faults();
    faults.lose(0.3);
    faults.duplicate(0.1);
    faults.reorder(0.1);
    let watch = world.asker.watch(&everyone(), "/refund", &world.good);
    let mut times = Vec::new();
    for (number, token) in tokens.iter().enumerate() {
        let at = number % SIZE;
        let (receipt, took) = world.revoke(at, json!({ "token": token })).await;
        confirmed_by_all_but(at, &receipt);
        assert!(took < REACHES_ALL_WITHIN, "{took:?}");
        times.push(took);
        world.asker.each_says(&everyone(), "/", token, 401, "it has confirmed").await;
    }
    print_times("30 % loss: statement to the last of 16 and back", &times);

    let struck = faults.everywhere().udp().tally();
    assert!(struck.lost > 100 && struck.duplicated > 10 && struck.reordered > 10, "{struck:?}");
    let (asked, blind) = watch.count(503);
    println!("FIGURE 30 % loss: {blind} of {asked} answers were blind");
    // Evidence is 3 s old at most, and comes every 200 ms from three members: 30 % loss does not let it grow so old.
    assert!(blind * 50 < asked, "{blind} of {asked} answers were blind");
    drop(watch);
    faults.heal();
    let took = world.whole().await;
    println!("FIGURE 30 % loss: {} ms after its end until all are whole", took.as_millis());
}
