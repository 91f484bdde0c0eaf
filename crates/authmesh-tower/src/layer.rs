//! The layer: one line before a service, and everything behind it needs a valid token.
//!
//! For every service of `http` requests: axum, tonic, hyper with `tower`.
//!
//! ```no_run
//! use authmesh_tower::Protect as _;
//! use tower_layer::Layer as _;
//! # fn doc<S>(mesh: authmesh::AuthMesh, service: S) {
//! let protected = mesh.layer().layer(service);
//! # let _ = protected; }
//! ```
//!
//! A hit is answered before the inner service is called, without a future of its own; only a token that has to be verified
//! costs a box.
//!
//! Layers nest: an inner one shares the [`RequestScope`](crate::scope::RequestScope) of the outer one, so a token is verified once, and
//! only the inner one's policy is added. The order of two nested layers does not matter.

mod body;
mod future;

use std::task::{Context, Poll};

use authmesh::{AuthMesh, Verifier};
use http::{HeaderName, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

pub use self::body::AuthBody;
pub use self::future::AuthFuture;
use crate::bearer::TokenSource;
use crate::guard::Guard;
use crate::head::RequestHead;
use crate::policy::{PolicyError, RoutePolicy};
use crate::respond::MapRejection;

/// Puts a layer before a service: `mesh.layer()`.
pub trait Protect {
    /// A layer behind which every request has a valid token.
    fn layer(&self) -> AuthLayer;
}

impl Protect for AuthMesh {
    fn layer(&self) -> AuthLayer {
        AuthLayer::new(self.verifier())
    }
}

impl Protect for Verifier {
    fn layer(&self) -> AuthLayer {
        AuthLayer::new(self.clone())
    }
}

/// Lets requests pass that have a valid token. Default: in the `Authorization` header, and nothing more is demanded.
///
/// Cheap to clone. Settings that cannot be met are errors when they are made, never at a request.
#[derive(Debug, Clone)]
#[must_use]
pub struct AuthLayer {
    guard: Guard,
}

impl AuthLayer {
    /// A layer that asks this verifier. [`Protect::layer`] asks that of a mesh.
    pub fn new(verifier: Verifier) -> Self {
        Self {
            guard: Guard::new(verifier),
        }
    }

    /// The guard that decides.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// As [`Guard::policy`].
    ///
    /// # Errors
    /// When the policy contradicts itself, or the layer's other settings.
    pub fn policy(self, policy: RoutePolicy) -> Result<Self, PolicyError> {
        self.guard.policy(policy).map(Self::from)
    }

    /// As [`Guard::optional`].
    ///
    /// # Errors
    /// When the policy demands something of the token.
    pub fn optional(self) -> Result<Self, PolicyError> {
        self.guard.optional().map(Self::from)
    }

    /// As [`Guard::token_source`].
    pub fn token_source(self, source: TokenSource) -> Self {
        self.guard.token_source(source).into()
    }

    /// As [`Guard::map_rejection`].
    pub fn map_rejection(self, map: impl MapRejection) -> Self {
        self.guard.map_rejection(map).into()
    }

    /// As [`Guard::share`].
    ///
    /// # Errors
    /// When it does not lie between 0 and 1.
    pub fn share(self, share: f64) -> Result<Self, PolicyError> {
        self.guard.share(share).map(Self::from)
    }

    /// As [`Guard::shadow`].
    pub fn shadow(self) -> Self {
        self.guard.shadow().into()
    }

    /// As [`Guard::origins`].
    ///
    /// # Errors
    /// When one of them is no origin, or there is none.
    pub fn origins<S: AsRef<str>>(self, urls: impl IntoIterator<Item = S>) -> Result<Self, PolicyError> {
        self.guard.origins(urls).map(Self::from)
    }

    /// As [`Guard::client_cert_header`].
    pub fn client_cert_header(self, name: HeaderName) -> Self {
        self.guard.client_cert_header(name).into()
    }

    /// As [`Guard::explain`].
    pub fn explain(self, explain: bool) -> Self {
        self.guard.explain(explain).into()
    }
}

impl From<Guard> for AuthLayer {
    fn from(guard: Guard) -> Self {
        Self { guard }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = AuthService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthService {
            inner,
            guard: self.guard.clone(),
        }
    }
}

/// A service behind an [`AuthLayer`].
#[derive(Debug, Clone)]
pub struct AuthService<S> {
    inner: S,
    guard: Guard,
}

impl<S, B, R> Service<Request<B>> for AuthService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<AuthBody<R>>;
    type Error = S::Error;
    type Future = AuthFuture<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.guard.hide(request.headers_mut());
        let head = RequestHead::of(&request);
        match self.guard.try_admit(&head) {
            Some(Ok(admission)) => AuthFuture::pass(&mut self.inner, request, admission),
            Some(Err(rejection)) => AuthFuture::refuse(self.guard.respond(&rejection, &head)),
            None => {
                // The one that is ready is the one that is called; the next call asks the clone.
                let next = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, next);
                AuthFuture::ask(self.guard.clone(), ready, request)
            }
        }
    }
}
