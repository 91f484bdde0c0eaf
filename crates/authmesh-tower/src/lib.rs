//! HTTP for authmesh: where a token stands in a request, how an error becomes an answer, and how an identity is passed on.
//!
//! Every HTTP surface of authmesh uses this crate, so that all of them say the same. The tower layer and the extractors for
//! axum and tonic will stand on it too.
//!
//! | module | does |
//! | --- | --- |
//! | [`bearer`] | finds the one token of a request, or refuses to guess |
//! | [`rejection`] | **the** place that maps errors to HTTP (RFC 6750, RFC 9457) |
//! | [`identity`] | writes who it is into headers for a service behind a proxy |
//! | [`explain`] | writes how the answer was reached |
//! | [`trace`] | continues the trace of the caller |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod bearer;
pub mod explain;
pub mod identity;
pub mod rejection;
pub mod trace;
