//! Problem details (RFC 9457) of the admin API.

use authmesh::{Fault, RevokeError};
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::json;

/// A problem, ready to be answered with.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let (status, code) = match &error {
            RevokeError::UnknownIssuer => (StatusCode::UNPROCESSABLE_ENTITY, "unknown-issuer"),
            RevokeError::BadValue(_) => (StatusCode::BAD_REQUEST, "bad-value"),
            RevokeError::Token(error) if error.fault() == Fault::Service => {
                (StatusCode::SERVICE_UNAVAILABLE, error.code())
            }
            RevokeError::Token(_) => (StatusCode::UNPROCESSABLE_ENTITY, "token-refused"),
            RevokeError::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "marks-full"),
            RevokeError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            RevokeError::AbsurdTime { .. } => (StatusCode::BAD_REQUEST, "absurd-time"),
            RevokeError::ShutDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting-down"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "revocation"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("https://authmesh.dev/problems/{}", self.code.replace('_', "-")),
            "title": self.status.canonical_reason().unwrap_or("Problem"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
