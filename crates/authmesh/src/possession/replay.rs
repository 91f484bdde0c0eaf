//! The proofs that were taken lately, so that none counts twice on this node.
//!
//! Only proofs that hold get in, so garbage cannot fill it. A full memory refuses what it cannot remember: it never forgets
//! a proof that could still count. What it has forgotten it knows by one number, the highest `iat` among it: nothing as old as
//! that is taken, whatever a clock says that was set back.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh_proto::time::{Moment, Now, Unix};

use super::rules::ProofMemory;

const SHARDS: usize = 16;

/// Why a proof is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// It was taken before, or nobody can tell.
    Replayed,
    /// There is no room for it: of its key, or at all.
    Full {
        /// When there may be.
        retry_after: Duration,
    },
}

/// The memory. Keys are spread over shards, each with a lock of its own.
#[derive(Debug)]
pub(crate) struct Replays {
    limits: ProofMemory,
    /// How long a proof is remembered at least, in nanoseconds: as long as it could count.
    keep: AtomicU64,
    held: AtomicUsize,
    shards: [Mutex<Shard>; SHARDS],
}

/// Two generations: what is in the older one is at least one period old when it is dropped as a whole.
#[derive(Debug, Default)]
struct Shard {
    young: Generation,
    old: Generation,
    /// When the young one began.
    since: Moment,
    /// The highest `iat` that was dropped.
    forgotten: Option<Unix>,
}

#[derive(Debug, Default)]
struct Generation {
    /// Of each key, its proofs.
    keys: HashMap<[u8; 16], HashSet<[u8; 16]>>,
    proofs: usize,
    highest: Option<Unix>,
}

impl Replays {
    pub(crate) fn new(limits: ProofMemory) -> Self {
        Self {
            limits,
            keep: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Remembers proofs for so long at least.
    pub(crate) fn keep_for(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.keep.fetch_max(nanos, Ordering::AcqRel);
    }

    /// Takes a proof of a key, once.
    pub(super) fn take(&self, jkt: &[u8; 32], proof: [u8; 16], issued_at: Unix, now: Now) -> Result<(), NotTaken> {
        let keep = Duration::from_nanos(self.keep.load(Ordering::Acquire));
        let mut key = [0; 16];
        key.copy_from_slice(&jkt[..16]);
        if self.held.load(Ordering::Acquire) >= self.limits.proofs {
            // What is over in shards that nobody came to.
            for shard in &self.shards {
                self.turn(&mut lock(shard), keep, now.boot);
            }
        }
        let mut shard = lock(&self.shards[usize::from(jkt[31]) % SHARDS]);
        self.turn(&mut shard, keep, now.boot);
        if shard.holds(&key, &proof) || shard.forgotten.is_some_and(|forgotten| issued_at <= forgotten) {
            return Err(NotTaken::Replayed);
        }
        let full = NotTaken::Full {
            retry_after: keep
                .saturating_sub(now.boot.since(shard.since))
                .max(Duration::from_secs(1)),
        };
        if shard.of_key(&key) >= self.limits.of_one_key {
            return Err(full);
        }
        // Counted before it is kept: all shards together never hold more.
        let room = |held: usize| (held < self.limits.proofs).then_some(held + 1);
        if self
            .held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
            .is_err()
        {
            return Err(full);
        }
        let young = &mut shard.young;
        young.keys.entry(key).or_default().insert(proof);
        young.proofs += 1;
        young.highest = young.highest.max(Some(issued_at));
        Ok(())
    }

    /// Drops what is over.
    fn turn(&self, shard: &mut Shard, keep: Duration, now: Moment) {
        let age = now.since(shard.since);
        if age < keep {
            return;
        }
        shard.since = now;
        let young = std::mem::take(&mut shard.young);
        self.drop_all(std::mem::replace(&mut shard.old, young), &mut shard.forgotten);
        // Nothing came into the young one after its period, so all of it is that old.
        if age >= keep.saturating_mul(2) {
            self.drop_all(std::mem::take(&mut shard.old), &mut shard.forgotten);
        }
    }

    fn drop_all(&self, generation: Generation, forgotten: &mut Option<Unix>) {
        *forgotten = (*forgotten).max(generation.highest);
        self.held.fetch_sub(generation.proofs, Ordering::AcqRel);
    }

    /// Proofs held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }
}

impl Shard {
    fn holds(&self, key: &[u8; 16], proof: &[u8; 16]) -> bool {
        let holds = |generation: &Generation| generation.keys.get(key).is_some_and(|proofs| proofs.contains(proof));
        holds(&self.young) || holds(&self.old)
    }

    fn of_key(&self, key: &[u8; 16]) -> usize {
        let of = |generation: &Generation| generation.keys.get(key).map_or(0, HashSet::len);
        of(&self.young) + of(&self.old)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
