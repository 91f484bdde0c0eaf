//! Registration: each node's own sealed record among the members; and the members, by whatever road they are known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh_proto::crypto::{Context, Kind};
use authmesh_proto::gossip::{Input, Peer, Registered};
use authmesh_proto::ident::Origin;
use authmesh_proto::member::{MAX_VIEW, MemberRecord};
use authmesh_proto::statement;
use authmesh_proto::time::Moment;
use authmesh_proto::wire;

use super::Node;
use super::gossip::port_peer;
use crate::ports::PortError;

/// How often a node writes its record.
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(10);
/// The least time between two records, however often the view changes.
const LEAST_PERIOD: Duration = Duration::from_secs(1);
/// A member whose record has stood still for longer counts as gone until it moves again.
const STALE_AFTER: Duration = Duration::from_secs(35);

/// A member of the cluster, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Member {
    /// The node's configured name.
    pub node: String,
    /// This start of it, in hexadecimal.
    pub incarnation: String,
    /// Where it answers; empty where it listens to nothing, or is known by gossip alone.
    pub address: String,
    /// Version of authmesh; empty where it is known by gossip alone.
    pub version: String,
    /// How long its record has stood still, in seconds, by this node's clock. Records move every 10 s. 0 where it is known by
    /// gossip alone.
    pub age_seconds: u64,
    /// Whether it is live by either road: its record moved within the last 35 s, or SWIM finds it.
    pub live: bool,
    /// Whether it is the node that was asked.
    pub this: bool,
    /// Whether it is registered.
    pub registered: bool,
    /// Where its gossip is reached; empty where it has none.
    pub gossip: String,
    /// Whether SWIM finds it. `None` where this node has no gossip.
    pub found: Option<bool>,
    /// Whether it is in this node's view: a lease of this node by gossip needs evidence of it.
    pub in_view: bool,
    /// How old this node's evidence of it is, in milliseconds; `None`: there is none.
    pub evidence_age_ms: Option<u64>,
    /// Whether this node waits for it: it has not said yet that this node is in its view.
    pub waited_for: bool,
}

/// What was last seen of a member's record.
#[derive(Debug)]
struct LastSeen {
    sequence: u64,
    /// When the sequence was last seen to move, or for the first time.
    at: Moment,
    /// Whether it was seen to move.
    moves: bool,
    kinds: Vec<u16>,
}

/// When each member's sequence was last seen to move.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<BTreeMap<Vec<u8>, LastSeen>>);

impl Seen {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, LastSeen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a record has stood still, and whether it was ever seen to move.
    fn look(&self, id: &[u8], record: &MemberRecord, now: Moment) -> (Duration, bool) {
        let mut seen = self.lock();
        let entry = seen.entry(id.to_vec()).or_insert_with(|| LastSeen {
            sequence: record.sequence,
            at: now,
            moves: false,
            kinds: Vec::new(),
        });
        entry.kinds.clone_from(&record.statement_kinds);
        if entry.sequence != record.sequence {
            (entry.sequence, entry.at, entry.moves) = (record.sequence, now, true);
        }
        (now.since(entry.at), entry.moves)
    }

    fn keep_only(&self, ids: &[&[u8]]) {
        self.lock().retain(|id, _| ids.contains(&id.as_slice()));
    }

    /// Whether the record of a live member says that it does not know a statement kind.
    pub(super) fn denies_kind(&self, kind: u16, now: impl Fn() -> Moment) -> bool {
        let seen = self.lock();
        let mut denying = seen.values().filter(|seen| !seen.kinds.contains(&kind));
        denying.any(|seen| now().since(seen.at) < STALE_AFTER)
    }
}

/// A record that was read and opened.
struct Read {
    id: Vec<u8>,
    record: MemberRecord,
    still_for: Duration,
    moves: bool,
}

