//! The controls that only the in-memory cluster has. What every adapter does is in the conformance suites.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use super::*;
use crate::ports::{Effect, StoredMark};
use authmesh_proto::ident::Digest;

const TTL: Duration = Duration::from_secs(60);

fn name(last: u8) -> EntryName {
    // All in channel 0.
    let mut bytes = [0; 32];
    bytes[31] = last;
    EntryName(bytes)
}

fn drop_of(name: EntryName, nonce: u8) -> Commit {
    Commit {
        channel: name.slot().channel,
        nonce: Nonce([nonce; 16]),
        birth: Incarnation([7; 16]),
        now: 0,
        effect: Effect::Drop(name),
        statement: vec![1],
        bare_done: false,
    }
}

async fn put(cluster: &Cluster, name: EntryName) {
    assert!(matches!(
        cluster.lease(name, Nonce([9; 16]), None, TTL).await.unwrap(),
        LeaseOutcome::Taken(..)
    ));
    assert!(cluster.store(name, Nonce([9; 16]), vec![5], TTL).await.unwrap());
}

async fn value(cluster: &Cluster, name: EntryName) -> Option<Vec<u8>> {
    Store::read(cluster, name).await.unwrap().value
}

#[tokio::test]
async fn what_is_lost_is_undone_newest_first() {
    let cluster = Cluster::new();
    cluster.commit(drop_of(name(0), 1)).await.unwrap();
    put(&cluster, name(1)).await;
    put(&cluster, name(2)).await;
    cluster.commit(drop_of(name(1), 2)).await.unwrap();
    cluster.commit(drop_of(name(2), 3)).await.unwrap();
    assert_eq!(
        (value(&cluster, name(1)).await, value(&cluster, name(2)).await),
        (None, None)
    );

    let channel = name(0).slot().channel;
    cluster.lose_newest(channel, 1);
    assert_eq!(
        (value(&cluster, name(1)).await, value(&cluster, name(2)).await),
        (None, Some(vec![5]))
    );
    assert_eq!(
        cluster.heads().await.unwrap()[0].unwrap().position.nonce,
        Nonce([2; 16])
    );
    cluster.lose_newest(channel, 100);
    assert_eq!(value(&cluster, name(1)).await, Some(vec![5]));
    assert_eq!(cluster.heads().await.unwrap()[0], None);
}

#[tokio::test]
async fn a_lost_mark_leaves_the_table_and_its_root_as_they_were() {
    let cluster = Cluster::new();
    let channel = name(0).slot().channel;
    let mark = |rank: u64, digest: u8| Commit {
        effect: Effect::Mark(StoredMark {
            hour: 1,
            field: [0; 33],
            rank,
            digest: Digest([digest; 16]),
            sealed: vec![digest],
        }),
        ..drop_of(name(0), digest)
    };
    cluster.commit(mark(1, 1)).await.unwrap();
    let before = cluster.load(channel, None).await.unwrap();
    cluster.commit(mark(2, 2)).await.unwrap();
    assert_ne!(cluster.load(channel, None).await.unwrap().marks, before.marks);
    cluster.lose_newest(channel, 1);
    let after = cluster.load(channel, None).await.unwrap();
    assert_eq!((after.marks, after.head), (before.marks, before.head));
    // The root that the next entry carries is that of the marks.
    let committed = cluster.commit(drop_of(name(1), 3)).await.unwrap();
    assert_eq!(committed.entry.head.root, Digest([1; 16]));
}

#[tokio::test]
async fn while_down_nothing_answers_and_nothing_is_lost() {
    let cluster = Cluster::new();
    cluster.commit(drop_of(name(0), 1)).await.unwrap();
    put(&cluster, name(1)).await;
    cluster.set_up(false);
    let down = |error: PortError| matches!(error, PortError::Unavailable(_));
    assert!(down(cluster.commit(drop_of(name(1), 2)).await.unwrap_err()));
    assert!(down(cluster.heads().await.unwrap_err()));
    assert!(down(Store::read(&cluster, name(1)).await.unwrap_err()));
    assert!(down(cluster.list().await.unwrap_err()));
    assert!(cluster.subscribe().await.is_err());
    cluster.set_up(true);
    assert_eq!(value(&cluster, name(1)).await, Some(vec![5]));
}

#[tokio::test]
async fn values_are_bounded_and_logs_are_not_touched_for_them() {
    let limits = Limits {
        values: 10,
        ..Limits::default()
    };
    let cluster = Cluster::with(limits, Arc::new(SystemClock));
    cluster.commit(drop_of(name(0), 1)).await.unwrap();
    let head = cluster.heads().await.unwrap()[0];
    for n in 1..=100 {
        put(&cluster, name(n)).await;
        cluster.increment(name(n), 1, TTL).await.unwrap();
    }
    let held: usize = cluster.state().channels.iter().map(Channel::volatile).sum();
    assert!(held <= 10, "{held}");
    assert_eq!(cluster.heads().await.unwrap()[0], head);
}

#[tokio::test]
async fn logs_are_capped() {
    let limits = Limits {
        log_entries: 5,
        ..Limits::default()
    };
    let cluster = Cluster::with(limits, Arc::new(SystemClock));
    for n in 0..20 {
        cluster.commit(drop_of(name(0), n)).await.unwrap();
    }
    let start = Position {
        id: Default::default(),
        nonce: Nonce([0; 16]),
    };
    let slice = Log::read(&cluster, name(0).slot().channel, start, 100).await.unwrap();
    assert_eq!(slice.entries.len(), 5);
    assert_eq!(slice.first, Some(slice.entries[0].head.position));
    cluster.trim(name(0).slot().channel, 1);
    let slice = Log::read(&cluster, name(0).slot().channel, start, 100).await.unwrap();
    assert_eq!((slice.entries.len(), slice.head), (1, Some(slice.entries[0].head)));
}
