//! The virtual-time cluster.
//!
//! The real machines of [`authmesh_proto`] in up to 1,000 nodes, a model of Redis Cluster and of the links to it, clocks
//! that drift, jump and sleep. No threads, no sleeping, no clock of the machine: one queue of events in virtual time, one
//! seed. The same seed gives the same trace.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`scenario`] | what a seed means |
//! | [`world`] | the queue of events; links, faults, callers |
//! | [`node`] | a node: the machines, and glue as thin as the SDK's driver |
//! | [`redis`] | Redis Cluster: scripts, lagging replicas, deposed primaries, moving slots |
//! | [`checker`] | the true history, and what must hold in it after each step |
//! | [`rules`] | rules that can be left out, to see that the checker notices |
//! | [`spread`] | how fast gossip reaches 1,000 nodes, and what that costs |
//! | [`trace`] | what happened, as a hash and as text |
#![forbid(unsafe_code)]

pub mod checker;
pub mod clock;
mod names;
pub mod node;
pub mod redis;
pub mod rng;
pub mod rules;
pub mod scenario;
pub mod spread;
pub mod trace;
pub mod world;

use rules::Rules;
use scenario::Scenario;
use world::{Outcome, World};

/// Runs a seed. When something does not hold, it is run again with its trace in words.
#[must_use]
pub fn simulate(scenario: &Scenario, rules: Rules) -> Outcome {
    let outcome = World::new(scenario.clone(), rules, false).run();
    match outcome.violation {
        None => outcome,
        Some(_) => World::new(scenario.clone(), rules, true).run(),
    }
}
