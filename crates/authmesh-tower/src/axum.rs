//! Extractors for axum 0.8.
//!
//! ```no_run
//! use authmesh_tower::Protect as _;
//! use authmesh_tower::axum::{Auth, Fresh, RequireScope};
//! use axum::Router;
//! use axum::routing::{get, post};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Claims {
//!     tenant: String,
//! }
//!
//! authmesh_tower::scope!(struct Refund = "orders:refund");
//!
//! async fn list(auth: Auth<Claims>) -> String {
//!     format!("{} of {}", auth.subject().unwrap_or("somebody"), auth.claims().tenant)
//! }
//!
//! // Verified again for this request, and refused while the node is blind.
//! async fn refund(_: RequireScope<Refund>, _: Fresh) -> &'static str {
//!     "refunded"
//! }
//!
//! # fn doc(mesh: authmesh::AuthMesh) {
//! let app: Router = Router::new()
//!     .route("/orders", get(list))
//!     .route("/orders/{id}/refund", post(refund))
//!     .layer(mesh.layer());
//! # let _ = app; }
//! ```
//!
//! | extractor | demands |
//! | --- | --- |
//! | [`Auth<C>`] | a valid token, its claims read into `C` |
//! | [`OptionalAuth<C>`], `Option<Auth<C>>` | a valid token or none; a bad one is refused |
//! | [`RequireScope<S, C>`] | a valid token with the scopes of `S` |
//! | [`Fresh<C>`] | verified for this request, and the node coherent |
//! | [`FreshWithin<SECS, C>`] | verified no longer than so many seconds ago, and the node coherent |
//! | [`Guarded<E>`] | what `E` demands, behind the layer of the router's state |
//!
//! Without `C` no claim is parsed. All extractors of a request share one verification, and one parse for each type of claims.
//!
//! # No layer
//!
//! An extractor where no layer stands refuses every request with 500 (`not-protected`) and logs an error: nothing passes
//! silently. A route that was added to the router *after* `.layer(..)` is not behind the layer; that is how axum works. To have the compiler find
//! it, ask for [`Guarded`]: it takes the layer from the router's state, and a state without one does not compile.

mod auth;
mod guarded;
mod scopes;

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;

pub use self::auth::{Auth, Fresh, FreshWithin, OptionalAuth};
pub use self::guarded::{Guarded, GuardedRejection};
pub use self::scopes::RequireScope;
pub use crate::claims::NoClaims;
use crate::guard::Guard;
use crate::head::RequestHead;
use crate::rejection::Rejection;
use crate::respond::{self, Standard};
use crate::scope::RequestScope;

/// Why an extractor refused, and the response that the layer's [`MapRejection`](crate::respond::MapRejection) made of it.
#[derive(Debug, thiserror::Error)]
#[error("{rejection}")]
pub struct AuthRejection {
    rejection: Box<Rejection>,
    response: Box<http::Response<Bytes>>,
}

impl AuthRejection {
    fn new(rejection: Rejection, parts: &Parts) -> Self {
        let head = RequestHead::from(parts);
        let response = match RequestScope::of(&head).and_then(RequestScope::innermost) {
            Some(guard) => return Self::by(&guard, rejection, parts),
            None => respond::respond(&Standard, &rejection, &head),
        };
        Self {
            rejection: Box::new(rejection),
            response: Box::new(response),
        }
    }

    fn by(guard: &Guard, rejection: Rejection, parts: &Parts) -> Self {
        Self {
            response: Box::new(guard.respond(&rejection, &RequestHead::from(parts))),
            rejection: Box::new(rejection),
        }
    }

    /// The refusal.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

impl IntoResponse for AuthRejection {
    fn into_response(self) -> Response {
        (*self.response).map(Body::from)
    }
}
