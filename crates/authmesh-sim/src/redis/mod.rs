//! A model of Redis Cluster: primaries that own channels, each with a replica that lags.
//!
//! The shared in-memory cluster of the SDK is the specification of each script; what is added here is what a cluster can
//! suffer: a replica that takes over without the newest scripts, a deposed primary that goes on answering for a while,
//! slots that move, a wipe.

mod channel;

use std::collections::VecDeque;
use std::rc::Rc;

use authmesh_proto::fill::LeaseOutcome;
use authmesh_proto::ident::{CHANNELS, ChannelId, EntryName, Incarnation, Nonce, Origin, Position};
use authmesh_proto::log::Head;
use authmesh_proto::statement::{Mark, Statement};

pub use channel::{Effect, Entry, Payload, Record, Script, State};

use crate::clock::{MS, True};

/// Log entries read at once.
pub const READ_LIMIT: usize = 512;
/// How many scripts a replica may lag behind.
const LONGEST_LAG: usize = 64;

/// One call.
#[derive(Debug, Clone)]
pub enum Op {
    /// Heads of every channel of one primary.
    Heads,
    /// A part of a log.
    Read(ChannelId, Position),
    /// Head and table of marks at one instant.
    Load(ChannelId),
    /// Commit a statement.
    Commit {
        /// The statement.
        statement: Statement,
        /// The attempt's nonce.
        nonce: Nonce,
        /// The incarnation, should there be no log.
        birth: Incarnation,
        /// It stands in the log already.
        announced: bool,
    },
    /// Append a new incarnation.
    Mint {
        /// The channel.
        channel: ChannelId,
        /// The incarnation that must stand there.
        expected: Option<Incarnation>,
        /// The new one.
        incarnation: Incarnation,
        /// The entry's nonce.
        nonce: Nonce,
    },
    /// Head and value.
    Look(EntryName),
    /// Take a fill lease.
    Lease {
        /// The entry.
        name: EntryName,
        /// The filler.
        nonce: Nonce,
        /// A value that may give way.
        over: Option<Vec<u8>>,
        /// In nanoseconds.
        ttl: u64,
    },
    /// Prolong a fill lease.
    Renew {
        /// The entry.
        name: EntryName,
        /// The filler.
        nonce: Nonce,
        /// In nanoseconds.
        ttl: u64,
    },
    /// Replace a lease by a value.
    Store {
        /// The entry.
        name: EntryName,
        /// The filler.
        nonce: Nonce,
        /// The bytes.
        value: Vec<u8>,
        /// In nanoseconds.
        ttl: u64,
    },
    /// Write a member's record.
    Announce(Origin, Record),
    /// All members' records.
    List,
    /// Give a lease back.
    Release {
        /// The entry.
        name: EntryName,
        /// The filler.
        nonce: Nonce,
    },
}

impl Op {
    /// The channel that it concerns; `None`: all of a primary.
    #[must_use]
    pub fn channel(&self) -> Option<ChannelId> {
        match self {
            Self::Heads => None,
            Self::Announce(..) | Self::List => ChannelId::new(0),
            Self::Read(channel, _) | Self::Load(channel) | Self::Mint { channel, .. } => Some(*channel),
            Self::Commit { statement, .. } => Some(statement.name.channel),
            Self::Look(name)
            | Self::Lease { name, .. }
            | Self::Renew { name, .. }
            | Self::Store { name, .. }
            | Self::Release { name, .. } => Some(name.slot().channel),
        }
    }
}

/// A part of a log.
#[derive(Debug, Clone)]
pub struct SliceOf {
    /// The last entry.
    pub head: Option<Head>,
    /// The first entry.
    pub first: Option<Position>,
    /// Entries from the asked position on.
    pub entries: Vec<Rc<Entry>>,
}

/// A table of marks.
#[derive(Debug, Clone)]
pub struct Table {
    /// The log's head.
    pub head: Option<Head>,
    /// Whether the table has the root digest of the head.
    pub sound: bool,
    /// The marks.
    pub marks: Vec<Mark>,
}

/// What a call answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// To [`Op::Heads`].
    Heads(Vec<(ChannelId, Option<Head>)>),
    /// To [`Op::Read`].
    Slice(SliceOf),
    /// To [`Op::Load`].
    Table(Table),
    /// To [`Op::Commit`].
    Committed(Rc<Entry>),
    /// To [`Op::Look`].
    Looked(Option<Head>, Option<Vec<u8>>),
    /// To [`Op::Lease`].
    Leased(LeaseOutcome),
    /// To [`Op::List`].
    Members(Vec<(Origin, Record)>),
    /// To [`Op::Mint`]: whether it won.
    Minted(bool),
    /// To the rest.
    Done,
}

/// The former primary, which does not know it yet.
#[derive(Debug)]
pub struct Deposed {
    states: Vec<State>,
    /// By when it must have learnt.
    pub until: True,
    /// When it learns.
    pub answers_until: True,
    /// Whether it takes writes until then.
    pub writes: bool,
}

/// Nobody is there, or the call was refused. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// One primary with its replica.
#[derive(Debug)]
pub struct Shard {
    states: Vec<State>,
    replica: Vec<State>,
    /// Scripts that the replica has not done yet.
    stream: VecDeque<Vec<(ChannelId, Effect)>>,
    /// The former primary.
    pub deposed: Option<Deposed>,
    /// Until when nobody answers.
    pub down_until: True,
    /// By how much the primary's clock is ahead, in milliseconds.
    pub ahead: i64,
    cap: usize,
}

