//! The budget of the logout listener: whoever can reach it can spend no more than this.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How much logout tokens may cost.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Connections at one time; further ones wait to be accepted.
    pub connections: usize,
    /// Requests at one time, those included whose body is still on its way.
    pub concurrent: usize,
    /// Requests per second, on average.
    pub per_second: u32,
    /// Requests at once, after a quiet time.
    pub burst: u32,
}

/// What is left of a budget.
#[derive(Debug)]
pub(super) struct Purse {
    room: Arc<Semaphore>,
    bucket: Mutex<Bucket>,
}

impl Purse {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            room: Arc::new(Semaphore::new(budget.concurrent)),
            bucket: Mutex::new(Bucket::new(budget.per_second, budget.burst, Instant::now())),
        }
    }

    /// Room for one request, for as long as the permit is held; `None` when the budget is spent.
    pub(super) fn spend(&self) -> Option<OwnedSemaphorePermit> {
        // A request without room costs nothing of the rate.
        let room = Arc::clone(&self.room).try_acquire_owned().ok()?;
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(Instant::now()).then_some(room)
    }
}

/// A token bucket. Counts in the time that its content is worth: no fractions, no drift.
#[derive(Debug)]
struct Bucket {
    /// Time that one request costs.
    price: Duration,
    /// The most that it holds.
    most: Duration,
    held: Duration,
    filled: Instant,
}

impl Bucket {
    fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let price = Duration::from_secs(1) / per_second.max(1);
        let most = price.saturating_mul(burst.max(1));
        Self {
            price,
            most,
            held: most,
            filled: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled);
        self.filled = now;
        self.held = self.held.saturating_add(since).min(self.most);
        match self.held.checked_sub(self.price) {
            Some(left) => {
                self.held = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!([0; 4].map(|_| bucket.take(at(0))), [true, true, true, false]);
        assert!(!bucket.take(at(99)) && bucket.take(at(100)) && !bucket.take(at(100)));
        // A long quiet time fills it to its burst and no further.
        assert_eq!([0; 4].map(|_| bucket.take(at(60_000))), [true, true, true, false]);
        // A clock that stands still or goes back gives nothing.
        assert!(!bucket.take(at(59_000)));
    }

    #[tokio::test]
    async fn what_is_held_is_not_spent_twice() {
        let budget = Budget {
            connections: 1,
            concurrent: 2,
            per_second: 1,
            burst: 100,
        };
        let purse = Purse::new(budget);
        let (first, second) = (purse.spend(), purse.spend());
        assert!(first.is_some() && second.is_some() && purse.spend().is_none());
        drop(first);
        assert!(purse.spend().is_some());
    }
}
