//! What the layer owes the services and the clients on both of its sides.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use authmesh::memory::FixedKeys;
use authmesh::ports::{BoxFuture, Fetched, KeyFetch, KeySource, UpstreamError};
use authmesh_tower::axum::Auth;
use authmesh_tower::{Protect as _, RequestScope, TokenSource};
use aws_lc_rs::signature::Ed25519KeyPair;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use http::Response;
use serde_json::json;
use tokio::sync::watch;
use tower::{Layer as _, Service, ServiceExt as _};

use crate::world::{DEADLINE, Server, World, document, soon};

/// A service that may only be called when it has said that it is ready, once for each time, as `tower::Service` says.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<http::Request<String>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<String>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        assert!(request.extensions().get::<RequestScope>().is_some());
        ready(Ok(Response::new(request.into_body())))
    }
}

fn request(bearer: &str) -> http::Request<String> {
    let request = http::Request::builder().header("authorization", format!("Bearer {bearer}"));
    request.body("the body".into()).unwrap()
}

#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let world = World::new().await;
    let mut service = world.mesh.layer().layer(Strict::default());
    let token = world.token(json!({}));
    // The first is verified, the others come from memory; a refused one uses up nothing.
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(request(&token)).await.unwrap();
        assert_eq!(response.status(), 200);
        let refused = service
            .ready()
            .await
            .unwrap()
            .call(request(&world.forged()))
            .await
            .unwrap();
        assert_eq!(refused.status(), 401);
    }
    let counts = world.mesh.stats().counts;
    assert_eq!((counts.verified, counts.hits), (1, 2));
}

#[tokio::test]
async fn a_hit_is_answered_at_the_first_poll() {
    let world = World::new().await;
    let mut service = world.mesh.layer().layer(Strict::default());
    let token = world.token(json!({}));
    world.mesh.verifier().verify(&token).await.unwrap();
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(service.poll_ready(&mut context).is_ready());
    let future = std::pin::pin!(service.call(request(&token)));
    assert!(future.poll(&mut context).is_ready());
}

#[tokio::test]
async fn a_token_stands_in_no_debug_output_behind_the_layer() {
    let world = World::new().await;
    let token = world.token(json!({}));
    let source = TokenSource::header().or_cookie("session").or_websocket();
    let show = async |request: Request| {
        format!(
            "{:?} {:?}",
            request.headers(),
            request.extensions().get::<RequestScope>()
        )
    };
    let app = Router::new()
        .route("/", get(show))
        .layer(world.mesh.layer().token_source(source));
    let server = Server::start(app).await;
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("cookie", format!("session={token}")),
        ("sec-websocket-protocol", format!("bearer, {token}")),
    ] {
        let reply = server.ask("GET /", &[(name, &value)]).await;
        assert_eq!(reply.status, 200);
        assert!(
            reply.body.contains("Sensitive") && !reply.body.contains(&token),
            "{}",
            reply.body
        );
    }
}

/// Keys that come when they are let go.
#[derive(Debug)]
struct HeldKeys {
    keys: FixedKeys,
    open: watch::Sender<bool>,
    asked: watch::Sender<usize>,
}

impl KeySource for HeldKeys {
    fn fetch(&self, request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>> {
        Box::pin(async move {
            self.asked.send_modify(|n| *n += 1);
            self.open.subscribe().wait_for(|open| *open).await.unwrap();
            self.keys.fetch(request).await
        })
    }
}

/// Counts itself at its end.
struct Open(Arc<watch::Sender<usize>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_while_its_token_is_verified_disturbs_nobody() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let keys = Arc::new(HeldKeys {
        keys: FixedKeys::new(document(&pair)),
        open: watch::Sender::new(false),
        asked: watch::Sender::new(0),
    });
    let world = World::with(pair, Arc::clone(&keys) as _).await;
    let open = Arc::new(watch::Sender::new(0_usize));
    let (counted, handled) = (Arc::clone(&open), Arc::new(AtomicUsize::new(0)));
    let count = from_fn(move |request: Request, next: Next| {
        counted.send_modify(|n| *n += 1);
        let open = Open(Arc::clone(&counted));
        async move {
            let _open = open;
            next.run(request).await
        }
    });
    let handler = {
        let handled = Arc::clone(&handled);
        async move |auth: Auth| {
            handled.fetch_add(1, Ordering::Relaxed);
            auth.subject().unwrap().to_owned()
        }
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(world.mesh.layer())
        .layer(count);
    let server = Server::start(app).await;

    let gone = format!("Bearer {}", world.token(json!({"sub": "gone"})));
    let stays = world.token(json!({"sub": "stays"}));
    let gone = server.send("GET /", &[("authorization", &gone)]).await;
    let stays = async { server.get("/", &stays).await };
    let leave = async {
        let mut requests = open.subscribe();
        soon("both are in", requests.wait_for(|n| *n == 2)).await.unwrap();
        soon("keys are asked for", keys.asked.subscribe().wait_for(|n| *n > 0))
            .await
            .unwrap();
        drop(gone);
        soon("the request of the one that went ends", requests.wait_for(|n| *n == 1))
            .await
            .unwrap();
        keys.open.send_replace(true);
    };
    let (reply, ()) = tokio::time::timeout(DEADLINE, async { tokio::join!(stays, leave) })
        .await
        .unwrap();
    assert_eq!((reply.status, &*reply.body), (200, "stays"));
    assert_eq!(*keys.asked.borrow(), 1, "both waited for one fetch");
    assert_eq!(handled.load(Ordering::Relaxed), 1);
    soon("nothing is left over", open.subscribe().wait_for(|n| *n == 0))
        .await
        .unwrap();
}
