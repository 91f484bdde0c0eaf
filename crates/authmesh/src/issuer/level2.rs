//! An issuer's key set and its ticket in L2. Every failure here is "cannot be asked": the trip goes on without L2.

use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::crypto::{Namer, OpenError, ScopeKind};
use authmesh_proto::fill::{LeaseOutcome, Place};
use authmesh_proto::ident::{EntryName, Nonce, ScopeId};
use authmesh_proto::keys::{Held, KeySet, LeaseEnd, Ticket, Told};
use authmesh_proto::log::Head;
use authmesh_proto::record::{Content, RecordError, Stored};
use authmesh_proto::statement::{Body, Mark, MarkKey, Note, to_full_hour};

use super::{Issuer, Parsed};
use crate::node::Node;
use crate::ports::StoreRead;
use crate::revoke::say_and_wait;

/// Namespaces of the names in L2.
const SETS: &str = "authmesh/keys";
const TICKETS: &str = "authmesh/keys/ticket";
const BUDGETS: &str = "authmesh/keys/budget";
const DRIPS: &str = "authmesh/keys/drip";

/// The keyed names of one issuer.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) scope: ScopeId,
    set: EntryName,
    pub(super) ticket: EntryName,
    budget: EntryName,
    drip: EntryName,
}

impl Names {
    pub(super) fn new(namer: &Namer, issuer: &str) -> Self {
        let entry = |namespace| namer.entry(namespace, issuer.as_bytes());
        Self {
            scope: namer.scope(ScopeKind::KeySet, issuer, b""),
            set: entry(SETS),
            ticket: entry(TICKETS),
            budget: entry(BUDGETS),
            drip: entry(DRIPS),
        }
    }
}

/// What a look into L2 found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) set: Option<(Told, Parsed)>,
    pub(super) ticket: Held,
    /// What stands under the set's name, and where a set would be stored now.
    pub(super) stored: Stand,
}

/// What stands under the set's name.
#[derive(Debug, Default)]
pub(super) struct Stand {
    bytes: Option<Vec<u8>>,
    place: Option<Place>,
    /// The generation of a set that opened, acceptable or not.
    pub(super) generation: u64,
}

impl Issuer {
    /// Reads the ticket, then the set: the other way round a ticket could stand beside the set from before its fetch.
    /// `holds` says whether a set has what the callers lack.
    pub(super) async fn look(
        &self,
        node: &Node,
        holds: &(dyn Fn(&crate::jose::KeySet) -> bool + Send + Sync),
    ) -> Found {
        let ticket = node.ask_l2("read", node.ports.store.read(self.names.ticket)).await;
        let set = match ticket {
            Some(_) => node.ask_l2("read", node.ports.store.read(self.names.set)).await,
            None => None,
        };
        let ticket = ticket.map_or(Held::Unknown, |read| self.read_ticket(node, read));
        let Some(read) = set else {
            return Found {
                set: None,
                ticket,
                stored: Stand::default(),
            };
        };
        let opened = read.value.as_deref().and_then(|bytes| self.open_set(node, bytes));
        let stored = Stand {
            place: read.head.as_ref().map(Head::place),
            generation: opened.as_ref().map_or(0, |set| set.generation),
            bytes: read.value,
        };
        let set = opened.and_then(|set| self.acceptable(node, set, false, holds));
        Found { set, ticket, stored }
    }