impl Shard {
    /// An empty primary whose logs hold `cap` entries.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self {
            states: vec![State::default(); CHANNELS],
            replica: vec![State::default(); CHANNELS],
            stream: VecDeque::new(),
            deposed: None,
            down_until: 0,
            ahead: 0,
            cap,
        }
    }

    /// The true state of a channel.
    #[must_use]
    pub fn state(&self, channel: ChannelId) -> &State {
        &self.states[channel.index()]
    }

    /// The primary's clock, in milliseconds.
    #[must_use]
    pub const fn millis(&self, now: True) -> u64 {
        (1_000_000 + (now / MS) as i64 + self.ahead) as u64
    }

    /// Runs a call about one channel, at the primary or at the deposed one. Returns the entries that were appended.
    ///
    /// # Errors
    /// When nobody is there, or the call was refused. Nothing was done.
    pub fn run(
        &mut self,
        op: &Op,
        channel: ChannelId,
        at_deposed: bool,
        script: Script,
    ) -> Result<(Answer, Vec<Rc<Entry>>), Refused> {
        let cap = self.cap;
        let appended = |effects: &[Effect]| -> Vec<Rc<Entry>> {
            let entries = effects.iter().filter_map(|effect| match effect {
                Effect::Append(entry) => Some(Rc::clone(entry)),
                _ => None,
            });
            entries.collect()
        };
        if at_deposed {
            let deposed = self
                .deposed
                .as_mut()
                .filter(|deposed| script.now < deposed.answers_until)
                .ok_or(Refused)?;
            let state = &mut deposed.states[channel.index()];
            let (answer, effects) = state.run(op, script)?;
            if !effects.is_empty() && !deposed.writes {
                return Err(Refused);
            }
            effects.iter().for_each(|effect| state.apply(effect, cap));
            return Ok((answer, appended(&effects)));
        }
        if script.now < self.down_until {
            return Err(Refused);
        }
        let state = &mut self.states[channel.index()];
        let (answer, effects) = state.run(op, script)?;
        if !effects.is_empty() {
            effects.iter().for_each(|effect| state.apply(effect, cap));
            let entries = appended(&effects);
            self.stream
                .push_back(effects.into_iter().map(|effect| (channel, effect)).collect());
            while self.stream.len() > LONGEST_LAG {
                self.replicate_one();
            }
            return Ok((answer, entries));
        }
        Ok((answer, Vec::new()))
    }

    /// Heads of some channels.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn heads(&self, channels: &[ChannelId], at_deposed: bool, now: True) -> Result<Answer, Refused> {
        let states = match (&self.deposed, at_deposed) {
            (Some(deposed), true) if now < deposed.answers_until => &deposed.states,
            (_, true) => return Err(Refused),
            (_, false) if now < self.down_until => return Err(Refused),
            (_, false) => &self.states,
        };
        let heads = channels.iter().map(|id| (*id, states[id.index()].head()));
        Ok(Answer::Heads(heads.collect()))
    }

    fn replicate_one(&mut self) {
        for (channel, effect) in self.stream.pop_front().unwrap_or_default() {
            self.replica[channel.index()].apply(&effect, self.cap);
        }
    }

    /// The replica takes over without the newest `lose` scripts. Returns the entries that are lost.
    pub fn fail_over(&mut self, lose: usize) -> Vec<Rc<Entry>> {
        let lose = lose.min(self.stream.len());
        while self.stream.len() > lose {
            self.replicate_one();
        }
        let lost: Vec<_> = self.stream.drain(..).flatten().collect();
        std::mem::swap(&mut self.states, &mut self.replica);
        self.replica = self.states.clone();
        let entries = lost.into_iter().filter_map(|(_, effect)| match effect {
            Effect::Append(entry) => Some(entry),
            _ => None,
        });
        entries.collect()
    }

    /// The replica takes over, and the former primary goes on answering those who still ask it.
    pub fn take_over(&mut self, lose: usize, until: True, writes: bool) -> Vec<Rc<Entry>> {
        let states = self.states.clone();
        let lost = self.fail_over(lose);
        self.deposed = Some(Deposed {
            states,
            until,
            answers_until: until,
            writes,
        });
        lost
    }

    /// `FLUSHALL`.
    pub fn flush(&mut self) {
        self.states = vec![State::default(); CHANNELS];
        self.replica = vec![State::default(); CHANNELS];
        self.stream.clear();
    }

    /// An operator forgets a member.
    pub fn strike(&mut self, origin: &Origin) {
        for state in [&mut self.states[0], &mut self.replica[0]] {
            state.strike(origin);
        }
    }

    /// Gives a channel away.
    pub fn give(&mut self, channel: ChannelId) -> State {
        std::mem::take(&mut self.states[channel.index()])
    }

    /// Takes a channel over; it is in the replica too.
    pub fn take(&mut self, channel: ChannelId, state: State) {
        while !self.stream.is_empty() {
            self.replicate_one();
        }
        self.replica[channel.index()] = state.clone();
        self.states[channel.index()] = state;
    }
}
