//! Whatever comes to a node's port that no member has said: it is counted, and changes nothing.

use authmesh_tests::authmesh::{Authmesh, Shared};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};

use crate::world::{DEADLINE, World, confirmed_by_all_but, everyone};

/// Repeatable noise (SplitMix64, Steele, Lea and Flood 2014).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// What the first node has counted.
async fn counts(world: &World) -> Value {
    world.ask(0, "/v1/stats").await["gossip"]["counts"].clone()
}

/// Waits until a counter of the first node has grown by so many.
async fn grows(world: &World, counter: &str, since: &Value, by: u64) {
    let before = since[counter].as_u64().unwrap();
    world
        .eventually(&format!("{counter} grows by {by} from {before}"), async || {
            counts(world).await[counter].as_u64().unwrap() >= before + by
        })
        .await;
}

/// Waits until what was sent before has been counted: nothing moves for ten looks.
async fn settled(world: &World) -> Value {
    let (mut last, mut looks) = (Value::Null, 0);
    world
        .eventually("the counters stand still", async || {
            let counts = counts(world).await;
            let now = json!([counts["unopened"], counts["limited"], counts["malformed"]]);
            looks = if now == last { looks + 1 } else { 0 };
            last = now;
            looks >= 10
        })
        .await;
    counts(world).await
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_and_streams_that_no_member_made_are_counted_and_change_nothing() {
    let mut world = World::start(7).await;
    let token = world.token().await;
    let (node, sender) = (world.nodes[0], world.nodes[1]);
    let faults = world.faults();
    let way = faults.one_way(sender, node).udp();
    let marks = world.ask(0, "/v1/stats").await["marks"].clone();
    let watch = world.asker.watch(&everyone(), "/refund", &world.good);
    let mut noise = Noise(8);

    // Somebody from outside: random bytes of every length, whole and oversized datagrams among them.
    let before = counts(&world).await;
    let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in [0, 1, 133, 134, 700, 1400, 1401, 9000, 60_000]
        .into_iter()
        .cycle()
        .take(200)
    {
        outside.send_to(&noise.bytes(length), node.bind).await.unwrap();
    }
    grows(&world, "limited", &before, 50).await;

    // Somebody on the way: what a member really sent, again, cut off and with a bit turned over, from that member's address.
    way.capture();
    world
        .eventually("a member has said something", async || way.captured().len() >= 40)
        .await;
    let heard = way.captured();
    let before = counts(&world).await;
    for datagram in &heard {
        way.inject(datagram);
    }
    grows(&world, "replayed", &before, 30).await;
    let before = counts(&world).await;
    for datagram in &heard {
        way.inject(&datagram[..datagram.len() - 1]);
        way.inject(&datagram[..datagram.len() / 2]);
        let mut turned = datagram.clone();
        let at = usize::try_from(noise.next() % turned.len() as u64).unwrap();
        turned[at] ^= 1 << (noise.next() % 8);
        way.inject(&turned);
        way.inject(&noise.bytes(1_400));
        way.inject(&[datagram.as_slice(), &noise.bytes(9_000)].concat());
    }
    // Oversized and short ones are refused unread.
    grows(&world, "unopened", &before, 2 * heard.len() as u64).await;
    assert!(way.tally().injected > 200, "{:?}", way.tally());
    // What a member said to another one is nothing to this node.
    let elsewhere = faults.one_way(world.nodes[2], world.nodes[3]).udp();
    elsewhere.capture();
    world
        .eventually("a member has said something to another", async || {
            elsewhere.captured().len() >= 5
        })
        .await;
    for datagram in elsewhere.captured() {
        way.inject(&datagram);
    }

    // Another cluster with the same keys, and one with other keys, that believe this node to be one of theirs.
    for (other, more) in [("same-keys", "name = \"another\"\n"), ("other-keys", "")] {
        let before = settled(&world).await;
        let place = world.mesh().join();
        let ring = match more.is_empty() {
            false => world.ring(),
            true => other_ring(&world),
        };
        let more = format!(
            "{more}\n[gossip]\nbind = \"{}\"\nadvertise = \"{}\"\nseeds = [\"{}\"]\nexpect = 2\n",
            place.bind, place.advertise, node.advertise
        );
        let shared = Shared {
            node: other,
            key_ring: ring.to_str().unwrap(),
            more: &more,
            unready: true,
            ..Shared::default()
        };
        let stranger = Authmesh::start_shared(&world.idp.issuer(), shared).await;
        grows(&world, "unopened", &before, 3).await;
        let answer = stranger.try_admin("/v1/stats", DEADLINE).await.unwrap();
        assert_eq!(answer.json()["gossip"]["members"], 0, "it is in company of nobody");
    }

    // Streams that say nothing, and one that never ends.
    let mut silent = Vec::new();
    let before = settled(&world).await;
    for _ in 0..40 {
        silent.push(TcpStream::connect(node.bind).await.unwrap());
    }
    let mut endless = TcpStream::connect(node.bind).await.unwrap();
    let flood = noise.bytes(64 * 1024);
    let writing = async {
        let mut written = 0;
        while endless.write_all(&flood).await.is_ok() {
            written += flood.len();
            assert!(written < 64 << 20, "it is read without end");
        }
    };
    let ended = tokio::time::timeout(DEADLINE, writing).await;
    assert!(ended.is_ok(), "it is neither read nor ended");
    grows(&world, "limited", &before, 20).await;

    let (receipt, _) = world.revoke(0, json!({ "token": token })).await;
    confirmed_by_all_but(0, &receipt);
    drop(silent);
    world.whole().await;
    let (asked, blind) = watch.count(503);
    assert_eq!(blind, 0, "of {asked} answers");
    for index in everyone() {
        let stats = world.ask(index, "/v1/stats").await;
        assert_eq!(
            stats["marks"],
            json!(marks.as_u64().unwrap() + 1),
            "one more revocation, and no more: {stats}"
        );
        assert_eq!(stats["gossip"]["lost_statements"], 0, "{stats}");
    }
    let log = world.fleet.node_mut(0).process().log();
    assert!(log.contains("gossip that is of no member"), "the operator is told");
    let metrics = world.fleet.node(0).get("/metrics").await;
    for result in ["limited", "replayed", "unopened"] {
        let row = metrics.body.lines().find(|line| {
            line.starts_with("authmesh_gossip_datagrams_total") && line.contains(&format!("\"{result}\""))
        });
        let value = row.and_then(|row| row.rsplit(' ').next()?.parse::<f64>().ok());
        assert!(value.is_some_and(|value| value > 0.0), "{result}: {row:?}");
    }
}

/// A key ring that is not the cluster's.
fn other_ring(world: &World) -> std::path::PathBuf {
    let ring = world.ring().with_file_name("other-keyring");
    let (code, said, error) = world
        .fleet
        .node(0)
        .command(&["keyring", "generate", ring.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}{error}");
    ring
}
