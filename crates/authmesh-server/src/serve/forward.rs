//! Forward auth: a proxy asks about a request, and the answer says whether it may pass, and who it is.

use std::sync::Arc;

use authmesh::AuthMesh;
use authmesh_tower::bearer::{self, TokenSource};
use authmesh_tower::identity::IdentityHeaders;
use authmesh_tower::rejection::Rejection;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tracing::{Instrument as _, Span};

use super::original::Original;
use super::routes::{Demand, Routes};
use super::telemetry::requests;
use super::{Limits, Metrics, ServeError};
use crate::config::Config;

/// How the forward-auth listener answers.
#[derive(Debug)]
pub struct Settings {
    source: TokenSource,
    identity: IdentityHeaders,
    explain: bool,
    routes: Routes,
}

impl Settings {
    /// The settings of a configuration.
    ///
    /// # Errors
    /// When a route's policy is impossible.
    pub fn from_config(config: &Config, mesh: &AuthMesh) -> Result<Self, ServeError> {
        let headers = &config.server.headers;
        let name = |name: &Option<String>| name.as_ref().and_then(|name| name.parse().ok());
        Ok(Self {
            source: match &config.server.cookie {
                Some(cookie) => TokenSource::header().or_cookie(cookie.clone()),
                None => TokenSource::header(),
            },
            identity: IdentityHeaders {
                subject: name(&headers.subject),
                issuer: name(&headers.issuer),
                client: name(&headers.client),
                scopes: name(&headers.scopes),
                session: name(&headers.session),
                email: name(&headers.email),
                expires: name(&headers.expires),
            },
            explain: config.server.explain,
            routes: Routes::new(mesh, &config.routes)?,
        })
    }

    /// The settings of development mode: every default, and answers that explain themselves.
    ///
    /// # Errors
    /// Never in practice: there are no routes to be wrong.
    pub fn for_dev(mesh: &AuthMesh) -> Result<Self, ServeError> {
        Ok(Self {
            source: TokenSource::header(),
            identity: IdentityHeaders::default(),
            explain: true,
            routes: Routes::new(mesh, &[])?,
        })
    }
}

#[derive(Debug)]
struct App {
    mesh: AuthMesh,
    settings: Settings,
    metrics: Metrics,
    limits: Limits,
}

/// `/verify`, `/livez`, `/readyz`, `/metrics`.
pub(super) fn router(mesh: AuthMesh, settings: Settings, metrics: Metrics, limits: Limits) -> Router {
    let app = Arc::new(App {
        mesh,
        settings,
        metrics,
        limits,
    });
    Router::new()
        .route("/verify", any(verify))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .fallback(|| async { respond(Rejection::not_found().into_response()) })
        .with_state(app)
}

/// Alive whatever happens to Redis and issuers; ready once the marks are loaded.
async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.mesh.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the revocations are not loaded yet\n")
    }
}

async fn metrics_text(State(app): State<Arc<App>>) -> Response {
    match app.metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be collected");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn verify(State(app): State<Arc<App>>, method: Method, headers: HeaderMap) -> Response {
    // Of a request that memory cannot answer.
    let mut span = Span::none();
    let decided = decide(&app, &method, &headers, &mut span);
    let answered = match tokio::time::timeout(app.limits.request, decided).await {
        Ok(answered) => answered,
        Err(_) => Err(Rejection::timed_out()),
    };
    let mut response = match answered {
        Ok(headers) => (StatusCode::OK, headers).into_response(),
        Err(rejection) => respond(rejection.into_response()),
    };
    // No intermediary may keep an answer about a token.
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    requests::answered(&span, &response);
    response
}

/// The headers of an answer that lets the request pass.
async fn decide(app: &App, method: &Method, headers: &HeaderMap, span: &mut Span) -> Result<HeaderMap, Rejection> {
    let settings = &app.settings;
    let original = Original::of(headers).map_err(|ambiguous| Rejection::bad_request(ambiguous.0))?;
    let mut answer = HeaderMap::new();
    let demand = settings.routes.demand(&original).map_err(Rejection::bad_request)?;
    let Demand::Token { verifier, demands } = demand else {
        settings.identity.write_empty(&mut answer);
        return Ok(answer);
    };
    let token = bearer::find_token(headers, &settings.source)?.ok_or_else(Rejection::no_credential)?;
    let found = match verifier.try_hit(token.as_bytes()) {
        Some(hit) => hit?,
        None => {
            *span = requests::span(method, "/verify", headers);
            verifier.answer(token.as_bytes()).instrument(span.clone()).await?
        }
    };
    demands.check(&found.verdict)?;
    settings.identity.write(&found.verdict, &mut answer);
    if settings.explain {
        authmesh_tower::explain::explain_headers(&found, &mut answer);
    }
    Ok(answer)
}

fn respond(response: http::Response<String>) -> Response {
    response.map(axum::body::Body::from)
}
