//! One fault: which calls it is of, how often, what it does, and who waits in it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::call::{Call, Op, Port};
use super::reply::{Failure, Reply};
use crate::wait::soon;

/// Those that are in force, in the order in which they were made.
pub(super) type Rules = Vec<Arc<Rule>>;

/// Says what becomes of a call.
pub(super) type Decide = Box<dyn Fn(&Call) -> Action + Send + Sync>;

/// What becomes of a call. The table in [`crate::faults`] says what each does to a call and to a message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Action {
    /// Nothing happens to it.
    Forward,
    /// It begins later.
    Delay(Duration),
    /// It fails.
    Fail(Failure),
    /// It is lost.
    Lose,
    /// It is carried out, and its answer is lost.
    LoseAnswer,
    /// It waits until the fault is lifted.
    Hang,
    /// It is carried out, and its answer waits until the fault is lifted.
    HangAnswer,
    /// It comes twice.
    Double,
    /// It comes after the next one.
    Swap,
    /// What comes back is changed.
    Alter(Alteration),
}

impl Action {
    /// Changes what comes back.
    pub fn alter(change: impl Fn(&Call, Reply<'_>) + Send + Sync + 'static) -> Self {
        Self::Alter(Alteration(Arc::new(change)))
    }

    /// Whether nothing after it in the order matters.
    pub(super) const fn ends_it(&self) -> bool {
        matches!(self, Self::Fail(_) | Self::Lose)
    }

    /// Whether a message that it befalls need not wait.
    pub(super) const fn is_immediate(&self) -> bool {
        !matches!(self, Self::Delay(_) | Self::Hang | Self::HangAnswer)
    }
}

/// Changes what comes back.
type Change = dyn Fn(&Call, Reply<'_>) + Send + Sync;

/// A change of what comes back.
#[derive(Clone)]
pub struct Alteration(Arc<Change>);

impl Alteration {
    pub(super) fn apply(&self, call: &Call, reply: Reply<'_>) {
        (self.0)(call, reply);
    }
}

impl fmt::Debug for Alteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alteration(..)")
    }
}

/// Which calls a fault is of.
pub struct Select(Box<dyn Fn(&Call) -> bool + Send + Sync>);

impl Select {
    pub(super) fn by(fits: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self(Box::new(fits))
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Select(..)")
    }
}

impl From<Op> for Select {
    fn from(op: Op) -> Self {
        Self::by(move |call| call.op() == op)
    }
}

impl<const N: usize> From<[Op; N]> for Select {
    fn from(ops: [Op; N]) -> Self {
        Self::by(move |call| ops.contains(&call.op()))
    }
}

impl From<Port> for Select {
    fn from(port: Port) -> Self {
        Self::by(move |call| call.op().port() == port)
    }
}

impl<const N: usize> From<[Port; N]> for Select {
    fn from(ports: [Port; N]) -> Self {
        Self::by(move |call| ports.contains(&call.op().port()))
    }
}

/// A fault in force. Clones are the same one; it goes on when all of them are dropped.
#[derive(Debug, Clone)]
pub struct Fault(pub(super) Arc<Rule>);

impl Fault {
    /// Ends it. What hangs in it goes on.
    pub fn lift(&self) {
        self.0.lift();
    }

    /// How often it took effect.
    #[must_use]
    pub fn hits(&self) -> u64 {
        *self.0.hits.borrow()
    }

    /// Waits until it took effect so often.
    ///
    /// # Panics
    /// After [`DEADLINE`](crate::DEADLINE).
    pub async fn hit(&self, times: u64) {
        let mut hits = self.0.hits.subscribe();
        // The sender lives as long as `self`.
        let _ = soon("the fault takes effect", hits.wait_for(|hits| *hits >= times)).await;
    }

    /// How many hang in it now.
    #[must_use]
    pub fn held(&self) -> usize {
        *self.0.held.borrow()
    }

    /// Waits until so many hang in it.
    ///
    /// # Panics
    /// After [`DEADLINE`](crate::DEADLINE).
    pub async fn holds(&self, calls: usize) {
        let mut held = self.0.held.subscribe();
        let _ = soon("calls hang in the fault", held.wait_for(|held| *held >= calls)).await;
    }
}

pub(super) struct Rule {
    /// Which one it is, in the order in which they were made, from 1.
    pub(super) number: u64,
    select: Select,
    every: u64,
    decide: Decide,
    state: Mutex<State>,
    hits: watch::Sender<u64>,
    held: watch::Sender<usize>,
    over: watch::Sender<bool>,
}

struct State {
    /// Calls that fit, counted once `after` have passed.
    seen: u64,
    after: u64,
    left: u64,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("hits", &*self.hits.borrow())
            .field("held", &*self.held.borrow())
            .finish_non_exhaustive()
    }
}

impl Rule {
    pub(super) fn new(select: Select, after: u64, every: u64, times: u64, decide: Decide) -> Self {
        Self {
            number: 0,
            select,
            every,
            decide,
            state: Mutex::new(State {
                seen: 0,
                after,
                left: times,
            }),
            hits: watch::Sender::new(0),
            held: watch::Sender::new(0),
            over: watch::Sender::new(false),
        }
    }

    /// What it does to a call; `None`: nothing.
    pub(super) fn take(&self, call: &Call) -> Option<Action> {
        if *self.over.borrow() || !(self.select.0)(call) {
            return None;
        }
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.after > 0 {
                state.after -= 1;
                return None;
            }
            state.seen += 1;
            if !state.seen.is_multiple_of(self.every) || state.left == 0 {
                return None;
            }
            state.left -= 1;
        }
        // Not under the lock: the closure may look at the fault.
        let action = (self.decide)(call);
        self.hits.send_modify(|hits| *hits += 1);
        Some(action)
    }

    pub(super) fn lift(&self) {
        self.over.send_replace(true);
    }

    /// Whether it never takes effect again.
    pub(super) fn is_over(&self) -> bool {
        *self.over.borrow() || self.state.lock().unwrap_or_else(PoisonError::into_inner).left == 0
    }

    /// Waits until it is lifted.
    pub(super) async fn lifted(&self) {
        self.held.send_modify(|held| *held += 1);
        let _held = Held(self);
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }
}

/// One that hangs, and may be dropped while it does.
struct Held<'a>(&'a Rule);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.send_modify(|held| *held -= 1);
    }
}
