//! A node: the real machines of the protocol, and thin glue that mirrors the SDK's driver and cache.
//!
//! Nothing here decides anything that the SDK leaves to a machine. Every call that the SDK makes through a port is an
//! [`Out::Send`]; its answer comes back with the same job number, or nothing comes within the SDK's own time-out.

mod cache;
mod driver;
mod gossip;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use authmesh_proto::commit::{CommitConfig, Commits, Unpositioned, Voids};
use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::follower::{Event, Follower, FollowerConfig};
use authmesh_proto::freshness::{Fence, MarkEpoch};
use authmesh_proto::ident::{
    CHANNELS, ChannelId, EntryName, Incarnation, Nonce, Origin, Position, ScopeId, StatementName,
};
use authmesh_proto::log::Head;
use authmesh_proto::marks::{Marks, TokenScopes};
use authmesh_proto::statement::{Body, Mark, MarkKey, Statement};
use authmesh_proto::time::{Moment, Now, Unix};

use crate::checker::Need;
use crate::clock::{MS, SECOND};
use crate::names;
use crate::redis::Op;
use crate::rng::Rng;
use crate::rules::{Control, Rules};

use cache::{Flight, Kept};

pub use cache::Look;
pub use gossip::{Mesh, MeshSetup, Said};

/// How long one call of a port may take.
const PORT_TIMEOUT: u64 = 2 * SECOND;
/// How long one call of L2 may hold a caller up.
const L2_TIMEOUT: u64 = 250 * MS;
/// How often marks that are past are collected, in nanoseconds.
const COLLECT_PERIOD: std::time::Duration = std::time::Duration::from_secs(60);
/// The coherence lease of every node: the default.
const LEASE: std::time::Duration = std::time::Duration::from_secs(3);
/// More marks than any world makes.
const MARK_CAP: usize = 100_000;

/// A cache key of the world.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: EntryName,
    /// The tags that every entry of it carries, that of the whole namespace first.
    pub tags: Vec<ScopeId>,
}

/// What a node wants from its world, or tells it.
#[derive(Debug)]
pub enum Out {
    /// Make a call; tell the node if nothing came within `timeout` nanoseconds.
    Send {
        /// The job that the answer belongs to.
        job: u64,
        /// The call.
        op: Op,
        /// In nanoseconds.
        timeout: u64,
    },
    /// Read the source for a flight, and tell the node later.
    Load {
        /// The flight.
        flight: u64,
        /// The key.
        key: usize,
    },
    /// Tell the node when this lease is gone.
    WaitGone {
        /// The flight that waits.
        flight: u64,
        /// The entry.
        name: EntryName,
        /// The holder.
        nonce: Nonce,
    },
    /// A statement was applied.
    Applied(StatementName),
    /// A mark was applied, by whatever road.
    Marked(MarkKey, Unix),
    /// A caller was answered.
    Answered {
        /// The key.
        key: usize,
        /// The version of its value.
        version: u64,
        /// What the caller may expect.
        need: Need,
        /// From where: for the trace.
        from: &'static str,
    },
    /// A caller must ask again under the present fence.
    Again {
        /// The key.
        key: usize,
        /// What the caller may expect.
        need: Need,
    },
    /// What the follower tells operators.
    Tell(Event),
    /// For gossip, or of it.
    Mesh(Said),
}

/// What a check of a token came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stands.
    Accepted,
    /// A mark voids it.
    Revoked,
    /// The node may not answer.
    Blind,
}

enum Job {
    Heads {
        asked: Moment,
        left: usize,
        heads: Vec<Option<Head>>,
    },
    Slice(ChannelId, Moment),
    Load(ChannelId, Moment),
    Commit(StatementName),
    Recommit {
        channel: ChannelId,
        rest: VecDeque<Mark>,
        all: bool,
    },
    Mint(ChannelId),
    Announce(Moment),
    List(Moment),
    Look {
        flight: u64,
        asked: Moment,
    },
    Lease {
        flight: u64,
    },
    Forget,
}

/// One start of one node.
pub struct Node {
    /// Its name in statements.
    pub origin: Origin,
    /// Its marks.
    pub marks: Marks,
    /// Its statements that are not done.
    pub commits: Commits,
    /// Its follower.
    pub follower: Follower,
    fence: Fence,
    epoch: MarkEpoch,
    unpositioned: Unpositioned,
    counters: [u64; CHANNELS],
    lacking: BTreeMap<ChannelId, Vec<Mark>>,
    coherent_until: Moment,
    /// By the follower alone.
    follower_until: Moment,
    /// Its part in gossip.
    pub mesh: Option<Mesh>,
    /// A control: when the reads were answered that were asked at these moments.
    answered_at: BTreeMap<Moment, Moment>,
    next_collect: Moment,
    l1: BTreeMap<usize, Kept>,
    verdicts: BTreeMap<usize, u64>,
    flights: Vec<Flight>,
    next_flight: u64,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    shards: usize,
    keys: Rc<Vec<Key>>,
    rng: Rng,
    rules: Rules,
    out: Vec<Out>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:?})", self.origin)
    }
}

