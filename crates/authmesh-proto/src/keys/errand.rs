//! How one trip gets a newer set, so that one node in the cluster asks the issuer and the others take what it brought.
//!
//! ```text
//! look (the set and the ticket of the issuer in L2)
//!   -> the set is good enough: take it
//!   -> somebody fetches: wait until the lease is gone -> look
//!   -> somebody has lately fetched: take what came of it, or wait the least time between two fetches -> look
//!   -> nobody: take the lease -> (unknown kid: draw on the cluster's budget) -> fetch, renewing
//!        -> keys are missing that were there: fetch once more, past all caches
//!        -> keep it here -> the lease still is ours: state the generation, store the set, leave a ticket
//! no L2 -> ask the owner among the live members, then the next one -> fetch by oneself
//! ```
//!
//! The **ticket** stands under a name of its own beside the set: as a lease while somebody fetches, then for a short while as
//! the word of what came of it. So a fetch that fails does not destroy the last good set, and the cluster as a whole keeps
//! to the least time between two fetches and to the back-off.
//!
//! Whether a fetch began after a caller came is decided without any clock: it runs under a lease that was not there at the
//! first look.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::machine::{End, Trip, Why};
use crate::ident::Nonce;
use crate::time::Moment;

/// Times of an [`Errand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrandConfig {
    /// How long a lease lives; renewed three times in that time while fetching. Default: 1 s.
    pub lease: Duration,
    /// How long all attempts to ask the issuer may take; see [`KeyPolicy::deadline`](super::KeyPolicy::deadline).
    pub deadline: Duration,
    /// The least time between two fetches; see [`KeyPolicy::min_interval`](super::KeyPolicy::min_interval).
    pub min_interval: Duration,
    /// How many holders of the lease are waited for before the issuer is asked without a lease. Default: 3.
    pub patience: usize,
}

impl ErrandConfig {
    /// The configuration under a policy.
    #[must_use]
    pub const fn of(policy: &super::KeyPolicy) -> Self {
        Self {
            lease: Duration::from_secs(1),
            deadline: policy.deadline,
            min_interval: policy.min_interval,
            patience: 3,
        }
    }
}

/// A set that another node fetched, as far as it matters here. Only one that may be trusted at all is told: it opened, it is
/// not older than the trust age, and not of a generation before the one that the cluster stated, nor before the own one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its generation.
    pub generation: u64,
    /// How long ago the issuer was asked for it.
    pub age: Duration,
    /// How long the issuer lets it be used, if it says so.
    pub max_age: Option<Duration>,
    /// Whether the issuer was asked for it later than for the own one. True without an own one.
    pub newer: bool,
    /// Whether it holds what the caller lacks. False where nothing certain is lacking.
    pub holds: bool,
    /// Whether the issuer was asked after this errand began. Only a member that was asked can say so.
    pub proof: bool,
}

/// What stands under the ticket's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// L2 cannot be asked, or there is none.
    Unknown,
    /// Nothing that counts; these bytes, if there are any.
    Nothing(Option<Vec<u8>>),
    /// Somebody fetches, under this lease.
    By(Nonce),
    /// Somebody has fetched, under this lease; it failed, and asking makes sense again after so long.
    Ticket(Nonce, Option<Duration>),
}

/// How asking for the lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// The lease is ours.
    Taken,
    /// Another node holds it.
    Held(Nonce),
    /// There is a ticket: read again.
    Present,
    /// L2 cannot be asked, or has no room for it.
    Unknown,
}

/// How an attempt to ask the issuer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEnd {
    /// A usable set, or the word that the own one still holds.
    Brought {
        /// When it was asked.
        asked: Moment,
        /// How long it lets the set be used, if it says so.
        max_age: Option<Duration>,
        /// Whether it differs from the own one.
        changed: bool,
        /// Whether keys of the own one are missing in it, or are other keys now.
        removed: bool,
    },
    /// No usable answer.
    Failed {
        /// How long it asked to be left alone, if it did.
        retry_after: Option<Duration>,
        /// Whether asking again at once may help: the connection, or a 5xx; not what the issuer means to say.
        transient: bool,
        /// The wait before the next attempt.
        pause: Duration,
    },
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The answer to [`Action::Look`].
    Looked {
        /// The set in L2.
        set: Option<Told>,
        /// The ticket.
        ticket: Held,
    },
    /// The answer to [`Action::Lease`].
    Leased(LeaseEnd),
    /// The answer to [`Action::Draw`]: how long until the budget has something, if it is spent.
    Drawn(Option<Duration>),
    /// The lease that [`Action::Wait`] named is gone, or L2 cannot be asked.
    Gone,
    /// The answer to [`Action::Ask`]: a set; or the word not to ask now; or nothing usable.
    Answered(Result<Told, Option<Duration>>),
    /// The answer to [`Action::Fetch`].
    Fetched(FetchEnd),
    /// The answer to [`Action::Hold`]: whether the lease is ours still. Where L2 cannot be asked it is not.
    Holds(bool),
    /// [`Action::Publish`] is done.
    Published,
}

