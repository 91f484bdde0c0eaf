//! Gossip between authmesh nodes, over UDP and TCP: who is there, items for everyone, requests to one.
//!
//! [`SwimGossip`] implements the port [`Gossip`](authmesh::ports::Gossip). It needs one port, for datagrams and streams, and
//! the address of any other node. It carries bytes; what they mean is decided by `authmesh_proto::gossip`.
//!
//! | module | role |
//! | --- | --- |
//! | `adapter`, [`GossipConfig`] | the port, its settings |
//! | [`WithSwim`] | it all in one line of a builder |
//! | `driver` | the task of a node: sockets, seeds, time |
//! | `engine` | everything that datagrams do, as a state machine without sockets and clock |
//! | `datagram` | layout, proof of life, replay window, limits before cryptography |
//! | `swim` | membership, by foca |
//! | `spread` | items on their way |
//! | `stream` | one request and one answer over TCP |
//! | [`Sieve`] | faults for tests |
//!
//! The bytes are in `docs/protocol.md`, the reasons in `docs/decisions/0008-gossip-datagrams.md`.

#![deny(missing_docs)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod adapter;
mod builder;
mod config;
mod counters;
mod datagram;
mod driver;
mod engine;
#[cfg(test)]
mod losses;
mod sieve;
mod spread;
mod stream;
mod swim;
#[cfg(test)]
mod testing;

pub use adapter::SwimGossip;
pub use builder::WithSwim;
pub use config::{ConfigError, GossipConfig};
pub use sieve::Sieve;
