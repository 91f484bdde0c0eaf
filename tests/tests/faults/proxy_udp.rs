//! The fault proxy, datagrams.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authmesh_tests::proxy::{MAX_WAITING, Mesh, Node, Tally};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// No step of a test takes longer, however slow the machine.
const SOON: Duration = Duration::from_secs(20);

struct Peer {
    node: Node,
    socket: UdpSocket,
}

impl Peer {
    async fn join(mesh: &Mesh) -> Self {
        let node = mesh.join();
        let socket = UdpSocket::bind(node.bind).await.unwrap();
        Self { node, socket }
    }

    async fn say(&self, word: &str, to: &Peer) {
        let sent = self.socket.send_to(word.as_bytes(), to.node.advertise).await.unwrap();
        assert_eq!(sent, word.len());
    }

    async fn hear(&self) -> (String, SocketAddr) {
        let mut buffer = [0; 2_048];
        let (length, source) = timeout(SOON, self.socket.recv_from(&mut buffer))
            .await
            .expect("nothing came")
            .unwrap();
        (String::from_utf8_lossy(&buffer[..length]).into_owned(), source)
    }

    async fn hears(&self, words: &[&str]) {
        for word in words {
            assert_eq!(self.hear().await.0, *word);
        }
    }

    /// What has arrived already.
    fn heard(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut buffer = [0; 2_048];
        // The kernel is asked, not the runtime, which may not know yet.
        while let Ok(length) = take(&self.socket, &mut buffer) {
            words.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        words
    }
}

fn take(socket: &UdpSocket, buffer: &mut [u8]) -> std::io::Result<usize> {
    let (length, _) = rustix::net::recv(socket, buffer, rustix::net::RecvFlags::DONTWAIT)?;
    Ok(length)
}

async fn counted(mesh: &Mesh, from: &Peer, to: &Peer, what: &str, condition: impl Fn(&Tally) -> bool) -> Tally {
    let link = mesh.faults().one_way(from.node, to.node).udp();
    link.until(what, SOON, condition).await
}

#[tokio::test]
async fn a_receiver_sees_the_address_that_the_sender_advertises_and_its_answer_comes_back() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    a.say("hello", &b).await;
    let (word, source) = b.hear().await;
    assert_eq!((word.as_str(), source), ("hello", a.node.advertise));
    b.socket.send_to(b"hello yourself", source).await.unwrap();
    let (word, source) = a.hear().await;
    assert_eq!((word.as_str(), source), ("hello yourself", b.node.advertise));
    assert_eq!(mesh.faults().everywhere().tally().passed, 2);
    assert_eq!(mesh.faults().everywhere().tally().bytes, 19);
}

#[tokio::test]
async fn a_stranger_is_dropped_and_counted() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    stranger.send_to(b"let me in", b.node.advertise).await.unwrap();
    // One socket, one order: the stranger's came first.
    a.say("after it", &b).await;
    b.hears(&["after it"]).await;
    assert_eq!(mesh.strangers(), 1);
}

#[tokio::test]
async fn a_cut_one_way_leaves_the_other_way_open_and_healing_opens_it() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    let faults = mesh.faults();
    faults.cut_one_way(a.node, b.node);
    a.say("lost", &b).await;
    counted(&mesh, &a, &b, "the cut drops it", |tally| tally.cut == 1).await;
    b.say("open", &a).await;
    a.hears(&["open"]).await;
    faults.heal();
    a.say("healed", &b).await;
    b.hears(&["healed"]).await;
}

#[tokio::test]
async fn a_partition_separates_the_sides_and_nothing_else() {
    let mesh = Mesh::new(1);
    let (a, b, c) = (
        Peer::join(&mesh).await,
        Peer::join(&mesh).await,
        Peer::join(&mesh).await,
    );
    mesh.faults().partition(&[a.node, b.node], &[c.node]);
    a.say("across", &c).await;
    c.say("across", &b).await;
    counted(&mesh, &a, &c, "dropped", |tally| tally.cut == 1).await;
    counted(&mesh, &c, &b, "dropped", |tally| tally.cut == 1).await;
    a.say("inside", &b).await;
    b.hears(&["inside"]).await;
    mesh.faults().heal();
    mesh.faults().isolate(b.node);
    a.say("to the lonely", &b).await;
    counted(&mesh, &a, &b, "dropped", |tally| tally.cut == 1).await;
    a.say("past the lonely", &c).await;
    c.hears(&["past the lonely"]).await;
}

#[tokio::test]
async fn a_cut_takes_what_is_under_way() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    let faults = mesh.faults();
    faults.one_way(a.node, b.node).delay(Duration::from_millis(300));
    a.say("under way", &b).await;
    counted(&mesh, &a, &b, "it waits", |tally| tally.delayed == 1).await;
    faults.cut(a.node, b.node);
    let tally = counted(&mesh, &a, &b, "it is dropped", |tally| tally.cut == 1).await;
    assert_eq!(tally.passed, 0);
    assert_eq!(b.heard(), [""; 0]);
}

#[tokio::test]
async fn loss_strikes_as_often_as_asked_and_the_same_seed_loses_the_same() {
    let lost = async |seed| {
        let mesh = Mesh::new(seed);
        let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
        mesh.faults().lose(0.3);
        let mut arrived = Vec::new();
        for number in 0..500_u64 {
            a.say(&number.to_string(), &b).await;
            // One at a time, so that no buffer of the kernel can lose any.
            let tally = counted(&mesh, &a, &b, "each has its fate", |t| t.passed + t.lost == number + 1).await;
            if tally.passed as usize > arrived.len() {
                arrived.push(b.hear().await.0);
            }
        }
        let tally = mesh.faults().one_way(a.node, b.node).tally();
        assert_eq!(tally.lost + arrived.len() as u64, 500);
        (tally.lost, arrived)
    };
    let (count, first) = lost(42).await;
    // Four standard deviations of a binomial distribution around 150; and the seed is fixed.
    assert!((109..=191).contains(&count), "{count} of 500 were lost");
    assert_eq!(lost(42).await.1, first, "same seed, same fate");
    assert_ne!(lost(43).await.1, first, "another seed, another fate");
}

