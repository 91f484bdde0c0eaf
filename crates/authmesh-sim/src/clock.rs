//! True virtual time, and how the clocks of nodes see it.

use authmesh_proto::time::{Moment, Now};

/// True virtual time, in nanoseconds since the world began.
pub type True = u64;

/// A millisecond of true time.
pub const MS: True = 1_000_000;
/// A second of true time.
pub const SECOND: True = 1000 * MS;
/// The civil time at which worlds begin.
pub const BEGIN: u64 = 1_800_000_000;
/// The fastest and the slowest that a clock runs, in millionths off.
pub const MAX_DRIFT: u64 = 500;

/// The clocks of one node.
#[derive(Debug, Clone)]
pub struct Clock {
    base: u64,
    drift: i64,
    wall_offset: i64,
    /// Time that the boot clock did not count: zero unless a control makes it stop in suspend.
    uncounted: u64,
}

impl Clock {
    /// A clock that began `base` nanoseconds before the world, `drift` millionths too fast.
    #[must_use]
    pub const fn new(base: u64, drift: i64) -> Self {
        Self {
            base,
            drift,
            wall_offset: 0,
            uncounted: 0,
        }
    }

    /// The wall clock jumps.
    pub const fn jump(&mut self, seconds: i64) {
        self.wall_offset += seconds;
    }

    /// The boot clock stood still for so long.
    pub const fn stand_still(&mut self, nanos: u64) {
        self.uncounted += nanos;
    }

    /// Both clocks at a true time.
    #[must_use]
    pub const fn at(&self, now: True) -> Now {
        let drifted = (now as i128) * (1_000_000 + self.drift as i128) / 1_000_000;
        let boot = (self.base as i128 + drifted - self.uncounted as i128) as u64;
        let wall = (BEGIN + now / SECOND) as i64 + self.wall_offset;
        Now {
            boot: Moment::from_nanos(boot),
            wall: if wall < 0 { 0 } else { wall as u64 },
        }
    }

    /// The first true time at which the boot clock shows `moment`; `None`: never.
    #[must_use]
    pub fn when(&self, moment: Moment) -> Option<True> {
        if moment == Moment::NEVER {
            return None;
        }
        let local = i128::from(moment.as_nanos()) + i128::from(self.uncounted) - i128::from(self.base);
        let scale = 1_000_000 + i128::from(self.drift);
        let at = (local * 1_000_000 + scale - 1).div_euclid(scale);
        Some(u64::try_from(at).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_never_fires_before_its_moment() {
        for drift in [-(MAX_DRIFT as i64), 0, MAX_DRIFT as i64] {
            let clock = Clock::new(77 * SECOND, drift);
            for at in [1, SECOND, 12_345_678_901] {
                let moment = clock.at(at).boot;
                let when = clock.when(moment).unwrap();
                assert!(clock.at(when).boot >= moment && when <= at + 1);
            }
        }
    }
}
