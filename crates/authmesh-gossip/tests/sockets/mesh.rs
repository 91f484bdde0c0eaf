//! Sixteen nodes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authmesh::ports::{Gossip, GossipEvent};
use authmesh_gossip::{Sieve, SwimGossip};
use authmesh_proto::ident::Origin;
use authmesh_tests::conformance::gossip::Peer;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{address, config};

const NODES: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);

/// A node whose items and members are collected in a task of its own.
struct Node {
    gossip: Arc<dyn Gossip>,
    origin: Origin,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
enum Heard {
    Up(Origin),
    Down(Origin),
    Item(Vec<u8>, Instant),
}

type Ear = mpsc::UnboundedReceiver<(usize, Heard)>;

struct Mesh {
    addresses: Vec<SocketAddr>,
    nodes: BTreeMap<usize, Node>,
    say: mpsc::UnboundedSender<(usize, Heard)>,
    ear: Ear,
    sieve: Option<Arc<dyn Sieve>>,
}

impl Mesh {
    /// All nodes know the first one.
    async fn joined(sieve: Option<Arc<dyn Sieve>>) -> Self {
        let (say, ear) = mpsc::unbounded_channel();
        let mut mesh = Self {
            addresses: (0..NODES).map(|_| address()).collect(),
            nodes: BTreeMap::new(),
            say,
            ear,
            sieve,
        };
        let begun = Instant::now();
        for n in 0..NODES {
            mesh.start(n).await;
        }
        let mut ups = 0;
        mesh.until("everyone knows everyone", |_, heard| {
            ups += usize::from(matches!(heard, Heard::Up(_)));
            ups == NODES * (NODES - 1)
        })
        .await;
        eprintln!("16 nodes joined through one seed in {:?}", begun.elapsed());
        mesh
    }

    async fn start(&mut self, n: usize) {
        let config = config(self.addresses[n], &self.addresses[..1]);
        let gossip = match &self.sieve {
            Some(sieve) => SwimGossip::sieved(config, Arc::clone(sieve)),
            None => SwimGossip::new(config),
        };
        let mut peer = Peer::open(Arc::new(gossip.unwrap()), &format!("node-{n}"), "sixteen").await;
        let (gossip, origin) = (Arc::clone(&peer.gossip), peer.origin);
        let say = self.say.clone();
        let task = tokio::spawn(async move {
            loop {
                let heard = match peer.event().await {
                    GossipEvent::Up(peer) => Heard::Up(peer.origin),
                    GossipEvent::Down(origin) => Heard::Down(origin),
                    GossipEvent::Item(item) => Heard::Item(item, Instant::now()),
                    _ => continue,
                };
                if say.send((n, heard)).is_err() {
                    return;
                }
            }
        });
        self.nodes.insert(n, Node { gossip, origin, task });
    }

    async fn until(&mut self, what: &str, mut done: impl FnMut(usize, &Heard) -> bool) {
        let waiting = async {
            while let Some((n, heard)) = self.ear.recv().await {
                if done(n, &heard) {
                    return;
                }
            }
        };
        assert!(
            timeout(PATIENCE, waiting).await.is_ok(),
            "{what}: did not happen within {PATIENCE:?}"
        );
    }

