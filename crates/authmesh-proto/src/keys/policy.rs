//! The settings of the key machine, and which of them contradict each other.

use core::fmt;
use core::time::Duration;

/// Settings of a [`KeyMachine`](super::KeyMachine). One per issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPolicy {
    /// How long a set is used without asking again, where the issuer says nothing (`Cache-Control: max-age`). Default: 10 min.
    pub soft_lifetime: Duration,
    /// The shortest soft lifetime that an issuer can ask for. Default: 30 s.
    pub lifetime_floor: Duration,
    /// The longest soft lifetime that an issuer can ask for. It bounds how long a key that the issuer took away stays in
    /// use. Default: 1 h.
    pub lifetime_ceiling: Duration,
    /// A refresh begins in the last so many percent of the soft lifetime, at a random moment of them. Default: 10.
    pub refresh_ahead_percent: u8,
    /// How long a set is trusted after its fetch, however long the issuer is away and whoever restarts. Default: 24 h.
    pub max_trust_age: Duration,
    /// A set that another node fetched, and not lately, is confirmed by one fetch per cluster within this time, if this node
    /// had no trusted one before. Default: 1 min.
    pub confirm_within: Duration,
    /// The least time between the end of one fetch and the begin of the next in the cluster, whatever causes it: unknown kids
    /// and explicit refreshes wait for it. Default: 1 s.
    pub min_interval: Duration,
    /// How many fetches unknown kids may cause at once on one node; the cluster has a budget of its own beside it. Attempts
    /// count, also those that fail. Default: 10.
    pub unknown_kid_burst: u32,
    /// How long until one more such fetch is allowed. Default: 10 s.
    pub unknown_kid_period: Duration,
    /// How many of the burst are kept for what no attacker can cause: the word of the cluster that a newer set exists. Timers
    /// never draw on the budget. Default: 2.
    pub reserve: u32,
    /// How long a kid that a fresh set did not hold counts as unknown. Default: 30 s.
    pub absent_lifetime: Duration,
    /// How many absent kids are remembered. Default: 1,024.
    pub absent_cap: usize,
    /// How often one trip asks the issuer before it has failed. Default: 3.
    pub attempts: u32,
    /// How long all attempts of one trip may take together; also the longest that a caller waits. Default: 10 s.
    pub deadline: Duration,
    /// Mean wait after a first failure; doubled after each further one, with full jitter. Between the attempts of one trip as
    /// well as between trips. Default: 500 ms.
    pub backoff_floor: Duration,
    /// The longest such wait, and the most that a `Retry-After` is obeyed. Default: 30 s.
    pub backoff_ceiling: Duration,
    /// After so many failed trips in a row the circuit is open: a trip is a single attempt, the probe of a half-open breaker, and
    /// between them everybody is answered at once. One that succeeds closes it. Default: 5.
    pub open_after: u32,
    /// Whether a key that appears under the name (`kid`) of another one is refused as long as the node remembers that one, instead
    /// of taking its place. Either is an audit event. A node that starts afresh knows no other. Default: false.
    pub refuse_changed_keys: bool,
}

impl KeyPolicy {
    /// The defaults.
    pub const DEFAULT: Self = Self {
        soft_lifetime: Duration::from_secs(600),
        lifetime_floor: Duration::from_secs(30),
        lifetime_ceiling: Duration::from_secs(3_600),
        refresh_ahead_percent: 10,
        max_trust_age: Duration::from_secs(86_400),
        confirm_within: Duration::from_secs(60),
        min_interval: Duration::from_secs(1),
        unknown_kid_burst: 10,
        unknown_kid_period: Duration::from_secs(10),
        reserve: 2,
        absent_lifetime: Duration::from_secs(30),
        absent_cap: 1024,
        attempts: 3,
        deadline: Duration::from_secs(10),
        backoff_floor: Duration::from_millis(500),
        backoff_ceiling: Duration::from_secs(30),
        open_after: 5,
        refuse_changed_keys: false,
    };

