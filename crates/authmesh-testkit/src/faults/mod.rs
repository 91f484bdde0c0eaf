//! Faults in front of any port: delays, failures, losses, hangs, answers that lie.
//!
//! [`Faulty`] stands before an adapter and forwards everything; [`Faults`] says what becomes of it. One `Faults` can be
//! shared by several decorators, and a decorator can stand before another one.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use authmesh::memory::FixedKeys;
//! use authmesh::ports::{KeyFetch, KeySource as _};
//! use authmesh_testkit::{Faulty, Op};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let source = Faulty::new(Arc::new(FixedKeys::new(r#"{"keys":[]}"#)));
//! let faults = source.faults();
//!
//! faults.on(Op::Fetch).delay(Duration::from_millis(1));
//! let broken = faults.on(Op::Fetch).times(2).fail();
//! assert!(source.fetch(KeyFetch::default()).await.is_err());
//! assert!(source.fetch(KeyFetch::default()).await.is_err());
//! assert!(source.fetch(KeyFetch::default()).await.is_ok());
//! assert_eq!((broken.hits(), faults.calls(Op::Fetch)), (2, 3));
//! # }
//! ```
//!
//! | action | of a call | of a message (bell, broadcast, what gossip brings) |
//! | --- | --- | --- |
//! | [`When::delay`] | it begins later | it and all after it come later |
//! | [`When::fail`], [`When::fail_with`] | not forwarded, answered with the error | a bell becomes [`BusEvent::Broken`]; others are lost |
//! | [`When::lose`] | not forwarded, its outcome is unknown to the caller | it does not come |
//! | [`When::lose_answer`] | carried out, its outcome is unknown to the caller | it does not come |
//! | [`When::hang`] | not forwarded before the fault is lifted | it and all after it wait until the fault is lifted |
//! | [`When::hang_answer`] | carried out, answered when the fault is lifted | as `hang` |
//! | [`When::double`] | carried out twice; the second answer counts | it comes twice |
//! | [`When::swap`] | - | it comes after the next one |
//! | [`When::alter`] | the answer is changed | - |
//!
//! Rules are asked in the order in which they were made, and every one that fits has its effect: two delays add up. An error
//! ends the call, so what comes after it in the order is not counted. A call that hung meets the faults that were made
//! meanwhile, too.
//!
//! [`BusEvent::Broken`]: authmesh::ports::BusEvent::Broken

mod call;
mod line;
mod ports;
mod reply;
mod rule;
mod when;

use authmesh::ports::BoxFuture;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

pub use call::{Call, Heard, Op, Port, TokenText};
pub use reply::{Failure, Reply};
pub use rule::{Action, Fault, Select};
pub use when::When;

use reply::Outcome;
use rule::{Rule, Rules};

use crate::wait::soon;

/// So many calls are kept by [`Faults::record`]; more are counted only.
const MAX_RECORDED: usize = 100_000;

/// An adapter with faults in front of it. It implements every port that the adapter does.
///
/// A port's method is forwarded by name, and a linter refuses a method that is not: nothing passes by unseen.
pub struct Faulty<T: ?Sized> {
    inner: Arc<T>,
    faults: Faults,
}

impl<T: ?Sized> Faulty<T> {
    /// Stands before `inner`, with no faults yet.
    #[must_use]
    pub fn new(inner: Arc<T>) -> Arc<Self> {
        Self::with(inner, Faults::new())
    }

    /// Stands before `inner` under faults that others share.
    #[must_use]
    pub fn with(inner: Arc<T>, faults: Faults) -> Arc<Self> {
        Arc::new(Self { inner, faults })
    }

    /// What becomes of the calls.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What stands behind.
    #[must_use]
    pub fn inner(&self) -> &Arc<T> {
        &self.inner
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Faulty<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &&*self.inner).finish()
    }
}

/// What becomes of the calls that pass a [`Faulty`]. Clones share it. A fault is in force until it is lifted, or as often as
/// it was told.
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    rules: Mutex<Rules>,
    /// Rules made so far.
    made: AtomicU64,
    counts: watch::Sender<Counts>,
    recorded: Mutex<Option<Vec<Call>>>,
}

