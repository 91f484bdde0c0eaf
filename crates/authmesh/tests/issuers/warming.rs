//! Warming: entries of L2 into memory by name, and the names from a member.

use std::sync::Arc;
use std::time::Duration;

use authmesh::{AuthMesh, Cache, Namespace};

use crate::support::{Place, Site, builder, eventually, node, pass, wired};

fn cache(mesh: &AuthMesh) -> Cache<String> {
    mesh.cache(Namespace::new("records").lifetime(Duration::from_secs(3600)))
        .unwrap()
}

/// A node with both roads that asks a member for so many names.
async fn joiner(place: &Place, name: &str, names: usize) -> Site {
    let (wire, gossip) = (wired(&place.cluster), Arc::new(place.hub.node()));
    let mesh = builder(name, &place.issuer)
        .warm_from_peers(names)
        .join(Arc::clone(&wire))
        .gossip(Arc::clone(&gossip) as _)
        .start()
        .await
        .unwrap();
    Site { mesh, wire, gossip }
}

async fn fill(cache: &Cache<String>, entries: usize) {
    for n in 0..entries {
        let load = move || async move { Ok::<_, ()>(format!("v{n}")) };
        cache.get_or_load(format!("k{n}"), load).await.unwrap();
    }
    // L2 is written behind the callers' backs.
    pass(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn warm_brings_what_l2_has_into_memory_and_loads_nothing() {
    let place = Place::new();
    let (a, b) = (
        node("a", &place.cluster, &place.issuer).await,
        node("b", &place.cluster, &place.issuer).await,
    );
    fill(&cache(&a), 100).await;
    pass(Duration::from_secs(1)).await;
    let keys = (0..150).map(|n| format!("k{n}"));
    assert_eq!(cache(&b).warm(keys.clone()).await, 100);
    assert_eq!(b.stats().counts.cache_l2, 100);
    assert_eq!(b.stats().counts.cache_loads, 0);
    // Again, it is all there already.
    assert_eq!(cache(&b).warm(keys).await, 100);
    assert_eq!(b.stats().counts.cache_l2, 100);
    place.cluster.set_up(false);
    for n in 0..100 {
        assert_eq!(*cache(&b).get(format!("k{n}")).await.unwrap(), format!("v{n}"));
    }
    assert_eq!(cache(&b).warm(["k100"]).await, 0, "an L2 that is away is no error");
}

#[tokio::test(start_paused = true)]
async fn what_was_dropped_is_not_warmed() {
    let place = Place::new();
    let (a, b) = (
        node("a", &place.cluster, &place.issuer).await,
        node("b", &place.cluster, &place.issuer).await,
    );
    fill(&cache(&a), 3).await;
    cache(&a).remove("k1").await.unwrap();
    pass(Duration::from_secs(1)).await;
    assert_eq!(cache(&b).warm(["k0", "k1", "k2"]).await, 2);
    assert!(cache(&b).get("k1").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_joiner_takes_the_hottest_entries_of_a_member_and_no_others() {
    let place = Place::new();
    let a = place.site("a").await;
    // What is filled before the log is followed goes to no L2.
    pass(Duration::from_secs(5)).await;
    let (of_a, other) = (cache(&a.mesh), a.mesh.cache::<String>(Namespace::new("other")).unwrap());
    fill(&of_a, 50).await;
    fill(&other, 5).await;
    for _ in 0..3 {
        for n in (0..50).step_by(5) {
            of_a.get(format!("k{n}")).await.unwrap();
        }
    }
    for n in 0..5 {
        for _ in 0..9 {
            other.get(format!("k{n}")).await.unwrap();
        }
    }
    let b = joiner(&place, "b", 10).await;
    let of_b = cache(&b.mesh);
    let warm = || b.mesh.stats().counts.cache_l2;
    eventually("the hot ones are there", || async { warm() >= 10 }).await;
    // Declared again, nobody is asked again.
    let _again = cache(&b.mesh);
    pass(Duration::from_secs(40)).await;
    assert_eq!((warm(), b.mesh.stats().counts.cache_loads), (10, 0));
    for n in 0..50 {
        let hits = b.mesh.stats().counts.cache_hits;
        of_b.get(format!("k{n}")).await.unwrap();
        let in_memory = b.mesh.stats().counts.cache_hits > hits;
        assert_eq!(in_memory, n % 5 == 0, "k{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_unless_the_node_was_told_to() {
    let place = Place::new();
    let a = place.site("a").await;
    fill(&cache(&a.mesh), 20).await;
    let b = joiner(&place, "b", 0).await;
    let _declared = cache(&b.mesh);
    pass(Duration::from_secs(60)).await;
    assert_eq!(b.mesh.stats().counts.cache_l2, 0);
    let refused = builder("c", &place.issuer).warm_from_peers(1001).start().await;
    assert_eq!(refused.unwrap_err().setting, "warm_from_peers");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_answer_holds_nobody_up() {
    let place = Place::new();
    let a = place.site("a").await;
    let b = joiner(&place, "b", 10).await;
    Place::settled_pair(&a, &b).await;
    place.cut(&a, &b, true);
    let before = tokio::time::Instant::now();
    let of_b = cache(&b.mesh);
    of_b.insert("k", "v".to_owned()).await.unwrap();
    assert!(of_b.get("k").await.is_some());
    assert!(before.elapsed() < Duration::from_secs(1));
    b.mesh.shutdown().await;
}
