//! The ports: what authmesh needs from the world, as traits.
//!
//! An adapter implements one or more of these; everything in the SDK is written against them. One conformance suite per
//! port (in the workspace's `tests` package) runs over every adapter, so that a fake can never be kinder than the real
//! thing.
//!
//! Futures are boxed so that the traits stay object safe. Every method states what happened to state when it fails.
//!
//! | port | in Redis it is | in memory |
//! | --- | --- | --- |
//! | [`Log`] | one capped stream and 32 buckets of marks per channel | [`memory::Cluster`](crate::memory::Cluster) |
//! | [`Bus`] | sharded pub/sub | the same |
//! | [`Store`] | the L2 entries of a channel | the same |
//! | [`Members`] | one hash | the same |
//! | [`Gossip`] | - (UDP and TCP: `authmesh-gossip`) | [`memory::Hub`](crate::memory::Hub) |
//! | [`KeySource`] | - (HTTP: `authmesh-oidc`) | a closure or a fixed document: [`crate::memory::FixedKeys`] |
//! | [`TokenSource`] | - (HTTP: `authmesh-oidc`) | - |
//! | [`Clock`], [`Entropy`] | - | [`crate::clock`] |

mod bus;
mod clock;
mod gossip;
mod keys;
mod log;
mod members;
mod store;
mod tokens;

pub use authmesh_proto::fill::{HoldOutcome, LeaseOutcome};
pub use bus::{Bus, BusEvent, BusStream};
pub use clock::{Clock, Entropy};
pub use gossip::{
    Asked, DatagramSeal, Gossip, GossipCounts, GossipEvent, GossipNode, GossipPeer, GossipStream, MAX_LARGE, MAX_SMALL,
};
pub use keys::{Fetched, FetchedBody, KeyFetch, KeySource, UpstreamError, UpstreamFault};
pub use log::{Commit, Committed, Effect, Log, LogSlice, MarkTable, StoredMark};
pub use members::{MemberEntry, Members};
pub use store::{Store, StoreRead};
pub use tokens::{ActiveToken, TokenSource, TokenState};

use std::future::Future;
use std::pin::Pin;

/// A boxed future, as every port method returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a port did not do what it was asked. Each variant says what happened to state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The peer could not be reached. Nothing was changed.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The request was sent and no answer came: it may have been carried out, or not.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The peer refused. Nothing was changed.
    #[error("refused: {0}")]
    Refused(String),
    /// A mark stands in the log, by a bare entry, but not in the table: its slot is migrating. Every follower has it, and a
    /// node that loads the table finds it in [`MarkTable::bare`]. Commit again, with [`Commit::bare_done`].
    #[error("only in the log: {0}")]
    Partly(String),
    /// The peer has no room. Nothing was changed.
    #[error("full: {0}")]
    Full(String),
}

impl PortError {
    /// A stable word for it, in metrics and traces.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Unknown(_) => "unknown",
            Self::Refused(_) => "refused",
            Self::Partly(_) => "partly",
            Self::Full(_) => "full",
        }
    }
}
