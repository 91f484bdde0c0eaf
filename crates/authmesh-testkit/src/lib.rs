//! Test kit for services that use authmesh.
//!
//! A test needs no Redis and no identity provider to show that a revoked token is refused on every instance, that an
//! outage of the issuer is no 401, and what happens when the network falls apart:
//!
//! ```
//! use authmesh::{Subject, VerifyError};
//! use authmesh_testkit::TestMesh;
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mesh = TestMesh::of(3).await;
//!     let issuer = mesh.issuer();
//!     let alice = issuer.mint().subject("alice").scope("orders:read").sign();
//!     let bob = issuer.token("bob");
//!
//!     // The issuer goes down; what nodes have seen they serve.
//!     mesh.verify(2, &alice).await?;
//!     issuer.fail();
//!     assert!(mesh.verify(2, &alice).await.is_ok());
//!
//!     // Node 0 loses sight of the others. A revocation does not reach it, and so it does not answer for long.
//!     mesh.verify(0, &alice).await?;
//!     mesh.partition(&[0], &[1, 2]);
//!     mesh[1].revoke(Subject::new(issuer.url(), "alice")).await?;
//!     mesh.refused(2, &alice).await;
//!     mesh.clock().advance(std::time::Duration::from_secs(310)).await;
//!     assert!(matches!(mesh.verify(0, &bob).await, Err(VerifyError::Blind { .. })));
//!
//!     // It comes back, and knows.
//!     issuer.recover();
//!     mesh.heal();
//!     mesh.settled().await;
//!     mesh.refused(0, &alice).await;
//!     mesh.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! | what | for |
//! | --- | --- |
//! | [`TestMesh`] | nodes that share a cluster in memory; stop, crash, restart, partition, heal |
//! | [`TestIssuer`] | tokens in one line, rotation, outages, opaque tokens |
//! | [`TestClock`] | time that passes when the test says so |
//! | [`Faulty`], [`Faults`] | delays, failures, losses, hangs and lies in front of any port |
//! | [`forge`] | tokens that no issuer would sign |
//! | [`eventually`], [`soon`] | waiting, but not for ever |
//!
//! Nothing here is for production: the key ring is known to everybody, and whatever cannot go on panics, which is how a test
//! fails. See `docs/testing.md`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
// A test kit has no caller that could handle an error better than a failed test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
pub mod faults;
pub mod forge;
mod issuer;
mod mesh;
mod wait;

pub use clock::TestClock;
pub use faults::{Action, Call, Failure, Fault, Faults, Faulty, Heard, Op, Port, Reply, When};
pub use issuer::{AUDIENCE, ISSUER, IssuerBuilder, Mint, OpaqueTokens, Published, TestIssuer};
pub use mesh::{MeshBuilder, TestMesh, TestNode, key_ring, quick};
pub use wait::{DEADLINE, eventually, soon};
