//! Bad input, end to end: refused with a reason, never a guess; nothing leaks, others are not disturbed.

use authmesh_tower::axum::Auth;
use authmesh_tower::{Protect as _, RoutePolicy, TokenSource};
use axum::Router;
use axum::routing::{get, post};
use serde_json::json;

use crate::world::{Server, World};

#[tokio::test]
async fn what_would_need_a_guess_is_refused_with_a_reason() {
    let world = World::new().await;
    let source = TokenSource::header()
        .or_cookie("session")
        .or_websocket()
        .danger_or_query("access_token");
    let app = Router::new()
        .route("/", get(async |_: Auth| "in"))
        .layer(world.mesh.layer().token_source(source));
    let server = Server::start(app).await;
    authmesh_tests::guesses::check(server.address, &world.token(json!({}))).await;
}

#[tokio::test]
async fn a_handler_that_panics_disturbs_nobody() {
    let world = World::new().await;
    let app = Router::new()
        .route(
            "/panic",
            get(async |auth: Auth| -> String { panic!("as {:?}", auth.subject()) }),
        )
        .route("/", get(async |_: Auth| "in"))
        .layer(world.mesh.layer());
    let server = Server::start(app).await;
    let token = world.token(json!({}));
    for _ in 0..3 {
        let mut stream = server
            .send("GET /panic", &[("authorization", &format!("Bearer {token}"))])
            .await;
        let mut bytes = Vec::new();
        // The connection ends without an answer.
        let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes);
        let _ = crate::world::soon("the connection ends", read).await;
        assert!(bytes.is_empty());
        assert_eq!(server.get("/", &token).await.body, "in");
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_disturbs_nobody() {
    let world = World::new().await;
    let app = Router::new()
        .route("/", post(async |_: Auth| "in"))
        .layer(world.mesh.layer());
    let server = Server::start(app).await;
    let good = format!("Bearer {}", world.token(json!({})));
    let forged = format!("Bearer {}", world.forged());
    let long = [("content-length", "1048576"), ("connection", "close")];
    for (authorization, status) in [(&good, "200"), (&forged, "401"), (&good, "200")] {
        // A MiB is announced, and the first bytes of it never come.
        let mut stream = server
            .send("POST /", &[&long[..], &[("authorization", authorization)]].concat())
            .await;
        let mut head = [0; 12];
        let read = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut head);
        crate::world::soon("the answer comes without the body", read)
            .await
            .unwrap();
        assert_eq!(&head[9..], status.as_bytes());
    }
}

#[tokio::test]
async fn an_extractor_without_a_layer_passes_nobody() {
    let world = World::new().await;
    let app = Router::new()
        .route("/before", get(async |_: Auth| "in"))
        .layer(world.mesh.layer())
        // Added after the layer: not behind it.
        .route("/after", get(async |_: Auth| "in"))
        .route("/option", get(async |_: Option<Auth>| "in"));
    let server = Server::start(app).await;
    let token = world.token(json!({}));
    assert_eq!(server.get("/before", &token).await.body, "in");
    for path in ["/after", "/option"] {
        let reply = server.get(path, &token).await;
        assert_eq!((reply.status, &*reply.problem()), (500, "not-protected"), "{path}");
    }
}

#[tokio::test]
async fn the_order_of_nested_layers_changes_nothing() {
    let world = World::new().await;
    let plain = || world.mesh.layer();
    let strict = || {
        plain()
            .policy(RoutePolicy::authenticated().scopes_all(["orders:write"]))
            .unwrap()
    };
    let open = || plain().policy(RoutePolicy::public()).unwrap();
    let lax = || plain().optional().unwrap();
    let handler = || get(async |_: Auth| "in");
    let app = Router::new()
        .route("/1", handler().layer((open(), plain(), strict())))
        .route("/2", handler().layer((lax(), strict(), plain())))
        .route("/3", handler().layer((strict(), lax(), open())))
        .route("/4", handler().layer((open(), strict(), lax())));
    let server = Server::start(app).await;
    let (writer, reader) = (world.token(json!({"scope": "orders:write"})), world.token(json!({})));
    for path in ["/1", "/2", "/3", "/4"] {
        assert_eq!(server.get(path, &writer).await.body, "in", "{path}");
        assert_eq!(
            server.get(path, &reader).await.problem(),
            "insufficient-scope",
            "{path}"
        );
        assert_eq!(
            server.ask(&format!("GET {path}"), &[]).await.problem(),
            "no-credential",
            "{path}"
        );
    }
}
