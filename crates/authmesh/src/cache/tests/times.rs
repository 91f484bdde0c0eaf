//! What ends with time, by a clock that the test moves.

use authmesh_proto::time::{Moment, Now};

use super::*;
use crate::memory::Limits;

fn stopped() -> (Arc<ManualClock>, Cluster) {
    let clock = Arc::new(ManualClock::new(Now {
        boot: Moment::ORIGIN.plus(Duration::from_secs(100)),
        wall: 1_800_000_000,
    }));
    let cluster = Cluster::with(Limits::default(), Arc::clone(&clock) as _);
    (clock, cluster)
}

#[tokio::test]
async fn counters_add_up_over_nodes_and_run_out() {
    let (clock, cluster) = stopped();
    let (a, b) = (
        node_at(&cluster, Some(&clock)).await,
        node_at(&cluster, Some(&clock)).await,
    );
    let minute = Duration::from_secs(60);
    for n in 1..=10 {
        let mesh = if n % 2 == 0 { &a } else { &b };
        assert_eq!(users(mesh).increment("logins", 1, minute).await.unwrap(), n);
    }
    assert_eq!(users(&a).increment("logins", -3, minute).await.unwrap(), 7);
    assert_eq!(
        users(&a).increment("logins", i64::MAX, minute).await.unwrap(),
        i64::MAX,
        "it saturates"
    );
    assert_eq!(users(&a).get("logins").await, None, "a counter is no value");
    clock.advance(minute);
    assert_eq!(users(&b).increment("logins", 5, minute).await.unwrap(), 5);
}

#[tokio::test]
async fn an_entry_ends_with_the_shorter_of_its_lifetimes() {
    let (clock, cluster) = stopped();
    let mesh = node_at(&cluster, Some(&clock)).await;
    let rule = WhenBlind::Serve { at_most: Duration::MAX };
    let space = Namespace::new("short")
        .lifetime(Duration::from_secs(10))
        .when_blind(rule)
        .l2(false);
    let cache = mesh.cache::<String>(space).unwrap();
    let put = async |key: &'static str, lifetime: u64| {
        let load = Load::new("value".to_owned()).lifetime(Duration::from_secs(lifetime));
        cache.get_or_load(key, move || ready(Ok::<_, ()>(load))).await.unwrap();
    };
    put("shorter", 4).await;
    put("longer", 100).await;
    clock.advance(Duration::from_millis(3999));
    assert!(cache.exists("shorter").await);
    clock.advance(Duration::from_millis(1));
    assert!(!cache.exists("shorter").await);
    clock.advance(Duration::from_millis(5999));
    assert!(cache.exists("longer").await);
    clock.advance(Duration::from_millis(1));
    assert!(!cache.exists("longer").await);
}

/// Blind and denied: memory is not asked, the loader is.
#[tokio::test]
async fn a_blind_node_serves_from_memory_as_its_namespace_says() {
    let (clock, cluster) = stopped();
    let mesh = node_at(&cluster, Some(&clock)).await;
    let at_most = Duration::from_secs(30);
    let serve = mesh
        .cache::<String>(Namespace::new("serve").when_blind(WhenBlind::Serve { at_most }))
        .unwrap();
    let deny = mesh
        .cache::<String>(Namespace::new("deny").when_blind(WhenBlind::Deny))
        .unwrap();
    for cache in [&serve, &deny] {
        load(cache, "key", "one").await;
    }
    cluster.set_up(false);
    clock.advance(Duration::from_secs(3));
    assert_eq!(load(&serve, "key", "two").await, "one");
    assert_eq!(load(&deny, "key", "two").await, "two");
    clock.advance(at_most);
    assert_eq!(load(&serve, "key", "two").await, "one");
    clock.advance(Duration::from_millis(1));
    assert_eq!(load(&serve, "key", "three").await, "three");
}
