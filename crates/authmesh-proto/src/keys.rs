//! The key machine: when an issuer's key set is fetched, who may cause a fetch, and how long a set is trusted.
//!
//! One machine per issuer, pure: it is told what callers want and what fetches brought, and says whether to fetch, to wait
//! for the fetch under way, or to answer at once. One fetch is under way at a time.
//!
//! - A set is refreshed ahead of the end of its soft lifetime; callers who have a usable set never wait.
//! - An unknown `kid` causes a fetch, inside a budget that counts attempts. With the budget empty the answer is "could not
//!   ask", at once, and never "unknown key".
//! - A `kid` that a fresh set did not hold is remembered as absent for a short while, so that asking again costs nothing.
//! - A set is trusted up to a hard maximum age, whatever happens to the upstream.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::time::Moment;

#[cfg(test)]
mod tests;

/// Settings of a [`KeyMachine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPolicy {
    /// How long a set is used without asking again. `Cache-Control: max-age` shortens or lengthens it inside
    /// [`KeyPolicy::lifetime_floor`] and this value. Default: 10 min.
    pub soft_lifetime: Duration,
    /// The shortest soft lifetime that an upstream can ask for. Default: 30 s.
    pub lifetime_floor: Duration,
    /// How long a set is trusted after its fetch, however long the upstream is away. Default: 24 h.
    pub max_trust_age: Duration,
    /// How many fetches unknown kids may cause at once. Default: 10.
    pub unknown_kid_burst: u32,
    /// How long until one more such fetch is allowed. Default: 10 s.
    pub unknown_kid_period: Duration,
    /// How long a kid that a fresh set did not hold counts as unknown. Default: 30 s.
    pub absent_lifetime: Duration,
    /// How many absent kids are remembered. Default: 1,024.
    pub absent_cap: usize,
    /// First wait after a failed fetch; doubled after each further one. Default: 500 ms.
    pub backoff_floor: Duration,
    /// Longest wait after failed fetches. Default: 30 s.
    pub backoff_ceiling: Duration,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self {
            soft_lifetime: Duration::from_secs(600),
            lifetime_floor: Duration::from_secs(30),
            max_trust_age: Duration::from_secs(86_400),
            unknown_kid_burst: 10,
            unknown_kid_period: Duration::from_secs(10),
            absent_lifetime: Duration::from_secs(30),
            absent_cap: 1024,
            backoff_floor: Duration::from_millis(500),
            backoff_ceiling: Duration::from_secs(30),
        }
    }
}

/// The longest `kid` that is ever asked for, in bytes. Longer ones are unknown by definition.
pub const MAX_KID_BYTES: usize = 256;

/// What a caller who lacks a key is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Start a fetch, then look again. The machine counts it as under way from now on.
    Fetch {
        /// Ask past intermediate caches.
        no_cache: bool,
    },
    /// A fetch is under way: wait for it, then look again.
    Wait,
    /// A fresh set did not hold this kid: it is unknown.
    Absent,
    /// Nothing may be asked now. Not a verdict.
    NotNow {
        /// When asking makes sense again.
        retry_after: Duration,
    },
}

/// Decides about the fetches of one issuer.
#[derive(Debug)]
pub struct KeyMachine {
    policy: KeyPolicy,
    under_way: bool,
    fetched: Option<Moment>,
    refresh_at: Moment,
    failures: u32,
    retry_at: Moment,
    budget: u32,
    budget_since: Moment,
    absent: BTreeMap<Box<str>, Moment>,
}

impl KeyMachine {
    /// A machine without a set.
    #[must_use]
    pub fn new(policy: KeyPolicy, now: Moment) -> Self {
        Self {
            policy,
            under_way: false,
            fetched: None,
            refresh_at: now,
            failures: 0,
            retry_at: now,
            budget: policy.unknown_kid_burst,
            budget_since: now,
            absent: BTreeMap::new(),
        }
    }

    /// Until when the present set is trusted; [`Moment::ORIGIN`] without one.
    #[must_use]
    pub fn trusted_until(&self) -> Moment {
        self.fetched
            .map_or(Moment::ORIGIN, |at| at.plus(self.policy.max_trust_age))
    }