/// Where the set comes from that is to be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The last look into L2.
    L2,
    /// The last answer of a member.
    Member,
    /// The last fetch.
    Issuer,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the set and the ticket; answer with [`Input::Looked`].
    Look,
    /// Take the lease; over exactly these bytes, if there are any. Answer with [`Input::Leased`].
    Lease(Option<Vec<u8>>),
    /// Draw on the cluster's budget for unknown kids; answer with [`Input::Drawn`]. Where L2 cannot be asked, the own budget is
    /// all there is.
    Draw,
    /// Wait until this lease is gone; answer with [`Input::Gone`]. Given up when something else follows.
    Wait(Nonce),
    /// Ask the n-th owner; answer with [`Input::Answered`].
    Ask(usize),
    /// Ask the issuer, once; answer with [`Input::Fetched`]. Every attempt carries the entity tag of the own set.
    Fetch {
        /// Past intermediate caches.
        no_cache: bool,
    },
    /// Prolong the lease.
    Renew,
    /// Prolong the lease, and answer with [`Input::Holds`].
    Hold,
    /// Make this set the own one.
    Take(Source),
    /// The trip has ended so: tell the machine and wake the callers. What follows delays nobody.
    End {
        /// How.
        end: End,
        /// Whether the issuer was asked after the errand began: a kid that is in no set then does not exist.
        proof: bool,
    },
    /// State the set's generation if it is a new one, then store the set for the others; answer with [`Input::Published`].
    /// Without L2 there is only the statement.
    Publish {
        /// Whether it is a new one.
        changed: bool,
    },
    /// Leave a ticket in place of the lease: a good one for [`KeyPolicy::min_interval`](super::KeyPolicy::min_interval), one of
    /// a failure until the machine lets the next trip begin.
    Settle {
        /// Whether the issuer gave no usable answer.
        failed: bool,
    },
    /// Give the lease back.
    Release,
}

/// One trip, carried out.
#[derive(Debug)]
pub struct Errand {
    config: ErrandConfig,
    trip: Trip,
    nonce: Nonce,
    owners: usize,
    state: State,
    looked: bool,
    /// The lease that was there at the first look: what it fetches began before this errand.
    before: Option<Nonce>,
    waits: usize,
    paused: bool,
    stuck: Option<Nonce>,
    leased: bool,
    attempts: u32,
    second: bool,
    give_up: Moment,
    renew_at: Moment,
    actions: VecDeque<Action>,
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
    Checking { changed: bool },
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
            state: State::Looking,
            looked: false,
            before: None,
            waits: 0,
            paused: false,
            stuck: None,
            leased: false,
            attempts: 0,
            second: false,
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
                self.end(
                    End::Refused {
                        retry_after,
                        by_budget: true,
                    },
                    false,
                );
                // Only unknown kids draw: timers must find the way free.
                self.actions.push_back(Action::Release);
            }
            (State::Waiting { .. }, Input::Gone) => self.look(),
            (State::Asking(owner), Input::Answered(answer)) => self.on_answer(now, owner, answer),
            (State::Fetching, Input::Fetched(end)) => self.on_fetch(now, end),
            (State::Checking { changed }, Input::Holds(ours)) => self.publish(changed, ours),
            (State::Publishing, Input::Published) => {
                self.state = State::Over;
                self.settle(false);
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
            Held::Unknown => self.ask(now, 0),
            Held::Nothing(over) => {
                self.state = State::Leasing;
                self.actions.push_back(Action::Lease(over));
            }
            Held::By(nonce) => self.wait_for(now, nonce),
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
                if self.trip.why == Why::UnknownKid {
                    self.state = State::Drawing;
                    self.actions.push_back(Action::Draw);
                } else {
                    self.fetch(now);
                }
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
                let by_budget = self.trip.why == Why::UnknownKid;
                self.end(End::Refused { retry_after, by_budget }, false);
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
                self.actions.push_back(Action::Take(Source::Issuer));
                // The generation is what taking it made it: the driver fills it in.
                let end = End::Fetched {
                    asked,
                    max_age,
                    generation: 0,
                };
                self.actions.push_back(Action::End { end, proof: true });
                if self.leased {
                    self.state = State::Checking { changed };
                    self.actions.push_back(Action::Hold);
                } else {
                    self.publish(changed, true);
                }
            }
            FetchEnd::Failed {
                transient: true, pause, ..
            } if self.attempts < self.trip.attempts && now.plus(pause) < self.give_up => {
                self.state = State::Retrying { at: now.plus(pause) };
            }
            FetchEnd::Failed { retry_after, .. } => {
                self.end(End::Failed { retry_after }, false);
                self.settle(true);
            }
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
            return self.fetch(now);
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
        } else {
            self.fetch(now);
        }
    }

    fn fetch(&mut self, now: Moment) {
        self.give_up = now.plus(self.config.deadline);
        self.attempt();
    }

    fn attempt(&mut self) {
        self.attempts += 1;
        self.state = State::Fetching;
        self.actions.push_back(Action::Fetch {
            no_cache: self.second || self.trip.why.no_cache(),
        });
    }

    /// `ours`: a lease that ran out means that another node has taken over, and whoever wakes late changes nothing.
    fn publish(&mut self, changed: bool, ours: bool) {
        if ours {
            self.state = State::Publishing;
            self.actions.push_back(Action::Publish { changed });
        } else {
            self.state = State::Over;
        }
    }

    fn settle(&mut self, failed: bool) {
        if self.leased {
            self.actions.push_back(Action::Settle { failed });
        }
    }
}
