//! Gossip among the nodes of one process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh_proto::ident::Origin;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::ports::{
    Asked, BoxFuture, Gossip, GossipCounts, GossipEvent, GossipNode, GossipPeer, GossipStream, MAX_LARGE, MAX_SMALL,
    PortError,
};

/// Events that wait to be taken by one node. More are lost, as datagrams are; a node that would miss who is there is thrown
/// out instead, and opens again.
const EVENTS: usize = 1024;
/// How long an answer to a small request is waited for.
const SMALL_WITHIN: Duration = Duration::from_secs(1);
/// And to a large one.
const LARGE_WITHIN: Duration = Duration::from_secs(5);

/// A network in memory. Clones share it; [`Hub::node`] makes the adapter of one node.
///
/// Everyone hears everyone at once, and nothing is lost but by [`Hub::cut`]. What is said is sealed and opened all the same,
/// so nodes of another cluster or without the key hear nothing.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: BTreeMap<SocketAddr, Node>,
    cut: BTreeSet<(SocketAddr, SocketAddr)>,
    addresses: u32,
}

struct Node {
    me: GossipNode,
    events: mpsc::Sender<GossipEvent>,
    up: BTreeMap<Origin, SocketAddr>,
    left: bool,
}

impl Hub {
    /// An empty network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The gossip of one node, at an address of its own.
    #[must_use]
    pub fn node(&self) -> HubGossip {
        let mut state = self.state();
        state.addresses += 1;
        let [_, a, b, c] = state.addresses.to_be_bytes();
        HubGossip {
            hub: self.clone(),
            address: SocketAddr::from(([10, a, b, c], 7946)),
            counters: Counters::default(),
        }
    }

    /// Cuts two nodes off from each other, or joins them again. They find out at once, as if SWIM had.
    pub fn cut(&self, a: SocketAddr, b: SocketAddr, cut: bool) {
        let mut state = self.state();
        for pair in [(a, b), (b, a)] {
            if cut {
                state.cut.insert(pair);
            } else {
                state.cut.remove(&pair);
            }
        }
        state.settle();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("memory::Hub").finish_non_exhaustive()
    }
}

impl State {
    /// Whether `to` hears what `from` says.
    fn hears(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let (Some(speaker), Some(listener)) = (self.nodes.get(&from), self.nodes.get(&to)) else {
            return false;
        };
        from != to
            && !speaker.left
            && !listener.left
            && !self.cut.contains(&(from, to))
            && listener.me.seal.open(&speaker.me.seal.seal(b"hello")).is_ok()
    }

    /// Tells every node what changed.
    fn settle(&mut self) {
        self.nodes.retain(|_, node| !node.events.is_closed());
        let addresses: Vec<_> = self.nodes.keys().copied().collect();
        let mut deaf = Vec::new();
        for at in &addresses {
            let peers: BTreeMap<Origin, GossipPeer> = addresses
                .iter()
                .filter(|other| self.hears(**other, *at) && self.hears(*at, **other))
                .filter_map(|other| self.nodes.get(other).map(|node| (node, *other)))
                .map(|(node, address)| (node.me.origin, peer(&node.me, address)))
                .collect();
            let Some(node) = self.nodes.get_mut(at) else { continue };
            if node.left {
                continue;
            }
            let gone: Vec<_> = node
                .up
                .keys()
                .filter(|origin| !peers.contains_key(*origin))
                .copied()
                .collect();
            let come = peers
                .into_iter()
                .filter(|(origin, _)| !node.up.contains_key(origin))
                .collect::<Vec<_>>();
            let mut told = true;
            for origin in gone {
                node.up.remove(&origin);
                told &= node.events.try_send(GossipEvent::Down(origin)).is_ok();
            }
            for (origin, peer) in come {
                node.up.insert(origin, peer.address);
                told &= node.events.try_send(GossipEvent::Up(peer)).is_ok();
            }
            if !told {
                deaf.push(*at);
            }
        }
        for at in deaf {
            self.nodes.remove(&at);
        }
    }
}

fn peer(node: &GossipNode, address: SocketAddr) -> GossipPeer {
    GossipPeer {
        origin: node.origin,
        address,
        name: node.name.clone(),
    }
}

/// The gossip of one node on a [`Hub`].
#[derive(Debug)]
pub struct HubGossip {
    hub: Hub,
    address: SocketAddr,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    dropped: AtomicU64,
    streams: AtomicU64,
}

