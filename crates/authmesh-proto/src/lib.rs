//! The pure core of authmesh.
//!
//! Names, statements, marks, freshness, the channel follower, leases, the key machine and the sealed wire live here as
//! plain data and state machines. There are no sockets, no clock, no ambient randomness and no iteration over unordered
//! maps: time and randomness are arguments, so that a whole cluster runs inside a unit test and the same seed gives the
//! same trace.
//!
//! The crate is `no_std` + `alloc`. A probe (`probe/`) is linked without the standard library in every test run, which is
//! the proof.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`ident`] | names: channels, incarnations, entries, scopes, positions |
//! | [`crypto`] | the key ring, sealing, and the keyed names |
//! | [`wire`] | bincode with limits, the one place that knows the encoding |
//! | [`statement`] | what a node tells the cluster |
//! | [`log`] | entries and heads of a channel's log |
//! | [`marks`] | what is revoked |
//! | [`freshness`] | whether a cached entry may still answer |
//! | [`follower`] | whether this node has applied everything that Redis holds |
//! | [`commit`] | how its own statements get into the log |
//! | [`fill`] | who loads a key for the cluster, and who waits |
//! | [`gossip`] | whether this node has applied everything that the others have |
//! | [`member`] | what a node tells about itself |
//! | [`observe`] | what an observer of the cluster's consistency asks a member |
//! | [`record`] | what stands in the shared second level |
//! | [`keys`] | when an issuer's keys are fetched, and how long they are trusted |
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod commit;
pub mod crypto;
pub mod fill;
pub mod follower;
pub mod freshness;
pub mod gossip;
pub mod hot;
pub mod ident;
pub mod keys;
pub mod log;
pub mod marks;
pub mod member;
pub mod observe;
pub mod record;
pub mod snapshot;
pub mod statement;
pub mod time;
pub mod wire;
