//! The node: what all parts of one mesh share, and the driver that keeps it coherent.
//!
//! The hot path touches [`Node`] only through atomics: the fence, the mark epoch and the coherence lease. Everything that
//! waits for the world happens in the [`driver`], one task.

mod codec;
mod driver;
mod gossip;
mod jobs;
mod members;
mod outbox;
mod progress;
mod undone;
mod wakes;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use authmesh_proto::commit::{Unpositioned, Voids};
use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::follower::{Follower, FollowerConfig};
use authmesh_proto::freshness::{Fence, MarkEpoch};
use authmesh_proto::ident::{ChannelId, Digest, EntryName, Incarnation, Origin, Position};
use authmesh_proto::log::Head;
use authmesh_proto::marks::{Marks, bucket_of};
use authmesh_proto::record::TagPosition;
use authmesh_proto::statement::{Body, Mark};
use authmesh_proto::time::{Moment, Now};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

use crate::ports::{BoxFuture, Bus, Clock, Entropy, Log, Members, PortError, Store};
use crate::telemetry::{Began, Counters, Empty, Timing, Timings, span, word};

pub(crate) use codec::Codec;
pub(crate) use driver::Driver;
pub use gossip::{GossipHealth, GossipStats};
pub(crate) use gossip::{Road, Room, gossip_node, port_peer, register_metrics as register_gossip};
pub(crate) use jobs::compare_table;
pub use members::Member;
pub(crate) use members::hex;
use outbox::Outbox;
pub(crate) use outbox::{Once, SayError, Ticket, Writing};
pub(crate) use progress::Progress;
use wakes::Wakes;

/// How long one call of L2 may hold anybody up.
const L2_TIMEOUT: Duration = Duration::from_millis(250);

/// The outside of a node.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) members: Arc<dyn Members>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// What all parts of one mesh share.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) origin: Origin,
    pub(crate) ports: Ports,
    pub(crate) codec: Arc<Codec>,
    pub(crate) fence: Fence,
    pub(crate) epoch: MarkEpoch,
    marks: RwLock<Marks>,
    pub(crate) follower: Mutex<Follower>,
    coherent_until: AtomicU64,
    /// The road without Redis, where there is one. Set before the driver runs.
    gossip: OnceLock<Room>,
    /// Channels that were soiled since the driver looked last.
    soiled: Mutex<Vec<ChannelId>>,
    pub(crate) outbox: Outbox,
    /// What this node has voided with a statement that has no position yet: L2 reads of it are misses.
    unpositioned: Mutex<Unpositioned>,
    /// Turns to load the marks of a channel.
    loads: Semaphore,
    pub(crate) counters: Counters,
    /// Set where there is a meter.
    timings: OnceLock<Timings>,
    pub(crate) seen: members::Seen,
    pub(crate) observer: crate::observer::Watch,
    pub(crate) issuers: crate::issuer::Registry,
    /// Whether it shares a log, and an L2, with others.
    pub(crate) has_log: bool,
    pub(crate) l1: crate::l1::Stores,
    /// What members hand over of their hot entries.
    pub(crate) warmth: crate::cache::Warmth,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) max_skew: Duration,
    /// Wakes those who wait for the end of a verdict.
    pub(crate) wakes: Arc<Wakes>,
    /// When the node began.
    pub(crate) born: Moment,
}

/// What a node is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) ports: Ports,
    pub(crate) codec: Codec,
    pub(crate) follower: FollowerConfig,
    pub(crate) mark_cap: usize,
    pub(crate) l1: crate::l1::Stores,
    pub(crate) max_skew: Duration,
    /// A node without a cluster is its own authority: it is always coherent.
    pub(crate) alone: bool,
    /// Whether it shares a log, and an L2, with others.
    pub(crate) has_log: bool,
    /// How many names of hot entries a member is asked for.
    pub(crate) warm_from_peers: usize,
}

/// Whether a node's answers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coherence {
    /// It has applied everything, up to at most one lease ago.
    Coherent,
    /// It cannot prove that, for so long now.
    Blind(Duration),
    /// It never could, since its start.
    NeverYet,
}

