//! The circuit breaker: when a provider that fails is left alone.
//!
//! Pure: time and jitter are arguments. Closed, everyone may ask. After some failures in a row it opens; from then on one
//! probe at a time may ask, each after a wait that doubles with every further failure.

use std::time::Duration;

use authmesh_proto::time::Moment;

/// Times and counts of a [`Breaker`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct BreakerRules {
    pub(crate) failures: u32,
    pub(crate) floor: Duration,
    pub(crate) ceiling: Duration,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    rules: BreakerRules,
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    retry_at: Moment,
    probing: bool,
}

impl Breaker {
    pub(crate) const fn new(rules: BreakerRules) -> Self {
        Self {
            rules,
            failures: 0,
            open: None,
        }
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether one may ask now, and then whether that one is the probe: while it is open.
    ///
    /// # Errors
    /// When asking makes sense again.
    pub(crate) fn enter(&mut self, now: Moment) -> Result<bool, Duration> {
        match &mut self.open {
            None => Ok(false),
            // The probe's own end says more; it is bounded.
            Some(open) if open.probing => Err(self.rules.floor),
            Some(open) if now < open.retry_at => Err(open.retry_at.since(now)),
            Some(open) => {
                open.probing = true;
                Ok(true)
            }
        }
    }

    /// The probe did not ask after all.
    pub(crate) fn abandoned(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// An answer came.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.open = None;
    }

    /// No answer came. `retry_after` is what the provider asked for: it is obeyed at once, up to the ceiling. `jitter` spreads
    /// the wait. Once it is open only a probe says something new.
    pub(crate) fn failed(&mut self, now: Moment, retry_after: Option<Duration>, jitter: u32, probe: bool) {
        if self.is_open() && !probe {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let beyond = self.failures.saturating_sub(self.rules.failures);
        if self.failures < self.rules.failures && retry_after.is_none() && !probe {
            return;
        }
        let doubled = self
            .rules
            .floor
            .saturating_mul(2u32.saturating_pow(beyond.saturating_add(1)));
        let span = doubled.min(self.rules.ceiling).saturating_sub(self.rules.floor);
        let wait = self.rules.floor + span.mul_f64(f64::from(jitter) / f64::from(u32::MAX));
        let asked_for = retry_after.unwrap_or_default().min(self.rules.ceiling);
        self.open = Some(Open {
            retry_at: now.plus(wait.max(asked_for)),
            probing: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BreakerRules = BreakerRules {
        failures: 5,
        floor: Duration::from_millis(500),
        ceiling: Duration::from_secs(30),
    };

    fn at(millis: u64) -> Moment {
        Moment::ORIGIN.plus(Duration::from_millis(millis))
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::new(RULES);
        for _ in 0..5 {
            assert_eq!(breaker.enter(at(0)), Ok(false));
            breaker.failed(at(0), None, 0, false);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_four_do_not() {
        let mut breaker = Breaker::new(RULES);
        for _ in 0..3 {
            for _ in 0..4 {
                breaker.failed(at(0), None, 0, false);
                assert_eq!(breaker.enter(at(0)), Ok(false));
            }
            breaker.succeeded();
        }
        assert_eq!(open().enter(at(0)), Err(Duration::from_millis(500)));
    }

    #[test]
    fn one_probe_at_a_time_and_its_answer_closes_it() {
        let mut breaker = open();
        assert_eq!(breaker.enter(at(499)), Err(Duration::from_millis(1)));
        assert_eq!(breaker.enter(at(500)), Ok(true));
        assert!(breaker.enter(at(9_000)).is_err(), "the probe is under way");
        // One that asked before it opened ends late.
        breaker.failed(at(9_000), None, 0, false);
        assert!(breaker.enter(at(99_000)).is_err(), "the probe still is");
        breaker.abandoned();
        assert_eq!(breaker.enter(at(99_000)), Ok(true), "another may probe");
        breaker.succeeded();
        assert!(!breaker.is_open());
        assert_eq!(
            (breaker.enter(at(99_000)), breaker.enter(at(99_000))),
            (Ok(false), Ok(false))
        );
    }

    #[test]
    fn the_wait_doubles_up_to_its_ceiling_with_full_jitter() {
        for (jitter, waits) in [
            (u32::MAX, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]),
            (0, [500; 7]),
        ] {
            let mut breaker = Breaker::new(RULES);
            (0..4).for_each(|_| breaker.failed(at(0), None, jitter, false));
            for wait in waits {
                breaker.failed(at(0), None, jitter, breaker.is_open());
                assert_eq!(breaker.enter(at(0)), Err(Duration::from_millis(wait)));
            }
            (0..1_000).for_each(|_| breaker.failed(at(0), None, jitter, true));
            assert!(breaker.enter(at(30_000)).is_ok());
        }
    }

    #[test]
    fn a_provider_that_asks_to_be_left_alone_is_at_once_and_not_for_ever() {
        let mut breaker = Breaker::new(RULES);
        breaker.failed(at(0), Some(Duration::from_secs(7)), 0, false);
        assert_eq!(breaker.enter(at(0)), Err(Duration::from_secs(7)));
        breaker.failed(at(0), Some(Duration::from_secs(86_400)), 0, true);
        assert_eq!(breaker.enter(at(0)), Err(RULES.ceiling));
    }
}
