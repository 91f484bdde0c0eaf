//! A Redis Cluster: three primaries and three replicas, on loopback ports, without persistence.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates::{Authority, Signed};
use crate::ports::Port;
use crate::process::{NotReady, Process, command, started};
use crate::tools;

/// Nodes; the first half begins as primaries, node `n + 3` as the replica of node `n`.
pub const NODES: usize = 6;
const PRIMARIES: usize = NODES / 2;
const SLOTS: usize = 16_384;
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Far more than a cluster needs to agree, on a busy machine too.
const AGREED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// A running cluster. Its nodes end with this value.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
    tls: Option<Tls>,
    _folder: TempDir,
}

#[derive(Debug)]
struct Node {
    port: Port,
    bus: Port,
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    process: Process,
    paused: bool,
}

#[derive(Debug, Clone)]
struct Tls {
    authority: PathBuf,
    signed: Signed,
}

/// What a node says of one node in `CLUSTER NODES`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    port: u16,
    id: String,
    primary: bool,
    failed: bool,
    of: String,
    slots: Vec<(u16, u16)>,
}

impl RedisCluster {
    /// Starts a cluster, and waits until every node serves and every replica follows.
    pub async fn start() -> Self {
        Self::with(None).await
    }

    /// With TLS only, also between the nodes. Clients need a certificate of the same authority.
    pub async fn start_tls(authority: &Authority) -> Self {
        let tls = Tls {
            authority: authority.certificate().to_owned(),
            signed: authority.sign("node"),
        };
        Self::with(Some(tls)).await
    }

    async fn with(tls: Option<Tls>) -> Self {
        tools::require("redis-server");
        tools::require("redis-cli");
        let cluster = started(async || {
            let folder = TempDir::new().expect("a fresh folder for the nodes");
            let mut nodes = Vec::new();
            for n in 0..NODES {
                let own = folder.path().join(n.to_string());
                std::fs::create_dir(&own).expect("a fresh folder for a node");
                let (port, bus) = (Port::reserve(), Port::reserve());
                let process = run(&port, &bus, &own, tls.as_ref()).await?;
                let state = Mutex::new(State { process, paused: false });
                nodes.push(Node {
                    port,
                    bus,
                    folder: own,
                    state,
                });
            }
            Ok(Self {
                nodes,
                tls: tls.clone(),
                _folder: folder,
            })
        })
        .await;
        cluster.form().await;
        cluster
    }

