//! One issuer: its current key set, and the flight that fetches the next.
//!
//! When to fetch is decided by the pure key machine ([`authmesh_proto::keys`]); this module carries it out. A fetch runs in
//! a task of its own: callers wait for it, and a caller that goes away cancels nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use authmesh_proto::keys::{KeyMachine, KeyPolicy, Need};
use authmesh_proto::time::{Moment, Now, Unix};
use tokio::sync::{Notify, watch};

use crate::error::VerifyError;
use crate::jose::{KeySet, KeySetLimits};
use crate::node::Node;
use crate::ports::{FetchedBody, KeyFetch, KeySource, UpstreamError, UpstreamFault};

/// The longest a caller waits for the keys. A fetch is bounded by its source well below this.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The longest sleep between two looks at the clock; the node's clock need not be the runtime's.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// One configured issuer.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) url: Arc<str>,
    source: Arc<dyn KeySource>,
    limits: KeySetLimits,
    machine: Mutex<KeyMachine>,
    current: ArcSwapOption<Keys>,
    /// Generation of the current set, 0 without one.
    generation: AtomicU64,
    /// Until when the current set is trusted, on the boot-time clock.
    trusted_until: AtomicU64,
    etag: Mutex<Option<String>>,
    /// Counts fetches that ended.
    ended: watch::Sender<u64>,
    /// The last failure, in words.
    trouble: Mutex<Option<UpstreamError>>,
    /// Wakes the background task when its time-out may have moved.
    moved: Notify,
    clock: Mutex<IssuerClock>,
    /// The node that it belongs to. A verdict finds its node by it.
    home: Weak<Node>,
}

/// A key set, and which of this node's sets of the issuer it is.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) set: KeySet,
    pub(crate) generation: u64,
}

/// Whose fetch a caller waited for.
enum Flown {
    /// One that began because of it.
    Own,
    /// One that was under way already.
    Joined,
}

/// What is known of the issuer's own time.
#[derive(Debug, Default)]
struct IssuerClock {
    highest_iat: Unix,
    /// The last `Date`, and when it was read.
    date: Option<(Unix, Moment)>,
}

/// The state of an issuer, for status and health.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct IssuerStatus {
    /// The issuer.
    pub issuer: String,
    /// How many keys its current set holds.
    pub keys: usize,
    /// Keys of the document that were left out, and why.
    pub skipped: Vec<String>,
    /// Generation of the set on this node, 0 without one.
    pub generation: u64,
    /// Seconds since the set was fetched.
    pub age_seconds: Option<u64>,
    /// Whether the set is trusted now.
    pub trusted: bool,
    /// Fetches that failed since the last good one.
    pub failures: u32,
    /// The last failure.
    pub trouble: Option<String>,
}

impl Issuer {
    pub(crate) fn new(url: &str, source: Arc<dyn KeySource>, policy: KeyPolicy, now: Moment, home: Weak<Node>) -> Self {
        Self {
            url: url.into(),
            source,
            limits: KeySetLimits::default(),
            machine: Mutex::new(KeyMachine::new(policy, now)),
            current: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            trusted_until: AtomicU64::new(0),
            etag: Mutex::new(None),
            ended: watch::Sender::new(0),
            trouble: Mutex::new(None),
            moved: Notify::new(),
            clock: Mutex::new(IssuerClock::default()),
            home,
        }
    }

    /// The current set, if it is still trusted.
    pub(crate) fn trusted(&self, now: Moment) -> Option<Arc<Keys>> {
        if self.is_trusted(now) {
            self.current.load_full()
        } else {
            None
        }
    }

    pub(crate) fn is_trusted(&self, now: Moment) -> bool {
        now < self.trusted_until()
    }

    /// The current set, trusted or not.
    pub(crate) fn held(&self) -> Option<Arc<Keys>> {
        self.current.load_full()
    }

    /// Until when the current set is trusted.
    pub(crate) fn trusted_until(&self) -> Moment {
        Moment::from_nanos(self.trusted_until.load(Ordering::Acquire))
    }

