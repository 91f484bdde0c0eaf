//! One state of the world: Redis, two nodes, two fills.
//!
//! Entries of a log are named by small numbers that never come again, as nonces do; their stream ID is their place in the
//! log, which does come again after a failover. The fence is not counted: an entry or a fill is voided when a counter that
//! it captured moves, which is what comparing counters tells.

use crate::rules::{Rule, Rules};

/// Entries that a log may hold at once, lost ones included.
pub(crate) const ENTRIES: usize = 14;
/// Drops that are committed before a failover: each of two statements by its origin and by who heard it early, and once
/// more where a load overtook it.
pub(crate) const DROPS: usize = 6;
/// More mints than one failover can explain.
pub(crate) const MINTS: usize = 4;
/// No entry, no value, no call.
pub(crate) const NONE: u8 = 0xff;
/// A tag that was heard by a road without positions.
pub(crate) const UNPOSITIONED: u8 = 0xfe;
/// The channel of the key.
pub(crate) const KEY: usize = 0;

/// What a statement voids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    /// Drops the key.
    Drop,
    /// Voids the key's tag, which lives in this channel.
    Tag(usize),
    /// A revocation, in this channel: not about the fills, but never to be lost.
    Mark(usize),
    /// Drops some other key of this channel.
    Other(usize),
}

impl Body {
    pub(crate) const fn channel(self) -> usize {
        match self {
            Self::Drop => KEY,
            Self::Tag(channel) | Self::Mark(channel) | Self::Other(channel) => channel,
        }
    }

    pub(crate) const fn voids_key(self) -> bool {
        matches!(self, Self::Drop | Self::Tag(_))
    }

    pub(crate) const fn is_held(self) -> bool {
        matches!(self, Self::Tag(_) | Self::Mark(_))
    }
}

/// In how many steps a call happens: sent, carried out, answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Calls {
    /// All at once.
    OneStep,
    /// Sent and carried out at once, answered at any time after that.
    TwoSteps,
    /// Anything may happen in between.
    ThreeSteps,
}

/// What may happen in a run, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// The statements, in the order in which they are made. Each is made after its write to the source.
    pub(crate) bodies: &'static [Body],
    pub(crate) fills: usize,
    pub(crate) early: bool,
    pub(crate) failover: bool,
    /// Fill leases may run out at any time.
    pub(crate) expiry: bool,
    /// Reads of a log and of heads, loads, and the answers to commits.
    pub(crate) log_calls: Calls,
    /// Reads of L2; in one step also the call for the lease that follows a miss.
    pub(crate) l2_calls: Calls,
    pub(crate) rules: Rules,
}

impl Scenario {
    /// The version of the source after the first `made` statements.
    pub(crate) fn version(&self, made: u8) -> u8 {
        let made = self.bodies.iter().take(usize::from(made));
        made.filter(|body| body.voids_key()).count() as u8
    }

    pub(crate) fn body(&self, statement: u8) -> Body {
        self.bodies[usize::from(statement)]
    }

    /// The statements whose marks a table holds, as a mask.
    pub(crate) fn held(&self) -> u8 {
        (0_u8..)
            .zip(self.bodies)
            .filter(|(_, body)| body.is_held())
            .fold(0, |mask, (s, _)| mask | 1 << s)
    }

    pub(crate) fn tag_channel(&self) -> usize {
        let tag = self.bodies.iter().find(|body| matches!(body, Body::Tag(_)));
        tag.map_or(KEY, |body| body.channel())
    }

    pub(crate) fn has_tag(&self) -> bool {
        self.bodies.iter().any(|body| matches!(body, Body::Tag(_)))
    }

    pub(crate) fn channels(&self) -> usize {
        1 + self.bodies.iter().map(|body| body.channel()).max().unwrap_or(KEY)
    }

    pub(crate) const fn rule(&self, rule: Rule) -> bool {
        self.rules.has(rule)
    }
}

/// What a log entry says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Payload {
    /// The log's birth, or a new incarnation.
    Mint,
    Said(u8),
    /// The mark of this statement, committed again by whoever held it.
    Again(u8),
}

