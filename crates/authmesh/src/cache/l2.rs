//! The cache's side of L2: which bytes count, and how they get there. Every failure here is a miss.

use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::commit::Voids;
use authmesh_proto::crypto::OpenError;
use authmesh_proto::freshness::Stamp;
use authmesh_proto::ident::{EntryName, Incarnation, Nonce, ScopeId, Slot};
use authmesh_proto::record::{Content, Record, RecordError, Stored, TagPosition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fill::FILL;
use super::{Cache, Capture, Filled, MAX_VALUE, Shared};
use crate::l1::Entry;
use crate::ports::{BoxFuture, LeaseOutcome, PortError, StoreRead};

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// The value in L2, if it counts; it then stands in L1 too. `stamp` gives what was captured before this call.
    pub(super) async fn look_in_l2(
        &self,
        name: &EntryName,
        stamp: impl Fn(Slot) -> Option<Stamp>,
        counts: impl Fn(&V) -> bool,
    ) -> Look<Arc<Entry>> {
        let shared = &self.shared;
        if !shared.space.l2 || !shared.node.coherence().is_coherent() {
            return Look::Nothing;
        }
        let (record, lifetime, stored) = match shared.read_record(name).await {
            Look::Counts(found) => found,
            Look::Void(bytes) => return Look::Void(bytes),
            Look::Nothing => return Look::Nothing,
            // A read itself refuses nothing.
            Look::Refused(..) => return Look::Nothing,
            Look::OnHold => return Look::OnHold,
        };
        let Ok(value) = serde_json::from_slice::<V>(&record.value) else {
            tracing::warn!(namespace = %shared.space.name, "a record of L2 does not fit its type; it is loaded anew");
            return Look::Void(stored);
        };
        if !counts(&value) {
            return Look::Refused(stored, lifetime);
        }
        let filled = Filled {
            value: Arc::new(value),
            encoded: record.value,
            tags: record.tags.iter().map(|tag| tag.tag).collect(),
            lifetime,
            filled_at: record.filled_at,
        };
        shared.node.counters.cache_l2.add();
        Look::Counts(shared.keep_in_l1(name, stamp, &filled))
    }
}

/// What a look into L2 found.
pub(super) enum Look<T> {
    /// Something that counts.
    Counts(T),
    /// These bytes, which count for no node that has applied as much as this one: a fill may replace them.
    Void(Vec<u8>),
    /// These bytes, which count for so long, and are not good enough for this caller.
    Refused(Vec<u8>, Duration),
    /// Nothing, or something about which this node cannot tell.
    Nothing,
    /// The key's source is being written: nothing may be kept.
    OnHold,
}

impl Shared {
    pub(super) async fn bounded<T>(
        &self,
        operation: &'static str,
        call: BoxFuture<'_, Result<T, PortError>>,
    ) -> Option<T> {
        self.node.ask_l2(operation, call).await
    }

    /// A record that counts: the head is what this node has applied, the value is of the head's incarnation and generation,
    /// it opens, it has not expired, and no tag of it was voided since it was filled.
    pub(super) async fn read_record(&self, name: &EntryName) -> Look<(Record, Duration, Vec<u8>)> {
        let node = &self.node;
        // Asked before the read is sent, and again when it is answered: the answer may be from before a drop that gets its
        // position in between, and the head beside it proves nothing about that.
        if node.awaits_position(Voids::Entry(*name)) {
            return Look::Nothing;
        }
        let asked = node.now().boot;
        let Some(StoreRead {
            head: Some(head),
            value: Some(value),
        }) = self.bounded("read", node.ports.store.read(*name)).await
        else {
            return Look::Nothing;
        };
        let counts = node.l2_counts(name, &head, asked);
        let place = head.place();
        let stored = match Stored::decode(&value) {
            // It asks for caution, which needs no proof.
            Ok(stored) if matches!(stored.content, Content::Hold(_)) => {
                let stands = (stored.incarnation, stored.generation) == place;
                return if stands { Look::OnHold } else { Look::Nothing };
            }
            _ if !counts => return Look::Nothing,
            Ok(stored) => stored,
            Err(error) => {
                node.counters.unopened.add();
                tracing::warn!(target: "authmesh::audit", %error, "a value of L2 is not of this version; it is a miss");
                return Look::Nothing;
            }
        };
        let Content::Record { expires, sealed } = stored.content else {
            return Look::Nothing;
        };
        // The store itself tells an outdated value from a live one.
        if (stored.incarnation, stored.generation) != place {
            return Look::Nothing;
        }
        let record = match Record::open(&node.codec.sealer(), name, place, expires, &sealed) {
            Ok(record) => record,
            Err(error) => {
                node.counters.unopened.add();
                tracing::warn!(target: "authmesh::audit", ?error, "a value of L2 does not open; it is a miss");
                // A key that this node does not have yet is no reason to overwrite what others can open.
                return match error {
                    RecordError::Sealed(OpenError::UnknownKey(_)) => Look::Nothing,
                    _ => Look::Void(value),
                };
            }
        };
        let tags = || record.tags.iter().map(|tag| tag.tag);
        if tags().any(|tag| node.awaits_position(Voids::Tag(tag))) {
            return Look::Nothing;
        }
        let left = Duration::from_secs(expires.saturating_sub(node.now().wall)).min(self.space.lifetime);
        if left.is_zero() || !tags().any(|tag| tag == self.whole) {
            return Look::Void(value);
        }
        match node.tags_count(&record.tags) {
            Some(true) => Look::Counts((record, left, value)),
            Some(false) => Look::Void(value),
            None => Look::Nothing,
        }
    }

