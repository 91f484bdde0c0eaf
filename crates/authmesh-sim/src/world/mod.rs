//! The world: one queue of events in virtual time.

mod end;
mod faults;
mod mesh;
mod net;
mod work;

use std::collections::BTreeMap;
use std::rc::Rc;

use authmesh_proto::follower::Event as Told;
use authmesh_proto::ident::{CHANNELS, ChannelId, EntryName, Nonce, Origin, ScopeId};
use authmesh_proto::marks::TokenScopes;
use authmesh_proto::time::Now;

use crate::checker::{Checker, Need, Token, Violation};
use crate::clock::{Clock, MS, SECOND, True};
use crate::names;
use crate::node::{Key, Node, Out};
use crate::redis::{Answer, Entry, Op, Shard};
use crate::rng::Rng;
use crate::rules::{Control, Rules};
use crate::scenario::{Bad, Fault, Scenario};
use crate::trace::{About, Trace};

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub violation: Option<Violation>,
    /// The lines of the trace that concern the violation; empty where no text was kept.
    pub lines: Vec<String>,
    /// The hash of the trace.
    pub hash: u64,
    /// Events of the trace.
    pub events: u64,
    /// What happened how often.
    pub tally: Tally,
}

/// What happened how often: a run in which nothing happens proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers from memory.
    pub hits: u64,
    /// Answers from L2.
    pub from_l2: u64,
    /// Answers from the source.
    pub loads: u64,
    /// Tokens accepted.
    pub accepted: u64,
    /// Tokens refused since a mark voids them.
    pub revoked: u64,
    /// Callers whom a blind node did not serve.
    pub blind: u64,
    /// Drops and tags said.
    pub drops: u64,
    /// Marks said.
    pub marks: u64,
    /// New incarnations, first ones included.
    pub mints: u64,
    /// Losses that nodes found.
    pub losses_found: u64,
    /// Log entries that a failover lost.
    pub entries_lost: u64,
    /// Statements that the log confirmed, where there is gossip.
    pub committed: u64,
    /// Statements that everybody confirmed.
    pub whole: u64,
    /// Answers of nodes that gossip alone kept coherent.
    pub by_gossip: u64,
    /// Statements that were given up as lost.
    pub lost_statements: u64,
}

impl Tally {
    /// Adds another run's.
    pub const fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.from_l2 += other.from_l2;
        self.loads += other.loads;
        self.accepted += other.accepted;
        self.revoked += other.revoked;
        self.blind += other.blind;
        self.drops += other.drops;
        self.marks += other.marks;
        self.mints += other.mints;
        self.losses_found += other.losses_found;
        self.entries_lost += other.entries_lost;
        self.committed += other.committed;
        self.whole += other.whole;
        self.by_gossip += other.by_gossip;
        self.lost_statements += other.lost_statements;
    }
}

#[derive(Debug)]
enum Event {
    /// A call reaches a primary.
    Arrive {
        from: (usize, u32),
        job: u64,
        shard: usize,
        at_deposed: bool,
        op: Op,
    },
    /// A call is answered, or its time is over.
    Answer((usize, u32), u64, Option<Answer>),
    Bell((usize, u32), Rc<Entry>, (usize, u32)),
    /// A subscription was lost, and the node notices.
    Broken((usize, u32), usize),
    Subscribed((usize, u32), usize),
    Wake((usize, u32)),
    Loaded((usize, u32), u64, Option<u64>),
    Gone((usize, u32), u64),
    /// The source was written; the drop follows.
    Drop((usize, u32), usize),
    /// A node that was suspended is asked first thing.
    Poke((usize, u32)),
    Fault(Fault),
    /// The end of a fault.
    Restart(usize),
    LinkGood(usize, usize),
    Moved(ChannelId, usize),
    Work,
    /// In the network of gossip.
    Mesh((usize, u32), mesh::Step),
    Swim,
}

struct Link {
    bad: Option<Bad>,
    bad_until: True,
    /// Until when this node asks the deposed primary.
    flip_at: True,
    /// It asks now this one, now that.
    wavers: bool,
    subscribed: bool,
    /// Bells of an earlier one do not arrive any more.
    subscription: u32,
    deaf: bool,
    /// Bells come in the order in which they were sent.
    last_bell: True,
}

