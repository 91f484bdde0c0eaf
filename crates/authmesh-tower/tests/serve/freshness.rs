//! Handlers and layers that demand proof of freshness: while the node is blind, and when a provider has changed its mind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use authmesh::clock::ManualClock;
use authmesh::memory::{Cluster, FixedKeys, Limits};
use authmesh::ports::{ActiveToken, BoxFuture, TokenSource as Provider, TokenState, UpstreamError};
use authmesh::proto::time::{Moment, Now};
use authmesh::{AuthMesh, KeyRing, Rules, UpstreamRules};
use authmesh_tower::axum::{Auth, Fresh, FreshWithin};
use authmesh_tower::{AuthExt as _, Protect as _, RoutePolicy};
use aws_lc_rs::signature::Ed25519KeyPair;
use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use serde_json::json;

use crate::world::{ISSUER, Server, World, document, now};

/// A node of a cluster that can be taken away from it, and its clock.
async fn clustered() -> (World, Cluster, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Now {
        boot: Moment::ORIGIN.plus(Duration::from_secs(5000)),
        wall: now(),
    }));
    let cluster = Cluster::with(Limits::default(), Arc::clone(&clock) as _);
    let pair = Ed25519KeyPair::generate().unwrap();
    let keys = Arc::new(FixedKeys::new(document(&pair)));
    let mesh = AuthMesh::builder()
        .name("a")
        .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
        .clock(Arc::clone(&clock) as _)
        .join(Arc::new(cluster.clone()))
        .issuer(ISSUER, Arc::clone(&keys) as _, Rules::for_audiences(["api"]))
        .start()
        .await
        .unwrap();
    (World::of(mesh, pair, keys), cluster, clock)
}

#[tokio::test]
async fn what_demands_freshness_is_refused_while_the_node_is_blind() {
    let (world, cluster, clock) = clustered().await;
    let strict = world
        .mesh
        .layer()
        .policy(RoutePolicy::authenticated().sensitive())
        .unwrap();
    let app = Router::new()
        .route("/", get(async |auth: Auth| auth.answer().outcome.as_str()))
        .route("/fresh", get(async |_: Fresh| "in"))
        .route("/within", get(async |_: FreshWithin<60>| "in"))
        .route("/sensitive", get(async || "in").layer(strict))
        .layer(world.mesh.layer());
    let server = Server::start(app).await;
    let token = world.token(json!({}));
    for path in ["/", "/fresh", "/within", "/sensitive"] {
        assert_eq!(server.get(path, &token).await.status, 200, "{path}");
    }
    cluster.set_up(false);
    clock.advance(Duration::from_secs(3));
    assert_eq!(server.get("/", &token).await.body, "blind");
    for path in ["/fresh", "/within", "/sensitive"] {
        let reply = server.get(path, &token).await;
        assert_eq!((reply.status, &*reply.problem()), (503, "blind"), "{path}");
        assert!(reply.header("retry-after").is_some() && reply.header("www-authenticate").is_none());
    }
}

#[tokio::test]
async fn a_check_that_is_too_old_is_made_again() {
    let (world, _cluster, clock) = clustered().await;
    let age = async |auth: Auth| auth.answer().age.as_secs().to_string();
    let hour = RoutePolicy::authenticated().max_age(Duration::from_secs(100));
    let app = Router::new()
        .route("/", get(age))
        .route(
            "/within",
            get(async |auth: FreshWithin<60>| auth.answer().age.as_secs().to_string()),
        )
        .route("/policy", get(age).layer(world.mesh.layer().policy(hour).unwrap()))
        .layer(world.mesh.layer());
    let server = Server::start(app).await;
    let token = world.token(json!({}));
    for (advance, path, age) in [
        (0, "/", "0"),
        (59, "/within", "59"),
        (1, "/within", "0"),
        (99, "/policy", "99"),
        (1, "/policy", "0"),
    ] {
        // Short steps: the node follows its cluster by the runtime's clock, and would be blind after a long one.
        clock.advance(Duration::from_secs(advance));
        crate::world::eventually("the node is coherent", || world.mesh.health().coherent).await;
        assert_eq!(server.get(path, &token).await.body, age, "{path}");
    }
}

#[tokio::test]
async fn the_strictest_layer_judges_what_is_asked_later() {
    let (world, cluster, clock) = clustered().await;
    let later = async move |request: Request| {
        assert!(request.auth().is_ok());
        cluster.set_up(false);
        clock.advance(Duration::from_secs(3));
        request.auth().map_or_else(
            |refused| format!("refused: {}", refused.problem()),
            |answer| answer.outcome.to_string(),
        )
    };
    let strict = || {
        world
            .mesh
            .layer()
            .policy(RoutePolicy::authenticated().sensitive())
            .unwrap()
    };
    let app = Router::new()
        .route("/", get(later).layer((strict(), world.mesh.layer())))
        .layer(world.mesh.layer());
    let server = Server::start(app).await;
    assert_eq!(server.get("/", &world.token(json!({}))).await.body, "refused: blind");
    let (world, cluster, clock) = clustered().await;
    let lax = async move |request: Request| {
        assert!(request.auth().is_ok());
        cluster.set_up(false);
        clock.advance(Duration::from_secs(3));
        request.auth().map_or_else(
            |_| "refused".to_owned(),
            |answer| format!("{} for {:?}", answer.outcome, answer.blind_for),
        )
    };
    let app = Router::new().route("/", get(lax)).layer(world.mesh.layer());
    let server = Server::start(app).await;
    let told = server.get("/", &world.token(json!({}))).await.body;
    assert_eq!(told, "blind for Some(0ns)", "an answer, where no layer is strict");
}

/// A provider that takes a scope away.
#[derive(Debug, Default)]
struct Fickle {
    taken: AtomicBool,
}

impl Provider for Fickle {
    fn ask<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<TokenState, UpstreamError>> {
        let scopes = if self.taken.load(Ordering::SeqCst) {
            vec![]
        } else {
            vec!["orders:write".to_owned()]
        };
        let active = ActiveToken {
            subject: Some("alice".into()),
            audiences: Some(vec!["api".into()]),
            scopes,
            issued_at: Some(now() - 10),
            expires_at: Some(now() + 600),
            claims: b"{}".to_vec(),
            ..ActiveToken::default()
        };
        Box::pin(async { Ok(TokenState::Active(Box::new(active))) })
    }

    fn identity(&self) -> String {
        "a fickle provider".into()
    }
}

#[tokio::test]
async fn a_newer_answer_must_meet_the_demands_as_well() {
    let provider = Arc::new(Fickle::default());
    let rules = UpstreamRules::new(Rules::for_audiences(["api"]).opaque(true));
    let mesh = AuthMesh::builder()
        .upstream("https://idp.test", Arc::clone(&provider) as _, rules)
        .start()
        .await
        .unwrap();
    let write = RoutePolicy::authenticated().scopes_all(["orders:write"]);
    let app = Router::new()
        .route("/", get(async |_: Auth| "in"))
        .route("/fresh", get(async |_: Fresh| "in"))
        .layer(mesh.layer().policy(write).unwrap());
    let server = Server::start(app).await;
    for path in ["/", "/fresh"] {
        assert_eq!(server.get(path, "opaque").await.body, "in", "{path}");
    }
    provider.taken.store(true, Ordering::SeqCst);
    assert_eq!(
        server.get("/", "opaque").await.body,
        "in",
        "the answer of before still counts"
    );
    let reply = server.get("/fresh", "opaque").await;
    assert_eq!((reply.status, &*reply.problem()), (403, "insufficient-scope"));
}