    /// Asks for the fill lease; `None` when L2 cannot be asked.
    pub(super) async fn lease(&self, name: &EntryName, nonce: Nonce, over: Option<Vec<u8>>) -> Option<LeaseOutcome> {
        if !self.space.l2 {
            return None;
        }
        self.bounded("lease", self.node.ports.store.lease(*name, nonce, over, FILL.lease))
            .await
    }

    /// Stores what was loaded, if the lease is still ours.
    pub(super) async fn store(
        &self,
        name: &EntryName,
        nonce: Nonce,
        place: (Incarnation, u64),
        captured: &Capture,
        filled: &Filled,
    ) {
        // Records live whole seconds.
        if filled.encoded.len() <= MAX_VALUE && filled.lifetime >= Duration::from_secs(1) {
            let sealed = self.seal(name, place, |tag| captured.applied[tag.slot().channel.index()], filled);
            self.bounded(
                "store",
                self.node.ports.store.store(*name, nonce, sealed, filled.lifetime),
            )
            .await;
        } else {
            self.release(name, nonce).await;
        }
    }

    /// Gives an own lease back for what stood there before, which nothing has voided as long as the lease is ours.
    pub(super) async fn put_back(&self, name: &EntryName, nonce: Nonce, bytes: Vec<u8>, left: Duration) {
        self.bounded("store", self.node.ports.store.store(*name, nonce, bytes, left))
            .await;
    }

    /// Gives an own lease back; it would run out by itself.
    pub(super) async fn release(&self, name: &EntryName, nonce: Nonce) {
        self.bounded("release", self.node.ports.store.release(*name, nonce))
            .await;
    }

    /// Prolongs an own lease. Whether it still is ours shows when the value is stored.
    pub(super) async fn renew(&self, name: &EntryName, nonce: Nonce) {
        self.bounded("renew", self.node.ports.store.renew(*name, nonce, FILL.lease))
            .await;
    }

    pub(super) async fn store_if_absent(&self, name: &EntryName, filled: &Filled) -> Result<bool, PortError> {
        let store = &self.node.ports.store;
        if filled.encoded.len() > MAX_VALUE {
            return Err(PortError::Refused(format!("a value has at most {MAX_VALUE} bytes")));
        }
        let applied = |tag: ScopeId| self.node.applied(tag.slot().channel);
        let head = store.read(*name).await?.head;
        let Some(head) = head else {
            return Err(PortError::Unavailable("the channel has no log yet".into()));
        };
        let over = match self.read_record(name).await {
            Look::Counts(_) | Look::Refused(..) | Look::OnHold => return Ok(false),
            Look::Void(bytes) => Some(bytes),
            Look::Nothing => None,
        };
        let sealed = self.seal(name, head.place(), applied, filled);
        store.insert_if_absent(*name, sealed, over, filled.lifetime).await
    }

    fn seal(
        &self,
        name: &EntryName,
        place: (Incarnation, u64),
        applied: impl Fn(ScopeId) -> Option<(Incarnation, authmesh_proto::ident::Position)>,
        filled: &Filled,
    ) -> Vec<u8> {
        let now = self.node.now().wall;
        let record = Record {
            filled_at: now,
            tags: filled
                .tags
                .iter()
                .map(|tag| TagPosition {
                    tag: *tag,
                    applied: applied(*tag),
                })
                .collect(),
            value: filled.encoded.clone(),
        };
        // Whole seconds, rounded down: never longer than asked.
        let expires = now.saturating_add(filled.lifetime.as_secs());
        record
            .seal(&self.node.codec.sealer(), name, place, expires, self.node.codec.nonce())
            .encode()
    }
}
