//! How one trip gets a newer set, so that one node in the cluster asks the issuer and the others take what it brought.
//!
//! ```text
//! look (the set and the ticket of the issuer in L2)
//!   -> the set is good enough: take it
//!   -> somebody fetches: wait until the lease is gone -> look
//!   -> somebody has lately fetched: take what came of it, or wait the least time between two fetches -> look
//!   -> nobody: take the lease -> (unknown kid: draw on the cluster's budget) -> fetch, renewing
//!        -> keys are missing that were there: fetch once more, past all caches
//!        -> the lease still is ours: take it in here, state the generation, store the set, leave a ticket
//!        -> it is not: look; somebody else fetches: wait; else take in what is better, and leave no ticket
//! no L2 -> ask the owner among the live members, then the next one -> fetch by oneself
//! ```
//!
//! The **ticket** stands under a name of its own beside the set: as a lease while somebody fetches, then for a short while as
//! the word of what came of it. So a fetch that fails does not destroy the last good set, and the cluster as a whole keeps
//! to the least time between two fetches and to the back-off.
//!
//! Whether a fetch began after a caller came is decided without any clock: it runs under a lease that was not there at the
//! first look. A ticket of such a lease proves that what the set lacks does not exist; so a fetch under a lease passes all
//! caches, and there is a good ticket only where the set of its fetch was stored before.

mod talk;

use alloc::collections::VecDeque;
use core::time::Duration;

pub use talk::{Action, ErrandConfig, FetchEnd, Held, Input, LeaseEnd, Source, Told};

use super::machine::{End, Trip, Why};
use crate::ident::Nonce;
use crate::time::Moment;

/// One trip, carried out.
#[derive(Debug)]
pub struct Errand {
    config: ErrandConfig,
    trip: Trip,
    nonce: Nonce,
    owners: usize,
    has_l2: bool,
    state: State,
    looked: bool,
    /// The lease that was there at the first look: what it fetches began before this errand.
    before: Option<Nonce>,
    waits: usize,
    paused: bool,
    stuck: Option<Nonce>,
    leased: bool,
    drawn: bool,
    attempts: u32,
    second: bool,
    past_caches: bool,
    /// What was fetched, while it is not known whether the lease still is ours.
    kept: Option<Kept>,
    /// An owner that may not ask now, and how long.
    refused: Option<Duration>,
    give_up: Moment,
    renew_at: Moment,
    actions: VecDeque<Action>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    asked: Moment,
    max_age: Option<Duration>,
    changed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Looking,
    Leasing,
    Drawing,
    Waiting { until: Moment },
    Pausing { until: Moment },
    Asking(usize),
    Fetching,
    Retrying { at: Moment },
    Checking,
    Publishing,
    Over,
}

impl Errand {
    /// An errand under its own random nonce. `owners` members stand before this node in the order in which the issuer's set
    /// is asked for where there is no L2. `has_l2`: whether there is any.
    #[must_use]
    pub fn new(config: ErrandConfig, trip: Trip, nonce: Nonce, owners: usize, has_l2: bool, now: Moment) -> Self {
        let mut errand = Self {
            config,
            trip,
            nonce,
            owners,
            has_l2,
            state: State::Looking,
            looked: false,
            before: None,
            waits: 0,
            paused: false,
            stuck: None,
            leased: false,
            drawn: false,
            attempts: 0,
            second: false,
            past_caches: false,
            kept: None,
            refused: None,
            give_up: Moment::NEVER,
            renew_at: Moment::NEVER,
            actions: VecDeque::new(),
        };
        if has_l2 {
            errand.look();
        } else {
            errand.ask(now, 0);
        }
        errand
    }

    /// The nonce of its lease.
    #[must_use]
    pub const fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// The trip.
    #[must_use]
    pub const fn trip(&self) -> Trip {
        self.trip
    }

