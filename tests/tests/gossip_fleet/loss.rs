//! A network that loses, doubles and reorders whatever passes.

use std::time::Duration;

use serde_json::json;

use crate::world::{SIZE, World, confirmed_by_all_but, everyone, print_times, share};

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
    let (mut times, mut reached) = (Vec::new(), Vec::new());
    for (number, token) in tokens.iter().enumerate() {
        let at = number % SIZE;
        let everyone = everyone();
        let ((receipt, took), refused) = tokio::join!(
            world.revoke(at, json!({ "token": token })),
            world.asker.all_say(&everyone, "/", token, 401),
        );
        confirmed_by_all_but(at, &receipt);
        let last = share(&refused, 1.0);
        assert!(last < REACHES_ALL_WITHIN, "{refused:?}");
        times.push(took);
        reached.push(last);
    }
    print_times(
        "30 % loss: from the order until the last of 16 refuses the token",
        &reached,
    );
    print_times("30 % loss: from the order until all 15 others have confirmed", &times);

    let struck = faults.everywhere().udp().tally();
    assert!(
        struck.lost > 100 && struck.duplicated > 10 && struck.reordered > 10,
        "{struck:?}"
    );
    let (asked, blind) = watch.count(503);
    println!("FIGURE 30 % loss: {blind} of {asked} answers were blind");
    // Evidence is 3 s old at most, and comes every 200 ms from three members: 30 % loss does not let it grow so old.
    assert!(blind * 50 < asked, "{blind} of {asked} answers were blind");
    drop(watch);
    faults.heal();
    let took = world.whole().await;
    println!(
        "FIGURE 30 % loss: {} ms after its end until all are whole",
        took.as_millis()
    );
}