impl Payload {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Mint => 0,
            Self::Said(s) => 1 + s,
            Self::Again(s) => 3 + s,
        }
    }

    /// The statement whose mark it may carry, as a mask.
    pub(crate) const fn mark(self) -> u8 {
        match self {
            Self::Said(s) | Self::Again(s) => 1 << s,
            Self::Mint => 0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) previous: u8,
    /// Which mint it came after.
    pub(crate) incarnation: u8,
    pub(crate) payload: Payload,
}

impl Entry {
    pub(crate) const BIRTH: Self = Self {
        previous: NONE,
        incarnation: 0,
        payload: Payload::Mint,
    };
}

/// A channel's log: every entry that can still matter, and the head of what is there now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Log {
    pub(crate) entries: [Entry; ENTRIES],
    pub(crate) len: u8,
    pub(crate) head: u8,
    mints: u8,
    /// The marks of entries that are forgotten (see `canon.rs`).
    pub(crate) folded: u8,
}

impl Log {
    fn born() -> Self {
        Self {
            entries: [Entry::BIRTH; ENTRIES],
            len: 1,
            head: 0,
            mints: 0,
            folded: 0,
        }
    }

    pub(crate) fn entry(&self, at: u8) -> Entry {
        self.entries[usize::from(at)]
    }

    /// `at` and everything before it, newest first.
    pub(crate) fn back_from(&self, at: u8) -> impl Iterator<Item = u8> + '_ {
        let first = (at != NONE).then_some(at);
        std::iter::successors(first, |at| Some(self.entry(*at).previous).filter(|at| *at != NONE))
    }

    /// Whether the log up to `upto` holds `at`.
    pub(crate) fn holds(&self, upto: u8, at: u8) -> bool {
        let mut entry = upto;
        // Entries only get greater numbers.
        while entry != NONE && entry > at {
            entry = self.entry(entry).previous;
        }
        entry == at && at != NONE
    }

    /// The stream ID of an entry.
    pub(crate) fn id(&self, at: u8) -> usize {
        self.back_from(at).count()
    }

    pub(crate) fn incarnation(&self, at: u8) -> u8 {
        if at == NONE { NONE } else { self.entry(at).incarnation }
    }

    /// The statements whose marks the table holds when the log ends at `upto`.
    pub(crate) fn table(&self, upto: u8) -> u8 {
        self.back_from(upto)
            .fold(self.folded, |table, at| table | self.entry(at).payload.mark())
    }

    pub(crate) fn len(&self) -> u8 {
        self.len
    }

    pub(crate) fn is_full(&self) -> bool {
        usize::from(self.len) == ENTRIES
    }

    /// How often it was minted; counted no further than is wrong.
    pub(crate) fn mints(&self) -> usize {
        usize::from(self.mints)
    }

    pub(crate) fn append(&mut self, payload: Payload) -> u8 {
        let at = self.len;
        if payload == Payload::Mint {
            self.mints += 1;
        }
        let incarnation = match payload {
            Payload::Mint => self.mints,
            _ => self.incarnation(self.head),
        };
        self.entries[usize::from(at)] = Entry {
            previous: self.head,
            incarnation,
            payload,
        };
        self.len += 1;
        self.head = at;
        at
    }
}

/// What stands in L2 under the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Value {
    Empty,
    Lease {
        fill: u8,
        incarnation: u8,
    },
    Record {
        version: u8,
        incarnation: u8,
        /// What its filler had applied in the tag's channel.
        tag: u8,
    },
}

/// What a node knows of a statement.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Known {
    /// Nothing.
    Unheard,
    /// An early copy came. Somebody else commits it.
    Heard,
    /// It is in force here, and this node is about to commit it.
    Waiting,
    /// This node committed it in this entry, and has no answer yet.
    Sent(u8),
    /// .. and has the answer. The follower has not met it.
    Answered,
    /// The follower has met it.
    Positioned,
}

