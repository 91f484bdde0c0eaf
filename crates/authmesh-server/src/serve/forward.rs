//! Forward auth: a proxy asks about a request, and the answer says whether it may pass, and who it is.

use std::sync::Arc;

use authmesh::AuthMesh;
use authmesh::possession::{Presentation, Scheme};
use authmesh_tower::bearer::{self, Place, TokenSource};
use authmesh_tower::head::RequestHead;
use authmesh_tower::identity::IdentityHeaders;
use authmesh_tower::possession::DPOP_NONCE;
use authmesh_tower::rejection::Rejection;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
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
    /// Where clients reach what the proxies ask about; of none the proxy is believed.
    origins: Vec<String>,
    /// Where the proxy tells the client's certificate.
    client_cert: Option<HeaderName>,
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
            origins: config.possession.origins.clone(),
            client_cert: name(&config.possession.client_cert_header),
            routes: Routes::new(mesh, &config.routes)?,
        })
    }

    /// The token as the client presented it to the proxy.
    fn presentation<'a>(
        &'a self,
        headers: &'a HeaderMap,
        original: &'a Original,
        token: &'a [u8],
        place: Place,
    ) -> Presentation<'a> {
        let scheme = match place {
            Place::Dpop => Scheme::Dpop,
            Place::Cookie => Scheme::Unnamed,
            _ => Scheme::Bearer,
        };
        let mut presentation = Presentation::new(token, scheme);
        if scheme != Scheme::Bearer {
            presentation = presentation.proofs(headers.get_all(HeaderName::from_static("dpop")));
            if let Some((method, uri)) = original.asked(&self.origins) {
                presentation = presentation.request(method, uri);
            }
        }
        if let Some(name) = &self.client_cert {
            presentation = presentation.certificate_header(headers.get_all(name));
        }
        presentation
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
            origins: Vec::new(),
            client_cert: None,
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

async fn verify(State(app): State<Arc<App>>, request: Request) -> Response {
    // A body is the client's business, and is not read.
    let (parts, _) = request.into_parts();
    let head = RequestHead::from(&parts);
    // Of a request that memory cannot answer.
    let mut span = Span::none();
    let decided = decide(&app, &head, &mut span);
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
async fn decide(app: &App, head: &RequestHead<'_>, span: &mut Span) -> Result<HeaderMap, Rejection> {
    let settings = &app.settings;
    let original = Original::of(head.headers).map_err(|ambiguous| Rejection::bad_request(ambiguous.0))?;
    let mut answer = HeaderMap::new();
    let demand = settings.routes.demand(&original).map_err(Rejection::bad_request)?;
    let Demand::Token { verifier, demands } = demand else {
        settings.identity.write_empty(&mut answer);
        return Ok(answer);
    };
    let found = bearer::find_presented(head, &settings.source)?;
    let (token, place) = found.ok_or_else(Rejection::no_credential)?;
    let presentation = settings.presentation(head.headers, &original, token.as_bytes(), place);
    let found = match verifier.try_hit_presented(&presentation) {
        Some(hit) => hit,
        None => {
            *span = requests::span(head.method, "/verify", head.headers);
            verifier.answer_presented(&presentation).instrument(span.clone()).await
        }
    };
    let found =
        found.map_err(|error| Rejection::from(error).with_dpop_algorithms(verifier.policy().dpop.algorithms))?;
    demands.check(&found.verdict)?;
    settings.identity.write(&found.verdict, &mut answer);
    let is_dpop = found.verdict.binding().is_some_and(|binding| binding.jkt().is_some());
    if let Some(nonce) = is_dpop.then(|| verifier.dpop_nonce()).flatten()
        && let Ok(nonce) = HeaderValue::try_from(&*nonce)
    {
        answer.insert(DPOP_NONCE, nonce);
    }
    if settings.explain {
        authmesh_tower::explain::explain_headers(&found, &mut answer);
    }
    Ok(answer)
}

fn respond(response: http::Response<String>) -> Response {
    response.map(axum::body::Body::from)
}
