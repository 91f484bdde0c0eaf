//! When a newer set is wanted, and what callers do meanwhile.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

use super::budget::{Budget, By};
use super::policy::fraction;
use super::{KeyPolicy, MAX_KID_BYTES};
use crate::time::Moment;

/// Why a newer set is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// There is no set, or none that is still trusted.
    Cold,
    /// The soft lifetime ends.
    Due,
    /// The present set came from another node and is not of lately.
    Confirm,
    /// A token names a kid that the present set does not hold.
    UnknownKid,
    /// The cluster has stated that this generation exists.
    Newer(u64),
    /// An operator, or the program, asks.
    Asked,
}

impl Why {
    /// Whether intermediate caches are to be passed: what they hold may be from before the reason.
    #[must_use]
    pub const fn no_cache(self) -> bool {
        matches!(self, Self::UnknownKid | Self::Newer(_) | Self::Asked)
    }
}

/// One way to a newer set. An [`Errand`](super::Errand) carries it out; [`KeyMachine::ended`] ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trip {
    /// Counts the trips of this machine, from 1.
    pub number: u64,
    /// What for.
    pub why: Why,
    /// How often it may ask the issuer.
    pub attempts: u32,
}

/// What a caller who lacks a key is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Start this trip, then look again. The machine counts it as under way from now on.
    Fetch(Trip),
    /// Wait for the end of the trip of this number, then look again.
    Wait {
        /// Which.
        trip: u64,
        /// Whether it begins after now: what it brings then proves that a kid which is not in it does not exist.
        proves: bool,
    },
    /// A fresh set did not hold this kid: it is unknown.
    Absent,
    /// Nothing may be asked now. Not a verdict.
    NotNow {
        /// When asking makes sense again.
        retry_after: Duration,
    },
}

/// How a trip ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The issuer answered this node, with a set or with the word that it has not changed.
    Fetched {
        /// When it was asked.
        asked: Moment,
        /// How long it lets the set be used, if it says so.
        max_age: Option<Duration>,
        /// The generation of the set that is held now.
        generation: u64,
    },
    /// A set that another node fetched was taken in.
    Taken {
        /// How long ago that node asked the issuer.
        age: Duration,
        /// How long the issuer lets the set be used, if it says so.
        max_age: Option<Duration>,
        /// Its generation.
        generation: u64,
    },
    /// The issuer gave no usable answer. The present set stays.
    Failed {
        /// How long it asked to be left alone, if it did.
        retry_after: Option<Duration>,
    },
    /// The cluster has lately asked in vain, or its budget is spent. The present set stays.
    Refused {
        /// When asking makes sense again.
        retry_after: Duration,
        /// Only for what draws on the budget.
        by_budget: bool,
    },
}

/// Decides about the trips of one issuer on one node.
#[derive(Debug)]
pub struct KeyMachine {
    policy: KeyPolicy,
    trips: u64,
    under_way: Option<Trip>,
    /// A trip that begins when the least time since the last fetch has passed.
    planned: Option<(Moment, Why)>,
    fetched: Option<Moment>,
    trusted_until: Moment,
    refresh_at: Moment,
    confirm_at: Option<Moment>,
    generation: u64,
    stated: u64,
    failures: u32,
    retry_at: Moment,
    newer_at: Moment,
    quiet_until: Moment,
    budget: Budget,
    cluster_budget_at: Moment,
    absent: BTreeMap<Box<str>, Moment>,
}

impl KeyMachine {
    /// A machine without a set. The policy should have been [checked](KeyPolicy::check).
    #[must_use]
    pub const fn new(policy: KeyPolicy, now: Moment) -> Self {
        Self {
            policy,
            trips: 0,
            under_way: None,
            planned: None,
            fetched: None,
            trusted_until: Moment::ORIGIN,
            refresh_at: now,
            confirm_at: None,
            generation: 0,
            stated: 0,
            failures: 0,
            retry_at: now,
            newer_at: now,
            quiet_until: now,
            budget: Budget::new(policy.unknown_kid_burst, policy.reserve, policy.unknown_kid_period, now),
            cluster_budget_at: now,
            absent: BTreeMap::new(),
        }
    }

    /// Its settings.
    #[must_use]
    pub const fn policy(&self) -> &KeyPolicy {
        &self.policy
    }

    /// Until when the present set is trusted; [`Moment::ORIGIN`] without one.
    #[must_use]
    pub const fn trusted_until(&self) -> Moment {
        self.trusted_until
    }

