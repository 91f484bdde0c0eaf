//! Names of rows in this node's memory: keyed digests, and what the cluster calls an entry.

use authmesh_proto::ident::EntryName;
use highway::{HighwayHash as _, HighwayHasher, Key};

use crate::ports::Entropy;

/// What a row is found by: 256 bits of a keyed pseudo-random function, compared in full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowKey([u64; 4]);

impl RowKey {
    /// The word that maps hash by.
    pub(crate) const fn word(&self) -> u64 {
        self.0[0]
    }

    /// A word that says nothing about [`RowKey::word`], to spread by.
    pub(super) const fn other_word(&self) -> u64 {
        self.0[1]
    }
}

impl From<&EntryName> for RowKey {
    fn from(name: &EntryName) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(name.as_bytes().as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        Self(words)
    }
}

impl std::fmt::Debug for RowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RowKey(..)")
    }
}

/// What a digest is of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Domain {
    /// Tokens under one policy.
    Tokens = 1,
    /// Keys of one namespace of the cache.
    Cache = 2,
}

/// Makes digests that never leave the process: 256 bits of HighwayHash under a key that is random for each process. So nobody
/// outside can choose two tokens that meet, and nobody sees a digest.
pub(crate) struct Digester(HighwayHasher);

impl Digester {
    pub(crate) fn new(entropy: &dyn Entropy) -> Self {
        let mut words = [0u64; 4];
        for word in &mut words {
            let mut bytes = [0; 8];
            entropy.fill(&mut bytes);
            *word = u64::from_ne_bytes(bytes);
        }
        Self(HighwayHasher::new(Key(words)))
    }

    /// The digester of one context: what it makes has nothing to do with what those of other contexts make. Its key is the
    /// digest of the context, so that it costs nothing when it is used.
    pub(crate) fn under(&self, domain: Domain, context: &[u8]) -> Self {
        let mut hasher = self.0.clone();
        hasher.append(&[domain as u8]);
        hasher.append(context);
        Self(HighwayHasher::new(Key(hasher.finalize256())))
    }

    /// The digest of **all** bytes.
    #[inline]
    pub(crate) fn digest(&self, bytes: &[u8]) -> RowKey {
        let mut hasher = self.0.clone();
        hasher.append(bytes);
        RowKey(hasher.finalize256())
    }
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester(..)")
    }
}
