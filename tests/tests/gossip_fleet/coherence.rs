//! Nothing is wrong.

use std::time::Duration;

use serde_json::json;

use crate::figures;
use crate::world::{World, confirmed_by_all_but, everyone, print_times};

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_processes_are_one_cluster_and_whatever_one_revokes_all_refuse() {
    let mut world = World::start(1).await;
    let tokens = world.tokens(16).await;
    let watch = world.asker.watch(&everyone(), "/refund", &world.good);
    let mut times = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let (receipt, took) = world.revoke(index, json!({ "token": token })).await;
        confirmed_by_all_but(index, &receipt);
        times.push(took);
        world
            .asker
            .each_says(&everyone(), "/", token, 401, "it has confirmed")
            .await;
    }
    print_times(
        "no faults: from the order of a token until all 15 others have confirmed",
        &times,
    );
    assert!(times.iter().all(|took| *took < Duration::from_secs(5)), "{times:?}");
    let (asked, blind) = watch.count(503);
    assert_eq!(blind, 0, "of {asked} answers");
    let (_, fine) = watch.count(200);
    assert_eq!(fine, asked);
    drop(watch);

    figures::idle(&mut world).await;
    figures::times(&world).await;
}
