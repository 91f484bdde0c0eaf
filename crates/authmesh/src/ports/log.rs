//! The log: statements in an order that all nodes see, and the table of marks beside it.

use std::fmt;

use authmesh_proto::ident::{ChannelId, Digest, EntryName, Incarnation, Nonce, Position};
use authmesh_proto::log::{Head, LogEntry};
use authmesh_proto::marks::{Buckets, Digests};
use authmesh_proto::time::Unix;

use super::{BoxFuture, PortError};

/// A capped log and a table of marks for each of the 64 channels.
///
/// Atomicity: each method acts on one channel and is atomic there, [`Log::heads`] apart, which reads 64 channels one by
/// one. Reads come from primaries.
///
/// Cancel safety: a dropped read changes nothing; a dropped [`Log::commit`] or [`Log::mint`] may or may not be carried out.
pub trait Log: fmt::Debug + Send + Sync {
    /// Commits a statement: merges the mark into the table or deletes the L2 entry (or fill lease), **then** appends to the
    /// log, **then** rings the bell.
    ///
    /// A mark that is merged takes the past of its bucket with it: elements that expired more than an hour ago, by the clock
    /// of the log **and** by [`Commit::now`].
    ///
    /// Where the channel has no log yet, the entry is its first, with the incarnation [`Commit::birth`].
    ///
    /// # Errors
    /// [`PortError`], whose variant says whether the commit may have happened. Committing again is harmless: statements
    /// are idempotent. Use a new nonce.
    ///
    /// Where the slot is migrating, table or L2 entry may be out of reach. A bare entry takes the statement into the log
    /// then, and raises the L2 generation. That is the whole of a drop; of a mark it is [`PortError::Partly`].
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, PortError>>;

    /// The heads of all 64 channels, in order; `None` for a channel without a log.
    ///
    /// # Errors
    /// When not every one could be read.
    fn heads(&self) -> BoxFuture<'_, Result<Vec<Option<Head>>, PortError>>;

    /// The entries from `from` on (those whose stream ID is not less), oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// When the log could not be read.
    fn read(&self, channel: ChannelId, from: Position, limit: usize) -> BoxFuture<'_, Result<LogSlice, PortError>>;

    /// The head and the marks of a channel, as they stood at one instant. Buckets whose digest is the `known` one are left
    /// out, and named in [`MarkTable::same`]; `None` leaves nothing out.
    ///
    /// # Errors
    /// When they could not be read whole.
    fn load(&self, channel: ChannelId, known: Option<Digests>) -> BoxFuture<'_, Result<MarkTable, PortError>>;

    /// Appends an entry with a new incarnation, if the log's incarnation still is `expected` (`None`: if there is no log).
    /// Returns whether it was appended. Rings the bell if so. The log is never truncated. The root digest of the entry is made
    /// anew from the table as it is.
    ///
    /// # Errors
    /// [`PortError`], whose variant says whether it may have happened.
    fn mint(
        &self,
        channel: ChannelId,
        expected: Option<Incarnation>,
        incarnation: Incarnation,
        nonce: Nonce,
    ) -> BoxFuture<'_, Result<bool, PortError>>;

    /// Removes elements from a channel's table, those that still are exactly these: nobody with the keys can have written
    /// them. The head keeps its root; mint afterwards.
    ///
    /// # Errors
    /// [`PortError`]; some of them may be gone.
    fn purge(&self, channel: ChannelId, elements: Vec<StoredMark>) -> BoxFuture<'_, Result<(), PortError>>;
}

/// One commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The channel; the slot of everything in [`Commit::effect`].
    pub channel: ChannelId,
    /// Random, new for each attempt.
    pub nonce: Nonce,
    /// Incarnation of the log, should this be its first entry. Random.
    pub birth: Incarnation,
    /// Wall clock of the caller. Decides nothing alone.
    pub now: Unix,
    /// What happens before the entry is appended.
    pub effect: Effect,
    /// The sealed statement, at most [`MAX_PAYLOAD`](authmesh_proto::log::MAX_PAYLOAD) bytes.
    pub statement: Vec<u8>,
    /// An earlier attempt was answered with [`PortError::Partly`]: no second bare entry is appended.
    pub bare_done: bool,
}

/// What a commit changes beside the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Deletes the L2 entry or fill lease of this name.
    Drop(EntryName),
    /// Merges a mark into the table.
    Mark(StoredMark),
}

/// A mark as the table holds it. The table cannot read it; rank and digest let it merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMark {
    /// The hour in which the mark expires, in hours since the Unix epoch. The bucket is this number modulo
    /// [`BUCKETS`](authmesh_proto::marks::BUCKETS).
    pub hour: u64,
    /// Scope and exception: the field in the bucket.
    pub field: [u8; 33],
    /// Of two marks with the same field and hour the one with the greater rank stays.
    pub rank: u64,
    /// The element's contribution to the channel's root digest.
    pub digest: Digest,
    /// The sealed mark.
    pub sealed: Vec<u8>,
}

/// A commit that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The entry that was appended, with its head.
    pub entry: LogEntry,
    /// How many replicas confirmed that they hold it. 0 where there are none, or where none answered in time.
    pub replicas: u32,
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSlice {
    /// The last entry's head; `None` without a log.
    pub head: Option<Head>,
    /// The oldest entry that is still there.
    pub first: Option<Position>,
    /// The entries asked for.
    pub entries: Vec<LogEntry>,
}

/// A channel's marks at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkTable {
    /// The head at that instant.
    pub head: Option<Head>,
    /// Every mark of the channel, but for those of [`MarkTable::same`].
    pub marks: Vec<StoredMark>,
    /// The buckets whose digests are those that the caller knew.
    pub same: Buckets,
    /// The bare entries of the log that carry a statement, as far as they are young enough to matter: their marks may not
    /// be in the table yet, and are not in its digest then.
    pub bare: Vec<LogEntry>,
}
