//! Time as an argument.
//!
//! Two clocks with two uses. A [`Moment`] is read from a clock that never jumps and that counts suspend (`CLOCK_BOOTTIME`
//! on Linux): leases, back-off and ages are measured with it. [`Unix`] seconds are civil time: `exp`, `nbf`, `iat` and the
//! expiry of marks are in it, and it can jump. Neither ever decides the order of two statements (invariant 6).

use core::fmt;
use core::time::Duration;

/// An instant of the node's boot-time clock, in nanoseconds since an origin that only this process knows.
///
/// Never leaves the process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The origin of the clock.
    pub const ORIGIN: Self = Self(0);
    /// Later than every instant a clock will tell.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This instant plus a duration. Saturates at [`Moment::NEVER`].
    #[must_use]
    pub const fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

const fn nanos(d: Duration) -> u64 {
    let n = d.as_nanos();
    if n > u64::MAX as u128 { u64::MAX } else { n as u64 }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{:?}", Duration::from_nanos(self.0))
    }
}

/// Civil time: whole seconds since 1970-01-01T00:00:00Z, as RFC 7519 `NumericDate` without its fraction.
pub type Unix = u64;

/// One reading of both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// The clock that never jumps.
    pub boot: Moment,
    /// Civil time.
    pub wall: Unix,
}
