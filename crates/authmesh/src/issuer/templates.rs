//! Issuers that are learned from the tokens that come: the tenants of a template.
//!
//! Whoever can write a token can name an issuer that fits. So an issuer is *on trial* until it has verified a token: trips to
//! issuers on trial come out of one budget, they have few places, and they are forgotten soon. One that has verified a token
//! makes room only for another one that has (invariant 7).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use authmesh_proto::keys::KeyPolicy;
use authmesh_proto::time::Moment;
use tokio_util::sync::CancellationToken;

use super::Issuer;
use super::template::{IssuerTemplate, Pattern};
use crate::error::{BuildError, VerifyError};
use crate::node::Node;
use crate::ports::{KeySource, UpstreamError};

/// Makes the key source of an issuer that fits a template.
pub(crate) type Factory = Box<dyn Fn(&str) -> Result<Arc<dyn KeySource>, UpstreamError> + Send + Sync>;

/// How long an issuer with keys may go without verifying a token. Less than half of the shortest soft lifetime by default: one
/// that nobody needs is forgotten before it is asked again.
const TRIAL: Duration = Duration::from_secs(10);
/// How many issuers whose first fetch failed are remembered.
const FAILED: usize = 1024;
/// The longest that one is left alone because it asks for it.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// A template of the mesh, and the issuers that it has learned.
pub(crate) struct Template {
    name: Arc<str>,
    pattern: Pattern,
    factory: Factory,
    keys: KeyPolicy,
    /// The most issuers.
    most: usize,
    failed_for: Duration,
    state: Mutex<State>,
}

struct State {
    learned: HashMap<Arc<str>, Place>,
    failed: HashMap<Box<str>, Failed>,
    budget: Budget,
}

struct Place {
    issuer: Arc<Issuer>,
    /// Ends its task.
    ended: CancellationToken,
}

struct Failed {
    until: Moment,
    what: String,
}

/// What an issuer knows of the template that it was learned by.
#[derive(Debug)]
pub(super) struct Learned {
    template: Weak<Template>,
    name: Arc<str>,
    verified: AtomicBool,
    /// When a token was last looked at that names it; of one that is not on trial, verified.
    used: AtomicU64,
    /// The trip that was last drawn for.
    drawn: AtomicU64,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Template {
    /// # Errors
    /// When the pattern or the settings cannot stand.
    pub(crate) fn new(
        template: &IssuerTemplate,
        factory: Factory,
        keys: KeyPolicy,
        now: Moment,
    ) -> Result<Arc<Self>, BuildError> {
        let pattern = template.compile()?;
        keys.check().map_err(|conflict| {
            BuildError::new(
                conflict.setting,
                format!("{}: {}", template.pattern(), conflict.problem),
            )
        })?;
        Ok(Arc::new(Self {
            name: template.pattern().into(),
            pattern,
            factory,
            keys,
            most: template.most,
            failed_for: template.failed_for,
            state: Mutex::new(State {
                learned: HashMap::new(),
                failed: HashMap::new(),
                budget: Budget::new(template.burst, template.period, now),
            }),
        }))
    }

    /// Its pattern: what policies call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether an issuer is one of its.
    pub(crate) fn fits(&self, issuer: &str) -> bool {
        self.pattern.fits(issuer)
    }

    /// Whether there can be an issuer of both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.pattern.meets(&other.pattern)
    }

    /// An issuer that was learned.
    pub(crate) fn known(&self, issuer: &str) -> Option<Arc<Issuer>> {
        self.state().learned.get(issuer).map(|place| Arc::clone(&place.issuer))
    }

