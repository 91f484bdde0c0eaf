//! The fault proxy, connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authmesh_tests::proxy::{Faults, Mesh, Node, OUTSIDE, Tally};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// No step of a test takes longer, however slow the machine.
const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, step: impl Future<Output = T>) -> T {
    timeout(SOON, step).await.unwrap_or_else(|_| panic!("not soon: {what}"))
}

struct Peer {
    node: Node,
    listener: TcpListener,
}

impl Peer {
    async fn join(mesh: &Mesh) -> Self {
        let node = mesh.join();
        let listener = TcpListener::bind(node.bind).await.unwrap();
        Self { node, listener }
    }

    /// A connection from this node's own IP.
    async fn connect(&self, to: &Peer) -> TcpStream {
        self.try_connect(to.node).await.unwrap()
    }

    async fn try_connect(&self, to: Node) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(self.node.bind.ip(), 0)).unwrap();
        soon("connect", socket.connect(to.advertise)).await
    }

    /// A connection that is reset at once: so early that connecting fails, or a little later.
    async fn is_reset_by(&self, to: Node) {
        match self.try_connect(to).await {
            Ok(mut stream) => hears_a_reset(&mut stream).await,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        soon("accept", self.listener.accept()).await.unwrap()
    }
}

/// Two nodes and a connection from the first to the second.
struct Pair {
    mesh: Mesh,
    a: Peer,
    b: Peer,
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    async fn new() -> Self {
        let mesh = Mesh::new(1);
        let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
        let client = a.connect(&b).await;
        let (server, _) = b.accept().await;
        Self {
            mesh,
            a,
            b,
            client,
            server,
        }
    }

    fn faults(&self) -> Faults {
        self.mesh.faults()
    }

    async fn counted(&self, what: &str, condition: impl Fn(&Tally) -> bool) -> Tally {
        let link = self.faults().one_way(self.a.node, self.b.node).tcp();
        link.until(what, SOON, condition).await
    }
}

async fn say(stream: &mut TcpStream, word: &str) {
    soon("write", stream.write_all(word.as_bytes())).await.unwrap();
}

async fn hears(stream: &mut TcpStream, word: &str) {
    let mut buffer = vec![0; word.len()];
    soon(word, stream.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer), word);
}

