//! OpenID Connect Back-Channel Logout 1.0: issuers post logout tokens here, on a listener and a budget of its own.
//!
//! Nobody shows a credential: the token is one. So whoever can reach the listener can make the node check signatures, and the
//! budget says how often.

mod budget;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use authmesh::{AuthMesh, CommitState, Fault, LogoutError};
use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Form, FromRequest as _, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::header::{CACHE_CONTROL, PRAGMA, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;

use self::budget::Purse;
use super::Limits;
use super::telemetry::requests::traced;

pub use self::budget::Budget;

/// Where issuers post: their `backchannel_logout_uri` ends with it.
const PATH: &str = "/backchannel-logout";
/// The longest body, in bytes. A logout token has a few hundred.
const BODY_LIMIT: usize = 64 << 10;
/// How long a body may take to arrive: it holds room of the budget meanwhile.
const BODY_TIME: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct App {
    mesh: AuthMesh,
    purse: Purse,
    limits: Limits,
}

/// The body of a logout request (section 2.5). Other members are ignored. No `Debug`: it holds a token.
#[derive(Deserialize)]
struct Body {
    logout_token: String,
}

/// `POST /backchannel-logout`, and nothing else.
pub(super) fn router(mesh: AuthMesh, budget: Budget, limits: Limits) -> Router {
    let app = App {
        mesh,
        purse: Purse::new(budget),
        limits,
    };
    let nothing = || async {
        refuse(
            StatusCode::NOT_FOUND,
            "invalid_request",
            "there is nothing at this path",
        )
    };
    let wrong_method = || async {
        refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "invalid_request",
            "a logout token is sent by POST",
        )
    };
    Router::new()
        .route(PATH, post(log_out))
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn(|request, next| {
            traced("logout", request, next)
        }))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(axum::middleware::map_response(not_stored))
        .with_state(Arc::new(app))
}

/// No answer is kept by anybody (section 2.8).
async fn not_stored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

async fn log_out(State(app): State<Arc<App>>, request: Request) -> Response {
    let Some(_room) = app.purse.spend() else {
        let spent = refuse(
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            "too many logout tokens at present; try again",
        );
        return after(Duration::from_secs(1), spent);
    };
    let body = match tokio::time::timeout(BODY_TIME, Form::<Body>::from_request(request, &())).await {
        Ok(Ok(Form(body))) => body,
        Ok(Err(error)) => return bad_body(&error),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "invalid_request", "the body took too long"),
    };
    let work = app.mesh.back_channel_logout(body.logout_token.as_bytes());
    match tokio::time::timeout(app.limits.request, work).await {
        Ok(Ok(receipt)) if receipt.state == CommitState::Committed => StatusCode::OK.into_response(),
        Ok(Ok(_)) => unavailable(
            Duration::from_secs(1),
            "the logout is in force on this node and was not confirmed by the cluster in time; it will be",
        ),
        Ok(Err(error)) => answer(&error),
        Err(_) => unavailable(Duration::from_secs(1), "the logout took too long"),
    }
}

fn answer(error: &LogoutError) -> Response {
    match error.fault() {
        Fault::Token => refuse(StatusCode::BAD_REQUEST, "invalid_request", &error.to_string()),
        // What happened to an upstream is the operator's to know, not the caller's.
        Fault::Service => unavailable(
            error.retry_after().unwrap_or(Duration::from_secs(1)),
            "it cannot be told now whether the logout token is valid, or its mark cannot be made",
        ),
    }
}

fn bad_body(error: &FormRejection) -> Response {
    let response = error.status();
    if response == StatusCode::PAYLOAD_TOO_LARGE {
        return refuse(response, "invalid_request", "the body is longer than 64 KiB");
    }
    refuse(
        StatusCode::BAD_REQUEST,
        "invalid_request",
        "the body is application/x-www-form-urlencoded with exactly one logout_token",
    )
}

/// Not a verdict: the same token may be sent again.
fn unavailable(retry: Duration, why: &str) -> Response {
    after(
        retry,
        refuse(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", why),
    )
}

fn after(retry: Duration, mut response: Response) -> Response {
    let seconds = retry.as_millis().div_ceil(1000).max(1);
    if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

/// An error of section 2.8.
fn refuse(status: StatusCode, error: &str, description: &str) -> Response {
    (
        status,
        Json(json!({ "error": error, "error_description": description })),
    )
        .into_response()
}
