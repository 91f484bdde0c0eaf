//! Time and randomness.

use std::fmt;

use authmesh_proto::time::Now;

/// Reads both clocks.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The present reading. `boot` never goes back and counts suspend; `wall` may jump.
    fn now(&self) -> Now;
}

/// A cryptographic random source.
pub trait Entropy: fmt::Debug + Send + Sync {
    /// Fills `bytes` with random bytes. Never fails: an implementation that cannot must end the process, since a repeated
    /// nonce is worse than an outage.
    fn fill(&self, bytes: &mut [u8]);
}