    /// Whether it has ended: nothing more comes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over && self.actions.is_empty()
    }

    /// When [`Errand::tick`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Moment {
        let own = match self.state {
            State::Waiting { until } | State::Pausing { until } => until,
            State::Retrying { at } => at,
            State::Fetching => self.give_up,
            _ => Moment::NEVER,
        };
        match self.leased && self.state != State::Over {
            true => own.min(self.renew_at),
            false => own,
        }
    }

    /// The next thing to do; call until it answers `None`.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) {
        match self.state {
            State::Waiting { until } | State::Pausing { until } if now >= until => self.look(),
            State::Retrying { at } if now >= at => self.attempt(),
            State::Fetching if now >= self.give_up => self.fail(None),
            _ => {}
        }
        if self.leased && self.state != State::Over && now >= self.renew_at {
            self.renew_at = now.plus(self.config.lease / 3);
            self.actions.push_back(Action::Renew);
        }
    }

    /// Something came in. What does not fit the state is an answer that nobody waits for any more, and changes nothing.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match (self.state, input) {
            (State::Looking, Input::Looked { set, ticket }) => self.on_look(now, set, ticket),
            (State::Leasing, Input::Leased(end)) => self.on_lease(now, end),
            (State::Drawing, Input::Drawn(None)) => self.fetch(now),
            (State::Drawing, Input::Drawn(Some(retry_after))) => {
                let by_budget = true;
                self.end(End::Refused { retry_after, by_budget }, false);
                if self.leased {
                    // Only unknown kids draw: timers must find the way free.
                    self.actions.push_back(Action::Release);
                }
            }
            (State::Waiting { .. }, Input::Gone) => self.look(),
            (State::Asking(owner), Input::Answered(answer)) => self.on_answer(now, owner, answer),
            (State::Fetching, Input::Fetched(end)) => self.on_fetch(now, end),
            (State::Checking, Input::Holds(true)) => self.keep(),
            (State::Checking, Input::Holds(false)) => {
                // Another node may have taken over. Whoever wakes late changes nothing that came since.
                self.leased = false;
                self.look();
            }
            (State::Publishing, Input::Published(stored)) => {
                self.state = State::Over;
                if stored {
                    self.settle(false);
                } else if self.leased {
                    // A ticket would say of whatever stands there that it was fetched under this lease.
                    self.actions.push_back(Action::Release);
                }
            }
            _ => {}
        }
    }

    fn on_look(&mut self, now: Moment, set: Option<Told>, ticket: Held) {
        let first = !core::mem::replace(&mut self.looked, true);
        // What was fetched under a lease that came after the first look, was fetched after the errand began.
        let proof = match &ticket {
            Held::Ticket(nonce, None) => !first && self.before != Some(*nonce),
            _ => false,
        };
        if first {
            self.before = match &ticket {
                Held::By(nonce) | Held::Ticket(nonce, _) => Some(*nonce),
                Held::Unknown | Held::Nothing(_) => None,
            };
        }
        if let Some(set) = set.filter(|set| self.is_enough(set, proof)) {
            return self.take(Source::L2, &set, proof);
        }
        match ticket {
            Held::By(nonce) => self.wait_for(now, nonce),
            _ if self.kept.is_some() => self.keep(),
            Held::Unknown => self.ask(now, 0),
            Held::Nothing(over) => {
                self.state = State::Leasing;
                self.actions.push_back(Action::Lease(over));
            }
            Held::Ticket(_, Some(retry_after)) => {
                let by_budget = false;
                self.end(End::Refused { retry_after, by_budget }, false);
            }
            // It was good, and is not enough: the least time between two fetches has to pass.
            Held::Ticket(_, None) => self.pause(now),
        }
    }

    fn on_lease(&mut self, now: Moment, end: LeaseEnd) {
        match end {
            LeaseEnd::Taken => {
                self.leased = true;
                self.renew_at = now.plus(self.config.lease / 3);
                self.fetch(now);
            }
            LeaseEnd::Held(nonce) => self.wait_for(now, nonce),
            LeaseEnd::Present if self.waits < self.config.patience => {
                self.waits += 1;
                self.look();
            }
            LeaseEnd::Present | LeaseEnd::Unknown => self.ask(now, 0),
        }
    }

    fn on_answer(&mut self, now: Moment, owner: usize, answer: Result<Told, Option<Duration>>) {
        match answer {
            Ok(set) if self.is_enough(&set, set.proof) => self.take(Source::Member, &set, set.proof),
            Err(Some(retry_after)) => {
                // It may be alone in not reaching the issuer.
                self.refused = Some(self.refused.map_or(retry_after, |other| other.min(retry_after)));
                self.ask(now, owner + 1);
            }
            Ok(_) | Err(None) => self.ask(now, owner + 1),
        }
    }

    fn on_fetch(&mut self, now: Moment, end: FetchEnd) {
        match end {
            FetchEnd::Brought { removed: true, .. } if !self.second => {
                // An edge that serves an old set takes keys away as well as a withdrawal does.
                self.second = true;
                self.attempt();
            }
            FetchEnd::Brought {
                asked,
                max_age,
                changed,
                ..
            } => {
                self.kept = Some(Kept {
                    asked,
                    max_age,
                    changed,
                });
                if self.leased {
                    self.state = State::Checking;
                    self.actions.push_back(Action::Hold);
                } else {
                    self.keep();
                }
            }
            FetchEnd::Failed {
                transient: true, pause, ..
            } if self.attempts < self.trip.attempts && now.plus(pause) < self.give_up => {
                self.state = State::Retrying { at: now.plus(pause) };
            }
            FetchEnd::Failed { retry_after, .. } => self.fail(retry_after),
        }
    }

    /// Whether a set that another node fetched ends the trip.
    fn is_enough(&self, set: &Told, proof: bool) -> bool {
        match self.trip.why {
            Why::Cold => true,
            Why::Due | Why::Confirm => set.newer,
            Why::UnknownKid => set.holds || proof,
            Why::Newer(generation) => set.generation >= generation,
            Why::Asked => proof,
        }
    }

    fn take(&mut self, source: Source, set: &Told, proof: bool) {
        self.actions.push_back(Action::Take(source));
        let end = End::Taken {
            age: set.age,
            max_age: set.max_age,
            generation: set.generation,
        };
        self.end(end, proof);
    }

    fn end(&mut self, end: End, proof: bool) {
        self.state = State::Over;
        self.actions.push_back(Action::End { end, proof });
    }

    fn look(&mut self) {
        self.state = State::Looking;
        self.actions.push_back(Action::Look);
    }

    /// The lease of another node. It is waited for as long as a fetch can take, then the issuer is asked without a lease: its
    /// holder renews it and gets nowhere.
    fn wait_for(&mut self, now: Moment, nonce: Nonce) {
        if self.stuck == Some(nonce) || self.waits >= self.config.patience {
            return match self.kept {
                Some(_) => self.keep(),
                None => self.fetch(now),
            };
        }
        self.stuck = Some(nonce);
        self.waits += 1;
        let until = now.plus(self.config.deadline).plus(self.config.lease);
        self.state = State::Waiting { until };
        self.actions.push_back(Action::Wait(nonce));
    }

    fn pause(&mut self, now: Moment) {
        if core::mem::replace(&mut self.paused, true) {
            return self.fetch(now);
        }
        // A little more, so that the ticket is gone by then.
        let until = now.plus(self.config.min_interval).plus(self.config.lease / 50);
        self.state = State::Pausing { until };
    }

    fn ask(&mut self, now: Moment, owner: usize) {
        if owner < self.owners {
            self.state = State::Asking(owner);
            self.actions.push_back(Action::Ask(owner));
        } else if let Some(retry_after) = self.refused.filter(|_| self.owners >= self.config.owners) {
            let by_budget = self.trip.why == Why::UnknownKid;
            self.end(End::Refused { retry_after, by_budget }, false);
        } else {
            // Nobody to ask; or this node is an owner itself.
            self.fetch(now);
        }
    }

    /// Unknown kids draw first, also those that found no lease to take: a flood makes them wait for one holder after the other.
    fn fetch(&mut self, now: Moment) {
        if self.trip.why == Why::UnknownKid && self.has_l2 && !core::mem::replace(&mut self.drawn, true) {
            self.state = State::Drawing;
            self.actions.push_back(Action::Draw);
            return;
        }
        self.give_up = now.plus(self.config.deadline);
        self.attempt();
    }

    fn attempt(&mut self) {
        self.attempts += 1;
        self.state = State::Fetching;
        self.past_caches = self.second || self.leased || self.trip.why.no_cache();
        let no_cache = self.past_caches;
        self.actions.push_back(Action::Fetch { no_cache });
    }

    /// What was fetched becomes the own set, and then the others'.
    fn keep(&mut self) {
        let Some(Kept {
            asked,
            max_age,
            changed,
        }) = self.kept.take()
        else {
            return;
        };
        self.actions.push_back(Action::Take(Source::Issuer));
        // The generation is what taking it made it: the driver fills it in.
        let end = End::Fetched {
            asked,
            max_age,
            generation: 0,
        };
        self.end(end, self.past_caches);
        self.state = State::Publishing;
        self.actions.push_back(Action::Publish { changed });
    }

    fn fail(&mut self, retry_after: Option<Duration>) {
        self.end(End::Failed { retry_after }, false);
        self.settle(true);
    }

    fn settle(&mut self, failed: bool) {
        if self.leased {
            self.actions.push_back(Action::Settle { failed });
        }
    }
}
