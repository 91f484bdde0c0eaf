//! All lanes and nodes of a mesh, behind one lock.
//!
//! Whatever is delivered is delivered under the lock, after a look at the road. So a verb that has returned holds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::lane::{Conditions, Kind, Lane, LaneKey, Road};
use super::{NodeId, OUTSIDE};

/// Datagrams under way from one node to another, at most. More are dropped, and counted as `overflowed`.
pub const MAX_WAITING: usize = 1_024;
/// Connections of one mesh, at most. More are reset, and counted as `overflowed`.
pub const MAX_CONNECTIONS: usize = 1_024;

/// How long a datagram is held back for reordering when no later one comes.
const HELD_AT_MOST: Duration = Duration::from_millis(100);

/// The sockets of a node that joins.
pub(super) struct Post {
    pub(super) id: NodeId,
    pub(super) udp: UdpSocket,
    pub(super) tcp: TcpListener,
}

/// What the proxy's thread and the handles share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Something about the conditions changed.
    pub(super) ordered: watch::Sender<()>,
    /// Something was counted.
    pub(super) counted: watch::Sender<()>,
    /// A datagram has to be delivered later.
    pub(super) posted: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: Vec<Member>,
    pub(super) lanes: BTreeMap<LaneKey, Lane>,
    /// Conditions of the links of nodes that join later, for UDP and TCP.
    pub(super) from_now_on: [Conditions; 2],
    pub(super) strangers: u64,
    pub(super) connections: usize,
    seed: u64,
    under_way: BinaryHeap<Reverse<Parcel>>,
    held: BTreeMap<LaneKey, Parcel>,
    parcels: u64,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) bind: SocketAddr,
    pub(super) advertise: SocketAddr,
    /// Sends from the advertised address.
    sender: UdpSocket,
}

/// A datagram that is delivered later, or the end of its being held back.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    // Compared first: the heap is ordered by time, then by number.
    due: Instant,
    number: u64,
    lane: LaneKey,
    /// Empty where this only ends a hold.
    bytes: Vec<u8>,
    ends_hold: bool,
}

impl Shared {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            nodes: Vec::new(),
            lanes: BTreeMap::new(),
            from_now_on: [Conditions::default(); 2],
            strangers: 0,
            connections: 0,
            seed,
            under_way: BinaryHeap::new(),
            held: BTreeMap::new(),
            parcels: 0,
        };
        Self {
            state: Mutex::new(state),
            ordered: watch::Sender::new(()),
            counted: watch::Sender::new(()),
            posted: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A failing test must still be able to look at its tallies.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and tells those who wait for a tally.
    pub(super) fn count<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.counted.send_replace(());
        result
    }
}

