//! Processes that talk to each other directly: without any Redis, and while theirs is away.

use std::time::Duration;

use authmesh_tests::authmesh::{Authmesh, Shared};
use authmesh_tests::dev::DevCluster;
use authmesh_tests::idp::Idp;
use authmesh_tests::ports::Port;
use authmesh_tests::redis_server::RedisServer;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::redis::{coherent, eventually, is_blind, is_born_blind, key_ring, recovered, token};

/// An ordinary route is everything; this one is sensitive.
const REFUND: &str = "\n[[routes]]\npath = \"/refund\"\nsensitive = true\n";

/// How long a node may take to end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// Exit code of a node that the others have forgotten.
const FORGOTTEN: i32 = 3;

/// Three nodes, each with a port for gossip that stays its own.
struct World {
    idp: Idp,
    redis: Option<RedisServer>,
    folder: TempDir,
    ports: [Port; 3],
}

impl World {
    async fn new(redis: Option<RedisServer>) -> Self {
        let world = Self {
            idp: Idp::start().await,
            redis,
            folder: tempfile::tempdir().unwrap(),
            ports: [Port::reserve(), Port::reserve(), Port::reserve()],
        };
        key_ring(&world.folder);
        world
    }

    /// Starts a node; it is ready once it has found the others.
    async fn node(&self, at: usize) -> Authmesh {
        let redis: Vec<String> = self.redis.iter().map(RedisServer::url).collect();
        // Their own address is among them, as that of a headless service is.
        let seeds: Vec<String> = self.ports.iter().map(|port| port.address().to_string()).collect();
        let (seeds, expect) = match redis.is_empty() {
            true => (format!("seeds = {seeds:?}\n"), "expect = 3\n"),
            // Found by their registration.
            false => (String::new(), ""),
        };
        let bind = self.ports[at].address();
        let ring = self.folder.path().join("keyring");
        let shared = Shared {
            node: ["a", "b", "c"][at],
            redis: &redis,
            key_ring: ring.to_str().unwrap(),
            issuer: "",
            more: &format!("\n[gossip]\nbind = \"{bind}\"\n{seeds}{expect}{REFUND}"),
            unready: true,
        };
        Authmesh::start_shared(&self.idp.issuer(), shared).await
    }

    async fn nodes(&self) -> [Authmesh; 3] {
        tokio::join!(self.node(0), self.node(1), self.node(2)).into()
    }

    async fn token(&self, client: &str) -> String {
        token(&self.idp, client).await
    }
}

async fn ask(node: &Authmesh, path: &str) -> Value {
    node.admin(Method::GET, path, None).await.expect(200, path).json()
}

/// The row of a member by its name, as a node lists it; `Null` where it lists none, or several.
async fn member(node: &Authmesh, name: &str) -> Value {
    let list = ask(node, "/v1/members").await;
    let mut rows = list["members"].as_array().unwrap().iter();
    let row = rows.find(|row| row["node"] == name).cloned();
    if rows.any(|row| row["node"] == name) {
        return Value::Null;
    }
    row.unwrap_or_default()
}

/// Names in a list of confirmers.
fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|member| member["node"].as_str().unwrap()).collect()
}

