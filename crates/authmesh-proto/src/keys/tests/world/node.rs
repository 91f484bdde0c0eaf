//! A node: machine and errands, driven as the SDK drives them.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::string::String;
use std::vec::Vec;

use super::callers::Caller;
use super::l2::Op;
use super::{Event, WALL, World};
use crate::ident::{Nonce, Origin, ScopeId};
use crate::keys::{
    Action, Errand, ErrandConfig, FetchEnd, Held, Input, KeyAnswer, KeyMachine, KeyPolicy, KeyQuestion, KeySet,
    LeaseEnd, Source, Ticket, Told, Trip, Why,
};
use crate::time::{Moment, Unix};

use super::super::idp::Answer;
use super::super::ms;

/// How long a member's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(6);
/// How far clocks may differ.
const MAX_SKEW: Duration = Duration::from_secs(30);

/// Whose work something is. What comes for work that was given up is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::keys) struct Job {
    pub node: usize,
    pub epoch: u64,
    trip: u64,
    work: u64,
}

/// What came of an action.
#[derive(Debug, Clone)]
pub(super) enum Done {
    Looked(Option<(KeySet, u64)>, Held),
    Leased(LeaseEnd),
    Drawn(Option<Duration>),
    Gone,
    Holds(bool),
    Published(bool),
    Answered(Option<KeyAnswer>),
    Fetched(Answer),
}

#[derive(Debug)]
struct Flight {
    errand: Errand,
    trip: Trip,
    work: u64,
    owners: Vec<usize>,
    /// Which value stood under the set's name at the last look, and of what generation.
    stand: (Option<u64>, u64),
    from_l2: Option<KeySet>,
    from_member: Option<KeySet>,
    from_issuer: Option<KeySet>,
    sent: Moment,
    sent_wall: Unix,
    stated: u64,
    retry_at: Moment,
}

#[derive(Debug)]
pub(in crate::keys) struct Node {
    pub number: usize,
    pub epoch: u64,
    pub up: bool,
    pub reaches_l2: bool,
    pub reaches_idp: bool,
    /// By how many seconds its wall clock is off.
    pub wall_off: i64,
    pub stalled_until: Moment,
    pub machine: KeyMachine,
    pub own: Option<KeySet>,
    pub(super) timer: Option<Moment>,
    born: Moment,
    flights: BTreeMap<u64, Flight>,
    pub(super) callers: Vec<Caller>,
    /// The kid for which the last trip was begun.
    pub(super) wanted: Option<String>,
}

fn kids(document: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(document);
    text.split(',').filter(|kid| !kid.is_empty()).map(Into::into).collect()
}

pub(super) fn holds(set: &KeySet, kid: &str) -> bool {
    kids(&set.document).contains(kid)
}

impl Node {
    pub(super) fn new(number: usize, policy: KeyPolicy, born: Moment) -> Self {
        Self {
            number,
            epoch: 0,
            up: true,
            reaches_l2: true,
            reaches_idp: true,
            wall_off: 0,
            stalled_until: Moment::ORIGIN,
            machine: KeyMachine::new(policy, Moment::ORIGIN),
            own: None,
            timer: None,
            born,
            flights: BTreeMap::new(),
            callers: Vec::new(),
            wanted: None,
        }
    }

    /// The node's own clock, which began when it did.
    pub(in crate::keys) const fn moment(&self, now: Moment) -> Moment {
        Moment::ORIGIN.plus(now.since(self.born))
    }

    pub(in crate::keys) const fn wall(&self, now: Moment) -> Unix {
        (WALL + now.since(Moment::ORIGIN).as_secs()).saturating_add_signed(self.wall_off)
    }

    pub(in crate::keys) fn is_trusted(&self, now: Moment) -> bool {
        self.own.is_some() && self.moment(now) < self.machine.trusted_until()
    }

    pub(in crate::keys) fn trusts(&self, now: Moment, kid: &str) -> bool {
        self.is_trusted(now) && self.own.as_ref().is_some_and(|set| holds(set, kid))
    }

    pub(super) fn has_lease(&self, nonce: Nonce) -> bool {
        self.up && self.flights.values().any(|flight| flight.errand.nonce() == nonce)
    }

    /// A set of another node, if it may be trusted at all.
    fn told(&self, now: Moment, set: &KeySet, proof: bool, generation: bool) -> Option<Told> {
        let age = set.age(self.wall(now), MAX_SKEW)?;
        let own = self.own.as_ref();
        let least = self.machine.stated().max(own.map_or(0, |own| own.generation));
        if age >= self.machine.policy().max_trust_age || (generation && set.generation < least) {
            return None;
        }
        Some(Told {
            generation: set.generation,
            age,
            max_age: set.max_age(),
            newer: own.is_none_or(|own| set.asked > own.asked || set.generation > own.generation),
            holds: self.wanted.as_ref().is_some_and(|kid| holds(set, kid)),
            proof,
        })
    }
}

