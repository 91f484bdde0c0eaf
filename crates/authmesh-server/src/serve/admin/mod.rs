//! The admin API: JSON in, JSON out, problem details (RFC 9457) for errors, behind a bearer credential.

mod members;
mod observations;
pub(super) mod problem;
mod requests;
mod warm;

use std::sync::Arc;

use authmesh::proto::crypto::ScopeKind;
use authmesh::{AuthMesh, MarkPage, MarkQuery};
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::HeaderValue;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use self::problem::Problem;
use self::requests::{Explain, ExplainMarks, Invalidate, ListMarks, MAX_DEADLINE, Revoke, Wait};
use super::Limits;
use super::telemetry::requests::traced;
use crate::config::Secret;

/// The most revocations in one request.
const MAX_BATCH: usize = 1000;
/// The longest body: a batch, or a token and a few words.
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
        .route("/v1/members", get(members::list))
        .route("/v1/members/{incarnation}", delete(members::forget))
        .route("/v1/revocations", post(revoke))
        .route("/v1/marks", get(list_marks))
        .route("/v1/marks/explain", post(explain_marks))
        .route("/v1/invalidations", post(invalidate))
        .route("/v1/clear", post(clear))
        .route("/v1/keys/refresh", post(warm::refresh))
        .route("/v1/warm", post(warm::warm))
        .route("/v1/explain", post(explain))
        .route("/v1/observations", post(observations::make))
        .route("/openapi.json", get(openapi))
        .fallback(|| async { Problem::new(problem::NOT_FOUND, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(problem::METHOD_NOT_ALLOWED, "the path does not take this method")
        })
        // Around everything, unknown paths included: without the credential nothing is told.
        // Inside of the guard: whoever has no credential makes no span.
        .layer(middleware::from_fn(|request, next| traced("admin", request, next)))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

/// Credential, time and cache rules of every request.
async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = if is_authorized(&app.credential, &request) {
        // Whoever asks for a long wait gets it.
        let limit = match request.uri().path() {
            "/v1/revocations" => app.limits.request + MAX_DEADLINE,
            "/v1/observations" => app.limits.request + observations::LONGEST,
            "/v1/keys/refresh" | "/v1/warm" => app.limits.request + warm::LONGEST,
            _ => app.limits.request,
        };
        match tokio::time::timeout(limit, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                Problem::new(problem::TIMED_OUT, "the request took too long; what it began goes on").into_response()
            }
        }
    } else {
        let mut response = Problem::new(
            problem::ADMIN_CREDENTIAL,
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
    parse(&bytes(body).await?)
}

async fn bytes(body: Body) -> Result<Bytes, Problem> {
    let bytes = axum::body::to_bytes(body, BODY_LIMIT)
        .await
        .map_err(|_| Problem::new(problem::BODY_TOO_LARGE, "the body was cut off or is longer than 2 MiB"))?;
    Ok(if bytes.is_empty() {
        Bytes::from_static(b"{}")
    } else {
        bytes
    })
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        // serde_json quotes what it read only for unknown names, which are not secret; values are left out.
        let what = match error.classify() {
            serde_json::error::Category::Data if error.to_string().starts_with("unknown field") => error.to_string(),
            _ => format!(
                "not the JSON that this path takes (line {}, column {})",
                error.line(),
                error.column()
            ),
        };
        Problem::new(problem::BODY, what)
    })
}

async fn stats(State(app): State<App>) -> impl IntoResponse {
    Json(app.mesh.stats())
}

async fn health(State(app): State<App>) -> impl IntoResponse {
    Json(app.mesh.health())
}

/// One revocation, or a list of them.
async fn revoke(State(app): State<App>, request: Body) -> Result<Json<Value>, Problem> {
    let bytes = bytes(request).await?;
    if bytes.trim_ascii_start().first() != Some(&b'[') {
        let request = parse::<Revoke>(&bytes)?;
        let wait = request.wait()?;
        let order = request.order(&app.mesh).await?;
        let batch = wait.of(app.mesh.revoke_all([order]));
        let mut receipts = batch.await.map_err(|alone| alone.error)?;
        return Ok(Json(json!(receipts.pop())));
    }
    let list: Vec<Revoke> = parse(&bytes)?;
    if list.len() > MAX_BATCH {
        return Err(Problem::new(
            problem::REVOCATION,
            format!("a batch has at most {MAX_BATCH} revocations; send several"),
        ));
    }
    let mut wait = Wait::default();
    let mut orders = Vec::with_capacity(list.len());
    for (at, request) in list.into_iter().enumerate() {
        wait = wait.and(request.wait().map_err(|problem| problem.at(at))?);
        orders.push(request.order(&app.mesh).await.map_err(|problem| problem.at(at))?);
    }
    let receipts = wait.of(app.mesh.revoke_all(orders)).await?;
    Ok(Json(json!({ "receipts": receipts })))
}

async fn list_marks(
    State(app): State<App>,
    query: Result<Query<ListMarks>, QueryRejection>,
) -> Result<Json<MarkPage>, Problem> {
    let bad = |what: &str| Problem::new(problem::QUERY, what);
    let Query(query) =
        query.map_err(|_| bad("the query takes `kind`, `after` and `limit`, each once, and nothing else"))?;
    if query.limit.is_some_and(|limit| !(1..=1000).contains(&limit)) {
        return Err(bad("`limit` is 1 to 1,000"));
    }
    let kind = query.kind.map(|kind| {
        ScopeKind::from_word(&kind)
            .ok_or_else(|| bad("`kind` is one of token, jti, session, subject, client, key, issuer, tag"))
    });
    let after = query.after.map(|after| {
        after
            .parse()
            .map_err(|_| bad("`after` is the `next` of the page before"))
    });
    Ok(Json(app.mesh.marks(MarkQuery {
        kind: kind.transpose()?,
        after: after.transpose()?,
        limit: query.limit.unwrap_or_default(),
    })))
}

async fn explain_marks(State(app): State<App>, request: Body) -> Result<impl IntoResponse, Problem> {
    let named = body::<ExplainMarks>(request).await?.named(&app.mesh)?;
    let marks = app.mesh.explain_marks(named.target).await?;
    Ok(Json(json!({ "marks": marks })))
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