/// Every node has taken in the two others.
async fn whole(nodes: &[&Authmesh], good: &str) {
    coherent(nodes, good).await;
    for node in nodes {
        eventually("every node has every other in its view", async || {
            let health = ask(node, "/v1/health").await;
            health["gossip"]["members"] == 2 && health["gossip"]["coherent_by_gossip"] == true
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_processes_without_redis_are_one_cluster_and_wait_for_one_that_died_until_it_is_forgotten() {
    let world = World::new(None).await;
    let [alice, carol] = [world.token("alice").await, world.token("carol").await];

    // Two of three are no cluster yet.
    let (a, b) = tokio::join!(world.node(0), world.node(1));
    for node in [&a, &b] {
        eventually("the other one is found", async || {
            ask(node, "/v1/stats").await["gossip"]["up"] == 1
        })
        .await;
        is_born_blind(node, &carol, &alice).await;
    }
    let mut c = world.node(2).await;
    whole(&[&a, &b, &c], &carol).await;
    coherent(&[&a, &b, &c], &alice).await;

    let (code, said, error) = a.command(&[
        "revoke",
        "--subject",
        "alice",
        "--why",
        "end to end",
        "--confirm",
        "all-live",
        "--deadline",
        "20s",
    ]);
    assert_eq!(code, 0, "{said}{error}");
    assert!(said.contains("  has it   b, c\n"), "{said}");
    for node in [&a, &b, &c] {
        node.verify(&alice).await.expect(401, "confirmed by every node");
    }

    c.process().kill();
    for node in [&a, &b] {
        is_blind(node, &carol, &alice).await;
        eventually("c is given up", async || member(node, "c").await["live"] == false).await;
        let row = member(node, "c").await;
        assert_eq!((&row["in_view"], &row["found"]), (&json!(true), &json!(false)), "{row}");
    }
    let receipt = a
        .revoke(&json!({ "subject": "dave", "wait_for": "all_live", "deadline_seconds": 0.2 }))
        .await;
    assert_eq!(receipt["state"], "unconfirmed", "{receipt}");
    assert!(names(&receipt["missing"]).contains(&"c"), "{receipt}");

    // A slip is harmless.
    let (code, said, error) = a.command(&["members", "forget", "b", "--yes"]);
    assert_eq!(code, 1, "{said}{error}");
    assert!(said.contains("b (") && said.contains("is live"), "{said}");
    let (code, said, error) = a.command(&["members", "forget", "a", "--yes"]);
    assert_eq!(code, 1, "{said}{error}");

    let (code, said, error) = a.command(&["members", "forget", "c", "--yes"]);
    assert_eq!(code, 0, "{said}{error}");
    assert!(said.starts_with("forgotten: c ("), "{said}");
    recovered(&[&a, &b], &carol, &[&alice]).await;
    for node in [&a, &b] {
        eventually("c is in no view", async || member(node, "c").await.is_null()).await;
        let (code, status, error) = node.command(&["status"]);
        assert_eq!(code, 0, "{status}{error}");
        assert!(status.contains("  lease    by gossip\n"), "{status}");
        assert!(status.contains("  view     1 other member, 1 found"), "{status}");
    }

    // Started anew, at the same address and with the same name, it joins as another.
    let mut c = world.node(2).await;
    whole(&[&a, &b, &c], &carol).await;
    c.verify(&alice).await.expect(401, "revoked before it was born");

    // And so it takes its own former place, where nobody has forgotten it.
    c.process().kill();
    is_blind(&a, &carol, &alice).await;
    let c = world.node(2).await;
    whole(&[&a, &b, &c], &carol).await;
    c.verify(&alice).await.expect(401, "revoked before it was born");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_forgotten_while_it_stood_still_ends_and_says_so() {
    let world = World::new(None).await;
    let [a, b, mut c] = world.nodes().await;
    let carol = world.token("carol").await;
    whole(&[&a, &b, &c], &carol).await;

    c.process().signal("STOP");
    eventually("c is given up", async || member(&a, "c").await["live"] == false).await;
    let (code, said, error) = a.command(&["members", "forget", "c", "--yes"]);
    assert_eq!(code, 0, "{said}{error}");
    recovered(&[&a, &b], &carol, &[]).await;

    c.process().signal("CONT");
    let ended = c.process().ended(ENDS_WITHIN).await;
    assert_eq!(ended.code(), Some(FORGOTTEN), "{}", c.process().log());
    assert!(c.process().log().contains("the other nodes have forgotten this one"));

    // The supervisor starts it anew.
    let c = world.node(2).await;
    whole(&[&a, &b, &c], &carol).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_gossip_keeps_the_nodes_coherent_and_revocations_reach_all_of_them() {
    let world = World::new(Some(RedisServer::start(&[]).await)).await;
    let nodes = world.nodes().await;
    let [a, b, c] = &nodes;
    let [alice, bob, carol] = [
        world.token("alice").await,
        world.token("bob").await,
        world.token("carol").await,
    ];
    whole(&[a, b, c], &carol).await;
    coherent(&[a, b, c], &bob).await;
    let receipt = a.revoke(&json!({ "subject": "alice", "wait_for": "all_live" })).await;
    assert_eq!(receipt["state"], "committed", "{receipt}");
    assert_eq!(receipt["single_copy"], false, "{receipt}");

    let redis = world.redis.as_ref().unwrap();
    redis.freeze();
    // More than three leases long.
    eventually("nobody has a proof by Redis any more", async || {
        let mut all = true;
        for node in [a, b, c] {
            node.verify_path("/refund", &carol)
                .await
                .expect(200, "coherent by gossip, all the time");
            let gossip = &ask(node, "/v1/health").await["gossip"];
            all &= gossip["redis_proof_age_seconds"].as_u64().unwrap() >= 10;
        }
        all
    })
    .await;
    let (code, status, error) = b.command(&["status"]);
    assert_eq!(code, 0, "{status}{error}");
    assert!(
        status.contains("  lease    by gossip, newest proof by Redis"),
        "{status}"
    );

    let receipt = a
        .revoke(&json!({ "subject": "bob", "wait_for": "all_live", "deadline_seconds": 20 }))
        .await;
    assert_eq!(receipt["state"], "committed", "the whole view has it: {receipt}");
    assert_eq!(names(&receipt["confirmed_by"]), ["b", "c"], "{receipt}");
    for node in [a, b, c] {
        for token in [&alice, &bob] {
            node.verify(token).await.expect(401, "confirmed by every node");
        }
    }
    assert_eq!(ask(a, "/v1/stats").await["outbox"], 1, "it waits for the log");

    redis.thaw();
    eventually("it stands in the log", async || {
        ask(a, "/v1/stats").await["outbox"] == 0
    })
    .await;
    eventually("Redis holds both marks", async || {
        let (_, said, _) = b.command(&["keyring", "status"]);
        let seals = said.lines().find(|line| line.contains("seals"));
        // key, use, marks, ...
        seals.and_then(|row| row.split_whitespace().nth(2)) == Some("2")
    })
    .await;
    recovered(&[a, b, c], &carol, &[&alice, &bob]).await;
    eventually("the lease by Redis is there again", async || {
        ask(a, "/v1/health").await["gossip"]["coherent_by_redis"] == true
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_development_mode_gossip_unless_they_are_told_not_to() {
    for (arguments, gossips) in [(&[][..], true), (&["--no-gossip"][..], false)] {
        let mut cluster = DevCluster::start_with(2, arguments).await;
        let said = cluster.process().log();
        assert_eq!(
            said.contains("2 nodes in one process, in-memory L2, gossip"),
            gossips,
            "{said}"
        );
        for tried in cluster.printed().try_it().await {
            let expected: u16 = tried.promise().split([' ', ',']).next().unwrap().parse().unwrap();
            assert_eq!(tried.answer.status, expected, "{tried:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_without_redis_and_without_a_number_of_founders_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ring = key_ring(&folder);
    let file = folder.path().join("authmesh.toml");
    let text = format!(
        "[[issuers]]\nurl = \"https://login.example.com\"\naudience = \"orders-api\"\n[cluster]\nkey_ring_file = {:?}\n\
         [gossip]\nbind = \"127.0.0.1:7946\"\nseeds = \"127.0.0.1:7947\"\n",
        ring.to_str().unwrap()
    );
    std::fs::write(&file, text).unwrap();
    let (code, said) = super::redis::authmesh(&["config", "check", file.to_str().unwrap()]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(":7: gossip.expect is missing: without Redis"), "{said}");
}
