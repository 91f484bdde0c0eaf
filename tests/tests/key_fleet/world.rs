//! Sixteen processes, the roads between them, and callers at each.

use std::fs::File;
use std::time::{Duration, Instant};

use authmesh_tests::authmesh::Seat;
use authmesh_tests::client::{Answer, http, try_send};
use authmesh_tests::fleet::{Fleet, key_ring, turn};
use authmesh_tests::idp_double::IdpDouble;
use authmesh_tests::ports::Port;
use authmesh_tests::redis_cluster::RedisCluster;
use reqwest::{Client, Method};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// How many nodes there are.
pub(crate) const SIZE: usize = 16;
/// Callers at each node who come at once.
pub(crate) const CALLERS: usize = 16;
/// No wait takes longer, however busy the machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Which roads lead from node to node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Roads {
    Redis,
    Gossip,
    Both,
}

/// The key set is asked for again after its soft lifetime. No test lasts so long.
pub(crate) const NO_MORE: &str = "";

/// A fleet and its identity provider.
pub(crate) struct World {
    pub(crate) nodes: Nodes,
    pub(crate) idp: IdpDouble,
}

/// A fleet and its Redis Cluster.
pub(crate) struct Nodes {
    pub(crate) fleet: Fleet,
    redis: Option<RedisCluster>,
    http: Client,
    _ports: Vec<Port>,
    _folder: TempDir,
    _turn: File,
}

/// What each of many callers was answered.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Node, status (0: no answer), and what was said.
    pub(crate) answers: Vec<(usize, u16, String)>,
    /// The longest that one waited.
    pub(crate) worst: Duration,
}

impl Said {
    /// Asserts that each caller at these nodes got this status.
    #[track_caller]
    pub(crate) fn all(&self, status: u16) -> &Self {
        let others: Vec<_> = self.answers.iter().filter(|answer| answer.1 != status).collect();
        assert!(
            others.is_empty(),
            "{} of {} were not answered {status}, such as {:?}",
            others.len(),
            self.answers.len(),
            &others[..others.len().min(3)]
        );
        self
    }
}

impl World {
    /// Sixteen nodes, ready. `more` is added to the configuration of each.
    pub(crate) async fn start(roads: Roads, more: &str) -> Self {
        Self::start_over(IdpDouble::start().await, roads, more).await
    }

    /// The same over an identity provider that was prepared.
    pub(crate) async fn start_over(idp: IdpDouble, roads: Roads, more: &str) -> Self {
        let nodes = Nodes::start(&idp.issuer(), SIZE, roads, more).await;
        Self { nodes, idp }
    }

    /// A token of its own for each caller at each of these nodes, all signed by the newest key, all shown at once.
    pub(crate) async fn everybody_calls(&self, nodes: &[usize], callers: usize) -> Said {
        let mut calls = JoinSet::new();
        for &node in nodes {
            for caller in 0..callers {
                let token = self.idp.token(&format!("caller-{node}-{caller}"));
                calls.spawn(self.nodes.call(node, token));
            }
        }
        gather(calls).await
    }