struct Slot {
    clock: Clock,
    node: Option<Node>,
    start: u32,
    suspended_until: True,
    /// It leaves: no caller comes any more.
    leaving: bool,
    /// Until when its registration is not written.
    unlisted_until: True,
    /// The origin of its last start.
    last: Option<Origin>,
    links: Vec<Link>,
    wake: Option<True>,
}

/// A node that waits for a lease to go.
struct Waiter {
    from: (usize, u32),
    flight: u64,
    name: EntryName,
    nonce: Nonce,
}

/// A cluster in virtual time.
pub struct World {
    scenario: Scenario,
    rules: Rules,
    now: True,
    sequence: u64,
    queue: BTreeMap<(True, u64), Event>,
    rng: Rng,
    slots: Vec<Slot>,
    shards: Vec<Shard>,
    /// Which primary owns a channel.
    owner: Vec<usize>,
    moving: Vec<bool>,
    waiters: Vec<Waiter>,
    keys: Rc<Vec<Key>>,
    tags: Vec<ScopeId>,
    hot: Vec<ChannelId>,
    /// The newest version of each key in the source.
    source: Vec<u64>,
    tokens: Vec<(Token, TokenScopes)>,
    checker: Checker,
    trace: Trace,
    tally: Tally,
    /// Per channel: mints on the true log, and reasons for one.
    mints: Vec<(u64, u64)>,
    network: mesh::Network,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.scenario.seed)
            .finish_non_exhaustive()
    }
}

impl World {
    /// A world in which nothing has happened.
    #[must_use]
    pub fn new(scenario: Scenario, rules: Rules, text: bool) -> Self {
        let mut rng = Rng::new(scenario.seed);
        // Keys and tags stand in the subjects' channels: few channels, and all of them busy.
        let mut hot: Vec<ChannelId> = (0..scenario.subjects)
            .map(|n| names::subject(n).slot().channel)
            .collect();
        hot.dedup();
        let place = |rng: &mut Rng| hot[rng.index(hot.len())];
        let tags: Vec<ScopeId> = (0..3).map(|n| names::tag(n, place(&mut rng))).collect();
        let keys = (0..scenario.keys).map(|n| Key {
            name: names::key(n, place(&mut rng)),
            tags: vec![tags[0], tags[1 + n % 2]],
        });
        let keys: Rc<Vec<Key>> = Rc::new(keys.collect());
        let slots = (0..scenario.nodes).map(|_| {
            let drift = rng.between(0, 2 * scenario.drift) as i64 - scenario.drift as i64;
            let link = |_| Link {
                bad: None,
                bad_until: 0,
                flip_at: 0,
                wavers: false,
                subscribed: false,
                subscription: 0,
                deaf: false,
                last_bell: 0,
            };
            Slot {
                clock: Clock::new(rng.between(10, 100_000) * SECOND, drift),
                node: None,
                start: 0,
                suspended_until: 0,
                leaving: false,
                unlisted_until: 0,
                last: None,
                links: (0..scenario.shards).map(link).collect(),
                wake: None,
            }
        });
        let slots: Vec<Slot> = slots.collect();
        let mut world = Self {
            rules,
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            shards: (0..scenario.shards).map(|_| Shard::new(scenario.log_cap)).collect(),
            owner: (0..CHANNELS).map(|n| n % scenario.shards).collect(),
            moving: vec![false; CHANNELS],
            waiters: Vec::new(),
            source: vec![1; keys.len()],
            tokens: Vec::new(),
            checker: Checker::new(scenario.nodes, keys.len(), scenario.mesh.is_some()),
            trace: Trace::new(text),
            tally: Tally::default(),
            mints: vec![(0, 1); CHANNELS],
            network: mesh::Network::default(),
            slots,
            keys,
            tags,
            hot,
            rng,
            scenario,
        };
        world.plan();
        world
    }

    fn plan(&mut self) {
        let late: Vec<usize> = self
            .scenario
            .faults
            .iter()
            .filter_map(|(_, fault)| match fault {
                Fault::Join(node) => Some(*node),
                _ => None,
            })
            .collect();
        for node in (0..self.slots.len()).filter(|node| !late.contains(node)) {
            self.at(self.rng.clone().below(SECOND), Event::Restart(node));
            self.rng.next();
        }
        for (at, fault) in self.scenario.faults.clone() {
            self.at(at, Event::Fault(fault));
        }
        self.at(SECOND, Event::Work);
        if self.scenario.mesh.is_some() {
            self.at(0, Event::Swim);
        }
        if self.scenario.mesh.as_ref().is_some_and(|scene| !scene.has_log) {
            for shard in &mut self.shards {
                shard.down_until = True::MAX;
            }
        }
    }