impl HubGossip {
    fn opens(&self, me: GossipNode) -> GossipStream {
        let (events, heard) = mpsc::channel(EVENTS);
        let mut state = self.hub.state();
        // Whoever was here before is gone before somebody else is there.
        if state.nodes.remove(&self.address).is_some() {
            state.settle();
        }
        let node = Node {
            me,
            events,
            up: BTreeMap::new(),
            left: false,
        };
        state.nodes.insert(self.address, node);
        state.settle();
        Box::pin(ReceiverStream::new(heard))
    }

    async fn asks(
        &self,
        to: &GossipPeer,
        request: Vec<u8>,
        limit: usize,
        within: Duration,
    ) -> Result<Vec<u8>, PortError> {
        if request.len() > limit {
            let length = request.len();
            return Err(PortError::Refused(format!(
                "a request has at most {limit} bytes, this one {length}"
            )));
        }
        let (answer, answered) = oneshot::channel();
        let silent = || PortError::Unknown("no answer came in time".into());
        {
            let state = self.hub.state();
            let there = state.nodes.get(&to.address).filter(|node| node.me.origin == to.origin);
            let me = state.nodes.get(&self.address);
            let (Some(there), Some(me), true) = (there, me, state.hears(self.address, to.address)) else {
                return Err(match limit {
                    MAX_LARGE => PortError::Unavailable("nobody is there".into()),
                    _ => silent(),
                });
            };
            self.counters.sent.fetch_add(1, Ordering::Relaxed);
            let asked = Asked {
                from: peer(&me.me, self.address),
                request,
                limit,
                answer,
            };
            there.events.try_send(GossipEvent::Asked(asked)).map_err(|_| silent())?;
        }
        match timeout(within, answered).await {
            Ok(Ok(answer)) if answer.len() <= limit => {
                // The way back may have been cut meanwhile.
                let back = self.hub.state().hears(to.address, self.address);
                back.then_some(answer).ok_or_else(silent)
            }
            _ => Err(silent()),
        }
    }
}

impl Drop for HubGossip {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.nodes.remove(&self.address);
        state.settle();
    }
}

impl Gossip for HubGossip {
    fn open(&self, me: GossipNode) -> BoxFuture<'_, Result<GossipStream, PortError>> {
        Box::pin(std::future::ready(Ok(self.opens(me))))
    }

    fn broadcast(&self, item: Vec<u8>) {
        let mut state = self.hub.state();
        // A node that nobody listens to any more is gone.
        if state.nodes.values().any(|node| node.events.is_closed()) {
            state.settle();
        }
        if item.is_empty() || item.len() > MAX_SMALL {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        for (at, node) in &state.nodes {
            if !state.hears(self.address, *at) {
                continue;
            }
            let counter = match node.events.try_send(GossipEvent::Item(item.clone())) {
                Ok(()) => &self.counters.sent,
                Err(_) => &self.counters.dropped,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn ask(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        let to = to.clone();
        Box::pin(async move { self.asks(&to, request, MAX_SMALL, SMALL_WITHIN).await })
    }

    fn pull(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        self.counters.streams.fetch_add(1, Ordering::Relaxed);
        let to = to.clone();
        Box::pin(async move { self.asks(&to, request, MAX_LARGE, LARGE_WITHIN).await })
    }

    fn suggest(&self, _: Vec<GossipPeer>) {
        // Everyone knows everyone here.
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        let mut state = self.hub.state();
        if let Some(node) = state.nodes.get_mut(&self.address) {
            node.left = true;
            let origin = node.me.origin;
            for node in state.nodes.values_mut() {
                if node.up.remove(&origin).is_some() {
                    // A good-bye can be lost, as any datagram can.
                    let _ = node.events.try_send(GossipEvent::Left(origin));
                }
            }
        }
        state.settle();
        Box::pin(std::future::ready(()))
    }

    fn address(&self) -> Option<SocketAddr> {
        self.hub
            .state()
            .nodes
            .contains_key(&self.address)
            .then_some(self.address)
    }

    fn counts(&self) -> GossipCounts {
        let members = self
            .hub
            .state()
            .nodes
            .get(&self.address)
            .map_or(0, |node| node.up.len());
        GossipCounts {
            datagrams_sent: self.counters.sent.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
            streams_opened: self.counters.streams.load(Ordering::Relaxed),
            members: members as u64,
            ..GossipCounts::default()
        }
    }
}
