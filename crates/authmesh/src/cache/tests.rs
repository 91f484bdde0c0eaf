//! The operations of the cache, on nodes that share an in-memory cluster. What must never happen is in the integration
//! tests of the invariants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod times;

use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Barrier, Notify};

use super::{Cache, Load, Namespace};
use crate::clock::ManualClock;
use crate::error::{BuildError, CacheError};
use crate::memory::{Cluster, FixedKeys};
use crate::mesh::AuthMesh;
use crate::policy::Rules;
use crate::{KeyRing, WhenBlind};

const DEADLINE: Duration = Duration::from_secs(30);

/// The key of RFC 8037 appendix A; nothing here is signed with it.
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

async fn node_at(cluster: &Cluster, clock: Option<&Arc<ManualClock>>) -> AuthMesh {
    let mut builder = AuthMesh::builder()
        .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
        .issuer(
            "https://issuer.test",
            Arc::new(FixedKeys::new(KEYS)),
            Rules::for_audiences(["api"]),
        )
        .join(Arc::new(cluster.clone()));
    if let Some(clock) = clock {
        builder = builder.clock(Arc::clone(clock) as _);
    }
    builder.start().await.unwrap()
}

async fn node(cluster: &Cluster) -> AuthMesh {
    node_at(cluster, None).await
}

fn users(mesh: &AuthMesh) -> Cache<String> {
    mesh.cache(Namespace::new("users")).unwrap()
}

