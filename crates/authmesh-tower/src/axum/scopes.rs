//! `RequireScope`.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::auth::required;
use super::{Auth, AuthRejection, NoClaims};
use crate::scopes::ScopeSet;

/// The caller, whose token carries every scope of `S`. Derefs to [`Auth`].
///
/// `S` is made by [`scope!`](crate::scope!), or is a tuple of such. Refused: 403 `insufficient_scope` with the scopes that are lacking.
pub struct RequireScope<S, C = NoClaims> {
    auth: Auth<C>,
    scopes: PhantomData<fn() -> S>,
}

impl<S, C> RequireScope<S, C> {
    /// The caller.
    #[must_use]
    pub fn into_auth(self) -> Auth<C> {
        self.auth
    }
}

impl<S, C> Deref for RequireScope<S, C> {
    type Target = Auth<C>;

    fn deref(&self) -> &Auth<C> {
        &self.auth
    }
}

impl<S, C> fmt::Debug for RequireScope<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequireScope").field(&self.auth).finish()
    }
}

impl<T, S, C> FromRequestParts<T> for RequireScope<S, C>
where
    T: Send + Sync,
    S: ScopeSet,
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Rejection = AuthRejection;

    async fn from_request_parts(parts: &mut Parts, _: &T) -> Result<Self, Self::Rejection> {
        let auth = required::<C>(parts, None).await?;
        match auth.demand_scopes::<S>() {
            Ok(()) => Ok(Self {
                auth,
                scopes: PhantomData,
            }),
            Err(rejection) => Err(AuthRejection::new(rejection, parts)),
        }
    }
}
