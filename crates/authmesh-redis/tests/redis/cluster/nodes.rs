//! Nodes that share a Redis Cluster: whatever happens to it, what was revoked is not served beyond the bound, and every node
//! is coherent again afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authmesh::ports::Log as _;
use authmesh::{AuthMesh, CommitState, Subject};
use authmesh_proto::ident::{ChannelId, Nonce, Position, StreamId};
use authmesh_proto::log::{LogEntry, Payload};
use authmesh_redis::{RedisAdapter, RedisConfig};
use authmesh_tests::redis_cluster::RedisCluster;

use super::{Shared, config, shared};
use crate::fixture::{SLOT, eventually};
use crate::nodes::{ISSUER, Issuer, accepts, node, refuses};

/// Coherence lease (3 s), the time that this cluster needs to depose a primary (2.6 s at a node timeout of 1 s), one
/// watermark period, one repair, and what a busy machine adds.
const BOUND: Duration = Duration::from_secs(8);
/// Longer than the lease: a channel that stays suspect for so long ends it.
const SETTLED: Duration = Duration::from_secs(4);
/// One revocation, each time by the next node.
const EVERY: Duration = Duration::from_millis(25);

/// Hash tags of some channels, spread over all primaries.
const TAGS: [&str; 16] = [
    "14", "6h", "29", "5e", "7f", "7w", "4k", "6", "7a", "7p", "4l", "1", "13", "6o", "5s", "5b",
];

const BEGINNING: Position = Position {
    id: StreamId { millis: 0, sequence: 0 },
    nonce: Nonce([0; 16]),
};

struct Scene {
    cluster: Shared,
    config: RedisConfig,
    issuer: Issuer,
    nodes: Vec<AuthMesh>,
    /// Revoked, with the instant before it was.
    revoked: Arc<Mutex<Vec<(Instant, String)>>>,
}

#[derive(Debug, Default)]
struct Receipts {
    committed: usize,
    single: usize,
    unconfirmed: usize,
    failed: usize,
}

impl Scene {
    async fn new() -> Self {
        let cluster = shared().await;
        let config = config(&cluster);
        let issuer = Issuer::new();
        let mut nodes = Vec::new();
        for name in ["a", "b", "c"] {
            nodes.push(node(name, RedisAdapter::lazy(config.clone()).unwrap(), &issuer).await);
        }
        let scene = Self {
            cluster,
            config,
            issuer,
            nodes,
            revoked: Arc::default(),
        };
        let token = scene.issuer.token("nobody");
        for mesh in &scene.nodes {
            eventually("the node is coherent", async || accepts(mesh, &token).await).await;
        }
        scene
    }

    /// Another node, which knows only what Redis holds.
    async fn newcomer(&self) -> AuthMesh {
        node("late", RedisAdapter::lazy(self.config.clone()).unwrap(), &self.issuer).await
    }

    /// Entries of all logs that carry a statement which the table may lack.
    async fn bare_entries(&self) -> usize {
        let adapter = RedisAdapter::lazy(self.config.clone()).unwrap();
        let mut bare = 0;
        for channel in ChannelId::all() {
            let slice = adapter.read(channel, BEGINNING, 4096).await.unwrap();
            let is_bare =
                |entry: &&LogEntry| matches!(&entry.payload, Payload::Bare(statement) if !statement.is_empty());
            bare += slice.entries.iter().filter(is_bare).count();
        }
        bare
    }

    fn revoked(&self) -> Vec<(Instant, String)> {
        self.revoked.lock().unwrap().clone()
    }

