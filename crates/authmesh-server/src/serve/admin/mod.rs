//! The admin API: JSON in, JSON out, problem details (RFC 9457) for errors, behind a bearer credential.

mod problem;
mod requests;

use std::sync::Arc;

use authmesh::{AuthMesh, RevokeError};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use self::problem::Problem;
use self::requests::{Explain, Invalidate, Refresh, Revoke};
use super::Limits;
use crate::config::Secret;

/// The longest body: a token and a few words.
const BODY_LIMIT: usize = 2 << 20;

#[derive(Debug, Clone)]
struct App {
    mesh: AuthMesh,
    credential: Arc<Secret>,
    limits: Limits,
}

pub(super) fn router(mesh: AuthMesh, credential: Arc<Secret>, limits: Limits) -> Router {
    let app = App {
        mesh,
        credential,
        limits,
    };
    Router::new()
        .route("/v1/stats", get(stats))
        .route("/v1/health", get(health))
        .route("/v1/members", get(members))
        .route("/v1/revocations", post(revoke))
        .route("/v1/invalidations", post(invalidate))
        .route("/v1/clear", post(clear))
        .route("/v1/keys/refresh", post(refresh))
        .route("/v1/explain", post(explain))
        .route("/openapi.json", get(openapi))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "not-found", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "the path does not take this method")
        })
        // Around everything, unknown paths included: without the credential nothing is told.
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// Credential, time and cache rules of every request.
async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = if is_authorized(&app.credential, &request) {
        match tokio::time::timeout(app.limits.request, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "timed-out",
                "the request took too long; what it began goes on",
            )
            .into_response(),
        }
    } else {
        let mut response = Problem::new(
            StatusCode::UNAUTHORIZED,
            "admin-credential",
            "the admin API wants its own credential: Authorization: Bearer <the admin token>",
        )
        .into_response();
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"authmesh admin\""),
        );
        response
    };
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_authorized(credential: &Secret, request: &Request) -> bool {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some((scheme, given)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return false;
    };
    // Constant time in the content; the length of the credential is no secret.
    scheme.eq_ignore_ascii_case("bearer") && bool::from(given.trim().as_bytes().ct_eq(credential.expose().as_bytes()))
}

/// Reads a JSON body, whatever its label says: `curl -d` labels everything as a form.
async fn body<T: for<'de> Deserialize<'de>>(body: Body) -> Result<T, Problem> {
    let bytes = axum::body::to_bytes(body, BODY_LIMIT).await.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body",
            "the body was cut off or is longer than 2 MiB",
        )
    })?;
    let bytes = if bytes.is_empty() {
        Bytes::from_static(b"{}")
    } else {
        bytes
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        // serde_json quotes what it read only for unknown names, which are not secret; values are left out.
        let what = match error.classify() {
            serde_json::error::Category::Data if error.to_string().starts_with("unknown field") => error.to_string(),
            _ => format!(
                "not the JSON that this path takes (line {}, column {})",
                error.line(),
                error.column()
            ),
        };
        Problem::new(StatusCode::BAD_REQUEST, "body", what)
    })
}

async fn stats(State(app): State<App>) -> impl IntoResponse {
    Json(app.mesh.stats())
}

async fn health(State(app): State<App>) -> impl IntoResponse {
    Json(app.mesh.health())
}

async fn members(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    let members = app
        .mesh
        .members()
        .await
        .map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store", error.to_string()))?;
    Ok(Json(json!({ "members": members })))
}

async fn revoke(State(app): State<App>, request: Body) -> Result<impl IntoResponse, Problem> {
    let order: Revoke = body(request).await?;
    let target = order.target(&app.mesh)?;
    let mut revocation = app.mesh.revoke(target).by(order.by.unwrap_or_else(|| "admin".into()));
    if let Some(why) = order.why {
        revocation = revocation.why(why);
    }
    if let Some(session) = order.except_session {
        revocation = revocation.except_session(session);
    }
    if let Some(at) = order.not_before {
        revocation = revocation.not_before(at);
    }
    Ok(Json(revocation.await?))
}

async fn invalidate(State(app): State<App>, request: Body) -> Result<impl IntoResponse, Problem> {
    let order: Invalidate = body(request).await?;
    let committed = app.mesh.verifier().invalidate(order.token.as_str()).await?;
    Ok(Json(json!({ "state": state(committed) })))
}

async fn clear(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    tracing::info!(target: "authmesh::audit", "all cached verdicts are cleared");
    let committed = app.mesh.clear().await?;
    Ok(Json(json!({ "state": state(committed) })))
}

async fn refresh(State(app): State<App>, request: Body) -> Result<impl IntoResponse, Problem> {
    let order: Refresh = body(request).await?;
    let issuers: Vec<String> = match order.issuer {
        Some(issuer) => vec![issuer],
        None => app.mesh.issuers().map(str::to_owned).collect(),
    };
    let mut results = Vec::with_capacity(issuers.len());
    for issuer in issuers {
        match app.mesh.refresh_keys(&issuer).await {
            None => return Err(Problem::from(RevokeError::UnknownIssuer)),
            Some(Ok(())) => results.push(json!({ "issuer": issuer, "refreshed": true })),
            Some(Err(error)) => {
                results.push(json!({ "issuer": issuer, "refreshed": false, "problem": error.to_string() }));
            }
        }
    }
    Ok(Json(json!({ "issuers": results })))
}

async fn explain(State(app): State<App>, request: Body) -> Result<impl IntoResponse, Problem> {
    let order: Explain = body(request).await?;
    Ok(Json(app.mesh.verifier().explain(order.token.as_str()).await))
}

async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], include_str!("openapi.json"))
}

const fn state(committed: bool) -> &'static str {
    if committed { "committed" } else { "unconfirmed" }
}
