//! `Auth` and its kin.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use authmesh::{Answer, Verdict};
use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{AuthRejection, NoClaims, scope};
use crate::head::RequestHead;
use crate::rejection::Rejection;

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

/// Who it is; `None` where the request presents nothing.
async fn authenticate<C>(parts: &Parts, fresh: Option<Duration>) -> Result<Option<Auth<C>>, Rejection>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    let scope = scope(parts)?;
    match scope.authenticate(&RequestHead::from(parts), fresh).await? {
        None => Ok(None),
        Some(answer) => Ok(Some(Auth {
            claims: scope.claims(&answer)?,
            answer,
        })),
    }
}

/// Who it is.
pub(super) async fn required<C>(parts: &Parts, fresh: Option<Duration>) -> Result<Auth<C>, AuthRejection>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    match authenticate(parts, fresh).await {
        Ok(Some(auth)) => Ok(auth),
        Ok(None) => Err(AuthRejection::new(Rejection::no_credential(), parts)),
        Err(rejection) => Err(AuthRejection::new(rejection, parts)),
    }
}

impl<S, C> FromRequestParts<S> for Auth<C>
where
    S: Send + Sync,
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        required(parts, None).await
    }
}

impl<S, C> OptionalFromRequestParts<S> for Auth<C>
where
    S: Send + Sync,
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        let found = authenticate(parts, None).await;
        found.map_err(|rejection| AuthRejection::new(rejection, parts))
    }
}

/// The caller, if the request presents one. Behind a layer that is [`optional`](crate::AuthLayer::optional), or public.
///
/// A bad token is refused, not taken for none.
#[derive(Debug)]
pub struct OptionalAuth<C = NoClaims>(pub Option<Auth<C>>);

impl<C> Deref for OptionalAuth<C> {
    type Target = Option<Auth<C>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<S, C> FromRequestParts<S> for OptionalAuth<C>
where
    S: Send + Sync,
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let found = <Auth<C> as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await;
        found.map(Self)
    }
}

/// The caller, verified for this request: the signature was checked, or the provider asked, again. Refused with 503 while the node is
/// blind. Derefs to [`Auth`].
///
/// Several in one request share one check, and so do the layer and this where the layer had to verify anyway.
pub type Fresh<C = NoClaims> = FreshWithin<0, C>;

/// The caller, verified no longer than `SECS` seconds ago. Refused with 503 while the node is blind. Derefs to [`Auth`].
#[derive(Debug)]
pub struct FreshWithin<const SECS: u64, C = NoClaims>(pub Auth<C>);

impl<const SECS: u64, C> Deref for FreshWithin<SECS, C> {
    type Target = Auth<C>;

    fn deref(&self) -> &Auth<C> {
        &self.0
    }
}

impl<S, const SECS: u64, C> FromRequestParts<S> for FreshWithin<SECS, C>
where
    S: Send + Sync,
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        required(parts, Some(Duration::from_secs(SECS))).await.map(Self)
    }
}
