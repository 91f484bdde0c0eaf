//! One issuer: its current key set, and the trips that bring the next.
//!
//! When a newer set is wanted is decided by the pure key machine, and how it is got, by its errand
//! ([`authmesh_proto::keys`]); this module carries both out. A trip runs in a task of its own: callers wait for it, and a
//! caller that goes away cancels nothing.
//!
//! | file | what it does |
//! | --- | --- |
//! | here | what callers see: the set, its trust, waiting for a newer one |
//! | [`flight`] | one trip |
//! | [`level2`] | the set and the ticket in L2 |
//! | [`members`] | asking the owner among the members, and answering as the owner |
//! | [`registry`] | the issuers of a node, for those who have only a keyed name |
//! | [`template`] | issuers by a pattern: which strings fit |
//! | [`templates`] | issuers that are learned from tokens: budget, places, trial |
//! | [`time`] | what is known of the issuer's own clock |

mod flight;
mod level2;
mod members;
mod registry;
mod template;
mod templates;
mod time;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::ScopeId;
use authmesh_proto::keys::{self, End, KeyMachine, KeyPolicy, Need, Source, Trip};
use authmesh_proto::marks::TokenScopes;
use authmesh_proto::time::{Moment, Now, Unix};
use tokio::sync::{Notify, Semaphore, watch};

use crate::error::VerifyError;
use crate::jose::{KeySet, KeySetError, KeySetLimits, VerificationKey};
use crate::node::Node;
use crate::ports::{KeySource, UpstreamError, UpstreamFault};
use crate::verdict::Signers;

use flight::Flight;
use level2::Names;
pub(crate) use members::answer as answer_member;
pub(crate) use registry::Registry;
pub use template::IssuerTemplate;
use templates::Learned;
pub(crate) use templates::{Factory, Template};
use time::IssuerClock;

/// Beside the deadline of a trip, what a caller waits at most: the lease of a node that died.
const LEASE_WAIT: Duration = Duration::from_millis(1_500);
/// The longest sleep between two looks at the clock; the node's clock need not be the runtime's.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// One issuer: configured, or learned by a template.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) url: Arc<str>,
    source: Arc<dyn KeySource>,
    limits: KeySetLimits,
    machine: Mutex<KeyMachine>,
    current: ArcSwapOption<Keys>,
    /// Edition of the current set, 0 without one.
    edition: AtomicU64,
    /// Until when the current set is trusted, on the boot-time clock.
    trusted_until: AtomicU64,
    /// The last trip that ended.
    landed: watch::Sender<Landed>,
    /// The kid for which the last such trip was begun.
    wanted: Mutex<Option<Box<str>>>,
    /// The last failure, in words.
    trouble: Mutex<Option<UpstreamError>>,
    /// Wakes the background task when its time-out may have moved.
    moved: Notify,
    clock: Mutex<IssuerClock>,
    names: Names,
    /// The current set came from elsewhere before this node knew what generation the cluster has.
    provisional: AtomicBool,
    /// The node that it belongs to. A verdict finds its node by it.
    home: Weak<Node>,
    /// How it was learned, if it is not configured.
    learned: Option<Learned>,
    /// It was forgotten: nothing that rests on its keys counts any more.
    retired: AtomicBool,
    /// Turns to answer members about it.
    answers: Arc<Semaphore>,
}

/// A key set, and which of this node's sets of the issuer it is.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) set: Arc<KeySet>,
    /// Counts the contents that this node has held. What a verdict is compared with.
    pub(crate) edition: u64,
    /// The set as it travels: its document, its generation, and when the issuer was asked.
    pub(crate) shared: Arc<keys::KeySet>,
    /// Where it came from.
    source: Source,
    pub(crate) signers: Signers,
}

impl Keys {
    /// The cluster's number for the set.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.generation
    }
}

/// A set that was read and parsed, not yet taken in.
#[derive(Debug, Clone)]
struct Parsed {
    set: Arc<KeySet>,
    shared: Arc<keys::KeySet>,
    /// Names under which another key stood before, which was kept.
    refused: Arc<[Arc<str>]>,
}

/// A trip that ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Landed {
    trip: u64,
    /// Whether the issuer was asked after the trip began.
    proof: bool,
}

