//! What strangers send.

use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::GossipEvent;
use authmesh_gossip::SwimGossip;
use authmesh_tests::conformance::gossip::Peer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{sleep, timeout};

use super::{address, config};

async fn two() -> (Peer, Peer) {
    let (a, b) = (address(), address());
    let open = async |at| {
        let gossip = SwimGossip::new(config(at, &[a])).unwrap();
        Peer::open(Arc::new(gossip), "node", "two").await
    };
    let (mut first, mut second) = (open(a).await, open(b).await);
    first.company(1).await;
    second.company(1).await;
    (first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_gets_no_answer_and_stops_nobody() {
    let (a, mut b) = two().await;
    let to = b.gossip.address().unwrap();
    let stranger = UdpSocket::bind(address()).await.unwrap();
    for round in 0..20_u8 {
        for length in [0, 1, 133, 134, 500, 1400, 1401, 9000] {
            for _ in 0..10 {
                // A full buffer is the flood's own loss.
                let _ = stranger.try_send_to(&vec![round; length], to);
            }
        }
        a.gossip.broadcast(vec![round; 30]);
        let wanted = |event: &GossipEvent| matches!(event, GossipEvent::Item(item) if *item == [round; 30]);
        b.until("the item", wanted).await;
    }
    let answered = timeout(Duration::from_millis(200), stranger.recv_from(&mut [0; 2000])).await;
    assert!(answered.is_err(), "{answered:?}");
    let counts = b.gossip.counts();
    assert!(counts.limited > 1000 && counts.unopened < 100, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_streams_end_and_stop_no_member() {
    let (mut a, mut b) = two().await;
    let to = b.gossip.address().unwrap();
    let ip = address();
    let mut open = Vec::new();
    for _ in 0..12 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((ip.ip(), 0).into()).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        let _ = stream.write_all(&[0, 0]).await;
        open.push(stream);
    }
    let peer = a.company(1).await.into_iter().next().unwrap();
    let asker = Arc::clone(&a.gossip);
    let answer = b.during(asker.pull(&peer, vec![1, 2])).await;
    assert_eq!(answer, Ok(vec![2, 1]));
    // Eight were let in and are thrown out after two seconds; four never were.
    let ends = async {
        for stream in &mut open {
            // The node's nonce, and then the end: by a reset, where bytes were left unread.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    };
    timeout(Duration::from_secs(4), ends)
        .await
        .expect("all of them end by themselves");
    // The end of a stream is seen there before it is counted here.
    let counted = async {
        while b.gossip.counts().limited < 12 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(4), counted)
        .await
        .expect("all twelve are counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_nobody_listens_to_gives_its_port_back() {
    let (a, b) = two().await;
    let at = b.gossip.address().unwrap();
    let gossip = Arc::clone(&b.gossip);
    drop(b);
    let free = async {
        while UdpSocket::bind(at).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), free)
        .await
        .expect("the socket is closed when the stream is dropped");
    drop((a, gossip));
}

#[tokio::test]
async fn settings_that_cannot_be_say_what_to_do() {
    let refused = |change: &dyn Fn(&mut authmesh_gossip::GossipConfig)| {
        let mut config = config(address(), &[]);
        change(&mut config);
        SwimGossip::new(config).unwrap_err().to_string()
    };
    for seed in [
        "nowhere",
        ":7946",
        "host:",
        "host:0",
        "http://host:1",
        "0.0.0.0:7946",
        "",
    ] {
        let said = refused(&|config| config.seeds = vec![seed.into()]);
        assert!(said.contains("host:port"), "{seed}: {said}");
    }
    let said = refused(&|config| config.advertise = Some(([0, 0, 0, 0], 1).into()));
    assert!(said.contains("name one"), "{said}");
    let said = refused(&|config| config.advertise = Some(([0, 0, 0, 0, 0, 0, 0, 1], 1).into()));
    assert!(said.contains("two IPv4 or two IPv6"), "{said}");
    let said = refused(&|config| config.probe_rtt = config.probe_period);
    assert!(
        said.contains("gossip.probe_rtt") && said.contains("less than"),
        "{said}"
    );
    for seed in [
        "authmesh.prod.svc:7946",
        "10.0.0.7:7946",
        "[2001:db8::1]:7946",
        "localhost:1",
    ] {
        let mut config = config(address(), &[]);
        config.seeds = vec![seed.into()];
        assert_eq!(config.check(), Ok(()), "{seed}");
    }
}