    /// When the issuer was asked for the present set, or whether it still holds; no earlier than [`Moment::ORIGIN`].
    #[must_use]
    pub const fn fetched_at(&self) -> Option<Moment> {
        self.fetched
    }

    /// The generation of the present set; 0 without one.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The newest generation that the cluster has stated; 0 if none.
    #[must_use]
    pub const fn stated(&self) -> u64 {
        self.stated
    }

    /// The trip under way.
    #[must_use]
    pub const fn under_way(&self) -> Option<Trip> {
        self.under_way
    }

    /// How many trips failed since the last good one, or were refused because others' had failed.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the circuit is open: see [`KeyPolicy::open_after`].
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.failures >= self.policy.open_after
    }

    /// Until when no trip begins, after a failed one.
    #[must_use]
    pub const fn retry_at(&self) -> Moment {
        self.retry_at
    }

    /// When [`KeyMachine::tick`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Moment {
        if self.under_way.is_some() {
            return Moment::NEVER;
        }
        let mut due = self.refresh_at;
        if let Some(at) = self.confirm_at {
            due = due.min(at);
        }
        if self.stated > self.generation {
            due = due.min(self.newer_at);
        }
        let due = due.max(self.retry_at).max(self.quiet_until);
        self.planned.map_or(due, |(at, _)| due.min(at))
    }

    /// Time has passed: the trip to start in the background, if one is due.
    pub fn tick(&mut self, now: Moment) -> Option<Trip> {
        if self.under_way.is_some() {
            return None;
        }
        if let Some((_, why)) = self.planned.take_if(|(at, _)| now >= *at) {
            return Some(self.begin(why));
        }
        if now < self.retry_at.max(self.quiet_until) {
            return None;
        }
        if self.stated > self.generation && now >= self.newer_at {
            match self.budget.draw(now, By::Cluster) {
                Ok(()) => return Some(self.begin(Why::Newer(self.stated))),
                Err(wait) => self.newer_at = now.plus(wait),
            }
        }
        if self.fetched.is_none() {
            return Some(self.begin(Why::Cold));
        }
        if now >= self.refresh_at {
            return Some(self.begin(Why::Due));
        }
        self.confirm_at
            .is_some_and(|at| now >= at)
            .then(|| self.begin(Why::Confirm))
    }

    /// A caller has no set to look in, or none that is still trusted.
    pub fn want_set(&mut self, now: Moment) -> Need {
        if let Some(trip) = self.under_way {
            return wait(trip.number, false);
        }
        if now < self.retry_at {
            return not_now(self.retry_at.since(now));
        }
        // Whoever has no set at all does not wait for the least time between two fetches: there was none.
        if let Some((_, Why::UnknownKid)) = self.planned.take() {
            self.budget.refund();
        }
        Need::Fetch(self.begin(Why::Cold))
    }

    /// A caller has a trusted set, and the kid is not in it.
    pub fn want_kid(&mut self, now: Moment, kid: &str) -> Need {
        if kid.len() > MAX_KID_BYTES || self.absent.get(kid).is_some_and(|until| now < *until) {
            return Need::Absent;
        }
        if let Some(trip) = self.under_way {
            return wait(trip.number, false);
        }
        if self.planned.is_some() {
            return wait(self.trips + 1, true);
        }
        let blocked = self.retry_at.max(self.cluster_budget_at);
        if now < blocked {
            return not_now(blocked.since(now));
        }
        if let Err(wait) = self.budget.draw(now, By::Anybody) {
            return not_now(wait);
        }
        self.begin_or_plan(now, Why::UnknownKid)
    }

    /// An operator, or the program, asks for a refresh. Bound by the back-off and the least time between two fetches.
    pub fn want_refresh(&mut self, now: Moment) -> Need {
        if let Some(trip) = self.under_way {
            return wait(trip.number, false);
        }
        if self.planned.is_some() {
            return wait(self.trips + 1, true);
        }
        if now < self.retry_at {
            return not_now(self.retry_at.since(now));
        }
        self.begin_or_plan(now, Why::Asked)
    }

    /// The cluster has stated a generation.
    pub fn heard(&mut self, now: Moment, generation: u64) {
        if generation > self.stated {
            self.stated = generation;
            self.newer_at = now;
        }
    }

    /// The trip under way has ended. `jitter` is a random number.
    pub fn ended(&mut self, now: Moment, end: End, jitter: u32) {
        let trip = self.under_way.take();
        match end {
            End::Fetched {
                asked,
                max_age,
                generation,
            } => {
                self.quiet_until = now.plus(self.policy.min_interval);
                self.hold(now, now.since(asked), max_age, generation, jitter);
                self.confirm_at = None;
            }
            End::Taken {
                age,
                max_age,
                generation,
            } => {
                self.refund(trip);
                // Whoever had a trusted set knows that this one is newer. Whoever had none knows nothing.
                let first = now >= self.trusted_until;
                self.hold(now, age, max_age, generation, jitter);
                let within = self.policy.confirm_within;
                if age <= within {
                    self.confirm_at = None;
                } else if first {
                    // Nine tenths, so that the answer is there within the whole.
                    self.confirm_at = Some(now.plus(fraction(within / 10 * 9, jitter)));
                }
            }
            End::Failed { retry_after } => {
                if let Some(Trip {
                    why: Why::UnknownKid,
                    attempts,
                    ..
                }) = trip
                {
                    // The budget counts attempts, and the first is paid for.
                    for _ in 1..attempts {
                        let _ = self.budget.draw(now, By::Anybody);
                    }
                }
                let wait = self.policy.backoff(self.failures, jitter);
                self.failures = self.failures.saturating_add(1);
                let asked_for = retry_after.unwrap_or_default().min(self.policy.backoff_ceiling);
                self.retry_at = now.plus(wait.max(asked_for));
            }
            End::Refused { retry_after, by_budget } => {
                self.refund(trip);
                // Never at once, whatever the others' clocks say.
                let least = self.policy.backoff_floor / 8;
                let until = now.plus(retry_after.max(least).min(self.policy.backoff_ceiling));
                if by_budget {
                    self.cluster_budget_at = until;
                } else {
                    // Others have failed for this node too: else each would begin its back-off anew.
                    self.failures = self.failures.saturating_add(1);
                    self.retry_at = until;
                }
            }
        }
        if self.stated > self.generation {
            // What was brought is not what the cluster has: not again at once.
            self.newer_at = self.newer_at.max(now.plus(self.policy.backoff(0, jitter)));
        }
    }

    /// A set that was fetched after the caller came does not hold this kid.
    pub fn is_absent(&mut self, now: Moment, kid: &str) {
        if kid.len() > MAX_KID_BYTES {
            return;
        }
        if self.absent.len() >= self.policy.absent_cap {
            self.absent.retain(|_, until| now < *until);
        }
        if self.absent.len() < self.policy.absent_cap {
            self.absent.insert(kid.into(), now.plus(self.policy.absent_lifetime));
        }
    }

    /// The issuer was not asked: whoever drew on the budget gets it back.
    fn refund(&mut self, trip: Option<Trip>) {
        if trip.is_some_and(|trip| matches!(trip.why, Why::UnknownKid | Why::Newer(_))) {
            self.budget.refund();
        }
    }

    /// Ages are subtracted from what is left, never from `now`: a node's clock may have begun after the fetch.
    fn hold(&mut self, now: Moment, age: Duration, max_age: Option<Duration>, generation: u64, jitter: u32) {
        self.failures = 0;
        self.retry_at = now;
        self.fetched = Some(Moment::from_nanos(now.as_nanos().saturating_sub(nanos(age))));
        self.trusted_until = now.plus(self.policy.max_trust_age.saturating_sub(age));
        self.generation = generation;
        self.stated = self.stated.max(generation);
        let lifetime = self.policy.lifetime(max_age);
        let ahead = lifetime / 100 * u32::from(self.policy.refresh_ahead_percent.min(100));
        let after = lifetime.saturating_sub(fraction(ahead, jitter));
        self.refresh_at = now.plus(after.saturating_sub(age));
    }

    fn begin_or_plan(&mut self, now: Moment, why: Why) -> Need {
        if now < self.quiet_until {
            self.planned = Some((self.quiet_until, why));
            return wait(self.trips + 1, true);
        }
        Need::Fetch(self.begin(why))
    }

    fn begin(&mut self, why: Why) -> Trip {
        self.trips += 1;
        let trip = Trip {
            number: self.trips,
            why,
            attempts: if self.is_open() { 1 } else { self.policy.attempts },
        };
        self.under_way = Some(trip);
        trip
    }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

const fn wait(trip: u64, proves: bool) -> Need {
    Need::Wait { trip, proves }
}

const fn not_now(retry_after: Duration) -> Need {
    Need::NotNow { retry_after }
}
