//! Gossip as one line of a builder.

use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::FixedKeys;
use authmesh::proto::gossip::GossipConfig;
use authmesh::{AuthMesh, Builder, KeyRing, Rules};
use authmesh_gossip::WithSwim as _;

use crate::{address, config};

fn builder() -> Builder {
    let keys = Arc::new(FixedKeys::new(br#"{"keys":[]}"#.to_vec()));
    AuthMesh::builder()
        .issuer("https://issuer.test", keys, Rules::for_audiences(["api"]))
        .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
}

#[tokio::test]
async fn what_is_no_address_or_seed_stops_the_start() {
    for (bind, seed, part) in [
        ("localhost", "a:1", "\"localhost\" is no address to listen at"),
        ("127.0.0.1:0", "a", "\"a\" is not host:port"),
    ] {
        let refused = builder().swim(bind, [seed]).start().await.unwrap_err();
        assert!(refused.setting == "swim" && refused.problem.contains(part), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_name_each_other_are_coherent_without_redis() {
    let (first, second) = (address(), address());
    let two = GossipConfig {
        expect: 2,
        ..GossipConfig::default()
    };
    let a = builder()
        .name("a")
        .gossip_config(two.clone())
        .swim(first.to_string(), [second.to_string()]);
    let b = builder()
        .name("b")
        .gossip_config(two)
        .swim_with(config(second, &[first]));
    let (a, b) = tokio::join!(a.start(), b.start());
    let (a, b) = (a.unwrap(), b.unwrap());
    let both = async {
        while !(a.health().coherent && b.health().coherent) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("both are coherent");
    assert_eq!(a.members().await.unwrap().len(), 2);
    a.shutdown().await;
    b.shutdown().await;
}