async fn load(cache: &Cache<String>, key: &str, value: &str) -> String {
    let value = value.to_owned();
    cache
        .get_or_load(key, move || ready(Ok::<_, ()>(value)))
        .await
        .unwrap()
        .to_string()
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

fn loads(mesh: &AuthMesh) -> u64 {
    mesh.stats().counts.cache_loads
}

#[tokio::test]
async fn a_value_is_loaded_once_per_node_and_then_at_hand() {
    let mesh = node(&Cluster::new()).await;
    let cache = users(&mesh);
    assert_eq!(cache.get("key").await, None);
    assert!(!cache.exists("key").await);
    assert_eq!(load(&cache, "key", "one").await, "one");
    assert_eq!(load(&cache, "key", "two").await, "one");
    assert_eq!(cache.get("key").await.as_deref().map(String::as_str), Some("one"));
    assert!(cache.exists("key").await);
    assert_eq!(load(&cache, "other", "two").await, "two");
    assert_eq!((loads(&mesh), mesh.stats().counts.cache_hits), (2, 3));
}

#[tokio::test]
async fn a_second_node_takes_the_value_from_l2() {
    let cluster = Cluster::new();
    let (a, b) = (node(&cluster).await, node(&cluster).await);
    load(&users(&a), "key", "one").await;
    eventually("it is shared", || async { users(&b).get("key").await.is_some() }).await;
    assert_eq!(load(&users(&b), "key", "two").await, "one");
    assert_eq!((loads(&b), b.stats().counts.cache_l2), (0, 1));
}

#[tokio::test]
async fn a_namespace_without_l2_stays_on_its_node() {
    let cluster = Cluster::new();
    let (a, b) = (node(&cluster).await, node(&cluster).await);
    let private = |mesh: &AuthMesh| mesh.cache::<String>(Namespace::new("private").l2(false)).unwrap();
    load(&private(&a), "key", "one").await;
    a.shutdown().await;
    assert_eq!(private(&b).get("key").await, None);
    assert_eq!(load(&private(&b), "key", "two").await, "two");
    // Its drops are for every node all the same.
    assert!(private(&b).remove("key").await.unwrap());
    assert_eq!(private(&b).get("key").await, None);
}

/// The loader of the second node would answer something else: it must not run while the first one loads.
#[tokio::test]
async fn of_two_nodes_that_miss_at_once_one_loads() {
    let cluster = Cluster::new();
    let (a, b) = (node(&cluster).await, node(&cluster).await);
    let (started, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let first = {
        let (cache, started, release) = (users(&a), Arc::clone(&started), Arc::clone(&release));
        let loading = move || async move {
            started.notify_one();
            release.notified().await;
            Ok::<_, ()>("one".to_owned())
        };
        tokio::spawn(async move { cache.get_or_load("key", loading).await.unwrap().to_string() })
    };
    within("the first loader starts", started.notified()).await;
    let cache = users(&b);
    let second = tokio::spawn(async move { load(&cache, "key", "two").await });
    // One thread and ports that never wait: this is more than enough for it to come as far as it can.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished(), "it waits for the lease of the first");
    release.notify_one();
    assert_eq!(within("the first", first).await.unwrap(), "one");
    assert_eq!(within("the second", second).await.unwrap(), "one");
    assert_eq!((loads(&a), loads(&b)), (1, 0));
}

#[tokio::test]
async fn waiters_share_one_load_and_its_error() {
    const WAITERS: usize = 20;
    let mesh = node(&Cluster::new()).await;
    let runs = Arc::new(AtomicUsize::new(0));
    for fails in [true, false] {
        let (all_there, release) = (Arc::new(Barrier::new(WAITERS + 1)), Arc::new(Notify::new()));
        let mut waiting = Vec::new();
        for _ in 0..WAITERS {
            let (cache, runs) = (users(&mesh), Arc::clone(&runs));
            let (all_there, release) = (Arc::clone(&all_there), Arc::clone(&release));
            let load = move || async move {
                runs.fetch_add(1, Ordering::SeqCst);
                release.notified().await;
                if fails {
                    Err("the database is away")
                } else {
                    Ok("value".to_owned())
                }
            };
            waiting.push(tokio::spawn(async move {
                all_there.wait().await;
                cache.get_or_load("key", load).await
            }));
        }
        all_there.wait().await;
        eventually("the loader runs", || async { runs.load(Ordering::SeqCst) > 0 }).await;
        release.notify_one();
        for waiter in waiting {
            match within("a waiter", waiter).await.unwrap() {
                Ok(value) => assert!(!fails && *value == "value"),
                Err(error) => assert!(fails && error == CacheError::Load("the database is away")),
            }
        }
        assert_eq!(runs.swap(0, Ordering::SeqCst), 1);
    }
    assert_eq!(mesh.stats().counts.cache_load_failures, 1);
}

#[tokio::test]
async fn a_loader_that_panics_answers_nobody_and_hurts_nobody() {
    let mesh = node(&Cluster::new()).await;
    let cache = users(&mesh);
    let panics = || async {
        if true {
            panic!("on purpose")
        } else {
            Ok::<String, ()>(String::new())
        }
    };
    assert_eq!(
        within("it ends", cache.get_or_load("key", panics)).await.unwrap_err(),
        CacheError::NoAnswer
    );
    assert_eq!(within("the next call", load(&cache, "key", "one")).await, "one");
}

/// Callers of one flight need not agree on the type of their errors.
#[tokio::test]
async fn an_error_of_another_type_is_no_answer() {
    let mesh = node(&Cluster::new()).await;
    let cache = users(&mesh);
    let (started, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let fails = {
        let (started, release) = (Arc::clone(&started), Arc::clone(&release));
        move || async move {
            started.notify_one();
            release.notified().await;
            Err::<String, _>(7_u32)
        }
    };
    let first = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get_or_load("key", fails).await })
    };
    within("it flies", started.notified()).await;
    let second = cache.get_or_load("key", || ready(Err::<String, &str>("not run")));
    let (second, ()) = tokio::join!(within("the second", second), async { release.notify_one() });
    assert_eq!(
        within("the first", first).await.unwrap().unwrap_err(),
        CacheError::Load(7)
    );
    assert_eq!(second.unwrap_err(), CacheError::NoAnswer);
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_nothing() {
    let mesh = node(&Cluster::new()).await;
    let (cache, release) = (users(&mesh), Arc::new(Notify::new()));
    let loading = {
        let release = Arc::clone(&release);
        move || async move {
            release.notified().await;
            Ok::<_, ()>("one".to_owned())
        }
    };
    let gone = tokio::time::timeout(Duration::from_millis(50), cache.get_or_load("key", loading)).await;
    assert!(gone.is_err());
    release.notify_one();
    assert_eq!(
        within("the value comes all the same", load(&cache, "key", "two")).await,
        "one"
    );
}

#[tokio::test]
async fn insert_replaces_a_value_on_every_node() {
    let cluster = Cluster::new();
    let (a, b) = (node(&cluster).await, node(&cluster).await);
    for mesh in [&a, &b] {
        load(&users(mesh), "key", "old").await;
    }
    users(&a).insert("key", "new".to_owned()).await.unwrap();
    assert_eq!(load(&users(&a), "key", "loaded").await, "new");
    eventually("b has it", || async {
        users(&b).get("key").await.is_some_and(|value| *value == "new")
    })
    .await;
}

/// Many try on two nodes, again and again: each time one wins, and its value is the one that all see.
#[tokio::test]
async fn insert_if_absent_is_won_once() {
    let cluster = Cluster::new();
    let (a, b) = (node(&cluster).await, node(&cluster).await);
    for round in 0..20 {
        let key = format!("key-{round}");
        let mut tries = Vec::new();
        for n in 0..8 {
            let (cache, key) = (users(if n % 2 == 0 { &a } else { &b }), key.clone());
            tries.push(tokio::spawn(async move {
                (n, cache.insert_if_absent(&key, format!("value-{n}")).await.unwrap())
            }));
        }
        let mut winners = Vec::new();
        for attempt in tries {
            let (n, won) = within("an attempt", attempt).await.unwrap();
            winners.extend(won.then_some(n));
        }
        let [winner] = winners[..] else {
            panic!("{winners:?} have won")
        };
        for mesh in [&a, &b] {
            assert_eq!(*users(mesh).get(&key).await.unwrap(), format!("value-{winner}"));
        }
    }
    assert!(users(&a).remove("key-0").await.unwrap());
    eventually("it is gone", || async { !users(&b).exists("key-0").await }).await;
    assert!(users(&b).insert_if_absent("key-0", "again".to_owned()).await.unwrap());
}

#[tokio::test]
async fn without_l2_counters_and_insert_if_absent_fail_and_reads_do_not() {
    let cluster = Cluster::new();
    let mesh = node(&cluster).await;
    cluster.set_up(false);
    let cache = users(&mesh);
    assert!(matches!(
        cache.increment("n", 1, DEADLINE).await,
        Err(CacheError::Store(_))
    ));
    assert!(matches!(
        cache.insert_if_absent("key", "one".to_owned()).await,
        Err(CacheError::Store(_))
    ));
    assert_eq!(within("a read", load(&cache, "key", "one")).await, "one");
    assert_eq!(load(&cache, "key", "two").await, "one");
}

/// One statement, whatever the number of entries.
#[tokio::test]
async fn clear_and_tags_void_in_one_statement_what_they_name_and_no_more() {
    let cluster = Cluster::new();
    let (a, b) = (node(&cluster).await, node(&cluster).await);
    let teams = a.cache::<String>(Namespace::new("teams")).unwrap();
    load(&teams, "key", "kept").await;
    let fill = async |tag: &'static str, key: String| {
        let load = move || ready(Ok::<_, ()>(Load::new("old".to_owned()).tag(tag)));
        users(&a).get_or_load(key, load).await.unwrap();
    };
    for n in 0..200 {
        fill(if n % 2 == 0 { "even" } else { "odd" }, format!("key-{n}")).await;
    }
    let made = a.stats().counts.statements_made;
    assert!(users(&a).invalidate_tag("even").await.unwrap());
    for n in 0..200 {
        assert_eq!(users(&a).exists(format!("key-{n}")).await, n % 2 == 1, "key-{n}");
    }
    assert!(users(&a).clear().await.unwrap());
    assert_eq!(a.stats().counts.statements_made - made, 2);
    for mesh in [&a, &b] {
        eventually("it is applied", || async {
            mesh.stats().counts.statements_applied >= 2
        })
        .await;
        for n in 0..200 {
            assert!(!users(mesh).exists(format!("key-{n}")).await);
        }
    }
    assert_eq!(*teams.get("key").await.unwrap(), "kept");
    // The namespace itself is not the tag of an empty name.
    fill("", "key".into()).await;
    fill("other", "key-2".into()).await;
    assert!(users(&a).invalidate_tag("").await.unwrap());
    assert!(!users(&a).exists("key").await);
    assert!(users(&a).exists("key-2").await);
}