impl Coherence {
    /// Whether the node is coherent.
    #[must_use]
    pub const fn is_coherent(self) -> bool {
        matches!(self, Self::Coherent)
    }
}

impl Node {
    pub(crate) fn new(parts: Parts) -> (Arc<Self>, outbox::SaidReceiver) {
        let mut origin = [0; 16];
        parts.ports.entropy.fill(&mut origin);
        let now = parts.ports.clock.now();
        let (outbox, said) = Outbox::new();
        let node = Self {
            name: parts.name,
            address: parts.address,
            origin: Origin(origin),
            observer: crate::observer::Watch::new(&parts.codec.namer),
            issuers: crate::issuer::Registry::default(),
            has_log: parts.has_log,
            codec: Arc::new(parts.codec),
            ports: parts.ports,
            fence: Fence::new(),
            epoch: MarkEpoch::new(),
            marks: RwLock::new(Marks::new(parts.mark_cap)),
            follower: Mutex::new(Follower::new(parts.follower, now.boot)),
            coherent_until: AtomicU64::new(if parts.alone { u64::MAX } else { 0 }),
            gossip: OnceLock::new(),
            soiled: Mutex::default(),
            outbox,
            unpositioned: Mutex::default(),
            loads: Semaphore::new(jobs::LOADS),
            counters: Counters::default(),
            timings: OnceLock::new(),
            seen: members::Seen::default(),
            l1: parts.l1,
            warmth: crate::cache::Warmth::new(parts.warm_from_peers),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
            max_skew: parts.max_skew,
            wakes: Arc::new(Wakes::new(parts.alone)),
            born: now.boot,
        };
        (Arc::new(node), said)
    }

    pub(crate) fn now(&self) -> Now {
        self.ports.clock.now()
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.ports.entropy.fill(&mut bytes);
        bytes
    }

    /// Whether the node is coherent at `now`.
    pub(crate) fn coherence_at(&self, now: Moment) -> Coherence {
        let until = self.coherent_until.load(Ordering::Acquire);
        if now.as_nanos() < until {
            Coherence::Coherent
        } else if until == 0 {
            Coherence::NeverYet
        } else {
            Coherence::Blind(now.since(Moment::from_nanos(until)))
        }
    }

    pub(crate) fn coherence(&self) -> Coherence {
        self.coherence_at(self.now().boot)
    }

    /// The road without Redis, where the node has it.
    pub(crate) fn gossip(&self) -> Option<&Room> {
        self.gossip.get()
    }

    /// Gives the node its road without Redis. Once, before the driver runs.
    pub(crate) fn set_gossip(&self, room: Room) {
        // A second one could not happen, and would change nothing.
        let _ = self.gossip.set(room);
    }

    /// Publishes a lease that may be told shorter than it was before: a view that grew asks for more evidence. What was proven
    /// stays proven, so the longer one holds; but for a node that others hold to be gone.
    fn publish_longest_lease(&self, until: Moment, gone: bool) {
        let former = Moment::from_nanos(self.coherent_until.load(Ordering::Acquire));
        self.publish_lease(if gone {
            former.min(self.now().boot)
        } else {
            former.max(until)
        });
    }

    fn publish_lease(&self, until: Moment) {
        let former = self.coherent_until.load(Ordering::Acquire);
        if former != u64::MAX {
            if former == 0 && until > Moment::ORIGIN {
                self.issuers.settle(self);
            }
            self.coherent_until.store(until.as_nanos(), Ordering::Release);
            self.wakes.coherent(self.coherence().is_coherent());
        }
    }

    /// Whether the node has been coherent since its start.
    pub(crate) fn was_coherent(&self) -> bool {
        self.coherent_until.load(Ordering::Acquire) != 0
    }

    /// How long the node has been blind: zero while it is coherent, since its start when it never was.
    pub(crate) fn blind_for(&self) -> Duration {
        let now = self.now().boot;
        match self.coherence_at(now) {
            Coherence::Coherent => Duration::ZERO,
            Coherence::Blind(since) => since,
            Coherence::NeverYet => now.since(self.born),
        }
    }

