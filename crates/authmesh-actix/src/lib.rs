//! authmesh for actix-web 4: a middleware behind which every request has a valid token, and extractors.
//!
//! ```no_run
//! use actix_web::{App, HttpServer, Responder, web};
//! use authmesh_actix::{Auth, Fresh, Protect as _};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Claims {
//!     tenant: String,
//! }
//!
//! async fn list(auth: Auth<Claims>) -> impl Responder {
//!     format!("{} of {}", auth.subject().unwrap_or("somebody"), auth.claims().tenant)
//! }
//!
//! // Verified again for this request, and refused while the node is blind.
//! async fn refund(_: Fresh) -> impl Responder {
//!     "refunded"
//! }
//!
//! # async fn doc(mesh: authmesh::AuthMesh) -> std::io::Result<()> {
//! HttpServer::new(move || {
//!     App::new()
//!         .wrap(mesh.protect())
//!         .route("/orders", web::get().to(list))
//!         .route("/orders/{id}/refund", web::post().to(refund))
//! })
//! .bind(("127.0.0.1", 8080))?
//! .run()
//! .await
//! # }
//! ```
//!
//! | module | does |
//! | --- | --- |
//! | [`Protection`] | the middleware, for an app, a scope or a resource; several add up |
//! | [`Auth`], [`OptionalAuth`], [`Fresh`], [`FreshWithin`], [`RequireScope`] | extractors |
//! | [`AuthError`] | why one of them refused |
//!
//! What is decided, and how a refusal looks, is decided by [`authmesh_tower`], as for axum and tonic: [`Guard`], [`RoutePolicy`],
//! [`MapRejection`]. This crate brings requests there and answers back.
//!
//! # No middleware
//!
//! An extractor where no [`Protection`] stands refuses every request with 500 (`not-protected`) and logs an error: nothing passes
//! silently. A middleware that is registered later runs earlier in actix-web; the order of two [`Protection`]s does not matter.
//!
//! # Sockets and streams
//!
//! What outlives its request waits for [`Answer::revoked`](authmesh::Answer::revoked) of [`Auth::answer`](authmesh_tower::Auth::answer)
//! beside its work, and ends with it.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod extract;
mod head;
mod protection;
mod respond;

use authmesh::{AuthMesh, Verifier};
pub use authmesh_tower::{
    CertificateThumbprint, Guard, MapRejection, NoClaims, PolicyError, Rejection, RequestScope, RoutePolicy,
    TokenSource, scope,
};

pub use extract::{Auth, AuthError, Fresh, FreshWithin, OptionalAuth, RequireScope};
pub use protection::{Protection, ProtectionService};

/// Puts a middleware before handlers: `mesh.protect()`.
pub trait Protect {
    /// A guard with its settings still to be made: `Protection::new(mesh.guard().policy(policy)?)`.
    fn guard(&self) -> Guard;

    /// A middleware behind which every request has a valid token in its `Authorization` header.
    fn protect(&self) -> Protection {
        Protection::new(self.guard())
    }
}

impl Protect for AuthMesh {
    fn guard(&self) -> Guard {
        Guard::new(self.verifier())
    }
}

impl Protect for Verifier {
    fn guard(&self) -> Guard {
        Guard::new(self.clone())
    }
}

/// The guide's first block is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/actix.md")]
struct Guide;
