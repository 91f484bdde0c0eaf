//! A cluster that speaks TLS only, also between its nodes, and asks for certificates.

use authmesh_redis::{ConnectError, RedisAdapter, RedisConfig};
use authmesh_tests::certificates::Authority;
use authmesh_tests::redis_cluster::RedisCluster;

use super::adapter;
use crate::fixture::{commits, dropping, rings_again, subscribe};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_both_ways_and_read_again_for_each_connection() {
    let authority = Authority::new();
    let cluster = RedisCluster::start_tls(&authority).await;
    let (own, strange) = (authority.sign("client"), Authority::new());
    let urls = cluster.urls();
    let config = || RedisConfig::new(&urls[0]).unwrap().seeds(&urls[1..]).unwrap();
    let trusting = || config().ca_file(authority.certificate());

    for (why, config) in [
        ("the servers' authority is unknown", config()),
        (
            "it is another authority",
            config()
                .ca_file(strange.certificate())
                .client_certificate(&own.certificate, &own.key),
        ),
        ("the servers want a certificate", trusting()),
    ] {
        let refused = RedisAdapter::connect(config).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Unavailable(_)), "{why}: {refused}");
    }

    let links = tempfile::TempDir::new().unwrap();
    let (certificate, key) = (links.path().join("c.pem"), links.path().join("c.key"));
    std::fs::copy(&own.certificate, &certificate).unwrap();
    std::fs::copy(&own.key, &key).unwrap();
    let adapter = adapter(trusting().client_certificate(&certificate, &key)).await;
    let done = commits(&adapter, dropping(1)).await;
    assert_eq!(done.head.previous, None);
    let mut bells = subscribe(&adapter).await;
    rings_again(&adapter, &mut bells).await;

    // What is read for the next connection is the file of then.
    let strange = strange.sign("stranger");
    std::fs::copy(&strange.certificate, &certificate).unwrap();
    std::fs::copy(&strange.key, &key).unwrap();
    adapter_is_shut_out(&adapter).await;
    std::fs::copy(&own.certificate, &certificate).unwrap();
    std::fs::copy(&own.key, &key).unwrap();
    rings_again(&adapter, &mut subscribe(&adapter).await).await;
}

async fn adapter_is_shut_out(adapter: &RedisAdapter) {
    let refused = authmesh::ports::Bus::subscribe(adapter).await;
    assert!(refused.is_err(), "a new connection needs the certificate of now");
}
