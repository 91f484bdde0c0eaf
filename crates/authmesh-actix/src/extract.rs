//! Extractors.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError};
use authmesh_tower::scopes::ScopeSet;
use authmesh_tower::{MapRejection as _, NoClaims, Rejection, RequestScope};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::head::Head;
use crate::respond;

/// Why an extractor refused, and the response that the innermost middleware's [`MapRejection`](crate::MapRejection) made of it.
#[derive(Debug, thiserror::Error)]
#[error("{rejection}")]
pub struct AuthError {
    rejection: Box<Rejection>,
    response: Box<http::Response<Bytes>>,
}

impl AuthError {
    fn new(rejection: Rejection, head: &Head) -> Self {
        let head = head.as_ref();
        let response = match RequestScope::of(&head).and_then(RequestScope::innermost) {
            Some(guard) => guard.respond(&rejection, &head),
            None => authmesh_tower::respond::Standard.respond(&rejection, &head),
        };
        Self {
            rejection: Box::new(rejection),
            response: Box::new(response),
        }
    }

    /// The refusal.
    #[must_use]
    pub const fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

impl ResponseError for AuthError {
    fn status_code(&self) -> StatusCode {
        respond::response(&self.response).status()
    }

    fn error_response(&self) -> HttpResponse {
        respond::response(&self.response)
    }
}

type Extracting<T> = Pin<Box<dyn Future<Output = Result<T, AuthError>>>>;

/// Who the caller of a request is.
fn find<C>(request: &HttpRequest, fresh: Option<Duration>) -> Extracting<Option<Auth<C>>>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    // All headers: another guard than the innermost may look at others, and whoever maps refusals may look at any.
    let head = Head::of(request, None);
    Box::pin(async move {
        let head = head.map_err(|rejection| AuthError {
            response: Box::new(rejection.clone().into_response().map(Bytes::from)),
            rejection: Box::new(rejection),
        })?;
        match authmesh_tower::Auth::find(&head.as_ref(), fresh).await {
            Ok(found) => Ok(found.map(Auth)),
            Err(rejection) => Err(AuthError::new(rejection, &head)),
        }
    })
}

/// The same, where a token has to be there, and `check` passes.
fn demand<C, T>(
    request: &HttpRequest,
    fresh: Option<Duration>,
    check: impl FnOnce(Auth<C>) -> Result<T, Rejection> + 'static,
) -> Extracting<T>
where
    C: DeserializeOwned + Send + Sync + 'static,
    T: 'static,
{
    let (found, request) = (find(request, fresh), request.clone());
    Box::pin(async move {
        let demanded = match found.await? {
            Some(auth) => check(auth),
            None => Err(Rejection::no_credential()),
        };
        demanded.map_err(|rejection| match Head::of(&request, None) {
            Ok(head) => AuthError::new(rejection, &head),
            Err(unusable) => AuthError {
                response: Box::new(unusable.clone().into_response().map(Bytes::from)),
                rejection: Box::new(unusable),
            },
        })
    })
}

/// The caller. Derefs to the caller of every framework ([`authmesh_tower::Auth`]) and on to the
/// [`Verdict`](authmesh::Verdict): `auth.claims()`, `auth.subject()`, `auth.answer()`.
///
/// Refused: 401 without a good token; 401 `unfit-claims` where the claims do not fit `C`.
pub struct Auth<C = NoClaims>(pub authmesh_tower::Auth<C>);

impl<C> fmt::Debug for Auth<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<C> Clone for Auth<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Deref for Auth<C> {
    type Target = authmesh_tower::Auth<C>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<C> FromRequest for Auth<C>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Error = AuthError;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        demand(request, None, Ok)
    }
}

/// The caller, if the request presents one. Behind a guard that is [`optional`](authmesh_tower::Guard::optional), or public.
///
/// A bad token is refused, not taken for none. `Option<Auth<C>>` is not the same: actix-web makes `None` of **every** refusal there.
#[derive(Debug)]
pub struct OptionalAuth<C = NoClaims>(pub Option<Auth<C>>);

impl<C> Deref for OptionalAuth<C> {
    type Target = Option<Auth<C>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<C> FromRequest for OptionalAuth<C>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Error = AuthError;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = find(request, None);
        Box::pin(async move { found.await.map(Self) })
    }
}

/// The caller, verified for this request: the signature was checked, or the provider asked, again. Refused with 503 while the node is
/// blind. Derefs to [`Auth`].
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

impl<const SECS: u64, C> FromRequest for FreshWithin<SECS, C>
where
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Error = AuthError;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        demand(request, Some(Duration::from_secs(SECS)), |auth| Ok(Self(auth)))
    }
}

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

impl<S, C> FromRequest for RequireScope<S, C>
where
    S: ScopeSet,
    C: DeserializeOwned + Send + Sync + 'static,
{
    type Error = AuthError;
    type Future = Extracting<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        demand(request, None, |auth: Auth<C>| {
            auth.demand_scopes::<S>()?;
            Ok(Self {
                auth,
                scopes: PhantomData,
            })
        })
    }
}