#[derive(Clone, Copy)]
struct Counts {
    begun: [u64; Op::ALL.len()],
    ended: [u64; Op::ALL.len()],
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("rules", &self.rules().len())
            .finish_non_exhaustive()
    }
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn new() -> Self {
        let none = [0; Op::ALL.len()];
        Self(Arc::new(Shared {
            rules: Mutex::default(),
            made: AtomicU64::new(0),
            counts: watch::Sender::new(Counts {
                begun: none,
                ended: none,
            }),
            recorded: Mutex::new(None),
        }))
    }

    /// A fault of one [`Op`], of several (`[Op::Ask, Op::Pull]`), or of a whole [`Port`].
    pub fn on(&self, what: impl Into<Select>) -> When<'_> {
        When::new(self, what.into())
    }

    /// A fault of whatever passes.
    pub fn all(&self) -> When<'_> {
        self.when(|_| true)
    }

    /// A fault of the calls for which `fits` says so.
    pub fn when(&self, fits: impl Fn(&Call) -> bool + Send + Sync + 'static) -> When<'_> {
        When::new(self, Select::by(fits))
    }

    /// Cuts whoever stands behind these ports off, until the fault is lifted: every call fails as unavailable, no bell and no
    /// word of a member arrives. News of members come from the adapter itself and still do.
    pub fn cut(&self) -> Fault {
        self.all().decide(|call| match call {
            Call::Hear(Heard::Item(_) | Heard::Asked { .. }) | Call::Bell(_) | Call::Broadcast(_) | Call::Leave => {
                Action::Lose
            }
            Call::Hear(_) | Call::Open => Action::Forward,
            _ => Action::Fail(Failure::unavailable()),
        })
    }

    /// Lifts every fault; what hangs goes on.
    pub fn clear(&self) {
        let rules = std::mem::take(&mut *self.rules());
        for rule in rules {
            rule.lift();
        }
    }

    /// How many calls of this kind came so far, with fault or without.
    #[must_use]
    pub fn calls(&self, op: Op) -> u64 {
        self.0.counts.borrow().begun[op as usize]
    }

    /// Waits until so many calls of this kind have come, counted from the first.
    ///
    /// # Panics
    /// After [`DEADLINE`](crate::DEADLINE).
    pub async fn called(&self, op: Op, times: u64) {
        let mut counts = self.0.counts.subscribe();
        let called = counts.wait_for(|counts| counts.begun[op as usize] >= times);
        // The sender lives as long as `self`.
        let _ = soon("it is called", called).await;
    }

    /// Waits until a call of this kind has ended from now on, well or not.
    ///
    /// # Panics
    /// After [`DEADLINE`](crate::DEADLINE).
    pub async fn next_end(&self, op: Op) {
        let mut counts = self.0.counts.subscribe();
        let before = counts.borrow().ended[op as usize];
        let ended = counts.wait_for(|counts| counts.ended[op as usize] > before);
        let _ = soon("a call ends", ended).await;
    }

    /// Keeps what passes from now on, at most 100,000 calls, for [`Faults::recorded`].
    pub fn record(&self) {
        self.recording().get_or_insert_default();
    }

    /// What has passed since [`Faults::record`], those that met a fault included.
    #[must_use]
    pub fn recorded(&self) -> Vec<Call> {
        self.recording().clone().unwrap_or_default()
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.0.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recording(&self) -> MutexGuard<'_, Option<Vec<Call>>> {
        self.0.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mut rule: Rule) -> Fault {
        let mut rules = self.rules();
        rules.retain(|rule| !rule.is_over());
        rule.number = 1 + self.0.made.fetch_add(1, Ordering::Relaxed);
        let rule = Arc::new(rule);
        rules.push(Arc::clone(&rule));
        Fault(rule)
    }

    /// Notes a call, and says what becomes of it.
    fn meet(&self, op: Op, call: impl FnOnce() -> Call) -> Met {
        self.0.counts.send_modify(|counts| counts.begun[op as usize] += 1);
        let rules = self.rules().clone();
        let mut recording = self.recording();
        if rules.is_empty() && recording.is_none() {
            return Met::default();
        }
        let call = call();
        debug_assert_eq!(call.op(), op, "a call goes by its own name");
        if let Some(recorded) = recording.as_mut().filter(|recorded| recorded.len() < MAX_RECORDED) {
            recorded.push(call.clone());
        }
        drop(recording);
        let mut met = Met {
            call: Some(call),
            ..Met::default()
        };
        met.extend(&rules);
        met
    }

    fn ended(&self, op: Op) {
        self.0.counts.send_modify(|counts| counts.ended[op as usize] += 1);
    }

    /// A call that is answered.
    async fn request<'f, T, E>(
        &self,
        op: Op,
        call: impl FnOnce() -> Call + Send,
        forward: impl Fn() -> BoxFuture<'f, Result<T, E>> + Send + Sync,
    ) -> Result<T, E>
    where
        E: From<Failure> + Send,
        T: Send,
        Result<T, E>: Outcome,
    {
        let met = self.meet(op, call);
        let answer = self.carry_out(met, forward).await;
        self.ended(op);
        answer
    }

    async fn carry_out<'f, T, E>(
        &self,
        mut met: Met,
        forward: impl Fn() -> BoxFuture<'f, Result<T, E>> + Send + Sync,
    ) -> Result<T, E>
    where
        E: From<Failure> + Send,
        T: Send,
        Result<T, E>: Outcome,
    {
        let mut at = 0;
        while let Some((rule, action)) = met.actions.get(at).cloned() {
            at += 1;
            match action {
                Action::Delay(time) => tokio::time::sleep(time).await,
                Action::Hang => {
                    rule.lifted().await;
                    // What was made while it hung befalls it, too.
                    let rules = self.rules().clone();
                    met.extend(&rules);
                }
                Action::Fail(failure) => return Err(failure.into()),
                Action::Lose => return Err(Failure::lost().into()),
                // Its own answer may be an error: the second one is what counts.
                Action::Double => drop(forward().await),
                Action::Forward | Action::HangAnswer | Action::LoseAnswer | Action::Swap | Action::Alter(_) => {}
            }
        }
        let mut answer = forward().await;
        for (rule, action) in &met.actions {
            match action {
                Action::HangAnswer => rule.lifted().await,
                Action::LoseAnswer => return Err(Failure::lost().into()),
                Action::Alter(altered) => {
                    if let Some(call) = &met.call {
                        altered.apply(call, answer.reply());
                    }
                }
                _ => {}
            }
        }
        answer
    }

    /// A message that goes out unanswered, once for each time that `send` is called.
    fn message(&self, op: Op, call: impl FnOnce() -> Call, send: impl Fn() + Send + 'static) {
        let actions = self.meet(op, call).actions;
        let faults = self.clone();
        if actions.iter().all(|(_, action)| action.is_immediate()) {
            for _ in 0..copies(&actions) {
                send();
            }
            faults.ended(op);
            return;
        }
        tokio::spawn(async move {
            wait_for(&actions).await;
            for _ in 0..copies(&actions) {
                send();
            }
            faults.ended(op);
        });
    }
}

