//! Names, commits and marks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authmesh::ports::{Bus, BusEvent, BusStream, Commit, Effect, Log, StoredMark};
use authmesh_proto::ident::{ChannelId, Digest, EntryName, Incarnation, Nonce};
use authmesh_proto::log::{Head, LogEntry};
use authmesh_redis::RedisAdapter;
use tokio_stream::StreamExt;

/// Far more than anything here needs, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Long enough never to run out during a test.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
}

/// Asks again and again until the answer is yes.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, looking).await;
}

/// Bytes that were never used before in this process.
pub(crate) fn unique() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes
}

pub(crate) fn nonce() -> Nonce {
    Nonce(unique())
}

/// The channel of every test that needs but one.
pub(crate) fn channel() -> ChannelId {
    ChannelId::new(0).unwrap()
}

/// The slot of [`channel`] in a Redis Cluster: that of the tag `14`.
pub(crate) const SLOT: u16 = 115;

/// The entry `n` of [`channel`].
pub(crate) fn entry(n: u8) -> EntryName {
    let mut name = [n; 32];
    name[0] = 0;
    EntryName(name)
}

fn commit(effect: Effect) -> Commit {
    Commit {
        channel: channel(),
        nonce: nonce(),
        birth: Incarnation(unique()),
        now: 0,
        effect,
        statement: b"a sealed statement".to_vec(),
        bare_done: false,
    }
}

pub(crate) fn dropping(n: u8) -> Commit {
    commit(Effect::Drop(entry(n)))
}

/// A mark with a digest of its own.
pub(crate) fn mark(field: u8) -> StoredMark {
    StoredMark {
        hour: 40,
        field: [field; 33],
        rank: 1,
        digest: Digest(unique()),
        sealed: b"a sealed mark".to_vec(),
    }
}

pub(crate) fn marking(mark: &StoredMark) -> Commit {
    commit(Effect::Mark(mark.clone()))
}

/// Commits, and expects it to be carried out.
pub(crate) async fn commits(adapter: &RedisAdapter, commit: Commit) -> LogEntry {
    adapter.commit(commit).await.expect("the commit is carried out").entry
}

pub(crate) async fn head(adapter: &RedisAdapter) -> Option<Head> {
    adapter.heads().await.expect("heads can be read")[channel().index()]
}

/// The table of [`channel`], after a check that it is the one that the head tells of.
pub(crate) async fn table(adapter: &RedisAdapter) -> Vec<StoredMark> {
    let table = adapter.load(channel(), None).await.expect("the table can be loaded");
    let root = table
        .marks
        .iter()
        .fold(Digest::EMPTY, |root, mark| root.toggled(mark.digest));
    assert_eq!(
        table.head.map(|head| head.root),
        Some(root),
        "the head tells of this table"
    );
    table.marks
}

pub(crate) async fn subscribe(adapter: &RedisAdapter) -> BusStream {
    adapter.subscribe().await.expect("a subscription can be made")
}

pub(crate) async fn next(bells: &mut BusStream) -> BusEvent {
    soon("an event of the bus", bells.next())
        .await
        .expect("the stream goes on")
}

/// Listens past bells until the bus says that some may be missing.
pub(crate) async fn broken(bells: &mut BusStream) {
    while next(bells).await != BusEvent::Broken {}
}

/// Commits until a bell of one of the commits is heard.
pub(crate) async fn rings_again(adapter: &RedisAdapter, bells: &mut BusStream) {
    let ring = async {
        loop {
            let Ok(done) = adapter.commit(dropping(9)).await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let bell = BusEvent::Bell(done.entry.encode());
            let heard = async { while bells.next().await != Some(bell.clone()) {} };
            if tokio::time::timeout(Duration::from_millis(500), heard).await.is_ok() {
                return;
            }
        }
    };
    soon("a bell", ring).await;
}
