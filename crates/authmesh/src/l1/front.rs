//! What a thread looked up lately: a small table of its own in front of the index, so that threads that serve the same rows
//! share no lock and no counter on their way to them.
//!
//! A front keeps rows as it likes, also ones that the store has let go of: what it finds is checked by stamps like anything
//! else, and says itself when it has left the index. So nobody ever has to tell a front anything.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};

use super::{Row, RowKey};

/// Sets of a front; each has its place in four slots of one cache line.
const SETS: usize = 512;
/// Slots of a set.
const WAYS: usize = 4;
/// The heaviest row that a front keeps, in bytes: with the slots it bounds what fronts keep from being freed.
const HEAVIEST: u32 = 4 * 1024;

/// The fronts of a store, each for one thread, or for a few that take turns.
pub(super) struct Fronts<R>(Box<[Front<R>]>);

/// On cache lines of its own, since another thread uses the next one.
#[repr(align(128))]
struct Front<R>(Mutex<Slots<R>>);

/// The table of one front. Empty until it is first used.
pub(super) struct Slots<R> {
    slots: Box<[Slot<R>]>,
    /// Per set, a part of each of the last four names that were looked up in vain: only what comes twice is let in, so that a
    /// scan over many rows neither pushes out the few that matter nor pays for trying.
    ghosts: Box<[[u16; 4]]>,
}

struct Slot<R> {
    word: u64,
    row: Option<Arc<R>>,
}

impl<R: Row> Fronts<R> {
    pub(super) fn new() -> Self {
        Self((0..count()).map(|_| Front(Mutex::new(Slots::empty()))).collect())
    }

    /// The front of thread `number`; `None` while another thread of the same front uses it, or this one does, further up.
    #[inline]
    pub(super) fn of(&self, number: usize) -> Option<MutexGuard<'_, Slots<R>>> {
        // A power of two.
        let front = &self.0[number & (self.0.len() - 1)];
        match front.0.try_lock() {
            Ok(slots) => Some(slots),
            // Whatever is in a slot is checked before it counts.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// As many as threads run at once, four times over: threads are numbered as they come, and numbers meet.
fn count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        (threads * 4).next_power_of_two().clamp(8, 128)
    })
}

impl<R: Row> Slots<R> {
    fn empty() -> Self {
        Self {
            slots: Box::default(),
            ghosts: Box::default(),
        }
    }

    fn set(key: &RowKey) -> usize {
        // Not the bits that choose a shard.
        (key.other_word() >> 32) as usize % SETS
    }

    /// The row of a name, unless it has left the index.
    #[inline]
    pub(super) fn find(&mut self, key: &RowKey) -> Option<&Arc<R>> {
        let first = Self::set(key) * WAYS;
        let set = self.slots.get_mut(first..first + WAYS)?;
        let slot = set
            .iter_mut()
            .find(|slot| slot.word == key.word() && slot.row.is_some())?;
        if slot.row.as_ref().is_some_and(|row| row.kept().is_gone()) {
            slot.row = None;
        }
        slot.row.as_ref().filter(|row| row.is_named(key))
    }

    /// Lets a row in if its name was looked up here not long ago. `way` is any number.
    pub(super) fn admit(&mut self, key: &RowKey, row: Arc<R>, way: usize) {
        if row.kept().weight() > HEAVIEST || row.kept().is_gone() {
            return;
        }
        if self.slots.is_empty() {
            self.slots = (0..SETS * WAYS).map(|_| Slot { word: 0, row: None }).collect();
            self.ghosts = vec![[0; 4]; SETS].into();
        }
        let (set, ghost) = (Self::set(key), (key.word() >> 48) as u16);
        let ghosts = &mut self.ghosts[set];
        if !ghosts.contains(&ghost) {
            ghosts.rotate_right(1);
            ghosts[0] = ghost;
            return;
        }
        let slots = &mut self.slots[set * WAYS..(set + 1) * WAYS];
        let same = slots.iter().position(|slot| slot.word == key.word());
        let free = || slots.iter().position(|slot| slot.row.is_none());
        let at = same.or_else(free).unwrap_or(way % WAYS);
        slots[at] = Slot {
            word: key.word(),
            row: Some(row),
        };
    }
}
