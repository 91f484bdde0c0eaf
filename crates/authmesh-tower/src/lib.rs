//! authmesh for every service of `http` requests: a layer, extractors for axum, tonic, and what other frameworks need.
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # fn doc(mesh: authmesh::AuthMesh) {
//! use authmesh_tower::Protect as _;
//! use authmesh_tower::axum::Auth;
//! use axum::{Router, routing::get};
//!
//! async fn hello(auth: Auth) -> String {
//!     format!("hello, {}", auth.subject().unwrap_or("somebody"))
//! }
//!
//! let app: Router = Router::new().route("/", get(hello)).layer(mesh.layer());
//! # let _ = app; }
//! ```
//!
//! | module | does |
//! | --- | --- |
//! | [`layer`] | the layer: everything behind it needs a valid token (feature `layer`, on by default) |
//! | `axum` | extractors: `Auth`, `OptionalAuth`, `RequireScope`, `Fresh`, `Guarded` (feature `axum`) |
//! | [`ext`] | who the caller is, for tonic and everything without extractors |
//! | [`policy`] | what a route demands: scopes, roles, freshness |
//! | [`possession`] | what a bound token needs beside itself: DPoP proofs, client certificates |
//! | [`bearer`] | finds the one token of a request, or refuses to guess |
//! | [`scope`](mod@scope) | one authentication for a request, judged again at each use |
//! | [`guard`] | the decision about a request, without a framework |
//! | [`rejection`] | what a refusal says (RFC 6750, RFC 9457) |
//! | [`respond`] | **the** place where a refusal becomes a response, for HTTP and gRPC; replaceable |
//! | [`identity`] | writes who it is into headers for a service behind a proxy |
//! | [`explain`] | writes how the answer was reached |
//! | [`scopes`] | scopes as types |
//! | [`trace`] | continues the trace of the caller |
//!
//! Every HTTP surface of authmesh uses this crate, so that all of them say the same. With `default-features = false` it depends on no
//! framework and not on tower.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

/// What an outsider follows compiles.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../../../docs/axum.md")]
struct Guide;

#[cfg(feature = "axum")]
pub mod axum;
pub mod bearer;
mod caller;
mod claims;
pub mod explain;
pub mod ext;
pub mod guard;
pub mod head;
pub mod identity;
#[cfg(feature = "layer")]
pub mod layer;
pub mod policy;
pub mod possession;
mod present;
pub mod rejection;
pub mod respond;
mod rollout;
pub mod scope;
pub mod scopes;
pub mod trace;

pub use bearer::TokenSource;
pub use caller::Auth;
pub use claims::NoClaims;
pub use ext::AuthExt;
pub use guard::Guard;
#[cfg(feature = "layer")]
pub use layer::{AuthLayer, Protect};
pub use policy::{PolicyError, RoutePolicy};
pub use possession::CertificateThumbprint;
pub use rejection::Rejection;
pub use respond::MapRejection;
pub use rollout::RolloutStats;
pub use scope::{RequestScope, RequestStats};
