//! One trace from the caller to the provider, nothing secret in it, and none for a hit.

use axum::Router;
use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, StatusCode};
use opentelemetry::trace::{SpanId, SpanKind};
use opentelemetry_sdk::trace::SpanData;
use tower::ServiceExt as _;

use super::super::{DevAlg, DevClaims, DevIssuer};
use super::double::{CLIENT_SECRET, Kept, OPAQUE, Provider, SUBJECT};
use crate::config::{Config, Secret};
use crate::serve::{ForwardSettings, Limits, Metrics, admin, forward, mesh};
use authmesh::AuthMesh;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const CREDENTIAL: &str = "a-credential-of-the-admin-api";

/// A node whose issuers are a provider that is asked, and one with keys.
struct World {
    provider: Provider,
    issuer: DevIssuer,
    mesh: AuthMesh,
    forward: Router,
    admin: Router,
}

impl World {
    async fn new() -> Self {
        let provider = Provider::start().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let issuer = DevIssuer::new(&url).unwrap();
        let app = issuer.router();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let endpoint = format!("{}/introspect", provider.url);
        let settings = [
            ("ISSUERS_0_URL", provider.url.as_str()),
            ("ISSUERS_0_AUDIENCE", "orders-api"),
            ("ISSUERS_0_VALIDATE", "introspection"),
            ("ISSUERS_0_UPSTREAM_ENDPOINT", &endpoint),
            ("ISSUERS_0_UPSTREAM_CLIENT_ID", "orders"),
            ("ISSUERS_0_UPSTREAM_CLIENT_SECRET", CLIENT_SECRET),
            ("ISSUERS_1_URL", &url),
            ("ISSUERS_1_AUDIENCE", "dev-api"),
            ("DANGER_ALLOW_HTTP", "true"),
        ];
        let environment = settings.map(|(name, value)| (format!("AUTHMESH_{name}"), value.to_owned()));
        let config = Config::load(None, environment.into_iter()).unwrap().config;
        let metrics = Metrics::new().unwrap();
        let mesh = mesh::start(&config, "127.0.0.1:1".parse().unwrap(), None, &metrics)
            .await
            .unwrap();
        let settings = ForwardSettings::from_config(&config, &mesh).unwrap();
        let credential = std::sync::Arc::new(Secret::new(CREDENTIAL).unwrap());
        Self {
            provider,
            issuer,
            forward: forward::router(mesh.clone(), settings, metrics, Limits::default()),
            admin: admin::router(mesh.clone(), credential, Limits::default()),
            mesh,
        }
    }

    fn jwt(&self) -> String {
        let claims = DevClaims {
            sub: SUBJECT.into(),
            ..DevClaims::default()
        };
        self.issuer.mint(&claims, DevAlg::Es256).unwrap()
    }

    async fn verify(&self, token: &str, headers: &[(&str, &str)]) -> StatusCode {
        let mut request = Request::get("/verify").header("Authorization", format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        self.forward.clone().oneshot(request).await.unwrap().status()
    }
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {:?}", names(spans));
    found[0]
}

fn names(spans: &[SpanData]) -> Vec<&str> {
    spans.iter().map(|span| &*span.name).collect()
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.as_str().into_owned())
}

#[tokio::test]
async fn a_trace_goes_from_the_caller_through_forward_auth_to_the_provider() {
    let (kept, _guard) = Kept::start();
    let world = World::new().await;
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [
        ("traceparent", traceparent.as_str()),
        ("tracestate", "shop=1"),
        ("baggage", "user=alice"),
    ];
    assert_eq!(world.verify(OPAQUE, &headers).await, StatusCode::OK);
    let seen = world.provider.seen();
    assert_eq!(seen.len(), 1);
    let sent = seen[0]["traceparent"].to_str().unwrap();
    assert_eq!(seen[0]["tracestate"], "shop=1");
    assert!(!seen[0].contains_key("baggage"), "baggage is nobody else's");
    world.mesh.shutdown().await;

    let spans = kept.all();
    let spans: Vec<_> = spans
        .into_iter()
        .filter(|span| span.span_context.trace_id().to_string() == TRACE)
        .collect();
    let http = named(&spans, "POST");
    assert_eq!(sent, format!("00-{TRACE}-{}-01", http.span_context.span_id()));
    assert_eq!(http.span_kind, SpanKind::Client);
    assert_eq!(attribute(http, "http.response.status_code").as_deref(), Some("200"));
    // Upwards, from the request to the provider to the caller.
    let mut at = http;
    let mut path = vec!["POST"];
    while at.parent_span_id.to_string() != CALLER {
        assert_ne!(at.parent_span_id, SpanId::INVALID, "{path:?}");
        let parent = spans
            .iter()
            .find(|span| span.span_context.span_id() == at.parent_span_id);
        at = parent.unwrap_or_else(|| panic!("{path:?} of {:?}", names(&spans)));
        path.push(&at.name);
    }
    assert_eq!(
        path,
        [
            "POST",
            "authmesh.upstream",
            "authmesh.fill",
            "authmesh.verify",
            "GET /verify"
        ]
    );
    assert_eq!(at.span_kind, SpanKind::Server);
    assert_eq!(attribute(at, "http.response.status_code").as_deref(), Some("200"));
    let verify = named(&spans, "authmesh.verify");
    assert_eq!(attribute(verify, "authmesh.outcome").as_deref(), Some("verified"));
    assert_eq!(attribute(verify, "authmesh.level").as_deref(), Some("source"));
    assert_eq!(attribute(verify, "authmesh.issuer"), Some(world.provider.url.clone()));
}

