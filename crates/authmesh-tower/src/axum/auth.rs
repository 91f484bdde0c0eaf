//! `Auth` and its kin.

use std::ops::Deref;
use std::time::Duration;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{AuthRejection, NoClaims};
pub use crate::caller::Auth;
use crate::head::RequestHead;
use crate::rejection::Rejection;

/// Who it is; `None` where the request presents nothing.
async fn authenticate<C>(parts: &Parts, fresh: Option<Duration>) -> Result<Option<Auth<C>>, Rejection>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    Auth::find(&RequestHead::from(parts), fresh).await
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
