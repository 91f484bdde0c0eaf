//! Processes that share a real Redis: what one is told all know, and an outage of Redis is never a verdict.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use authmesh_tests::authmesh::{Authmesh, Shared};
use authmesh_tests::client::{Answer, http, send};
use authmesh_tests::dev::DevCluster;
use authmesh_tests::idp::{Idp, Order};
use authmesh_tests::nginx::Nginx;
use authmesh_tests::process::command;
use authmesh_tests::redis_cluster::RedisCluster;
use authmesh_tests::redis_server::RedisServer;
use authmesh_tests::tools;
use authmesh_tests::upstream::Upstream;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Far more than anything here takes, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(40);

/// An ordinary route is everything; this one is sensitive.
const REFUND: &str = "\n[[routes]]\npath = \"/refund\"\nsensitive = true\n";

/// An identity provider, a Redis, and nodes between them.
struct World {
    idp: Idp,
    redis: RedisServer,
    folder: TempDir,
}

impl World {
    async fn new(redis: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self {
            idp: Idp::start().await,
            redis: RedisServer::start(redis).await,
            folder,
        };
        let ring = world.ring();
        let (code, said) = authmesh(&["keyring", "generate", ring.to_str().unwrap()]);
        assert_eq!(code, 0, "{said}");
        world
    }

    fn ring(&self) -> PathBuf {
        self.folder.path().join("keyring")
    }

    async fn node(&self, name: &str, unready: bool) -> Authmesh {
        node(&self.idp, &[self.redis.url()], &self.ring(), name, unready).await
    }

    async fn token(&self, client: &str) -> String {
        token(&self.idp, client).await
    }
}

async fn node(idp: &Idp, redis: &[String], ring: &Path, name: &str, unready: bool) -> Authmesh {
    let shared = Shared {
        node: name,
        redis,
        key_ring: ring.to_str().unwrap(),
        more: REFUND,
        unready,
    };
    Authmesh::start_shared(&idp.issuer(), shared).await
}

async fn token(idp: &Idp, client: &str) -> String {
    let order = Order {
        client,
        ..Order::default()
    };
    idp.token(order).await
}