impl Node {
    /// A node that has just started.
    #[must_use]
    pub fn new(
        now: Now,
        shards: usize,
        keys: Rc<Vec<Key>>,
        mut rng: Rng,
        rules: Rules,
        mesh: Option<MeshSetup>,
    ) -> Self {
        let origin = Origin(rng.bytes());
        Self {
            mesh: mesh.map(|setup| Mesh::new(setup, origin, rng.next(), now.boot)),
            follower_until: Moment::ORIGIN,
            origin,
            marks: Marks::new(MARK_CAP),
            commits: Commits::new(CommitConfig::default()),
            follower: Follower::new(FollowerConfig::default(), now.boot),
            fence: Fence::new(),
            epoch: MarkEpoch::new(),
            unpositioned: Unpositioned::default(),
            counters: [0; CHANNELS],
            lacking: BTreeMap::new(),
            coherent_until: Moment::ORIGIN,
            answered_at: BTreeMap::new(),
            next_collect: now.boot.plus(COLLECT_PERIOD),
            l1: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            flights: Vec::new(),
            next_flight: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            shards,
            keys,
            rng,
            rules,
            out: Vec::new(),
        }
    }

    /// What it wants done since it was last asked.
    pub fn take_out(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Whether it may answer.
    #[must_use]
    pub fn is_coherent(&self, now: Now) -> bool {
        now.boot < self.coherent_until
    }

    /// Whether it may answer by what gossip says alone.
    #[must_use]
    pub fn by_gossip(&self, now: Now) -> bool {
        self.is_coherent(now) && now.boot >= self.follower_until
    }

    /// Until when it may answer, by its own clock.
    #[must_use]
    pub const fn coherent_until(&self) -> Moment {
        self.coherent_until
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn wake_at(&self) -> Moment {
        let flights = self.flights.iter().map(|flight| flight.fill.poll_timeout());
        let follower = match self.has_log() {
            true => self.follower.poll_timeout(),
            false => Moment::NEVER,
        };
        let mesh = self.mesh.as_ref().map_or(Moment::NEVER, Mesh::wake_at);
        flights
            .chain([follower, mesh, self.commits.poll_timeout(), self.next_collect])
            .min()
            .unwrap_or(Moment::NEVER)
    }

    fn next_name(&mut self, channel: ChannelId) -> StatementName {
        let counter = &mut self.counters[channel.index()];
        *counter += 1;
        StatementName {
            origin: self.origin,
            channel,
            counter: *counter,
        }
    }

    /// The name that the next statement in a channel will have.
    #[must_use]
    pub fn name_to_come(&self, channel: ChannelId) -> StatementName {
        StatementName {
            origin: self.origin,
            channel,
            counter: self.counters[channel.index()] + 1,
        }
    }

    /// Makes a statement: in force here at once, committed until it is done.
    pub fn say(&mut self, now: Now, body: Body) {
        if let Body::Mark(mark) = &body
            && self.marks.admit(&mark.key).is_err()
        {
            return;
        }
        let statement = Statement {
            name: self.next_name(body.slot().channel),
            body,
        };
        if let Some(voids) = Voids::of(&statement.body).filter(|_| self.has_log()) {
            self.unpositioned.add(voids);
        }
        self.apply(now, &statement, None);
        self.await_receipt(statement.clone());
        self.run_mesh(now);
        if self.has_log() {
            self.commit_step(now, Some(authmesh_proto::commit::Input::Said(statement)));
        }
    }

    /// The map first, then the bump.
    fn apply(&mut self, now: Now, statement: &Statement, position: Option<(Incarnation, Position)>) -> bool {
        let changed = match &statement.body {
            Body::Drop(name) => {
                self.fence.bump(name.slot());
                true
            }
            Body::Mark(mark) => self.apply_mark(now, mark.clone(), position),
        };
        self.out.push(Out::Applied(statement.name));
        changed
    }

    /// Whether the table has changed.
    fn apply_mark(&mut self, now: Now, mark: Mark, position: Option<(Incarnation, Position)>) -> bool {
        let (is_tag, slot) = (mark.kind == ScopeKind::Tag, mark.key.scope.slot());
        self.out.push(Out::Marked(mark.key, mark.not_before));
        let changed = names::with_namer(|namer| self.marks.apply(now, mark, position, namer));
        if is_tag {
            self.fence.bump(slot);
        } else if changed {
            self.epoch.bump();
        }
        changed
    }

    /// Checks a token, from memory or freshly.
    pub fn verify(&mut self, now: Now, token: usize, scopes: &TokenScopes) -> Verdict {
        if !self.is_coherent(now) {
            return Verdict::Blind;
        }
        // Loaded before the marks are checked.
        let epoch = self.epoch.load();
        if let Some(stamp) = self.verdicts.get(&token)
            && (*stamp == epoch || self.rules.off(Control::NoEpoch))
        {
            return Verdict::Accepted;
        }
        if self.marks.check(scopes).is_some() {
            self.verdicts.remove(&token);
            return Verdict::Revoked;
        }
        self.verdicts.insert(token, epoch);
        Verdict::Accepted
    }

    fn start(&mut self, job: Job, op: Op, timeout: u64) {
        self.next_job += 1;
        self.jobs.insert(self.next_job, job);
        let job = self.next_job;
        self.out.push(Out::Send { job, op, timeout });
    }

    fn applied_in(&self, channel: ChannelId) -> Option<(Incarnation, Position)> {
        let head = self.follower.watermark(channel)?;
        Some((head.incarnation, head.position))
    }
}
