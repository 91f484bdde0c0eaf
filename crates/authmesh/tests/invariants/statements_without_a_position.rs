//! Invariants 3 to 5, for statements that came by gossip before the log had them.

use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::{AuthMesh, Cache, CommitState, Namespace, Subject, VerifyError};
use authmesh_testkit::Op;
use serde_json::json;

use crate::support::{Place, Site, builder, eventually, pass};

const KEY: &str = "alice";

fn cache(mesh: &AuthMesh) -> Cache<String> {
    mesh.cache(Namespace::new("users")).unwrap()
}

async fn load(site: &Site, value: &str) -> String {
    let value = value.to_owned();
    let cache = cache(&site.mesh);
    let loaded = cache.get_or_load(KEY, move || async { Ok::<_, ()>(value) }).await;
    loaded.unwrap().to_string()
}

/// Trap 4: the gossip copy of a drop arrives first, and Redis has not deleted the value yet.
#[tokio::test(start_paused = true)]
async fn until_a_drop_that_came_by_gossip_has_a_position_l2_is_a_miss() {
    let place = Place::new();
    let [a, b] = place.sites().await;
    assert_eq!(load(&a, "old").await, "old");
    eventually("the value stands in L2", || async {
        cache(&b.mesh).get(KEY).await.is_some()
    })
    .await;

    a.wire.faults().on(Op::Commit).fail();
    b.wire.faults().on(Op::Commit).fail();
    let dropped = tokio::spawn({
        let cache = cache(&a.mesh);
        async move { cache.remove(KEY).await.unwrap() }
    });
    eventually("b has heard the drop", || async {
        b.mesh.stats().counts.gossip_applied == 1
    })
    .await;
    // Redis still has the old value.
    assert_eq!(b.mesh.stats().gossip.unwrap().unpositioned, 1);
    assert_eq!(cache(&b.mesh).get(KEY).await, None);
    let loads = b.mesh.stats().counts.cache_loads;
    assert_eq!(load(&b, "new").await, "new");
    assert_eq!(b.mesh.stats().counts.cache_loads, loads + 1);
    assert!(dropped.await.unwrap(), "both members have applied it");

    a.wire.faults().clear();
    b.wire.faults().clear();
    eventually("the log has it", || async {
        b.mesh.stats().gossip.unwrap().unpositioned == 0 && a.mesh.stats().gossip.unwrap().unpositioned == 0
    })
    .await;
    assert_eq!(load(&b, "newer").await, "newer");
    eventually("L2 counts again", || async { cache(&a.mesh).get(KEY).await.is_some() }).await;
    assert_eq!(*cache(&a.mesh).get(KEY).await.unwrap(), "newer");
}

/// Traps 5 and 41: whoever holds a statement brings it into the log, and goes on until it has.
#[tokio::test(start_paused = true)]
async fn a_statement_made_while_the_log_is_away_is_committed_though_its_origin_is_dead() {
    let place = Place::new();
    let [a, b, c] = place.sites().await;
    let token = place.issuer.token_with(json!({"exp": place.issuer.now() + 7200}));
    assert_eq!(load(&b, "old").await, "old");
    place.cluster.set_up(false);
    let receipt = a.mesh.revoke(Subject::new(place.issuer.url(), "alice")).await.unwrap();
    assert_eq!(receipt.state, CommitState::Committed);
    assert!(cache(&a.mesh).remove(KEY).await.unwrap());
    // It is dead: it reaches nobody any more.
    a.wire.faults().cut();
    place.split(&[&a], &[&b, &c], true);
    // Longer than the ring keeps what has a position.
    pass(Duration::from_secs(700)).await;
    assert_eq!(b.mesh.stats().gossip.unwrap().unpositioned, 1, "it does not expire");

    place.cluster.set_up(true);
    eventually("the log has them", || async {
        [&b, &c]
            .iter()
            .all(|site| site.mesh.stats().gossip.unwrap().unpositioned == 0)
    })
    .await;
    let other = by_redis_alone(&place.cluster, &place).await;
    eventually("a node without gossip learns it from Redis", || async {
        matches!(other.verifier().verify(&token).await, Err(VerifyError::Revoked(_)))
    })
    .await;
    assert_eq!(cache(&other).get(KEY).await, None, "the old value came back with Redis");
}

async fn by_redis_alone(cluster: &Cluster, place: &Place) -> AuthMesh {
    builder("without-gossip", &place.issuer)
        .join(Arc::new(cluster.clone()))
        .start()
        .await
        .unwrap()
}
