//! End to end, with real programs only: authmesh as a process, `oidc-provider`, nginx, curl.
//!
//! Each test starts its own set, on its own ports, so tests run side by side and in any order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abuse;
mod dev_mode;
mod forward_auth;
mod gossip;
mod introspection;
mod logout;
mod offline;
mod outages;
mod redis;
mod redis_cluster;
mod revocation;
mod rotation;