async fn hears_a_reset(stream: &mut TcpStream) {
    let error = soon("a reset", stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
}

async fn hears_the_end(stream: &mut TcpStream) {
    assert_eq!(soon("the end", stream.read(&mut [0; 1])).await.unwrap(), 0);
}

/// Whether nothing has arrived so far. The kernel is asked, not the runtime, which may not know yet.
fn has_heard_nothing(stream: &TcpStream) -> bool {
    rustix::net::recv(stream, &mut [0; 1], rustix::net::RecvFlags::DONTWAIT)
        .is_err_and(|error| error == rustix::io::Errno::AGAIN)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_an_end_is_passed_on_by_itself() {
    let mut pair = Pair::new().await;
    say(&mut pair.client, "question").await;
    hears(&mut pair.server, "question").await;
    pair.client.shutdown().await.unwrap();
    hears_the_end(&mut pair.server).await;
    say(&mut pair.server, "answer").await;
    hears(&mut pair.client, "answer").await;
    drop(pair.server);
    hears_the_end(&mut pair.client).await;
    let faults = pair.mesh.faults();
    assert_eq!(faults.one_way(pair.a.node, pair.b.node).tally().bytes, 8);
    assert_eq!(faults.one_way(pair.b.node, pair.a.node).tally().bytes, 6);
}

#[tokio::test]
async fn the_one_who_accepts_sees_the_ip_that_the_other_advertises() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    let _client = a.connect(&b).await;
    assert_eq!(b.accept().await.1.ip(), a.node.advertise.ip());
    let _outside = TcpStream::connect(b.node.advertise).await.unwrap();
    assert_eq!(b.accept().await.1.ip().to_string(), "127.0.0.1");
    let link = mesh.faults().one_way(OUTSIDE, b.node);
    link.until("it is counted as from outside", SOON, |tally| tally.opened == 1)
        .await;
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let pair = Pair::new().await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut client, mut server) = (pair.client, pair.server);
    let sent = body.clone();
    let writer = tokio::spawn(async move {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let mut received = Vec::new();
    soon("the body", server.read_to_end(&mut received)).await.unwrap();
    assert!(
        received == body,
        "{} of {} bytes, or others",
        received.len(),
        body.len()
    );
    drop(writer.await.unwrap());
}

#[tokio::test]
async fn a_cut_stops_a_connection_and_healing_lets_it_go_on_without_a_gap() {
    let mut pair = Pair::new().await;
    pair.faults().cut_one_way(pair.a.node, pair.b.node);
    say(&mut pair.client, "held up").await;
    pair.counted("the cut strikes", |tally| tally.cut == 1).await;
    say(&mut pair.server, "the other way").await;
    hears(&mut pair.client, "the other way").await;
    assert!(has_heard_nothing(&pair.server));
    pair.faults().heal();
    hears(&mut pair.server, "held up").await;
    // A second cut counts again.
    pair.faults().cut(pair.a.node, pair.b.node);
    say(&mut pair.client, "again").await;
    pair.counted("the cut strikes again", |tally| tally.cut == 2).await;
    pair.faults().heal();
    hears(&mut pair.server, "again").await;
}

#[tokio::test]
async fn a_new_connection_over_a_cut_in_either_direction_comes_about_when_it_heals() {
    for back in [false, true] {
        let mesh = Mesh::new(1);
        let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
        let faults = mesh.faults();
        if back {
            faults.cut_one_way(b.node, a.node);
        } else {
            faults.cut_one_way(a.node, b.node);
        }
        let mut client = a.connect(&b).await;
        say(&mut client, "patience").await;
        let link = faults.one_way(a.node, b.node).tcp();
        assert_eq!(link.until("it waits", SOON, |tally| tally.cut == 1).await.opened, 0);
        faults.heal();
        let (mut server, _) = b.accept().await;
        hears(&mut server, "patience").await;
    }
}

#[tokio::test]
async fn a_black_hole_takes_everything_and_the_gap_is_a_reset_afterwards() {
    let mut pair = Pair::new().await;
    pair.faults().between(pair.a.node, pair.b.node).black_hole();
    say(&mut pair.client, "gone").await;
    pair.counted("swallowed", |tally| tally.swallowed == 4).await;
    assert!(has_heard_nothing(&pair.server));
    pair.faults().heal();
    hears_a_reset(&mut pair.client).await;
    hears_a_reset(&mut pair.server).await;
    let tally = pair.faults().one_way(pair.a.node, pair.b.node).tally();
    assert_eq!((tally.bytes, tally.reset), (0, 1));
}

#[tokio::test]
async fn a_black_hole_into_which_nothing_fell_leaves_the_connection_alone() {
    let mut pair = Pair::new().await;
    pair.faults().one_way(pair.a.node, pair.b.node).black_hole();
    say(&mut pair.server, "back").await;
    hears(&mut pair.client, "back").await;
    pair.faults().heal();
    say(&mut pair.client, "forth").await;
    hears(&mut pair.server, "forth").await;
}

#[tokio::test]
async fn a_half_open_connection_is_silent_and_its_first_word_after_the_fault_is_answered_by_a_reset() {
    let mut pair = Pair::new().await;
    pair.faults().between(pair.a.node, pair.b.node).half_open();
    pair.counted("half open", |tally| tally.half_open == 1).await;
    say(&mut pair.client, "hello?").await;
    // A new one is accepted, and nobody is there.
    let mut late = pair.a.connect(&pair.b).await;
    pair.counted("half open from birth", |tally| tally.half_open == 2).await;
    assert!(has_heard_nothing(&pair.server) && has_heard_nothing(&pair.client) && has_heard_nothing(&late));
    pair.faults().heal();
    hears_a_reset(&mut pair.client).await;
    assert!(has_heard_nothing(&late), "nobody has said a word on it");
    say(&mut late, "hello?").await;
    hears_a_reset(&mut late).await;
    pair.counted("both were answered by a reset", |tally| tally.reset == 2)
        .await;
    let mut fresh = pair.a.connect(&pair.b).await;
    let (mut server, _) = pair.b.accept().await;
    say(&mut fresh, "fresh").await;
    hears(&mut server, "fresh").await;
}

#[tokio::test]
async fn a_reset_ends_the_connections_that_exist_and_spares_later_ones() {
    let mut pair = Pair::new().await;
    let c = Peer::join(&pair.mesh).await;
    let mut spared = c.connect(&pair.b).await;
    let (mut spared_server, _) = pair.b.accept().await;
    pair.faults().between(pair.a.node, pair.b.node).reset();
    hears_a_reset(&mut pair.client).await;
    hears_a_reset(&mut pair.server).await;
    assert_eq!(pair.faults().one_way(pair.a.node, pair.b.node).tally().reset, 1);
    say(&mut spared, "still here").await;
    hears(&mut spared_server, "still here").await;
    let mut later = pair.a.connect(&pair.b).await;
    let (mut server, _) = pair.b.accept().await;
    say(&mut later, "later").await;
    hears(&mut server, "later").await;
}

#[tokio::test]
async fn refused_connections_are_reset_until_the_fault_is_over() {
    let mut pair = Pair::new().await;
    pair.faults().to(pair.b.node).refuse();
    hears_a_reset(&mut pair.client).await;
    pair.a.is_reset_by(pair.b.node).await;
    assert_eq!(pair.counted("refused", |tally| tally.refused == 2).await.opened, 1);
    pair.faults().heal();
    let mut client = pair.a.connect(&pair.b).await;
    let (mut server, _) = pair.b.accept().await;
    say(&mut client, "welcome").await;
    hears(&mut server, "welcome").await;
}

#[tokio::test]
async fn a_node_that_is_down_is_a_reset() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    let node = b.node;
    drop(b.listener);
    a.is_reset_by(node).await;
    assert_eq!(mesh.faults().one_way(a.node, node).tally().unreachable, 1);
}

#[tokio::test]
async fn a_reset_by_one_side_reaches_the_other() {
    let mut pair = Pair::new().await;
    pair.server.set_zero_linger().unwrap();
    drop(pair.server);
    hears_a_reset(&mut pair.client).await;
}

#[tokio::test]
async fn a_delay_holds_each_byte_and_jitter_keeps_their_order() {
    let mut pair = Pair::new().await;
    let delay = Duration::from_millis(60);
    pair.faults().delay(delay);
    pair.faults().everywhere().jitter(Duration::from_millis(40));
    let started = Instant::now();
    let text: String = (100..200).map(|number| format!("{number} ")).collect();
    for word in text.split_inclusive(' ') {
        say(&mut pair.client, word).await;
    }
    hears(&mut pair.server, &text).await;
    assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
    assert!(pair.counted("delayed", |tally| tally.delayed > 0).await.bytes == 400);
}

#[tokio::test]
async fn a_rate_limits_a_stream() {
    let mut pair = Pair::new().await;
    pair.faults().one_way(pair.a.node, pair.b.node).tcp().throttle(50_000);
    let started = Instant::now();
    let body = "x".repeat(15_000);
    say(&mut pair.client, &body).await;
    hears(&mut pair.server, &body).await;
    // 15,000 bytes at 50,000 bytes per second.
    assert!(
        started.elapsed() >= Duration::from_millis(300),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_fault_of_one_protocol_spares_the_other() {
    let mut pair = Pair::new().await;
    pair.faults().between(pair.a.node, pair.b.node).udp().cut();
    say(&mut pair.client, "tcp").await;
    hears(&mut pair.server, "tcp").await;
    let (a, b) = (
        tokio::net::UdpSocket::bind(pair.a.node.bind).await.unwrap(),
        tokio::net::UdpSocket::bind(pair.b.node.bind).await.unwrap(),
    );
    a.send_to(b"udp", pair.b.node.advertise).await.unwrap();
    let link = pair.faults().one_way(pair.a.node, pair.b.node);
    link.until("dropped", SOON, |tally| tally.cut == 1).await;
    assert_eq!(link.tcp().tally().cut, 0);
    pair.faults().heal();
    a.send_to(b"udp", pair.b.node.advertise).await.unwrap();
    soon("a datagram", b.recv_from(&mut [0; 8])).await.unwrap();
}

#[tokio::test]
async fn an_adopted_server_is_reached_through_the_proxy() {
    let mesh = Mesh::new(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = mesh.adopt(listener.local_addr().unwrap());
    mesh.faults().cut(OUTSIDE, server);
    let mut client = TcpStream::connect(server.advertise).await.unwrap();
    say(&mut client, "through").await;
    let link = mesh.faults().one_way(OUTSIDE, server);
    link.until("it waits", SOON, |tally| tally.cut == 1).await;
    mesh.faults().heal();
    let (mut accepted, _) = soon("accept", listener.accept()).await.unwrap();
    hears(&mut accepted, "through").await;
}

#[tokio::test]
async fn a_dropped_mesh_ends_every_connection() {
    let Pair {
        mesh,
        mut client,
        mut server,
        ..
    } = Pair::new().await;
    drop(mesh);
    let ends = [
        soon("the end", client.read(&mut [0; 1])).await,
        soon("the end", server.read(&mut [0; 1])).await,
    ];
    assert!(ends.iter().all(|end| !matches!(end, Ok(1..))), "{ends:?}");
}
