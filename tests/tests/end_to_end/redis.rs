//! Processes that share a real Redis: what one is told all know, and an outage of Redis is never a verdict.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use authmesh_tests::authmesh::{Authmesh, Shared};
use authmesh_tests::dev::DevCluster;
use authmesh_tests::idp::{Idp, Order};
use authmesh_tests::process::command;
use authmesh_tests::redis_server::RedisServer;
use authmesh_tests::tools;
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
        key_ring(&world.folder);
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

#[tokio::test]
async fn marks_survive_when_every_node_is_killed_and_redis_is_emptied() {
    let world = World::new(&[]).await;
    let place = |name: &str| world.folder.path().join(format!("marks-{name}"));
    let start = async |name: &'static str| {
        let more = format!("\n[marks]\nsnapshot = \"{}\"\n", place(name).display());
        let (ring, redis) = (world.ring(), [world.redis.url()]);
        let shared = Shared {
            node: name,
            redis: &redis,
            key_ring: ring.to_str().unwrap(),
            issuer: "",
            more: &more,
            unready: false,
        };
        Authmesh::start_shared(&world.idp.issuer(), shared).await
    };
    let nodes = [start("a").await, start("b").await, start("c").await];
    let token = world.token("alice").await;
    assert_eq!(nodes[0].verify(&token).await.status, 200);
    let receipt = nodes[0].revoke(&json!({"token": token, "why": "stolen"})).await;
    assert_eq!(receipt["state"], "committed", "{receipt}");
    let until = Instant::now() + DEADLINE;
    let empty = |name| std::fs::metadata(place(name)).map_or(true, |file| file.len() < 120);
    while ["a", "b", "c"].into_iter().any(empty) {
        assert!(Instant::now() < until, "every node keeps the mark");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Killed: nobody says goodbye.
    drop(nodes);
    assert_eq!(world.redis.cli(&["FLUSHALL"]).trim(), "OK");

    let again = start("b").await;
    assert_eq!(again.verify(&token).await.status, 401);
    // It is in Redis again, for a node that has no file.
    let new = world.node("d", false).await;
    let until = Instant::now() + DEADLINE;
    while new.verify(&token).await.status != 401 {
        assert!(Instant::now() < until, "the mark came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn node(idp: &Idp, redis: &[String], ring: &Path, name: &str, unready: bool) -> Authmesh {
    let shared = Shared {
        node: name,
        redis,
        key_ring: ring.to_str().unwrap(),
        issuer: "",
        more: REFUND,
        unready,
    };
    Authmesh::start_shared(&idp.issuer(), shared).await
}

pub(crate) async fn token(idp: &Idp, client: &str) -> String {
    let order = Order {
        client,
        ..Order::default()
    };
    idp.token(order).await
}

/// A key ring of its own, in a folder.
pub(crate) fn key_ring(folder: &TempDir) -> PathBuf {
    let ring = folder.path().join("keyring");
    let (code, said) = authmesh(&["keyring", "generate", ring.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    ring
}

/// Runs a command that needs no node: its exit code and everything that it said.
pub(crate) fn authmesh(arguments: &[&str]) -> (i32, String) {
    let output = command(tools::authmesh_binary()).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
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
pub(crate) async fn until(node: &Authmesh, path: &str, token: &str, status: u16, never: u16) {
    eventually(&format!("{status} on {path}"), async || {
        let answer = node.verify_path(path, token).await;
        assert_ne!(answer.status, never, "{answer:?}");
        answer.status == status
    })
    .await;
}

/// Both are coherent: a sensitive route is answered.
pub(crate) async fn coherent(nodes: &[&Authmesh], token: &str) {
    for node in nodes {
        until(node, "/refund", token, 200, 401).await;
    }
}

pub(crate) async fn revoke(node: &Authmesh, subject: &str) {
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
pub(crate) async fn is_blind(node: &Authmesh, good: &str, revoked: &str) {
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
pub(crate) async fn is_born_blind(node: &Authmesh, good: &str, revoked: &str) {
    assert_eq!(node.get("/readyz").await.status, 503);
    for token in [good, revoked] {
        for path in ["/", "/refund"] {
            node.verify_path(path, token).await.expect(503, "it has no marks");
        }
    }
}

pub(crate) async fn recovered(nodes: &[&Authmesh], good: &str, revoked: &[&str]) {
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
    eventually("the new ring is in use", async || {
        a.process().log().contains("the key ring was read again")
    })
    .await;
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
