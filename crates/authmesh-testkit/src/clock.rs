//! The clock that every node of a test goes by.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authmesh::ports::Clock;
use authmesh::proto::time::{Moment, Now, Unix};
use tokio::time::Instant;

/// Where the clock that never jumps starts: a machine has run for a while.
const UPTIME: Duration = Duration::from_secs(5000);

/// A clock that goes with the runtime's, and can be moved.
///
/// Under `tokio::time::pause` (`#[tokio::test(start_paused = true)]`) it stands still but for what the test waits for, and
/// waiting takes no time: [`TestClock::advance`] by an hour is over at once, and every timer of every node has fired in its
/// order. Without it the clock goes as the machine's does.
///
/// It cannot be taken for a machine's clock that everyone reads: what a node asks the operating system itself, it does not see.
#[derive(Debug)]
pub struct TestClock(Mutex<State>);

#[derive(Debug)]
struct State {
    origin: Instant,
    /// Civil time when it was last set, and how long after the origin that was.
    wall: (Unix, Duration),
    /// What was skipped, of both clocks.
    skipped: Duration,
}

impl TestClock {
    /// Shows the machine's civil time now.
    #[must_use]
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self::at(since.map_or(0, |since| since.as_secs()))
    }

    /// Shows this civil time now, in seconds since the Unix epoch.
    #[must_use]
    pub fn at(wall: Unix) -> Self {
        Self(Mutex::new(State {
            origin: Instant::now(),
            wall: (wall, Duration::ZERO),
            skipped: Duration::ZERO,
        }))
    }

    /// The present civil time, in seconds since the Unix epoch.
    #[must_use]
    pub fn unix(&self) -> Unix {
        self.now().wall
    }

    /// Lets time pass, with all that happens meanwhile. Under `tokio::time::pause` that takes none; else it is waited for.
    pub async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    /// Moves both clocks forward while nobody does anything: the machine was suspended. No timer fires for it.
    pub fn skip(&self, by: Duration) {
        self.lock().skipped += by;
    }

    /// Makes civil time jump, and leaves the other clock alone: somebody set it.
    pub fn jump_to(&self, wall: Unix) {
        let mut state = self.lock();
        state.wall = (wall, state.elapsed());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn elapsed(&self) -> Duration {
        self.origin.elapsed() + self.skipped
    }
}

impl Clock for TestClock {
    fn now(&self) -> Now {
        let state = self.lock();
        let elapsed = state.elapsed();
        let (wall, set) = state.wall;
        Now {
            boot: Moment::ORIGIN.plus(UPTIME + elapsed),
            wall: wall.saturating_add(elapsed.saturating_sub(set).as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_stands_still_but_for_what_is_waited_for() {
        let clock = TestClock::at(1000);
        let start = clock.now();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(clock.now(), start);
        clock.advance(Duration::from_secs(3600)).await;
        let later = clock.now();
        assert_eq!(later.wall, 4600);
        // The runtime's timers have a resolution of 1 ms.
        let passed = later.boot.since(start.boot);
        assert!(
            passed >= Duration::from_secs(3600) && passed < Duration::from_secs(3601),
            "{passed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_fires_while_time_is_advanced_and_not_when_it_is_skipped() {
        let clock = TestClock::at(1000);
        let timer = tokio::spawn(tokio::time::sleep(Duration::from_secs(60)));
        clock.skip(Duration::from_secs(3600));
        tokio::task::yield_now().await;
        assert!(!timer.is_finished());
        assert_eq!(clock.unix(), 4600);
        clock.advance(Duration::from_secs(61)).await;
        assert!(timer.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn civil_time_jumps_alone() {
        let clock = TestClock::at(1000);
        clock.advance(Duration::from_secs(10)).await;
        let before = clock.now();
        clock.jump_to(5);
        assert_eq!(clock.now(), Now { wall: 5, ..before });
        clock.advance(Duration::from_secs(10)).await;
        assert_eq!(clock.unix(), 15);
    }
}
