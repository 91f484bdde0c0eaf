//! Sixteen real processes, and the requests that reach their identity provider.
//!
//! The provider is [a double](authmesh_tests::idp_double) that counts every request, keeps whoever asks waiting, goes down,
//! and hides behind an edge cache. Every event costs it one request, whoever comes and however many come at once; what it
//! costs when a node dies, or Redis, is stated by the name of the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod both_roads;
mod gossip_alone;
mod load;
mod real_provider;
mod redis_alone;
mod world;