impl World {
    pub(super) fn begin(&mut self, number: usize, trip: Trip, ask_members: bool) {
        let mut owners = Vec::new();
        if ask_members && self.gossip {
            let before = self.order.iter().copied().take_while(|other| *other != number);
            owners = before.filter(|other| self.nodes[*other].up).take(2).collect();
        }
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.rng.next().to_be_bytes());
        let node = &mut self.nodes[number];
        let now = node.moment(self.now);
        let config = ErrandConfig::of(node.machine.policy());
        let errand = Errand::new(config, trip, Nonce(nonce), owners.len(), self.l2.exists, now);
        let flight = Flight {
            errand,
            trip,
            work: 0,
            owners,
            stand: (None, 0),
            from_l2: None,
            from_member: None,
            from_issuer: None,
            sent: now,
            sent_wall: 0,
            stated: 0,
            retry_at: now,
        };
        self.fly(number, flight);
    }

    /// Does what the errand says, until it waits for something.
    fn fly(&mut self, number: usize, mut flight: Flight) {
        while let Some(action) = flight.errand.poll() {
            self.act(number, &mut flight, action);
        }
        if !flight.errand.is_over() {
            self.nodes[number].flights.insert(flight.trip.number, flight);
        }
    }

    fn act(&mut self, number: usize, flight: &mut Flight, action: Action) {
        let node = &mut self.nodes[number];
        let now = node.moment(self.now);
        let lease = ErrandConfig::of(node.machine.policy()).lease;
        let nonce = flight.errand.nonce();
        let mut job = Job {
            node: number,
            epoch: node.epoch,
            trip: flight.trip.number,
            work: flight.work,
        };
        if !matches!(action, Action::Renew | Action::Take(_) | Action::End { .. }) {
            // Whatever was waited for is given up.
            flight.work += 1;
            job.work = flight.work;
        }
        match action {
            Action::Look => self.send(job, Op::Look),
            Action::Lease(_) => self.send(job, Op::Lease(nonce, lease)),
            Action::Draw => self.send(job, Op::Draw),
            Action::Wait(holder) => self.send(job, Op::Gone(holder)),
            Action::Renew => self.send(job, Op::Renew(nonce, lease)),
            Action::Hold => self.send(job, Op::Hold(nonce, lease)),
            Action::Release => self.send(job, Op::Release(nonce)),
            Action::Ask(owner) => self.ask_member(job, flight.owners[owner], flight.trip.why),
            Action::Fetch { no_cache } => {
                flight.sent = now;
                flight.sent_wall = node.wall(self.now);
                flight.stated = node.machine.stated();
                let etag = node.own.as_ref().and_then(|own| own.etag.clone());
                self.after(ms(1), Event::Request { job, no_cache, etag });
            }
            Action::Take(source) => {
                node.own = match source {
                    Source::L2 => flight.from_l2.clone(),
                    Source::Member => flight.from_member.clone(),
                    Source::Issuer => flight.from_issuer.clone(),
                };
            }
            Action::End { end, proof } => flight.retry_at = self.land(number, flight.trip, end, proof),
            Action::Publish { changed } => self.share(job, flight, changed),
            Action::Settle { failed } => {
                let ttl = match failed {
                    true => flight.retry_at.since(now),
                    false => self.policy.min_interval,
                };
                let ticket = Ticket {
                    lease: nonce,
                    failed: failed.then_some(ttl.as_millis() as u32),
                };
                self.send(job, Op::Settle(ticket, ttl));
            }
        }
    }

    fn ask_member(&mut self, job: Job, to: usize, why: Why) {
        let node = &self.nodes[job.node];
        let question = KeyQuestion {
            issuer: ScopeId([0; 16]),
            have: match (&node.own, why) {
                (None, _) | (_, Why::Cold) => (0, 0),
                (Some(own), _) => (own.generation, own.asked),
            },
            generation: match why {
                Why::Newer(generation) => generation,
                _ => 0,
            },
            kid: node.wanted.clone().filter(|_| why == Why::UnknownKid),
            afresh: why == Why::Asked,
        };
        let hop = self.hop();
        self.after(hop, Event::Question { job, to, question });
        self.after(PATIENCE, Event::Back(job, Done::Answered(None)));
    }

    fn share(&mut self, job: Job, flight: &Flight, changed: bool) {
        let Some(own) = self.nodes[job.node].own.clone() else {
            return;
        };
        let mut wait = Duration::ZERO;
        if changed && (self.gossip || (self.l2.exists && self.l2.up)) {
            self.stated = self.stated.max(own.generation);
            for other in 0..self.nodes.len() {
                let delay = self.rng.between(ms(1), ms(40));
                let epoch = self.nodes[other].epoch;
                self.after(delay, Event::Heard(other, epoch, own.generation));
            }
            // Until it is committed.
            wait = self.rng.between(ms(1), ms(5));
        }
        match self.l2.exists {
            true => self.after(wait, Event::Operate(job, Op::Store(own, flight.stand.0))),
            false => self.after(wait, Event::Back(job, Done::Published(false))),
        }
    }

    /// What was waited for has come.
    pub(super) fn back(&mut self, job: Job, done: Done) {
        let now = self.now;
        let node = &mut self.nodes[job.node];
        let moment = node.moment(now);
        let Some(mut flight) = node.flights.remove(&job.trip) else {
            return;
        };
        if flight.work == job.work {
            let input = match done {
                Done::Looked(found, ticket) => {
                    flight.stand = found
                        .as_ref()
                        .map_or((None, 0), |(set, value)| (Some(*value), set.generation));
                    let set = found.map(|(set, _)| set);
                    let told = set
                        .as_ref()
                        .and_then(|set| node.told(now, set, false, self.rules.generation));
                    flight.from_l2 = set.filter(|_| told.is_some());
                    Input::Looked { set: told, ticket }
                }
                Done::Leased(end) => Input::Leased(end),
                Done::Drawn(wait) => Input::Drawn(wait),
                Done::Gone => Input::Gone,
                Done::Holds(ours) => Input::Holds(ours),
                Done::Published(stored) => Input::Published(stored),
                Done::Answered(Some(KeyAnswer::Set { set, proof })) => {
                    let told = node.told(now, &set, proof, self.rules.generation);
                    flight.from_member = Some(set);
                    Input::Answered(told.ok_or(None))
                }
                Done::Answered(Some(KeyAnswer::NotNow(millis))) => Input::Answered(Err(Some(ms(u64::from(millis))))),
                Done::Answered(_) => Input::Answered(Err(None)),
                Done::Fetched(answer) => Input::Fetched(self.fetched(&mut flight, job.node, answer)),
            };
            flight.errand.handle(moment, input);
        }
        self.fly(job.node, flight);
        self.pump(job.node);
    }

    /// What an attempt brought, compared with what is held.
    fn fetched(&mut self, flight: &mut Flight, number: usize, answer: Answer) -> FetchEnd {
        let pause = self.policy.backoff(0, self.rng.next() as u32);
        let max_age = self.idp.max_age;
        let node = &self.nodes[number];
        let failed = |retry_after, transient| FetchEnd::Failed {
            retry_after,
            transient,
            pause,
        };
        let (document, etag) = match (answer, &node.own) {
            (Answer::Document(kids, etag), _) => {
                let kids: Vec<String> = kids.into_iter().collect();
                (kids.join(",").into_bytes(), Some(etag))
            }
            (Answer::NotModified, Some(own)) => (own.document.clone(), own.etag.clone()),
            (Answer::NotModified | Answer::WrongType, _) => return failed(None, false),
            (Answer::Refused, _) => return failed(None, true),
            (Answer::TooMany(retry_after), _) => return failed(Some(retry_after), false),
        };
        let stated = node.machine.stated();
        let own = node.own.as_ref().map_or(0, |own| own.generation);
        let differs = node.own.as_ref().is_none_or(|own| own.document != document);
        let missing = node
            .own
            .as_ref()
            .is_some_and(|own| !kids(&own.document).is_subset(&kids(&document)));
        let known = flight.from_l2.as_ref().filter(|set| set.document == document);
        let (generation, changed) = match known {
            Some(set) if set.generation >= stated.max(own) => (set.generation, false),
            _ if differs || own < stated => (own.max(stated).max(flight.stand.1) + 1, true),
            _ => (own, false),
        };
        flight.from_issuer = Some(KeySet {
            generation,
            asked: flight.sent_wall,
            max_age: max_age.map(|age| age.as_secs() as u32),
            etag,
            by: Origin([number as u8; 16]),
            document,
        });
        FetchEnd::Brought {
            asked: flight.sent,
            max_age,
            changed,
            removed: self.rules.second_look && (missing || stated != flight.stated),
        }
    }

    /// Lets time act on the node, and says when it wants to be called again.
    pub(super) fn pump(&mut self, number: usize) {
        if !self.nodes[number].up {
            return;
        }
        let now = self.nodes[number].moment(self.now);
        let due: Vec<u64> = self.nodes[number].flights.keys().copied().collect();
        for trip in due {
            if let Some(mut flight) = self.nodes[number].flights.remove(&trip) {
                flight.errand.tick(now);
                self.fly(number, flight);
            }
        }
        if let Some(trip) = self.nodes[number].machine.tick(now) {
            self.begin(number, trip, true);
        }
        let node = &self.nodes[number];
        let next = node.flights.values().map(|flight| flight.errand.poll_timeout());
        let next = next.fold(node.machine.poll_timeout(), Moment::min);
        if next == Moment::NEVER {
            return;
        }
        // A clock is read a little after the moment at the soonest.
        let at = self.now.plus(next.since(now).max(Duration::from_micros(10)));
        if node.timer.is_none_or(|timer| at < timer) {
            self.nodes[number].timer = Some(at);
            self.at(at, Event::Timer(number, at));
        }
    }
}
