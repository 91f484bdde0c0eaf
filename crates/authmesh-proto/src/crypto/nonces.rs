//! Nonces that a server hands out and knows again without having kept them, on every node of the cluster (RFC 9449 section 9).
//!
//! ```text
//! key ID (8) | period (8, big-endian) | HMAC-SHA256 over the cluster and what stands before, its first 16 bytes
//! ```
//!
//! The first key of the ring makes them, every key knows them again: a rotation breaks none.

use alloc::vec::Vec;
use core::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::ring::{KeyRing, SealKeyId, keyed};

/// Length of a nonce, in bytes.
pub const SERVER_NONCE_BYTES: usize = 32;

/// Where the tag begins.
const TAG: usize = 16;

/// Makes nonces, and knows them again.
#[derive(Clone)]
pub struct ServerNonces {
    /// Per key of the ring, in its order. Each has read the cluster's name already.
    keys: Vec<(SealKeyId, Hmac<Sha256>)>,
}

impl ServerNonces {
    /// The nonces of the cluster `cluster`.
    #[must_use]
    pub fn new(ring: &KeyRing, cluster: &str) -> Self {
        let keys = ring.sealing().iter().map(|(id, secret)| {
            let mut subkey = Zeroizing::new([0u8; 32]);
            // 32 bytes are far below HKDF's limit of 8,160; the call cannot fail.
            let _ = Hkdf::<Sha256>::new(Some(b"authmesh/v1 server nonce"), &**secret).expand(&[], &mut *subkey);
            let mut mac = keyed(&subkey);
            mac.update(&(cluster.len() as u64).to_be_bytes());
            mac.update(cluster.as_bytes());
            (*id, mac)
        });
        Self { keys: keys.collect() }
    }

    /// The nonce of a period: what a period is, the caller says. The same on every node that has the same first key.
    #[must_use]
    pub fn make(&self, period: u64) -> [u8; SERVER_NONCE_BYTES] {
        // The ring is never empty: `KeyRing::new` refuses that.
        let (id, mac) = &self.keys[0];
        let mut nonce = [0; SERVER_NONCE_BYTES];
        nonce[..8].copy_from_slice(&id.0);
        nonce[8..TAG].copy_from_slice(&period.to_be_bytes());
        let mut mac = mac.clone();
        mac.update(&nonce[..TAG]);
        nonce[TAG..].copy_from_slice(&mac.finalize().into_bytes()[..SERVER_NONCE_BYTES - TAG]);
        nonce
    }

    /// The period of a nonce that a node of this cluster made; `None` of anything else. Takes as long whatever the tag is.
    #[must_use]
    pub fn period_of(&self, nonce: &[u8]) -> Option<u64> {
        let nonce: &[u8; SERVER_NONCE_BYTES] = nonce.try_into().ok()?;
        let (_, mac) = self.keys.iter().find(|(id, _)| id.0 == nonce[..8])?;
        let mut mac = mac.clone();
        mac.update(&nonce[..TAG]);
        mac.verify_truncated_left(&nonce[TAG..]).ok()?;
        let mut period = [0; 8];
        period.copy_from_slice(&nonce[8..TAG]);
        Some(u64::from_be_bytes(period))
    }
}

impl fmt::Debug for ServerNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerNonces")
            .field("keys", &self.keys.iter().map(|(id, _)| id).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