    async fn form(&self) {
        for n in 0..NODES {
            self.must(n, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()])
                .await;
            if n < PRIMARIES {
                let (first, end) = (SLOTS * n / PRIMARIES, SLOTS * (n + 1) / PRIMARIES);
                let range = [first.to_string(), (end - 1).to_string()];
                self.must(n, &["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]).await;
            }
            let (port, bus) = (self.port(n).to_string(), self.nodes[n].bus.number().to_string());
            self.must(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
        }
        self.until("know each other", async || {
            for n in 0..NODES {
                let lines = self.lines(n).await.unwrap_or_default();
                if lines.len() != NODES || lines.iter().any(|line| line.failed) {
                    return false;
                }
            }
            true
        })
        .await;
        for n in PRIMARIES..NODES {
            let of = self.id(n - PRIMARIES).await;
            self.must(n, &["CLUSTER", "REPLICATE", &of]).await;
        }
        self.healthy().await;
    }

    /// Brings everything back: paused nodes go on, dead ones are started again, slots that were left on their way stay where
    /// they are, and everything is emptied. Waits until every node serves, agrees, and every replica follows.
    pub async fn heal(&self) {
        for n in 0..NODES {
            let dead = {
                let mut state = self.state(n);
                if std::mem::take(&mut state.paused) && state.process.is_alive() {
                    state.process.signal("CONT");
                }
                !state.process.is_alive()
            };
            if dead {
                self.restart(n).await;
            }
        }
        self.healthy().await;
        for n in self.primaries().await {
            let nodes = self.must(n, &["CLUSTER", "NODES"]).await;
            for marker in nodes
                .split(['[', ']'])
                .filter(|part| part.contains("->-") || part.contains("-<-"))
            {
                let slot = marker.split('-').next().unwrap_or_default();
                self.must(n, &["CLUSTER", "SETSLOT", slot, "STABLE"]).await;
            }
        }
        self.flushall().await;
    }

    /// Waits until every node serves, agrees with all others, and every replica follows.
    pub async fn healthy(&self) {
        self.until("agree and serve", async || {
            let mut views = Vec::new();
            for n in 0..NODES {
                let Ok(info) = self.cli(n, &["CLUSTER", "INFO"]).await else {
                    return false;
                };
                let Ok(replication) = self.cli(n, &["INFO", "replication"]).await else {
                    return false;
                };
                let follows = replication.contains("role:master") || replication.contains("master_link_status:up");
                let Ok(mut lines) = self.lines(n).await else {
                    return false;
                };
                lines.sort();
                let primaries = lines.iter().filter(|line| line.primary).count();
                let whole = info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384");
                if !whole || !follows || primaries != PRIMARIES || lines.iter().any(|line| line.failed) {
                    return false;
                }
                views.push(lines);
            }
            views.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }

    /// Addresses, `redis://` or, with TLS, `rediss://`.
    pub fn urls(&self) -> Vec<String> {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        (0..NODES)
            .map(|n| format!("{scheme}://127.0.0.1:{}", self.port(n)))
            .collect()
    }

    /// The port of a node.
    pub fn port(&self, n: usize) -> u16 {
        self.nodes[n].port.number()
    }

    /// The slot of a key.
    pub async fn slot_of(&self, key: &str) -> u16 {
        let slot = self.must(0, &["CLUSTER", "KEYSLOT", key]).await;
        slot.trim().parse().expect("a number")
    }

    /// The node that serves a slot, as most of those that answer say.
    pub async fn primary_of(&self, slot: u16) -> usize {
        let mut votes = [0; NODES];
        for n in self.awake() {
            for line in self.lines(n).await.unwrap_or_default() {
                if line.primary && line.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot)) {
                    votes[self.by_port(line.port)] += 1;
                }
            }
        }
        let most = (0..NODES).max_by_key(|n| votes[*n]);
        most.filter(|n| votes[*n] > 0).expect("somebody serves the slot")
    }

    /// The replica of a primary.
    pub async fn replica_of(&self, primary: usize) -> usize {
        let id = self.id(primary).await;
        let lines = self.lines(primary).await.expect("the primary answers");
        let replica = lines.iter().find(|line| line.of == id);
        self.by_port(replica.expect("it has a replica").port)
    }

    /// Ends a node at once.
    pub fn kill(&self, n: usize) {
        let mut state = self.state(n);
        state.paused = false;
        state.process.kill();
    }

    /// Starts a killed node again: it is empty, and knows the cluster.
    pub async fn restart(&self, n: usize) {
        let node = &self.nodes[n];
        let process = run(&node.port, &node.bus, &node.folder, self.tls.as_ref()).await;
        self.state(n).process = process.unwrap_or_else(|trouble| panic!("{trouble}"));
    }

    /// Stops a node where it stands: connections stay, answers do not come.
    pub fn pause(&self, n: usize) {
        let mut state = self.state(n);
        state.process.signal("STOP");
        state.paused = true;
    }

    /// Lets a paused node go on.
    pub fn resume(&self, n: usize) {
        let mut state = self.state(n);
        state.process.signal("CONT");
        state.paused = false;
    }

    /// Makes a replica the primary, in agreement with the present one (`takeover: false`, no write is lost), or without
    /// asking anybody. Returns when the replica says that it is the primary.
    pub async fn failover(&self, replica: usize, takeover: bool) {
        let how: &[&str] = if takeover {
            &["CLUSTER", "FAILOVER", "TAKEOVER"]
        } else {
            &["CLUSTER", "FAILOVER"]
        };
        self.must(replica, how).await;
        self.until("promote the replica", async || {
            let role = self.cli(replica, &["INFO", "replication"]).await;
            role.is_ok_and(|role| role.contains("role:master"))
        })
        .await;
    }

    /// The first step of moving a slot: both ends know.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let (source, target) = (self.id(from).await, self.id(to).await);
        self.must(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source])
            .await;
        self.must(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target])
            .await;
    }

    /// The second step: moves one key, or every key of the slot that is there now.
    pub async fn move_keys(&self, slot: u16, from: usize, to: usize, only: Option<&str>) {
        let keys = match only {
            Some(key) => vec![key.to_owned()],
            None => {
                let keys = self
                    .must(from, &["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "10000"])
                    .await;
                keys.lines().map(str::to_owned).filter(|key| !key.is_empty()).collect()
            }
        };
        if keys.is_empty() {
            return;
        }
        let port = self.port(to).to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "REPLACE", "KEYS"];
        migrate.extend(keys.iter().map(String::as_str));
        self.must(from, &migrate).await;
    }

    /// The last step: the slot is served at the other end. Keys that are made meanwhile move too.
    pub async fn end_move(&self, slot: u16, from: usize, to: usize) {
        self.until("move every key", async || {
            self.move_keys(slot, from, to, None).await;
            let left = self
                .must(from, &["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()])
                .await;
            left.trim() == "0"
        })
        .await;
        let (slot, target) = (slot.to_string(), self.id(to).await);
        for n in [to, from] {
            self.must(n, &["CLUSTER", "SETSLOT", &slot, "NODE", &target]).await;
        }
        for n in (0..NODES).filter(|n| *n != from && *n != to) {
            // A replica does not take it, and hears of it.
            let _ = self.cli(n, &["CLUSTER", "SETSLOT", &slot, "NODE", &target]).await;
        }
    }

    /// Empties every primary.
    pub async fn flushall(&self) {
        for n in self.primaries().await {
            self.must(n, &["FLUSHALL"]).await;
        }
    }

    /// Cuts off every subscriber, at every node that answers.
    pub async fn client_kill_pubsub(&self) {
        for n in self.awake() {
            self.must(n, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        }
    }

    /// The nodes that serve.
    pub async fn primaries(&self) -> Vec<usize> {
        let mut all = Vec::new();
        for n in self.awake() {
            let role = self.cli(n, &["INFO", "replication"]).await;
            if role.is_ok_and(|role| role.contains("role:master")) {
                all.push(n);
            }
        }
        all
    }

    /// Sends a command to a node.
    ///
    /// # Errors
    /// With what the node or the client said, when the command was not carried out.
    pub async fn cli(&self, n: usize, arguments: &[&str]) -> Result<String, String> {
        let mut cli = tokio::process::Command::new("redis-cli");
        cli.args(["-e", "-h", "127.0.0.1", "-p", &self.port(n).to_string()]);
        if let Some(tls) = &self.tls {
            cli.arg("--tls").arg("--cacert").arg(&tls.authority);
            cli.arg("--cert").arg(&tls.signed.certificate);
            cli.arg("--key").arg(&tls.signed.key);
        }
        cli.args(arguments).kill_on_drop(true);
        let done = tokio::time::timeout(READY_WITHIN, cli.output()).await;
        let done = done.map_err(|_| format!("node {n} gave no answer"))?;
        let done = done.map_err(|error| format!("redis-cli did not run: {error}"))?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        if done.status.success() && !text.starts_with("ERR ") {
            Ok(text)
        } else {
            Err(format!("node {n}: {text}{}", String::from_utf8_lossy(&done.stderr)))
        }
    }

    async fn must(&self, n: usize, arguments: &[&str]) -> String {
        let answer = self.cli(n, arguments).await;
        answer.unwrap_or_else(|trouble| panic!("{arguments:?}: {trouble}"))
    }

    async fn id(&self, n: usize) -> String {
        self.must(n, &["CLUSTER", "MYID"]).await.trim().to_owned()
    }

    async fn lines(&self, n: usize) -> Result<Vec<Line>, String> {
        let text = self.cli(n, &["CLUSTER", "NODES"]).await?;
        Ok(text.lines().filter_map(parse).collect())
    }

    fn awake(&self) -> Vec<usize> {
        (0..NODES)
            .filter(|n| {
                let mut state = self.state(*n);
                !state.paused && state.process.is_alive()
            })
            .collect()
    }

    fn by_port(&self, port: u16) -> usize {
        (0..NODES).find(|n| self.port(*n) == port).expect("a node of ours")
    }

    fn state(&self, n: usize) -> MutexGuard<'_, State> {
        self.nodes[n].state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until(&self, what: impl Display, mut holds: impl AsyncFnMut() -> bool) {
        let began = Instant::now();
        while !holds().await {
            if began.elapsed() > AGREED_WITHIN {
                let mut views = String::new();
                for n in self.awake() {
                    views += &self
                        .cli(n, &["CLUSTER", "NODES"])
                        .await
                        .unwrap_or_else(|trouble| trouble);
                    views.push('\n');
                }
                panic!("the nodes did not {what} within {AGREED_WITHIN:?}. They say:\n{views}");
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// `ID IP:PORT@BUS FLAGS PRIMARY PING PONG EPOCH LINK SLOT...`
fn parse(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let id = words.next()?.to_owned();
    let address = words.next()?.split('@').next()?;
    let flags: Vec<&str> = words.next()?.split(',').collect();
    let of = words.next()?.to_owned();
    let link = words.nth(3)?;
    let slots = words.filter(|word| !word.starts_with('[')).filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    Some(Line {
        port: address.rsplit(':').next()?.parse().ok()?,
        id,
        primary: flags.contains(&"master"),
        failed: flags
            .iter()
            .any(|flag| ["fail", "fail?", "handshake", "noaddr"].contains(flag))
            || link != "connected",
        of,
        slots: slots.collect(),
    })
}

async fn run(port: &Port, bus: &Port, folder: &PathBuf, tls: Option<&Tls>) -> Result<Process, NotReady> {
    let mut redis = command("redis-server");
    redis
        .args(["--bind", "127.0.0.1", "--daemonize", "no", "--dir"])
        .arg(folder);
    redis.args(["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]);
    redis.args([
        "--cluster-node-timeout",
        "1000",
        "--cluster-require-full-coverage",
        "no",
    ]);
    redis.args(["--cluster-port", &bus.number().to_string()]);
    redis.args(["--appendonly", "no", "--save", "", "--repl-diskless-sync-delay", "0"]);
    redis.args(["--enable-debug-command", "local"]);
    match tls {
        None => {
            redis.args(["--port", &port.number().to_string()]);
        }
        Some(tls) => {
            redis.args(["--port", "0", "--tls-port", &port.number().to_string()]);
            redis.args([
                "--tls-cluster",
                "yes",
                "--tls-replication",
                "yes",
                "--tls-auth-clients",
                "yes",
            ]);
            redis.arg("--tls-cert-file").arg(&tls.signed.certificate);
            redis.arg("--tls-key-file").arg(&tls.signed.key);
            redis.arg("--tls-ca-cert-file").arg(&tls.authority);
        }
    }
    let mut process = Process::spawn("redis-server", redis);
    process.accepting(port.address(), READY_WITHIN).await?;
    Ok(process)
}
