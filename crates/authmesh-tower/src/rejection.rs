//! The one place that maps errors to HTTP.
//!
//! Status and challenge follow RFC 6750 section 3, the body is a problem detail (RFC 9457). No token and no claim value ever
//! stands in either.

use std::time::Duration;

use authmesh::{Fault, VerifyError};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::bearer::CredentialError;

/// Where the problem types are described.
const TYPES: &str = "https://authmesh.dev/problems/";

/// Every problem type, without its prefix: the stable part of the interface. The first ones are [`VerifyError::code`] with
/// hyphens.
pub const PROBLEM_TYPES: [&str; 21] = [
    "too-large",
    "malformed",
    "unsupported",
    "bad-signature",
    "unknown-key",
    "expired",
    "not-yet-valid",
    "wrong-issuer",
    "wrong-audience",
    "wrong-type",
    "missing-claim",
    "invalid-claim",
    "lifetime-too-long",
    "revoked",
    "could-not-ask",
    "blind",
    "no-credential",
    "invalid-request",
    "insufficient-scope",
    "timed-out",
    "not-found",
];

/// A refusal, ready to be answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    status: StatusCode,
    problem: String,
    detail: String,
    challenge: Option<String>,
    retry_after: Option<Duration>,
}

impl Rejection {
    fn new(status: StatusCode, problem: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            status,
            problem: problem.into(),
            detail: detail.into(),
            challenge: None,
            retry_after: None,
        }
    }

    fn challenged(mut self, error: &str, more: &str) -> Self {
        let description = describable(&self.detail);
        self.challenge = Some(format!(
            "Bearer realm=\"authmesh\", error=\"{error}\", error_description=\"{description}\"{more}"
        ));
        self
    }

    /// The request carries no token: 401 with a challenge that names no error (RFC 6750 section 3.1).
    #[must_use]
    pub fn no_credential() -> Self {
        let mut rejection = Self::new(
            StatusCode::UNAUTHORIZED,
            "no-credential",
            "the request carries no bearer token",
        );
        rejection.challenge = Some("Bearer realm=\"authmesh\"".into());
        rejection
    }

    /// The request cannot be understood: 400.
    #[must_use]
    pub fn bad_request(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", why).challenged("invalid_request", "")
    }

    /// The token is valid and lacks scopes: 403.
    #[must_use]
    pub fn insufficient_scope<'a>(needed: impl IntoIterator<Item = &'a str>) -> Self {
        // What is not a scope-token (RFC 6749 section 3.3) cannot stand in the challenge.
        let scopes: Vec<&str> = needed
            .into_iter()
            .filter(|scope| scope.bytes().all(is_scope_char))
            .collect();
        let more = format!(", scope=\"{}\"", scopes.join(" "));
        Self::new(
            StatusCode::FORBIDDEN,
            "insufficient-scope",
            "the token does not carry the scopes that this needs",
        )
        .challenged("insufficient_scope", &more)
    }

    /// The answer took too long: 503.
    #[must_use]
    pub fn timed_out() -> Self {
        let mut rejection = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timed-out",
            "the answer took too long; nothing is known about the token",
        );
        rejection.retry_after = Some(Duration::from_secs(1));
        rejection
    }

    /// There is nothing at the path: 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is nothing at this path")
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The problem type, without its prefix: one of [`PROBLEM_TYPES`].
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The value of `WWW-Authenticate`.
    #[must_use]
    pub fn challenge(&self) -> Option<&str> {
        self.challenge.as_deref()
    }

    /// The value of `Retry-After`, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after
            .map(|wait| (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// The whole answer.
    #[must_use]
    pub fn into_response(self) -> Response<String> {
        let body = json!({
            "type": format!("{TYPES}{}", self.problem),
            "title": self.status.canonical_reason().unwrap_or("Problem"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(body.to_string());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge.as_deref().and_then(|text| text.parse().ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<CredentialError> for Rejection {
    fn from(error: CredentialError) -> Self {
        Self::bad_request(&error.to_string())
    }
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        let problem = error.code().replace('_', "-");
        match error.fault() {
            Fault::Token => {
                Self::new(StatusCode::UNAUTHORIZED, problem, error.to_string()).challenged("invalid_token", "")
            }
            Fault::Service => {
                // What went wrong upstream is for the operator's log, not for whoever sent the token.
                let detail = match &error {
                    VerifyError::CouldNotAsk { .. } => "the issuer's keys could not be asked for; ask again".to_owned(),
                    other => other.to_string(),
                };
                let mut rejection = Self::new(StatusCode::SERVICE_UNAVAILABLE, problem, detail);
                rejection.retry_after = Some(error.retry_after().unwrap_or(Duration::from_secs(1)));
                rejection
            }
        }
    }
}

/// `error_description` takes printable ASCII without `"` and `\` (RFC 6750 section 3).
fn describable(text: &str) -> String {
    let fits = |c: &char| matches!(c, '\x20'..='\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
    text.chars().filter(fits).collect()
}

const fn is_scope_char(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use authmesh::proto::crypto::ScopeKind;

    use super::*;

    fn every_verify_error() -> Vec<VerifyError> {
        let d = Duration::from_millis(1500);
        vec![
            VerifyError::TooLarge { bytes: 2, limit: 1 },
            VerifyError::Malformed("x"),
            VerifyError::Unsupported("x \"quoted\" \\"),
            VerifyError::BadSignature,
            VerifyError::UnknownKey,
            VerifyError::Expired { ago: d },
            VerifyError::NotYetValid { claim: "nbf", ahead: d },
            VerifyError::WrongIssuer,
            VerifyError::WrongAudience,
            VerifyError::WrongType,
            VerifyError::MissingClaim("exp".into()),
            VerifyError::InvalidClaim("exp"),
            VerifyError::LifetimeTooLong { limit: d },
            VerifyError::Revoked(ScopeKind::Subject),
            VerifyError::CouldNotAsk {
                what: "https://idp.internal refused".into(),
                retry_after: d,
            },
            VerifyError::Blind { blind_for: None },
        ]
    }

    #[test]
    fn an_outage_is_never_a_verdict_and_every_error_has_a_documented_type() {
        for error in every_verify_error() {
            let fault = error.fault();
            let rejection = Rejection::from(error);
            assert!(PROBLEM_TYPES.contains(&rejection.problem()), "{}", rejection.problem());
            let expected = match fault {
                Fault::Token => StatusCode::UNAUTHORIZED,
                Fault::Service => StatusCode::SERVICE_UNAVAILABLE,
            };
            assert_eq!(rejection.status(), expected);
            assert_eq!(rejection.challenge().is_some(), fault == Fault::Token);
            assert_eq!(rejection.retry_after().is_some(), fault == Fault::Service);
            let response = rejection.into_response();
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
            let body: serde_json::Value = serde_json::from_str(response.body()).unwrap();
            assert_eq!(body["status"], expected.as_u16());
            assert!(
                !response.body().contains("idp.internal"),
                "upstream detail is for the operator"
            );
        }
    }

    #[test]
    fn challenges_follow_rfc_6750() {
        assert_eq!(
            Rejection::no_credential().challenge().unwrap(),
            "Bearer realm=\"authmesh\""
        );
        let quoted = Rejection::from(VerifyError::Unsupported("a \"b\" \\ ü"));
        let challenge = quoted.challenge().unwrap();
        assert!(
            challenge.ends_with("error=\"invalid_token\", error_description=\"the token is not supported: a b  \"")
        );
        let scope = Rejection::insufficient_scope(["read", "bad\"scope", "write"]);
        assert_eq!(scope.status(), StatusCode::FORBIDDEN);
        assert!(scope.challenge().unwrap().ends_with(", scope=\"read write\""));
        assert_eq!(
            Rejection::from(CredentialError::TwoHeaders).status(),
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn retry_after_is_whole_seconds_rounded_up() {
        let of = |retry_after| {
            Rejection::from(VerifyError::CouldNotAsk {
                what: String::new(),
                retry_after,
            })
            .retry_after()
            .unwrap()
        };
        assert_eq!(of(Duration::ZERO), 1);
        assert_eq!(of(Duration::from_millis(1001)), 2);
        assert_eq!(of(Duration::from_secs(7)), 7);
    }
}
