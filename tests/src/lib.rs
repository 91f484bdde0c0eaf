//! Harness of authmesh's end-to-end tests: real programs on loopback ports, supervised, and torn down with the test.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`ports`] | loopback ports that nobody else takes while a test runs |
//! | [`process`] | a supervised child process: bounded log, readiness, death with the test |
//! | [`tools`] | where nginx, node and the npm packages are, and a plain sentence when they are not |
//! | [`idp`] | `oidc-provider`, a certified identity provider, with rotation, faults and counters |
//! | [`idp_double`] | an identity provider of our own, which misbehaves in every way we know |
//! | [`upstream`] | a service that answers with the headers it received |
//! | [`nginx`] | nginx, running the snippet that the documentation publishes |
//! | [`gateway`] | Caddy, HAProxy and Envoy, running the snippets that the documentation publishes |
//! | [`mod@chart`] | the Helm chart, rendered and judged |
//! | [`authmesh`] | the binary under test, from a configuration file |
//! | [`fleet`] | many of them side by side, each killed, frozen and started again by itself |
//! | [`mod@proxy`] | a fault proxy for UDP and TCP between nodes: loss, delay, cuts, half-open connections |
//! | [`netns`] | network namespaces, with faults made by iptables, where the machine allows it |
//! | [`dev`] | the binary under test in development mode, and the commands that it prints |
//! | [`redis_cluster`] | a Redis Cluster of six nodes, whose nodes can be killed, paused, promoted, and whose slots can be moved |
//! | [`certificates`] | an authority of the tests' own |
//! | [`redis_server`] | one Redis server, with faults |
//! | [`stack`] | all of them in a row: client, nginx, authmesh, identity provider, service |
//! | [`client`] | HTTP as a well-behaved client speaks it |
//! | [`raw`] | HTTP as an attacker speaks it |
//! | [`forge`] | tokens that no identity provider would sign |
//! | [`guesses`] | requests about whose credentials nobody may guess, for every framework |
//! | [`conformance`] | one suite per port, for every adapter of it |
//! | [`rivals`] | other crates for the same work, and authmesh as it is shipped, built for benchmarks |
//! | [`mod@bench`] | what every benchmark shares |
//!
//! Everything here panics on failure, with a sentence that says what was wrong: it is test code, and a panic is how a
//! test fails. A failing test prints the logs of its processes.

#![forbid(unsafe_code)]
// A harness has no caller that could handle an error better than a failed test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod authmesh;
pub mod bench;
pub mod certificates;
pub mod chart;
pub mod client;
pub mod conformance;
pub mod dev;
pub mod fleet;
pub mod gateway;
pub mod guesses;
pub mod idp;
pub mod idp_double;
pub mod netns;
pub mod nginx;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod redis_cluster;
pub mod redis_server;
pub mod rivals;
pub mod stack;
pub mod tools;
pub mod upstream;

pub use authmesh_testkit::forge;

/// The README's code is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
