//! The control: without anti-entropy, the test of loss fails.
//!
//! What the nodes of the other tests say is sealed, so nobody from outside can take the questions out of it. These sixteen live in
//! this process, on real sockets, behind a decorator that can.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use authmesh::memory::FixedKeys;
use authmesh::ports::{Gossip as _, PortError};
use authmesh::proto::crypto::SECRET_BYTES;
use authmesh::proto::gossip::GossipConfig;
use authmesh::{AuthMesh, KeyRing, Rules, Subject};
use authmesh_gossip::{Sieve, SwimGossip};
use authmesh_testkit::{Faulty, Op};

use crate::world::{DEADLINE, SIZE};

const ISSUER: &str = "https://issuer.example.com";
/// Of a thousand datagrams so many are lost. Broadcasts send everything many times, so little loss leaves nothing to repair.
const LOST: u64 = 750;
/// Revocations, one after the other.
const REVOCATIONS: usize = 150;
/// A broadcast is over after half a second. What has not come by then, and for so long nothing has, does not come.
const QUIET: Duration = Duration::from_secs(4);

/// Loses datagrams by chance, with a seed.
#[derive(Debug, Default)]
struct Lossy {
    on: AtomicBool,
    thrown: AtomicU64,
    lost: AtomicU64,
}

impl Sieve for Lossy {
    fn datagram(&self, _: SocketAddr, _: usize) -> bool {
        if !self.on.load(Ordering::SeqCst) {
            return true;
        }
        // SplitMix64 (Steele, Lea and Flood 2014) of a counter.
        let mut mixed = self.thrown.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let passes = (mixed ^ (mixed >> 31)) % 1000 >= LOST;
        if !passes {
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        passes
    }

    fn stream(&self, _: SocketAddr) -> bool {
        true
    }
}

/// Sixteen nodes of this process.
struct Nodes {
    meshes: Vec<AuthMesh>,
    gossips: Vec<Arc<Faulty<SwimGossip>>>,
    loss: Arc<Lossy>,
}

impl Nodes {
    async fn start() -> Self {
        let loss = Arc::<Lossy>::default();
        let (mut meshes, mut gossips) = (Vec::new(), Vec::<Arc<Faulty<SwimGossip>>>::new());
        for index in 0..SIZE {
            let config = authmesh_gossip::GossipConfig {
                bind: (Ipv4Addr::LOCALHOST, 0).into(),
                seeds: gossips
                    .first()
                    .and_then(|first| first.address())
                    .map(|at| at.to_string())
                    .into_iter()
                    .collect(),
                ..authmesh_gossip::GossipConfig::default()
            };
            let gossip = SwimGossip::sieved(config, Arc::clone(&loss) as _).unwrap();
            let gossip = Faulty::new(Arc::new(gossip));
            let ring = KeyRing::new([1; SECRET_BYTES], vec![[2; SECRET_BYTES]]).unwrap();
            let mesh = AuthMesh::builder()
                .name(format!("n{index:02}"))
                .key_ring(ring)
                .issuer(
                    ISSUER,
                    Arc::new(FixedKeys::new(r#"{"keys":[]}"#)),
                    Rules::danger_any_audience(),
                )
                .gossip(Arc::clone(&gossip) as _)
                .gossip_config(GossipConfig {
                    expect: SIZE,
                    ..GossipConfig::default()
                })
                .start()
                .await
                .unwrap();
            until("it is bound", || gossip.address().is_some()).await;
            meshes.push(mesh);
            gossips.push(gossip);
        }
        until("all are coherent", || meshes.iter().all(|mesh| mesh.health().coherent)).await;
        Self { meshes, gossips, loss }
    }

    /// Revokes under loss, and returns how many revocations the nodes lack together when nothing comes any more.
    async fn revoke(&self, asks: bool) -> usize {
        if !asks {
            // What is left are members and broadcasts.
            for gossip in &self.gossips {
                let off = PortError::Unknown("questions are off".into());
                gossip.faults().on([Op::Ask, Op::Pull]).fail_with(off);
            }
        }
        self.loss.on.store(true, Ordering::SeqCst);
        for number in 0..REVOCATIONS {
            let subject = Subject::new(ISSUER, format!("subject-{number}"));
            // Its own turn for each, so that one lucky datagram does not carry them all.
            let revocation = self.meshes[number % SIZE]
                .revoke(subject)
                .deadline(Duration::from_millis(5));
            revocation.await.unwrap();
        }
        let held = || self.meshes.iter().map(|mesh| mesh.stats().marks).sum::<usize>();
        let (mut last, mut moved) = (held(), Instant::now());
        while last < REVOCATIONS * SIZE && moved.elapsed() < if asks { DEADLINE } else { QUIET } {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let now = held();
            if now != last {
                (last, moved) = (now, Instant::now());
            }
        }
        assert!(
            self.loss.lost.load(Ordering::SeqCst) > 1000,
            "little was lost, so little was shown"
        );
        REVOCATIONS * SIZE - last
    }

    async fn stop(self) {
        for mesh in &self.meshes {
            mesh.shutdown().await;
        }
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_anti_entropy_heavy_loss_leaves_no_revocation_behind_and_without_it_does() {
    let _turn = authmesh_tests::fleet::turn().await;
    let nodes = Nodes::start().await;
    let started = Instant::now();
    let missed = nodes.revoke(true).await;
    println!(
        "FIGURE {} % loss, {REVOCATIONS} statements to 16 nodes, anti-entropy on: {missed} missed, after {} ms",
        LOST / 10,
        started.elapsed().as_millis()
    );
    assert_eq!(missed, 0);
    nodes.stop().await;

    let nodes = Nodes::start().await;
    let missed = nodes.revoke(false).await;
    println!(
        "FIGURE {} % loss, {REVOCATIONS} statements to 16 nodes, anti-entropy off: {missed} of {} missed",
        LOST / 10,
        REVOCATIONS * (SIZE - 1)
    );
    assert!(
        missed > 0,
        "the test above would pass without anti-entropy: it shows nothing"
    );
    nodes.stop().await;
}
