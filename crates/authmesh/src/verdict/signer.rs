//! Which key signed: once for all the tokens that it signed.

use std::sync::{Arc, Mutex, PoisonError};

use crate::jose::{Algorithm, KeyIdentity, VerificationKey};

/// A key as it was used, and the generation of the key set in which it was found.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) key: KeyIdentity,
    pub(crate) generation: u64,
}

/// The keys of one set that have signed: a verdict that names one takes eight bytes for it. As many as the set has keys, times the
/// algorithms of a key, at most.
#[derive(Debug, Default)]
pub(crate) struct Signers(Mutex<Vec<Arc<Signer>>>);

impl Signers {
    /// The key as it is used with `alg`. `None` if it cannot be.
    pub(crate) fn signer(&self, key: &VerificationKey, alg: Algorithm, generation: u64) -> Option<Arc<Signer>> {
        let key = key.identity(alg)?;
        let mut signers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = signers
            .iter()
            .find(|known| known.key == key && known.generation == generation)
        {
            return Some(Arc::clone(known));
        }
        let signer = Arc::new(Signer { key, generation });
        signers.push(Arc::clone(&signer));
        Some(signer)
    }
}