    pub(crate) fn marks(&self) -> RwLockReadGuard<'_, Marks> {
        self.marks.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn marks_mut(&self) -> RwLockWriteGuard<'_, Marks> {
        self.marks.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn follower(&self) -> MutexGuard<'_, Follower> {
        self.follower.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a statement: the map first, then the bump (the order that [`authmesh_proto::freshness`] asks for).
    pub(crate) fn apply(&self, body: &Body, position: Option<(Incarnation, Position)>) {
        match body {
            Body::Drop(name) => self.fence.bump(name.slot()),
            Body::Mark(mark) => self.apply_mark(mark.clone(), position),
        }
    }

    pub(crate) fn apply_mark(&self, mark: Mark, position: Option<(Incarnation, Position)>) {
        let is_tag = mark.kind == ScopeKind::Tag;
        let scope = mark.key.scope;
        let now = self.now();
        let changed = self.marks_mut().apply(now, mark, position, &self.codec.namer);
        if is_tag {
            self.fence.bump(scope.slot());
        } else if changed {
            self.epoch.bump();
            self.wakes.mark(scope);
        }
    }

    /// Applies marks, each with its digest, under one lock; those of a table with its position. `news_in` is told the channel and
    /// the bucket of each that was not known.
    fn apply_loaded(
        &self,
        marks: impl Iterator<Item = (Mark, Digest)>,
        position: Option<(Incarnation, Position)>,
        mut news_in: impl FnMut(ChannelId, usize),
    ) {
        let (now, mut changed, mut tags) = (self.now(), Vec::new(), Vec::new());
        let mut held = self.marks_mut();
        for mark in marks {
            let (is_tag, scope) = (mark.0.kind == ScopeKind::Tag, mark.0.key.scope);
            if !held.covers(&mark.0) {
                news_in(scope.slot().channel, bucket_of(mark.0.expires));
            }
            let news = held.apply_digested(now, mark, position, &self.codec.namer);
            if is_tag {
                tags.push(scope.slot());
            } else if news {
                changed.push(scope);
            }
        }
        drop(held);
        for slot in tags {
            self.fence.bump(slot);
        }
        if !changed.is_empty() {
            self.epoch.bump();
        }
        for scope in changed {
            self.wakes.mark(scope);
        }
    }

    /// Applies marks that this node kept from before its start.
    pub(crate) fn apply_kept(&self, marks: Vec<Mark>) {
        let now = self.now();
        let mut held = self.marks_mut();
        for mark in marks {
            held.apply_kept(now, mark, &self.codec.namer);
        }
        drop(held);
        self.epoch.bump();
    }

    /// Something in a channel is void that no statement names: here at once, and everywhere by a mint and by gossip.
    pub(super) fn soil(&self, channel: ChannelId) {
        self.soil_untold(channel);
        let mut soiled = self.soiled.lock().unwrap_or_else(PoisonError::into_inner);
        if !soiled.contains(&channel) {
            soiled.push(channel);
        }
        drop(soiled);
        self.outbox.soiled().notify_one();
    }

    /// [`Node::soil`] for the driver, which tells the members itself.
    fn soil_untold(&self, channel: ChannelId) {
        // The follower's own bump follows when the driver polls it.
        self.fence.bump_channel(channel);
        self.follower().soil(channel);
        self.outbox.soiled().notify_one();
    }

