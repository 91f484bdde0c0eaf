//! What members say to each other: requests, their answers, and broadcast items.
//!
//! Everything here travels sealed, between members that have proven that they hold the key ring. It is bounded all the same:
//! a member may be broken.

use alloc::string::String;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::ident::{ChannelId, Digest, Origin, StatementName};
use crate::marks::BUCKETS;
use crate::statement::{Mark, MarkKey};
use crate::wire::{self, WireError};

/// The most confirmations that one [`Ask`] wants: a bit each.
pub(super) const MAX_CONFIRM: usize = 64;
/// The most that an [`Ask`] and an [`Item`] take, in bytes: they travel as datagrams.
pub(super) const SMALL_BYTES: usize = 1200;
/// The most a page of a large answer takes, in bytes.
pub(super) const PAGE_BYTES: usize = 512 << 10;

/// A member, as members name it to each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Peer {
    /// This start of it.
    pub origin: Origin,
    /// Where its datagrams and streams go: an IP address and a port.
    pub address: String,
    /// Its configured name.
    pub name: String,
}

/// The name of a statement, on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Name {
    origin: Origin,
    channel: u8,
    counter: u64,
}

impl From<StatementName> for Name {
    fn from(name: StatementName) -> Self {
        Self {
            origin: name.origin,
            channel: name.channel.number(),
            counter: name.counter,
        }
    }
}

impl Name {
    /// Before every name.
    pub(super) const FIRST: Self = Self {
        origin: Origin([0; 16]),
        channel: 0,
        counter: 0,
    };

    pub(super) fn get(self) -> Option<StatementName> {
        Some(StatementName {
            origin: self.origin,
            channel: ChannelId::new(self.channel)?,
            counter: self.counter,
        })
    }
}

/// The name of something that voided a whole channel: the incarnation that was adopted, or any other random number. Voiding
/// twice under one name is voiding once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct VoidId(pub [u8; 16]);

/// Something that a node has applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Change {
    /// A statement.
    Statement(Name),
    /// Marks whose statements it does not know came into this bucket.
    Marks {
        /// The channel.
        channel: u8,
        /// The bucket.
        bucket: u8,
    },
    /// A whole channel was voided.
    Void {
        /// The channel.
        channel: u8,
        /// By what.
        id: VoidId,
    },
}

/// The small question: what have you applied since?
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Ask {
    /// The version of the answerer's changes that the asker has applied whole; 0: none.
    pub since: u64,
    /// Statements of the asker, for the answerer to apply.
    pub push: Vec<Vec<u8>>,
    /// Statements of the asker: has the answerer applied them?
    pub confirm: Vec<(u8, u64)>,
    /// Whether the asker needs evidence of others: it has no fresh proof by Redis. A byte for each member is much in a large
    /// cluster.
    pub evidence: bool,
}

/// The answer to [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Tell {
    /// What the answerer proves.
    pub state: State,
    /// What it has applied since; `None`: too much for a small answer, or too long ago.
    pub changes: Option<Vec<Change>>,
    /// The statements of `changes`, as far as there is room.
    pub statements: Vec<Vec<u8>>,
    /// Which of the asked statements are applied, one bit each from the lowest.
    pub confirmed: u64,
}

/// What an answerer says of itself with each answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct State {
    /// Who answers: at an address another one may live by now.
    pub origin: Origin,
    /// The version of its changes.
    pub version: u64,
    /// How many statements it has said.
    pub said: u64,
    /// How many statements of the asker it has applied: as many as that has said are all of them.
    pub yours: u64,
    /// Whether the asker is in its view.
    pub knows_you: bool,
    /// Whether it is coherent.
    pub coherent: bool,
    /// Whether it holds a view in which it is a member: it has been coherent, or was taken in.
    pub joined: bool,
    /// The digest of its view.
    pub view: u64,
    /// How old its newest proof by Redis is, its own or a relayed one, in milliseconds.
    pub redis_age: Option<u32>,
    /// How old its evidence of each member is, in the order of its view, in steps of 20 ms, rounded up; 255: none, or too old. The
    /// answerer itself has 0. Empty where it was not asked for.
    pub evidence: Vec<u8>,
    /// The wire versions that it speaks, and the statement kinds that it knows.
    pub speaks: Speaks,
}

