//! `oidc-provider` rotates its keys, again and again, while a constant load of verifications runs at three nodes.

use std::time::{Duration, Instant};

use authmesh_tests::idp::{Idp, Order};

use crate::load::Load;
use crate::world::{NO_MORE, Nodes, Roads};

/// Of the sixteen: three are enough to share a fetch, and leave the machine to the load.
const NODES: usize = 3;
const CALLERS: usize = 4;
/// Tokens in use at one time: some are in memory, some are not.
const POOL: usize = 24;
/// Between two new tokens.
const MINT_EVERY: Duration = Duration::from_millis(60);
/// As many as the provider has keys for.
const ROTATIONS: u32 = 3;
/// The phases of one rotation: tokens of both keys, then of the new one alone while both are published, then without the old one.
const PHASE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn rotations_of_a_real_provider_under_load_cost_no_request() {
    let idp = Idp::start().await;
    let fleet = Nodes::start(&idp.issuer(), NODES, Roads::Redis, NO_MORE).await;
    let nodes: Vec<_> = (0..NODES).map(|node| fleet.fleet.node(node).address()).collect();
    let first = idp.token(Order::default()).await;
    let load = Load::start(&nodes, CALLERS, [first]);
    let started = Instant::now();

    mint(&idp, &load, PHASE).await;
    for _ in 0..ROTATIONS {
        idp.rotate(true).await;
        // Every token is of the new key from here on; those of the old one are used up in the course of this phase.
        mint(&idp, &load, PHASE).await;
        // More new ones than the pool holds were made: nobody shows an old one any more.
        assert!(PHASE > MINT_EVERY * u32::try_from(POOL).unwrap());
        idp.retire().await;
        mint(&idp, &load, PHASE).await;
    }
    let lasted = started.elapsed();
    let counts = load.stop().await;
    let seen = idp.counters().await;
    println!(
        "FIGURE {ROTATIONS} rotations of oidc-provider in {} s: {} of {} requests failed, the longest took {} ms; {} requests for the \
         key set, {} for discovery",
        lasted.as_secs(),
        counts.failed(),
        counts.total(),
        counts.worst.as_millis(),
        seen.jwks,
        seen.discovery
    );
    assert_eq!(counts.failed(), 0, "{:#?}", counts.failures);
    for node in 0..NODES {
        // The load was there: the phases without it would prove nothing.
        assert!(
            counts.of(node) > 500,
            "node {node} was asked only {} times",
            counts.of(node)
        );
    }
    // One at the start and one for each rotation, whoever of the three makes it. From the second rotation on the set lacks the key
    // that was retired before, and one more look confirms that.
    assert_eq!(seen.jwks, u64::from(1 + ROTATIONS + (ROTATIONS - 1)));
}

/// Makes tokens for so long, each a new one.
async fn mint(idp: &Idp, load: &Load, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        load.add(idp.token(Order::default()).await, POOL);
        tokio::time::sleep(MINT_EVERY).await;
    }
}
