//! The first level: this node's memory.
//!
//! mini-moka bounds and evicts, by weight in bytes. It decides nothing: what comes out of it is checked by stamps, on every
//! hit. Only verified tokens go in, so garbage cannot push out truth (invariant 7).

use std::any::Any;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use authmesh_proto::freshness::Stamp;
use authmesh_proto::ident::EntryName;
use authmesh_proto::time::{Moment, Unix};
use highway::{HighwayHash as _, HighwayHasher, Key};
use mini_moka::sync::Cache;

use crate::cache::Seen;
use crate::issuer::Issuer;
use crate::ports::Entropy;
use crate::upstream::Backed;
use crate::verdict::Verdict;

/// What mini-moka itself needs for an entry, about: key, node, deque links, counters.
const ENTRY_OVERHEAD: usize = 160;

/// Both stores of a node.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) verdicts: VerdictStore,
    pub(crate) entries: EntryStore,
}

pub(crate) type VerdictStore = Cache<TokenDigest, Arc<VerdictEntry>, FirstWord>;
pub(crate) type EntryStore = Cache<EntryName, Arc<Entry>, FirstWord>;

impl Stores {
    pub(crate) fn new(verdict_bytes: u64, entry_bytes: u64) -> Self {
        Self {
            verdicts: Cache::builder()
                .max_capacity(verdict_bytes)
                .weigher(|_, entry: &Arc<VerdictEntry>| weight(entry.bytes()))
                .build_with_hasher(FirstWord::default()),
            entries: Cache::builder()
                .max_capacity(entry_bytes)
                .weigher(|_, entry: &Arc<Entry>| weight(entry.bytes))
                .build_with_hasher(FirstWord::default()),
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

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
}

/// A verdict in L1, with everything that a hit compares.
#[derive(Debug)]
pub(crate) struct VerdictEntry {
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
    /// Where the token's time window begins, leeway included.
    pub(crate) from: Unix,
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

impl VerdictEntry {
    fn bytes(&self) -> usize {
        let backing = match &self.backing {
            Backing::Keys(_) => 0,
            Backing::Provider(_) => size_of::<Backed>(),
        };
        size_of::<Self>() + backing + self.verdict.bytes()
    }
}

/// An entry of the generic cache in L1.
pub(crate) struct Entry {
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    pub(crate) stamps: Box<[Stamp]>,
    pub(crate) until: Moment,
    pub(crate) bytes: usize,
    /// For whoever compares it with others of its name.
    pub(crate) seen: Seen,
    /// How often it was served from memory, about: it decides nothing but what a joiner is told of.
    pub(crate) hits: AtomicU32,
}

impl Entry {
    /// It was served. Two threads at once may count one: nobody pays for more.
    pub(crate) fn is_hit(&self) {
        let hits = self.hits.load(Ordering::Relaxed);
        self.hits.store(hits.saturating_add(1), Ordering::Relaxed);
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

/// Digest of a token under a policy: 256 bits of keyed HighwayHash. The key is random per process, so nobody outside can
/// choose two tokens that meet; the digest never leaves the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenDigest([u64; 4]);

impl std::hash::Hash for TokenDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// Makes [`TokenDigest`]s.
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

    /// The digest of **all** bytes of the token, and of the policy's fingerprint.
    pub(crate) fn digest(&self, fingerprint: &[u8; 32], token: &[u8]) -> TokenDigest {
        let mut hasher = self.0.clone();
        hasher.append(fingerprint);
        hasher.append(token);
        TokenDigest(hasher.finalize256())
    }
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester(..)")
    }
}

/// The keys of both stores are outputs of keyed pseudo-random functions: their first word is hash enough. Equality still
/// compares every bit.
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