impl Node {
    /// Announces this node until it shuts down, then takes its record away.
    pub(crate) async fn announce(self: Arc<Self>) {
        let mut sequence = 0;
        loop {
            sequence += 1;
            self.announce_once(sequence).await;
            let moved = async {
                match self.gossip() {
                    Some(room) => room.moved.notified().await,
                    None => std::future::pending().await,
                }
                // Views change in bursts.
                tokio::time::sleep(LEAST_PERIOD).await;
            };
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                () = tokio::time::sleep(ANNOUNCE_PERIOD) => {}
                () = moved => {}
            }
        }
        let forget = self.ports.members.forget(self.origin.0.to_vec());
        let _ = tokio::time::timeout(Duration::from_secs(1), forget).await;
    }

    async fn announce_once(&self, sequence: u64) {
        let room = self.gossip();
        let view = room.map(|room| {
            let machine = room.machine();
            let members = machine.members().take(MAX_VIEW);
            members.map(|(peer, ..)| MemberRecord::short(&peer.origin)).collect()
        });
        let gossip = room.and_then(|room| room.port.address());
        let record = MemberRecord {
            name: self.name.clone(),
            address: self.address.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            wire_versions: vec![wire::VERSION],
            statement_kinds: statement::KINDS.to_vec(),
            sequence,
            gossip: gossip.map(|address| address.to_string()).unwrap_or_default(),
            view: view.unwrap_or_default(),
        };
        let sealed = self.codec.sealer().seal(
            Kind::Member,
            &Context::new().name(&self.origin.0),
            self.codec.nonce(),
            &wire::encode(&record),
        );
        // Counted from before the write, and heard before the read: of two that come at once, one sees the other.
        let asked = self.now().boot;
        let announced = self.ports.members.announce(self.origin.0.to_vec(), sealed).await;
        let counts = room.filter(|room| room.has_log);
        match (announced, counts) {
            (Ok(()), Some(room)) => {
                room.tell(Input::Announced(asked)).await;
            }
            (Ok(()), None) => {}
            (Err(error), _) => tracing::debug!(%error, "this node could not announce itself"),
        }
        // Reading along keeps the ages right even when nobody asks.
        let asked = self.now().boot;
        let Ok(read) = self.read_members().await else { return };
        if let Some(room) = counts {
            let registered: Vec<Registered> = read.iter().filter_map(|read| self.registered(read)).collect();
            let peers = registered.iter().map(|registered| &registered.peer);
            let found = peers.filter(|peer| peer.origin != self.origin).filter_map(port_peer);
            room.port.suggest(found.collect());
            room.tell(Input::Registered(asked, registered)).await;
        }
    }

    fn registered(&self, read: &Read) -> Option<Registered> {
        let origin = Origin(read.id.as_slice().try_into().ok()?);
        Some(Registered {
            peer: Peer {
                origin,
                address: read.record.gossip.clone(),
                name: read.record.name.clone(),
            },
            still_for: read.still_for,
            moves: read.moves,
            knows_me: read.record.views(&self.origin),
        })
    }

    /// The records that open.
    async fn read_members(&self) -> Result<Vec<Read>, PortError> {
        let entries = self.ports.members.list().await?;
        let now = self.now().boot;
        let mut read = Vec::with_capacity(entries.len());
        for entry in &entries {
            let context = Context::new().name(&entry.id);
            let record = self.codec.sealer().open(Kind::Member, &context, &entry.sealed).ok();
            let Some(record) = record.and_then(|bytes| wire::decode::<MemberRecord>(&bytes).ok()) else {
                self.counters.unopened.add();
                continue;
            };
            let (still_for, moves) = self.seen.look(&entry.id, &record, now);
            read.push(Read {
                id: entry.id.clone(),
                record,
                still_for,
                moves,
            });
        }
        let ids: Vec<&[u8]> = entries.iter().map(|entry| entry.id.as_slice()).collect();
        self.seen.keep_only(&ids);
        Ok(read)
    }

    /// The members by registration, SWIM and view, by name.
    pub(crate) async fn list_members(&self) -> Result<Vec<Member>, PortError> {
        let mut members: BTreeMap<Vec<u8>, Member> = BTreeMap::new();
        match (self.read_members().await, self.gossip()) {
            (Ok(read), _) => {
                for read in read {
                    members.insert(read.id.clone(), self.by_record(read));
                }
            }
            // Known by gossip as well.
            (Err(error), Some(_)) => tracing::debug!(%error, "registrations could not be read"),
            (Err(error), None) => return Err(error),
        }
        if self.gossip().is_some() {
            self.add_view(&mut members);
        }
        let mut members: Vec<Member> = members.into_values().collect();
        members.sort_by(|a, b| a.node.cmp(&b.node).then_with(|| a.incarnation.cmp(&b.incarnation)));
        Ok(members)
    }

    fn by_record(&self, read: Read) -> Member {
        Member {
            node: read.record.name,
            incarnation: hex(&read.id),
            address: read.record.address,
            version: read.record.version,
            age_seconds: read.still_for.as_secs(),
            live: read.still_for < STALE_AFTER,
            this: read.id == self.origin.0,
            registered: true,
            gossip: read.record.gossip,
            found: None,
            in_view: false,
            evidence_age_ms: None,
            waited_for: false,
        }
    }

    /// Adds what gossip knows of the members, and those that gossip alone knows.
    fn add_view(&self, members: &mut BTreeMap<Vec<u8>, Member>) {
        let Some(room) = self.gossip() else { return };
        let now = self.now().boot;
        let machine = room.machine();
        let waited_for: Vec<Origin> = machine.waits_for().map(|peer| peer.origin).collect();
        let own = Peer {
            origin: self.origin,
            address: room.port.address().map(|at| at.to_string()).unwrap_or_default(),
            name: self.name.clone(),
        };
        let own_evidence = (!machine.forgotten()).then_some(now);
        for (peer, is_up, evidence) in machine.members().chain([(own, true, own_evidence)]) {
            let this = peer.origin == self.origin;
            let member = members.entry(peer.origin.0.to_vec()).or_insert_with(|| Member {
                node: peer.name.clone(),
                incarnation: hex(&peer.origin.0),
                address: if this { self.address.clone() } else { String::new() },
                version: if this {
                    env!("CARGO_PKG_VERSION").into()
                } else {
                    String::new()
                },
                age_seconds: 0,
                live: false,
                this,
                registered: false,
                gossip: String::new(),
                found: None,
                in_view: false,
                evidence_age_ms: None,
                waited_for: false,
            });
            member.live |= is_up;
            member.gossip = peer.address;
            member.found = Some(is_up);
            member.in_view = !this || own_evidence.is_some();
            member.evidence_age_ms = evidence.map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX));
            member.waited_for = waited_for.contains(&peer.origin);
        }
    }

    /// Removes a member's registration, and tells the others that it is gone for good. `false`: this is not a member's
    /// incarnation.
    pub(crate) async fn forget_member(&self, incarnation: &str) -> Result<bool, PortError> {
        let Some(id) = unhex(incarnation) else {
            return Ok(false);
        };
        if id == self.origin.0 {
            return Err(PortError::Refused(
                "a node does not forget itself: shut it down, or ask another one".into(),
            ));
        }
        let known = self.list_members().await?;
        if !known
            .iter()
            .any(|member| member.incarnation.eq_ignore_ascii_case(incarnation))
        {
            return Ok(false);
        }
        tracing::warn!(target: "authmesh::audit", incarnation, "a member is forgotten");
        let Some(room) = self.gossip() else {
            self.ports.members.forget(id.to_vec()).await?;
            return Ok(true);
        };
        room.tell(Input::Gone(Origin(id))).await;
        // Where Redis is away, the others take the registration for that of a member that is gone.
        if let Err(error) = self.ports.members.forget(id.to_vec()).await {
            tracing::warn!(%error, "the registration of the forgotten member could not be removed");
        }
        Ok(true)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
