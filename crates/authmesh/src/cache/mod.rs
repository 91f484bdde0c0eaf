//! The generic coherent cache: any data under declared namespaces, with the same coherence as verdicts.
//!
//! A read goes L1, L2, loader. A fill that overlapped a drop, a tag or a clear enters neither level, and answers only
//! callers who came before it (invariant 3). L2 failing never fails a read: the loader is asked.

mod fill;
mod l2;
mod loader;
mod seen;
#[cfg(test)]
mod tests;
mod warm;
mod write;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::freshness::{Captured, Stamp};
use authmesh_proto::ident::{EntryName, ScopeId, Slot};
use authmesh_proto::statement::{Body, Mark, MarkKey, Note, to_full_hour};
use authmesh_proto::time::{Moment, Unix};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{BuildError, CacheError, RevokeError};
use crate::l1::{Digester, Domain, Entry, Kept, RowKey};
use crate::node::{Coherence, Node};
use crate::policy::WhenBlind;
use crate::ports::LeaseOutcome;
use crate::revoke::say_and_wait;

pub(crate) use fill::Flights;
use loader::Plain;
pub(crate) use loader::{Demand, Loader};
pub(crate) use seen::{Seen, seen_in_l2};
pub(crate) use warm::{Warmth, answer as answer_warm};
pub use write::{WriteRules, Written};

/// The longest lifetime of an entry.
const MAX_LIFETIME: Duration = Duration::from_secs(86_400);
/// Longest value that goes to L2, encoded, in bytes.
const MAX_VALUE: usize = 256 * 1024;
/// Longest name of a namespace, in bytes.
const MAX_NAME: usize = 128;

/// A declared part of the cache, cleared as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    name: String,
    lifetime: Duration,
    l2: bool,
    when_blind: WhenBlind,
    renews: bool,
}

impl Namespace {
    /// A namespace of this name: 1 to 128 bytes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            lifetime: Duration::from_secs(300),
            l2: true,
            when_blind: WhenBlind::default(),
            renews: false,
        }
    }

    /// Whether the name is kept for the SDK itself.
    pub(crate) fn is_reserved(&self) -> bool {
        self.name.starts_with("authmesh/")
    }

    /// Values are loaded anew over living ones, so that nodes hold values of different age under one name: an observer that
    /// compares them would learn nothing.
    pub(crate) fn renews(mut self) -> Self {
        self.renews = true;
        self
    }

    /// How long an entry lives. At most 24 h. Default: 5 min.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Whether entries are shared through L2. Default: yes.
    #[must_use]
    pub fn l2(mut self, l2: bool) -> Self {
        self.l2 = l2;
        self
    }

    /// What to do while the node is blind; where it may not serve from memory, the loader is asked. Default: serve for at
    /// most 5 min.
    #[must_use]
    pub fn when_blind(mut self, rule: WhenBlind) -> Self {
        self.when_blind = rule;
        self
    }
}

/// What a loader brings.
#[derive(Debug, Clone)]
pub struct Load<V> {
    value: V,
    lifetime: Option<Duration>,
    tags: Vec<String>,
}

impl<V> Load<V> {
    /// A value with the namespace's lifetime and no tags.
    #[must_use]
    pub fn new(value: V) -> Self {
        Self {
            value,
            lifetime: None,
            tags: Vec::new(),
        }
    }

    /// Shortens the entry's life: never beyond what it shows is valid.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Adds a tag: [`Cache::invalidate_tag`] voids every entry that carries it. At most 16 count.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

impl<V> From<V> for Load<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

/// A namespace of the cache, for values of one type. Cheap to clone.
///
/// Values are encoded as JSON on their way to L2, so that two versions of a program can run side by side.
pub struct Cache<V> {
    shared: Arc<Shared>,
    _values: PhantomData<fn() -> V>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    node: Arc<Node>,
    flights: Arc<Flights>,
    space: Namespace,
    /// The tag that every entry of the namespace carries.
    whole: ScopeId,
    /// Of keys of the namespace, for memory: the cluster's name of a key costs several times as much.
    digester: Digester,
}

/// The namespaces that were declared, each with its type.
#[derive(Debug, Default)]
pub(crate) struct Declared(Mutex<HashMap<String, (Namespace, TypeId)>>);

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            _values: PhantomData,
        }
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("namespace", &self.shared.space.name)
            .finish()
    }
}

