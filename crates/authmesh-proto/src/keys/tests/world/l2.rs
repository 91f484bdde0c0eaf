//! L2: a set entry that is replaced over exactly what was seen, a ticket entry with a lease, and two counters.

use super::node::{Done, Job};
use super::{Event, World};
use crate::ident::Nonce;
use crate::keys::{Held, KeySet, LeaseEnd, Ticket};
use crate::time::Moment;
use core::time::Duration;

use super::super::ms;

/// How long a call is waited for.
const TIMEOUT: Duration = ms(250);

#[derive(Debug, Clone, Copy)]
enum Slot {
    Lease(Nonce, Moment),
    Ticket(Ticket, Moment),
}

/// What a node asks of it.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Look,
    Lease(Nonce, Duration),
    Draw,
    Gone(Nonce),
    Renew(Nonce, Duration),
    Hold(Nonce, Duration),
    Store(KeySet, Option<u64>),
    Settle(Ticket, Duration),
    Release(Nonce),
}

pub(in crate::keys) struct L2 {
    pub exists: bool,
    pub up: bool,
    /// Whether it has room for a set.
    pub has_room: bool,
    /// It does what it is asked, and its answers are lost.
    pub loses_answers: bool,
    /// The set, and which of all values that ever stood there.
    pub set: Option<(KeySet, u64)>,
    pub values: u64,
    slot: Option<Slot>,
    budget: (Moment, u32),
    drip: (Moment, u32),
}

impl L2 {
    pub(super) const fn new() -> Self {
        Self {
            exists: true,
            up: true,
            has_room: true,
            loses_answers: false,
            set: None,
            values: 0,
            slot: None,
            budget: (Moment::ORIGIN, 0),
            drip: (Moment::ORIGIN, 0),
        }
    }

    /// Whoever can write to Redis puts something there.
    pub(in crate::keys) fn put(&mut self, set: Option<KeySet>) {
        self.values += 1;
        self.set = set.map(|set| (set, self.values));
    }

    pub(in crate::keys) fn empty(&mut self) {
        self.put(None);
        self.slot = None;
    }

    fn slot(&self, now: Moment) -> Option<Slot> {
        self.slot.filter(|slot| match slot {
            Slot::Lease(_, until) | Slot::Ticket(_, until) => now < *until,
        })
    }

    pub(in crate::keys) fn holder(&self, now: Moment) -> Option<Nonce> {
        match self.slot(now) {
            Some(Slot::Lease(nonce, _)) => Some(nonce),
            _ => None,
        }
    }

    fn held(&self, now: Moment) -> Held {
        match self.slot(now) {
            None => Held::Nothing(None),
            Some(Slot::Lease(nonce, _)) => Held::By(nonce),
            Some(Slot::Ticket(ticket, until)) => {
                // As the sealed record has it: full seconds of the writer's wall clock, rounded up.
                let wall = |at: Moment| at.since(Moment::ORIGIN).as_secs();
                Held::Ticket(ticket.lease, ticket.left(wall(until) + 1, wall(now)))
            }
        }
    }

    fn owned(&mut self, now: Moment, nonce: Nonce) -> bool {
        matches!(self.slot(now), Some(Slot::Lease(holder, _)) if holder == nonce)
    }
}

impl World {
    pub(super) fn send(&mut self, job: Job, op: Op) {
        let hop = self.hop();
        self.after(hop, Event::Operate(job, op));
    }

