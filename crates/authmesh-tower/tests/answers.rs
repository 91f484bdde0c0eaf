//! Headers written from the answers of a real node: a token is signed, verified, and its identity passed on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authmesh::memory::FixedKeys;
use authmesh::{Answer, AuthMesh, Outcome, Rules};
use authmesh_tower::explain::explain_headers;
use authmesh_tower::identity::IdentityHeaders;
use authmesh_tower::rejection::Rejection;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.test";

struct World {
    mesh: AuthMesh,
    pair: Ed25519KeyPair,
    issuer: String,
}

impl World {
    async fn new(issuer: &str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x}]});
        let mesh = AuthMesh::builder()
            .issuer(
                issuer,
                Arc::new(FixedKeys::new(keys.to_string())),
                Rules::for_audiences(["api"]),
            )
            .start()
            .await
            .unwrap();
        Self {
            mesh,
            pair,
            issuer: issuer.into(),
        }
    }

    fn token(&self, more: &Value) -> String {
        let now = now();
        let mut claims = json!({"iss": self.issuer, "aud": "api", "iat": now, "exp": now + 600});
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": "k1"})), part(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    async fn answer(&self, more: &Value) -> Answer {
        self.mesh.verifier().answer(self.token(more)).await.unwrap()
    }

    async fn identity(&self, more: &Value) -> HeaderMap {
        let mut headers = HeaderMap::new();
        IdentityHeaders::default().write(&self.answer(more).await.verdict, &mut headers);
        headers
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn every_identity_header_is_written() {
    let world = World::new(ISSUER).await;
    let exp = now() + 300;
    let headers = world
        .identity(&json!({
            "sub": "jürgen 100%", "client_id": "shop", "scope": "read write", "sid": "s-1",
            "email": "j@example.com", "exp": exp,
        }))
        .await;
    let expected = [
        ("x-auth-subject", "j%C3%BCrgen 100%25"),
        ("x-auth-issuer", ISSUER),
        ("x-auth-client", "shop"),
        ("x-auth-scopes", "read write"),
        ("x-auth-session", "s-1"),
        ("x-auth-email", "j@example.com"),
        ("x-auth-expires", &exp.to_string()),
    ];
    assert_eq!(headers.len(), expected.len());
    for (name, value) in expected {
        assert_eq!(headers[name], value, "{name}");
    }
}

#[tokio::test]
async fn what_the_token_does_not_say_is_written_empty_over_what_was_there() {
    let world = World::new(ISSUER).await;
    let names = IdentityHeaders::default();
    for email in [
        json!({}),
        json!({"email": null}),
        json!({"email": 7}),
        json!({"email": ["a@b"]}),
    ] {
        let mut headers = HeaderMap::new();
        for name in ["x-auth-subject", "x-auth-email", "x-auth-scopes"] {
            headers.append(name, HeaderValue::from_static("spoofed"));
            headers.append(name, HeaderValue::from_static("spoofed again"));
        }
        names.write(&world.answer(&email).await.verdict, &mut headers);
        assert_eq!(headers.len(), 7, "one value for each name");
        for name in [
            "x-auth-subject",
            "x-auth-client",
            "x-auth-scopes",
            "x-auth-session",
            "x-auth-email",
        ] {
            assert_eq!(headers[name], "", "{name} with {email}");
        }
    }
}

#[tokio::test]
async fn a_scope_with_a_space_never_looks_like_two() {
    let world = World::new(ISSUER).await;
    let answer = world.answer(&json!({"scp": ["read admin", "", "write"]})).await;
    assert!(!answer.verdict.has_scope("admin"));
    let mut headers = HeaderMap::new();
    IdentityHeaders::default().write(&answer.verdict, &mut headers);
    assert_eq!(headers["x-auth-scopes"], "read%20admin write");
}

#[tokio::test]
async fn an_identity_never_stands_in_the_debug_output_of_its_headers() {
    let world = World::new(ISSUER).await;
    let headers = world
        .identity(&json!({"sub": "alice", "email": "alice@example.com"}))
        .await;
    assert!(
        !format!("{headers:?}").contains("alice"),
        "a log of the headers would name the holder"
    );
}

#[tokio::test]
async fn only_headers_that_are_on_are_written() {
    let world = World::new(ISSUER).await;
    let names = IdentityHeaders {
        subject: Some(HeaderName::from_static("x-user")),
        issuer: None,
        client: None,
        scopes: None,
        session: None,
        email: None,
        expires: None,
    };
    let mut headers = HeaderMap::new();
    names.write(&world.answer(&json!({"sub": "alice"})).await.verdict, &mut headers);
    assert_eq!(headers.len(), 1);
    assert_eq!(headers["x-user"], "alice");
}

#[tokio::test]
async fn an_answer_explains_itself() {
    let world = World::new(ISSUER).await;
    let mut answer = world.answer(&json!({})).await;
    let mut headers = HeaderMap::new();
    explain_headers(&answer, &mut headers);
    assert_eq!(headers["x-authmesh-outcome"], "verified");
    assert_eq!(headers["x-authmesh-level"], "source");
    assert_eq!(headers["x-authmesh-age"], "0");
    assert_eq!(headers["x-authmesh-issuer"], ISSUER);
    assert_eq!(
        headers["x-authmesh-key-generation"],
        answer.verdict.key_generation().unwrap().to_string()
    );
    assert!(!headers.contains_key("x-authmesh-blind-for"));

    answer.outcome = Outcome::Blind;
    answer.age = Duration::from_millis(61_900);
    answer.blind_for = Some(Duration::from_millis(7_900));
    explain_headers(&answer, &mut headers);
    assert_eq!(headers["x-authmesh-outcome"], "blind");
    assert_eq!(headers["x-authmesh-age"], "61");
    assert_eq!(headers["x-authmesh-blind-for"], "7");

    answer.blind_for = None;
    explain_headers(&answer, &mut headers);
    assert!(
        !headers.contains_key("x-authmesh-blind-for"),
        "an older answer's words would stay"
    );
}

#[tokio::test]
async fn an_issuer_that_is_no_header_value_is_left_out() {
    let world = World::new("https://issuer.test/\r\nx-admin: 1").await;
    let answer = world.answer(&json!({})).await;
    let mut headers = HeaderMap::new();
    headers.insert("x-authmesh-issuer", HeaderValue::from_static("somebody else"));
    explain_headers(&answer, &mut headers);
    assert!(!headers.contains_key("x-authmesh-issuer"));
    assert_eq!(headers["x-authmesh-outcome"], "verified");
}

#[tokio::test]
async fn a_refused_token_is_answered_without_a_word_of_it() {
    let world = World::new(ISSUER).await;
    let more = json!({"sub": "alice-of-wonderland", "aud": "billing-of-wonderland"});
    let token = world.token(&more);
    let error = world.mesh.verifier().verify(&token).await.unwrap_err();
    let response = Rejection::from(error).into_response();
    assert_eq!(response.status(), 401);
    let text = format!("{:?} {}", response.headers(), response.body());
    for secret in ["wonderland", &token, token.rsplit('.').next().unwrap()] {
        assert!(!text.contains(secret));
    }
}