    /// The channels that were soiled since the last call.
    fn take_soiled(&self) -> Vec<ChannelId> {
        std::mem::take(&mut *self.soiled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unpositioned(&self) -> MutexGuard<'_, Unpositioned> {
        self.unpositioned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a statement of this node that voids it has no position yet.
    pub(crate) fn awaits_position(&self, voids: Voids) -> bool {
        self.unpositioned().holds(&voids)
    }

    /// Whether a value that L2 gave together with `head`, asked after `asked`, may count: the node has applied what the
    /// head tells, the log has not gone back, the channel is settled, and no drop of this key still waits for its position.
    pub(crate) fn l2_counts(&self, name: &EntryName, head: &Head, asked: Moment) -> bool {
        let channel = name.slot().channel;
        let follower = self.follower();
        let settled = follower.settled(channel).is_some();
        settled && follower.proves(channel, head, asked) && !self.awaits_position(Voids::Entry(*name))
    }

    /// Whether no tag of a record was voided since its filler read the source. `None`: this node cannot tell.
    ///
    /// Of a tag about which it knows a statement, the filler's position must be one that this node has applied itself: after
    /// a failover, positions of the branch that was lost look like those of the branch that goes on.
    pub(crate) fn tags_count(&self, tags: &[TagPosition]) -> Option<bool> {
        let follower = self.follower();
        let marks = self.marks();
        let mut all = true;
        for TagPosition { tag, applied } in tags {
            if marks.tag_is_stated(*tag) {
                let channel = tag.slot().channel;
                follower.settled(channel)?;
                all &= applied.is_some_and(|(_, position)| follower.knows(channel, &position));
            }
            all &= marks.tag_allows(*tag, *applied);
        }
        Some(all)
    }

    /// A call of L2, given up after [`L2_TIMEOUT`]. `None`: L2 could not be asked, which is a miss and counted.
    pub(crate) async fn ask_l2<T>(
        &self,
        operation: &'static str,
        call: BoxFuture<'_, Result<T, PortError>>,
    ) -> Option<T> {
        // Without a log nobody shares an L2: the call goes nowhere.
        let span = match self.has_log {
            true => span!("authmesh.l2", otel.kind = "client", authmesh.operation = operation, error.type = Empty),
            false => Span::none(),
        };
        let began = self.begins();
        let answer = tokio::time::timeout(L2_TIMEOUT, call).instrument(span.clone()).await;
        let (value, error) = taken(answer);
        self.call_ended(Timing::L2, operation, began, error, &span);
        if error.is_some() {
            self.counters.cache_l2_failures.add();
        }
        value
    }

    /// Where there is a meter, what is slow is timed.
    pub(crate) fn set_timings(&self, timings: Timings) {
        // A second meter could not be, and would change nothing.
        let _ = self.timings.set(timings);
    }

    /// Something slow begins.
    pub(crate) fn begins(&self) -> Began {
        Began::now(self.timings.get())
    }

    /// It has ended.
    pub(crate) fn ended(
        &self,
        timing: Timing,
        began: Began,
        attributes: &[(&'static str, Option<opentelemetry::Value>)],
    ) {
        began.ended(self.timings.get(), timing, attributes);
    }

    /// A call of a port has ended.
    fn call_ended(
        &self,
        timing: Timing,
        operation: &'static str,
        began: Began,
        error: Option<&'static str>,
        span: &Span,
    ) {
        if let Some(error) = error {
            span.record("error.type", error);
        }
        if self.has_log {
            let attributes = [("operation", word(operation)), ("error.type", error.and_then(word))];
            self.ended(timing, began, &attributes);
        }
    }

    /// What this node has applied of a channel.
    pub(crate) fn applied(&self, channel: ChannelId) -> Option<(Incarnation, Position)> {
        self.follower()
            .watermark(channel)
            .map(|head| (head.incarnation, head.position))
    }

    /// What this node has applied of every channel, in order.
    pub(crate) fn applied_everywhere(&self) -> Vec<Option<(Incarnation, Position)>> {
        let follower = self.follower();
        let applied = |channel| {
            let head = follower.watermark(channel)?;
            Some((head.incarnation, head.position))
        };
        ChannelId::all().map(applied).collect()
    }

    pub(crate) fn verdict_count(&self) -> u64 {
        self.l1.verdicts.entry_count()
    }

    pub(crate) fn verdict_bytes(&self) -> u64 {
        self.l1.verdicts.weighted_size()
    }
}

/// What a bounded call of a port brought, or the word for why it brought nothing.
fn taken<T>(answer: Result<Result<T, PortError>, tokio::time::error::Elapsed>) -> (Option<T>, Option<&'static str>) {
    match answer {
        Ok(Ok(value)) => (Some(value), None),
        Ok(Err(error)) => (None, Some(error.code())),
        Err(_) => (None, Some("timeout")),
    }
}
