//! Sixteen processes, and what a test does with them.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use authmesh_tests::authmesh::Seat;
use authmesh_tests::client::Answer;
use authmesh_tests::fleet::{Fleet, Place, key_ring, turn};
use authmesh_tests::idp::{Idp, Order};
use authmesh_tests::netns::Namespaces;
use authmesh_tests::proxy::{Faults, Mesh, Node};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::watch::Asker;

/// How many nodes there are.
pub(crate) const SIZE: usize = 16;
/// How long a node may go on trusting its memory without evidence of every other.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// No wait takes longer, however busy the machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How long a revocation waits for the others; more than it ever takes where they can be reached.
const CONFIRM_SECONDS: u32 = 12;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether this run takes its time.
pub(crate) fn is_long() -> bool {
    std::env::var("AUTHMESH_FLEET").is_ok_and(|length| length == "long")
}

/// A fleet, its identity provider, and the network between its nodes.
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) nodes: Vec<Node>,
    pub(crate) idp: Idp,
    pub(crate) asker: Asker,
    /// Nobody revokes it.
    pub(crate) good: String,
    /// The proxy. None: namespaces, and the kernel makes the faults.
    mesh: Option<Mesh>,
    folder: TempDir,
    _turn: File,
}

impl World {
    /// Sixteen nodes behind the proxy, all coherent.
    pub(crate) async fn start(seed: u64) -> Self {
        let turn = turn().await;
        let mesh = Mesh::new(seed);
        let nodes: Vec<Node> = (0..SIZE).map(|_| mesh.join()).collect();
        let places: Vec<_> = nodes.iter().map(|node| (node.bind, node.advertise)).collect();
        Self::launch(
            turn,
            Idp::start().await,
            Some(mesh),
            nodes,
            Place::Loopback(SIZE),
            &places,
        )
        .await
    }

    /// Sixteen nodes, each in a namespace of its own, all coherent.
    pub(crate) async fn start_in(spaces: Namespaces, idp: Idp) -> Self {
        let turn = turn().await;
        let place = |index| {
            let address = SocketAddr::from((spaces.address(index), 7946));
            (address, address)
        };
        let places: Vec<_> = (0..SIZE).map(place).collect();
        Self::launch(turn, idp, None, Vec::new(), spaces.into(), &places).await
    }

    async fn launch(
        turn: File,
        idp: Idp,
        mesh: Option<Mesh>,
        nodes: Vec<Node>,
        place: Place,
        gossip: &[(SocketAddr, SocketAddr)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ring = key_ring(folder.path());
        let issuer = idp.issuer();
        // The first two are known to everybody; the others are found.
        let seeds: Vec<String> = gossip.iter().take(2).map(|(_, known)| known.to_string()).collect();
        let config = |seat: &Seat| {
            let (bind, advertise) = gossip[seat.index];
            format!(
                "{}\n[[routes]]\npath = \"/refund\"\nsensitive = true\n\n[cluster]\nnode = \"{}\"\nkey_ring_file = {ring:?}\n\n\
                 [gossip]\nbind = \"{bind}\"\nadvertise = \"{advertise}\"\nseeds = {seeds:?}\nexpect = {SIZE}\n",
                seat.basics(&issuer, "info"),
                name(seat.index),
            )
        };
        let fleet = Fleet::start(place, config).await;
        let listeners = (0..SIZE).map(|index| fleet.node(index).address()).collect();
        let good = idp.token(Order::default()).await;
        let world = Self {
            fleet,
            nodes,
            idp,
            asker: Asker::new(listeners),
            good,
            mesh,
            folder,
            _turn: turn,
        };
        world.whole().await;
        // Keys are fetched and verdicts are kept before anything is measured.
        world.asker.all_say(&everyone(), "/refund", &world.good, 200).await;
        world
    }

    /// Makes faults.
    pub(crate) fn faults(&self) -> Faults {
        self.mesh().faults()
    }

    /// The proxy.
    pub(crate) fn mesh(&self) -> &Mesh {
        self.mesh.as_ref().expect("these nodes are in namespaces")
    }

    /// The key ring of the cluster.
    pub(crate) fn ring(&self) -> PathBuf {
        self.folder.path().join("keyring")
    }

    /// Waits until every running node is coherent, and has every other in its view. Returns how long it took.
    pub(crate) async fn whole(&self) -> Duration {
        let others = self.fleet.running().len() - 1;
        let whole = |_, answer: &Answer| {
            let health = answer.json();
            health["coherent"] == true
                && health["gossip"]["coherent_by_gossip"] == true
                && health["gossip"]["members"] == others
        };
        self.fleet
            .until_all(
                "every node is coherent, and knows every other",
                "/v1/health",
                DEADLINE,
                whole,
            )
            .await
    }

    /// A token of its own.
    pub(crate) async fn token(&self) -> String {
        self.idp.token(Order::default()).await
    }

    /// So many tokens.
    pub(crate) async fn tokens(&self, count: usize) -> Vec<String> {
        let mut tokens = Vec::new();
        for _ in 0..count {
            tokens.push(self.token().await);
        }
        tokens
    }

    /// Revokes something on a node, and waits until every member of its view has confirmed, or it is given up. Returns the
    /// receipt and how long it took.
    pub(crate) async fn revoke(&self, index: usize, mut what: Value) -> (Value, Duration) {
        what["wait_for"] = json!("all_live");
        what["deadline_seconds"] = json!(CONFIRM_SECONDS);
        let started = Instant::now();
        let receipt = self.fleet.node(index).revoke(&what).await;
        (receipt, started.elapsed())
    }

    /// Revokes a token on a node, and does not wait for others.
    pub(crate) async fn revoke_at_once(&self, index: usize, token: &str) -> Value {
        let what = json!({ "token": token, "deadline_seconds": 0 });
        self.fleet.node(index).revoke(&what).await
    }

    /// What a node answers to a GET of its admin API.
    pub(crate) async fn ask(&self, index: usize, path: &str) -> Value {
        let answer = self.fleet.node(index).try_admin(path, DEADLINE).await.unwrap();
        answer.expect(200, path).json()
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

/// The name of a node.
pub(crate) fn name(index: usize) -> String {
    format!("n{index:02}")
}

/// Whether every other node has confirmed a revocation of this one.
#[track_caller]
pub(crate) fn confirmed_by_all_but(index: usize, receipt: &Value) {
    assert_eq!(receipt["state"], "committed", "{receipt}");
    assert_eq!(receipt["missing"], json!([]), "{receipt}");
    let others: Vec<String> = everyone()
        .into_iter()
        .filter(|other| *other != index)
        .map(name)
        .collect();
    assert_eq!(names(&receipt["confirmed_by"]), others, "{receipt}");
}

/// The names in a list of confirmers.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let name = |member: &Value| member["node"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

/// A share of measured times: 0.5 is the median. The greater of two neighbours, so that it flatters nobody.
pub(crate) fn share(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Prints a row of measured times.
pub(crate) fn print_times(what: &str, times: &[Duration]) {
    println!(
        "FIGURE {what}: p50 {} ms, p99 {} ms, worst {} ms, of {}",
        share(times, 0.5).as_millis(),
        share(times, 0.99).as_millis(),
        share(times, 1.0).as_millis(),
        times.len()
    );
}