impl State {
    pub(super) fn admit(&mut self, bind: SocketAddr, advertise: SocketAddr, sender: UdpSocket) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Member {
            bind,
            advertise,
            sender,
        });
        let others = (0..id.0).map(NodeId).chain([OUTSIDE, id]);
        for other in others {
            for (from, to) in [(id, other), (other, id)] {
                for kind in [Kind::Udp, Kind::Tcp] {
                    let key = LaneKey { from, to, kind };
                    let conditions = self.from_now_on[kind as usize];
                    self.lanes.insert(key, Lane::new(self.seed, key, conditions));
                }
            }
        }
        id
    }

    /// Gives the sockets back.
    pub(super) fn close(&mut self) {
        self.nodes.clear();
        self.under_way.clear();
        self.held.clear();
    }

    /// Which node sends from this address.
    pub(super) fn sender(&self, source: SocketAddr) -> NodeId {
        let by_address = self.nodes.iter().position(|node| node.bind == source);
        // An adopted server may share its IP with anybody, so the IP counts only in the mesh's own network.
        let by_ip = || {
            self.nodes
                .iter()
                .position(|node| node.bind.ip() == source.ip() && same_network(node.bind, node.advertise))
        };
        by_address.or_else(by_ip).map_or(OUTSIDE, NodeId)
    }

    pub(super) fn lane(&mut self, key: LaneKey) -> &mut Lane {
        let (seed, conditions) = (self.seed, self.from_now_on[key.kind as usize]);
        self.lanes
            .entry(key)
            .or_insert_with(|| Lane::new(seed, key, conditions))
    }

    /// A datagram has come. Returns whether something waits to be delivered later.
    pub(super) fn datagram(&mut self, now: Instant, from: NodeId, to: NodeId, bytes: &[u8]) -> bool {
        if from == OUTSIDE {
            self.strangers += 1;
            return false;
        }
        let key = LaneKey {
            from,
            to,
            kind: Kind::Udp,
        };
        let is_held = self.held.contains_key(&key);
        let lane = self.lane(key);
        let fate = lane.throw();
        if lane.conditions.road != Road::Open {
            lane.tally.cut += 1;
            return false;
        }
        if fate.lost {
            lane.tally.lost += 1;
            return false;
        }
        let departure = lane.departure(now, bytes.len());
        if fate.held && !is_held && lane.waiting < MAX_WAITING {
            lane.waiting += 1;
            lane.tally.reordered += 1;
            let due = departure + fate.delays[0];
            let parcel = self.parcel(due, key, bytes.to_vec(), false);
            let end = Parcel {
                due: due + HELD_AT_MOST,
                number: parcel.number,
                lane: key,
                bytes: Vec::new(),
                ends_hold: true,
            };
            self.held.insert(key, parcel);
            self.under_way.push(Reverse(end));
            return true;
        }
        if fate.twice {
            lane.tally.duplicated += 1;
        }
        let copies = if fate.twice { 2 } else { 1 };
        let mut later = false;
        for delay in &fate.delays[..copies] {
            later |= self.post(now, departure + *delay, key, bytes.to_vec());
        }
        // What was held back goes right after the one that overtook it.
        if let Some(held) = self.held.remove(&key) {
            self.lane(key).waiting -= 1;
            later |= self.post(now, held.due.max(departure + fate.delays[0]), key, held.bytes);
        }
        later
    }

    /// Delivers what is due. Returns when the next one is.
    pub(super) fn deliver_due(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let next = self.under_way.peek()?.0.due;
            if next > now {
                return Some(next);
            }
            let Reverse(parcel) = self.under_way.pop()?;
            if !parcel.ends_hold {
                self.lane(parcel.lane).waiting -= 1;
                self.deliver(parcel.lane, &parcel.bytes);
            } else if self
                .held
                .get(&parcel.lane)
                .is_some_and(|held| held.number == parcel.number)
                && let Some(held) = self.held.remove(&parcel.lane)
            {
                self.lane(held.lane).waiting -= 1;
                self.deliver(held.lane, &held.bytes);
            }
        }
    }

    fn parcel(&mut self, due: Instant, lane: LaneKey, bytes: Vec<u8>, ends_hold: bool) -> Parcel {
        self.parcels += 1;
        Parcel {
            due,
            number: self.parcels,
            lane,
            bytes,
            ends_hold,
        }
    }

    fn post(&mut self, now: Instant, due: Instant, key: LaneKey, bytes: Vec<u8>) -> bool {
        if due <= now {
            self.deliver(key, &bytes);
            return false;
        }
        let lane = self.lane(key);
        if lane.waiting >= MAX_WAITING {
            lane.tally.overflowed += 1;
            return false;
        }
        lane.waiting += 1;
        lane.tally.delayed += 1;
        let parcel = self.parcel(due, key, bytes, false);
        self.under_way.push(Reverse(parcel));
        true
    }

    fn deliver(&mut self, key: LaneKey, bytes: &[u8]) {
        let ends = (self.nodes.get(key.from.0), self.nodes.get(key.to.0));
        // Nodes never leave before the mesh ends.
        let (Some(from), Some(to)) = ends else { return };
        let open = self
            .lanes
            .get(&key)
            .is_some_and(|lane| lane.conditions.road == Road::Open);
        // The socket is not connected, so the refusal of an earlier datagram is no error here: a full buffer is.
        let sent = open.then(|| from.sender.send_to(bytes, to.bind).is_ok());
        let tally = &mut self.lane(key).tally;
        match sent {
            None => tally.cut += 1,
            Some(true) => {
                tally.passed += 1;
                tally.bytes += bytes.len() as u64;
            }
            Some(false) => tally.overflowed += 1,
        }
    }
}

fn same_network(one: SocketAddr, other: SocketAddr) -> bool {
    match (one, other) {
        (SocketAddr::V4(one), SocketAddr::V4(other)) => one.ip().octets()[..3] == other.ip().octets()[..3],
        _ => false,
    }
}
