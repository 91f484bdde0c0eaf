//! A hit in L2 beside a GET of the same bytes.

use std::collections::BTreeMap;
use std::time::Instant;

use authmesh::{Cache, Namespace};
use authmesh_tests::bench::{Figure, median, quantile};

use crate::server::Server;
use crate::{node, spread};

/// What a service knows of a user: about 900 bytes of JSON.
type Value = BTreeMap<String, String>;

fn value(n: usize) -> Value {
    let fields = (0..12).map(|field| (format!("field-{field:02}"), format!("{n:032}{n:020}")));
    fields.collect()
}

fn key(n: usize) -> String {
    format!("session-{n:08}")
}

/// One node fills, another reads every key once: it has none of them in its own memory.
pub(crate) async fn measure(server: &Server, reads: usize) -> Vec<Figure> {
    let (filler, reader) = (node(server).await, node(server).await);
    let [fill, read] = [&filler, &reader].map(|mesh| mesh.cache::<Value>(Namespace::new("sessions")).unwrap());
    spread(0..reads, 64, |n| {
        let fill = fill.clone();
        async move { fill.insert(key(n), value(n)).await.expect("the value is stored") }
    })
    .await;
    filler.shutdown().await;

    let mut connection = server.raw().await;
    let names: Vec<String> = redis::cmd("KEYS")
        .arg("*:e:*")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(names.len(), reads);
    // In a task, as a service does it; a future that the runtime only blocks on is woken across threads.
    let (hits, gets) = tokio::spawn(take_turns(read, connection, names)).await.unwrap();
    let from_l2 = reader.stats().counts.cache_l2;
    assert_eq!(from_l2, reads as u64, "every read was a hit in L2");
    reader.shutdown().await;
    vec![
        Figure::new("L2 hit, median", median(&hits), "us")
            .beside("GET of the same bytes", median(&gets))
            .at_most_times(1.3),
        Figure::new("L2 hit, p99", quantile(&hits, 0.99), "us").beside("GET of the same bytes", quantile(&gets, 0.99)),
    ]
}

async fn take_turns(
    read: Cache<Value>,
    mut connection: redis::aio::MultiplexedConnection,
    names: Vec<String>,
) -> (Vec<f64>, Vec<f64>) {
    let (mut hits, mut gets) = (Vec::new(), Vec::new());
    for (n, name) in names.iter().enumerate() {
        let begin = Instant::now();
        let got: Vec<u8> = redis::cmd("GET").arg(name).query_async(&mut connection).await.unwrap();
        gets.push(begin.elapsed().as_nanos() as f64 / 1e3);
        assert!(!got.is_empty());

        let begin = Instant::now();
        let hit = read.get(key(n)).await;
        hits.push(begin.elapsed().as_nanos() as f64 / 1e3);
        assert!(hit.is_some_and(|hit| *hit == value(n)));
    }
    (hits, gets)
}
