//! How many bells a subscriber misses in each fault, whether it is told, and for how long it is deaf.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use authmesh::ports::{BusEvent, Log};
use authmesh_redis::RedisAdapter;
use authmesh_tests::redis_cluster::RedisCluster;
use tokio_stream::StreamExt;

use super::{adapter, config, shared};
use crate::fixture::{SLOT, commits, dropping, subscribe};

/// From the fault on; a node that is killed or stopped is deposed within 2.6 s.
const OUTAGE: Duration = Duration::from_secs(7);
const NO_OUTAGE: Duration = Duration::from_secs(3);
const EVERY: Duration = Duration::from_millis(10);

struct Seen {
    rung: usize,
    lost: usize,
    /// Lost before the subscriber was told that some may be missing, and after it was told that it is whole again.
    untold: usize,
    /// The longest time between a commit that was heard and the next one that was.
    blind: Duration,
    /// The longest time without a commit that was carried out.
    outage: Duration,
}

/// Commits all the time; what is committed, and when, against what is heard.
async fn watch(cluster: &RedisCluster, watched: Duration, fault: impl AsyncFnOnce(&RedisCluster)) -> Seen {
    let (writer, reader) = {
        let config = config(cluster).log_entries(100_000);
        (adapter(config.clone()).await, adapter(config).await)
    };
    commits(&writer, dropping(1)).await;
    let mut bells = subscribe(&reader).await;
    let began = Instant::now();
    let until = began + Duration::from_millis(500) + watched;
    let listening = tokio::spawn(async move {
        let (mut heard, mut told) = (BTreeMap::new(), Vec::new());
        let end = tokio::time::Instant::from_std(until + Duration::from_millis(500));
        while let Ok(Some(event)) = tokio::time::timeout_at(end, bells.next()).await {
            match event {
                BusEvent::Bell(bell) => {
                    heard.entry(bell).or_insert_with(Instant::now);
                }
                BusEvent::Broken => told.push(Instant::now()),
            }
        }
        (heard, told)
    });
    let writing = tokio::spawn(write(writer, until));
    tokio::time::sleep(Duration::from_millis(500)).await;
    fault(cluster).await;
    let done = writing.await.unwrap();
    let (heard, told) = listening.await.unwrap();
    let mut seen = Seen {
        rung: done.len(),
        lost: 0,
        untold: 0,
        blind: Duration::ZERO,
        outage: Duration::ZERO,
    };
    let mut last: Option<Instant> = None;
    let mut missed: Option<Instant> = None;
    for (at, bell) in &done {
        if let Some(last) = last.replace(*at) {
            seen.outage = seen.outage.max(*at - last);
        }
        if heard.contains_key(bell) {
            if let Some(since) = missed.take() {
                seen.blind = seen.blind.max(*at - since);
            }
        } else {
            seen.lost += 1;
            missed.get_or_insert(*at);
            // What was lost must be followed by a word, however late.
            if !told.iter().any(|told| told >= at) {
                seen.untold += 1;
            }
        }
    }
    if let Some(since) = missed {
        seen.blind = seen.blind.max(until - since);
    }
    seen
}

async fn write(writer: Arc<RedisAdapter>, until: Instant) -> Vec<(Instant, Vec<u8>)> {
    let mut done = Vec::new();
    while Instant::now() < until {
        let at = Instant::now();
        if let Ok(committed) = writer.commit(dropping(3)).await {
            done.push((at, committed.entry.encode()));
        }
        tokio::time::sleep(EVERY).await;
    }
    done
}

/// The table that measures client libraries: none of these faults may leave a bell lost and untold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_loses_a_bell_untold() {
    let cluster = shared().await;
    let mut rows = Vec::new();
    rows.push((
        "primary killed",
        watch(&cluster, OUTAGE, async |cluster| {
            cluster.kill(cluster.primary_of(SLOT).await)
        })
        .await,
    ));
    cluster.heal().await;
    rows.push((
        "CLUSTER FAILOVER",
        watch(&cluster, NO_OUTAGE, async |cluster| {
            let replica = cluster.replica_of(cluster.primary_of(SLOT).await).await;
            cluster.failover(replica, false).await;
        })
        .await,
    ));
    cluster.heal().await;
    rows.push((
        "slot migration",
        watch(&cluster, NO_OUTAGE, async |cluster| {
            let from = cluster.primary_of(SLOT).await;
            let to = cluster.primaries().await.into_iter().find(|n| *n != from).unwrap();
            cluster.begin_move(SLOT, from, to).await;
            cluster.end_move(SLOT, from, to).await;
        })
        .await,
    ));
    cluster.heal().await;
    rows.push((
        "primary stopped 6 s",
        watch(&cluster, OUTAGE, async |cluster| {
            let primary = cluster.primary_of(SLOT).await;
            cluster.pause(primary);
            tokio::time::sleep(Duration::from_secs(6)).await;
            cluster.resume(primary);
        })
        .await,
    ));
    cluster.heal().await;
    rows.push((
        "CLIENT KILL TYPE pubsub",
        watch(&cluster, NO_OUTAGE, async |cluster| cluster.client_kill_pubsub().await).await,
    ));
    println!("| fault | bells | lost | lost and untold | deaf for | no commit for |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (fault, seen) in &rows {
        println!(
            "| {fault} | {} | {} | {} | {:?} | {:?} |",
            seen.rung, seen.lost, seen.untold, seen.blind, seen.outage
        );
    }
    for (fault, seen) in rows {
        assert_eq!(seen.untold, 0, "{fault}");
        assert!(seen.rung > 100, "{fault}: only {} commits", seen.rung);
        assert!(
            seen.blind < Duration::from_secs(5),
            "{fault}: deaf for {:?}",
            seen.blind
        );
    }
}

/// A replica takes subscriptions too. For a while after a change of roles nobody sends bells there, and nobody says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bell_is_lost_untold_however_often_roles_change() {
    let cluster = shared().await;
    for round in 0..6 {
        let seen = watch(&cluster, Duration::from_millis(1200), async |cluster| {
            let replica = cluster.replica_of(cluster.primary_of(SLOT).await).await;
            cluster.failover(replica, false).await;
        })
        .await;
        assert_eq!(seen.untold, 0, "round {round}: {} of {} lost", seen.lost, seen.rung);
        cluster.heal().await;
    }
}