/// A value, and what goes with it, ready to be cached.
struct Filled {
    value: Arc<dyn Any + Send + Sync>,
    encoded: Vec<u8>,
    tags: Vec<ScopeId>,
    lifetime: Duration,
    /// Wall clock of the filler when it read the source.
    filled_at: Unix,
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    pub(crate) fn new(
        node: &Arc<Node>,
        flights: &Arc<Flights>,
        declared: &Declared,
        space: Namespace,
    ) -> Result<Self, BuildError> {
        if space.name.is_empty() || space.name.len() > MAX_NAME {
            return Err(BuildError::new("namespace", "its name must have 1 to 128 bytes"));
        }
        if space.lifetime.is_zero() || space.lifetime > MAX_LIFETIME {
            return Err(BuildError::new("lifetime", "must be more than zero and at most 24 h"));
        }
        let mut declared = declared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = declared
            .entry(space.name.clone())
            .or_insert_with(|| (space.clone(), TypeId::of::<V>()));
        if *known != (space.clone(), TypeId::of::<V>()) {
            return Err(BuildError::new(
                "namespace",
                format!(
                    "{} is declared already, with other settings or another type",
                    space.name
                ),
            ));
        }
        let whole = node.codec.namer.scope(ScopeKind::Tag, &space.name, b"");
        Ok(Self::under(node, flights, space, whole))
    }

    /// A namespace of the SDK itself, whose every entry carries `whole`.
    pub(crate) fn under(node: &Arc<Node>, flights: &Arc<Flights>, space: Namespace, whole: ScopeId) -> Self {
        Self {
            shared: Arc::new(Shared::new(node, flights, space, whole)),
            _values: PhantomData,
        }
    }

    /// The name of a key's entry.
    pub(crate) fn name(&self, key: &[u8]) -> EntryName {
        self.shared.name(key)
    }

    /// The value under a name in L1, if it may be served now.
    pub(crate) fn at_hand(&self, name: &EntryName) -> Option<Arc<V>> {
        self.shared.look_in_l1(&name.into(), None)?.downcast().ok()
    }

