//! Who may ask the provider now.
//!
//! Two lanes: one for tokens that were active when this node looked last, one for all others. So a flood of garbage, and
//! errors that it may provoke, keep nobody from asking again about a token that is known.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh_proto::time::Moment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::breaker::{Breaker, BreakerRules};
use super::rules::UpstreamRules;
use crate::ports::UpstreamError;

#[derive(Debug)]
pub(crate) struct Gate {
    known: Arc<Lane>,
    unknown: Arc<Lane>,
}

#[derive(Debug)]
struct Lane {
    calls: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    breaker: Mutex<Breaker>,
}

/// Why one may not ask now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Too many ask, and too many wait.
    Full,
    /// The provider is left alone.
    Open { retry_after: Duration },
}

/// A turn to ask. Dropped without a word, it counts as one in which nobody asked.
#[derive(Debug)]
pub(crate) struct Turn {
    lane: Arc<Lane>,
    other: Arc<Lane>,
    known: bool,
    probe: bool,
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    pub(crate) fn new(rules: &UpstreamRules) -> Self {
        let breaker = BreakerRules {
            failures: rules.failures,
            floor: rules.backoff_floor,
            ceiling: rules.backoff_ceiling,
        };
        let lane = |calls, queue| {
            Arc::new(Lane {
                calls: Arc::new(Semaphore::new(calls)),
                waiting: AtomicUsize::new(0),
                queue,
                breaker: Mutex::new(Breaker::new(breaker)),
            })
        };
        Self {
            known: lane(rules.reserved_calls, rules.queue),
            unknown: lane(rules.calls, rules.queue),
        }
    }

    /// Waits for a turn, if there is room to wait. `now` is read when the turn has come.
    ///
    /// Cancel safety: dropped early, nothing was taken.
    pub(crate) async fn enter(&self, known: bool, now: impl Fn() -> Moment) -> Result<Turn, Closed> {
        let (lane, other) = if known {
            (&self.known, &self.unknown)
        } else {
            (&self.unknown, &self.known)
        };
        let permit = match Arc::clone(&lane.calls).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                // Nobody waits for what will not be asked.
                lane.peek(now())?;
                let _waiting = lane.wait()?;
                // Never closed.
                Arc::clone(&lane.calls)
                    .acquire_owned()
                    .await
                    .map_err(|_| Closed::Full)?
            }
        };
        let probe = lane
            .breaker()
            .enter(now())
            .map_err(|retry_after| Closed::Open { retry_after })?;
        Ok(Turn {
            lane: Arc::clone(lane),
            other: Arc::clone(other),
            known,
            probe,
            _permit: permit,
        })
    }

    /// Failures in a row, and whether the provider is left alone: by those who ask about what they do not know.
    pub(crate) fn trouble(&self) -> (u32, bool) {
        let breaker = self.unknown.breaker();
        (breaker.failures(), breaker.is_open())
    }
}

impl Lane {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peek(&self, now: Moment) -> Result<(), Closed> {
        let mut breaker = self.breaker();
        if breaker.enter(now).map_err(|retry_after| Closed::Open { retry_after })? {
            breaker.abandoned();
        }
        Ok(())
    }

    fn wait(self: &Arc<Self>) -> Result<Waiting, Closed> {
        let room = |waiting| (waiting < self.queue).then_some(waiting + 1);
        match self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, room) {
            Ok(_) => Ok(Waiting(Arc::clone(self))),
            Err(_) => Err(Closed::Full),
        }
    }
}

struct Waiting(Arc<Lane>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Turn {
    /// An answer came, whatever it says: the provider is there, for everybody.
    pub(crate) fn succeeded(mut self) {
        self.probe = false;
        self.lane.breaker().succeeded();
        self.other.breaker().succeeded();
    }

    /// None came.
    pub(crate) fn failed(mut self, error: &UpstreamError, now: Moment, jitter: u32) {
        let probe = std::mem::take(&mut self.probe);
        self.lane.breaker().failed(now, error.retry_after, jitter, probe);
        if self.known {
            // A token that was good has failed: that is no garbage's doing.
            self.other.breaker().failed(now, error.retry_after, jitter, false);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.probe {
            self.lane.breaker().abandoned();
        }
    }
}