/// The state of an issuer, for status and health.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct IssuerStatus {
    /// The issuer.
    pub issuer: String,
    /// How many keys its current set holds.
    pub keys: usize,
    /// Keys of the document that were left out, and why.
    pub skipped: Vec<String>,
    /// Generation of the set in the cluster, 0 without one.
    pub generation: u64,
    /// Seconds since the issuer was asked for the set, by this node or another.
    pub age_seconds: Option<u64>,
    /// Where this node has the set from: `issuer`, `l2` or `member`; `None` without one.
    pub source: Option<&'static str>,
    /// Whether the set is trusted now.
    pub trusted: bool,
    /// For how many seconds more it is trusted if the issuer cannot be asked.
    pub trusted_seconds: u64,
    /// Trips that failed since the last good one.
    pub failures: u32,
    /// Whether the circuit is open: the issuer failed so often that it is only probed.
    pub circuit_open: bool,
    /// The last failure.
    pub trouble: Option<String>,
    /// The template by which it was learned; `None` of one that is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Whether it was learned, and has verified no token yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_trial: bool,
}

impl Issuer {
    pub(crate) fn new(url: &str, source: Arc<dyn KeySource>, policy: KeyPolicy, now: Moment, node: &Arc<Node>) -> Self {
        Self {
            url: url.into(),
            source,
            limits: KeySetLimits::default(),
            machine: Mutex::new(KeyMachine::new(policy, now)),
            current: ArcSwapOption::empty(),
            edition: AtomicU64::new(0),
            trusted_until: AtomicU64::new(0),
            landed: watch::Sender::default(),
            wanted: Mutex::default(),
            trouble: Mutex::new(None),
            moved: Notify::new(),
            clock: Mutex::new(IssuerClock::default()),
            names: Names::new(&node.codec.namer, url),
            provisional: AtomicBool::new(false),
            home: Arc::downgrade(node),
            learned: None,
            retired: AtomicBool::new(false),
            answers: Arc::new(Semaphore::new(members::ANSWERS_OF_ONE)),
        }
    }

    fn learned_by(mut self, learned: Learned) -> Self {
        self.learned = Some(learned);
        self
    }

