//! What is demanded of proofs.

use std::time::Duration;

use crate::error::BuildError;
use crate::jose::AlgorithmSet;

/// What a policy demands of DPoP proofs (RFC 9449). Proofs are looked at on every call, so nothing here is part of the
/// policy's fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DpopRules {
    /// Whether tokens that are bound to a key are taken at all, each with its proof. Default: yes.
    pub accepted: bool,
    /// Accepted `alg`s of proofs. Default: all nine that are supported; all are asymmetric.
    pub algorithms: AlgorithmSet,
    /// How old a proof may be by its `iat`. One second to five minutes. Default: 60 s. It may lie ahead by the mesh's `max_skew`.
    pub window: Duration,
    /// Whether a proof must hold a nonce of this cluster (RFC 9449 section 9): nobody can make proofs in advance, and how old one
    /// is does not depend on the client's clock. Costs a client one more round trip for each
    /// [`nonce_lifetime`](Self::nonce_lifetime). Default: no.
    pub require_nonce: bool,
    /// How long a nonce is handed out; it is taken for as long again. Ten seconds to an hour. Equal on every node.
    /// Default: 60 s.
    pub nonce_lifetime: Duration,
}

impl Default for DpopRules {
    fn default() -> Self {
        Self {
            accepted: true,
            algorithms: AlgorithmSet::ALL,
            window: Duration::from_secs(60),
            require_nonce: false,
            nonce_lifetime: Duration::from_secs(60),
        }
    }
}

impl DpopRules {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.algorithms.is_empty() {
            return Err(BuildError::new(
                "dpop.algorithms",
                "is empty: no proof could be accepted. Name at least one",
            ));
        }
        if !(1..=300).contains(&self.window.as_secs()) || self.window > Duration::from_secs(300) {
            return Err(BuildError::new("dpop.window", "must be 1 second to 5 minutes"));
        }
        if self.nonce_lifetime < Duration::from_secs(10) || self.nonce_lifetime > Duration::from_secs(3600) {
            return Err(BuildError::new("dpop.nonce_lifetime", "must be 10 seconds to 1 hour"));
        }
        Ok(())
    }
}

/// How many proofs a node remembers, so that none counts twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofMemory {
    /// Of all clients together, about 60 bytes for each. Past it proofs are refused. Default: 1,048,576.
    pub proofs: usize,
    /// Of one key. Past it its proofs are refused, and nobody else's. Default: 65,536.
    pub of_one_key: usize,
}

impl Default for ProofMemory {
    fn default() -> Self {
        Self {
            proofs: 1 << 20,
            of_one_key: 1 << 16,
        }
    }
}

impl ProofMemory {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.of_one_key == 0 || self.of_one_key > self.proofs {
            return Err(BuildError::new(
                "proof_memory",
                "must hold at least one proof of one key, and at least as many of all keys together",
            ));
        }
        Ok(())
    }
}
