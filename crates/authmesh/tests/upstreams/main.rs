//! Tokens that a provider validates, in virtual time: a scripted provider behind the port, nodes of one in-memory cluster.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// This program uses a part of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/mod.rs"]
mod support;

mod answers;
mod bound;
mod budget;
mod cluster;
mod invariants;
mod outages;
mod provider;
mod refresh;
mod routes;
mod settings;