    /// Hears of every fetch that ended, after its set and its times are in place.
    pub(crate) fn fetches(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// The node, unless it is gone.
    pub(crate) fn home(&self) -> Option<Arc<Node>> {
        self.home.upgrade()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Waits until there is a trusted set.
    pub(crate) async fn any_keys(self: &Arc<Self>, node: &Arc<Node>) -> Result<Arc<Keys>, VerifyError> {
        let landed = self.fetched(node, |machine, now| machine.want_set(now)).await;
        match self.trusted(node.now().boot) {
            Some(keys) => Ok(keys),
            None => Err(landed.err().unwrap_or_else(|| self.could_not_ask(Duration::ZERO))),
        }
    }

    /// Waits until there is a trusted set that `holds` the key named `kid`.
    ///
    /// Only a fetch that began after the caller came proves that the issuer does not have the key: one that was under way
    /// may have left before a rotation.
    pub(crate) async fn keys_with(
        self: &Arc<Self>,
        node: &Arc<Node>,
        kid: &str,
        holds: impl Fn(&KeySet) -> bool,
    ) -> Result<Arc<Keys>, VerifyError> {
        let found = || self.trusted(node.now().boot).filter(|keys| holds(&keys.set));
        for last in [false, true] {
            if let Some(keys) = found() {
                return Ok(keys);
            }
            let landed = self.fetched(node, |machine, now| machine.want_kid(now, kid)).await;
            match (found(), landed) {
                (Some(keys), _) => return Ok(keys),
                (None, Err(error)) => return Err(error),
                (None, Ok(Flown::Joined)) if !last => {}
                (None, Ok(_)) => break,
            }
        }
        self.machine().is_absent(node.now().boot, kid);
        Err(VerifyError::UnknownKey)
    }

    /// Fetches now, for an operator.
    pub(crate) async fn refresh(self: &Arc<Self>, node: &Arc<Node>) -> Result<(), VerifyError> {
        self.fetched(node, |machine, now| machine.want_refresh(now))
            .await
            .map(|_| ())
    }

    /// Starts or joins a fetch, as the machine decides, and waits for its end.
    async fn fetched(
        self: &Arc<Self>,
        node: &Arc<Node>,
        want: impl Fn(&mut KeyMachine, Moment) -> Need,
    ) -> Result<Flown, VerifyError> {
        let mut ended = self.ended.subscribe();
        let need = want(&mut self.machine(), node.now().boot);
        let flown = match need {
            Need::Absent => return Err(VerifyError::UnknownKey),
            Need::NotNow { retry_after } => return Err(self.could_not_ask(retry_after)),
            Need::Fetch { no_cache } => {
                self.start(node, no_cache);
                Flown::Own
            }
            Need::Wait => Flown::Joined,
        };
        let in_time = tokio::time::timeout(LONGEST_WAIT, ended.changed()).await.is_ok();
        if in_time && self.lock_trouble().is_none() {
            Ok(flown)
        } else {
            Err(self.could_not_ask(Duration::ZERO))
        }
    }

    /// Waits until a fetch has brought a set that is trusted, however many fail before.
    pub(crate) async fn wait_until_trusted(&self, node: &Node) {
        let mut ended = self.ended.subscribe();
        while !self.is_trusted(node.now().boot) {
            // The sender lives as long as `self`.
            let _ = ended.changed().await;
        }
    }

    fn could_not_ask(&self, retry_after: Duration) -> VerifyError {
        let what = self.lock_trouble().as_ref().map_or_else(
            || "the budget for unknown keys is spent".to_owned(),
            |trouble| trouble.what.clone(),
        );
        VerifyError::CouldNotAsk {
            what,
            retry_after: retry_after.max(Duration::from_secs(1)),
        }
    }

    /// Fetches in a task of its own. The machine already counts it as under way.
    fn start(self: &Arc<Self>, node: &Arc<Node>, no_cache: bool) {
        let flight = Flight {
            issuer: Arc::clone(self),
            node: Arc::clone(node),
            asked: node.now().boot,
            ended: false,
        };
        node.tasks.spawn(flight.run(no_cache));
    }

    /// Takes in what a fetch brought.
    fn take_in(&self, node: &Node, asked: Moment, fetched: Result<crate::ports::Fetched, UpstreamError>) {
        let now = node.now().boot;
        let jitter = u32::from_ne_bytes(node.random());
        let fetched = fetched.and_then(|fetched| {
            let set = match fetched.body {
                FetchedBody::Document(bytes) => Some(KeySet::parse(&bytes, &self.limits).map_err(|error| {
                    UpstreamError::new(UpstreamFault::Answer, format!("the key set is refused: {error}"))
                })?),
                FetchedBody::NotModified if self.current.load().is_some() => None,
                FetchedBody::NotModified => {
                    return Err(UpstreamError::new(UpstreamFault::Answer, "304 without a set to keep"));
                }
            };
            Ok((set, fetched.etag, fetched.max_age, fetched.date))
        });
        match fetched {
            Ok((set, etag, max_age, date)) => {
                if let Some(date) = date {
                    self.issuer_clock().date = Some((date, now));
                }
                if let Some(set) = set {
                    *self.etag.lock().unwrap_or_else(PoisonError::into_inner) = etag;
                    self.replace(node, set);
                }
                let mut machine = self.machine();
                machine.succeeded(now, asked, max_age, jitter);
                self.trusted_until
                    .store(machine.trusted_until().as_nanos(), Ordering::Release);
                drop(machine);
                *self.lock_trouble() = None;
                node.counters.key_fetches_ok.add();
            }
            Err(error) => {
                tracing::warn!(issuer = %self.url, %error, "the key set could not be fetched; the last good one is kept");
                self.machine().failed(now, error.retry_after, jitter);
                *self.lock_trouble() = Some(error);
                node.counters.key_fetches_failed.add();
            }
        }
    }

    fn replace(&self, node: &Node, set: KeySet) {
        for skipped in set.skipped() {
            node.counters.keys_skipped.add();
            if skipped.reason.exposes_secret() {
                tracing::error!(target: "authmesh::audit", issuer = %self.url, index = skipped.index, reason = %skipped.reason,
                    "the issuer publishes secret key material; the key is not used");
            } else {
                tracing::warn!(issuer = %self.url, index = skipped.index, reason = %skipped.reason, "a key of the set is left out");
            }
        }
        let same = self.current.load().as_ref().is_some_and(|keys| keys.set == set);
        if same {
            return;
        }
        let generation = self.generation() + 1;
        tracing::info!(issuer = %self.url, generation, keys = set.len(), "the issuer has a new key set");
        self.current.store(Some(Arc::new(Keys { set, generation })));
        // After the set: who sees the new number finds the new set, or a newer one.
        self.generation.store(generation, Ordering::Release);
    }

    /// Keeps the set fresh until the node shuts down.
    pub(crate) async fn keep_fresh(issuer: Weak<Self>, node: Arc<Node>) {
        loop {
            let Some(this) = issuer.upgrade() else { return };
            let now = node.now().boot;
            let need = this.machine().tick(now);
            if let Some(Need::Fetch { no_cache }) = need {
                this.start(&node, no_cache);
            }
            let sleep = this.machine().poll_timeout().since(now).min(LONGEST_SLEEP);
            tokio::select! {
                () = node.shutdown.cancelled() => return,
                () = this.moved.notified() => {}
                () = tokio::time::sleep(sleep.max(Duration::from_millis(10))) => {}
            }
        }
    }

    /// A token of the issuer was accepted with this `iat`.
    pub(crate) fn saw_issued_at(&self, iat: Unix) {
        let mut clock = self.issuer_clock();
        clock.highest_iat = clock.highest_iat.max(iat);
    }

    /// The issuer's time, as late as it can be: the latest of our wall clock, the highest `iat` accepted from it, and its
    /// last `Date` carried on, which must not void tokens for days to come: it counts up to `latest`.
    pub(crate) fn time(&self, now: Now, latest: Unix) -> Unix {
        let clock = self.issuer_clock();
        let by_date = clock
            .date
            .map_or(0, |(date, read)| date.saturating_add(now.boot.since(read).as_secs()));
        now.wall.max(clock.highest_iat).max(by_date.min(latest))
    }

    pub(crate) fn status(&self, now: Moment) -> IssuerStatus {
        let machine = self.machine();
        let keys = self.current.load_full();
        IssuerStatus {
            issuer: self.url.to_string(),
            keys: keys.as_ref().map_or(0, |keys| keys.set.len()),
            skipped: keys.as_ref().map_or_else(Vec::new, |keys| {
                let describe = |key: &crate::jose::SkippedKey| format!("key {}: {}", key.index, key.reason);
                keys.set.skipped().iter().map(describe).collect()
            }),
            generation: self.generation(),
            age_seconds: machine.fetched_at().map(|at| now.since(at).as_secs()),
            trusted: self.is_trusted(now),
            failures: machine.failures(),
            trouble: self.lock_trouble().as_ref().map(|trouble| trouble.what.clone()),
        }
    }

    fn machine(&self) -> MutexGuard<'_, KeyMachine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_trouble(&self) -> MutexGuard<'_, Option<UpstreamError>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn issuer_clock(&self) -> MutexGuard<'_, IssuerClock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One fetch. However it ends, also by a panic of the source or at shutdown, the machine is told and the waiters are woken.
struct Flight {
    issuer: Arc<Issuer>,
    node: Arc<Node>,
    asked: Moment,
    ended: bool,
}

impl Flight {
    async fn run(mut self, no_cache: bool) {
        let request = KeyFetch {
            no_cache,
            etag: self.issuer.etag.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        let source = Arc::clone(&self.issuer.source);
        let fetched = tokio::select! {
            fetched = tokio::time::timeout(LONGEST_WAIT, source.fetch(request)) => fetched
                .unwrap_or_else(|_| Err(UpstreamError::new(UpstreamFault::Timeout, "the fetch took longer than 10 s"))),
            () = self.node.shutdown.cancelled() => return,
        };
        self.end(fetched);
    }

    fn end(&mut self, fetched: Result<crate::ports::Fetched, UpstreamError>) {
        self.ended = true;
        self.issuer.take_in(&self.node, self.asked, fetched);
        self.issuer.ended.send_modify(|n| *n += 1);
        self.issuer.moved.notify_one();
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Err(UpstreamError::new(
                UpstreamFault::Unreachable,
                "the fetch was cut short",
            )));
        }
    }
}
