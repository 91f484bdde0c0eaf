//! Gradual rollout and shadow mode, on a real node.

use authmesh::Subject;
use authmesh_tower::axum::Auth;
use authmesh_tower::{AuthLayer, Protect as _};
use axum::Router;
use axum::routing::get;
use serde_json::json;

use crate::world::{ISSUER, Server, World};

async fn served(layer: &AuthLayer) -> Server {
    Server::start(Router::new().route("/", get(async |_: Auth| "in")).layer(layer.clone())).await
}

#[tokio::test]
async fn memory_answers_its_share_and_the_others_are_verified() {
    let world = World::new().await;
    let token = world.token(json!({}));
    world.mesh.verifier().verify(&token).await.unwrap();
    for (share, verified) in [(0.0, 20), (0.5, 10), (1.0, 0)] {
        let layer = world.mesh.layer().share(share).unwrap();
        let server = served(&layer).await;
        let before = world.mesh.stats().counts;
        for _ in 0..20 {
            assert_eq!(server.get("/", &token).await.status, 200);
        }
        let after = world.mesh.stats().counts;
        let stats = layer.guard().rollout().unwrap();
        assert_eq!(stats.drawn + stats.direct, 20);
        assert!(stats.direct.abs_diff(verified) <= 1, "{share}: {stats:?}");
        assert_eq!(after.verified - before.verified, stats.direct);
        assert_eq!(after.hits - before.hits, stats.drawn);
    }
    assert!(world.mesh.layer().share(1.5).is_err());
}

#[tokio::test]
async fn in_shadow_mode_the_direct_answer_counts() {
    let world = World::new().await;
    let layer = world.mesh.layer().shadow();
    let server = served(&layer).await;
    let token = world.token(json!({}));
    let before = world.mesh.stats().counts.verified;
    for _ in 0..5 {
        assert_eq!(server.get("/", &token).await.status, 200);
    }
    assert_eq!(world.mesh.stats().counts.verified - before, 5, "every one was verified");
    let stats = layer.guard().rollout().unwrap();
    assert_eq!((stats.drawn, stats.direct), (5, 0));
    assert_eq!(
        (stats.compared, stats.differed),
        (4, 0),
        "memory had nothing for the first"
    );

    world.mesh.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
    assert_eq!(server.get("/", &token).await.problem(), "revoked");
    assert_eq!(server.get("/", &world.forged()).await.status, 401);
    assert_eq!(layer.guard().rollout().unwrap().differed, 0);
}

#[tokio::test]
async fn a_key_that_left_the_set_is_not_let_pass_by_the_shadow() {
    let world = World::new().await;
    let layer = world.mesh.layer().shadow().share(1.0).unwrap();
    let server = served(&layer).await;
    let token = world.token(json!({}));
    assert_eq!(server.get("/", &token).await.status, 200);
    world.publish_no_keys();
    world.mesh.refresh_keys(ISSUER).await.unwrap().unwrap();
    assert_eq!(
        server.get("/", &token).await.status,
        401,
        "shadow mode outlives `share`, whichever comes first"
    );
    assert_eq!(layer.guard().rollout().unwrap().drawn, 2);
}
