//! Problem details (RFC 9457) of the admin API.

use authmesh::{BatchError, Fault, RevokeError};
use authmesh_tower::rejection;
use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

/// One kind of problem. Its name is the last part of the type's URI, and never changes its meaning; where forward auth has
/// a type of the same name, it is the same type.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) status: StatusCode,
}

macro_rules! kinds {
    ($($constant:ident: $name:literal, $status:ident;)*) => {
        $(pub(super) const $constant: Kind = Kind { name: $name, status: StatusCode::$status };)*

        /// Every kind, as the docs list them.
        #[cfg(test)]
        pub(in crate::serve) const NAMES: &[(&str, u16)] = &[$(($name, StatusCode::$status.as_u16())),*];
    };
}

kinds! {
    ADMIN_CREDENTIAL: "admin-credential", UNAUTHORIZED;
    NOT_FOUND: "not-found", NOT_FOUND;
    METHOD_NOT_ALLOWED: "method-not-allowed", METHOD_NOT_ALLOWED;
    BODY: "body", BAD_REQUEST;
    BODY_TOO_LARGE: "body-too-large", PAYLOAD_TOO_LARGE;
    QUERY: "query", BAD_REQUEST;
    REVOCATION: "revocation", BAD_REQUEST;
    BAD_VALUE: "bad-value", BAD_REQUEST;
    ABSURD_TIME: "absurd-time", BAD_REQUEST;
    CONFIRMATION: "confirmation", CONFLICT;
    MEMBER_NOT_FOUND: "member-not-found", NOT_FOUND;
    MEMBER_LIVE: "member-live", CONFLICT;
    UNKNOWN_ISSUER: "unknown-issuer", UNPROCESSABLE_ENTITY;
    KEY_NOT_FOUND: "key-not-found", UNPROCESSABLE_ENTITY;
    TOKEN_REFUSED: "token-refused", UNPROCESSABLE_ENTITY;
    COULD_NOT_ASK: "could-not-ask", SERVICE_UNAVAILABLE;
    UNKNOWN_KIND: "unknown-kind", SERVICE_UNAVAILABLE;
    MARKS_FULL: "marks-full", INSUFFICIENT_STORAGE;
    BUSY: "busy", SERVICE_UNAVAILABLE;
    SHUTTING_DOWN: "shutting-down", SERVICE_UNAVAILABLE;
    STORE: "store", SERVICE_UNAVAILABLE;
    TIMED_OUT: "timed-out", SERVICE_UNAVAILABLE;
    INTERNAL: "internal", INTERNAL_SERVER_ERROR;
}

/// A problem, ready to be answered with.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    /// Members beyond those of RFC 9457.
    more: Map<String, Value>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The problem of one of several, counted from 0.
    pub(super) fn at(mut self, at: usize) -> Self {
        self.detail = format!("revocation {} of the batch: {}", at + 1, self.detail);
        self.with("at", at)
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let kind = match &error {
            RevokeError::UnknownIssuer => UNKNOWN_ISSUER,
            RevokeError::BadValue(_) => BAD_VALUE,
            RevokeError::UnknownKey(_) => KEY_NOT_FOUND,
            RevokeError::Token(error) if error.fault() == Fault::Service => COULD_NOT_ASK,
            RevokeError::Token(_) => TOKEN_REFUSED,
            RevokeError::Full { .. } => MARKS_FULL,
            RevokeError::Busy => BUSY,
            RevokeError::AbsurdTime { .. } => ABSURD_TIME,
            RevokeError::ShutDown => SHUTTING_DOWN,
            RevokeError::UnknownKind { .. } => UNKNOWN_KIND,
            _ => INTERNAL,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<BatchError> for Problem {
    fn from(BatchError { at, error }: BatchError) -> Self {
        let problem = Self::from(error);
        match at {
            Some(at) => problem.at(at),
            None => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Kind { name, status } = self.kind;
        let mut body = json!({
            "type": format!("{}{name}", rejection::PREFIX),
            "title": status.canonical_reason().unwrap_or("Problem"),
            "status": status.as_u16(),
            "detail": self.detail,
        });
        if let Some(body) = body.as_object_mut() {
            body.extend(self.more);
        }
        let mut response = (status, Json(body)).into_response();
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
