//! A virtual cluster: nodes that drive machine and errand as the SDK does, an L2, statements, members, an issuer; one queue of
//! events, and a seed that decides every latency. The same seed gives the same run.

mod callers;
mod l2;
mod node;

use core::time::Duration;
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

pub(in crate::keys) use l2::L2;
pub(in crate::keys) use node::{Job, Node};

use super::idp::{Answer, Idp, Seen};
use super::ms;
use crate::keys::{KeyPolicy, KeyQuestion, KeySet};
use crate::time::{Moment, Unix};
use l2::Op;
use node::Done;

/// The wall clock at the beginning.
pub(in crate::keys) const WALL: Unix = 1_800_000_000;

/// Numbers by chance, the same for the same seed (splitmix64).
#[derive(Debug)]
pub(in crate::keys) struct Rng(pub u64);

impl Rng {
    pub(in crate::keys) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(in crate::keys) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_nanos() as u64;
        least + Duration::from_nanos(if span == 0 { 0 } else { self.next() % span })
    }

    pub(in crate::keys) const fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }
}

/// Which rules are in force. A control switches one off, and must fail.
#[derive(Debug, Clone, Copy)]
pub(in crate::keys) struct Rules {
    pub lease: bool,
    pub proof: bool,
    pub second_look: bool,
    pub ticket: bool,
    pub generation: bool,
}

impl Rules {
    pub(in crate::keys) const ALL: Self = Self {
        lease: true,
        proof: true,
        second_look: true,
        ticket: true,
        generation: true,
    };
}

/// What a caller was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::keys) enum Said {
    Served,
    /// The key does not exist. `remembered`: by what was found out before.
    Unknown {
        remembered: bool,
    },
    CouldNotAsk,
}

#[derive(Debug, Clone)]
pub(in crate::keys) struct Outcome {
    pub node: usize,
    pub kid: String,
    pub since: Moment,
    pub at: Moment,
    pub said: Said,
}

impl Outcome {
    pub(in crate::keys) fn waited(&self) -> Duration {
        self.at.since(self.since)
    }
}

enum Event {
    Timer(usize, Moment),
    Call(usize, String),
    Operate(Job, Op),
    Back(Job, Done),
    Request {
        job: Job,
        no_cache: bool,
        etag: Option<String>,
    },
    Heard(usize, u64, u64),
    Question {
        job: Job,
        to: usize,
        question: KeyQuestion,
    },
}

pub(in crate::keys) struct World {
    pub seed: u64,
    pub now: Moment,
    pub rng: Rng,
    pub idp: Idp,
    pub l2: L2,
    pub nodes: Vec<Node>,
    /// The generation that the cluster has stated, as its marks hold it.
    pub stated: u64,
    /// Whether the marks outlive the nodes.
    pub marks_last: bool,
    /// Whether members can be asked, and statements travel, without L2.
    pub gossip: bool,
    pub rules: Rules,
    pub outcomes: Vec<Outcome>,
    /// Since when the issuer has which key.
    published: BTreeMap<String, Moment>,
    pub policy: KeyPolicy,
    /// Who owns the issuer, first to last.
    order: Vec<usize>,
    queue: BTreeMap<(Moment, u64), Event>,
    events: u64,
}

impl World {
    pub(in crate::keys) fn new(seed: u64, nodes: usize, policy: KeyPolicy) -> Self {
        let mut rng = Rng(seed);
        let mut order: Vec<usize> = (0..nodes).collect();
        for last in (1..nodes).rev() {
            order.swap(last, rng.below(last + 1));
        }
        let mut world = Self {
            seed,
            now: Moment::ORIGIN.plus(Duration::from_secs(1_000)),
            rng,
            idp: Idp::new(),
            l2: L2::new(),
            nodes: Vec::new(),
            stated: 0,
            marks_last: true,
            gossip: true,
            rules: Rules::ALL,
            outcomes: Vec::new(),
            published: BTreeMap::new(),
            policy,
            order,
            queue: BTreeMap::new(),
            events: 0,
        };
        for number in 0..nodes {
            world.nodes.push(Node::new(number, policy, world.now));
        }
        world
    }