#[tokio::test]
async fn a_hit_makes_no_span() {
    let (kept, _guard) = Kept::start();
    let world = World::new().await;
    let jwt = world.jwt();
    for token in [OPAQUE, jwt.as_str()] {
        assert_eq!(world.verify(token, &[]).await, StatusCode::OK);
    }
    let before = kept.all().len();
    assert!(before >= 2, "misses make spans");
    for _ in 0..10 {
        for token in [OPAQUE, jwt.as_str()] {
            assert_eq!(world.verify(token, &[]).await, StatusCode::OK);
        }
    }
    let after = kept.all();
    let of_requests = after[before..]
        .iter()
        .filter(|span| ["authmesh.verify", "GET /verify"].contains(&&*span.name));
    assert_eq!(of_requests.count(), 0, "{:?}", names(&after[before..]));
    world.mesh.shutdown().await;
}

#[tokio::test]
async fn nothing_secret_is_in_any_span() {
    let (kept, _guard) = Kept::start();
    let world = World::new().await;
    let jwt = world.jwt();
    let mut forged = jwt.clone();
    forged.truncate(jwt.len() - 8);
    forged.push_str("AAAAAAAA");
    assert_eq!(world.verify(OPAQUE, &[]).await, StatusCode::OK);
    assert_eq!(world.verify(&jwt, &[]).await, StatusCode::OK);
    assert_eq!(world.verify(&forged, &[]).await, StatusCode::UNAUTHORIZED);
    let revoke = Request::post("/v1/revocations")
        .header("Authorization", format!("Bearer {CREDENTIAL}"))
        .header("Content-Type", "application/json")
        .body(Body::from(
            serde_json::json!({ "issuer": world.provider.url, "subject": SUBJECT, "why": "the-private-reason" })
                .to_string(),
        ))
        .unwrap();
    let revoked = world.admin.clone().oneshot(revoke).await.unwrap();
    assert_eq!(revoked.status(), StatusCode::OK);
    assert_eq!(world.verify(OPAQUE, &[]).await, StatusCode::UNAUTHORIZED);
    world.mesh.shutdown().await;

    let spans = kept.all();
    let all = names(&spans);
    for name in [
        "GET /verify",
        "POST admin",
        "authmesh.verify",
        "authmesh.upstream",
        "authmesh.keys.trip",
        "authmesh.keys.fetch",
        "authmesh.revoke",
        "authmesh.commit",
        "authmesh.confirm",
        "GET",
        "POST",
    ] {
        assert!(all.contains(&name), "{name} is not among {all:?}");
    }
    let everything = format!("{spans:?}");
    let basic = STANDARD.encode(format!("orders:{CLIENT_SECRET}"));
    let mut secrets = vec![
        OPAQUE,
        SUBJECT,
        CLIENT_SECRET,
        CREDENTIAL,
        &basic,
        "shop-7f3a",
        "the-private-reason",
    ];
    secrets.extend(jwt.split('.'));
    secrets.extend(forged.split('.'));
    for secret in secrets {
        assert!(!everything.contains(secret), "{secret} stands in a span");
    }
    // Events are for the log.
    assert!(spans.iter().all(|span| span.events.is_empty()));
}

#[tokio::test]
async fn without_a_caller_s_trace_one_begins_here_and_a_broken_one_is_none() {
    let (kept, _guard) = Kept::start();
    let world = World::new().await;
    for traceparent in [
        "00-zz-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    ] {
        let token = format!("{OPAQUE}-{traceparent}");
        assert_eq!(
            world.verify(&token, &[("traceparent", traceparent)]).await,
            StatusCode::OK
        );
    }
    world.mesh.shutdown().await;
    let spans = kept.all();
    let requests: Vec<_> = spans.iter().filter(|span| span.name == "GET /verify").collect();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|span| span.parent_span_id == SpanId::INVALID));
    let sent = world.provider.seen();
    for request in requests {
        let trace = request.span_context.trace_id().to_string();
        let with_it = sent
            .iter()
            .filter(|headers| headers["traceparent"].to_str().unwrap().contains(&trace));
        assert_eq!(with_it.count(), 1);
    }
}