    /// A set of another node, if it may be trusted at all, with what the errand must know of it.
    pub(super) fn acceptable(
        &self,
        node: &Node,
        set: KeySet,
        proof: bool,
        holds: &(dyn Fn(&crate::jose::KeySet) -> bool + Send + Sync),
    ) -> Option<(Told, Parsed)> {
        let age = set.age(node.now().wall, node.max_skew)?;
        let held = self.held();
        let own = held.as_ref().map_or(0, |keys| keys.generation());
        let max_trust_age = self.machine().policy().max_trust_age;
        if age >= max_trust_age || set.generation < self.stated(node).max(own) {
            return None;
        }
        let parsed = match self.parse(set) {
            Ok(parsed) => parsed,
            Err(error) => {
                tracing::warn!(issuer = %self.url, %error, "a key set that another node shared is refused");
                return None;
            }
        };
        let shared = &parsed.shared;
        let told = Told {
            generation: shared.generation,
            age,
            max_age: shared.max_age(),
            newer: held.is_none_or(|keys| shared.asked > keys.shared.asked || shared.generation > keys.generation()),
            holds: holds(&parsed.set),
            proof,
        };
        Some((told, parsed))
    }

    fn open_set(&self, node: &Node, bytes: &[u8]) -> Option<KeySet> {
        let Ok(Stored {
            incarnation,
            generation,
            content: Content::Record { expires, sealed },
        }) = Stored::decode(bytes)
        else {
            return None;
        };
        let place = (incarnation, generation);
        match KeySet::open(&node.codec.sealer(), &self.names.set, place, expires, &sealed) {
            Ok(set) => Some(set),
            Err(error) => {
                self.unopened(node, &error);
                None
            }
        }
    }

    fn read_ticket(&self, node: &Node, read: StoreRead) -> Held {
        let (Some(head), Some(bytes)) = (&read.head, read.value) else {
            return if read.head.is_some() {
                Held::Nothing(None)
            } else {
                Held::Unknown
            };
        };
        let Ok(stored) = Stored::decode(&bytes) else {
            return Held::Nothing(Some(bytes));
        };
        let at = (stored.incarnation, stored.generation);
        if at != head.place() {
            // Of a log that is gone: the lease script replaces it.
            return Held::Nothing(None);
        }
        match stored.content {
            Content::Lease(nonce) => Held::By(nonce),
            Content::Record { expires, sealed } => {
                match Ticket::open(&node.codec.sealer(), &self.names.ticket, at, expires, &sealed) {
                    Ok(ticket) => Held::Ticket(ticket.lease, ticket.left(expires, node.now().wall)),
                    Err(error) => {
                        self.unopened(node, &error);
                        Held::Nothing(Some(bytes))
                    }
                }
            }
            Content::Hold(_) => Held::Unknown,
        }
    }

    fn unopened(&self, node: &Node, error: &RecordError) {
        node.counters.unopened.add();
        if !matches!(error, RecordError::Sealed(OpenError::UnknownKey(_))) {
            tracing::warn!(target: "authmesh::audit", issuer = %self.url, ?error, "a key set in L2 does not open");
        }
    }

