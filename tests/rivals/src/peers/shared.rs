//! The second level: a hit in our L2 beside a bare GET of the same bytes, and beside the client-side cache of `redis`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Cache, KeyRing, Namespace, Rules};
use authmesh_redis::{RedisAdapter, RedisConfig};
use authmesh_tests::bench::issuer::ISSUER;
use authmesh_tests::bench::{Figure, median, quantile};
use authmesh_tests::redis_server::RedisServer;
use redis::aio::MultiplexedConnection;
use redis::caching::CacheConfig;

use crate::Effort;

/// What a service knows of a user: about 900 bytes of JSON.
type Value = BTreeMap<String, String>;

fn value(n: usize) -> Value {
    (0..12)
        .map(|field| (format!("field-{field:02}"), format!("{n:032}{n:020}")))
        .collect()
}

fn key(n: usize) -> String {
    format!("session-{n:08}")
}

async fn node(server: &RedisServer) -> AuthMesh {
    let adapter = RedisAdapter::connect(RedisConfig::new(&server.url()).expect("a URL")).await;
    let mesh = AuthMesh::builder()
        .key_ring(KeyRing::new([1; 32], [[2; 32]]).expect("a key ring"))
        .issuer(
            ISSUER,
            Arc::new(FixedKeys::new(r#"{"keys":[]}"#)),
            Rules::for_audiences(["api"]),
        )
        .join(Arc::new(adapter.expect("the server is up")))
        .start()
        .await
        .expect("the settings are sound");
    let begin = Instant::now();
    while !mesh.health().coherent {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "the node never becomes coherent"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    mesh
}

/// Microseconds, one per key.
#[derive(Default)]
struct Seen {
    get: Vec<f64>,
    l2: Vec<f64>,
    l1: Vec<f64>,
    tracked_miss: Vec<f64>,
    tracked_hit: Vec<f64>,
}

pub(crate) fn measure(effort: &Effort) -> Vec<Figure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let seen = runtime.block_on(async {
        let server = RedisServer::start(&[]).await;
        let (filler, reader) = (node(&server).await, node(&server).await);
        let [fill, read] = [&filler, &reader].map(|mesh| mesh.cache::<Value>(Namespace::new("sessions")).unwrap());
        let mut plain = redis::Client::open(server.url())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        // On a busy machine a fill may lose its lease; what is absent is stored again.
        let mut names: Vec<String> = Vec::new();
        for _ in 0..5 {
            for n in 0..effort.reads {
                fill.insert_if_absent(key(n), value(n))
                    .await
                    .expect("the value can be stored");
            }
            names = redis::cmd("KEYS").arg("*:e:*").query_async(&mut plain).await.unwrap();
            // The issuer's key set lies there, too.
            if names.len() > effort.reads {
                break;
            }
        }
        assert!(names.len() > effort.reads, "{} are stored", names.len());
        names.truncate(effort.reads);
        filler.shutdown().await;
        let tracked = redis::Client::open(format!("{}?protocol=resp3", server.url())).unwrap();
        let cached = redis::AsyncConnectionConfig::new().set_cache_config(CacheConfig::new());
        let tracked = tracked
            .get_multiplexed_async_connection_with_config(&cached)
            .await
            .unwrap();
        // In a task, as a service does it; a future that the runtime only blocks on is woken across threads.
        let seen = tokio::spawn(take_turns(read, plain, tracked, names)).await.unwrap();
        assert_eq!(
            reader.stats().counts.cache_l2,
            effort.reads as u64,
            "every first read was a hit in L2"
        );
        reader.shutdown().await;
        seen
    });
    let get = median(&seen.get);
    let figure = |label: &'static str, values: &[f64]| {
        Figure::new(format!("Redis: {label}, median"), median(values), "us").drawn(
            "Shared level on one Redis",
            label,
            "median",
        )
    };
    const GET: &str = "a bare GET of the same bytes";
    vec![
        figure("a bare GET of the same bytes", &seen.get),
        figure("authmesh, hit in L2", &seen.l2)
            .beside(GET, get)
            .at_most_times(1.3),
        Figure::new("Redis: authmesh, hit in L2, p99", quantile(&seen.l2, 0.99), "us")
            .beside(GET, quantile(&seen.get, 0.99)),
        figure("authmesh, the next read: L1", &seen.l1),
        figure("redis with cache-aio, first read", &seen.tracked_miss).beside(GET, get),
        figure("redis with cache-aio, the next read: its memory", &seen.tracked_hit)
            .beside("authmesh, L1", median(&seen.l1)),
    ]
}

async fn take_turns(
    read: Cache<Value>,
    mut plain: MultiplexedConnection,
    mut tracked: MultiplexedConnection,
    names: Vec<String>,
) -> Seen {
    let mut seen = Seen::default();
    let since = |begin: Instant| begin.elapsed().as_nanos() as f64 / 1e3;
    for (n, name) in names.iter().enumerate() {
        let begin = Instant::now();
        let got: Vec<u8> = redis::cmd("GET").arg(name).query_async(&mut plain).await.unwrap();
        seen.get.push(since(begin));
        assert!(!got.is_empty());

        for into in [&mut seen.l2, &mut seen.l1] {
            let begin = Instant::now();
            let hit = read.get(key(n)).await;
            into.push(since(begin));
            assert!(hit.is_some_and(|hit| *hit == value(n)));
        }
        for into in [&mut seen.tracked_miss, &mut seen.tracked_hit] {
            let begin = Instant::now();
            let got: Vec<u8> = redis::cmd("GET").arg(name).query_async(&mut tracked).await.unwrap();
            into.push(since(begin));
            assert!(!got.is_empty());
        }
    }
    seen
}
