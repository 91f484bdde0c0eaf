//! authmesh: verify once, trust everywhere, revoke everywhere.
//!
//! A cache of verified tokens for services that run as many instances. Every instance (a *node*) keeps verdicts in its own
//! memory and answers from there in well under a microsecond; a revocation takes effect on all of them.
//!
//! ```no_run
//! use std::sync::Arc;
//! use authmesh::{AuthMesh, Rules, Subject};
//! # async fn doc(keys: Arc<dyn authmesh::ports::KeySource>, token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let mesh = AuthMesh::builder()
//!     .issuer("https://login.example.com", keys, Rules::for_audiences(["orders-api"]))
//!     .start()
//!     .await?;
//!
//! let verdict = mesh.verifier().verify(token).await?;
//! println!("hello, {}", verdict.subject().unwrap_or("nobody"));
//!
//! mesh.revoke(Subject::new("https://login.example.com", "alice")).why("password changed").await?;
//! mesh.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! `keys` comes from `authmesh-oidc` (`HttpKeySource::discover`), or from [`memory::FixedKeys`] when the key set is at hand.
//!
//! # What a revocation covers
//!
//! Marks of a subject, a session, a client, a signing key and an issuer compare the token's `iat` with their `not_before`: in the
//! **issuer's** time (the latest of this node's wall clock, the highest `iat` accepted from the issuer and its last `Date`),
//! and in whole seconds, as `iat` is. What was issued up to that second is void, **the same second included**; so a
//! replacement is issued in a later second than the [`Receipt::not_before`]. A token without `iat` cannot prove that it is
//! newer, and is void. Marks of one token and of one `jti` void whatever the time of issue. A later mark never takes back
//! what an earlier one voids.
//!
//! # Streams and sockets
//!
//! What outlives the request that it began with waits for [`Answer::revoked`] beside its work, and ends with it.
//!
//! # What a hit checks
//!
//! The whole token and the policy (they are the key), the time window with the present clock, the age of the verdict, the
//! trust age of the key set, the fence, the marks, the key's place in the issuer's current set, and the coherence lease. In
//! the unchanged case each is one comparison.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod builder;
mod cache;
pub mod clock;
mod ended;
mod error;
mod issuer;
pub mod jose;
pub mod keyring;
mod l1;
mod logout;
mod marks;
pub mod memory;
mod mesh;
mod node;
mod observer;
pub mod offline;
mod policy;
pub mod ports;
pub mod possession;
mod recall;
mod revoke;
mod snapshot;
mod telemetry;
mod upstream;
mod verdict;
mod verify;

pub use authmesh_proto as proto;
pub use authmesh_proto::crypto::{KeyRing, KeyRingError};
pub use authmesh_proto::keys::KeyPolicy;
pub use builder::Builder;
pub use cache::{Cache, Load, Namespace, WriteRules, Written};
pub use ended::Ended;
pub use error::{BatchError, BuildError, CacheError, Fault, RevokeError, VerifyError, WriteError};
pub use issuer::{IssuerStatus, IssuerTemplate};
pub use logout::{LogoutError, LogoutRules};
pub use marks::{BadMarkId, MarkId, MarkInfo, MarkPage, MarkQuery};
pub use mesh::{AuthMesh, Health, Stats, Status};
pub use node::{Coherence, GossipHealth, GossipStats, Member};
pub use observer::{Checked, Explained, Findings, Inconsistency, Observation, ObserveError, Report};
pub use policy::{Policy, Rules, WhenBlind};
pub use recall::Kept;
pub use revoke::{
    Client, CommitState, Confirm, Confirmer, JwtId, Receipt, Revocation, RevocationBatch, RevocationOrder, Session,
    SigningKey, Subject, Target, Token, WholeIssuer,
};
pub use telemetry::{Counts, Metric, MetricAttribute, MetricKind, metrics};
pub use upstream::{UpstreamRules, UpstreamStatus};
pub use verdict::{Answer, ClaimsError, Level, Outcome, Verdict, VouchedBy};
pub use verify::{
    Decision, ExplainedBinding, ExplainedIssuer, ExplainedKey, ExplainedMark, ExplainedProvider, ExplainedTime,
    Explanation, Verifier,
};