    /// One node without L2 and members.
    pub(in crate::keys) fn alone(seed: u64, policy: KeyPolicy) -> Self {
        let mut world = Self::new(seed, 1, policy);
        world.l2.exists = false;
        world.gossip = false;
        world
    }

    fn at(&mut self, at: Moment, event: Event) {
        self.events += 1;
        self.queue.insert((at, self.events), event);
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now.plus(wait), event);
    }

    /// One way through the network of the cluster.
    fn hop(&mut self) -> Duration {
        match self.rng.below(20) {
            0 => self.rng.between(ms(2), ms(20)),
            _ => self.rng.between(Duration::from_micros(100), ms(1)),
        }
    }

    /// Every node's background task begins, within a moment of each other.
    pub(in crate::keys) fn start(&mut self) {
        for number in 0..self.nodes.len() {
            let wait = self.rng.between(Duration::ZERO, ms(5));
            self.wake(number, wait);
        }
    }

    fn wake(&mut self, node: usize, wait: Duration) {
        let epoch = self.nodes[node].epoch;
        let at = self.now.plus(wait);
        self.nodes[node].timer = Some(at);
        self.at(at, Event::Timer(node, at));
        if self.stated > 0 {
            self.after(wait, Event::Heard(node, epoch, self.stated));
        }
    }

    /// So many callers with this kid at every node, within a moment of each other.
    pub(in crate::keys) fn call_everywhere(&mut self, callers: usize, kid: &str) {
        for node in 0..self.nodes.len() {
            for _ in 0..callers {
                let wait = self.rng.between(Duration::ZERO, ms(3));
                self.after(wait, Event::Call(node, kid.into()));
            }
        }
    }

    pub(in crate::keys) fn call_in(&mut self, wait: Duration, node: usize, kid: &str) {
        self.after(wait, Event::Call(node, kid.into()));
    }

    pub(in crate::keys) fn run(&mut self, time: Duration) {
        let until = self.now.plus(time);
        self.run_while(until, |_| true);
        self.now = until;
    }

    /// The issuer has a new key.
    pub(in crate::keys) fn publish(&mut self, kid: &str) {
        self.idp.publish(kid);
        self.published.insert(kid.into(), self.now);
    }

    /// Numbers that are not taken from the world's own: it goes on as it would have.
    pub(in crate::keys) const fn rng_of_callers(&self) -> Rng {
        Rng(self.seed ^ 0x00ca_11e5)
    }

    /// One caller, from now until it is told something.
    #[track_caller]
    pub(in crate::keys) fn ask(&mut self, node: usize, kid: &str) -> Outcome {
        let (before, since) = (self.outcomes.len(), self.now);
        self.call_in(Duration::ZERO, node, kid);
        let its = |outcome: &&Outcome| outcome.node == node && outcome.kid == kid && outcome.since == since;
        let told = |world: &Self| world.outcomes[before..].iter().find(its).cloned();
        let until = self.now.plus(Duration::from_secs(120));
        self.run_while(until, |world| told(world).is_none());
        told(self).unwrap_or_else(|| panic!("seed {}: nobody answers", self.seed))
    }

    /// Nobody was told that a key does not exist which the issuer had before the caller came; and whoever was told so for the
    /// first time, was told after a request that began after the caller came, and that passed all caches.
    #[track_caller]
    pub(in crate::keys) fn assert_sound(&self) {
        for outcome in &self.outcomes {
            let Said::Unknown { remembered } = outcome.said else {
                continue;
            };
            let known = self.published.get(&outcome.kid).is_some_and(|at| *at <= outcome.since);
            assert!(
                !known || remembered,
                "seed {}: the issuer has it: {outcome:?}",
                self.seed
            );
            let asked = |seen: &&Seen| seen.at >= outcome.since && seen.at <= outcome.at && seen.no_cache;
            let proven = self.idp.seen.iter().rev().any(|seen| asked(&seen));
            assert!(
                proven || remembered,
                "seed {}: nobody was asked: {outcome:?}",
                self.seed
            );
        }
    }

    /// Runs until the condition fails, or the time is over. Whether the condition failed.
    pub(in crate::keys) fn run_while(&mut self, until: Moment, mut go_on: impl FnMut(&Self) -> bool) -> bool {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(event);
            if !go_on(self) {
                return true;
            }
        }
        false
    }

    fn happen(&mut self, event: Event) {
        let whose = match &event {
            Event::Timer(node, _) | Event::Call(node, _) | Event::Heard(node, ..) => Some(*node),
            Event::Back(job, _) => Some(job.node),
            Event::Question { to, .. } => Some(*to),
            Event::Operate(..) | Event::Request { .. } => None,
        };
        if let Some(node) = whose {
            let stalled = self.nodes[node].stalled_until;
            if stalled > self.now {
                return self.at(stalled, event);
            }
        }
        match event {
            // One that was set anew has another time.
            Event::Timer(node, at) if self.nodes[node].timer == Some(at) => {
                self.nodes[node].timer = None;
                self.pump(node);
            }
            Event::Call(node, kid) if self.nodes[node].up => self.call(node, kid),
            Event::Heard(node, epoch, generation) if self.nodes[node].epoch == epoch && self.nodes[node].up => {
                let now = self.nodes[node].moment(self.now);
                self.nodes[node].machine.heard(now, generation);
                self.pump(node);
            }
            Event::Operate(job, op) if self.lives(&job) => self.operate(job, op),
            Event::Request { job, no_cache, etag } if self.lives(&job) => {
                let seen = Seen {
                    at: self.now,
                    node: job.node,
                    no_cache,
                };
                let (wait, answer) = match self.nodes[job.node].reaches_idp {
                    true => self.idp.ask(self.now, seen, etag.as_deref(), &mut self.rng),
                    false => (ms(1), Answer::Refused),
                };
                self.after(wait, Event::Back(job, Done::Fetched(answer)));
            }
            Event::Back(job, done) if self.lives(&job) => self.back(job, done),
            Event::Question { job, to, question } if self.nodes[to].up => self.question(to, job, question),
            _ => {}
        }
    }

    fn lives(&self, job: &Job) -> bool {
        self.nodes[job.node].epoch == job.epoch
    }

    /// The node dies, with everything it had.
    pub(in crate::keys) fn kill(&mut self, node: usize) {
        self.nodes[node].up = false;
        self.nodes[node].epoch += 1;
    }

    /// The node starts again, with a new clock.
    pub(in crate::keys) fn restart(&mut self, node: usize) {
        let epoch = self.nodes[node].epoch + 1;
        self.nodes[node] = Node::new(node, self.policy, self.now);
        self.nodes[node].epoch = epoch;
        if !self.marks_last {
            self.stated = 0;
        }
        self.wake(node, Duration::ZERO);
    }

    /// The set that stands in L2.
    pub(in crate::keys) fn shared(&self) -> Option<KeySet> {
        self.l2.set.as_ref().map(|(set, _)| set.clone())
    }

    /// The node that holds the lease.
    pub(in crate::keys) fn holder(&self) -> Option<usize> {
        let nonce = self.l2.holder(self.now)?;
        self.nodes.iter().position(|node| node.has_lease(nonce))
    }

    /// The first node that is up in the order of the owners.
    pub(in crate::keys) fn owner(&self) -> usize {
        let mut order = self.order.iter().copied();
        order.find(|node| self.nodes[*node].up).unwrap_or(0)
    }

    /// How many callers were told this.
    pub(in crate::keys) fn said(&self, said: Said) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.said == said).count()
    }

    /// All nodes that are up hold a trusted set with this key.
    #[track_caller]
    pub(in crate::keys) fn assert_all_hold(&self, kid: &str) {
        for node in self.nodes.iter().filter(|node| node.up) {
            assert!(
                node.trusts(self.now, kid),
                "seed {}: node {} lacks {kid}",
                self.seed,
                node.number
            );
        }
    }
}