    /// The longest trust age that can be set: what the cluster states of generations is kept for about as long.
    pub const MAX_TRUST_AGE: Duration = Duration::from_secs(7 * 86_400);

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// [`PolicyConflict`] names the first setting that cannot stand, and why.
    pub fn check(&self) -> Result<(), PolicyConflict> {
        let zero = [
            ("lifetime_floor", self.lifetime_floor),
            ("confirm_within", self.confirm_within),
            ("unknown_kid_period", self.unknown_kid_period),
            ("deadline", self.deadline),
            ("backoff_floor", self.backoff_floor),
        ];
        if let Some((setting, _)) = zero.into_iter().find(|(_, value)| value.is_zero()) {
            return Err(PolicyConflict::new(setting, "must be more than zero"));
        }
        let rules: [(bool, &'static str, &'static str); 15] = [
            (
                self.lifetime_floor > self.soft_lifetime,
                "soft_lifetime",
                "is shorter than lifetime_floor: the issuer's word could then only make a set live longer",
            ),
            (
                self.soft_lifetime > self.lifetime_ceiling,
                "soft_lifetime",
                "is longer than lifetime_ceiling",
            ),
            (
                self.lifetime_ceiling >= self.max_trust_age,
                "max_trust_age",
                "must be longer than lifetime_ceiling: a set would lose its trust before it is refreshed, and every caller would wait",
            ),
            (
                self.max_trust_age > Self::MAX_TRUST_AGE,
                "max_trust_age",
                "is over 7 days: a key that the issuer took away would be trusted for that long while it is unreachable",
            ),
            (
                !(1..=50).contains(&self.refresh_ahead_percent),
                "refresh_ahead_percent",
                "must be 1 to 50",
            ),
            (
                self.confirm_within > self.lifetime_ceiling,
                "confirm_within",
                "is longer than lifetime_ceiling: the ordinary refresh comes before",
            ),
            (
                self.min_interval > self.lifetime_floor,
                "min_interval",
                "is longer than lifetime_floor: sets could not be refreshed in time",
            ),
            (
                self.min_interval >= self.deadline,
                "min_interval",
                "must be shorter than deadline: a caller with a new key would give up before the fetch that brings it",
            ),
            (
                self.unknown_kid_burst == 0,
                "unknown_kid_burst",
                "is 0: a rotation would be noticed by the timer alone",
            ),
            (
                self.reserve >= self.unknown_kid_burst,
                "reserve",
                "must be less than unknown_kid_burst: nothing would be left for unknown kids",
            ),
            (
                self.absent_lifetime > self.lifetime_ceiling,
                "absent_lifetime",
                "is longer than lifetime_ceiling: a new key would be refused after the refresh that brought it was due",
            ),
            (!(1..=10).contains(&self.attempts), "attempts", "must be 1 to 10"),
            (
                self.deadline > Duration::from_secs(60),
                "deadline",
                "is over 1 min: callers would wait that long",
            ),
            (
                self.backoff_floor > self.backoff_ceiling,
                "backoff_floor",
                "is longer than backoff_ceiling",
            ),
            (self.open_after == 0, "open_after", "must be at least 1"),
        ];
        match rules.into_iter().find(|(broken, ..)| *broken) {
            Some((_, setting, problem)) => Err(PolicyConflict::new(setting, problem)),
            None => Ok(()),
        }
    }

    /// The soft lifetime of a set for which the issuer said `max_age`.
    #[must_use]
    pub fn lifetime(&self, max_age: Option<Duration>) -> Duration {
        max_age
            .unwrap_or(self.soft_lifetime)
            .max(self.lifetime_floor)
            .min(self.lifetime_ceiling)
    }

    /// The wait after the `failures`-th failure in a row, the first being 0. Full jitter (Brooker, "Exponential Backoff And
    /// Jitter", 2015), but never nothing: between an eighth and the whole of the doubled floor. `jitter` is a random number.
    #[must_use]
    pub fn backoff(&self, failures: u32, jitter: u32) -> Duration {
        let longest = self
            .backoff_floor
            .saturating_mul(1 << failures.saturating_add(1).min(16))
            .min(self.backoff_ceiling);
        let least = longest / 8;
        least + fraction(longest - least, jitter)
    }
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// `of` times `jitter` over all that it can be.
pub(super) fn fraction(of: Duration, jitter: u32) -> Duration {
    let nanos = of.as_nanos().saturating_mul(u128::from(jitter)) / u128::from(u32::MAX);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A setting of a [`KeyPolicy`] that cannot stand beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyConflict {
    /// Its name.
    pub setting: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl PolicyConflict {
    const fn new(setting: &'static str, problem: &'static str) -> Self {
        Self { setting, problem }
    }
}

impl fmt::Display for PolicyConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.problem)
    }
}

impl core::error::Error for PolicyConflict {}
