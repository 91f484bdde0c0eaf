//! Conformance suites: what every adapter of a port must do, whatever it is made of.
//!
//! One suite per port of [`authmesh::ports`]. A suite is given a factory and asks it for an empty cluster before every
//! check; it uses the ports and nothing else, so that an adapter over memory and one over a real server are judged by the
//! same sentences. What only some adapters have is an [`Abilities`] field, never a guess.
//!
//! ```no_run
//! use authmesh_tests::conformance::{self, Factory};
//!
//! # async fn doc(factory: &dyn Factory) {
//! conformance::log::suite(factory).await;
//! conformance::bus::suite(factory).await;
//! conformance::store::suite(factory).await;
//! conformance::members::suite(factory).await;
//! # }
//! ```
//!
//! | suite | port |
//! | --- | --- |
//! | [`log`] | [`Log`]: commits, effects, links, reads, tables, mints |
//! | [`bus`] | [`Bus`]: bells, and that they ring after the effect |
//! | [`store`] | [`Store`]: fill leases, values, waiting, counters |
//! | [`members`] | [`Members`]: announce, forget, list |
//! | [`gossip`] | [`Gossip`](authmesh::ports::Gossip): who is there, items, requests |
//! | [`key_source`] | [`KeySource`](authmesh::ports::KeySource): one fetch, as it came |
//!
//! A broken promise is a panic that names the check. Checks wait with a deadline ([`Abilities::patience`]) and never for a
//! fixed time, except where a promise is that something does *not* happen.

pub mod bus;
mod fixture;
pub mod gossip;
mod holds;
pub mod key_source;
mod leases;
pub mod log;
pub mod members;
mod mints;
pub mod store;
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::{BoxFuture, Bus, Log, Members, Store};

/// One connection to a cluster: an adapter per port.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The second level.
    pub store: Arc<dyn Store>,
    /// The registration of members.
    pub members: Arc<dyn Members>,
}

impl Peer {
    /// A peer whose ports are all one adapter.
    pub fn of<A: Log + Bus + Store + Members + 'static>(adapter: Arc<A>) -> Self {
        Self {
            log: Arc::clone(&adapter) as _,
            bus: Arc::clone(&adapter) as _,
            store: Arc::clone(&adapter) as _,
            members: adapter,
        }
    }
}

/// Makes clusters for the suites.
pub trait Factory: Sync {
    /// Two connections, as two nodes have them, to one cluster that is empty and stays so until the caller fills it.
    fn cluster(&self) -> BoxFuture<'_, [Peer; 2]>;

    /// What the adapter can do beyond the ports' promises. Default: [`Abilities::default`].
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }
}

/// What differs between adapters.
#[derive(Clone, Copy, Debug)]
pub struct Abilities {
    /// After this many commits to one channel its oldest log entries are certainly gone. Default: `None`, not checked.
    pub log_cap: Option<usize>,
    /// How many members have room; one more is refused. Default: `None`, not checked.
    pub member_cap: Option<usize>,
    /// The most replicas that can confirm a commit. Default: 0.
    pub replicas: u32,
    /// How long a check waits for what must happen. Default: 20 s, far beyond what any adapter needs.
    pub patience: Duration,
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            log_cap: None,
            member_cap: None,
            replicas: 0,
            patience: Duration::from_secs(20),
        }
    }
}

/// A fresh cluster, and what a check needs to know about it.
struct Scene {
    /// The peer that acts.
    a: Peer,
    /// The peer that looks on, or acts at the same time.
    b: Peer,
    abilities: Abilities,
}

impl Scene {
    async fn new(factory: &dyn Factory) -> Self {
        let [a, b] = factory.cluster().await;
        Self {
            a,
            b,
            abilities: factory.abilities(),
        }
    }

    /// Waits for something that must happen.
    async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        match tokio::time::timeout(self.abilities.patience, future).await {
            Ok(value) => value,
            Err(_) => panic!("{what}: did not happen within {:?}", self.abilities.patience),
        }
    }

    /// Asks again and again until the answer is yes.
    async fn until(&self, what: &str, mut asked: impl AsyncFnMut() -> bool) {
        let again = async {
            while !asked().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        self.soon(what, again).await;
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene")
            .field("abilities", &self.abilities)
            .finish_non_exhaustive()
    }
}

/// Runs checks one after another, each on a fresh cluster. The line that it prints says which one failed.
macro_rules! checks {
    ($port:literal, $factory:expr, [$($check:path),* $(,)?]) => {
        $(
            eprintln!("conformance: {}: {}", $port, stringify!($check));
            $check($crate::conformance::Scene::new($factory).await).await;
        )*
    };
}
use checks;
