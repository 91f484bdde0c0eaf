//! Proof of possession: tokens that nobody can use but the owner of a key.
//!
//! A token may be bound to a key of its holder (DPoP, RFC 9449) or to the client certificate of its connection (RFC 8705): its
//! confirmation claim (`cnf`, RFC 7800) says so. What is bound is verified and cached like any other token. **The proof
//! is checked on every call, after the verdict and outside of it**, wherever the verdict came from:
//!
//! ```text
//! token --> verdict (L1, L2, provider, signature) --> bound? --> certificate, proof, nonce, replay --> answer
//! ```
//!
//! A bound token is never taken as a bearer token, and one that is bound to no key is refused with the scheme `DPoP`.
//!
//! ```
//! use authmesh::possession::{Presentation, RequestUri, Scheme};
//!
//! # async fn doc(verifier: authmesh::Verifier, token: &str, proof: &str) -> Result<(), authmesh::VerifyError> {
//! let presentation = Presentation::new(token, Scheme::Dpop)
//!     .proofs([proof])
//!     .request("POST", RequestUri::absolute("https://api.example.com/orders"));
//! let answer = verifier.answer_presented(&presentation).await?;
//! # Ok(()) }
//! ```
//!
//! A proof counts once on a node, and for at most [`DpopRules::window`]. Nodes do not tell each other which proofs they took: with
//! [`DpopRules::require_nonce`] a proof that is shown to another node is at least as fresh as a nonce of the cluster. See
//! `docs/bound-tokens.md`.

mod binding;
mod certificate;
mod check;
mod error;
mod nonce;
mod presentation;
mod proof;
mod replay;
mod rules;
#[cfg(test)]
mod tests;
mod uri;

pub use binding::Binding;
pub use certificate::{certificate_sha256, certificate_sha256_of_header};
pub use error::ProofError;
pub use presentation::{Presentation, RequestProof, RequestUri, Scheme};
pub(crate) use replay::Replays;
pub use rules::{DpopRules, ProofMemory};
