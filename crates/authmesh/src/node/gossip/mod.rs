//! The road without Redis: what a node with gossip has beside the one without.
//!
//! The pure machine ([`authmesh_proto::gossip`]) is changed by the driver alone ([`road`]); everybody else only looks at it.

mod metrics;
mod report;
mod road;
mod strangers;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh_proto::crypto::{Context, Kind, OpenError};
use authmesh_proto::gossip::{self, Peer};
use authmesh_proto::ident::ChannelId;
use authmesh_proto::marks::element_digest;
use authmesh_proto::statement::{Body, KINDS, Mark};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Codec, Node};
use crate::ports::{DatagramSeal, Gossip, GossipPeer};

pub(crate) use metrics::register as register_metrics;
pub use report::{GossipHealth, GossipStats};
pub(super) use road::{Answering, Fed};
pub(crate) use road::{Road, gossip_node};

/// How many inputs of others may wait for the driver.
const TOLD: usize = 64;
/// How many marks are merged under one lock.
const AT_ONCE: usize = 256;

/// What the parts of a node share of its gossip.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) port: Arc<dyn Gossip>,
    machine: Mutex<gossip::Gossip>,
    tell: mpsc::Sender<Told>,
    /// The view is another one: the registration says so, at once.
    pub(super) moved: Notify,
    /// Whether there is a log that counts: Redis.
    pub(crate) has_log: bool,
}

/// What another task tells the machine, and who waits until it was heard.
#[derive(Debug)]
pub(crate) struct Told {
    input: gossip::Input,
    heard: oneshot::Sender<()>,
}

pub(crate) type ToldReceiver = mpsc::Receiver<Told>;

impl Room {
    pub(crate) fn new(port: Arc<dyn Gossip>, machine: gossip::Gossip, has_log: bool) -> (Self, ToldReceiver) {
        let (tell, told) = mpsc::channel(TOLD);
        let room = Self {
            port,
            machine: Mutex::new(machine),
            tell,
            moved: Notify::new(),
            has_log,
        };
        (room, told)
    }

    /// The machine. Lock the marks after it, never before.
    pub(crate) fn machine(&self) -> MutexGuard<'_, gossip::Gossip> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the machine something by way of the driver, and waits until it has heard it. `false`: the node has shut down.
    pub(crate) async fn tell(&self, input: gossip::Input) -> bool {
        let (heard, done) = oneshot::channel();
        self.tell.send(Told { input, heard }).await.is_ok() && done.await.is_ok()
    }
}

/// Seals what leaves the node under its present key ring.
pub(crate) struct Sealing(Arc<Codec>);

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing")
    }
}

impl DatagramSeal for Sealing {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let codec = &self.0;
        codec
            .sealer()
            .seal(Kind::Datagram, &Context::new(), codec.nonce(), plain)
    }

    fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.0.sealer().open(Kind::Datagram, &Context::new(), envelope)
    }

    fn random(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// A member as the machine names it.
fn peer_of(peer: GossipPeer) -> Peer {
    Peer {
        origin: peer.origin,
        address: peer.address.to_string(),
        name: peer.name,
    }
}

/// A member as the port names it. `None`: it has no address.
pub(crate) fn port_peer(peer: &Peer) -> Option<GossipPeer> {
    let address: SocketAddr = peer.address.parse().ok()?;
    Some(GossipPeer {
        origin: peer.origin,
        address,
        name: peer.name.clone(),
    })
}

impl Node {
    /// Merges marks that a member sent, which have no position; returns the buckets into which something new came.
    fn merge(&self, marks: Vec<Mark>) -> Vec<(ChannelId, usize)> {
        let namer = &self.codec.namer;
        let mut news = Vec::new();
        let mut marks = marks.into_iter();
        loop {
            // What is known keeps its position.
            let page: Vec<Mark> = {
                let held = self.marks();
                let page = marks.by_ref().take(AT_ONCE);
                let page: Vec<Mark> = page.collect();
                if page.is_empty() {
                    return news;
                }
                page.into_iter().filter(|mark| !held.covers(mark)).collect()
            };
            let page = page.into_iter().map(|mark| {
                let digest = element_digest(namer, &mark);
                (mark, digest)
            });
            let page: Vec<_> = page.collect();
            self.apply_loaded(page.into_iter(), None, |channel, bucket| {
                if !news.contains(&(channel, bucket)) {
                    news.push((channel, bucket));
                }
            });
        }
    }

    /// Whether a statement of this kind may be said: every member understands it. Whoever does not would turn blind.
    ///
    /// What the first version knows is refused only where a member says that it does not know it: a member that has not said
    /// anything yet knows that much.
    pub(crate) fn may_send(&self, kind: u16) -> bool {
        let from_the_first = FIRST_KINDS.contains(&kind);
        let by_gossip = self.gossip().is_none_or(|room| {
            let machine = room.machine();
            match from_the_first {
                true => !machine.denies_kind(kind),
                false => machine.all_know_kind(kind),
            }
        });
        by_gossip && !self.seen.denies_kind(kind, || self.now().boot)
    }
}

/// The kinds that every version knows.
const FIRST_KINDS: [u16; 3] = KINDS;

/// How long the driver waits before it commits a statement of another node: long enough that its origin, and then one of
/// the others, has done it before; at once where the log is this node's own.
fn commit_wait(has_log: bool, random: [u8; 2]) -> Duration {
    match has_log {
        true => Duration::from_millis(2000 + u64::from(u16::from_le_bytes(random)) * 4000 / 65_536),
        false => Duration::ZERO,
    }
}

/// What a drop voids in L1 frees its memory, too.
fn free(node: &Node, body: &Body) {
    if let Body::Drop(name) = body {
        node.l1.entries.invalidate(&name.into());
    }
}
