//! WebSockets whose token comes as a sub-protocol.

use authmesh::Subject;
use authmesh_tower::axum::Auth;
use authmesh_tower::{Protect as _, TokenSource};
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::any;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::world::{ISSUER, Server, World, soon};

const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");

async fn open(server: &Server, path: &str, protocols: &str) -> (String, TcpStream) {
    let upgrade = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        KEY,
    ];
    let headers = [&upgrade[..], &[("sec-websocket-protocol", protocols)]].concat();
    let mut stream = server.send(&format!("GET {path}"), &headers).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("the head of the answer", stream.read_u8()).await.unwrap());
    }
    (String::from_utf8(head).unwrap().to_ascii_lowercase(), stream)
}

#[tokio::test]
async fn a_socket_opens_with_a_token_and_closes_when_that_is_revoked() {
    let world = World::new().await;
    let feed = async |auth: Auth, upgrade: WebSocketUpgrade| {
        upgrade.protocols(["feed.v1"]).on_upgrade(async move |mut socket| {
            let hello = format!("hello {}", auth.subject().unwrap());
            socket.send(hello.into()).await.unwrap();
            let ended = auth.answer().revoked().await;
            socket.send(ended.code().into()).await.unwrap();
        })
    };
    let app = Router::new()
        .route("/feed", any(feed))
        .layer(world.mesh.layer().token_source(TokenSource::header().or_websocket()));
    let server = Server::start(app).await;
    let token = world.token(json!({}));

    let (head, mut socket) = open(&server, "/feed", &format!("bearer, {token}, feed.v1")).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-protocol: feed.v1\r\n"), "{head}");
    let mut frame = [0; 13];
    soon("the first frame", socket.read_exact(&mut frame)).await.unwrap();
    assert_eq!(&frame[2..], b"hello alice");
    world.mesh.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
    let mut rest = Vec::new();
    soon("the socket closes", socket.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.windows(7).any(|part| part == b"revoked"), "{rest:?}");

    let (head, _) = open(&server, "/feed", &format!("bearer, {token}, feed.v1")).await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    let (head, _) = open(&server, "/feed", "feed.v1").await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
}

#[tokio::test]
async fn the_token_is_never_the_protocol_that_is_chosen() {
    let world = World::new().await;
    let careless = async |_: Auth, request: axum::extract::Request| {
        let offered = request.headers()["sec-websocket-protocol"].to_str().unwrap();
        let token = offered.split(", ").nth(1).unwrap().to_owned();
        (http::StatusCode::OK, [("sec-websocket-protocol", token)])
    };
    let source = TokenSource::header().or_websocket();
    let app = Router::new()
        .route("/", any(careless))
        .layer(world.mesh.layer().token_source(source));
    let server = Server::start(app).await;
    let protocols = format!("bearer, {}", world.token(json!({})));
    for _ in 0..2 {
        let reply = server.ask("GET /", &[("sec-websocket-protocol", &protocols)]).await;
        assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (200, None));
    }
}