#[tokio::test]
async fn the_fate_of_a_link_does_not_depend_on_what_other_links_carry() {
    let fate = async |noise: bool| {
        let mesh = Mesh::new(5);
        let (a, b, c) = (
            Peer::join(&mesh).await,
            Peer::join(&mesh).await,
            Peer::join(&mesh).await,
        );
        mesh.faults().lose(0.5);
        let mut losses = Vec::new();
        for number in 0..40 {
            if noise {
                c.say("noise", &b).await;
                a.say("noise", &c).await;
            }
            a.say("x", &b).await;
            let tally = counted(&mesh, &a, &b, "decided", |t| t.passed + t.lost == number + 1).await;
            losses.push(tally.lost);
        }
        losses
    };
    assert_eq!(fate(false).await, fate(true).await);
}

#[tokio::test]
async fn a_duplicate_arrives_twice() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    mesh.faults().one_way(a.node, b.node).duplicate(1.0);
    a.say("again", &b).await;
    b.hears(&["again", "again"]).await;
    let tally = mesh.faults().one_way(a.node, b.node).tally();
    assert_eq!((tally.duplicated, tally.passed), (1, 2));
    b.say("once", &a).await;
    b.say("over", &a).await;
    a.hears(&["once", "over"]).await;
}

#[tokio::test]
async fn reordering_swaps_neighbours_and_loses_none() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    mesh.faults().one_way(a.node, b.node).reorder(1.0);
    for word in ["1", "2", "3", "4", "5"] {
        a.say(word, &b).await;
    }
    // Nobody overtakes the fifth, so it comes when it has been held back for long enough.
    b.hears(&["2", "1", "4", "3", "5"]).await;
    assert_eq!(mesh.faults().one_way(a.node, b.node).tally().reordered, 3);
}

#[tokio::test]
async fn a_delay_is_never_shorter_than_asked_and_keeps_the_order() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    let delay = Duration::from_millis(60);
    mesh.faults().delay(delay);
    let started = Instant::now();
    for word in ["1", "2", "3"] {
        a.say(word, &b).await;
    }
    b.hears(&["1", "2", "3"]).await;
    assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
    assert_eq!(mesh.faults().one_way(a.node, b.node).tally().delayed, 3);
}

#[tokio::test]
async fn jitter_lets_datagrams_overtake_each_other_and_loses_none() {
    let mesh = Mesh::new(3);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    mesh.faults().everywhere().jitter(Duration::from_millis(200));
    let sent: Vec<String> = (10..40).map(|number| number.to_string()).collect();
    for word in &sent {
        a.say(word, &b).await;
    }
    let mut heard = Vec::new();
    for _ in &sent {
        heard.push(b.hear().await.0);
    }
    assert_ne!(heard, sent, "200 ms of jitter left 30 datagrams in order");
    heard.sort();
    assert_eq!(heard, sent);
}

#[tokio::test]
async fn a_rate_spreads_a_burst_over_the_time_that_it_takes() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    mesh.faults().one_way(a.node, b.node).throttle(10_000);
    let started = Instant::now();
    for _ in 0..4 {
        a.say(&"x".repeat(500), &b).await;
    }
    for _ in 0..4 {
        b.hear().await;
    }
    // 2,000 bytes at 10,000 bytes per second.
    assert!(
        started.elapsed() >= Duration::from_millis(200),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_queue_that_is_full_drops_and_counts() {
    let mesh = Mesh::new(1);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    mesh.faults().delay(Duration::from_secs(3_600));
    let limit = MAX_WAITING as u64;
    for number in 0..limit + 3 {
        a.say("x", &b).await;
        counted(&mesh, &a, &b, "taken", |t| t.delayed + t.overflowed == number + 1).await;
    }
    let tally = mesh.faults().everywhere().tally();
    assert_eq!((tally.delayed, tally.overflowed), (limit, 3));
}

#[tokio::test]
async fn nodes_that_join_later_have_the_faults_of_everywhere() {
    let mesh = Mesh::new(1);
    mesh.faults().lose(1.0);
    let (a, b) = (Peer::join(&mesh).await, Peer::join(&mesh).await);
    a.say("lost", &b).await;
    counted(&mesh, &a, &b, "lost", |tally| tally.lost == 1).await;
    mesh.faults().heal();
    let c = Peer::join(&mesh).await;
    a.say("here", &c).await;
    c.hears(&["here"]).await;
}

#[tokio::test]
async fn a_dropped_mesh_gives_its_addresses_back() {
    let mesh = Mesh::new(1);
    let a = Peer::join(&mesh).await;
    let faults = mesh.faults();
    assert!(std::net::UdpSocket::bind(a.node.advertise).is_err(), "the proxy has it");
    drop(mesh);
    std::net::UdpSocket::bind(a.node.advertise).expect("free again, although a handle is still there");
    faults.heal();
}

#[tokio::test]
async fn meshes_side_by_side_do_not_meet() {
    let meshes = [Mesh::new(1), Mesh::new(1), Mesh::new(1)];
    let ips: std::collections::BTreeSet<_> = meshes
        .iter()
        .flat_map(|mesh| {
            let node = mesh.join();
            [node.bind.ip(), node.advertise.ip()]
        })
        .collect();
    assert_eq!(ips.len(), 6);
}