/// What becomes of a call.
#[derive(Default)]
struct Met {
    /// As far as anybody looks at it.
    call: Option<Call>,
    actions: Vec<(Arc<Rule>, Action)>,
    /// The newest rule that was asked.
    newest: u64,
}

impl Met {
    /// Asks the rules that it has not met yet.
    fn extend(&mut self, rules: &Rules) {
        let Some(call) = &self.call else { return };
        for rule in rules.iter().filter(|rule| rule.number > self.newest) {
            let Some(action) = rule.take(call) else { continue };
            let ends = action.ends_it();
            self.actions.push((Arc::clone(rule), action));
            if ends {
                break;
            }
        }
        self.newest = rules.last().map_or(self.newest, |rule| rule.number.max(self.newest));
    }
}

/// How often a message comes.
fn copies(actions: &[(Arc<Rule>, Action)]) -> usize {
    let mut copies = 1;
    for (_, action) in actions {
        match action {
            Action::Fail(_) | Action::Lose | Action::LoseAnswer => return 0,
            Action::Double => copies += 1,
            _ => {}
        }
    }
    copies
}

/// Waits for as long as a message is held up.
async fn wait_for(actions: &[(Arc<Rule>, Action)]) {
    for (rule, action) in actions {
        match action {
            Action::Delay(time) => tokio::time::sleep(*time).await,
            Action::Hang | Action::HangAnswer => rule.lifted().await,
            _ => {}
        }
    }
}