    /// As [`Cache::get_or_load`] behind a miss in L1, with a loader that has a say in what counts and in when it runs.
    pub(crate) async fn load_with<T: Loader<V, E>, E: Clone + Send + Sync + 'static>(
        &self,
        name: EntryName,
        loader: T,
    ) -> Result<Arc<V>, CacheError<E>> {
        self.fly(name, loader).await
    }

    /// The value under a key, from L1 or L2. `None`: neither has it, or it may not be served now.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Option<Arc<V>> {
        let digest = self.shared.digester.digest(key.as_ref());
        if let Some(value) = self.shared.look_in_l1(&digest, None) {
            return value.downcast().ok();
        }
        let name = self.shared.name(key.as_ref());
        if let Some(value) = self.shared.look_in_l1(&(&name).into(), Some(digest)) {
            return value.downcast().ok();
        }
        self.find_in_l2(&name).await
    }

    /// As [`Cache::get`], by the entry's name.
    pub(crate) async fn find(&self, name: &EntryName) -> Option<Arc<V>> {
        if let Some(value) = self.shared.look_in_l1(&name.into(), None) {
            return value.downcast().ok();
        }
        self.find_in_l2(name).await
    }

    async fn find_in_l2(&self, name: &EntryName) -> Option<Arc<V>> {
        let fence = &self.shared.node.fence;
        let glance = fence.glance();
        match self
            .look_in_l2(name, |slot| fence.capture_since(&glance, slot), |_| true)
            .await
        {
            // What was voided meanwhile answers this caller, who came before, and is not kept.
            l2::Look::Counts(entry) => Arc::clone(&entry.value).downcast().ok(),
            l2::Look::Void(_) | l2::Look::Refused(..) | l2::Look::Nothing | l2::Look::OnHold => None,
        }
    }

    /// The value under a key; on a miss `load` is run, by one caller in the process for all and, through L2, by one node for
    /// the cluster.
    ///
    /// Cancel safety: the load runs in its own task and goes on for the others.
    ///
    /// # Errors
    /// The loader's error, to every caller that waited for it. L2 failing is no error.
    pub async fn get_or_load<L, F, E, R>(&self, key: impl AsRef<[u8]>, load: L) -> Result<Arc<V>, CacheError<E>>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<R, E>> + Send,
        R: Into<Load<V>> + Send,
        E: Clone + Send + Sync + 'static,
    {
        let digest = self.shared.digester.digest(key.as_ref());
        if let Some(value) = self.shared.look_in_l1(&digest, None)
            && let Ok(value) = value.downcast()
        {
            return Ok(value);
        }
        let name = self.shared.name(key.as_ref());
        if let Some(value) = self.shared.look_in_l1(&(&name).into(), Some(digest))
            && let Ok(value) = value.downcast()
        {
            return Ok(value);
        }
        self.fly(name, Plain(load)).await
    }

    /// Replaces the value under a key on every node: the old one is voided first, then the new one is shared. While the
    /// key's source is being written ([`Cache::write`]) the old one is voided, and the new one is not kept; nor is that of
    /// whoever comes second, of two that insert at once.
    ///
    /// # Errors
    /// When the value cannot be encoded, or the drop was not accepted; nothing has changed then.
    pub async fn insert(&self, key: impl AsRef<[u8]>, value: impl Into<Load<V>>) -> Result<(), CacheError<()>> {
        let name = self.shared.name(key.as_ref());
        let filled = self.shared.filled(value.into()).map_err(CacheError::Encode)?;
        self.shared.say(Body::Drop(name)).await.map_err(CacheError::Statement)?;
        let captured = self.shared.capture();
        let nonce = authmesh_proto::ident::Nonce(self.shared.node.random());
        let applied = captured.applied[name.slot().channel.index()].map(|(incarnation, _)| incarnation);
        match self.shared.lease(&name, nonce, None).await {
            // Else what was captured says nothing about the statements of the log that is there now.
            Some(LeaseOutcome::Taken(incarnation, generation)) if applied == Some(incarnation) => {
                let place = (incarnation, generation);
                self.shared.store(&name, nonce, place, &captured, &filled).await;
            }
            // Its source is being written: this value may be older than what is written there.
            Some(LeaseOutcome::OnHold) => return Ok(()),
            // Whoever was first since then has its value shared: this node keeps no other one.
            Some(LeaseOutcome::Present | LeaseOutcome::Held(_)) => return Ok(()),
            _ => {}
        }
        self.shared.keep_in_l1(&name, |slot| captured.stamp(slot), &filled);
        Ok(())
    }

    /// Voids the value under a key on every node. `false` when the statement could not be committed in time; it will be,
    /// and is in force here.
    ///
    /// # Errors
    /// When the statement was not accepted.
    pub async fn remove(&self, key: impl AsRef<[u8]>) -> Result<bool, RevokeError> {
        let name = self.shared.name(key.as_ref());
        self.shared.node.l1.entries.invalidate(&(&name).into());
        self.shared.say(Body::Drop(name)).await
    }

    /// Voids every entry of the namespace that carries a tag, on every node. O(1).
    ///
    /// # Errors
    /// When the statement was not accepted.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<bool, RevokeError> {
        let tag = self.shared.tag(tag);
        self.shared.say(tag_mark(&self.shared.node, tag)).await
    }

    /// Voids every entry of the namespace on every node. O(1). Revocations stand.
    ///
    /// # Errors
    /// When the statement was not accepted.
    pub async fn clear(&self) -> Result<bool, RevokeError> {
        self.shared.say(tag_mark(&self.shared.node, self.shared.whole)).await
    }

    /// Whether there is a value under a key, in L1 or L2.
    pub async fn exists(&self, key: impl AsRef<[u8]>) -> bool {
        self.get(key).await.is_some()
    }

    /// Stores a value in L2 if there is none. Returns whether it was stored. Of all nodes that try at once, one wins; while
    /// the key's source is being written ([`Cache::write`]) none does.
    ///
    /// # Errors
    /// When the value cannot be encoded, or L2 could not be asked.
    pub async fn insert_if_absent(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Load<V>>,
    ) -> Result<bool, CacheError<()>> {
        let name = self.shared.name(key.as_ref());
        let filled = self.shared.filled(value.into()).map_err(CacheError::Encode)?;
        Ok(self.shared.store_if_absent(&name, &filled).await?)
    }

    /// Adds to a counter in L2 and returns its new value. Counters are plain numbers, apart from values, and never in L1;
    /// `lifetime` counts from the first increment.
    ///
    /// # Errors
    /// When L2 could not be asked.
    pub async fn increment(&self, key: impl AsRef<[u8]>, by: i64, lifetime: Duration) -> Result<i64, CacheError<()>> {
        let name = self.shared.name(key.as_ref());
        Ok(self.shared.node.ports.store.increment(name, by, lifetime).await?)
    }
}

impl Shared {
    fn new(node: &Arc<Node>, flights: &Arc<Flights>, space: Namespace, whole: ScopeId) -> Self {
        Self {
            digester: node.l1.digester.under(Domain::Cache, space.name.as_bytes()),
            node: Arc::clone(node),
            flights: Arc::clone(flights),
            space,
            whole,
        }
    }

    fn name(&self, key: &[u8]) -> EntryName {
        self.node.codec.namer.entry(&self.space.name, key)
    }

