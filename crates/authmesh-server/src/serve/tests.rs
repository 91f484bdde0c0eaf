#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The listeners' apps, asked without a socket.

mod bound;
mod issuers;
mod marks;
mod members;
mod observations;
mod telemetry;
mod warm;

use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::{Cluster, FixedKeys};
use authmesh::{AuthMesh, KeyRing, Rules, Subject};
use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{ForwardSettings, Limits, Metrics, admin, forward};
use crate::config::{Config, Secret};
use crate::dev::issuer::{DevAlg, DevClaims, DevIssuer};

const ISSUER: &str = "http://127.0.0.1:1";
const CREDENTIAL: &str = "a-credential-of-the-admin-api";

struct World {
    issuer: DevIssuer,
    cluster: Arc<Cluster>,
    mesh: AuthMesh,
    forward: Router,
    admin: Router,
}

impl World {
    /// A node with these further settings, each a variable without its prefix.
    async fn new(settings: &[(&str, &str)]) -> Self {
        let issuer = DevIssuer::new(ISSUER).unwrap();
        let jwks = jwks_of(&issuer).await;
        let cluster = Arc::new(Cluster::new());
        let metrics = Metrics::new().unwrap();
        let mesh = AuthMesh::builder()
            .join(Arc::clone(&cluster))
            .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
            .issuer(
                ISSUER,
                Arc::new(FixedKeys::new(jwks)),
                Rules::for_audiences(["dev-api"]),
            )
            .name("n1")
            .meter(metrics.meter())
            .start()
            .await
            .unwrap();
        assert!(mesh.wait_for_keys(Duration::from_secs(5)).await);
        let base = [
            ("ISSUERS_0_URL", ISSUER),
            ("ISSUERS_0_AUDIENCE", "dev-api"),
            ("DANGER_ALLOW_HTTP", "true"),
            ("SERVER_EXPLAIN", "true"),
        ];
        let environment = base
            .iter()
            .chain(settings)
            .map(|(name, value)| (format!("AUTHMESH_{name}"), (*value).to_owned()));
        let config = Config::load(None, environment).unwrap().config;
        let settings = ForwardSettings::from_config(&config, &mesh).unwrap();
        Self {
            forward: forward::router(mesh.clone(), settings, metrics, Limits::default()),
            admin: admin::router(
                mesh.clone(),
                Arc::new(Secret::new(CREDENTIAL).unwrap()),
                Limits::default(),
            ),
            issuer,
            cluster,
            mesh,
        }
    }

    fn token(&self, subject: &str, scope: &str) -> String {
        let claims = DevClaims {
            sub: subject.into(),
            scope: scope.into(),
            ..DevClaims::default()
        };
        self.issuer.mint(&claims, DevAlg::Es256).unwrap()
    }

    async fn verify(&self, token: Option<&str>, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::get("/verify");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.forward
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    async fn status(&self, token: &str, method: &str, host: &str, uri: &str) -> StatusCode {
        let headers = [
            ("X-Forwarded-Method", method),
            ("X-Forwarded-Host", host),
            ("X-Forwarded-Uri", uri),
        ];
        self.verify(Some(token), &headers).await.status()
    }

    async fn admin(&self, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Authorization", format!("Bearer {CREDENTIAL}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.admin.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, body_of(response).await)
    }
}

async fn jwks_of(issuer: &DevIssuer) -> axum::body::Bytes {
    let request = Request::get("/jwks").body(Body::empty()).unwrap();
    let jwks = issuer.router().oneshot(request).await.unwrap();
    jwks.into_body().collect().await.unwrap().to_bytes()
}

