//! Operations that only the shared store can decide: of all nodes that try at once, one wins.

use authmesh::memory::Cluster;
use authmesh::{AuthMesh, Cache, Namespace};
use authmesh_testkit::Op;

use crate::support::{TestIssuer, node, node_through, soon, wired};

fn cache(mesh: &AuthMesh) -> Cache<String> {
    mesh.cache(Namespace::new("locks")).unwrap()
}

/// Every one of them has looked, and seen nothing, before the first one writes.
#[tokio::test]
async fn insert_if_absent_of_nodes_that_all_saw_nothing() {
    const TRIES: usize = 6;
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let (a, b) = (
        node_through("a", &wire, &issuer).await,
        node_through("b", &wire, &issuer).await,
    );
    let inserts = wire.faults().on(Op::InsertIfAbsent).hang();
    let mut tries = Vec::new();
    for n in 0..TRIES {
        let cache = cache(if n % 2 == 0 { &a } else { &b });
        tries.push(tokio::spawn(async move {
            cache.insert_if_absent("key", n.to_string()).await.unwrap()
        }));
    }
    inserts.holds(TRIES).await;
    inserts.lift();
    let mut winners = Vec::new();
    for (n, attempt) in tries.into_iter().enumerate() {
        if soon("an attempt", attempt).await.unwrap() {
            winners.push(n.to_string());
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?} have won");
    for mesh in [&a, &b, &node("c", &cluster, &issuer).await] {
        assert_eq!(*cache(mesh).get("key").await.unwrap(), winners[0]);
    }
}
