//! The example that needs a Redis Cluster with TLS: a real one.

use std::time::{Duration, Instant};

use authmesh_examples::Login;
use authmesh_testkit::TestIssuer;
use authmesh_tests::certificates::Authority;
use authmesh_tests::redis_cluster::RedisCluster;

use crate::{Example, redis_tls};

/// Far more than a node needs, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(60);

/// Asks until the answer has this status.
async fn until(app: &Example, token: &str, status: u16) {
    let started = Instant::now();
    loop {
        let answer = app.get("/", token).await;
        if answer.status == status {
            return;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "not {status} in time, but {}: {}",
            answer.status,
            answer.body
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_hears_the_other_knows() {
    let authority = Authority::new();
    let cluster = RedisCluster::start_tls(&authority).await;
    let own = authority.sign("client");
    let folder = tempfile::tempdir().unwrap();
    let ring = folder.path().join("ring.toml");
    std::fs::write(&ring, RING).unwrap();
    let redis = redis_tls::Redis {
        urls: cluster.urls(),
        ca: Some(authority.certificate().to_owned()),
        client: Some((own.certificate.clone(), own.key.clone())),
        ring,
    };
    let issuer = TestIssuer::new();
    let login = Login::Embedded(issuer.clone());
    let (a, b) = (
        Example::start(|listener| redis_tls::run(redis.clone(), login.clone(), listener)).await,
        Example::start(|listener| redis_tls::run(redis.clone(), login.clone(), listener)).await,
    );
    let (alice, bob) = (issuer.token("alice"), issuer.token("bob"));
    for app in [&a, &b] {
        until(app, &alice, 200).await;
        until(app, &bob, 200).await;
    }
    a.post("/sign-out", &alice).await.expect(204, "it is said");
    a.get("/", &alice).await.expect(401, "where it was said, at once");
    until(&b, &alice, 401).await;
    until(&b, &bob, 200).await;
}

/// Known to everybody: good for a test.
const RING: &str = r#"
naming = "GhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGho="
sealing = ["KysrKysrKysrKysrKysrKysrKysrKysrKysrKysrKys="]
"#;
