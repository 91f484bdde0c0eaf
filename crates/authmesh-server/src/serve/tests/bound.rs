//! Bound tokens through forward auth, asked as nginx and Traefik do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use authmesh::memory::FixedKeys;
use authmesh::{AuthMesh, Policy, Rules};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::super::{ForwardSettings, Limits, Metrics, forward};
use crate::config::Config;

const ISSUER: &str = "https://issuer.test";

struct World {
    mesh: AuthMesh,
    forward: Router,
    /// Signs tokens and proofs alike: whose key is whose, other tests tell apart.
    pair: Ed25519KeyPair,
}

fn sha256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl World {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let base = [("ISSUERS_0_URL", ISSUER), ("ISSUERS_0_AUDIENCE", "api")];
        let environment = base
            .iter()
            .chain(settings)
            .map(|(name, value)| (format!("AUTHMESH_{name}"), (*value).to_owned()));
        let config = Config::load(None, environment).unwrap().config;
        let mut key = jwk(&pair);
        key["kid"] = json!("k1");
        let metrics = Metrics::new().unwrap();
        let mesh = AuthMesh::builder()
            .issuer(
                ISSUER,
                Arc::new(FixedKeys::new(json!({ "keys": [key] }).to_string())),
                Rules::for_audiences(["api"]),
            )
            .policy(Policy {
                dpop: config.possession.dpop.clone(),
                ..Policy::default()
            })
            .meter(metrics.meter())
            .start()
            .await
            .unwrap();
        let settings = ForwardSettings::from_config(&config, &mesh).unwrap();
        let forward = forward::router(mesh.clone(), settings, metrics, Limits::default());
        Self { mesh, forward, pair }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(header), part(claims));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(input.as_bytes())))
    }

    fn token(&self, cnf: Value) -> String {
        let claims = json!({"iss": ISSUER, "aud": "api", "sub": "alice", "iat": now(), "exp": now() + 600, "cnf": cnf});
        self.sign(&json!({"alg": "EdDSA", "kid": "k1"}), &claims)
    }

    fn bound(&self) -> String {
        self.token(json!({ "jkt": sha256(&jwk(&self.pair).to_string()) }))
    }

    fn proof(&self, token: &str, method: &str, uri: &str, nonce: Option<&str>) -> String {
        static JTI: AtomicU64 = AtomicU64::new(0);
        let jti = JTI.fetch_add(1, Ordering::Relaxed).to_string();
        let mut claims = json!({"jti": jti, "htm": method, "htu": uri, "iat": now(), "ath": sha256(token)});
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        self.sign(
            &json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk(&self.pair)}),
            &claims,
        )
    }

    async fn ask(&self, headers: &[(&str, &str)]) -> Response<Body> {
        let mut request = Request::get("/verify");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.forward
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap()
    }

    /// As the snippet for nginx asks about a POST of `target` at a host.
    async fn nginx(&self, token: &str, proof: &str, host: &str, target: &str) -> Response<Body> {
        self.ask(&[
            ("authorization", &format!("DPoP {token}")),
            ("dpop", proof),
            ("x-forwarded-method", "POST"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", host),
            ("x-forwarded-uri", target),
        ])
        .await
    }
}

fn jwk(pair: &Ed25519KeyPair) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key())})
}

async fn problem(response: Response<Body>) -> String {
    assert_eq!(response.status(), 401);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    body["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_proof_is_for_the_request_that_the_proxy_tells() {
    let world = World::new(&[]).await;
    let token = world.bound();
    let proof = || world.proof(&token, "POST", "https://api.example.com/orders", None);
    for _ in 0..2 {
        let good = proof();
        let passed = world.nginx(&token, &good, "api.example.com", "/orders?page=2").await;
        assert_eq!(
            (passed.status(), &passed.headers()["x-auth-subject"]),
            (http::StatusCode::OK, &"alice".parse().unwrap())
        );
        assert_eq!(
            problem(world.nginx(&token, &good, "api.example.com", "/orders").await).await,
            "invalid-dpop-proof"
        );
        for (host, target) in [("api.example.com", "/refunds"), ("other.example.com", "/orders")] {
            assert_eq!(
                problem(world.nginx(&token, &proof(), host, target).await).await,
                "invalid-dpop-proof"
            );
        }
        // Not told: neither guessed nor waved through.
        let untold = [("authorization", &*format!("DPoP {token}")), ("dpop", &*proof())];
        assert_eq!(problem(world.ask(&untold).await).await, "invalid-dpop-proof");
        let bearer = world.ask(&[("authorization", &*format!("Bearer {token}"))]).await;
        let challenge = bearer.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert!(
            challenge.starts_with("DPoP ") && challenge.contains("algs=\""),
            "{challenge}"
        );
        assert_eq!(problem(bearer).await, "bound");
        let traefik = [
            ("authorization", &*format!("DPoP {token}")),
            ("dpop", &*proof()),
            ("x-original-method", "POST"),
            ("x-original-url", "https://api.example.com/orders"),
        ];
        assert_eq!(world.ask(&traefik).await.status(), 200);
    }
    assert!(world.mesh.stats().counts.possession_proven >= 4);
}

#[tokio::test]
async fn only_the_origins_of_the_configuration_count_where_it_names_some() {
    let world = World::new(&[("POSSESSION_ORIGINS", "https://api.example.com")]).await;
    let token = world.bound();
    let evil = world.proof(&token, "POST", "https://evil.example/orders", None);
    assert_eq!(
        problem(world.nginx(&token, &evil, "evil.example", "/orders").await).await,
        "invalid-dpop-proof"
    );
    let own = world.proof(&token, "POST", "https://api.example.com/orders", None);
    assert_eq!(
        world
            .nginx(&token, &own, "API.example.com:443", "/orders")
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_nonce_is_demanded_where_the_configuration_says_so() {
    let world = World::new(&[("POSSESSION_REQUIRE_NONCE", "true")]).await;
    let token = world.bound();
    let ask = async |nonce: Option<&str>| {
        let proof = world.proof(&token, "POST", "https://api.example.com/", nonce);
        world.nginx(&token, &proof, "api.example.com", "/").await
    };
    let refused = ask(None).await;
    let nonce = refused.headers()["dpop-nonce"].to_str().unwrap().to_owned();
    assert_eq!(problem(refused).await, "use-dpop-nonce");
    let passed = ask(Some(&nonce)).await;
    assert!(passed.status() == 200 && passed.headers().contains_key("dpop-nonce"));
}

#[tokio::test]
async fn a_certificate_counts_from_the_configured_header_only() {
    let der: Vec<u8> = [0x30].into_iter().chain(0..100).collect();
    let told = format!(":{}:", STANDARD.encode(&der));
    let cnf = json!({"x5t#S256": URL_SAFE_NO_PAD.encode(digest(&SHA256, &der))});
    for (settings, passes) in [
        (&[][..], false),
        (&[("POSSESSION_CLIENT_CERT_HEADER", "X-Client-Cert")], true),
    ] {
        let world = World::new(settings).await;
        let bearer = format!("Bearer {}", world.token(cnf.clone()));
        for _ in 0..2 {
            let with = world
                .ask(&[("authorization", &*bearer), ("x-client-cert", &*told)])
                .await;
            assert_eq!(with.status() == 200, passes);
            let without = world.ask(&[("authorization", &*bearer)]).await;
            assert_eq!(problem(without).await, "certificate-mismatch");
        }
    }
}
