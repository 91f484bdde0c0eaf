//! Who the caller is, for extractors of any framework.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use authmesh::{Answer, Verdict};
use serde::de::DeserializeOwned;

use crate::claims::NoClaims;
use crate::head::RequestHead;
use crate::rejection::Rejection;
use crate::scope::RequestScope;
use crate::scopes::ScopeSet;

/// The caller. Derefs to the [`Verdict`]: `auth.subject()`, `auth.scopes()`.
///
/// Refused: 401 without a good token; 401 `unfit-claims` where the claims do not fit `C`.
pub struct Auth<C = NoClaims> {
    answer: Answer,
    claims: Arc<C>,
}

impl<C> Auth<C> {
    /// The claims.
    #[must_use]
    pub fn claims(&self) -> &C {
        &self.claims
    }

    /// The claims, shared with everything else in the request that reads them.
    #[must_use]
    pub fn shared_claims(&self) -> Arc<C> {
        Arc::clone(&self.claims)
    }

    /// The verdict, and how it was reached. [`Answer::revoked`] resolves when it ends: for sockets and streams.
    #[must_use]
    pub const fn answer(&self) -> &Answer {
        &self.answer
    }
}

impl<C> Clone for Auth<C> {
    fn clone(&self) -> Self {
        Self {
            answer: self.answer.clone(),
            claims: Arc::clone(&self.claims),
        }
    }
}

impl<C> fmt::Debug for Auth<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

impl<C> Deref for Auth<C> {
    type Target = Verdict;

    fn deref(&self) -> &Verdict {
        &self.answer.verdict
    }
}

impl<C> Auth<C>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    /// Who the caller of a request is that a guard has let in; `None` where it presents no token. `fresh` demands proof of
    /// freshness, and a check that is no older than this.
    ///
    /// Cancel safety: dropping the future loses nothing.
    ///
    /// # Errors
    /// The refusal. Where no guard stands before the handler, [`Rejection::not_protected`], and an error in the log.
    pub async fn find(head: &RequestHead<'_>, fresh: Option<Duration>) -> Result<Option<Self>, Rejection> {
        let scope = RequestScope::demanded(head)?;
        match scope.authenticate(head, fresh).await? {
            None => Ok(None),
            Some(answer) => Ok(Some(Self {
                claims: scope.claims(&answer)?,
                answer,
            })),
        }
    }

    /// As [`Auth::find`], where a token has to be there.
    ///
    /// # Errors
    /// As [`Auth::find`].
    pub async fn demand(head: &RequestHead<'_>, fresh: Option<Duration>) -> Result<Self, Rejection> {
        Self::find(head, fresh).await?.ok_or_else(Rejection::no_credential)
    }
}

impl<C> Auth<C> {
    /// Whether the token carries every scope of a set.
    ///
    /// # Errors
    /// [`Rejection::insufficient_scope`] with those that are lacking.
    pub fn demand_scopes<S: ScopeSet>(&self) -> Result<(), Rejection> {
        if S::all(&|scope| self.has_scope(scope)) {
            return Ok(());
        }
        let mut lacking = Vec::new();
        S::each(&mut |scope| {
            if !self.has_scope(scope) {
                lacking.push(scope);
            }
        });
        Err(Rejection::insufficient_scope(lacking))
    }
}
