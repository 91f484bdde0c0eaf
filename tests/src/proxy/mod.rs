//! A fault proxy for UDP and TCP between the nodes of a mesh, on loopback.
//!
//! Members of a gossip cluster tell each other their addresses, so a proxy must own the address that a member *tells*.
//! Each node of a [`Mesh`] has two: it binds [`Node::bind`], which nobody else knows, and advertises
//! [`Node::advertise`], which belongs to the proxy. The proxy knows a sender by its IP, for every node has an IP of its
//! own in 127.0.0.0/8, and passes things on *from the sender's advertised address*. So the receiver sees the address
//! that the sender advertises, and its answer comes through the proxy too:
//!
//! ```text
//!   a binds Pa ──▶ Ab (the proxy) ┄┄ fault? ┄┄ Aa (the proxy) ──▶ b binds Pb, and sees Aa
//! ```
//!
//! A node must bind its *outgoing* TCP connections to its own IP as well (any port). One that does not, and a program
//! that is no node at all, counts as [`OUTSIDE`]: its connections pass, with the faults of the links from and to
//! [`OUTSIDE`]; its datagrams are dropped, since no answer could come back to it.
//!
//! ```
//! # use authmesh_tests::proxy::Mesh;
//! # use std::time::Duration;
//! let mesh = Mesh::new(7);
//! let [a, b, c] = [mesh.join(), mesh.join(), mesh.join()];
//! let faults = mesh.faults();
//! faults.lose(0.3);                                   // every datagram, everywhere
//! faults.partition(&[a, b], &[c]);
//! faults.one_way(a, b).udp().delay(Duration::from_millis(20)).duplicate(0.1);
//! assert_eq!(faults.one_way(a, b).tally().lost, 0);   // nothing was sent yet
//! faults.heal();
//! ```
//!
//! | file | role |
//! | --- | --- |
//! | `faults` | the verbs: which links, and what happens on them |
//! | `lane` | one direction between two nodes for one protocol: its conditions, its dice, its tally |
//! | `state` | all lanes and nodes, behind one lock |
//! | `udp`, `tcp` | what moves datagrams and connections |
//!
//! What a decision depends on is the seed, the link, and how many datagrams went over it before; no other link. A
//! verb that has returned holds: no byte passes a link after it was cut, not even one that was under way. The proxy
//! runs on a thread of its own, so a test may block. It ends when the [`Mesh`] is dropped: every connection is reset.

mod faults;
mod lane;
mod state;
mod tcp;
mod udp;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

pub use faults::{Faults, Links};
pub use lane::Tally;
pub use state::{MAX_CONNECTIONS, MAX_WAITING};

use state::{Post, Shared};

/// Nodes of one mesh, at most.
pub const MAX_NODES: usize = 100;

/// Whoever is no node of the mesh.
pub const OUTSIDE: NodeId = NodeId(usize::MAX);

/// The last byte of the address that a mesh holds so that no other takes its network.
const CLAIM: u8 = 254;
/// Added to the last byte of a node's own IP, this is the IP that it advertises.
const ADVERTISED: u8 = 100;
/// Ports that Linux gives to nobody by chance: below its range of ephemeral ports.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

/// One node of a [`Mesh`]: where it listens, and what it tells the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Which one.
    pub id: NodeId,
    /// What the node binds, UDP and TCP. Its outgoing connections are to be bound to this IP too.
    pub bind: SocketAddr,
    /// What the node tells the others, and what they see as the source of all that it sends.
    pub advertise: SocketAddr,
}

impl From<Node> for NodeId {
    fn from(node: Node) -> Self {
        node.id
    }
}

impl From<&Node> for NodeId {
    fn from(node: &Node) -> Self {
        node.id
    }
}

/// Nodes that reach each other only through the proxy.
pub struct Mesh {
    network: [u8; 2],
    shared: Arc<Shared>,
    // Dropped by hand: its end is the order to stop.
    joins: Option<UnboundedSender<Post>>,
    thread: Option<JoinHandle<()>>,
    // Holds the network for as long as the mesh lives.
    _claim: TcpListener,
}

impl Mesh {
    /// A mesh without nodes and without faults. Same seed, same decisions.
    pub fn new(seed: u64) -> Self {
        let (network, claim) = claim_network();
        let shared = Arc::new(Shared::new(seed));
        let (joins, joining) = unbounded_channel();
        let inside = shared.clone();
        let thread = std::thread::Builder::new()
            .name("fault-proxy".to_owned())
            .spawn(move || run(inside, joining))
            .expect("a thread for the fault proxy");
        Self {
            network,
            shared,
            joins: Some(joins),
            thread: Some(thread),
            _claim: claim,
        }
    }

