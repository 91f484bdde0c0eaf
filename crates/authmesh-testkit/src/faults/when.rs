//! A fault about to be made.

use std::fmt;
use std::time::Duration;

use super::Faults;
use super::call::Call;
use super::reply::{Failure, Reply};
use super::rule::{Action, Decide, Fault, Rule, Select};

/// A fault about to be made: of which calls, and how often. Default: of every one that fits, until it is lifted.
#[must_use = "nothing happens before an action is named"]
pub struct When<'a> {
    faults: &'a Faults,
    select: Select,
    after: u64,
    every: u64,
    times: u64,
}

impl fmt::Debug for When<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When").finish_non_exhaustive()
    }
}

impl<'a> When<'a> {
    pub(super) fn new(faults: &'a Faults, select: Select) -> Self {
        Self {
            faults,
            select,
            after: 0,
            every: 1,
            times: u64::MAX,
        }
    }

    /// Only the first that fits.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Only so many.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Not the first so many that fit.
    pub fn after(mut self, calls: u64) -> Self {
        self.after = calls;
        self
    }

    /// Only each `nth` that fits; 0 is as 1.
    pub fn every(mut self, nth: u64) -> Self {
        self.every = nth.max(1);
        self
    }

    /// Does nothing, and is counted.
    pub fn count(self) -> Fault {
        self.act(Action::Forward)
    }

    /// Begins later.
    pub fn delay(self, time: Duration) -> Fault {
        self.act(Action::Delay(time))
    }

    /// Fails as if nobody could be reached.
    pub fn fail(self) -> Fault {
        self.fail_with(Failure::unavailable())
    }

    /// Fails with this error.
    pub fn fail_with(self, error: impl Into<Failure>) -> Fault {
        self.act(Action::Fail(error.into()))
    }

    /// Is lost on its way there.
    pub fn lose(self) -> Fault {
        self.act(Action::Lose)
    }

    /// Is carried out, and its answer is lost.
    pub fn lose_answer(self) -> Fault {
        self.act(Action::LoseAnswer)
    }

    /// Waits until the fault is lifted.
    pub fn hang(self) -> Fault {
        self.act(Action::Hang)
    }

    /// Is carried out, and its answer waits until the fault is lifted.
    pub fn hang_answer(self) -> Fault {
        self.act(Action::HangAnswer)
    }

    /// Comes twice.
    pub fn double(self) -> Fault {
        self.act(Action::Double)
    }

    /// Comes after the next one.
    pub fn swap(self) -> Fault {
        self.act(Action::Swap)
    }

    /// Changes what comes back, as a hostile or broken peer would.
    pub fn alter(self, change: impl Fn(&Call, Reply<'_>) + Send + Sync + 'static) -> Fault {
        self.act(Action::alter(change))
    }

    /// Asks a closure what becomes of each.
    pub fn decide(self, decide: impl Fn(&Call) -> Action + Send + Sync + 'static) -> Fault {
        self.make(Box::new(decide))
    }

    fn act(self, action: Action) -> Fault {
        self.make(Box::new(move |_| action.clone()))
    }

    fn make(self, decide: Decide) -> Fault {
        let rule = Rule::new(self.select, self.after, self.every, self.times, decide);
        self.faults.add(rule)
    }
}