    /// Asks for the lease.
    pub(super) async fn lease(
        &self,
        node: &Node,
        nonce: Nonce,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> (LeaseEnd, Option<Place>) {
        let call = node.ports.store.lease(self.names.ticket, nonce, over, ttl);
        match node.ask_l2("lease", call).await {
            Some(LeaseOutcome::Taken(incarnation, generation)) => (LeaseEnd::Taken, Some((incarnation, generation))),
            Some(LeaseOutcome::Held(holder)) => (LeaseEnd::Held(holder), None),
            Some(LeaseOutcome::Present) => (LeaseEnd::Present, None),
            Some(LeaseOutcome::Unborn | LeaseOutcome::OnHold) | None => (LeaseEnd::Unknown, None),
        }
    }

    pub(super) async fn renew(&self, node: &Node, nonce: Nonce, ttl: Duration) -> bool {
        let call = node.ports.store.renew(self.names.ticket, nonce, ttl);
        node.ask_l2("renew", call).await == Some(true)
    }

    pub(super) async fn release(&self, node: &Node, nonce: Nonce) {
        node.ask_l2("release", node.ports.store.release(self.names.ticket, nonce))
            .await;
    }

    /// Draws on the cluster's budget for unknown kids; how long until it has something, if it is spent. Counted by the store:
    /// a burst in a fixed window, and beside it one attempt per period whatever was drawn before.
    pub(super) async fn draw(&self, node: &Node) -> Option<Duration> {
        let policy = *self.machine().policy();
        let window = policy.unknown_kid_period.saturating_mul(policy.unknown_kid_burst);
        let store = &node.ports.store;
        let drawn = node
            .ask_l2("increment", store.increment(self.names.budget, 1, window))
            .await?;
        if drawn <= i64::from(policy.unknown_kid_burst) {
            return None;
        }
        let drawn = node
            .ask_l2(
                "increment",
                store.increment(self.names.drip, 1, policy.unknown_kid_period),
            )
            .await?;
        (drawn > 1).then_some(policy.unknown_kid_period)
    }

    /// Leaves a ticket in place of the own lease.
    pub(super) async fn settle_ticket(&self, node: &Node, nonce: Nonce, place: Place, failed: bool, ttl: Duration) {
        let ticket = Ticket {
            lease: nonce,
            failed: failed.then(|| u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)),
        };
        let expires = node.now().wall.saturating_add(ttl.as_secs() + 1);
        let sealed = ticket.seal(
            &node.codec.sealer(),
            &self.names.ticket,
            place,
            expires,
            node.codec.nonce(),
        );
        let call = node.ports.store.store(self.names.ticket, nonce, sealed.encode(), ttl);
        node.ask_l2("store", call).await;
    }

    /// States the generation of the current set, if it is a new one, and stores the set over exactly what was seen there.
    /// Returns whether it stands there now.
    pub(super) async fn publish(&self, node: &Arc<Node>, changed: bool, stand: Stand) -> bool {
        let Some(keys) = self.held() else { return false };
        if changed {
            self.state(node, keys.generation()).await;
        }
        let Some(place) = stand.place.filter(|_| node.has_log) else {
            return false;
        };
        let now = node.now().wall;
        let max_trust_age = self.machine().policy().max_trust_age;
        let expires = keys.shared.asked.saturating_add(max_trust_age.as_secs());
        let ttl = Duration::from_secs(expires.saturating_sub(now));
        let sealed = keys.shared.seal(
            &node.codec.sealer(),
            &self.names.set,
            place,
            expires,
            node.codec.nonce(),
        );
        let store = &node.ports.store;
        let call = store.insert_if_absent(self.names.set, sealed.encode(), stand.bytes, ttl);
        let stored = node.ask_l2("insert", call).await;
        if stored == Some(false) {
            tracing::debug!(issuer = %self.url, "another node has shared a key set meanwhile");
        }
        stored == Some(true)
    }

    /// Tells every node that there is a newer set: an older one counts nowhere from here on.
    async fn state(&self, node: &Arc<Node>, generation: u64) {
        let alone = !node.has_log && node.gossip().is_none();
        let mark = self.generation_mark(node, generation);
        let body = Body::Mark(mark);
        // Before the first there is none that could come back; and what was not verified makes no mark (invariant 7).
        if alone || self.on_trial() || generation <= 1 || !node.may_send(body.kind()) {
            return;
        }
        if let Err(error) = say_and_wait(node, body).await {
            tracing::warn!(issuer = %self.url, %error, "the generation of a key set could not be stated");
        }
    }

    fn generation_mark(&self, node: &Node, generation: u64) -> Mark {
        let now = node.now().wall;
        let max_trust_age = self.machine().policy().max_trust_age;
        // As long as any older set could be trusted.
        let lives = max_trust_age.as_secs() + node.max_skew.as_secs();
        Mark {
            key: MarkKey {
                scope: self.names.scope,
                except: None,
            },
            kind: ScopeKind::KeySet,
            not_before: generation,
            expires: to_full_hour(now.saturating_add(lives)),
            note: Note {
                at: now,
                ..Note::default()
            },
        }
    }
}