    /// Asserts that the provider sees no further request for its key set for so long: what was counted was not just early.
    pub(crate) async fn stays_at(&self, count: u64, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            assert_eq!(
                self.idp.key_sets(),
                count,
                "requests for the key set; {:#?}",
                self.tail()
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The last requests, for messages.
    pub(crate) fn tail(&self) -> Vec<String> {
        let asked = self.idp.asked();
        let first = asked.first().map(|asked| asked.at);
        let told = |asked: &authmesh_tests::idp_double::Asked| {
            let at = first.map_or(Duration::ZERO, |first| asked.at - first);
            format!(
                "{:?} at {at:?}, no_cache {}, status {}",
                asked.page, asked.no_cache, asked.status
            )
        };
        asked.iter().rev().take(12).rev().map(told).collect()
    }
}

impl Nodes {
    /// So many nodes of one issuer, ready.
    pub(crate) async fn start(issuer: &str, size: usize, roads: Roads, more: &str) -> Self {
        let turn = turn().await;
        let folder = tempfile::tempdir().unwrap();
        let ring = key_ring(folder.path());
        let redis = match roads {
            Roads::Gossip => None,
            Roads::Redis | Roads::Both => Some(RedisCluster::start().await),
        };
        // Held in the test's own process, so that nobody else takes them.
        let ports: Vec<Port> = (0..size).map(|_| Port::reserve()).collect();
        let config = |seat: &Seat| {
            let mut text = seat.basics(issuer, "info");
            text += &format!("\n[cluster]\nnode = \"n{:02}\"\nkey_ring_file = {ring:?}\n", seat.index);
            if let Some(redis) = &redis {
                text += &format!("\n[redis]\nurl = {:?}\n", redis.urls());
            }
            if roads != Roads::Redis {
                let seeds: Vec<String> = ports[..2].iter().map(|port| port.address().to_string()).collect();
                let bind = ports[seat.index].address();
                text += &format!("\n[gossip]\nbind = \"{bind}\"\nadvertise = \"{bind}\"\nseeds = {seeds:?}\n");
                if roads == Roads::Gossip {
                    text += &format!("expect = {size}\n");
                }
            }
            text + more
        };
        let fleet = Fleet::start(size, config).await;
        let mut nodes = Self {
            fleet,
            redis,
            http: http(),
            _ports: ports,
            _folder: folder,
            _turn: turn,
        };
        nodes.fleet.ready(DEADLINE).await;
        nodes.coherent(roads).await;
        nodes
    }

    /// Waits until every running node is coherent, and where there is gossip has every other in its view.
    pub(crate) async fn coherent(&self, roads: Roads) {
        let others = self.fleet.running().len() - 1;
        let whole = |_, answer: &Answer| {
            let health = answer.json();
            health["coherent"] == true && (roads == Roads::Redis || health["gossip"]["members"] == others)
        };
        let what = "every node is coherent, and knows every other";
        self.fleet.until_all(what, "/v1/health", DEADLINE, whole).await;
    }

    pub(crate) fn redis(&self) -> &RedisCluster {
        self.redis.as_ref().expect("this fleet has no Redis")
    }

    /// One token, shown once at each of these nodes.
    pub(crate) async fn all_are_shown(&self, nodes: &[usize], token: &str) -> Said {
        let mut calls = JoinSet::new();
        for &node in nodes {
            calls.spawn(self.call(node, token.to_owned()));
        }
        gather(calls).await
    }

    /// One call. Lives on when its caller is dropped, as a client of its own does.
    fn call(&self, node: usize, token: String) -> impl Future<Output = (usize, u16, String, Duration)> + use<> {
        let url = format!("http://{}/verify", self.fleet.node(node).address());
        let request = self.http.get(url).header("X-Forwarded-Uri", "/").bearer_auth(token);
        async move {
            let from = Instant::now();
            match try_send(request).await {
                Ok(answer) => (node, answer.status, answer.body, from.elapsed()),
                Err(error) => (node, 0, error.to_string(), from.elapsed()),
            }
        }
    }

    /// One call at one node, which goes on by itself.
    pub(crate) fn call_aside(
        &self,
        node: usize,
        token: String,
    ) -> tokio::task::JoinHandle<(usize, u16, String, Duration)> {
        tokio::spawn(self.call(node, token))
    }

    /// Has a node ask for the key set now, as an operator does.
    pub(crate) async fn refresh_keys(&self, node: usize) -> Answer {
        self.fleet
            .node(node)
            .admin(Method::POST, "/v1/keys/refresh", None)
            .await
    }

    /// Waits until something holds.
    pub(crate) async fn eventually(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
        let started = Instant::now();
        while !holds().await {
            let waited = started.elapsed();
            assert!(waited < DEADLINE, "not within {} s: {what}", DEADLINE.as_secs());
            tokio::time::sleep(PAUSE).await;
        }
        started.elapsed()
    }
}

/// All nodes.
pub(crate) fn everyone() -> Vec<usize> {
    (0..SIZE).collect()
}

async fn gather(mut calls: JoinSet<(usize, u16, String, Duration)>) -> Said {
    let mut said = Said::default();
    while let Some(answer) = calls.join_next().await {
        let (node, status, body, took) = answer.unwrap();
        said.worst = said.worst.max(took);
        said.answers.push((node, status, body));
    }
    said
}