    /// Sends an item from one node; how long it took to the last of the others.
    async fn last(&mut self, from: usize, item: Vec<u8>) -> Duration {
        let born = Instant::now();
        self.nodes[&from].gossip.broadcast(item.clone());
        let (mut missing, mut last) = (self.nodes.len() - 1, born);
        self.until("the item reaches all", |_, heard| {
            if let Heard::Item(came, at) = heard
                && *came == item
            {
                missing -= 1;
                last = last.max(*at);
            }
            missing == 0
        })
        .await;
        last - born
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_nodes_hear_each_other_lose_one_and_take_it_back() {
    let mut mesh = Mesh::joined(None).await;
    let mut took = Vec::new();
    for n in 0..200_usize {
        took.push(mesh.last(n % NODES, format!("item {n}").repeat(20).into_bytes()).await);
    }
    took.sort();
    eprintln!(
        "to the last of 16 on loopback: p50 {:?}, p99 {:?}, max {:?}",
        took[100], took[198], took[199]
    );
    assert!(took[198] < Duration::from_millis(250), "p99 {:?}", took[198]);

    // Killed: no good-bye.
    let dead = mesh.nodes.remove(&5).unwrap().origin;
    let killed = Instant::now();
    let mut downs = 0;
    mesh.until("the dead node is given up by all", |_, heard| {
        downs += usize::from(matches!(heard, Heard::Down(origin) if *origin == dead));
        downs == NODES - 1
    })
    .await;
    eprintln!("a dead node is given up by all after {:?}", killed.elapsed());

    // Back at the same address.
    let begun = Instant::now();
    mesh.start(5).await;
    let back = mesh.nodes[&5].origin;
    let mut ups = 0;
    mesh.until("the restarted node is taken in by all", |_, heard| {
        ups += usize::from(matches!(heard, Heard::Up(origin) if *origin == back));
        ups == NODES - 1
    })
    .await;
    eprintln!("a restarted node is taken in by all after {:?}", begun.elapsed());

    // Gone in good order.
    let (left, leaver) = (mesh.nodes[&9].origin, Arc::clone(&mesh.nodes[&9].gossip));
    let begun = Instant::now();
    leaver.leave().await;
    let mut downs = 0;
    mesh.until("the good-bye is heard by all", |_, heard| {
        downs += usize::from(matches!(heard, Heard::Down(origin) if *origin == left));
        downs == NODES - 1
    })
    .await;
    eprintln!("a good-bye is heard by all after {:?}", begun.elapsed());
}

/// Loses 30 datagrams of 100, by turns that repeat.
#[derive(Debug, Default)]
struct Lossy(AtomicU64, Mutex<u64>);

impl Sieve for Lossy {
    fn datagram(&self, _: SocketAddr, _: usize) -> bool {
        // An xorshift generator (Marsaglia 2003): no pattern that a protocol could fall into step with.
        let mut state = self.1.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let passes = *state % 100 >= 30;
        self.0.fetch_add(u64::from(!passes), Ordering::Relaxed);
        passes
    }

    fn stream(&self, _: SocketAddr) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_nodes_join_and_stay_together_while_30_percent_are_lost() {
    let lossy = Arc::new(Lossy(AtomicU64::new(0), Mutex::new(0x9e37_79b9_7f4a_7c15)));
    let mut mesh = Mesh::joined(Some(Arc::clone(&lossy) as _)).await;
    let mut took = Vec::new();
    let (mut whole, items) = (0, 100_usize);
    for n in 0..items {
        let (from, item) = (n % NODES, format!("lossy item {n}").into_bytes());
        let born = Instant::now();
        mesh.nodes[&from].gossip.broadcast(item.clone());
        let mut missing = NODES - 1;
        // Best effort: what does not come within a second is anti-entropy's.
        let arrived = timeout(Duration::from_secs(1), async {
            while missing > 0 {
                if let Some((_, Heard::Item(came, _))) = mesh.ear.recv().await
                    && came == item
                {
                    missing -= 1;
                }
            }
        });
        if arrived.await.is_ok() {
            whole += 1;
            took.push(born.elapsed());
        }
    }
    took.sort();
    eprintln!(
        "30 % loss: {whole} of {items} items reached all 16, p50 {:?}, max {:?}; {} datagrams lost",
        took[took.len() / 2],
        took[took.len() - 1],
        lossy.0.load(Ordering::Relaxed)
    );
    assert!(whole >= items - 2, "{whole}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_sends_and_computes_little() {
    let mesh = Mesh::joined(None).await;
    // What joining caused dies down first.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let bytes = |mesh: &Mesh| {
        mesh.nodes
            .values()
            .map(|node| node.gossip.counts().bytes_sent)
            .sum::<u64>()
    };
    let cpu = || {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .filter_map(|f| f.parse().ok())
            .collect();
        // User and system time in ticks of 10 ms; the state letter does not parse, so they are two places earlier.
        fields[10] + fields[11]
    };
    let (bytes_before, cpu_before) = (bytes(&mesh), cpu());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let per_node = (bytes(&mesh) - bytes_before) / (10 * NODES as u64);
    let ticks = cpu() - cpu_before;
    eprintln!(
        "idle, 16 nodes, debug build: {per_node} bytes sent per node and second; {ticks} ticks of 10 ms for all in 10 s"
    );
    assert!(per_node < 4_000, "{per_node}");
}