    fn tag(&self, tag: &str) -> ScopeId {
        // The namespace itself is the empty tag.
        let value = format!("={tag}");
        self.node
            .codec
            .namer
            .scope(ScopeKind::Tag, &self.space.name, value.as_bytes())
    }

    async fn say(&self, body: Body) -> Result<bool, RevokeError> {
        say_and_wait(&self.node, body).await
    }

    /// Everything that a fill must capture before it reads its source.
    fn capture(&self) -> Capture {
        Capture {
            fence: self.node.fence.capture_all(),
            applied: self.node.applied_everywhere(),
        }
    }

    fn may_serve(&self, now: Moment) -> bool {
        match (self.node.coherence_at(now), self.space.when_blind) {
            (Coherence::Coherent, _) => true,
            (Coherence::Blind(since), WhenBlind::Serve { at_most }) => since <= at_most,
            _ => false,
        }
    }

    /// The value in memory under a digest of its key, or under the cluster's name, if it may be served now. `alias`: the digest
    /// by which it is to be found from now on.
    fn look_in_l1(&self, key: &RowKey, alias: Option<RowKey>) -> Option<Arc<dyn Any + Send + Sync>> {
        let (node, entries) = (&self.node, &self.node.l1.entries);
        entries.hit(key, |entry, many| {
            let now = node.now().boot;
            if now >= entry.until || !node.fence.all_current(&entry.stamps) {
                node.counters.voided.add();
                entries.invalidate(key);
                return None;
            }
            if !self.may_serve(now) {
                return None;
            }
            node.counters.cache_hits.add();
            entry.is_hit(many);
            if let Some(alias) = alias {
                entries.attach(entry, alias);
            }
            Some(Arc::clone(&entry.value))
        })
    }

    /// `stamp` gives what was captured before the source was read; an entry without all of its stamps is not kept.
    fn keep_in_l1(&self, name: &EntryName, stamp: impl Fn(Slot) -> Option<Stamp>, filled: &Filled) -> Arc<Entry> {
        let (entry, whole) = self.entry(name, stamp, filled);
        if whole {
            self.node.l1.entries.insert(Arc::clone(&entry));
        }
        entry
    }

    /// The entry, and whether it has all of its stamps.
    fn entry(&self, name: &EntryName, stamp: impl Fn(Slot) -> Option<Stamp>, filled: &Filled) -> (Arc<Entry>, bool) {
        let slots = std::iter::once(name.slot()).chain(filled.tags.iter().map(ScopeId::slot));
        let stamps: Option<Box<[Stamp]>> = slots.map(stamp).collect();
        let whole = stamps.is_some();
        let entry = Arc::new(Entry {
            kept: Kept::new(name.into()),
            name: *name,
            alias: OnceLock::new(),
            value: Arc::clone(&filled.value),
            stamps: stamps.unwrap_or_default(),
            until: self.node.now().boot.plus(filled.lifetime),
            bytes: filled.encoded.len(),
            seen: self.seen(name, filled),
            hits: AtomicU32::new(0),
        });
        (entry, whole)
    }

    fn filled<V: Serialize + Send + Sync + 'static>(&self, load: Load<V>) -> Result<Filled, String> {
        let encoded = serde_json::to_vec(&load.value).map_err(|error| error.to_string())?;
        let lifetime = load.lifetime.unwrap_or(self.space.lifetime).min(self.space.lifetime);
        let tags = load.tags.iter().take(16).map(|tag| self.tag(tag));
        Ok(Filled {
            tags: std::iter::once(self.whole).chain(tags).collect(),
            value: Arc::new(load.value),
            encoded,
            lifetime,
            filled_at: self.node.now().wall,
        })
    }
}

/// What a fill captured before it read its source.
#[derive(Debug)]
struct Capture {
    fence: Captured,
    /// Per channel, what this node had applied.
    applied: Vec<Option<(authmesh_proto::ident::Incarnation, authmesh_proto::ident::Position)>>,
}

impl Capture {
    fn stamp(&self, slot: Slot) -> Option<Stamp> {
        Some(self.fence.stamp(slot))
    }
}

/// The statement that voids a tag.
pub(crate) fn tag_mark(node: &Node, tag: ScopeId) -> Body {
    let now = node.now().wall;
    // Longer than any entry that could carry the tag.
    let expires = to_full_hour(now.saturating_add(MAX_LIFETIME.as_secs() + node.max_skew.as_secs()));
    Body::Mark(Mark {
        key: MarkKey {
            scope: tag,
            except: None,
        },
        kind: ScopeKind::Tag,
        not_before: 0,
        expires,
        note: Note {
            at: now,
            ..Note::default()
        },
    })
}
