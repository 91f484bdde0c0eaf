//! Bound tokens through a real server: DPoP (RFC 9449) and client certificates (RFC 8705).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use authmesh::Policy;
use authmesh_tower::axum::{Auth, Fresh};
use authmesh_tower::{AuthLayer, CertificateThumbprint, Protect as _, RoutePolicy};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::routing::get;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::world::{Server, World};

const ORIGIN: &str = "https://api.example.com";

/// A client with a key of its own.
struct Client(Ed25519KeyPair);

impl Client {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(self.0.public_key())})
    }

    fn cnf(&self) -> Value {
        json!({ "jkt": sha256(&self.jwk().to_string()) })
    }

    fn proof(&self, token: &str, method: &str, uri: &str, more: Value) -> String {
        static JTI: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let jti = JTI.fetch_add(1, Ordering::Relaxed).to_string();
        let mut claims = json!({"jti": jti, "htm": method, "htu": uri, "iat": now, "ath": sha256(token)});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": self.jwk()});
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(input.as_bytes())))
    }
}

fn sha256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// The status, and the name of the problem of a refusal.
async fn dpop(server: &Server, line: &str, token: &str, proofs: &[&str]) -> (u16, String) {
    let scheme = format!("DPoP {token}");
    let mut headers = vec![("authorization", scheme.as_str())];
    headers.extend(proofs.iter().map(|proof| ("dpop", *proof)));
    let reply = server.ask(line, &headers).await;
    let problem = if reply.status == 200 {
        reply.body.clone()
    } else {
        reply.problem()
    };
    (reply.status, problem)
}

fn accepted() -> (u16, String) {
    (200, "in".to_owned())
}

fn refused(problem: &str) -> (u16, String) {
    (401, problem.to_owned())
}

fn layer(world: &World) -> AuthLayer {
    world
        .mesh
        .layer()
        .origins([ORIGIN, "https://other.example.com"])
        .unwrap()
}

#[tokio::test]
async fn a_bound_token_passes_with_its_proof_and_with_nothing_else() {
    let world = World::new().await;
    let app = Router::new()
        .route("/orders", get(async |_: Auth| "in").post(async |_: Auth| "in"))
        .layer(layer(&world));
    let server = Server::start(app).await;
    let client = Client::new();
    let token = world.token(json!({ "cnf": client.cnf() }));
    let uri = format!("{ORIGIN}/orders");
    // The first round is verified, the others are from memory.
    for _ in 0..3 {
        let proof = client.proof(&token, "GET", &uri, json!({}));
        assert_eq!(dpop(&server, "GET /orders?page=2", &token, &[&proof]).await, accepted());
        let again = dpop(&server, "GET /orders", &token, &[&proof]).await;
        assert_eq!(again, refused("invalid-dpop-proof"), "it counts once");
        let fresh = || client.proof(&token, "GET", &uri, json!({}));
        assert_eq!(
            dpop(&server, "POST /orders", &token, &[&fresh()]).await,
            refused("invalid-dpop-proof")
        );
        assert_eq!(
            dpop(&server, "GET /orders", &token, &[]).await,
            refused("invalid-dpop-proof")
        );
        let two = dpop(&server, "GET /orders", &token, &[&fresh(), &fresh()]).await;
        assert_eq!(two, refused("invalid-dpop-proof"));
        let foreign = Client::new().proof(&token, "GET", &uri, json!({}));
        assert_eq!(
            dpop(&server, "GET /orders", &token, &[&foreign]).await,
            refused("invalid-dpop-proof")
        );
        // What the sender writes as its host makes no other origin.
        let elsewhere = client.proof(&token, "GET", "https://api.test/orders", json!({}));
        assert_eq!(
            dpop(&server, "GET /orders", &token, &[&elsewhere]).await,
            refused("invalid-dpop-proof")
        );

        let bearer = server.get("/orders", &token).await;
        assert_eq!((bearer.status, &*bearer.problem()), (401, "bound"));
        let challenge = bearer.header("www-authenticate").unwrap();
        assert!(
            challenge.starts_with("DPoP realm=\"authmesh\", error=\"invalid_token\""),
            "{challenge}"
        );
        assert!(
            challenge.contains("algs=\"") && challenge.contains("ES256"),
            "{challenge}"
        );
    }
    let unbound = world.token(json!({}));
    let proof = client.proof(&unbound, "GET", &uri, json!({}));
    assert_eq!(
        dpop(&server, "GET /orders", &unbound, &[&proof]).await,
        refused("not-bound")
    );
    assert_eq!(server.get("/orders", &unbound).await.body, "in");
}

#[tokio::test]
async fn layers_and_extractors_of_one_request_share_its_proof() {
    let world = World::new().await;
    let stricter = RoutePolicy::authenticated().max_age(std::time::Duration::ZERO);
    let app = Router::new()
        .route("/", get(async |_: Auth, _: Fresh| "in"))
        .layer(layer(&world).policy(stricter).unwrap())
        .layer(layer(&world));
    let server = Server::start(app).await;
    let client = Client::new();
    let token = world.token(json!({ "cnf": client.cnf() }));
    for _ in 0..2 {
        let proof = client.proof(&token, "GET", &format!("{ORIGIN}/"), json!({}));
        assert_eq!(dpop(&server, "GET /", &token, &[&proof]).await, accepted());
        assert_eq!(
            dpop(&server, "GET /", &token, &[&proof]).await,
            refused("invalid-dpop-proof")
        );
    }
}