    /// When the present set was fetched.
    #[must_use]
    pub const fn fetched_at(&self) -> Option<Moment> {
        self.fetched
    }

    /// How many fetches failed since the last good one.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// When [`KeyMachine::tick`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Moment {
        if self.under_way {
            Moment::NEVER
        } else {
            self.refresh_at.max(self.retry_at)
        }
    }

    /// Time has passed: whether to fetch in the background. Does not draw on the budget of unknown kids.
    pub fn tick(&mut self, now: Moment) -> Option<Need> {
        (now >= self.poll_timeout()).then(|| self.begin(false))
    }

    /// A caller has no set to look in, or none that is still trusted.
    pub fn want_set(&mut self, now: Moment) -> Need {
        if self.under_way {
            Need::Wait
        } else if now < self.retry_at {
            self.not_now(now, self.retry_at)
        } else {
            self.begin(false)
        }
    }

    /// A caller has a set, and the kid is not in it.
    pub fn want_kid(&mut self, now: Moment, kid: &str) -> Need {
        if kid.len() > MAX_KID_BYTES || self.absent.get(kid).is_some_and(|until| now < *until) {
            return Need::Absent;
        }
        if self.under_way {
            return Need::Wait;
        }
        if now < self.retry_at {
            return self.not_now(now, self.retry_at);
        }
        self.refill(now);
        match self.budget.checked_sub(1) {
            Some(left) => {
                self.budget = left;
                self.begin(true)
            }
            None => self.not_now(now, self.budget_since.plus(self.policy.unknown_kid_period)),
        }
    }

    /// An operator asks for a refresh. Bound by the back-off, not by the budget.
    pub fn want_refresh(&mut self, now: Moment) -> Need {
        if self.under_way {
            Need::Wait
        } else if now < self.retry_at {
            self.not_now(now, self.retry_at)
        } else {
            self.begin(true)
        }
    }

    /// A fetch that began at `asked` brought a usable set, or the word that it has not changed. `jitter` is a random number
    /// that spreads the next refresh over the last tenth of the lifetime.
    pub fn succeeded(&mut self, now: Moment, asked: Moment, max_age: Option<Duration>, jitter: u32) {
        self.under_way = false;
        self.failures = 0;
        self.retry_at = now;
        self.fetched = Some(asked);
        let lifetime = max_age.unwrap_or(self.policy.soft_lifetime).clamp(
            self.policy.lifetime_floor.min(self.policy.soft_lifetime),
            self.policy.soft_lifetime,
        );
        let spread = (lifetime / 10).mul_f64(f64::from(jitter) / f64::from(u32::MAX));
        self.refresh_at = now.plus(lifetime.saturating_sub(spread));
    }

    /// A fetch failed. The present set stays. `jitter` is a random number for full jitter.
    pub fn failed(&mut self, now: Moment, retry_after: Option<Duration>, jitter: u32) {
        self.under_way = false;
        let ceiling = self
            .policy
            .backoff_floor
            .saturating_mul(1 << self.failures.min(16))
            .min(self.policy.backoff_ceiling);
        self.failures = self.failures.saturating_add(1);
        // Half fixed, half jittered: never zero, never in step with the other nodes.
        let wait = ceiling / 2 + (ceiling / 2).mul_f64(f64::from(jitter) / f64::from(u32::MAX));
        let asked_for = retry_after.unwrap_or_default().min(self.policy.backoff_ceiling);
        self.retry_at = now.plus(wait.max(asked_for));
    }

    /// A fresh set does not hold this kid.
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

    fn begin(&mut self, no_cache: bool) -> Need {
        self.under_way = true;
        Need::Fetch { no_cache }
    }

    fn not_now(&self, now: Moment, until: Moment) -> Need {
        Need::NotNow {
            retry_after: until.since(now),
        }
    }

    fn refill(&mut self, now: Moment) {
        let period = self.policy.unknown_kid_period.max(Duration::from_millis(1));
        let earned = now.since(self.budget_since).as_nanos() / period.as_nanos();
        if earned > 0 {
            self.budget = self
                .policy
                .unknown_kid_burst
                .min(self.budget.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)));
            let whole = period.saturating_mul(u32::try_from(earned).unwrap_or(u32::MAX));
            self.budget_since = self.budget_since.plus(whole);
        }
    }
}