impl Known {
    pub(crate) const fn awaits_position(self) -> bool {
        matches!(self, Self::Heard | Self::Waiting | Self::Sent(_) | Self::Answered)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Purpose {
    Adopt,
    BeforeMint,
}

/// Mirrors the phases of `follower/channel.rs`, with the call that is under way. `fixed` is the head that the answer will
/// show, once the call was carried out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    Current,
    Suspect,
    Reading {
        /// The watermark when the call was sent; `NONE` if the node has adopted since.
        asked: u8,
        fixed: u8,
    },
    Loading {
        purpose: Purpose,
        fixed: u8,
    },
    Recommitting {
        expected: u8,
    },
    Minting {
        expected: u8,
    },
}

/// One node's follower of one channel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Follow {
    pub(crate) watermark: u8,
    /// The oldest remembered position.
    pub(crate) base: u8,
    pub(crate) phase: Phase,
    /// A comparison of heads that is under way: sent at, and carried out at. Slow calls only.
    pub(crate) heads: Option<(u8, u8)>,
    /// Recommits on their way, oldest first: the statements whose marks are committed; `NONE` for no job.
    pub(crate) jobs: [u8; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Node {
    pub(crate) follow: [Follow; 2],
    pub(crate) known: [Known; 2],
    /// The statements whose marks this node holds.
    pub(crate) held: u8,
    /// The position of the newest statement about the tag: an entry, `NONE`, or `UNPOSITIONED`.
    pub(crate) tag: u8,
    /// The version that a read which begins now must get, at least: what was applied says so.
    pub(crate) need: u8,
    /// The version of the valid entry in memory.
    pub(crate) l1: u8,
}

/// Where a fill is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
    Unused,
    /// The read of L2 was sent.
    Asked,
    /// .. and carried out: the head, and what stood there.
    Fetched(u8, Value),
    /// It was answered, and nothing in it counts. `Some`: the record with this tag position and version is void, and may be
    /// replaced.
    Missed(Option<(u8, u8)>),
    /// Another fill has the lease; this one waits until it is gone.
    Held,
    /// The source was read: its version, and the incarnation of the lease or `NONE`.
    Loaded(u8, u8),
    Done,
}

/// One fill: a flight, from the first caller to the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Fill {
    pub(crate) stage: Stage,
    pub(crate) node: u8,
    /// What its callers must get, at least.
    pub(crate) need: u8,
    /// A fence counter that it captured has moved.
    pub(crate) voided: bool,
    /// A statement about the key had no position when it asked L2.
    pub(crate) awaited: bool,
    /// The watermark when it asked L2; `NONE` if the node has adopted since.
    pub(crate) asked: u8,
    /// The incarnation of the key's channel that it captured.
    pub(crate) captured: u8,
    /// The watermark of the tag's channel that it captured.
    pub(crate) tag: u8,
    /// It has waited once.
    pub(crate) waited: bool,
}

impl Fill {
    pub(crate) const UNUSED: Self = Self {
        stage: Stage::Unused,
        node: 0,
        need: 0,
        voided: false,
        awaited: false,
        asked: NONE,
        captured: NONE,
        tag: NONE,
        waited: false,
    };

    /// Whether callers can still join it.
    pub(crate) fn flies(&self) -> bool {
        !matches!(self.stage, Stage::Unused | Stage::Done)
    }
}

/// What a failover would bring back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Failover {
    /// It may come: what each committed drop has deleted, in the order of the commits.
    Ahead([Value; DROPS]),
    /// It was, or never will be.
    Past,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) logs: [Log; 2],
    pub(crate) value: Value,
    pub(crate) failover: Failover,
    /// Statements that were made.
    pub(crate) made: u8,
    pub(crate) nodes: [Node; 2],
    pub(crate) fills: [Fill; 2],
}

impl State {
    /// Both nodes have joined, nothing was said, nothing was read.
    pub(crate) fn first(failover: bool) -> Self {
        let follow = Follow {
            watermark: 0,
            base: 0,
            phase: Phase::Current,
            heads: None,
            jobs: [NONE; 2],
        };
        let node = Node {
            follow: [follow; 2],
            known: [Known::Unheard; 2],
            held: 0,
            tag: NONE,
            need: 0,
            l1: NONE,
        };
        Self {
            logs: [Log::born(); 2],
            value: Value::Empty,
            failover: if failover {
                Failover::Ahead([Value::Empty; DROPS])
            } else {
                Failover::Past
            },
            made: 0,
            nodes: [node; 2],
            fills: [Fill::UNUSED; 2],
        }
    }
}
