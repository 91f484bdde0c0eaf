//! Clocks and random sources.

use std::sync::Mutex;
use std::time::Duration;

use authmesh_proto::time::{Moment, Now};

use crate::ports::{Clock, Entropy};

/// The machine's clocks: `CLOCK_BOOTTIME` where there is one (it counts suspend), and civil time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now {
            boot: boot_time(),
            wall: civil_time(),
        }
    }
}

#[cfg(target_os = "linux")]
fn boot_time() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Moment::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// As the kernel noted it at its last tick, at most 10 ms ago: seconds are all that is asked, and it costs a read of memory.
#[cfg(target_os = "linux")]
fn civil_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    u64::try_from(time.tv_sec).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn civil_time() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(not(target_os = "linux"))]
fn boot_time() -> Moment {
    use std::sync::OnceLock;
    use std::time::Instant;
    // The best that the standard library has; on some systems it stops during suspend.
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    Moment::ORIGIN.plus(ORIGIN.get_or_init(Instant::now).elapsed() + Duration::from_secs(1))
}

/// A clock that stands still until it is moved, for tests.
///
/// Timers of the node follow the runtime's clock, not this one; under `tokio::time::pause` advance both.
#[derive(Debug)]
pub struct ManualClock(Mutex<Now>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub const fn new(now: Now) -> Self {
        Self(Mutex::new(now))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        now.boot = now.boot.plus(by);
        now.wall = now.wall.saturating_add(by.as_secs());
    }

    /// Makes civil time jump, and leaves the other clock alone.
    pub fn jump_to(&self, wall: u64) {
        self.lock().wall = wall;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.lock()
    }
}

/// The operating system's random source. Ends the process if it has none to give.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            // A repeated nonce would break every seal of the cluster; an outage of one node would not.
            eprintln!("authmesh: the operating system gives no random bytes; ending the process");
            std::process::abort();
        }
    }
}
