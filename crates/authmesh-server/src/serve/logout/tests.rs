#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The app of the logout listener, asked without a socket.

use std::time::{SystemTime, UNIX_EPOCH};

use authmesh::memory::{Cluster, FixedKeys};
use authmesh::{KeyRing, LogoutRules, Rules, VerifyError};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::body::{Body as HttpBody, Bytes};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use http::header::{ALLOW, CONTENT_TYPE};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;

const ISSUER: &str = "https://login.example.com";
const FORM: &str = "application/x-www-form-urlencoded";
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

const WIDE: Budget = Budget {
    connections: 8,
    concurrent: 8,
    per_second: 1000,
    burst: 1000,
};

struct World {
    key: Ed25519KeyPair,
    source: Arc<FixedKeys>,
    cluster: Arc<Cluster>,
    mesh: AuthMesh,
    app: Router,
}

/// What an answer says.
struct Said {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

impl World {
    async fn new(budget: Budget) -> Self {
        Self::with(budget, true).await
    }

    async fn with(budget: Budget, up: bool) -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let x = URL_SAFE_NO_PAD.encode(key.public_key().as_ref());
        let set = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x }] });
        let source = Arc::new(FixedKeys::new(set.to_string()));
        if !up {
            source.take_down();
        }
        let cluster = Arc::new(Cluster::new());
        let mesh = AuthMesh::builder()
            .join(Arc::clone(&cluster))
            .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
            .issuer(ISSUER, Arc::clone(&source) as _, Rules::for_audiences(["api"]))
            .logout(ISSUER, LogoutRules::for_clients(["web"]))
            .start()
            .await
            .unwrap();
        let limits = Limits::default();
        let app = router(mesh.clone(), budget, limits);
        Self {
            key,
            source,
            cluster,
            mesh,
            app,
        }
    }

    fn mint(&self, typ: &str, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": typ });
        let input = format!("{}.{}", encode(&header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    fn logout_token(&self, session: &str) -> String {
        let now = now();
        self.mint(
            "logout+jwt",
            &json!({ "iss": ISSUER, "aud": "web", "iat": now, "exp": now + 120, "jti": "j1", "sid": session,
                     "events": { EVENT: {} } }),
        )
    }

    fn access_token(&self, session: &str) -> String {
        let now = now();
        self.mint(
            "at+jwt",
            &json!({ "iss": ISSUER, "aud": "api", "iat": now, "exp": now + 120, "sub": "alice", "sid": session }),
        )
    }

    async fn ask(&self, method: Method, path: &str, content: Option<&str>, body: impl Into<HttpBody>) -> Said {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(content) = content {
            request = request.header(CONTENT_TYPE, content);
        }
        let request = request.body(body.into()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let said = Said {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        };
        assert_eq!(said.headers[CACHE_CONTROL], "no-store", "{}", said.body);
        if said.status != 200 {
            assert!(said.body["error"].is_string() && said.body["error_description"].is_string());
        }
        said
    }

    async fn post(&self, body: impl Into<HttpBody>) -> Said {
        self.ask(Method::POST, PATH, Some(FORM), body).await
    }

    async fn log_out(&self, token: &str) -> Said {
        self.post(format!("logout_token={token}")).await
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A body that never comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_logout_token_is_carried_out_and_a_replay_is_answered_alike() {
    let world = World::new(WIDE).await;
    let (own, other) = (world.access_token("s1"), world.access_token("s2"));
    world.mesh.verifier().verify(&own).await.unwrap();
    let token = world.logout_token("s1");
    for _ in 0..2 {
        let said = world.log_out(&token).await;
        assert_eq!((said.status, &said.body), (200, &Value::Null));
    }
    // Members that are not understood are ignored (section 2.5).
    assert_eq!(world.post(format!("x=1&logout_token={token}&y")).await.status, 200);
    let charset = format!("{FORM}; charset=utf-8");
    let body = format!("logout_token={token}");
    assert_eq!(world.ask(Method::POST, PATH, Some(&charset), body).await.status, 200);
    let refused = world.mesh.verifier().verify(&own).await.unwrap_err();
    assert!(matches!(refused, VerifyError::Revoked(_)));
    world.mesh.verifier().verify(&other).await.unwrap();
    assert_eq!(world.mesh.stats().counts.statements_made, 1);
    assert_eq!(world.mesh.stats().counts.logouts, 4);
}

#[tokio::test]
async fn what_is_no_logout_request_is_refused_and_changes_nothing() {
    let world = World::new(WIDE).await;
    let token = world.logout_token("s1");
    let form = |body: String| (Some(FORM), body);
    for (content, body) in [
        form(String::new()),
        form("logout_token=".into()),
        form("logout_token=a.b.c".into()),
        form(format!("token={token}")),
        form(format!("logout_token={token}&logout_token={token}")),
        form(format!("logout_token={}", world.access_token("s1"))),
        form(format!("logout_token={token}x")),
        (None, format!("logout_token={token}")),
        (Some("text/plain"), format!("logout_token={token}")),
        (Some("application/json"), json!({ "logout_token": token }).to_string()),
    ] {
        let said = world.ask(Method::POST, PATH, content, body.clone()).await;
        assert_eq!(
            (said.status, &said.body["error"]),
            (400, &json!("invalid_request")),
            "{body}"
        );
        let described = said.body["error_description"].as_str().unwrap();
        assert!(!described.contains(&token), "{described}");
    }
    // What is in a query is in logs.
    let query = format!("{PATH}?logout_token={token}");
    assert_eq!(world.ask(Method::POST, &query, Some(FORM), "").await.status, 400);
    assert_eq!(world.mesh.stats().marks, 0);
}

#[tokio::test]
async fn nothing_else_is_there() {
    let world = World::new(WIDE).await;
    for path in [
        "/",
        "/verify",
        "/metrics",
        "/v1/revocations",
        "/backchannel-logout/",
        "/livez",
    ] {
        assert_eq!(
            world.ask(Method::POST, path, Some(FORM), "").await.status,
            404,
            "{path}"
        );
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let said = world.ask(method, PATH, None, "").await;
        assert_eq!(said.status, 405);
        assert_eq!(said.headers[ALLOW], "POST");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let world = World::new(WIDE).await;
    let with = |bytes: usize| format!("logout_token={}", "x".repeat(bytes - "logout_token=".len()));
    assert_eq!(world.post(with(BODY_LIMIT)).await.status, 400);
    assert_eq!(world.post(with(BODY_LIMIT + 1)).await.status, 413);
}

#[tokio::test]
async fn a_body_that_does_not_come_gives_its_room_back() {
    let world = World::new(Budget { concurrent: 1, ..WIDE }).await;
    assert_eq!(world.post(HttpBody::new(Never)).await.status, 408);
    assert_eq!(world.log_out(&world.logout_token("s1")).await.status, 200);
}

#[tokio::test]
async fn beyond_the_budget_the_answer_is_429() {
    let budget = Budget {
        per_second: 1,
        burst: 2,
        ..WIDE
    };
    let world = World::new(budget).await;
    let token = world.logout_token("s1");
    // Whatever the requests are worth.
    assert_eq!(world.log_out("garbage").await.status, 400);
    assert_eq!(world.log_out(&token).await.status, 200);
    let said = world.log_out(&token).await;
    assert_eq!((said.status, said.headers[RETRY_AFTER].to_str().unwrap()), (429, "1"));
    // What is not for it costs nothing of it, and is not helped by it.
    assert_eq!(world.ask(Method::GET, PATH, None, "").await.status, 405);
}

#[tokio::test]
async fn a_shared_store_that_is_away_is_no_verdict() {
    let world = World::new(WIDE).await;
    let own = world.access_token("s1");
    world.mesh.verifier().verify(&own).await.unwrap();
    let token = world.logout_token("s1");
    world.cluster.set_up(false);
    for _ in 0..2 {
        let said = world.log_out(&token).await;
        assert_eq!(
            (said.status, &said.body["error"]),
            (503, &json!("temporarily_unavailable"))
        );
        assert_eq!(said.headers[RETRY_AFTER], "1");
    }
    // In force here all the same.
    let refused = world.mesh.verifier().verify(&own).await.unwrap_err();
    assert!(matches!(refused, VerifyError::Revoked(_)), "{refused:?}");
    assert_eq!(world.mesh.stats().counts.statements_made, 1);
    world.cluster.set_up(true);
    // The issuer tries again, until it is told.
    let started = std::time::Instant::now();
    while world.log_out(&token).await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    assert_eq!(world.mesh.stats().counts.statements_made, 1);
}

#[tokio::test]
async fn keys_that_cannot_be_asked_for_are_no_verdict() {
    let world = World::with(WIDE, false).await;
    let said = world.log_out(&world.logout_token("s1")).await;
    assert_eq!(said.status, 503);
    assert!(said.headers[RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!((world.source.fetches() > 0, world.mesh.stats().marks), (true, 0));
}
