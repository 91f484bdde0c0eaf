//! The budget of fetches that unknown kids may cause.

use core::time::Duration;

use crate::time::Moment;

/// A bucket of attempts that fills up by one per period. A part of it is kept for those who may draw on the reserve.
#[derive(Debug)]
pub(super) struct Budget {
    size: u32,
    reserve: u32,
    period: Duration,
    left: u32,
    since: Moment,
}

/// Who draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Whoever can write a token.
    Anybody,
    /// The cluster itself.
    Cluster,
}

impl Budget {
    pub(super) const fn new(size: u32, reserve: u32, period: Duration, now: Moment) -> Self {
        Self {
            size,
            reserve,
            period,
            left: size,
            since: now,
        }
    }

    /// Takes one attempt. `Err`: there is none, and how long until there is.
    pub(super) fn draw(&mut self, now: Moment, by: By) -> Result<(), Duration> {
        self.refill(now);
        let kept = match by {
            By::Anybody => self.reserve,
            By::Cluster => 0,
        };
        if self.left > kept {
            self.left -= 1;
            return Ok(());
        }
        let missing = kept - self.left;
        let until = self.since.plus(self.period.saturating_mul(missing + 1));
        Err(until.since(now))
    }

    /// Gives an attempt back that was not made.
    pub(super) fn refund(&mut self) {
        self.left = self.left.saturating_add(1).min(self.size);
    }

    fn refill(&mut self, now: Moment) {
        let period = self.period.as_nanos().max(1);
        let earned = u32::try_from(now.since(self.since).as_nanos() / period).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(self.size);
            self.since = self.since.plus(self.period.saturating_mul(earned));
        }
        if self.left == self.size {
            // A full bucket earns nothing.
            self.since = now;
        }
    }
}
