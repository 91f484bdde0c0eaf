//! What is demanded of the tokens of an upstream, and how it is asked.

use std::time::Duration;

use crate::error::BuildError;
use crate::policy::Rules;

/// Rules for tokens that a provider validates. Every field says its default; what contradicts itself is refused when the
/// node is built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamRules {
    /// What is demanded of the tokens: audiences, required claims, lifetime, whether opaque ones are taken. Here for the mesh's
    /// own policy; another [`Policy`](crate::Policy) brings its own. `algorithms` does not matter: no signature is checked.
    pub tokens: Rules,
    /// How long an answer counts; never beyond `exp`, never beyond what the provider allows, and for a verifier never beyond
    /// its `max_age`. At most 24 h. Default: 5 min.
    pub lifetime: Duration,
    /// Whether answers are shared through L2: one call for the cluster, and a restarted node need not ask. Default: yes.
    pub l2: bool,
    /// How long "inactive" counts, on the node that was told. 0 asks each time. At most 1 min. Default: 10 s.
    pub inactive_lifetime: Duration,
    /// How many inactive tokens are remembered, apart from everything else. Default: 16,384.
    pub inactive_cap: u64,
    /// How long after its lifetime an answer may be given while the provider is slow or away; never beyond `exp`, never what a
    /// mark voids, never on a sensitive route. 0 turns it off. At most 1 h, see [`UpstreamRules::danger_stale_for`].
    /// Default: 5 min.
    pub stale_for: Duration,
    /// How long a caller for whom there is a stale answer waits for a new one. The call goes on. Default: 250 ms.
    pub soft_timeout: Duration,
    /// How long a caller without one waits, and the longest that a call takes. At most 1 min. Default: 10 s.
    pub hard_timeout: Duration,
    /// Calls at once for tokens that are not known to have been active: what a flood of garbage can cause. Default: 64.
    pub calls: usize,
    /// How many more of them wait; beyond that the answer is "could not ask", at once. Default: 256.
    pub queue: usize,
    /// Calls at once for tokens that were active when this node looked last. No garbage takes their place. Default: 16.
    pub reserved_calls: usize,
    /// Failures in a row after which the provider is left alone. Default: 5.
    pub failures: u32,
    /// The shortest time that it is left alone. Default: 500 ms.
    pub backoff_floor: Duration,
    /// The longest. Default: 30 s.
    pub backoff_ceiling: Duration,
    /// Set by [`UpstreamRules::danger_stale_for`].
    long_stale: bool,
}

impl UpstreamRules {
    /// The defaults, for tokens meant for one of these audiences, opaque ones among them. An answer without `aud` is refused.
    #[must_use]
    pub fn for_audiences<S: Into<String>>(audiences: impl IntoIterator<Item = S>) -> Self {
        Self::new(Rules::for_audiences(audiences).opaque(true))
    }

    /// The defaults with these demands; opaque tokens are taken only if [`Rules::opaque`] says so.
    #[must_use]
    pub const fn new(tokens: Rules) -> Self {
        Self {
            tokens,
            lifetime: Duration::from_secs(300),
            l2: true,
            inactive_lifetime: Duration::from_secs(10),
            inactive_cap: 16_384,
            stale_for: Duration::from_secs(300),
            soft_timeout: Duration::from_millis(250),
            hard_timeout: Duration::from_secs(10),
            calls: 64,
            queue: 256,
            reserved_calls: 16,
            failures: 5,
            backoff_floor: Duration::from_millis(500),
            backoff_ceiling: Duration::from_secs(30),
            long_stale: false,
        }
    }

    /// Gives stale answers for longer than an hour, at most 24 h: a token that the provider has ended lives on for so long
    /// while the provider is away.
    #[must_use]
    pub const fn danger_stale_for(mut self, stale_for: Duration) -> Self {
        self.stale_for = stale_for;
        self.long_stale = true;
        self
    }

    /// Refuses settings that contradict each other; `issuer` is its name, for the words. A node checks them when it is built.
    ///
    /// # Errors
    /// [`BuildError`] names the first setting that cannot stand, and why.
    pub fn check(&self, issuer: &str) -> Result<(), BuildError> {
        let refuse = |setting, problem: &str| Err(BuildError::new(setting, format!("{issuer}: {problem}")));
        let day = Duration::from_secs(86_400);
        let most_stale = if self.long_stale {
            day
        } else {
            Duration::from_secs(3600)
        };
        if issuer.is_empty() {
            return Err(BuildError::new("upstream", "has no name: give it that of its issuer"));
        }
        if self.lifetime.is_zero() {
            return refuse(
                "lifetime",
                "is zero: nothing would be cached. To ask at each call, use max_age(0) on a verifier",
            );
        }
        if self.lifetime > day {
            return refuse(
                "lifetime",
                "is over 24 h: what the provider ends would live on for days",
            );
        }
        if self.inactive_lifetime > Duration::from_secs(60) {
            return refuse(
                "inactive_lifetime",
                "is over 1 min: a token used too early would stay refused",
            );
        }
        if !self.inactive_lifetime.is_zero() && self.inactive_cap == 0 {
            return refuse(
                "inactive_cap",
                "is 0, and inactive_lifetime is not: set that to zero instead",
            );
        }
        if self.stale_for > most_stale {
            return refuse(
                "stale_for",
                "is over 1 h (24 h by danger_stale_for): an ended token would live on while the provider is away",
            );
        }
        if self.hard_timeout.is_zero() || self.hard_timeout > Duration::from_secs(60) {
            return refuse(
                "hard_timeout",
                "must be more than zero and at most 1 min: callers wait for so long",
            );
        }
        if self.soft_timeout >= self.hard_timeout {
            return refuse("soft_timeout", "is not below hard_timeout: it would never come");
        }
        if !(1..=4096).contains(&self.calls) || !(1..=4096).contains(&self.reserved_calls) {
            return refuse("calls", "and reserved_calls must be 1 to 4,096");
        }
        if self.queue > 65_536 {
            return refuse(
                "queue",
                "is over 65,536: so many callers would only wait for their time-out",
            );
        }
        if self.failures == 0 {
            return refuse("failures", "is 0: the provider would never be asked");
        }
        if self.backoff_floor.is_zero() || self.backoff_floor > self.backoff_ceiling {
            return refuse("backoff_floor", "must be more than zero and at most backoff_ceiling");
        }
        if self.backoff_ceiling > Duration::from_secs(600) {
            return refuse(
                "backoff_ceiling",
                "is over 10 min: a provider that is back would not be noticed",
            );
        }
        Ok(())
    }
}