    /// Every issuer that was learned, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Issuer>> {
        let mut all: Vec<_> = self
            .state()
            .learned
            .values()
            .map(|place| Arc::clone(&place.issuer))
            .collect();
        all.sort_by_key(|issuer| Arc::clone(&issuer.url));
        all
    }

    /// Learns an issuer that fits, if it may be asked now. Its first fetch begins when somebody wants its keys.
    ///
    /// # Errors
    /// [`VerifyError::CouldNotAsk`]: the budget is spent, the issuer has lately failed, or has no source.
    pub(crate) fn learn(self: &Arc<Self>, node: &Arc<Node>, issuer: &str) -> Result<Arc<Issuer>, VerifyError> {
        let now = node.now().boot;
        {
            let mut state = self.state();
            if let Some(place) = state.learned.get(issuer) {
                place.issuer.is_asked_for(now);
                return Ok(Arc::clone(&place.issuer));
            }
            if let Some(failed) = state.failed.get(issuer).filter(|failed| now < failed.until) {
                return Err(VerifyError::CouldNotAsk {
                    what: failed.what.clone(),
                    retry_after: failed.until.since(now).max(Duration::from_secs(1)),
                });
            }
            if let Err(retry_after) = state.budget.draw(now) {
                node.counters.issuers_refused.add();
                return Err(VerifyError::CouldNotAsk {
                    what: "the budget for issuers that have verified no token yet is spent".to_owned(),
                    retry_after: retry_after.max(Duration::from_secs(1)),
                });
            }
        }
        // Somebody else's code: not under the lock.
        let source = (self.factory)(issuer).map_err(|error| {
            let retry_after = self.remember(&mut self.state(), now, issuer, &error);
            node.counters.issuers_failed.add();
            VerifyError::CouldNotAsk {
                what: error.what,
                retry_after,
            }
        })?;
        let mut state = self.state();
        if let Some(issuer) = state.learned.get(issuer).map(|place| Arc::clone(&place.issuer)) {
            // Learned meanwhile, by somebody who has drawn too.
            state.budget.refund();
            return Ok(issuer);
        }
        if state.learned.len() >= self.most {
            // There always is one on trial: `promote` keeps places for them.
            state.evict(node, Issuer::on_trial);
        }
        let learned = Learned {
            template: Arc::downgrade(self),
            name: Arc::clone(&self.name),
            verified: AtomicBool::new(false),
            used: AtomicU64::new(now.as_nanos()),
            drawn: AtomicU64::new(0),
        };
        let issuer = Arc::new(Issuer::new(issuer, source, self.keys, now, node).learned_by(learned));
        let ended = node.shutdown.child_token();
        state.learned.insert(
            Arc::clone(&issuer.url),
            Place {
                issuer: Arc::clone(&issuer),
                ended: ended.clone(),
            },
        );
        drop(state);
        node.issuers.add(&issuer);
        node.counters.issuers_learned.add();
        node.tasks.spawn(keep(
            Arc::downgrade(self),
            Arc::downgrade(&issuer),
            Arc::clone(node),
            ended,
        ));
        Ok(issuer)
    }

    /// An issuer has verified its first token.
    fn promote(&self, node: &Node, issuer: &Issuer) {
        let mut state = self.state();
        if !state
            .learned
            .get(&issuer.url)
            .is_some_and(|place| std::ptr::eq(&*place.issuer, issuer))
        {
            return;
        }
        state.budget.refund();
        let verified = state.learned.values().filter(|place| !place.issuer.on_trial()).count();
        if verified > self.most - trial_places(self.most) {
            state.evict(node, |other| !other.on_trial() && !std::ptr::eq(other, issuer));
        }
    }

    /// The first fetch failed, or nothing was verified in time.
    fn forget(&self, node: &Node, issuer: &Issuer, failed: Option<&UpstreamError>) {
        let mut state = self.state();
        let place = state.learned.get(&issuer.url);
        // Whoever verifies a token says so before it takes the lock.
        if !issuer.on_trial() || !place.is_some_and(|place| std::ptr::eq(&*place.issuer, issuer)) {
            return;
        }
        if let Some(error) = failed {
            self.remember(&mut state, node.now().boot, &issuer.url, error);
            node.counters.issuers_failed.add();
        }
        state.remove(node, &Arc::clone(&issuer.url));
    }

    /// Remembers a failure; for how long. Beyond the most that are remembered it is not: the budget still holds.
    fn remember(&self, state: &mut State, now: Moment, issuer: &str, error: &UpstreamError) -> Duration {
        let rest = self
            .failed_for
            .max(error.retry_after.unwrap_or_default().min(LONGEST_REST));
        if state.failed.len() >= FAILED {
            state.failed.retain(|_, failed| now < failed.until);
        }
        if state.failed.len() < FAILED {
            let failed = Failed {
                until: now.plus(rest),
                what: error.what.clone(),
            };
            state.failed.insert(issuer.into(), failed);
        }
        rest.max(Duration::from_secs(1))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the one of those that may go that was used the longest ago.
    fn evict(&mut self, node: &Node, may_go: impl Fn(&Issuer) -> bool) {
        let places = self.learned.values().filter(|place| may_go(&place.issuer));
        let oldest = places
            .min_by_key(|place| place.issuer.used())
            .map(|place| Arc::clone(&place.issuer.url));
        if let Some(oldest) = oldest {
            node.counters.issuers_evicted.add();
            self.remove(node, &oldest);
        }
    }

    fn remove(&mut self, node: &Node, issuer: &Arc<str>) {
        if let Some(place) = self.learned.remove(issuer) {
            place.ended.cancel();
            place.issuer.retire();
            node.issuers.remove(&place.issuer);
        }
    }
}

/// How many of the places are for issuers on trial alone.
const fn trial_places(most: usize) -> usize {
    most.div_ceil(16)
}