/// What a member understands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Encode, Decode)]
pub struct Speaks {
    /// Wire versions.
    pub versions: Vec<u8>,
    /// Statement kinds.
    pub kinds: Vec<u16>,
}

/// What an asker knows of the statements of one origin in one channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Counted {
    /// The origin.
    pub origin: Origin,
    /// Per channel: every counter up to here, and those beyond.
    pub channels: Vec<(u8, u64, Vec<u64>)>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Request {
    /// A small question.
    Ask(Ask),
    /// All changes since a version, but for statements that the asker counts already. Answered by pages.
    Changes {
        /// The version.
        since: u64,
        /// What the asker has applied: of many that say the same, only the first has to send it.
        counters: Vec<Counted>,
    },
    /// Compare everything.
    Everything {
        /// What the asker knows.
        counters: Vec<Counted>,
        /// Digests of its buckets, 32 for each of the 64 channels.
        digests: Vec<Digest>,
        /// Statements behind this one, for a further page.
        after: Option<Name>,
    },
    /// The marks of these buckets (channel, bucket, the asker's digest), where the digest is another one.
    Buckets {
        /// The buckets.
        buckets: Vec<(u8, u8, Digest)>,
        /// In the first of them, marks behind this one.
        after: Option<MarkKey>,
    },
    /// The view.
    View,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// To [`Request::Ask`].
    Tell(Tell),
    /// To [`Request::Changes`].
    Changes {
        /// The changes up to this version are all there.
        reached: u64,
        /// The changes; `None`: `since` is too long ago.
        changes: Option<Vec<Change>>,
        /// Their statements.
        statements: Vec<Vec<u8>>,
    },
    /// To [`Request::Everything`].
    Everything {
        /// What the answerer proves.
        state: State,
        /// What it knows.
        counters: Vec<Counted>,
        /// Statements that the asker lacks.
        statements: Vec<Vec<u8>>,
        /// Where the next page begins.
        next: Option<Name>,
        /// Buckets that differ.
        differing: Vec<(u8, u8)>,
        /// Channels that wait for a mint.
        dirty: Vec<u8>,
    },
    /// To [`Request::Buckets`].
    Buckets {
        /// The marks.
        marks: Vec<Mark>,
        /// The bucket and mark behind which the next page begins: so many buckets of the request are done.
        next: Option<(u32, Option<MarkKey>)>,
    },
    /// To [`Request::View`].
    View {
        /// The members.
        members: Vec<Peer>,
        /// Those that left, or were forgotten.
        gone: Vec<Origin>,
    },
}

impl Request {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::frame(&[], self)
    }

    /// Reads what [`Request::encode`] wrote.
    ///
    /// # Errors
    /// When it is anything else, or of a version that is not spoken here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::unframe(&[], bytes)
    }
}

impl Answer {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::frame(&[], self)
    }

    /// Reads what [`Answer::encode`] wrote.
    ///
    /// # Errors
    /// When it is anything else, or of a version that is not spoken here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::unframe(&[], bytes)
    }
}

/// A broadcast item: encoded statements.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Item {
    /// The statements.
    pub statements: Vec<Vec<u8>>,
}

impl Item {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::frame(&[], self)
    }

    /// Reads what [`Item::encode`] wrote.
    ///
    /// # Errors
    /// When it is anything else, or of a version that is not spoken here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::unframe(&[], bytes)
    }
}

/// A bucket that exists.
pub(super) fn bucket(channel: u8, bucket: u8) -> Option<(ChannelId, usize)> {
    let bucket = usize::from(bucket);
    (bucket < BUCKETS).then_some((ChannelId::new(channel)?, bucket))
}
