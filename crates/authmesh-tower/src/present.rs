//! **The** place where a request becomes an answer: what it presents, and what the verifier says of it.
//!
//! Everything that asks goes through [`Presented`], so that what a request must prove is demanded in one place.

use authmesh::{Answer, Verifier, VerifyError};
use http::header::AUTHORIZATION;

use crate::bearer::{self, Place, Token, TokenSource};
use crate::head::RequestHead;
use crate::rejection::Rejection;

/// The credentials that a request presents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented<'a> {
    token: Token<'a>,
    /// Where the token stood.
    pub(crate) place: Place,
}

impl<'a> Presented<'a> {
    /// What the request presents; `None` where it presents nothing.
    pub(crate) fn find(head: &RequestHead<'a>, source: &TokenSource) -> Result<Option<Self>, Rejection> {
        match bearer::find_presented(head, source)? {
            Some((token, place)) => Ok(Some(Self { token, place })),
            // A credential, and not nothing: it must not pass where a token is optional.
            None if is_dpop(head) => Err(Rejection::no_credential()),
            None => Ok(None),
        }
    }

    /// What the token is named by in a request scope.
    pub(crate) fn token(&self) -> &'a [u8] {
        self.token.as_bytes()
    }

    /// From memory, without waiting.
    pub(crate) fn try_answer(&self, verifier: &Verifier) -> Option<Result<Answer, VerifyError>> {
        verifier.try_hit(self.token.as_bytes())
    }

    /// The answer.
    pub(crate) async fn answer(&self, verifier: &Verifier) -> Result<Answer, VerifyError> {
        verifier.answer(self.token.as_bytes()).await
    }
}

/// Whether the `Authorization` header is of the scheme DPoP (RFC 9449 section 7.1).
fn is_dpop(head: &RequestHead<'_>) -> bool {
    let value = head.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    value.is_some_and(|value| {
        let (scheme, rest) = value.split_at(value.len().min(4));
        scheme.eq_ignore_ascii_case(b"dpop") && rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric())
    })
}
