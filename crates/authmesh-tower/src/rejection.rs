//! The one place that maps errors to HTTP.
//!
//! Status and challenge follow RFC 6750 section 3, the body is a problem detail (RFC 9457). No token and no claim's value ever
//! stands in either.
//!
//! | what happened | status | `WWW-Authenticate: Bearer` |
//! | --- | --- | --- |
//! | no token | 401 | `realm` alone |
//! | more than one, or what is no token | 400 | `error="invalid_request"` |
//! | the token is refused ([`Fault::Token`]) | 401 | `error="invalid_token"` |
//! | the token lacks scopes | 403 | `error="insufficient_scope"`, `scope` |
//! | the token lacks a role | 403 | `error="insufficient_scope"` |
//! | a handler asks who it is where no layer stands | 500 | none: the service is set up wrongly |
//! | the token is bound to a key, and its proof is missing or none | 401 | `DPoP`: `error="invalid_dpop_proof"`, `invalid_token` or `use_dpop_nonce` with `DPoP-Nonce`; `algs` (RFC 9449 section 7.1) |
//! | nothing can be told ([`Fault::Service`], a timeout) | 503, `Retry-After` | none: the token is not at fault |
//!
//! Every answer says `Cache-Control: no-store`: no intermediary may keep a word about a token.

mod problems;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use authmesh::jose::{Algorithm, AlgorithmSet};
use authmesh::possession::ProofError;
use authmesh::{Fault, VerifyError};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

pub use self::problems::{PREFIX, ProblemType, problem_types};
use crate::bearer::CredentialError;
use crate::possession::DPOP_NONCE;
use crate::scopes::is_scope;

/// Longest detail, in bytes; what is longer is cut.
pub const MAX_DETAIL: usize = 512;

/// Longest list of scopes in a challenge, in bytes. Scopes that would go beyond it are left out.
pub const MAX_SCOPES: usize = 2048;

/// Longest `Retry-After`: one hour. A longer wait is told as this one.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A refusal, ready to be answered with. Holds no token and no claim's value.
///
/// [`Rejection::into_response`] is the whole answer. A surface that cannot use it builds its own from the accessors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", problem.title)]
pub struct Rejection {
    problem: &'static ProblemType,
    detail: String,
    realm: Cow<'static, str>,
    challenge: Challenge,
    /// `algs` of the challenge of DPoP; `None` where it is Bearer's.
    dpop: Option<AlgorithmSet>,
    /// What the client's next proofs must hold.
    nonce: Option<Box<str>>,
    retry_after: Option<u64>,
}

/// What `WWW-Authenticate` says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Challenge {
    None,
    /// No error code: there was no credential that could be wrong (RFC 6750 section 3.1).
    Plain,
    Error(&'static str),
    /// The scopes that are needed, separated by spaces. May be empty.
    InsufficientScope(String),
}

impl Rejection {
    fn new(problem: &'static ProblemType, detail: &str, challenge: Challenge) -> Self {
        Self {
            problem,
            detail: cut(detail, MAX_DETAIL).to_owned(),
            realm: Cow::Borrowed("authmesh"),
            challenge,
            dpop: None,
            nonce: None,
            retry_after: None,
        }
    }

    fn try_again(problem: &'static ProblemType, detail: &str, after: Duration) -> Self {
        let rounded_up = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        let mut rejection = Self::new(problem, detail, Challenge::None);
        rejection.retry_after = Some(rounded_up.clamp(1, MAX_RETRY_AFTER.as_secs()));
        rejection
    }

    /// The request carries no token: 401 with a challenge that names no error (RFC 6750 section 3.1).
    #[must_use]
    pub fn no_credential() -> Self {
        Self::new(
            problems::NO_CREDENTIAL,
            "the request carries no bearer token; send it in the Authorization header",
            Challenge::Plain,
        )
    }