    /// A new node, with an IP of its own.
    ///
    /// # Panics
    ///
    /// When there are [`MAX_NODES`] already.
    pub fn join(&self) -> Node {
        let place = self.next_place();
        let bind = SocketAddr::new(self.ip(place), free_port(self.ip(place)));
        self.admit(place, bind)
    }

    /// A server that listens on an address of its own already, such as a Redis: nodes reach it through the proxy.
    ///
    /// # Panics
    ///
    /// When there are [`MAX_NODES`] already.
    pub fn adopt(&self, bind: SocketAddr) -> Node {
        self.admit(self.next_place(), bind)
    }

    /// The handle that makes faults. Clones act on the same mesh.
    pub fn faults(&self) -> Faults {
        Faults::new(self.shared.clone())
    }

    /// Datagrams dropped because their sender is no node.
    pub fn strangers(&self) -> u64 {
        self.shared.lock().strangers
    }

    fn next_place(&self) -> u8 {
        let nodes = self.shared.lock().nodes.len();
        assert!(nodes < MAX_NODES, "a mesh has at most {MAX_NODES} nodes");
        u8::try_from(nodes).expect("MAX_NODES fits") + 1
    }

    fn ip(&self, last: u8) -> IpAddr {
        let [high, low] = self.network;
        IpAddr::V4(Ipv4Addr::new(127, high, low, last))
    }

    fn admit(&self, place: u8, bind: SocketAddr) -> Node {
        let ip = self.ip(place + ADVERTISED);
        let (udp, tcp) = listen_on_both(ip);
        let advertise = udp.local_addr().expect("address of a bound socket");
        let sender = udp.try_clone().expect("a second handle of a socket");
        let id = self.shared.lock().admit(bind, advertise, sender);
        let post = Post { id, udp, tcp };
        let sent = self.joins.as_ref().is_some_and(|joins| joins.send(post).is_ok());
        assert!(sent, "the fault proxy has ended: its thread panicked");
        Node { id, bind, advertise }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.joins = None;
        if let Some(thread) = self.thread.take() {
            // A panic there is told by its own message.
            let _ = thread.join();
        }
        // A `Faults` may outlive the mesh; the addresses may not.
        self.shared.lock().close();
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [high, low] = self.network;
        write!(f, "Mesh(127.{high}.{low}.0/24)")
    }
}

/// A /24 that no other mesh of this machine has: whoever listens on its last address owns it.
fn claim_network() -> ([u8; 2], TcpListener) {
    static CLAIMED: AtomicU32 = AtomicU32::new(0);
    for _ in 0..10_000 {
        // Starts far from where other test programs start; the socket decides.
        let number = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(CLAIMED.fetch_add(1, Ordering::Relaxed));
        let network = [
            1 + u8::try_from(number % 250).expect("below 250"),
            u8::try_from(number / 250 % 256).expect("below 256"),
        ];
        let address = Ipv4Addr::new(127, network[0], network[1], CLAIM);
        if let Ok(claim) = TcpListener::bind((address, PORTS.start)) {
            return (network, claim);
        }
    }
    panic!("no free network in 127.0.0.0/8: this needs Linux, where all of it is loopback");
}

/// A port that both protocols can bind on an IP that is ours alone. Nobody takes it by chance before the node does.
fn free_port(ip: IpAddr) -> u16 {
    PORTS
        .clone()
        .find(|port| UdpSocket::bind((ip, *port)).is_ok() && TcpListener::bind((ip, *port)).is_ok())
        .unwrap_or_else(|| panic!("no free port on {ip}"))
}

fn listen_on_both(ip: IpAddr) -> (UdpSocket, TcpListener) {
    for port in PORTS {
        if let (Ok(udp), Ok(tcp)) = (UdpSocket::bind((ip, port)), TcpListener::bind((ip, port))) {
            udp.set_nonblocking(true).expect("a non-blocking socket");
            tcp.set_nonblocking(true).expect("a non-blocking socket");
            return (udp, tcp);
        }
    }
    panic!("no free port on {ip}");
}

fn run(shared: Arc<Shared>, mut joining: UnboundedReceiver<Post>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for the fault proxy");
    // Its end takes every task and every socket with it.
    runtime.block_on(async {
        tokio::spawn(udp::deliver_late_ones(shared.clone()));
        while let Some(Post { id, udp, tcp }) = joining.recv().await {
            let udp = tokio::net::UdpSocket::from_std(udp).expect("a socket of this runtime");
            let tcp = tokio::net::TcpListener::from_std(tcp).expect("a socket of this runtime");
            tokio::spawn(udp::receive(shared.clone(), id, udp));
            tokio::spawn(tcp::accept(shared.clone(), id, tcp));
        }
    });
}