#[tokio::test]
async fn a_namespace_is_declared_in_one_way() {
    let mesh = node(&Cluster::new()).await;
    let declared = Namespace::new("users").lifetime(Duration::from_secs(60));
    mesh.cache::<String>(declared.clone()).unwrap();
    mesh.cache::<String>(declared.clone()).unwrap();
    let refused: [Result<(), BuildError>; 5] = [
        mesh.cache::<u64>(declared.clone()).map(drop),
        mesh.cache::<String>(declared.clone().lifetime(Duration::from_secs(61)))
            .map(drop),
        mesh.cache::<String>(declared.clone().l2(false)).map(drop),
        mesh.cache::<String>(declared.when_blind(WhenBlind::Deny)).map(drop),
        mesh.cache::<String>(Namespace::new("")).map(drop),
    ];
    assert!(
        refused.iter().all(|refused| matches!(
            refused,
            Err(BuildError {
                setting: "namespace",
                ..
            })
        )),
        "{refused:?}"
    );
    for lifetime in [Duration::ZERO, Duration::from_secs(86_401)] {
        let refused = mesh
            .cache::<String>(Namespace::new("other").lifetime(lifetime))
            .unwrap_err();
        assert_eq!(refused.setting, "lifetime");
    }
    assert!(mesh.cache::<String>(Namespace::new("x".repeat(129))).is_err());
    mesh.cache::<String>(Namespace::new("x".repeat(128)).lifetime(Duration::from_secs(86_400)))
        .unwrap();
}

