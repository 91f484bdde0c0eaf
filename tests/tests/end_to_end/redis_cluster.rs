//! Processes that share a real Redis Cluster of three primaries and three replicas.

use authmesh_tests::authmesh::Authmesh;
use authmesh_tests::client::{Answer, http, send};
use authmesh_tests::idp::Idp;
use authmesh_tests::nginx::Nginx;
use authmesh_tests::redis_cluster::RedisCluster;
use authmesh_tests::upstream::Upstream;
use serde_json::json;

use crate::redis::{coherent, eventually, is_blind, is_born_blind, key_ring, node, recovered, revoke, token, until};

/// Three primaries and their replicas: what holds over one server holds over them, also while one of them dies.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_over_a_redis_cluster() {
    let (idp, cluster) = (Idp::start().await, RedisCluster::start().await);
    let folder = tempfile::tempdir().unwrap();
    let ring = key_ring(&folder);
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
    let ring = key_ring(&folder);
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