    /// Revokes all the time, on every node, while the fault happens and until a second after.
    async fn under_load(&self, what: &str, fault: impl AsyncFnOnce(&Self)) {
        let stop = AtomicBool::new(false);
        let began = Instant::now();
        let act = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            fault(self).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.store(true, Ordering::Release);
        };
        let (receipts, worst, ()) = tokio::join!(self.revoke_until(&stop), self.observe_until(&stop), act);
        let (recovered, late) = self.recovered(worst).await;
        println!(
            "{what}: {} revoked ({receipts:?}), served for at most {late:?}, coherent {recovered:?} after the load; {:?} in all",
            self.revoked().len(),
            began.elapsed()
        );
        assert_eq!(receipts.failed, 0, "{what}");
    }

    async fn revoke_until(&self, stop: &AtomicBool) -> Receipts {
        let mut waiting = tokio::task::JoinSet::new();
        let mut n = 0_usize;
        while !stop.load(Ordering::Acquire) {
            let subject = format!("subject-{n}");
            let token = self.issuer.token(&subject);
            // So that every node has it in memory.
            for mesh in &self.nodes {
                accepts(mesh, &token).await;
            }
            let mesh = self.nodes[n % self.nodes.len()].clone();
            self.revoked.lock().unwrap().push((Instant::now(), token.clone()));
            waiting.spawn(async move {
                let receipt = mesh.revoke(Subject::new(ISSUER, &subject)).await;
                assert!(refuses(&mesh, &token).await, "at its own node at once");
                receipt
            });
            n += 1;
            tokio::time::sleep(EVERY).await;
        }
        let mut receipts = Receipts::default();
        while let Some(receipt) = waiting.join_next().await {
            match receipt.unwrap() {
                Ok(receipt) if receipt.state == CommitState::Unconfirmed => receipts.unconfirmed += 1,
                Ok(receipt) if receipt.single_copy => receipts.single += 1,
                Ok(_) => receipts.committed += 1,
                Err(_) => receipts.failed += 1,
            }
        }
        receipts
    }

    /// Asks every node for every token that was revoked. Returns the longest time after its revocation that one was served.
    async fn observe_until(&self, stop: &AtomicBool) -> Duration {
        let mut worst = Duration::ZERO;
        let mut refused = vec![Vec::new(); self.nodes.len()];
        while !stop.load(Ordering::Acquire) {
            worst = worst.max(self.observe(&mut refused).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        worst
    }

    async fn observe(&self, refused: &mut [Vec<bool>]) -> Duration {
        let mut worst = Duration::ZERO;
        let revoked = self.revoked();
        for (mesh, refused) in self.nodes.iter().zip(refused) {
            refused.resize(revoked.len(), false);
            for ((at, token), refused) in revoked.iter().zip(refused) {
                let asked = Instant::now();
                // Sensitive: a node that is blind answers nothing at all.
                if accepts(mesh, token).await {
                    worst = worst.max(asked.saturating_duration_since(*at));
                    assert!(!*refused, "what was refused once is served again");
                } else {
                    *refused = refuses(mesh, token).await;
                }
            }
        }
        assert!(worst < BOUND, "served {worst:?} after it was revoked");
        worst
    }

    /// All nodes are coherent and stay so, refuse everything that was revoked, and so does a newcomer. How long it took
    /// until they were, and the longest time that anything was served.
    async fn recovered(&self, mut worst: Duration) -> (Duration, Duration) {
        let began = Instant::now();
        let mut refused = vec![Vec::new(); self.nodes.len()];
        let (mut since, mut first) = (None, Duration::ZERO);
        while since.is_none_or(|since: Instant| since.elapsed() < SETTLED) {
            worst = worst.max(self.observe(&mut refused).await);
            let healthy = self.nodes.iter().all(|mesh| mesh.health().coherent);
            let whole = refused.iter().flatten().all(|refused| *refused);
            if !(healthy && whole) {
                since = None;
            } else if since.is_none() {
                since = Some(Instant::now());
                first = began.elapsed();
            }
            assert!(
                began.elapsed() < Duration::from_secs(40),
                "not all nodes are coherent again: {:?}",
                self.nodes.iter().map(AuthMesh::health).collect::<Vec<_>>()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Every mark stands in the table, by whatever way it came.
        let adapter = RedisAdapter::lazy(self.config.clone()).unwrap();
        eventually("the tables hold every mark", async || {
            let mut held = 0;
            for channel in ChannelId::all() {
                held += adapter.load(channel, None).await.map_or(0, |table| table.marks.len());
            }
            held == self.revoked().len()
        })
        .await;
        let late = self.newcomer().await;
        for (_, token) in self.revoked() {
            eventually("the newcomer refuses", async || refuses(&late, &token).await).await;
        }
        (first, worst)
    }
}

async fn serving(cluster: &RedisCluster) -> usize {
    cluster.primary_of(SLOT).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounded_blindness_a_primary_is_killed_under_load() {
    let scene = Scene::new().await;
    scene
        .under_load("primary killed", async |scene| {
            scene.cluster.kill(serving(&scene.cluster).await);
            tokio::time::sleep(Duration::from_secs(3)).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounded_blindness_a_replica_takes_over_under_load() {
    let scene = Scene::new().await;
    scene
        .under_load("CLUSTER FAILOVER TAKEOVER", async |scene| {
            let replica = scene.cluster.replica_of(serving(&scene.cluster).await).await;
            scene.cluster.failover(replica, true).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lost_statement_is_silent_slots_move_under_load() {
    let scene = Scene::new().await;
    scene
        .under_load("slot migration", async |scene| {
            let cluster = &scene.cluster;
            let mut moves = Vec::new();
            for tag in TAGS {
                let slot = cluster.slot_of(tag).await;
                let from = cluster.primary_of(slot).await;
                let to = cluster.primaries().await.into_iter().find(|n| *n != from).unwrap();
                cluster.begin_move(slot, from, to).await;
                moves.push((slot, from, to));
            }
            for moved in [false, true] {
                for (slot, from, to) in moves.iter().copied().filter(|_| moved) {
                    cluster.move_keys(slot, from, to, None).await;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
                // What the table lacks, a node that comes now has from the log.
                let known = scene.revoked();
                let (late, good) = (scene.newcomer().await, scene.issuer.token("nobody"));
                eventually("the newcomer is coherent", async || accepts(&late, &good).await).await;
                for (at, token) in known {
                    // The revocations of the last instant may still be on their way to the log.
                    if at.elapsed() > Duration::from_secs(1) {
                        assert!(
                            refuses(&late, &token).await,
                            "revoked {:?} ago, served to a newcomer",
                            at.elapsed()
                        );
                    }
                }
            }
            for (slot, from, to) in moves {
                cluster.end_move(slot, from, to).await;
            }
        })
        .await;
    // What the table lacks for a while is lacking to every node, at every look; none of them may fill the log with it.
    let (bare, revoked) = (scene.bare_entries().await, scene.revoked().len());
    println!("{bare} bare entries for {revoked} revocations");
    // A quarter of the channels is on its way, for less than half of the time.
    assert!(
        (1..=revoked / 4).contains(&bare),
        "{bare} bare entries for {revoked} revocations"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_lost_statement_is_silent_subscribers_are_cut_off_under_load() {
    let scene = Scene::new().await;
    scene
        .under_load("CLIENT KILL TYPE pubsub", async |scene| {
            for _ in 0..3 {
                scene.cluster.client_kill_pubsub().await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounded_blindness_a_primary_sleeps_under_load() {
    let scene = Scene::new().await;
    scene
        .under_load("DEBUG SLEEP 2", async |scene| {
            let primary = serving(&scene.cluster).await;
            let _ = scene.cluster.cli(primary, &["DEBUG", "SLEEP", "2"]).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_survive_redis_every_primary_is_emptied_under_load() {
    let scene = Scene::new().await;
    scene
        .under_load("FLUSHALL", async |scene| scene.cluster.flushall().await)
        .await;
}

/// Traps 3, 40 and 42: acknowledged writes are gone, and the nodes bring them back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_survive_redis_a_replica_without_the_last_writes_takes_over() {
    let scene = Scene::new().await;
    scene
        .under_load("promoted without the last writes", async |scene| {
            let cluster = &scene.cluster;
            let primary = serving(cluster).await;
            let replica = cluster.replica_of(primary).await;
            // It stands still, and what it has not read yet never comes: the link is cut, and the primary dies.
            cluster.pause(replica);
            let cut = cluster.cli(primary, &["CLIENT", "KILL", "TYPE", "replica"]).await;
            cut.expect("the link is cut");
            tokio::time::sleep(Duration::from_millis(700)).await;
            cluster.kill(primary);
            cluster.resume(replica);
            cluster.failover(replica, true).await;
        })
        .await;
}
