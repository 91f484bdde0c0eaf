//! What the gossip machine is told, and what it says.

use alloc::vec::Vec;
use core::time::Duration;

use super::message::{Peer, Speaks, VoidId};
use crate::ident::{ChannelId, Origin, StatementName};
use crate::statement::{Mark, Statement};
use crate::time::Moment;

/// Periods and limits of the gossip machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipConfig {
    /// How often others are asked what they have applied. Default: 200 ms.
    pub period: Duration,
    /// How many members are asked each time. Default: 3.
    pub fanout: usize,
    /// How many members a new statement is pushed to at its birth. Default: 16.
    pub push_to: usize,
    /// How long a node may trust its memory after its evidence. Default: 3 s.
    pub lease: Duration,
    /// How long an applied statement is kept to repair others. Default: 10 min.
    pub ring_life: Duration,
    /// How many statements, and how many changes, are kept. Default: 32,768.
    pub ring_cap: usize,
    /// How long a lease by gossip alone goes on after the newest proof by Redis. Default: 1 h.
    pub redis_limit: Duration,
    /// How long a node's own registration counts after it was written: without, its proofs by Redis give no lease, since others
    /// may hold it to be gone. Default: 30 s.
    pub registration_life: Duration,
    /// After how long a member whose registration stands still, and whom SWIM has given up, is not a member any more. More than
    /// `registration_life`. Default: 35 s.
    pub gone_after: Duration,
    /// Whether the cluster has a log (Redis). Without, no statement ever has a position. Default: yes.
    pub has_log: bool,
    /// Without a log: how many members must have found each other before they call themselves a cluster. Default: 1.
    pub expect: usize,
    /// The most members. Default: 1,024.
    pub member_cap: usize,
    /// The most origins whose statements are counted: their counters fit one message. Default: 2,048.
    pub origin_cap: usize,
    /// Chooses whom to ask.
    pub seed: u64,
    /// What this node understands.
    pub speaks: Speaks,
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self {
            period: Duration::from_millis(200),
            fanout: 3,
            push_to: 16,
            lease: Duration::from_secs(3),
            ring_life: Duration::from_secs(600),
            ring_cap: 32_768,
            redis_limit: Duration::from_secs(3600),
            registration_life: Duration::from_secs(30),
            gone_after: Duration::from_secs(35),
            has_log: true,
            expect: 1,
            member_cap: 1024,
            origin_cap: 2048,
            seed: 0,
            speaks: Speaks::default(),
        }
    }
}

/// A member's registration in Redis, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The member; its address is empty where it has no gossip.
    pub peer: Peer,
    /// How long its record has stood still, by this node's clock.
    pub still_for: Duration,
    /// Whether the record was seen to move: not whether it was there at the first look.
    pub moves: bool,
    /// Whether it says that this node is in its view.
    pub knows_me: bool,
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// SWIM has found a member.
    Up(Peer),
    /// SWIM has given a member up.
    Down(Origin),
    /// A member said good-bye, or an operator forgets it.
    Gone(Origin),
    /// All registrations, as Redis held them; the instant before the read.
    Registered(Moment, Vec<Registered>),
    /// This node's registration was written; the instant before the write.
    Announced(Moment),
    /// The follower's newest proof: the least, over all channels, of the instants before the reads that proved them. All
    /// marks were loaded from Redis.
    Proven(Moment),
    /// A statement was made here, and is in force here.
    Said(Statement),
    /// Somebody waits until every member of the view has applied a statement of this node.
    Await(StatementName),
    /// Nobody waits any more.
    Unawait(StatementName),
    /// The follower has applied a statement: it has a position.
    Logged(Statement),
    /// A whole channel was voided here, for this reason.
    Voided(ChannelId, VoidId),
    /// Marks whose statements are not known came into a bucket: from a table, or from another member.
    Merged(ChannelId, usize),
    /// The channels that wait for a mint.
    Dirty(Vec<ChannelId>),
    /// A broadcast item.
    Item(Vec<u8>),
    /// A member asks.
    Asked {
        /// Goes back with the answer.
        token: u64,
        /// Who asks.
        from: Peer,
        /// The request.
        request: Vec<u8>,
        /// The most that the answer may have, in bytes.
        limit: usize,
    },
    /// A member answered, or did not.
    Answered {
        /// The exchange.
        exchange: u64,
        /// The answer; `None`: none came.
        answer: Option<Vec<u8>>,
    },
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send an item to everybody, best effort.
    Broadcast(Vec<u8>),
    /// Ask a member by datagram; answer with [`Input::Answered`].
    Ask {
        /// The exchange.
        exchange: u64,
        /// Whom.
        to: Peer,
        /// The request.
        request: Vec<u8>,
    },
    /// Ask a member by stream; answer with [`Input::Answered`].
    Pull {
        /// The exchange.
        exchange: u64,
        /// Whom.
        to: Peer,
        /// The request.
        request: Vec<u8>,
    },
    /// The answer to a member that asked.
    Answer {
        /// That of [`Input::Asked`].
        token: u64,
        /// The answer.
        answer: Vec<u8>,
    },
    /// Apply a statement that came by gossip: change the map, then bump. Where there is a log it has no position yet.
    Apply(Statement),
    /// Merge marks; then say with [`Input::Merged`] which buckets they changed.
    Merge(Vec<Mark>),
    /// Bump a whole channel in the fence.
    BumpChannel(ChannelId),
    /// Something in the channel is void that no statement names any more: it must be voided on every node, by a mint.
    Soil(ChannelId),
    /// A statement without a position has left the ring after its channel was soiled: nobody waits for its position.
    Forget(StatementName),
    /// A member has confirmed that it applied a statement of this node.
    Confirmed {
        /// The statement.
        name: StatementName,
        /// Whether every member of the view has now.
        whole: bool,
    },
    /// Tell the operator.
    Tell(Event),
}

/// What an operator wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A member came into the view.
    Joined(Peer),
    /// A member left the view: it said good-bye, was forgotten, came back under a new start, or is gone for longer than it can
    /// hold a lease.
    Left(Origin),
    /// This node was taken in: it may be coherent from now on.
    TakenIn,
    /// This node was forgotten by an operator, or another start of it has its place. It stays blind; start it anew.
    Forgotten,
    /// Everything was compared with this member, and what was lacking taken over.
    TakenOver(Origin),
    /// A statement is lost: no member has it.
    LostStatement(StatementName),
    /// A member said what cannot be. Nothing was changed.
    Malformed(Origin),
    /// A member has applied a statement that this version does not know: no evidence comes from it.
    UnknownKind(Origin, u16),
    /// A statement was refused: its expiry, or its `not_before`, is absurd.
    Absurd(StatementName),
    /// A member counts statements of another one that this one never said.
    Lied(Origin),
    /// The ring has no room for a statement that has no position; its channel was soiled.
    Overflow(ChannelId),
}

/// Who has confirmed a statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confirmations {
    /// Members of the view that have applied it; not this node.
    pub confirmed: Vec<Peer>,
    /// Members of the view of whom that is not known.
    pub missing: Vec<Peer>,
}