#[tokio::test]
async fn without_an_origin_no_proof_holds_and_a_path_that_was_taken_away_is_put_back() {
    let world = World::new().await;
    let client = Client::new();
    let token = world.token(json!({ "cnf": client.cnf() }));
    let handler = || Router::new().route("/orders", get(async |_: Auth| "in"));
    let server = Server::start(handler().layer(world.mesh.layer())).await;
    let proof = || client.proof(&token, "GET", "https://api.test/orders", json!({}));
    assert_eq!(
        dpop(&server, "GET /orders", &token, &[&proof()]).await,
        refused("invalid-dpop-proof")
    );

    let nested = world.mesh.layer().origins(["https://api.test/v1"]).unwrap();
    let server = Server::start(Router::new().nest("/v1", handler().layer(nested))).await;
    assert_eq!(
        dpop(&server, "GET /v1/orders", &token, &[&proof()]).await,
        refused("invalid-dpop-proof")
    );
    let whole = client.proof(&token, "GET", "https://api.test/v1/orders", json!({}));
    assert_eq!(dpop(&server, "GET /v1/orders", &token, &[&whole]).await, accepted());
}

/// The outer layer demands no nonce: what it has proven is no proof for the inner one.
#[tokio::test]
async fn a_nonce_is_demanded_and_given_and_an_outer_layer_that_demands_none_is_no_way_around() {
    let world = World::new().await;
    let mut policy: Policy = world.mesh.verifier().policy().clone();
    policy.dpop.require_nonce = true;
    let demanding = world.mesh.verifier_for(policy).unwrap();
    let app = Router::new()
        .route("/", get(async |_: Auth| "in"))
        .layer(demanding.layer().origins([ORIGIN]).unwrap())
        .layer(layer(&world));
    let server = Server::start(app).await;
    let client = Client::new();
    let token = world.token(json!({ "cnf": client.cnf() }));
    let ask = async |more: Value| {
        let proof = client.proof(&token, "GET", &format!("{ORIGIN}/"), more);
        let scheme = format!("DPoP {token}");
        server
            .ask("GET /", &[("authorization", &scheme), ("dpop", &proof)])
            .await
    };
    for _ in 0..2 {
        let reply = ask(json!({})).await;
        assert_eq!((reply.status, &*reply.problem()), (401, "use-dpop-nonce"));
        assert!(
            reply
                .header("www-authenticate")
                .unwrap()
                .contains("error=\"use_dpop_nonce\"")
        );
        let nonce = reply.header("dpop-nonce").unwrap();
        let reply = ask(json!({ "nonce": nonce })).await;
        assert_eq!((reply.status, &*reply.body), (200, "in"));
        assert!(reply.header("dpop-nonce").is_some(), "for the next one");
    }
}

#[tokio::test]
async fn a_certificate_is_that_of_the_connection_or_what_the_trusted_header_tells() {
    let world = World::new().await;
    // Any SEQUENCE that is long enough: TLS is who looks into it.
    let der: Vec<u8> = [0x30].into_iter().chain(0..100).collect();
    let x5t = URL_SAFE_NO_PAD.encode(digest(&SHA256, &der));
    let token = world.token(json!({"cnf": {"x5t#S256": x5t}}));
    let told = format!(":{}:", base64::engine::general_purpose::STANDARD.encode(&der));
    let route = || Router::new().route("/", get(async |_: Auth| "in"));
    let bearer = format!("Bearer {token}");
    let with_header = [("authorization", &*bearer), ("client-cert", &*told)];

    // Whoever sends the header unasked owns nothing.
    let server = Server::start(route().layer(world.mesh.layer())).await;
    for _ in 0..2 {
        assert_eq!(server.get("/", &token).await.problem(), "certificate-mismatch");
        assert_eq!(
            server.ask("GET /", &with_header).await.problem(),
            "certificate-mismatch"
        );
    }
    let trusting = world.mesh.layer().client_cert_header("client-cert".parse().unwrap());
    let server = Server::start(route().layer(trusting.clone())).await;
    assert_eq!(server.ask("GET /", &with_header).await.body, "in");
    assert_eq!(server.get("/", &token).await.problem(), "certificate-mismatch");
    let twice = [with_header[0], with_header[1], with_header[1]];
    assert_eq!(server.ask("GET /", &twice).await.problem(), "certificate-mismatch");

    // TLS wins over the header.
    for (der, passes) in [(&der[..], true), (&[0x30; 90], false)] {
        let connection = Extension(CertificateThumbprint::of_der(der));
        let server = Server::start(route().layer(trusting.clone()).layer(connection)).await;
        assert_eq!(server.ask("GET /", &with_header).await.status == 200, passes);
        assert_eq!(server.get("/", &token).await.status == 200, passes);
    }
}
