//! The adapter on a real `redis-server`: the conformance suites of its ports, what it does to a server that misbehaves, and
//! two nodes that share it.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod builder;
mod cluster;
mod conformance;
mod faults;
mod fixture;
mod hostile;
mod nodes;
mod server;
mod survey;