    /// A call arrives. What an L2 that is cut off does not get, and what it cannot answer, is given up.
    pub(super) fn operate(&mut self, job: Job, op: Op) {
        if !self.l2.up || !self.nodes[job.node].reaches_l2 {
            if let Some(done) = given_up(&op) {
                self.after(TIMEOUT, Event::Back(job, done));
            }
            return;
        }
        let now = self.now;
        let lost = given_up(&op);
        let done = match op {
            Op::Look => {
                let held = match self.rules.lease {
                    true => self.l2.held(now),
                    false => Held::Nothing(None),
                };
                Done::Looked(self.l2.set.clone(), held)
            }
            Op::Lease(nonce, ttl) => Done::Leased(self.lease(now, nonce, ttl)),
            Op::Draw => Done::Drawn(self.draw(now)),
            Op::Gone(nonce) => {
                if self.l2.holder(now) == Some(nonce) {
                    let poll = self.rng.between(ms(5), ms(25));
                    return self.after(poll, Event::Operate(job, Op::Gone(nonce)));
                }
                Done::Gone
            }
            Op::Renew(nonce, ttl) => {
                self.renew(now, nonce, ttl);
                return;
            }
            Op::Hold(nonce, ttl) => Done::Holds(self.renew(now, nonce, ttl)),
            Op::Store(set, over) => {
                let fits = self.l2.set.as_ref().map(|(_, value)| *value) == over && self.l2.has_room;
                if fits {
                    self.l2.put(Some(set));
                }
                Done::Published(fits)
            }
            Op::Settle(ticket, ttl) => {
                if self.l2.owned(now, ticket.lease) {
                    self.l2.slot = self.rules.ticket.then_some(Slot::Ticket(ticket, now.plus(ttl)));
                }
                return;
            }
            Op::Release(nonce) => {
                if self.l2.owned(now, nonce) {
                    self.l2.slot = None;
                }
                return;
            }
        };
        // The answer may find the way cut.
        let hop = self.hop();
        match lost {
            Some(lost) if self.l2.loses_answers => self.after(TIMEOUT, Event::Back(job, lost)),
            _ => self.after(hop, Event::Back(job, done)),
        }
    }

    fn lease(&mut self, now: Moment, nonce: Nonce, ttl: Duration) -> LeaseEnd {
        match self.l2.slot(now) {
            Some(Slot::Lease(holder, _)) if holder != nonce && self.rules.lease => LeaseEnd::Held(holder),
            Some(Slot::Ticket(..)) if self.rules.lease => LeaseEnd::Present,
            _ => {
                self.l2.slot = Some(Slot::Lease(nonce, now.plus(ttl)));
                LeaseEnd::Taken
            }
        }
    }

    fn renew(&mut self, now: Moment, nonce: Nonce, ttl: Duration) -> bool {
        let ours = self.l2.owned(now, nonce);
        if ours {
            self.l2.slot = Some(Slot::Lease(nonce, now.plus(ttl)));
        }
        ours || !self.rules.lease
    }

    /// A burst in a window that begins with the first draw, and beyond it one attempt in each period.
    fn draw(&mut self, now: Moment) -> Option<Duration> {
        let period = self.policy.unknown_kid_period;
        let burst = self.policy.unknown_kid_burst;
        let free =
            count(&mut self.l2.budget, now, period * burst) <= burst || count(&mut self.l2.drip, now, period) == 1;
        (!free).then_some(period)
    }
}

/// A counter of L2, which lives for so long from its first increment.
fn count((until, counted): &mut (Moment, u32), now: Moment, lives: Duration) -> u32 {
    if now >= *until {
        (*until, *counted) = (now.plus(lives), 0);
    }
    *counted += 1;
    *counted
}

/// What a node makes of a call that nobody answers; `None`: it waits for no answer.
fn given_up(op: &Op) -> Option<Done> {
    match op {
        Op::Look => Some(Done::Looked(None, Held::Unknown)),
        Op::Lease(..) => Some(Done::Leased(LeaseEnd::Unknown)),
        Op::Draw => Some(Done::Drawn(None)),
        Op::Gone(_) => Some(Done::Gone),
        Op::Hold(..) => Some(Done::Holds(false)),
        Op::Store(..) => Some(Done::Published(false)),
        Op::Renew(..) | Op::Settle(..) | Op::Release(_) => None,
    }
}