    /// It is forgotten. What rests on its keys is void: nobody would notice if one of them were taken away.
    fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        self.trusted_until.store(0, Ordering::SeqCst);
    }

    /// Why the last trip failed.
    fn last_trouble(&self) -> UpstreamError {
        let trouble = self.lock_trouble().clone();
        trouble.unwrap_or_else(|| UpstreamError::new(UpstreamFault::Answer, "the issuer gave no usable key set"))
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

    /// Hears of every trip that ended, after its set and its times are in place.
    pub(crate) fn trips(&self) -> watch::Receiver<Landed> {
        self.landed.subscribe()
    }

    /// The node, unless it is gone.
    pub(crate) fn home(&self) -> Option<Arc<Node>> {
        self.home.upgrade()
    }

    pub(crate) fn edition(&self) -> u64 {
        self.edition.load(Ordering::Acquire)
    }

    /// The keyed name of its key sets: the scope of their generation.
    pub(crate) const fn scope(&self) -> ScopeId {
        self.names.scope
    }

    /// Waits until there is a trusted set.
    pub(crate) async fn any_keys(self: &Arc<Self>, node: &Arc<Node>) -> Result<Arc<Keys>, VerifyError> {
        let landed = self.next(node, 0, true, |machine, now| machine.want_set(now)).await;
        match self.trusted(node.now().boot) {
            Some(keys) => Ok(keys),
            None => Err(landed.err().unwrap_or_else(|| self.could_not_ask(node, Duration::ZERO))),
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
        ask_members: bool,
        holds: impl Fn(&KeySet) -> bool,
    ) -> Result<Arc<Keys>, VerifyError> {
        let found = || self.trusted(node.now().boot).filter(|keys| holds(&keys.set));
        let mut before = 0;
        for _ in 0..2 {
            if let Some(keys) = found() {
                return Ok(keys);
            }
            let want = |machine: &mut KeyMachine, now| self.want_kid(machine, now, kid);
            let landed = self.next(node, before, ask_members, want).await;
            match (found(), landed) {
                (Some(keys), _) => return Ok(keys),
                (None, Err(error)) => return Err(error),
                (None, Ok(next)) if next.proof => {
                    self.machine().is_absent(node.now().boot, kid);
                    return Err(VerifyError::UnknownKey);
                }
                // Whatever trip comes after this one began after the caller came.
                (None, Ok(next)) => before = next.trip,
            }
        }
        Err(self.could_not_ask(node, Duration::ZERO))
    }

    /// Fetches now, for an operator.
    pub(crate) async fn refresh(self: &Arc<Self>, node: &Arc<Node>) -> Result<(), VerifyError> {
        self.refreshed(node, true).await.map(|_| ())
    }

    /// A trip that began after the caller came: one that was under way may have left before whatever it is about.
    async fn refreshed(self: &Arc<Self>, node: &Arc<Node>, ask_members: bool) -> Result<Landed, VerifyError> {
        let want = |machine: &mut KeyMachine, now| machine.want_refresh(now);
        let landed = self.next(node, 0, ask_members, want).await?;
        if landed.proof {
            return Ok(landed);
        }
        self.next(node, landed.trip, ask_members, want).await
    }

    /// Starts or joins a trip, as the machine decides, and waits for its end. A trip after the one that is numbered `before`
    /// began after the caller came.
    async fn next(
        self: &Arc<Self>,
        node: &Arc<Node>,
        before: u64,
        ask_members: bool,
        want: impl FnOnce(&mut KeyMachine, Moment) -> Need,
    ) -> Result<Landed, VerifyError> {
        let mut landed = self.landed.subscribe();
        let (need, longest) = {
            let mut machine = self.machine();
            (
                want(&mut machine, node.now().boot),
                machine.policy().deadline + LEASE_WAIT,
            )
        };
        let (number, proves) = match need {
            Need::Absent => return Err(VerifyError::UnknownKey),
            Need::NotNow { retry_after } => return Err(self.could_not_ask(node, retry_after)),
            Need::Fetch(trip) => {
                self.start(node, trip, ask_members);
                (trip.number, true)
            }
            Need::Wait { trip, proves } => {
                // A trip that is only planned has an earlier begin than the background task knows.
                self.moved.notify_one();
                (trip, proves || (before > 0 && trip > before))
            }
        };
        let waited = tokio::time::timeout(longest, landed.wait_for(|landed| landed.trip >= number)).await;
        let Ok(Ok(landed)) = waited.map(|landed| landed.map(|landed| *landed)) else {
            return Err(self.could_not_ask(node, Duration::ZERO));
        };
        if self.lock_trouble().is_some() {
            return Err(self.could_not_ask(node, Duration::ZERO));
        }
        Ok(Landed {
            trip: landed.trip,
            proof: landed.proof && (proves || landed.trip > number),
        })
    }

    fn want_kid(&self, machine: &mut KeyMachine, now: Moment, kid: &str) -> Need {
        let drawn = match self.draw_on_trial(now) {
            Ok(drawn) => drawn,
            Err(retry_after) => return Need::NotNow { retry_after },
        };
        let need = machine.want_kid(now, kid);
        if let Some(drawn) = drawn {
            drawn.settle(match need {
                Need::Fetch(trip) => Some(trip.number),
                Need::Wait { trip, proves: true } => Some(trip),
                _ => None,
            });
        }
        if matches!(need, Need::Fetch(_) | Need::Wait { proves: true, .. }) {
            *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(kid.into());
        }
        need
    }

    /// The kid for which the last such trip was begun. One stands for many: a set that lacks it is asked for anew, and what
    /// comes is for all.
    fn wanted(&self) -> Option<Box<str>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until a trip has brought a set that is trusted, however many fail before.
    pub(crate) async fn wait_until_trusted(&self, node: &Node) {
        let mut landed = self.landed.subscribe();
        while !self.is_trusted(node.now().boot) {
            // The sender lives as long as `self`.
            let _ = landed.changed().await;
        }
    }

    fn could_not_ask(&self, node: &Node, retry_after: Duration) -> VerifyError {
        let what = self.lock_trouble().as_ref().map_or_else(
            || "the budget for unknown keys is spent".to_owned(),
            |trouble| trouble.what.clone(),
        );
        let until = self.machine().retry_at().since(node.now().boot);
        VerifyError::CouldNotAsk {
            what,
            retry_after: retry_after.max(until).max(Duration::from_secs(1)),
        }
    }

    /// Carries a trip out in a task of its own. The machine already counts it as under way.
    fn start(self: &Arc<Self>, node: &Arc<Node>, trip: Trip, ask_members: bool) {
        node.tasks.spawn(Flight::new(self, node, trip, ask_members).run());
    }

    /// Reads a set that travels.
    fn parse(&self, shared: keys::KeySet) -> Result<Parsed, KeySetError> {
        let set = KeySet::parse(&shared.document, &self.limits)?;
        let held = self.held().filter(|_| self.machine().policy().refuse_changed_keys);
        let (set, refused) = match held {
            Some(keys) => set.keeping(&keys.set),
            None => (set, Vec::new()),
        };
        Ok(Parsed {
            set: Arc::new(set),
            shared: Arc::new(shared),
            refused: refused.into(),
        })
    }

    /// Makes a set the current one. Returns whether its content is another than before.
    fn take(&self, node: &Node, parsed: &Parsed, source: Source) -> bool {
        let held = self.current.load_full();
        let same = held.as_ref().is_some_and(|keys| *keys.set == *parsed.set);
        let known = held
            .as_ref()
            .is_some_and(|keys| keys.shared.document == parsed.shared.document);
        for kid in parsed.refused.iter().filter(|_| !known) {
            node.counters.keys_refused.add();
            tracing::error!(target: "authmesh::audit", issuer = %self.url, %kid,
                "another key appeared under the name of a known one; it is refused, and the known one stays");
        }
        if !same {
            self.tell_changes(node, held.as_deref(), parsed);
        }
        let edition = held.as_ref().map_or(0, |keys| keys.edition) + u64::from(!same);
        self.current.store(Some(Arc::new(Keys {
            set: match held {
                Some(keys) if same => Arc::clone(&keys.set),
                _ => Arc::clone(&parsed.set),
            },
            edition,
            shared: Arc::clone(&parsed.shared),
            source,
            signers: Signers::default(),
        })));
        // After the set: who sees the new number finds the new set, or a newer one.
        self.edition.store(edition, Ordering::Release);
        let first_hand = source == Source::Issuer;
        self.provisional
            .store(!first_hand && !node.was_coherent(), Ordering::Release);
        !same
    }

    /// What is new about a set, for people: keys that came, that went, that changed under their name.
    fn tell_changes(&self, node: &Node, held: Option<&Keys>, parsed: &Parsed) {
        for skipped in parsed.set.skipped() {
            node.counters.keys_skipped.add();
            if skipped.reason.exposes_secret() {
                tracing::error!(target: "authmesh::audit", issuer = %self.url, index = skipped.index, reason = %skipped.reason,
                    "the issuer publishes secret key material; the key is not used");
            } else {
                tracing::warn!(issuer = %self.url, index = skipped.index, reason = %skipped.reason, "a key of the set is left out");
            }
        }
        let generation = parsed.shared.generation;
        tracing::info!(issuer = %self.url, generation, keys = parsed.set.len(), "the issuer has a new key set");
        let Some(held) = held else { return };
        let name = |key: &VerificationKey| key.kid().map_or_else(|| "(none)".to_owned(), ToString::to_string);
        for key in parsed.set.added_to(&held.set) {
            node.counters.keys_added.add();
            tracing::info!(target: "authmesh::audit", issuer = %self.url, generation, kid = %name(key), "a signing key was added");
        }
        for key in held.set.added_to(&parsed.set) {
            node.counters.keys_removed.add();
            let changed = parsed
                .set
                .iter()
                .any(|other| other.kid().is_some() && other.kid() == key.kid());
            if changed {
                tracing::warn!(target: "authmesh::audit", issuer = %self.url, generation, kid = %name(key),
                    "a signing key was replaced by another one of the same name; what the old one signed is void");
            } else {
                tracing::warn!(target: "authmesh::audit", issuer = %self.url, generation, kid = %name(key),
                    "a signing key was taken away; what it signed is void");
                if let Some(kid) = key.kid() {
                    // Two looks agreed that it is gone. Tokens that still name it are refused at once, and cost no third one.
                    self.machine().is_absent(node.now().boot, kid);
                }
            }
        }
    }

    /// A trip has ended: tells the machine, then wakes the callers. Returns when the next one may begin.
    fn land(&self, node: &Node, trip: Trip, end: End, proof: bool, trouble: Option<UpstreamError>) -> Moment {
        let jitter = u32::from_ne_bytes(node.random());
        *self.lock_trouble() = trouble;
        let retry_at = {
            let mut machine = self.machine();
            machine.ended(node.now().boot, end, jitter);
            self.trusted_until
                .store(machine.trusted_until().as_nanos(), Ordering::SeqCst);
            if self.retired.load(Ordering::SeqCst) {
                self.trusted_until.store(0, Ordering::SeqCst);
            }
            machine.retry_at()
        };
        self.landed.send_replace(Landed {
            trip: trip.number,
            proof,
        });
        self.moved.notify_one();
        retry_at
    }

    /// The newest generation that the cluster has stated, as far as this node has applied it.
    fn stated(&self, node: &Node) -> u64 {
        let marks = node.marks();
        marks
            .of_scope(self.names.scope)
            .map(|mark| mark.not_before)
            .max()
            .unwrap_or(0)
    }

    /// The node knows for the first time what the cluster has stated: a set that it took from elsewhere before, and that is
    /// older, was put there by somebody.
    fn settle(&self, node: &Node) {
        if !self.provisional.swap(false, Ordering::AcqRel) {
            return;
        }
        let stated = self.stated(node);
        if self.held().is_some_and(|keys| keys.generation() < stated) {
            self.trusted_until.store(0, Ordering::Release);
            tracing::error!(target: "authmesh::audit", issuer = %self.url, stated,
                "a key set that the cluster has replaced was found in L2; it is not trusted");
        }
        self.machine().heard(node.now().boot, stated);
        self.moved.notify_one();
    }

    /// Keeps the set fresh until the node shuts down. Where nobody asks, the first fetch begins after `delay`.
    pub(crate) async fn keep_fresh(issuer: Weak<Self>, node: Arc<Node>, delay: Duration) {
        let scopes = match issuer.upgrade() {
            Some(this) => TokenScopes::new(&node.codec.namer, &this.url, None, [(ScopeKind::KeySet, [].as_slice())]),
            None => return,
        };
        if let Some(this) = issuer.upgrade().filter(|_| !delay.is_zero()) {
            tokio::select! {
                () = node.shutdown.cancelled() => return,
                () = this.moved.notified() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
        loop {
            // Registered first, looked afterwards: what changes after the look wakes.
            let mut stated = node.wakes.listen(&scopes);
            let Some(this) = issuer.upgrade() else { return };
            let now = node.now().boot;
            let newest = this.stated(&node);
            let (trip, next) = {
                let mut machine = this.machine();
                machine.heard(now, newest);
                (machine.tick(now), machine.poll_timeout())
            };
            if let Some(trip) = trip {
                this.start(&node, trip, true);
            }
            let sleep = next.since(now).min(LONGEST_SLEEP);
            tokio::select! {
                () = node.shutdown.cancelled() => return,
                () = this.moved.notified() => {}
                () = stated.changed() => {}
                () = tokio::time::sleep(sleep.max(Duration::from_millis(5))) => {}
            }
        }
    }

    /// A token of the issuer was accepted with this `iat`.
    pub(crate) fn saw_issued_at(&self, iat: Unix) {
        self.issuer_clock().saw_issued_at(iat);
    }

    /// The issuer's time, as late as it can be: the latest of our wall clock, the highest `iat` accepted from it, and its
    /// last `Date` carried on, which must not void tokens for days to come: it counts up to `latest`.
    pub(crate) fn time(&self, now: Now, latest: Unix) -> Unix {
        self.issuer_clock().time(now, latest)
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
            generation: keys.as_ref().map_or(0, |keys| keys.generation()),
            age_seconds: machine.fetched_at().map(|at| now.since(at).as_secs()),
            source: keys.as_ref().map(|keys| match keys.source {
                Source::Issuer => "issuer",
                Source::L2 => "l2",
                Source::Member => "member",
            }),
            trusted: self.is_trusted(now),
            trusted_seconds: self.trusted_until().since(now).as_secs(),
            failures: machine.failures(),
            circuit_open: machine.is_open(),
            trouble: self.lock_trouble().as_ref().map(|trouble| trouble.what.clone()),
            template: self.learned.as_ref().map(|learned| learned.template_name().to_owned()),
            on_trial: self.on_trial(),
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
