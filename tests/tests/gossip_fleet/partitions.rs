//! Nothing passes between some nodes and others.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::{DEADLINE, LEASE, SIZE, World, confirmed_by_all_but, everyone, is_long, name, names, print_times};

/// How long both halves are apart. Longer than two leases, and than SWIM needs to give the others up.
const APART: Duration = Duration::from_secs(8);
const LONG_APART: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn both_halves_of_a_partition_go_blind_in_time_and_know_everything_once_they_are_not() {
    let world = World::start(3).await;
    let [on_left, on_right] = [world.token().await, world.token().await];
    let (left, right) = (&everyone()[..SIZE / 2], &everyone()[SIZE / 2..]);
    // Both are known to be good everywhere before.
    for token in [&on_left, &on_right] {
        world.asker.all_say(&everyone(), "/", token, 200).await;
    }

    let watch = world.asker.watch(&everyone(), "/refund", &world.good);
    world
        .faults()
        .partition(&world.nodes[..SIZE / 2], &world.nodes[SIZE / 2..]);
    let cut = Instant::now();
    let blind = world.asker.all_say(&everyone(), "/refund", &world.good, 503).await;
    print_times("a partition: until a node is blind", &blind);
    for index in everyone() {
        let health = world.ask(index, "/v1/health").await;
        assert_eq!(
            (&health["coherent"], &health["status"]),
            (&json!(false), &json!("blind")),
            "{health}"
        );
    }

    for (index, token) in [(0, &on_left), (SIZE - 1, &on_right)] {
        let receipt = world.revoke_at_once(index, token).await;
        assert_eq!(receipt["state"], "unconfirmed", "{receipt}");
    }
    world.asker.all_say(left, "/", &on_left, 401).await;
    world.asker.all_say(right, "/", &on_right, 401).await;
    // Whoever has not heard of one says nothing that needs it.
    let unheard = [
        world.asker.watch(left, "/refund", &on_right),
        world.asker.watch(right, "/refund", &on_left),
    ];
    let apart = if is_long() { LONG_APART } else { APART };
    world
        .eventually("the partition has lasted", async || cut.elapsed() >= apart)
        .await;
    watch.never_since(cut + LEASE, 200, "no evidence crosses the cut, so no lease does");
    drop(watch);

    world.faults().heal();
    let healed = Instant::now();
    let known = tokio::join!(
        world.asker.all_say(left, "/", &on_right, 401),
        world.asker.all_say(right, "/", &on_left, 401),
    );
    let known = [known.0, known.1].concat();
    world.whole().await;
    let whole = healed.elapsed();
    print_times(
        &format!(
            "a partition of {} s: until a node knows what the others said",
            apart.as_secs()
        ),
        &known,
    );
    println!(
        "FIGURE a partition of {} s: {} ms until all are whole",
        apart.as_secs(),
        whole.as_millis()
    );
    for unheard in unheard {
        unheard.never_since(cut, 200, "coherent, and it does not know");
    }
    let health = world.ask(0, "/v1/stats").await;
    assert_eq!(health["gossip"]["lost_statements"], 0, "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_is_cut_in_one_direction_blinds_nobody_and_a_receipt_names_whom_it_cannot_hear() {
    let world = World::start(4).await;
    let tokens = world.tokens(3).await;
    let faults = world.faults();
    let watch = world.asker.watch(&everyone(), "/refund", &world.good);
    faults.cut_one_way(world.nodes[3], world.nodes[7]);
    // SWIM finds 7 by way of others, and evidence of it comes by way of others.
    let (receipt, _) = world.revoke(0, json!({ "token": tokens[0] })).await;
    confirmed_by_all_but(0, &receipt);
    world
        .asker
        .each_says(&everyone(), "/", &tokens[0], 401, "it has confirmed")
        .await;

    let told = json!({ "token": tokens[1], "wait_for": "all_live", "deadline_seconds": 2 });
    let receipt = world.fleet.node(3).revoke(&told).await;
    assert_eq!(receipt["state"], "unconfirmed", "7 cannot be asked: {receipt}");
    assert_eq!(names(&receipt["missing"]), [name(7)], "{receipt}");
    world.asker.all_say(&everyone(), "/", &tokens[1], 401).await;
    assert!(faults.one_way(world.nodes[3], world.nodes[7]).tally().cut > 0);

    // Streams whose other end is gone: datagrams are enough, and nobody waits for a stream.
    faults.heal();
    faults.everywhere().half_open();
    let (receipt, _) = world.revoke(9, json!({ "token": tokens[2] })).await;
    confirmed_by_all_but(9, &receipt);
    world
        .asker
        .each_says(&everyone(), "/", &tokens[2], 401, "it has confirmed")
        .await;
    faults.heal();
    world.whole().await;
    let (asked, blind) = watch.count(503);
    assert_eq!(blind, 0, "of {asked} answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_hears_blinds_all_and_streams_that_lie_dead_hold_up_its_way_back_and_no_longer() {
    let world = World::start(5).await;
    let token = world.token().await;
    let faults = world.faults();
    faults.from(world.nodes[5]).cut();
    let cut = Instant::now();
    let watch = world.asker.watch(&everyone(), "/refund", &world.good);
    world.asker.all_say(&everyone(), "/refund", &world.good, 503).await;
    world
        .eventually("the lease has ended, and a while", async || {
            cut.elapsed() > LEASE + Duration::from_millis(500)
        })
        .await;
    watch.never_since(cut + LEASE, 200, "nobody hears it, so nobody knows what it has said");
    drop(watch);
    world.revoke_at_once(5, &token).await;

    // It is heard again, but no stream to or from it comes about: what fits a datagram is enough.
    faults.heal();
    faults.from(world.nodes[5]).half_open();
    faults.to(world.nodes[5]).half_open();
    world.asker.all_say(&everyone(), "/", &token, 401).await;
    world.asker.all_say(&everyone(), "/refund", &world.good, 200).await;
    faults.heal();
    world.whole().await;
    assert!(cut.elapsed() < DEADLINE);
}
