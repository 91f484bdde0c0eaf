//! What the follower is told, and what it says.

use alloc::vec::Vec;
use core::time::Duration;

use crate::crypto::OpenError;
use crate::ident::{ChannelId, Incarnation, Position, StatementName};
use crate::log::Head;
use crate::statement::{Statement, StatementError};
use crate::time::Moment;

/// Periods of the follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerConfig {
    /// How often heads are compared, bells or not. Default: 1 s.
    pub watermark_period: Duration,
    /// How long a node may trust its memory after its watermarks were last proven current. Default: 3 s.
    pub lease: Duration,
    /// The least time between two repairs of a channel. Default: 50 ms.
    pub repair_period: Duration,
    /// The least time between two mints of a channel by this node. Default: 10 s.
    pub mint_period: Duration,
    /// The wait after a failed read. Default: 250 ms.
    pub retry_period: Duration,
    /// How often the table of marks of one channel is compared with what the node holds; all 64 take their turns. The
    /// follower leaves that to its driver. Default: 5 s.
    pub audit_period: Duration,
}

impl Default for FollowerConfig {
    fn default() -> Self {
        Self {
            watermark_period: Duration::from_secs(1),
            lease: Duration::from_secs(3),
            repair_period: Duration::from_millis(50),
            mint_period: Duration::from_secs(10),
            retry_period: Duration::from_millis(250),
            audit_period: Duration::from_secs(5),
        }
    }
}

/// A log entry after the driver has tried to open it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenedEntry {
    /// The channel.
    pub channel: ChannelId,
    /// The entry's head.
    pub head: Head,
    /// What was inside.
    pub payload: OpenedPayload,
}

/// What was inside a log entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpenedPayload {
    /// A statement.
    Statement(Statement),
    /// A statement whose mark is not in the table yet.
    Bare(Statement),
    /// Nothing to apply: an empty bare entry, or a mint.
    Nothing,
    /// It did not open, or this version does not know it. Not a miss: the channel renews no lease.
    Refused(Refused),
}

/// Why an entry cannot be applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The envelope did not open.
    Sealed(OpenError),
    /// It opened, and what it says is unknown or malformed.
    Statement(StatementError),
}

/// A part of a channel's log, read from the watermark on (inclusive).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// The last entry of the whole log; `None` when there is no log.
    pub head: Option<Head>,
    /// The first entry that the log still holds.
    pub first: Option<Position>,
    /// The entries whose stream ID is at or after the watermark's, oldest first; possibly not up to the head.
    pub entries: Vec<OpenedEntry>,
}

/// What came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A bell rang.
    Bell(OpenedEntry),
    /// The bells' connection was lost or made anew: some may be missing.
    BellsBroken,
    /// Heads of all channels, in order, read from primaries. `None`: the read failed.
    Heads(Moment, Option<Vec<Option<Head>>>),
    /// A part of a log. `None`: the read failed.
    Slice(ChannelId, Moment, Option<Slice>),
    /// The marks of a channel were loaded and **merged into this node's marks**; the head they belong to. Outer `None`:
    /// the load failed, or its digest did not match.
    Loaded(ChannelId, Moment, Option<Option<Head>>),
    /// The table of marks of a channel contradicts its head: marks are missing from it, or were altered. What did open was
    /// **merged into this node's marks**.
    Damaged(ChannelId, Option<Head>),
    /// The marks that the log lacked were committed (`true`), or not all of them (`false`).
    Recommitted(ChannelId, bool),
    /// A mint was tried; whether it is known to have won. The follower reads the log again in any case.
    Minted(ChannelId, bool),
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Read the heads of all channels from primaries; answer with [`Input::Heads`].
    ReadHeads,
    /// Read a log from a position on, inclusive; answer with [`Input::Slice`].
    ReadLog(ChannelId, Position),
    /// Load a channel's marks and head in one consistent view; merge the marks, remember which the log lacks; answer
    /// with [`Input::Loaded`].
    Load(ChannelId),
    /// Commit the marks that the last load found lacking; answer with [`Input::Recommitted`].
    Recommit(ChannelId),
    /// Append a new incarnation if the log's is still the given one (`None`: if there is no log); answer with
    /// [`Input::Minted`].
    Mint(ChannelId, Option<Incarnation>),
    /// The statement that is applied next stands in the log, but its mark not yet in the table: whoever made it goes on
    /// committing it.
    Unmerged(StatementName),
    /// Apply a logged statement: change the map, then bump.
    Apply(Statement, Incarnation, Position),
    /// Bump the whole channel in the fence.
    BumpChannel(ChannelId),
    /// Tell the operator.
    Tell(Event),
}

/// What an operator wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The channel's watermark is not proven; it is being repaired.
    Suspect(ChannelId),
    /// The channel follows a new incarnation.
    Adopted(ChannelId),
    /// The log was trimmed past the watermark; marks were loaded anew.
    Reloaded(ChannelId),
    /// The log lost writes that this node had applied.
    LostWrites(ChannelId),
    /// An entry did not open.
    Refused(ChannelId, Refused),
    /// The table of marks contradicted its head; this node puts back what it holds.
    Damaged(ChannelId),
}
