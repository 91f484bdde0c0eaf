//! A provider and a collector over real HTTP, and an exporter that keeps spans.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::HeaderMap;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::serve::telemetry::spans_of;

pub(super) const SUBJECT: &str = "alice-of-the-secret-garden";
pub(super) const CLIENT_SECRET: &str = "the-client-secret-of-orders";
pub(super) const OPAQUE: &str = "opaque-token-nobody-may-see-in-a-trace";

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Calls every token active, and keeps the headers that came.
pub(super) struct Provider {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Provider {
    pub(super) async fn start() -> Self {
        let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
        let app = Router::new()
            .route("/introspect", post(introspect))
            .with_state(Arc::clone(&seen));
        let address = serve(app).await;
        Self {
            url: format!("http://{address}"),
            seen,
        }
    }

    pub(super) fn seen(&self) -> Vec<HeaderMap> {
        self.seen.lock().unwrap().clone()
    }
}

async fn introspect(State(seen): State<Arc<Mutex<Vec<HeaderMap>>>>, headers: HeaderMap) -> Json<Value> {
    seen.lock().unwrap().push(headers);
    Json(json!({
        "active": true, "sub": SUBJECT, "aud": "orders-api", "client_id": "shop-7f3a", "iat": now() - 5, "exp": now() + 600,
    }))
}

/// Takes OTLP over HTTP, once it is let.
pub(super) struct Collector {
    pub(super) url: String,
    bodies: watch::Receiver<Vec<(&'static str, Bytes)>>,
    let_go: watch::Sender<bool>,
}

#[derive(Clone)]
struct Intake {
    bodies: watch::Sender<Vec<(&'static str, Bytes)>>,
    may_answer: watch::Receiver<bool>,
}

impl Intake {
    async fn take(mut self, what: &'static str, body: Bytes) {
        self.bodies.send_modify(|bodies| bodies.push((what, body)));
        self.may_answer.wait_for(|may| *may).await.unwrap();
    }
}

impl Collector {
    /// One that answers, or holds each request until it is [released](Self::release).
    pub(super) async fn start(answers: bool) -> Self {
        let (let_go, may_answer) = watch::channel(answers);
        let (sender, bodies) = watch::channel(Vec::new());
        let intake = Intake {
            bodies: sender,
            may_answer,
        };
        let take = |what: &'static str| post(move |State(intake): State<Intake>, body: Bytes| intake.take(what, body));
        let app = Router::new()
            .route("/v1/traces", take("traces"))
            .route("/v1/metrics", take("metrics"))
            .with_state(intake);
        let address = serve(app).await;
        Self {
            url: format!("http://{address}"),
            bodies,
            let_go,
        }
    }

    pub(super) fn release(&self) {
        self.let_go.send_replace(true);
    }

    /// Waits for the first request of a kind; all of them then.
    pub(super) async fn bodies(&self, wanted: &'static str) -> Vec<Bytes> {
        let mut bodies = self.bodies.clone();
        let bodies = bodies
            .wait_for(|bodies| bodies.iter().any(|(what, _)| *what == wanted))
            .await
            .unwrap();
        let of_kind = bodies.iter().filter(|(what, _)| *what == wanted);
        of_kind.map(|(_, body)| body.clone()).collect()
    }
}

/// Keeps the spans that ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Kept {
    /// From here on in this thread. The propagator is the process's, and the same for all tests.
    pub(super) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let kept = Self::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        let subscriber = tracing_subscriber::registry().with(spans_of(provider.tracer("test")));
        opentelemetry::global::set_text_map_propagator(opentelemetry_sdk::propagation::TraceContextPropagator::new());
        (kept, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn all(&self) -> Vec<SpanData> {
        self.0.lock().unwrap().clone()
    }
}
