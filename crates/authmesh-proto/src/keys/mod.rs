//! Signing keys: when an issuer's key set is fetched, by which node, who may cause a fetch, and how long a set is trusted.
//!
//! | part | what it decides |
//! | --- | --- |
//! | [`KeyPolicy`] | every setting, its default, and which contradict each other |
//! | [`KeyMachine`] | one per issuer and node: **when** a newer set is wanted ([`Trip`]), what callers do meanwhile ([`Need`]), how long the present set is trusted |
//! | [`Errand`] | one per trip: **how** the newer set is got, so that one node in the cluster asks the issuer and the others take what it brought |
//! | [`KeySet`], [`Ticket`] | what stands in L2 and travels between nodes, sealed |
//!
//! All pure: time and randomness are arguments, and the driver does what the actions say.
//!
//! - A set is refreshed ahead of the end of its soft lifetime; callers who have a usable set never wait.
//! - An unknown `kid` causes a trip, inside a budget that counts attempts. With the budget empty the answer is "could not
//!   ask", at once, and never "unknown key".
//! - A `kid` that a fresh set did not hold is remembered as absent for a short while, so that asking again costs nothing.
//! - A set is trusted up to a hard maximum age, whatever happens to the issuer, and whoever restarts.
//! - A set has a generation. The cluster states the newest one by a mark, so that an older set cannot come back.

mod budget;
mod errand;
mod machine;
mod policy;
mod set;
#[cfg(test)]
mod tests;

pub use errand::{Action, Errand, ErrandConfig, FetchEnd, Held, Input, LeaseEnd, Source, Told};
pub use machine::{End, KeyMachine, Need, Trip, Why};
pub use policy::{KeyPolicy, PolicyConflict};
pub use set::{KeyAnswer, KeyQuestion, KeySet, MAX_DOCUMENT_BYTES, MAX_ETAG_BYTES, Ticket};

/// The longest `kid` that is ever asked for, in bytes. Longer ones are unknown by definition.
pub const MAX_KID_BYTES: usize = 256;
