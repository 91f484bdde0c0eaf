//! Redis as one line of a builder.

use authmesh::{AuthMesh, Builder, KeyRing, Rules};
use authmesh_redis::{RedisConfig, WithRedis as _};

use crate::fixture::eventually;
use crate::nodes::{ISSUER, Issuer};
use crate::server::Server;

fn builder(issuer: &Issuer) -> Builder {
    AuthMesh::builder()
        .issuer(ISSUER, issuer.keys(), Rules::for_audiences(["api"]))
        .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
}

#[tokio::test]
async fn a_wrong_url_stops_the_start_and_is_not_repeated() {
    let start = builder(&Issuer::new()).redis("http://user:s3cret@redis.test").start();
    let refused = start.await.unwrap_err();
    assert_eq!(refused.setting, "redis");
    assert!(
        refused.problem.contains("redis://") && !refused.problem.contains("s3cret"),
        "{refused}"
    );
}

/// The cluster's name may come later in the chain, and settings have it from there.
#[tokio::test]
async fn two_nodes_of_one_cluster_meet_in_redis() {
    let (server, issuer) = (Server::start().await, Issuer::new());
    let a = builder(&issuer)
        .name("a")
        .redis_with(server.config())
        .cluster("orders")
        .start()
        .await
        .unwrap();
    let settings = RedisConfig::cluster(server.config(), "another");
    let b = builder(&issuer)
        .name("b")
        .cluster("orders")
        .redis_with(settings)
        .start()
        .await
        .unwrap();
    eventually("both are members", async || {
        a.members().await.is_ok_and(|members| members.len() == 2)
    })
    .await;
    for mesh in [a, b] {
        mesh.shutdown().await;
    }
}