    /// The request cannot be understood: 400. `why` is shown to whoever sent it, so it must not quote the request.
    #[must_use]
    pub fn bad_request(why: &str) -> Self {
        Self::new(problems::INVALID_REQUEST, why, Challenge::Error("invalid_request"))
    }

    /// The token is valid and lacks scopes: 403. `needed` are the scopes to ask for; what is no `scope-token` (RFC 6749
    /// section 3.3) is left out.
    #[must_use]
    pub fn insufficient_scope<'a>(needed: impl IntoIterator<Item = &'a str>) -> Self {
        let mut scopes = String::new();
        for scope in needed.into_iter().filter(|scope| is_scope(scope)) {
            let space = if scopes.is_empty() { "" } else { " " };
            if scopes.len() + space.len() + scope.len() <= MAX_SCOPES {
                scopes.push_str(space);
                scopes.push_str(scope);
            }
        }
        Self::new(
            problems::INSUFFICIENT_SCOPE,
            "the token does not carry the scopes that this needs",
            Challenge::InsufficientScope(scopes),
        )
    }

    /// The token is valid and its holder lacks a role: 403. Roles are the service's own business: the answer names none.
    #[must_use]
    pub fn insufficient_role() -> Self {
        Self::new(
            problems::INSUFFICIENT_ROLE,
            "the token does not carry a role that this needs",
            Challenge::InsufficientScope(String::new()),
        )
    }

    /// The token is valid, and its claims do not fit the type that the service reads them into: 401.
    #[must_use]
    pub fn unfit_claims() -> Self {
        Self::new(
            problems::UNFIT_CLAIMS,
            "the token's claims are not what this service reads",
            Challenge::Error("invalid_token"),
        )
    }

    /// A handler asks who the caller is, and nothing before it has authenticated the request: 500, and the service's fault.
    #[must_use]
    pub fn not_protected() -> Self {
        Self::new(
            problems::NOT_PROTECTED,
            "this route is not set up for authentication",
            Challenge::None,
        )
    }

    /// Something that is needed to judge the token is away: 503. Not a verdict.
    #[must_use]
    pub fn unavailable(retry_after: Duration) -> Self {
        Self::try_again(
            problems::UNAVAILABLE,
            "nothing can be told about the token now; try again",
            retry_after,
        )
    }

    /// The answer took too long: 503, to be asked for again after one second. Not a verdict.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::try_again(
            problems::TIMED_OUT,
            "the answer took too long; nothing is known about the token",
            Duration::from_secs(1),
        )
    }

    /// There is nothing at the path: 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(problems::NOT_FOUND, "there is nothing at this path", Challenge::None)
    }

    /// The same with another realm (RFC 9110 section 11.5). Default: `authmesh`. Characters that cannot stand between
    /// quotes (quotes, backslashes, all but printable ASCII) are left out.
    #[must_use]
    pub fn with_realm(mut self, realm: &str) -> Self {
        self.realm = Cow::Owned(describable(cut(realm, MAX_DETAIL)));
        self
    }

    /// The same with the `alg`s that a proof may have, where it is about one. Default: all that are supported.
    #[must_use]
    pub fn with_dpop_algorithms(mut self, algorithms: AlgorithmSet) -> Self {
        self.dpop = self.dpop.map(|_| algorithms);
        self
    }

    /// The nonce that the client's next proofs must hold: the value of `DPoP-Nonce` (RFC 9449 section 9).
    #[must_use]
    pub fn dpop_nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.problem.status
    }

    /// The problem type's name: the last part of its URI.
    #[must_use]
    pub const fn problem(&self) -> &'static str {
        self.problem.name
    }

    /// The problem type: one of [`problem_types`].
    #[must_use]
    pub const fn problem_type(&self) -> &ProblemType {
        self.problem
    }

    /// What is wrong this time, in a sentence, at most [`MAX_DETAIL`] bytes.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The value of `WWW-Authenticate` (RFC 6750 section 3, RFC 9449 section 7.1).
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        let (error, scopes) = match &self.challenge {
            Challenge::None => return None,
            Challenge::Plain => return Some(format!("Bearer realm=\"{}\"", self.realm)),
            Challenge::Error(error) => (*error, ""),
            Challenge::InsufficientScope(scopes) => ("insufficient_scope", scopes.as_str()),
        };
        let description = describable(&self.detail);
        let mut text = format!(
            "{} realm=\"{}\", error=\"{error}\", error_description=\"{description}\"",
            if self.dpop.is_some() { "DPoP" } else { "Bearer" },
            self.realm
        );
        if let Some(algorithms) = self.dpop {
            let names: Vec<_> = algorithms.iter().map(Algorithm::name).collect();
            text.push_str(&format!(", algs=\"{}\"", names.join(" ")));
        }
        // `scope` must name at least one (RFC 6749 section 3.3).
        if !scopes.is_empty() {
            text.push_str(&format!(", scope=\"{scopes}\""));
        }
        Some(text)
    }

    /// The value of `Retry-After`: whole seconds, rounded up, 1 to [`MAX_RETRY_AFTER`] (RFC 9110 section 10.2.3).
    #[must_use]
    pub const fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// The body: a problem detail of media type `application/problem+json` (RFC 9457 section 3).
    #[must_use]
    pub fn body(&self) -> String {
        json!({
            "type": self.problem.uri(),
            "title": self.problem.title,
            "status": self.status().as_u16(),
            "detail": self.detail,
        })
        .to_string()
    }

    /// The whole answer.
    #[must_use]
    pub fn into_response(self) -> Response<String> {
        let mut response = Response::new(self.body());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Made of printable ASCII only, so it always is a header value.
        if let Some(challenge) = self.challenge().and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(nonce) = self.nonce.and_then(|nonce| HeaderValue::try_from(&*nonce).ok()) {
            headers.insert(DPOP_NONCE, nonce);
        }
        if let Some(seconds) = self.retry_after {
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
        let problem = ProblemType::of_code(error.code());
        match error.fault() {
            Fault::Token => {
                let (code, is_dpop) = match &error {
                    VerifyError::UseDpopNonce { .. } => ("use_dpop_nonce", true),
                    // The token is at fault as much as the proof: RFC 9449 section 7.1 calls it so.
                    VerifyError::InvalidDpopProof(ProofError::WrongKey) => ("invalid_token", true),
                    VerifyError::InvalidDpopProof(_) => ("invalid_dpop_proof", true),
                    VerifyError::Bound | VerifyError::NotBound => ("invalid_token", true),
                    _ => ("invalid_token", false),
                };
                let problem = problem.unwrap_or(problems::INVALID_TOKEN);
                let mut rejection = Self::new(problem, &error.to_string(), Challenge::Error(code));
                rejection.dpop = is_dpop.then_some(AlgorithmSet::ALL);
                if let VerifyError::UseDpopNonce { nonce } = error {
                    rejection.nonce = Some(nonce);
                }
                rejection
            }
            Fault::Service => {
                // What went wrong upstream is for the operator's log, not for whoever sent the token.
                let detail = match &error {
                    VerifyError::CouldNotAsk { .. } => "the issuer could not be asked; try again".to_owned(),
                    other => other.to_string(),
                };
                let after = error.retry_after().unwrap_or(Duration::from_secs(1));
                Self::try_again(problem.unwrap_or(problems::UNAVAILABLE), &detail, after)
            }
        }
    }
}

/// The longest beginning of at most `limit` bytes.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// `error_description` takes printable ASCII without `"` and `\` (RFC 6750 section 3).
fn describable(text: &str) -> String {
    text.chars().filter(|c| *c == ' ' || is_scope_char(*c)).collect()
}

/// `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )` (RFC 6749 section 3.3)
const fn is_scope_char(c: char) -> bool {
    matches!(c, '\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e')
}
