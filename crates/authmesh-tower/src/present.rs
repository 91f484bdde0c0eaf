//! **The** place where a request becomes an answer: what it presents, and what the verifier says of it.
//!
//! Everything that asks goes through [`Presented`], so that what a request must prove is demanded in one place.

use authmesh::possession::RequestProof;
use authmesh::{Answer, Verifier, VerifyError};

use crate::bearer::{self, Place, Token, TokenSource};
use crate::head::RequestHead;
use crate::possession::Reached;
use crate::rejection::Rejection;

/// The credentials that a request presents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Presented<'a> {
    token: Token<'a>,
    /// Where the token stood.
    pub(crate) place: Place,
    head: RequestHead<'a>,
}

impl<'a> Presented<'a> {
    /// What the request presents; `None` where it presents nothing.
    pub(crate) fn find(head: &RequestHead<'a>, source: &TokenSource) -> Result<Option<Self>, Rejection> {
        let found = bearer::find_presented(head, source)?;
        Ok(found.map(|(token, place)| Self {
            token,
            place,
            head: *head,
        }))
    }

    /// What the token is named by in a request scope.
    pub(crate) fn token(&self) -> &'a [u8] {
        self.token.as_bytes()
    }

    /// From memory, without waiting. `request`: one of the request, so that its proof counts each time.
    pub(crate) fn try_answer(
        &self,
        verifier: &Verifier,
        reached: &Reached,
        request: &RequestProof,
    ) -> Option<Result<Answer, VerifyError>> {
        verifier.try_hit_presented(&reached.presentation(&self.head, self.token(), self.place, request))
    }

    /// The answer.
    pub(crate) async fn answer(
        &self,
        verifier: &Verifier,
        reached: &Reached,
        request: &RequestProof,
    ) -> Result<Answer, VerifyError> {
        let presentation = reached.presentation(&self.head, self.token(), self.place, request);
        verifier.answer_presented(&presentation).await
    }
}