async fn body_of(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_first_route_that_covers_a_request_decides() {
    let world = World::new(&[
        ("ROUTES_0_PATH", "/admin"),
        ("ROUTES_0_HOST", "shop.example"),
        ("ROUTES_0_METHODS", "POST,DELETE"),
        ("ROUTES_0_SCOPES", "write,audit"),
        ("ROUTES_1_PATH", "/public"),
        ("ROUTES_1_ACCESS", "public"),
        ("ROUTES_2_PATH", "/reports"),
        ("ROUTES_2_ANY_SCOPE", "read,write"),
    ])
    .await;
    let (reader, writer, nobody) = (
        world.token("r", "read"),
        world.token("w", "write audit"),
        world.token("n", ""),
    );
    let cases = [
        (&reader, "POST", "shop.example", "/admin/x", 403),
        (&reader, "POST", "SHOP.example:443", "/admin", 403),
        (&reader, "GET", "shop.example", "/admin", 200),
        (&reader, "POST", "other.example", "/admin", 200),
        (&writer, "POST", "shop.example", "/admin", 200),
        (&reader, "GET", "x", "/reports", 200),
        (&nobody, "GET", "x", "/reports", 403),
        (&nobody, "GET", "x", "/elsewhere", 200),
    ];
    for (token, method, host, uri, expected) in cases {
        assert_eq!(
            world.status(token, method, host, uri).await.as_u16(),
            expected,
            "{method} {host} {uri}"
        );
    }
    let public = world.verify(None, &[("X-Forwarded-Uri", "/public/page")]).await;
    assert_eq!((public.status().as_u16(), header(&public, "X-Auth-Subject")), (200, ""));
    assert_eq!(
        world
            .verify(None, &[("X-Forwarded-Uri", "/private")])
            .await
            .status()
            .as_u16(),
        401
    );
    let lacking = world
        .verify(
            Some(&reader),
            &[("X-Forwarded-Uri", "/admin"), ("X-Forwarded-Host", "shop.example")],
        )
        .await;
    assert_eq!(lacking.status().as_u16(), 403, "a method that is not told may be any");
    assert!(header(&lacking, "WWW-Authenticate").ends_with("error=\"insufficient_scope\", error_description=\"the token does not carry the scopes that this needs\", scope=\"write audit\""));
}

#[tokio::test]
async fn with_routes_a_request_whose_path_is_not_told_is_refused() {
    let world = World::new(&[("ROUTES_0_PATH", "/admin"), ("ROUTES_0_SCOPES", "admin")]).await;
    let token = world.token("alice", "read");
    assert_eq!(world.verify(Some(&token), &[]).await.status().as_u16(), 400);
    let both = [("X-Forwarded-Uri", "/orders"), ("X-Original-URI", "/admin")];
    assert_eq!(world.verify(Some(&token), &both).await.status().as_u16(), 400);
    assert_eq!(
        world
            .verify(Some(&token), &[("X-Original-URI", "/orders")])
            .await
            .status()
            .as_u16(),
        200
    );
}

#[tokio::test]
async fn a_cookie_carries_the_token_only_where_it_is_configured() {
    let world = World::new(&[("SERVER_COOKIE", "session")]).await;
    let token = world.token("alice", "read");
    let cookie = format!("theme=dark; session={token}");
    assert_eq!(world.verify(None, &[("Cookie", &cookie)]).await.status().as_u16(), 200);
    assert_eq!(
        world
            .verify(Some(&token), &[("Cookie", &cookie)])
            .await
            .status()
            .as_u16(),
        400
    );
    let plain = World::new(&[]).await;
    assert_eq!(plain.verify(None, &[("Cookie", &cookie)]).await.status().as_u16(), 401);
}

#[tokio::test]
async fn bounded_blindness_sensitive_routes_answer_503_and_others_say_that_they_are_blind() {
    let world = World::new(&[("ROUTES_0_PATH", "/pay"), ("ROUTES_0_SENSITIVE", "true")]).await;
    let token = world.token("alice", "read");
    assert_eq!(world.status(&token, "GET", "x", "/pay").await.as_u16(), 200);
    world.cluster.set_up(false);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    let refused = loop {
        let response = world.verify(Some(&token), &[("X-Forwarded-Uri", "/pay")]).await;
        if response.status() != StatusCode::OK {
            break response;
        }
        assert!(tokio::time::Instant::now() < deadline, "the lease never ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(refused.status().as_u16(), 503);
    assert!(!header(&refused, "Retry-After").is_empty());
    let served = world.verify(Some(&token), &[("X-Forwarded-Uri", "/orders")]).await;
    assert_eq!(
        (served.status().as_u16(), header(&served, "X-Authmesh-Outcome")),
        (200, "blind")
    );
    assert!(!header(&served, "X-Authmesh-Blind-For").is_empty());
    assert_eq!(world.admin("GET", "/v1/health", "").await.1["status"], "blind");
    world.cluster.set_up(true);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    while world.status(&token, "GET", "x", "/pay").await.as_u16() != 200 {
        assert!(tokio::time::Instant::now() < deadline, "it never recovered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_admin_api_says_what_is_wrong_with_a_request() {
    let world = World::new(&[]).await;
    let cases = [
        ("/v1/revocations", "{}", 400, "revocation"),
        ("/v1/revocations", r#"{"subject":"a","jti":"b"}"#, 400, "revocation"),
        ("/v1/revocations", r#"{"subjekt":"a"}"#, 400, "body"),
        ("/v1/revocations", r#"{"subject":""}"#, 400, "bad-value"),
        (
            "/v1/revocations",
            r#"{"subject":"a","issuer":"https://other.example"}"#,
            422,
            "unknown-issuer",
        ),
        ("/v1/revocations", r#"{"token":"garbage"}"#, 422, "token-refused"),
        (
            "/v1/revocations",
            r#"{"subject":"a","not_before":99999999999}"#,
            400,
            "absurd-time",
        ),
        ("/v1/invalidations", "not json", 400, "body"),
        (
            "/v1/keys/refresh",
            r#"{"issuer":"https://other.example"}"#,
            422,
            "unknown-issuer",
        ),
        ("/v1/nothing", "{}", 404, "not-found"),
        ("/v1/stats", "{}", 405, "method-not-allowed"),
    ];
    for (path, body, status, code) in cases {
        let (got, problem) = world.admin("POST", path, body).await;
        assert_eq!(got.as_u16(), status, "{path} {body}: {problem}");
        assert_eq!(
            problem["type"],
            format!("https://authmesh.dev/problems/{code}"),
            "{path} {body}"
        );
        assert!(!problem["detail"].as_str().unwrap().contains("garbage"));
    }
    for credential in ["", "Bearer wrong", "Basic x", &format!("Bearer {CREDENTIAL}x")] {
        let request = Request::get("/v1/stats")
            .header("Authorization", credential)
            .body(Body::empty())
            .unwrap();
        assert_eq!(
            world.admin.clone().oneshot(request).await.unwrap().status().as_u16(),
            401,
            "{credential}"
        );
    }
}

#[tokio::test]
async fn the_admin_api_does_what_its_document_says() {
    let world = World::new(&[]).await;
    let token = world.token("alice", "read");
    assert_eq!(world.verify(Some(&token), &[]).await.status().as_u16(), 200);
    let invalidated = world
        .admin("POST", "/v1/invalidations", &json!({ "token": token }).to_string())
        .await;
    assert_eq!(invalidated.1, json!({ "state": "committed" }));
    let again = world.verify(Some(&token), &[]).await;
    assert_eq!(header(&again, "X-Authmesh-Outcome"), "verified");
    assert_eq!(
        world.admin("POST", "/v1/clear", "").await.1,
        json!({ "state": "committed" })
    );
    let again = world.verify(Some(&token), &[]).await;
    assert_eq!(header(&again, "X-Authmesh-Outcome"), "verified");
    let refreshed = world.admin("POST", "/v1/keys/refresh", "").await.1;
    assert_eq!(refreshed["issuers"][0]["refreshed"], true);
    let receipt = world
        .admin(
            "POST",
            "/v1/revocations",
            &json!({ "token": token, "why": "test" }).to_string(),
        )
        .await
        .1;
    assert_eq!(
        (&receipt["state"], &receipt["scope"]),
        (&json!("committed"), &json!("token"))
    );
    let explained = world
        .admin("POST", "/v1/explain", &json!({ "token": token }).to_string())
        .await
        .1;
    assert_eq!(
        (&explained["decision"], &explained["revoked"]["why"]),
        (&json!("refused"), &json!("test"))
    );
    assert_eq!(
        world.admin("GET", "/v1/members", "").await.1["members"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let (_, document) = world.admin("GET", "/openapi.json", "").await;
    for path in ["/v1/stats", "/v1/health", "/v1/members"] {
        let answer = world.admin("GET", path, "").await.1;
        let schema = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let name = schema["$ref"]
            .as_str()
            .map(|reference| reference.rsplit('/').next().unwrap());
        let schema = name.map_or(schema, |name| &document["components"]["schemas"][name]);
        let mut described: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let mut answered: Vec<&String> = answer.as_object().unwrap().keys().collect();
        described.sort();
        answered.sort();
        assert_eq!(described, answered, "{path}");
    }
}

#[tokio::test]
async fn metrics_show_what_happened() {
    let world = World::new(&[]).await;
    let token = world.token("alice", "read");
    for _ in 0..3 {
        assert_eq!(world.verify(Some(&token), &[]).await.status().as_u16(), 200);
    }
    world.mesh.revoke(Subject::new(ISSUER, "alice")).await.unwrap();
    assert_eq!(world.verify(Some(&token), &[]).await.status().as_u16(), 401);
    let response = world
        .forward
        .clone()
        .oneshot(Request::get("/metrics").body(Body::empty()).unwrap())
        .await
        .unwrap();
    let text = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    for line in [
        "authmesh_verify_answers_total{level=\"source\",node=\"n1\",outcome=\"verified\"} 1",
        "authmesh_verify_answers_total{level=\"l1\",node=\"n1\",outcome=\"hit\"} 2",
        "authmesh_verify_answers_total{node=\"n1\",outcome=\"revoked\"} 1",
        "authmesh_statements_total{direction=\"made\",node=\"n1\"} 1",
        "authmesh_keys_fetches_total{node=\"n1\",result=\"ok\"} 1",
        "authmesh_marks{node=\"n1\"} 1",
        "authmesh_coherent{node=\"n1\"} 1",
        "authmesh_blind_seconds{node=\"n1\"} 0",
        "authmesh_keys_generation{issuer=\"http://127.0.0.1:1\",node=\"n1\"} 1",
        "authmesh_keys_age_seconds{issuer=\"http://127.0.0.1:1\",node=\"n1\"} ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
