//! What the tests of this crate share: seals under keys that are no secret, and a mesh in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh::ports::DatagramSeal;
use authmesh_proto::crypto::{Context, KeyRing, Kind, NONCE_BYTES, OpenError, SECRET_BYTES, Sealer};
use authmesh_proto::ident::Origin;
use authmesh_proto::time::Moment;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::counters::Counters;
use crate::engine::{Engine, Event};
use crate::swim::{Identity, Times};

/// A seal whose randomness repeats.
pub(crate) struct TestSeal {
    sealer: Sealer,
    rng: Mutex<SmallRng>,
}

impl std::fmt::Debug for TestSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TestSeal")
    }
}

impl TestSeal {
    pub(crate) fn new(cluster: &str, key: u8, seed: u64) -> Arc<Self> {
        let ring = KeyRing::new([1; SECRET_BYTES], vec![[key; SECRET_BYTES]]).unwrap();
        Arc::new(Self {
            sealer: Sealer::new(&ring, cluster),
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
        })
    }
}

impl DatagramSeal for TestSeal {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        self.random(&mut nonce);
        self.sealer.seal(Kind::Datagram, &Context::new(), nonce, plain)
    }

    fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.sealer.open(Kind::Datagram, &Context::new(), envelope)
    }

    fn random(&self, bytes: &mut [u8]) {
        self.rng.lock().unwrap().fill(bytes);
    }
}

pub(crate) const TIMES: Times = Times {
    probe_period: Duration::from_millis(1000),
    probe_rtt: Duration::from_millis(300),
    suspicion: Duration::from_millis(3000),
};

pub(crate) fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8 + 1], 7946))
}

pub(crate) fn origin(n: usize) -> Origin {
    let mut bytes = [7; 16];
    bytes[8..].copy_from_slice(&(n as u64 + 1).to_be_bytes());
    Origin(bytes)
}

pub(crate) fn identity(n: usize, start: u64) -> Identity {
    let mut origin = origin(n);
    origin.0[0] = start as u8;
    Identity {
        origin,
        address: address(n),
        rank: 1_700_000_000 + start,
        renewals: 0,
        name: format!("node-{n}"),
    }
}

/// One datagram on its way.
#[derive(Debug, Clone)]
pub(crate) struct Flying {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// Engines that write to each other, in virtual time. The same seed gives the same run.
pub(crate) struct Mesh {
    pub(crate) now: Moment,
    pub(crate) nodes: BTreeMap<SocketAddr, Engine>,
    pub(crate) counters: BTreeMap<SocketAddr, Arc<Counters>>,
    pub(crate) events: BTreeMap<SocketAddr, Vec<(Moment, Event)>>,
    flying: BTreeMap<(Moment, u64), Flying>,
    sent: u64,
    rng: SmallRng,
    seed: u64,
    /// Of 100 datagrams so many are lost.
    pub(crate) loss: u32,
    /// Of 100 datagrams so many arrive twice.
    pub(crate) twice: u32,
    /// Addresses that do not hear from each other.
    pub(crate) cut: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Everything that was ever sent.
    pub(crate) recorded: Vec<Flying>,
}

impl Mesh {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Moment::ORIGIN.plus(Duration::from_secs(100)),
            nodes: BTreeMap::new(),
            counters: BTreeMap::new(),
            events: BTreeMap::new(),
            flying: BTreeMap::new(),
            sent: 0,
            rng: SmallRng::seed_from_u64(seed),
            seed,
            loss: 0,
            twice: 0,
            cut: BTreeSet::new(),
            recorded: Vec::new(),
        }
    }

    /// `nodes` nodes that know the first one.
    pub(crate) fn joined(seed: u64, nodes: usize) -> Self {
        let mut mesh = Self::new(seed);
        for n in 0..nodes {
            mesh.start(n, 0);
        }
        mesh.run(Duration::from_secs(10));
        for n in 0..nodes {
            assert_eq!(mesh.members(n), nodes - 1, "node {n} knows everybody");
        }
        mesh
    }

    pub(crate) fn start(&mut self, n: usize, start: u64) {
        let seal = TestSeal::new("test", 9, self.seed * 10_007 + n as u64 * 31 + start);
        self.start_with(identity(n, start), seal);
    }

    pub(crate) fn start_with(&mut self, me: Identity, seal: Arc<dyn DatagramSeal>) {
        let at = me.address;
        let counters = Arc::<Counters>::default();
        let mut engine = Engine::new(me, TIMES, seal, Arc::clone(&counters), self.now);
        engine.looked_up(0, [address(0)], self.now);
        self.nodes.insert(at, engine);
        self.counters.insert(at, counters);
        self.events.entry(at).or_default();
    }

    pub(crate) fn kill(&mut self, n: usize) {
        self.nodes.remove(&address(n));
    }

    pub(crate) fn members(&self, n: usize) -> usize {
        self.nodes[&address(n)].members()
    }

    pub(crate) fn heard(&self, n: usize, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events[&address(n)]
            .iter()
            .filter(|(_, event)| wanted(event))
            .count()
    }

    pub(crate) fn clear_events(&mut self) {
        self.events.values_mut().for_each(Vec::clear);
    }

    /// Acts on one node.
    pub(crate) fn at<T>(&mut self, n: usize, act: impl FnOnce(&mut Engine, Moment) -> T) -> T {
        let now = self.now;
        let acted = act(self.nodes.get_mut(&address(n)).unwrap(), now);
        self.collect(address(n));
        acted
    }

    /// Delivers a datagram again, or a forged one.
    pub(crate) fn deliver(&mut self, flying: &Flying) {
        if let Some(node) = self.nodes.get_mut(&flying.to) {
            node.datagram(flying.from, &flying.bytes, self.now);
            self.collect(flying.to);
        }
    }

    fn collect(&mut self, at: SocketAddr) {
        let Some(node) = self.nodes.get_mut(&at) else { return };
        while let Some(event) = node.poll_event() {
            self.events.entry(at).or_default().push((self.now, event));
        }
        while let Some((to, bytes)) = node.poll_transmit() {
            let flying = Flying { from: at, to, bytes };
            self.recorded.push(flying.clone());
            if self.cut.contains(&(at, to)) || self.rng.random_range(0..100) < self.loss {
                continue;
            }
            let copies = 1 + u32::from(self.rng.random_range(0..100) < self.twice);
            for _ in 0..copies {
                let arrives = self.now.plus(Duration::from_micros(self.rng.random_range(200..2000)));
                self.sent += 1;
                self.flying.insert((arrives, self.sent), flying.clone());
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now.plus(time);
        loop {
            let timer = self.nodes.iter().map(|(at, node)| (node.next_timer(), *at)).min();
            let arrival = self.flying.first_key_value().map(|((at, _), _)| *at);
            let next = timer
                .map_or(Moment::NEVER, |(due, _)| due)
                .min(arrival.unwrap_or(Moment::NEVER));
            if next > until {
                break;
            }
            self.now = self.now.max(next);
            if arrival == Some(next)
                && let Some((_, flying)) = self.flying.pop_first()
            {
                self.deliver(&flying);
            } else if let Some((_, at)) = timer {
                let now = self.now;
                if let Some(node) = self.nodes.get_mut(&at) {
                    node.timers(now);
                }
                self.collect(at);
            }
        }
        self.now = until;
    }
}