/// The task of a learned issuer. Holds it by no more than a moment.
async fn keep(template: Weak<Template>, issuer: Weak<Issuer>, node: Arc<Node>, ended: CancellationToken) {
    let on_trial = async {
        let Some(mut trips) = issuer.upgrade().map(|issuer| issuer.trips()) else {
            return;
        };
        // The sender goes with the issuer.
        if trips.wait_for(|landed| landed.trip > 0).await.is_err() {
            return;
        }
        let has_keys = issuer
            .upgrade()
            .is_some_and(|issuer| issuer.is_trusted(node.now().boot));
        if has_keys {
            tokio::time::sleep(TRIAL).await;
        }
        let (Some(template), Some(issuer)) = (template.upgrade(), issuer.upgrade()) else {
            return;
        };
        let failed = (!has_keys).then(|| issuer.last_trouble());
        template.forget(&node, &issuer, failed.as_ref());
        // Of one that stays, the other branch decides.
        drop((template, issuer));
        std::future::pending().await
    };
    tokio::select! {
        () = ended.cancelled() => {}
        () = Issuer::keep_fresh(Weak::clone(&issuer), Arc::clone(&node), Duration::ZERO) => {}
        () = on_trial => {}
    }
}

impl Learned {
    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn template_name(&self) -> &str {
        &self.name
    }
}

impl Issuer {
    /// Whether it was learned from a token, and none has verified yet.
    pub(crate) fn on_trial(&self) -> bool {
        self.learned
            .as_ref()
            .is_some_and(|learned| !learned.verified.load(Ordering::Acquire))
    }

    /// A token of it was accepted.
    pub(crate) fn has_verified(&self, node: &Node) {
        let Some(learned) = &self.learned else { return };
        learned.used.store(node.now().boot.as_nanos(), Ordering::Relaxed);
        if !learned.verified.swap(true, Ordering::AcqRel)
            && let Some(template) = learned.template.upgrade()
        {
            template.promote(node, self);
        }
    }

    /// A token names it.
    fn is_asked_for(&self, now: Moment) {
        if let Some(learned) = self.learned.as_ref().filter(|_| self.on_trial()) {
            learned.used.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    fn used(&self) -> u64 {
        self.learned.as_ref().map_or(0, Learned::used)
    }

    /// Draws for a trip that an unknown kid of an issuer on trial may cause: its own budget is as easy to come by as its name.
    pub(super) fn draw_on_trial(&self, now: Moment) -> Result<Option<Drawn<'_>>, Duration> {
        let Some(learned) = self.learned.as_ref().filter(|_| self.on_trial()) else {
            return Ok(None);
        };
        let Some(template) = learned.template.upgrade() else {
            return Ok(None);
        };
        template.state().budget.draw(now)?;
        Ok(Some(Drawn { learned, template }))
    }
}

/// What was drawn for a trip that may not come about.
pub(super) struct Drawn<'a> {
    learned: &'a Learned,
    template: Arc<Template>,
}

impl Drawn<'_> {
    /// Settles it: kept for a trip that nobody has drawn for, given back otherwise.
    pub(super) fn settle(self, trip: Option<u64>) {
        let is_new = trip.is_some_and(|trip| self.learned.drawn.swap(trip, Ordering::AcqRel) != trip);
        if !is_new {
            self.template.state().budget.refund();
        }
    }
}

/// A bucket of `burst` trips that earns one per period, told by the moment at which it will be full again (the generic cell
/// rate algorithm of ATM, ITU-T I.371).
#[derive(Debug)]
struct Budget {
    burst: u32,
    period: Duration,
    full_at: Moment,
}

impl Budget {
    const fn new(burst: u32, period: Duration, now: Moment) -> Self {
        Self {
            burst,
            period,
            full_at: now,
        }
    }

    /// Takes one. `Err`: there is none, and how long until there is.
    fn draw(&mut self, now: Moment) -> Result<(), Duration> {
        let full_at = self.full_at.max(now).plus(self.period);
        let wait = full_at
            .since(now)
            .saturating_sub(self.period.saturating_mul(self.burst));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.full_at = full_at;
        Ok(())
    }

    fn refund(&mut self) {
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        self.full_at = Moment::from_nanos(self.full_at.as_nanos().saturating_sub(period));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_budget_gives_its_burst_then_one_per_period_and_takes_back() {
        let period = Duration::from_secs(10);
        let start = Moment::ORIGIN.plus(Duration::from_secs(1000));
        let mut budget = Budget::new(3, period, start);
        for _ in 0..3 {
            budget.draw(start).unwrap();
        }
        assert_eq!(budget.draw(start), Err(period));
        assert_eq!(budget.draw(start.plus(period / 2)), Err(period / 2));
        budget.draw(start.plus(period)).unwrap();
        assert_eq!(budget.draw(start.plus(period)), Err(period));
        budget.refund();
        budget.draw(start.plus(period)).unwrap();
        // However long it rests, and whatever comes back, it holds its burst and no more.
        let later = start.plus(period * 100);
        budget.refund();
        for _ in 0..3 {
            budget.draw(later).unwrap();
        }
        budget.draw(later).unwrap_err();
    }

    #[test]
    fn some_places_are_left_for_those_on_trial() {
        assert_eq!([8, 16, 17, 256, 4096].map(trial_places), [1, 1, 2, 16, 256]);
    }
}