/// Runs a command that needs no node: its exit code and everything that it said.
fn authmesh(arguments: &[&str]) -> (i32, String) {
    let output = command(tools::authmesh_binary()).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(
            started.elapsed() < DEADLINE,
            "not within {} s: {what}",
            DEADLINE.as_secs()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Looks until the node answers `status` on `path`; `never` may not come on the way.
async fn until(node: &Authmesh, path: &str, token: &str, status: u16, never: u16) {
    eventually(&format!("{status} on {path}"), async || {
        let answer = node.verify_path(path, token).await;
        assert_ne!(answer.status, never, "{answer:?}");
        answer.status == status
    })
    .await;
}

/// Both are coherent: a sensitive route is answered.
async fn coherent(nodes: &[&Authmesh], token: &str) {
    for node in nodes {
        until(node, "/refund", token, 200, 401).await;
    }
}

async fn revoke(node: &Authmesh, subject: &str) {
    let receipt = node.revoke(&json!({ "subject": subject, "why": "end to end" })).await;
    assert_eq!(receipt["state"], "committed", "{receipt}");
}

/// Whether no line of the node's own log shows what must stay secret.
fn assert_discreet(node: &mut Authmesh, ring: &Path) {
    let log = node.process().log();
    for key in std::fs::read_to_string(ring)
        .unwrap()
        .split('"')
        .filter(|part| part.len() == 44)
    {
        assert!(!log.contains(key), "the log shows a key");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_through_one_process_the_other_refuses() {
    let world = World::new(&[]).await;
    let (mut a, b) = (world.node("a", false).await, world.node("b", false).await);
    let (alice, bob) = (world.token("alice").await, world.token("bob").await);
    coherent(&[&a, &b], &alice).await;
    coherent(&[&a, &b], &bob).await;

    revoke(&a, "alice").await;
    a.verify(&alice).await.expect(401, "where it was said, at once");
    until(&b, "/", &alice, 401, 503).await;
    b.verify(&bob).await.expect(200, "who has nothing to do with it");

    eventually("each node is registered and shown", async || {
        let (code, status, _) = b.command(&["status"]);
        let rows = status.lines().filter(|line| line.contains("127.0.0.1:")).count();
        code == 0 && rows >= 2
    })
    .await;

    // A newcomer reads the table.
    let c = world.node("c", false).await;
    coherent(&[&c], &bob).await;
    c.verify(&alice).await.expect(401, "revoked before the node was born");
    assert_discreet(&mut a, &world.ring());
}

/// What nodes do while Redis is away, by its rule: ordinary routes go on and say so, sensitive ones refuse, and what is
/// known to be revoked is never served.
async fn is_blind(node: &Authmesh, good: &str, revoked: &str) {
    eventually("the node knows that it is blind", async || {
        node.verify(revoked).await.expect(401, "revoked, whatever happens");
        node.verify_path("/refund", good).await.status == 503
    })
    .await;
    let sensitive = node.verify_path("/refund", good).await;
    assert!(!sensitive.header("retry-after").is_empty(), "{sensitive:?}");
    let ordinary = node.verify(good).await;
    ordinary.expect(200, "an ordinary route of a blind node");
    assert_eq!(ordinary.header("x-authmesh-outcome"), "blind", "{ordinary:?}");
    let (code, status, said) = node.command(&["status"]);
    assert_eq!(code, 1, "{status}{said}");
}

/// A node that was never coherent has nothing to answer from.
async fn is_born_blind(node: &Authmesh, good: &str, revoked: &str) {
    assert_eq!(node.get("/readyz").await.status, 503);
    for token in [good, revoked] {
        for path in ["/", "/refund"] {
            node.verify_path(path, token).await.expect(503, "it has no marks");
        }
    }
}

async fn recovered(nodes: &[&Authmesh], good: &str, revoked: &[&str]) {
    for node in nodes {
        until(node, "/refund", good, 200, 401).await;
        assert_eq!(node.get("/readyz").await.status, 200);
        for token in revoked {
            until(node, "/", token, 401, 503).await;
            node.verify_path("/refund", token).await.expect(401, "nothing is lost");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_is_an_outage_and_no_verdict() {
    let world = World::new(&[]).await;
    let (a, b) = (world.node("a", false).await, world.node("b", false).await);
    let tokens = [
        world.token("alice").await,
        world.token("bob").await,
        world.token("carol").await,
    ];
    let [alice, bob, carol] = &tokens;
    coherent(&[&a, &b], bob).await;
    coherent(&[&a, &b], carol).await;
    revoke(&a, "alice").await;
    until(&b, "/", alice, 401, 503).await;

    world.redis.freeze();
    for node in [&a, &b] {
        is_blind(node, carol, alice).await;
    }
    let late = world.node("late", true).await;
    is_born_blind(&late, carol, alice).await;
    // Said while nobody can commit: in force here at once, and everywhere once Redis is back.
    let receipt = a.revoke(&json!({ "subject": "bob", "why": "end to end" })).await;
    assert_eq!(receipt["state"], "unconfirmed", "{receipt}");
    a.verify(bob).await.expect(401, "where it was said, at once");

    world.redis.thaw();
    recovered(&[&a, &b, &late], carol, &[alice, bob]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_died_and_came_back_empty_is_taught_everything_again() {
    let mut world = World::new(&[]).await;
    let (a, b) = (world.node("a", false).await, world.node("b", false).await);
    let (alice, carol) = (world.token("alice").await, world.token("carol").await);
    coherent(&[&a, &b], &carol).await;
    coherent(&[&a, &b], &alice).await;
    revoke(&a, "alice").await;
    until(&b, "/", &alice, 401, 503).await;

    world.redis.kill();
    for node in [&a, &b] {
        is_blind(node, &carol, &alice).await;
    }
    let late = world.node("late", true).await;
    is_born_blind(&late, &carol, &alice).await;

    world.redis.restart().await;
    recovered(&[&a, &b, &late], &carol, &[&alice]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_while_the_nodes_run() {
    let world = World::new(&[]).await;
    let (mut a, b) = (world.node("a", false).await, world.node("b", false).await);
    let [alice, bob, carol] = [
        world.token("alice").await,
        world.token("bob").await,
        world.token("carol").await,
    ];
    coherent(&[&a, &b], &carol).await;
    coherent(&[&a, &b], &alice).await;
    revoke(&a, "alice").await;
    let ring = world.ring();
    let ring = ring.to_str().unwrap();
    let ids = || -> Vec<String> {
        let (code, said) = authmesh(&["keyring", "status", ring]);
        assert_eq!(code, 0, "{said}");
        let rows = said.lines().skip(2);
        rows.filter_map(|row| row.split_whitespace().next().map(str::to_owned))
            .collect()
    };
    let old = ids()[0].clone();

    // A broken file is refused, and the ring in use goes on.
    let good = std::fs::read(ring).unwrap();
    std::fs::write(ring, "naming = 1").unwrap();
    a.process().signal("HUP");
    eventually("the broken file is reported", async || {
        a.process().log().contains("The ring in use goes on")
    })
    .await;
    std::fs::write(ring, good).unwrap();

    let (code, said) = authmesh(&["keyring", "generate", "--add", ring]);
    assert_eq!(code, 0, "{said}");
    let new = ids()[0].clone();
    assert_ne!(new, old);
    a.process().signal("HUP");
    // The other finds it by itself, some seconds later.
    revoke(&a, "bob").await;
    for node in [&a, &b] {
        until(node, "/", &bob, 401, 403).await;
        until(node, "/", &alice, 401, 403).await;
        until(node, "/refund", &carol, 200, 401).await;
    }
    eventually(
        "marks stand under both keys, and the members under the new one",
        async || {
            let (code, status, said) = a.command(&["keyring", "status"]);
            assert_eq!(code, 0, "{status}{said}");
            let row = |id: &str| -> Vec<String> {
                let row = status.lines().find(|line| line.starts_with(id)).unwrap();
                row.split_whitespace().map(str::to_owned).collect()
            };
            let (new, old) = (row(&new), row(&old));
            // key, use, marks, members, log
            new[1..4] == ["seals", "1", "2"] && old[1..4] == ["opens", "1", "0"] && status.contains("not yet")
        },
    )
    .await;
    assert_discreet(&mut a, &world.ring());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_tells_a_bad_redis_from_a_good_one() {
    let mut world = World::new(&["--maxmemory-policy", "allkeys-lru"]).await;
    // It cannot become ready: the node refuses such a Redis, too.
    let mut node = world.node("a", true).await;
    let (code, said, _) = node.command(&["doctor"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(
            "FAIL  maxmemory-policy allkeys-lru may evict revocations.   Set it to volatile-lru or noeviction."
        ),
        "{said}"
    );
    eventually("the node says why it does not work", async || {
        node.process().log().contains("maxmemory-policy allkeys-lru")
    })
    .await;
    assert_eq!(node.get("/readyz").await.status, 503);

    world.redis.cli(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    let (code, said, _) = node.command(&["doctor"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("warn  ") || said.starts_with("ok    "), "{said}");
    for part in [
        "ok    key ring ",
        ", one server, 0 replicas\n",
        "ok    maxmemory-policy volatile-lru evicts no revocation\n",
        "may do what authmesh does",
        "info  without gossip, a Redis that withholds revocations is not detected",
        " keys, found by discovery\n",
        "agrees with this machine's",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    eventually("the node takes the mended Redis up by itself", async || {
        node.get("/readyz").await.status == 200
    })
    .await;

    let (code, json, _) = node.command(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!((code, report["result"].as_str()), (0, Some("ok")), "{report}");
    assert!(
        report["checks"]
            .as_array()
            .unwrap()
            .iter()
            .all(|check| check["level"] != "fail")
    );

    // Another key ring than that of the others.
    let alice = world.token("alice").await;
    coherent(&[&node], &alice).await;
    revoke(&node, "alice").await;
    let ring = world.ring();
    std::fs::remove_file(&ring).unwrap();
    authmesh(&["keyring", "generate", ring.to_str().unwrap()]);
    let (code, said, _) = node.command(&["doctor"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("under a key that is not in the key ring"), "{said}");

    world.redis.kill();
    world.idp.stop();
    let (code, said, _) = node.command(&["doctor"]);
    assert_eq!(code, 1, "{said}");
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(failed.len(), 2, "the Redis and the issuer: {said}");
}

/// Three primaries and their replicas: what holds over one server holds over them, also while one of them dies.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_over_a_redis_cluster() {
    let (idp, cluster) = (Idp::start().await, RedisCluster::start().await);
    let folder = tempfile::tempdir().unwrap();
    let ring = folder.path().join("keyring");
    let (code, said) = authmesh(&["keyring", "generate", ring.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    let urls = cluster.urls();
    let a = node(&idp, &urls, &ring, "a", false).await;
    // By one address, which is not that of a primary alone: the others are found.
    let b = node(&idp, &urls[3..4], &ring, "b", false).await;
    let [alice, bob, carol] = [
        token(&idp, "alice").await,
        token(&idp, "bob").await,
        token(&idp, "carol").await,
    ];
    for token in [&alice, &bob, &carol] {
        coherent(&[&a, &b], token).await;
    }
    revoke(&a, "alice").await;
    a.verify(&alice).await.expect(401, "where it was said, at once");
    until(&b, "/", &alice, 401, 503).await;
    coherent(&[&a, &b], &carol).await;

    let (code, said, _) = a.command(&["doctor"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(", cluster, 3 primaries, 3 replicas\n"), "{said}");
    assert!(
        said.contains("everything in Redis is sealed under keys of the key ring"),
        "{said}"
    );
    let (code, said, _) = b.command(&["doctor"]);
    assert_eq!(code, 0, "{said}");

    let primary = cluster.primaries().await[0];
    cluster.kill(primary);
    // Its replica takes over. Until then a node may be blind, and never wrong.
    revoke_in_the_end(&b, "bob").await;
    recovered(&[&a, &b], &carol, &[&alice, &bob]).await;
    let late = node(&idp, &urls, &ring, "late", false).await;
    recovered(&[&late], &carol, &[&alice, &bob]).await;
    // The dead one is named; the others do.
    let (code, said, _) = a.command(&["doctor"]);
    assert_eq!(code, 0, "{said}");
    let dead = format!("127.0.0.1:{}", cluster.port(primary));
    assert!(
        said.lines()
            .any(|line| line.starts_with("warn") && line.contains(&dead)),
        "{said}"
    );
    assert!(said.contains("this primary has no replica"), "{said}");
}

/// nginx in front of a node, and a service behind.
struct Gate {
    nginx: Nginx,
    _service: Upstream,
}

impl Gate {
    async fn before(node: &Authmesh) -> Self {
        let service = Upstream::start().await;
        Self {
            nginx: Nginx::start(node.address(), service.address()).await,
            _service: service,
        }
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        send(http().get(self.nginx.url(path)).bearer_auth(token)).await
    }

    /// What its clients see in the end; `never` may not come on the way.
    async fn shows(&self, path: &str, token: &str, status: u16, never: u16) {
        eventually(&format!("{status} on {path}, through nginx"), async || {
            let answer = self.get(path, token).await;
            assert_ne!(answer.status, never, "{answer:?}");
            answer.status == status
        })
        .await;
    }
}

/// The whole of it: an identity provider, nginx before each of two nodes, and a Redis Cluster that goes away and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn clients_of_nginx_while_a_redis_cluster_comes_and_goes() {
    let (idp, cluster) = (Idp::start().await, RedisCluster::start().await);
    let folder = tempfile::tempdir().unwrap();
    let ring = folder.path().join("keyring");
    let (code, said) = authmesh(&["keyring", "generate", ring.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    let urls = cluster.urls();
    let a = node(&idp, &urls, &ring, "a", false).await;
    let b = node(&idp, &urls, &ring, "b", false).await;
    let [at_a, at_b] = [Gate::before(&a).await, Gate::before(&b).await];
    let [alice, carol] = [token(&idp, "alice").await, token(&idp, "carol").await];
    for gate in [&at_a, &at_b] {
        for token in [&alice, &carol] {
            gate.shows("/refund", token, 200, 401).await;
        }
    }

    revoke(&a, "alice").await;
    at_a.get("/", &alice).await.expect(401, "where it was said, at once");
    at_b.shows("/", &alice, 401, 503).await;

    for n in 0..urls.len() {
        cluster.pause(n);
    }
    for (node, gate) in [(&a, &at_a), (&b, &at_b)] {
        // Sensitive routes refuse as soon as the lease is over; what is revoked stays so all the while.
        gate.shows("/refund", &carol, 503, 401).await;
        is_blind(node, &carol, &alice).await;
        gate.get("/", &carol).await.expect(200, "an ordinary route goes on");
        gate.get("/", &alice).await.expect(401, "revoked");
        gate.get("/refund", &alice).await.expect(401, "revoked");
    }
    let late = node(&idp, &urls, &ring, "late", true).await;
    let at_late = Gate::before(&late).await;
    is_born_blind(&late, &carol, &alice).await;
    at_late.get("/", &carol).await.expect(503, "it has no marks");

    for n in 0..urls.len() {
        cluster.resume(n);
    }
    cluster.healthy().await;
    recovered(&[&a, &b, &late], &carol, &[&alice]).await;
    for gate in [&at_a, &at_b, &at_late] {
        gate.shows("/refund", &carol, 200, 401).await;
        gate.get("/", &alice).await.expect(401, "nothing is lost");
    }
}

/// Revokes while a commit may take longer than a receipt waits for it.
async fn revoke_in_the_end(node: &Authmesh, subject: &str) {
    let receipt = node.revoke(&json!({ "subject": subject, "why": "end to end" })).await;
    let state = receipt["state"].as_str().unwrap_or_default();
    assert!(["committed", "unconfirmed"].contains(&state), "{receipt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn development_mode_works_over_a_redis() {
    let redis = RedisServer::start(&[]).await;
    let cluster = DevCluster::start_with(2, &["--redis", &redis.url()]).await;
    let other = DevCluster::start_with(1, &["--redis", &redis.url()]).await;
    let tried = cluster.printed().try_it().await;
    assert_eq!(tried.last().unwrap().answer.status, 401, "{tried:#?}");
    let prefixes: std::collections::BTreeSet<String> = redis
        .cli(&["KEYS", "*"])
        .lines()
        .filter_map(|key| key.split(':').next().map(str::to_owned))
        .collect();
    assert_eq!(prefixes.len(), 2, "each run has keys of its own: {prefixes:?}");
    drop(other);

    let url = redis.url();
    drop(redis);
    let (code, said) = authmesh(&["serve", "--dev", "--port-base", "0", "--redis", &url]);
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("cannot be reached") && said.contains("redis-server --port"),
        "{said}"
    );
}
