//! Names, commits and values for the suites. Every nonce and every digest is another one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authmesh::ports::{Commit, Committed, Effect, LeaseOutcome, StoredMark};
use authmesh_proto::ident::{ChannelId, Digest, EntryName, Incarnation, Nonce};
use authmesh_proto::log::Head;
use authmesh_proto::record::{Content, Stored};

use super::Peer;

/// Long enough never to run out during a check.
pub(super) const LONG: Duration = Duration::from_secs(600);
/// Short enough to wait for.
pub(super) const SHORT: Duration = Duration::from_millis(80);

/// Bytes that were never used before in this process.
pub(super) fn unique() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    // Spread, so that no two share a prefix by being neighbours.
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    bytes
}

pub(super) fn nonce() -> Nonce {
    Nonce(unique())
}

pub(super) fn incarnation() -> Incarnation {
    Incarnation(unique())
}

pub(super) fn channel(number: u8) -> ChannelId {
    ChannelId::new(number).expect("a channel is below 64")
}

/// The entry `n` of a channel.
pub(super) fn entry(channel: ChannelId, n: u8) -> EntryName {
    let mut name = [n; 32];
    // The first six bits of a name are its channel.
    name[0] = channel.number() << 2;
    let name = EntryName(name);
    assert_eq!(name.slot().channel, channel);
    name
}

pub(super) fn commit(channel: ChannelId, effect: Effect, statement: impl Into<Vec<u8>>) -> Commit {
    Commit {
        channel,
        nonce: nonce(),
        birth: incarnation(),
        now: 0,
        effect,
        statement: statement.into(),
        bare_done: false,
    }
}

/// A commit that drops a name.
pub(super) fn dropping(name: EntryName) -> Commit {
    commit(name.slot().channel, Effect::Drop(name), *b"a sealed drop")
}

/// A mark with a digest of its own. `sealed` says which one it is.
pub(super) fn mark(hour: u64, field: u8, rank: u64) -> StoredMark {
    StoredMark {
        hour,
        field: [field; 33],
        rank,
        digest: Digest(unique()),
        sealed: format!("mark {hour} {field} {rank}").into_bytes(),
    }
}

/// A commit of a mark.
pub(super) fn marking(channel: ChannelId, mark: &StoredMark) -> Commit {
    commit(channel, Effect::Mark(mark.clone()), *b"a sealed mark")
}

/// The XOR of the digests of marks.
pub(super) fn root<'a>(marks: impl IntoIterator<Item = &'a StoredMark>) -> Digest {
    marks
        .into_iter()
        .fold(Digest::EMPTY, |root, mark| root.toggled(mark.digest))
}

/// A record for a channel whose head is `head`. The store never looks behind the clear part.
pub(super) fn record(head: &Head, content: impl Into<Vec<u8>>) -> Vec<u8> {
    let stored = Stored {
        incarnation: head.incarnation,
        generation: head.generation,
        content: Content::Record {
            expires: 4_000_000_000,
            sealed: content.into(),
        },
    };
    stored.encode()
}

impl Peer {
    /// Commits, and expects it to be carried out.
    pub(super) async fn commits(&self, commit: Commit) -> Committed {
        self.log.commit(commit).await.expect("the commit is carried out")
    }

    /// Gives a channel a log, by a drop of a name that no check uses.
    pub(super) async fn bears(&self, channel: ChannelId) -> Head {
        self.commits(dropping(entry(channel, 0xff))).await.entry.head
    }

    /// The heads of all channels.
    pub(super) async fn heads(&self) -> Vec<Option<Head>> {
        self.log.heads().await.expect("heads can be read")
    }

    /// The head of a channel that has a log.
    pub(super) async fn head(&self, channel: ChannelId) -> Head {
        self.heads().await[channel.index()].expect("the channel has a log")
    }

    /// The value under a name.
    pub(super) async fn value(&self, name: EntryName) -> Option<Vec<u8>> {
        self.store.read(name).await.expect("a name can be read").value
    }

    /// Asks for a lease.
    pub(super) async fn asks(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> LeaseOutcome {
        self.store
            .lease(name, nonce, None, ttl)
            .await
            .expect("a lease can be asked for")
    }

    /// Takes a lease for long, and expects it to be free.
    pub(super) async fn takes(&self, name: EntryName) -> Nonce {
        let nonce = nonce();
        let outcome = self.asks(name, nonce, LONG).await;
        assert!(
            matches!(outcome, LeaseOutcome::Taken(..)),
            "the lease is free: {outcome:?}"
        );
        nonce
    }

    /// Stores a value under an own lease. Whether it was stored.
    pub(super) async fn stores(&self, name: EntryName, nonce: Nonce, value: Vec<u8>) -> bool {
        self.store
            .store(name, nonce, value, LONG)
            .await
            .expect("the store answers")
    }

    /// Puts a value under a name, by a lease. Returns it.
    pub(super) async fn fills(&self, name: EntryName, content: &str) -> Vec<u8> {
        let nonce = self.takes(name).await;
        let value = record(&self.head(name.slot().channel).await, content);
        assert!(
            self.stores(name, nonce, value.clone()).await,
            "an own lease allows the store"
        );
        value
    }

    /// Appends a new incarnation to a channel that has a log, which makes its values outdated.
    pub(super) async fn renames(&self, channel: ChannelId) -> Head {
        let expected = self.head(channel).await.incarnation;
        let minted = self.log.mint(channel, Some(expected), incarnation(), nonce()).await;
        assert_eq!(minted, Ok(true), "a mint with the present incarnation wins");
        self.head(channel).await
    }
}