    /// Runs it to its end, or to the first violation.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > self.scenario.end || self.checker.violation.is_some() {
                break;
            }
            self.now = at;
            self.take(event);
        }
        if self.checker.violation.is_none() {
            self.check_end();
        }
        let lines = match &self.checker.violation {
            Some(violation) => self.trace.about(&self.around(&violation.about)),
            None => Vec::new(),
        };
        Outcome {
            seed: self.scenario.seed,
            violation: self.checker.violation,
            lines,
            hash: self.trace.hash(),
            events: self.trace.events(),
            tally: self.tally,
        }
    }

    /// A key is void with its channel, and with those of its tags.
    fn around(&self, about: &[About]) -> Vec<About> {
        let keys = about.iter().filter_map(|about| match about {
            About::Key(key) => Some(&self.keys[*key]),
            _ => None,
        });
        let channels = keys.flat_map(|key| {
            let tags = key.tags.iter().map(|tag| About::Repair(tag.slot().channel));
            tags.chain([About::Repair(key.name.slot().channel)])
        });
        let node = |about: &&About| !matches!(about, About::Node(_));
        let mut all: Vec<About> = about.iter().filter(node).copied().chain(channels).collect();
        if all.is_empty() {
            all.extend(about);
        }
        all
    }

    fn at(&mut self, at: True, event: Event) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), event);
    }

    fn after(&mut self, delay: True, event: Event) {
        self.at(self.now + delay, event);
    }

    fn local(&self, node: usize) -> Now {
        self.slots[node].clock.at(self.now)
    }

    /// Gives something to a node that lives and runs; what comes for one that is suspended waits for it.
    fn with(&mut self, start: (usize, u32), event: Event, work: impl FnOnce(&mut Node, Now, Event)) {
        let slot = &mut self.slots[start.0];
        if slot.start != start.1 || slot.node.is_none() {
            return;
        }
        if slot.suspended_until > self.now {
            let at = slot.suspended_until;
            return self.at(at, event);
        }
        let now = slot.clock.at(self.now);
        if let Some(node) = &mut slot.node {
            work(node, now, event);
        }
        self.follow_up(start);
    }

    /// Does what a node wants done, and sets its alarm.
    fn follow_up(&mut self, start: (usize, u32)) {
        loop {
            let Some(node) = &mut self.slots[start.0].node else {
                return;
            };
            let out = node.take_out();
            if out.is_empty() {
                break;
            }
            for out in out {
                self.do_for(start, out);
            }
        }
        let slot = &mut self.slots[start.0];
        let Some(node) = &slot.node else { return };
        let Some(due) = slot.clock.when(node.wake_at()) else {
            return;
        };
        let due = due.max(self.now + 1);
        if slot.wake.is_none_or(|wake| due < wake) {
            slot.wake = Some(due);
            self.at(due, Event::Wake(start));
        }
    }

    fn do_for(&mut self, start: (usize, u32), out: Out) {
        match out {
            Out::Send { job, op, timeout } => self.send(start, job, op, timeout),
            Out::Load { flight, key } => {
                // Read at once and brought late: as stale as a loader's value can be.
                let version = (!self.rng.per_mille(20)).then_some(self.source[key]);
                let takes = self.rng.between(MS / 10, self.scenario.load);
                self.after(takes, Event::Loaded(start, flight, version));
            }
            Out::WaitGone { flight, name, nonce } => self.waiters.push(Waiter {
                from: start,
                flight,
                name,
                nonce,
            }),
            Out::Applied(name) => {
                let mut about = vec![About::Node(start.0), About::Channel(name.channel)];
                about.extend(self.checker.keys_of(&name).map(About::Key));
                self.trace.note(self.now, &about, 1, || {
                    format!(
                        "node {} applies {:?} {} of {:?}",
                        start.0, name.channel, name.counter, name.origin
                    )
                });
                self.checker.applied(start, name);
            }
            Out::Marked(key, not_before) => self.checker.marked(start, key, not_before),
            Out::Answered {
                key,
                version,
                need,
                from,
            } => self.answered(start.0, key, version, need, from),
            Out::Again { key, need } => {
                let now = self.local(start.0);
                if let Some(node) = &mut self.slots[start.0].node {
                    node.get(now, key, need);
                }
            }
            Out::Tell(told) => self.told(start.0, told),
            Out::Mesh(said) => self.said(start, said),
        }
    }

    fn answered(&mut self, node: usize, key: usize, version: u64, need: Need, from: &'static str) {
        let about = [About::Node(node), About::Key(key)];
        match from {
            // What was wrong with an answer is said with the violation.
            "memory" => self.trace.count(self.now, &about, 100 + version),
            _ => self.trace.note(self.now, &about, 100 + version, || {
                format!("node {node} answers key {key} from {from}: version {version}")
            }),
        }
        match from {
            "memory" => self.tally.hits += 1,
            "L2" => self.tally.from_l2 += 1,
            _ => self.tally.loads += 1,
        }
        self.checker.answered(node, key, version, need, from, self.now);
    }

    fn told(&mut self, node: usize, told: Told) {
        let channel = match told {
            Told::Suspect(channel) | Told::Adopted(channel) | Told::Reloaded(channel) | Told::LostWrites(channel) => {
                channel
            }
            Told::Refused(channel, _) | Told::Damaged(channel) => channel,
        };
        if matches!(told, Told::LostWrites(_)) {
            self.tally.losses_found += 1;
        }
        let about = [About::Node(node), About::Channel(channel)];
        self.trace
            .note(self.now, &about, 3, || format!("node {node} tells {told:?}"));
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Arrive {
                from,
                job,
                shard,
                at_deposed,
                op,
            } => self.arrive(from, job, shard, at_deposed, op),
            Event::Work => self.work(),
            Event::Fault(fault) => self.fault(fault),
            Event::Restart(node) => self.restart(node),
            Event::LinkGood(node, shard) => self.link_good(node, shard),
            Event::Moved(channel, to) => self.moved(channel, to),
            Event::Subscribed(start, shard) => {
                let live = self.shards[shard].down_until <= self.now && self.slots[start.0].links[shard].bad.is_none();
                if !live {
                    return self.after(250 * MS, Event::Subscribed(start, shard));
                }
                if self.slots[start.0].start == start.1 {
                    self.slots[start.0].links[shard].subscribed = true;
                }
                self.with(start, event, |node, now, _| node.bells_broken(now));
            }
            Event::Broken(start, shard) => {
                self.with(start, event, |node, now, _| node.bells_broken(now));
                self.after(250 * MS, Event::Subscribed(start, shard));
            }
            Event::Bell(start, _, (shard, subscription)) => {
                if self.slots[start.0].links[shard].subscription == subscription {
                    self.with(start, event, |node, now, event| {
                        if let Event::Bell(_, entry, _) = event {
                            node.bell(now, &entry);
                        }
                    });
                }
            }
            Event::Wake(start) => {
                let slot = &mut self.slots[start.0];
                if slot.wake != Some(self.now)
                    && slot.suspended_until <= self.now
                    && slot.wake.is_some_and(|at| at > self.now)
                {
                    // An alarm that was set anew.
                    return;
                }
                if slot.suspended_until <= self.now {
                    slot.wake = None;
                }
                self.with(start, event, |node, now, _| node.tick(now));
            }
            Event::Answer(start, ..) | Event::Loaded(start, ..) | Event::Gone(start, _) => {
                self.with(start, event, |node, now, event| match event {
                    Event::Answer(_, job, answer) => node.answered(now, job, answer),
                    Event::Loaded(_, flight, version) => node.loaded(now, flight, version),
                    Event::Gone(_, flight) => node.gone(now, flight),
                    _ => {}
                })
            }
            Event::Drop(start, key) => self.say_drop(start, key),
            Event::Poke(start) => self.poke(start),
            Event::Swim => self.swim(),
            Event::Mesh(start, step) => {
                let until = self.slots[start.0].suspended_until;
                if until > self.now {
                    return self.at(until, Event::Mesh(start, step));
                }
                self.mesh_step(start, step);
            }
        }
    }

    fn off(&self, control: Control) -> bool {
        self.rules.off(control)
    }
}