#[tokio::test]
async fn what_cannot_be_encoded_is_told_and_not_cached() {
    let mesh = node(&Cluster::new()).await;
    let cache = mesh
        .cache::<std::collections::HashMap<(u8, u8), u8>>(Namespace::new("maps"))
        .unwrap();
    fn map() -> std::collections::HashMap<(u8, u8), u8> {
        std::collections::HashMap::from([((1, 2), 3)])
    }
    let refused = cache
        .get_or_load("key", || ready(Ok::<_, ()>(map())))
        .await
        .unwrap_err();
    assert!(matches!(refused, CacheError::Encode(_)));
    assert!(matches!(cache.insert("key", map()).await, Err(CacheError::Encode(_))));
    assert!(!cache.exists("key").await);
}

#[tokio::test]
async fn a_value_that_a_tag_voided_gives_way_in_l2_to_the_new_one() {
    let cluster = Cluster::new();
    let (a, b) = (node(&cluster).await, node(&cluster).await);
    load(&users(&a), "key", "old").await;
    eventually("the old one is shared", || async { users(&b).exists("key").await }).await;
    assert!(users(&a).clear().await.unwrap());
    assert_eq!(load(&users(&a), "key", "new").await, "new");
    eventually("the new one is shared", || async {
        users(&b).get("key").await.is_some_and(|value| *value == "new")
    })
    .await;
    assert_eq!(loads(&b), 0);

    assert!(users(&b).clear().await.unwrap());
    assert!(users(&b).insert_if_absent("key", "third".to_owned()).await.unwrap());
    assert!(!users(&b).insert_if_absent("key", "fourth".to_owned()).await.unwrap());
    eventually("the third is seen", || async {
        users(&a).get("key").await.is_some_and(|value| *value == "third")
    })
    .await;
}
