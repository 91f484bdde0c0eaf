//! What in Redis is sealed under which key. Envelopes are not opened.

use std::collections::BTreeMap;

use authmesh::ports::{Log, Members, PortError};
use authmesh::proto::crypto::{Kind, SealKeyId, key_of};
use authmesh::proto::ident::{ChannelId, Nonce, Position, StreamId};
use authmesh::proto::log::{LogEntry, Payload};
use authmesh::proto::time::Unix;

/// Log entries read at once.
const PAGE: usize = 512;
/// The most pages of one log: what is beyond was trimmed in no Redis that authmesh writes to.
const MAX_PAGES: usize = 1_000_000 / PAGE + 1;

/// What is sealed under one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) struct Use {
    /// Marks that have not expired.
    pub(in crate::cli) marks: u64,
    /// Registrations of members.
    pub(in crate::cli) members: u64,
    /// Statements in logs.
    pub(in crate::cli) statements: u64,
    /// When the newest of those statements was committed, by Redis' clock.
    pub(in crate::cli) newest: Option<Unix>,
}

/// What is sealed under which key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Count {
    pub(in crate::cli) keys: BTreeMap<SealKeyId, Use>,
    /// Values that are no envelopes: somebody else writes there.
    pub(in crate::cli) garbage: u64,
}

impl Count {
    fn add(&mut self, kind: Kind, envelope: &[u8], add: impl FnOnce(&mut Use)) {
        match key_of(kind, envelope) {
            Ok(id) => add(self.keys.entry(id).or_default()),
            Err(_) => self.garbage += 1,
        }
    }

    fn entry(&mut self, entry: &LogEntry) {
        // A bare entry may carry a statement, too; one that does not is no garbage.
        let sealed = match &entry.payload {
            Payload::Statement(sealed) | Payload::Bare(sealed) if !sealed.is_empty() => sealed,
            _ => return,
        };
        let at = entry.head.position.id.millis / 1000;
        self.add(Kind::Statement, sealed, |of| {
            of.statements += 1;
            of.newest = of.newest.max(Some(at));
        });
    }
}

/// Reads the tables of marks, the logs and the registrations, one channel after the other.
///
/// # Errors
/// When not everything could be read: a count that lacks something would let a key go too early.
pub(in crate::cli) async fn count(redis: &(impl Log + Members), now: Unix) -> Result<Count, PortError> {
    let mut count = Count::default();
    for channel in ChannelId::all() {
        let table = redis.load(channel, None).await?;
        for mark in table.marks.iter().filter(|mark| mark.hour.saturating_mul(3600) > now) {
            count.add(Kind::Mark, &mark.sealed, |of| of.marks += 1);
        }
        log(redis, channel, &mut count).await?;
    }
    for member in Members::list(redis).await? {
        count.add(Kind::Member, &member.sealed, |of| of.members += 1);
    }
    Ok(count)
}

async fn log(redis: &impl Log, channel: ChannelId, count: &mut Count) -> Result<(), PortError> {
    let mut from = Position {
        id: StreamId { millis: 0, sequence: 0 },
        nonce: Nonce([0; 16]),
    };
    for _ in 0..MAX_PAGES {
        let slice = redis.read(channel, from, PAGE).await?;
        // A page begins with the last entry of the one before.
        let last = from.id;
        let mut new = slice
            .entries
            .iter()
            .filter(|entry| entry.head.position.id > last)
            .peekable();
        if new.peek().is_none() {
            return Ok(());
        }
        for entry in new {
            count.entry(entry);
            from = entry.head.position;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use authmesh::KeyRing;
    use authmesh::memory::Cluster;
    use authmesh::ports::{Commit, Effect, StoredMark};
    use authmesh::proto::crypto::{Context, NONCE_BYTES, Sealer};
    use authmesh::proto::ident::{Digest, Incarnation};

    use super::*;

    const HOUR: u64 = 500_000;

    fn sealed(key: u8, kind: Kind) -> Vec<u8> {
        let ring = KeyRing::new([1; 32], [[key; 32]]).unwrap();
        Sealer::new(&ring, "c").seal(kind, &Context::new(), [0; NONCE_BYTES], b"x")
    }

    fn id(key: u8) -> SealKeyId {
        KeyRing::new([1; 32], [[key; 32]]).unwrap().key_ids().next().unwrap()
    }

    async fn mark(cluster: &Cluster, field: u8, hour: u64, key: u8, statement: Vec<u8>) {
        let commit = Commit {
            channel: ChannelId::new(5).unwrap(),
            nonce: Nonce([field; 16]),
            birth: Incarnation([9; 16]),
            effect: Effect::Mark(StoredMark {
                hour,
                field: [field; 33],
                rank: 1,
                digest: Digest([field; 16]),
                sealed: sealed(key, Kind::Mark),
            }),
            statement,
            now: 0,
            bare_done: false,
        };
        cluster.commit(commit).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_live_is_counted_under_its_key() {
        let cluster = Cluster::new();
        for field in 0..3 {
            mark(&cluster, field, HOUR + 1, 2, sealed(3, Kind::Statement)).await;
        }
        mark(&cluster, 3, HOUR + 1, 3, sealed(3, Kind::Statement)).await;
        mark(&cluster, 4, HOUR, 4, b"garbage".to_vec()).await;
        cluster.announce(vec![1], sealed(2, Kind::Member)).await.unwrap();
        cluster.announce(vec![2], sealed(2, Kind::Mark)).await.unwrap();

        let count = count(&cluster, HOUR * 3600).await.unwrap();
        let two = count.keys[&id(2)];
        assert_eq!((two.marks, two.members, two.statements, two.newest), (3, 1, 0, None));
        let three = count.keys[&id(3)];
        assert_eq!((three.marks, three.members, three.statements), (1, 0, 4));
        assert!(three.newest.is_some());
        assert!(!count.keys.contains_key(&id(4)), "its mark has expired");
        assert_eq!(
            count.garbage, 2,
            "a statement that is none, and a mark in place of a member"
        );
    }

    #[tokio::test]
    async fn a_log_of_several_pages_is_counted_once() {
        let cluster = Cluster::new();
        for _ in 0..(2 * PAGE + 3) {
            mark(&cluster, 0, HOUR + 1, 2, sealed(2, Kind::Statement)).await;
        }
        let count = count(&cluster, 0).await.unwrap();
        assert_eq!(count.keys[&id(2)].statements, (2 * PAGE + 3) as u64);
        assert_eq!(count.keys[&id(2)].marks, 1);
    }
}
