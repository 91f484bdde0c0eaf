//! The tools that make faults: each fault is shown on real sockets and real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fleet;
mod netns;
mod proxy_tcp;
mod proxy_udp;
