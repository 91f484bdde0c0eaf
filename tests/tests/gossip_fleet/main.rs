//! Sixteen real processes that talk to each other by gossip alone, and what the network does to them.
//!
//! There is no Redis anywhere here. Faults come from the [proxy](authmesh_tests::proxy) that every datagram and stream passes,
//! or from iptables between network namespaces, where the machine allows them.
//!
//! Figures are printed (`--nocapture`). `AUTHMESH_FLEET=long` lasts longer: a partition of 30 s, 10,000 statements.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod coherence;
mod control;
mod crashes;
mod figures;
mod flood;
mod loss;
mod namespaces;
mod partitions;
mod watch;
mod world;
