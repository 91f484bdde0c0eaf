//! The first level: this node's memory.
//!
//! A hit looks into a [`front`] of its thread, then into an [`index`]; mini-moka bounds and evicts behind both, by weight in bytes
//! ([`store`]). None of them decides anything: what comes out is checked by stamps, on every hit. Only verified tokens go in, so
//! garbage cannot push out truth (invariant 7).

mod digest;
mod front;
mod index;
mod store;
#[cfg(test)]
mod tests;
mod thread;

use std::any::Any;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use authmesh_proto::freshness::Stamp;
use authmesh_proto::ident::EntryName;
use authmesh_proto::time::{Moment, Unix};

use crate::cache::Seen;
use crate::issuer::Issuer;
use crate::ports::Entropy;
use crate::upstream::Backed;
use crate::verdict::{ARC_BYTES, Verdict};

pub(crate) use digest::{Digester, Domain, RowKey};
pub(crate) use store::{Kept, Row, Store};
pub(crate) use thread::number as thread_number;

/// Both stores of a node.
pub(crate) struct Stores {
    pub(crate) verdicts: Store<VerdictEntry>,
    pub(crate) entries: Store<Entry>,
    /// Of this process. Each policy and each namespace derives its own.
    pub(crate) digester: Digester,
}

impl Stores {
    pub(crate) fn new(verdict_bytes: u64, entry_bytes: u64, entropy: &dyn Entropy) -> Self {
        Self {
            verdicts: Store::new(verdict_bytes),
            entries: Store::new(entry_bytes),
            digester: Digester::new(entropy),
        }
    }
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores")
            .field("verdicts", &self.verdicts.entry_count())
            .field("entries", &self.entries.entry_count())
            .finish()
    }
}

/// A verdict in L1, with everything that a hit compares.
#[derive(Debug)]
pub(crate) struct VerdictEntry {
    pub(crate) kept: Kept,
    pub(crate) verdict: Arc<Verdict>,
    pub(crate) backing: Backing,
    /// The fence counters that were captured before the token was verified: of its own name, and of all verdicts.
    pub(crate) stamps: [Stamp; 2],
    /// The mark epoch of the last check of the marks.
    pub(crate) mark_epoch: AtomicU64,
    /// The key-set generation in which the signing key was last found.
    pub(crate) key_edition: AtomicU64,
    /// When the signature was verified, or the provider was asked.
    pub(crate) verified_at: Moment,
    /// Where the token's time window begins, leeway included, and where it ends: a copy, so that a hit reads no more of the
    /// verdict than it must.
    pub(crate) from: Unix,
    pub(crate) until: Unix,
}

/// What a verdict in L1 rests on.
#[derive(Debug)]
pub(crate) enum Backing {
    /// A key of the issuer's set.
    Keys(Arc<Issuer>),
    /// What the provider said.
    Provider(Arc<Backed>),
}

impl Backing {
    /// Whether it still carries the verdict at a first look. `edition`: where the key was last found.
    pub(crate) fn stands(&self, edition: u64, now: Moment) -> bool {
        match self {
            Self::Keys(issuer) => issuer.is_trusted(now) && issuer.edition() == edition,
            Self::Provider(backed) => backed.is_fresh(now),
        }
    }
}

impl Row for VerdictEntry {
    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn bytes(&self) -> usize {
        let backing = match &self.backing {
            Backing::Keys(_) => 0,
            Backing::Provider(_) => ARC_BYTES + size_of::<Backed>(),
        };
        ARC_BYTES + size_of::<Self>() + backing + self.verdict.bytes()
    }
}

/// An entry of the generic cache in L1.
pub(crate) struct Entry {
    pub(crate) kept: Kept,
    pub(crate) name: EntryName,
    /// The digest of its key, once somebody asked by the key.
    pub(crate) alias: OnceLock<RowKey>,
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    pub(crate) stamps: Box<[Stamp]>,
    pub(crate) until: Moment,
    /// What its value takes, as far as it can be told: as many bytes as it has in JSON.
    pub(crate) bytes: usize,
    /// For whoever compares it with others of its name.
    pub(crate) seen: Seen,
    /// How often it was served from memory, about: it decides nothing but what a joiner is told of.
    pub(crate) hits: AtomicU32,
}

impl Row for Entry {
    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn bytes(&self) -> usize {
        ARC_BYTES + size_of::<Self>() + size_of_val(&*self.stamps) + self.bytes
    }

    fn alias(&self) -> Option<&RowKey> {
        self.alias.get()
    }

    fn set_alias(&self, alias: RowKey) -> bool {
        *self.alias.get_or_init(|| alias) == alias
    }
}

impl Entry {
    /// Hits that are counted one by one.
    const FEW: u32 = 16;

    /// It was served. The first hits are counted each, later ones by those that stand for `many`: a counter that every hit
    /// writes is one that threads take from each other.
    pub(crate) fn is_hit(&self, many: u32) {
        let hits = self.hits.load(Ordering::Relaxed);
        let more = if hits < Self::FEW { 1 } else { many };
        if more > 0 {
            // Two threads at once may count one.
            self.hits.store(hits.saturating_add(more), Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Entry {
    // The value is whatever the service caches.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

/// Names of rows are outputs of keyed pseudo-random functions: their first word is hash enough. Equality still compares every
/// bit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FirstWord(u64);

impl BuildHasher for FirstWord {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some((word, _)) = bytes.split_first_chunk::<8>() {
            self.0 = u64::from_ne_bytes(*word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    // `[u8; 32]` hashes its length first; it is the same for every key.
    fn write_usize(&mut self, _length: usize) {}
}
