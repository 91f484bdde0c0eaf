//! A store: an index that reads look into, fronts before it, and mini-moka behind it, which bounds and evicts.
//!
//! ```text
//! read  -> front of the thread -> index           (one hit of a few is told to mini-moka)
//! write -> index, then mini-moka -> whatever mini-moka lets go of leaves the index
//! ```
//!
//! mini-moka does bookkeeping on every read. So it is told of a sample, and holds a [`Handle`] on each row, whose `Drop` takes the
//! row out of the index: that is its notice of eviction.
//!
//! It queues writes, and two writes of one key in its queue can leave a weight behind that no row has, for good: where memory is
//! full it turns down the first by taking the key out, then lets the second in, which is not there any more. A few thousand
//! callers with one new token would use up the memory. So no two rows have one [`Place`], and a row is told in and out in this
//! order.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use mini_moka::sync::{Cache, ConcurrentCacheExt as _};

use super::front::Fronts;
use super::index::Index;
use super::thread;
use super::{FirstWord, RowKey};

/// What mini-moka and the index need for a row: mini-moka's key (32), value (32), entry info (104) and deque node (40), and a place
/// in each of two hash tables, which are half to seven eighths full (17 bytes a place). As the allocator counts it on average.
pub(super) const ROW_OVERHEAD: usize = 268;
/// One hit of so many is told to mini-moka's policy.
const TOLD_OF: u32 = 4;

/// What a store keeps.
pub(crate) trait Row: Send + Sync + 'static {
    fn kept(&self) -> &Kept;

    /// What it takes in memory.
    fn bytes(&self) -> usize;

    /// The other name that it is found by.
    fn alias(&self) -> Option<&RowKey> {
        None
    }

    /// Gives it its other name. `false`: it has another one, or can have none.
    fn set_alias(&self, _alias: RowKey) -> bool {
        false
    }

    /// Whether it is found by this name.
    fn is_named(&self, key: &RowKey) -> bool {
        self.kept().key == *key || self.alias() == Some(key)
    }
}

/// In the holders of a row: it has left the index. For whoever still has it at hand.
const GONE: u32 = 1 << 31;

/// A row's own share in being kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(super) key: RowKey,
    serial: u64,
    weight: AtomicU32,
    /// Clones of its handle; and [`GONE`].
    holders: AtomicU32,
}

impl Kept {
    pub(crate) fn new(key: RowKey) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            key,
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            weight: AtomicU32::new(0),
            holders: AtomicU32::new(0),
        }
    }

    pub(crate) const fn key(&self) -> &RowKey {
        &self.key
    }

    /// Where mini-moka has it.
    const fn place(&self) -> Place {
        Place {
            word: self.key.word(),
            serial: self.serial,
        }
    }

    pub(super) fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(super) fn set_gone(&self) {
        self.holders.fetch_or(GONE, Ordering::AcqRel);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.holders.load(Ordering::Acquire) & GONE != 0
    }
}

/// A key of mini-moka: it counts how often a name is asked for by its hash, and finds rows by their number.
#[derive(PartialEq, Eq)]
struct Place {
    word: u64,
    /// 0: none.
    serial: u64,
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.word);
    }
}

/// mini-moka's hold on a row. It has no listener for evictions; this `Drop` is one.
struct Handle<R: Row> {
    row: Arc<R>,
    index: Weak<Index<R>>,
}

impl<R: Row> Handle<R> {
    fn new(row: Arc<R>, index: &Arc<Index<R>>) -> Self {
        row.kept().holders.fetch_add(1, Ordering::Relaxed);
        Self {
            row,
            index: Arc::downgrade(index),
        }
    }
}

impl<R: Row> Clone for Handle<R> {
    fn clone(&self) -> Self {
        // mini-moka clones what it gives, and what it takes.
        self.row.kept().holders.fetch_add(1, Ordering::Relaxed);
        Self {
            row: Arc::clone(&self.row),
            index: Weak::clone(&self.index),
        }
    }
}

impl<R: Row> Drop for Handle<R> {
    fn drop(&mut self) {
        let last = self.row.kept().holders.fetch_sub(1, Ordering::AcqRel) & !GONE == 1;
        if let (true, Some(index)) = (last, self.index.upgrade()) {
            index.release(&self.row);
        }
    }
}

pub(crate) struct Store<R: Row> {
    index: Arc<Index<R>>,
    bound: Cache<Place, Handle<R>, FirstWord>,
    fronts: Fronts<R>,
    /// From so many bytes on mini-moka weighs one row against another, and hears of hits.
    crowded: u64,
}

impl<R: Row> Store<R> {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            crowded: bytes / 2,
            index: Arc::new(Index::new()),
            bound: Cache::builder()
                .max_capacity(bytes)
                .weigher(|_, handle: &Handle<R>| handle.row.kept().weight())
                .build_with_hasher(FirstWord::default()),
            fronts: Fronts::new(),
        }
    }

    /// Serves the row of a name. `serve` checks it, and is told for how many hits this one stands: 0 or more.
    ///
    /// No lock is waited for that `serve` or another thread's `serve` holds, so that it may use the store.
    #[inline]
    pub(crate) fn hit<T>(&self, key: &RowKey, serve: impl FnOnce(&Arc<R>, u32) -> Option<T>) -> Option<T> {
        let Some(mut front) = self.fronts.of(thread::number()) else {
            let row = self.get(key)?;
            return self.told(&row, serve);
        };
        if let Some(row) = front.find(key) {
            return self.told(row, serve);
        }
        let row = self.get(key)?;
        let served = self.told(&row, serve)?;
        front.admit(key, row, thread::any());
        Some(served)
    }

    #[inline]
    fn told<T>(&self, row: &Arc<R>, serve: impl FnOnce(&Arc<R>, u32) -> Option<T>) -> Option<T> {
        let is_told = thread::is_told(TOLD_OF);
        let served = serve(row, if is_told { TOLD_OF } else { 0 })?;
        if is_told && self.bound.weighted_size() >= self.crowded {
            self.tell(row);
        }
        Some(served)
    }

    #[cold]
    fn tell(&self, row: &Arc<R>) {
        drop(self.bound.get(&row.kept().place()));
        self.index.free_released();
    }

    /// The row of a name, for a look that is no hit.
    pub(crate) fn get(&self, key: &RowKey) -> Option<Arc<R>> {
        self.index.get(key).filter(|row| !row.kept().is_gone())
    }

    pub(crate) fn insert(&self, row: Arc<R>) {
        let kept = row.kept();
        let weight = u32::try_from(row.bytes() + ROW_OVERHEAD).unwrap_or(u32::MAX);
        kept.weight.store(weight, Ordering::Relaxed);
        let turn = self.index.turn(&kept.key);
        // Perhaps this is its last owner soon: it outlives the turn.
        let former = self.index.insert(&row);
        if let Some(former) = &former {
            self.bound.invalidate(&former.kept().place());
        }
        // The miss behind this insertion: what was never asked for is not let in where memory is full. Misses that lead to no
        // insertion are not told, so that garbage has no say in what is kept.
        let missed = Place {
            serial: 0,
            ..kept.place()
        };
        drop(self.bound.get(&missed));
        self.bound
            .insert(kept.place(), Handle::new(Arc::clone(&row), &self.index));
        drop(turn);
        drop(former);
        self.index.free_released();
    }

    /// Lets a row be found by another name too.
    pub(crate) fn attach(&self, row: &Arc<R>, alias: RowKey) {
        self.index.attach(row, alias);
    }

    /// Takes the row of a name out, if there is one.
    pub(crate) fn invalidate(&self, key: &RowKey) {
        // By another name perhaps.
        let Some(row) = self.index.get(key) else { return };
        let own = row.kept().key;
        let turn = self.index.turn(&own);
        let present = self.index.get(&own);
        if let Some(present) = &present {
            self.index.remove(present);
            self.bound.invalidate(&present.kept().place());
        }
        drop(turn);
        self.index.free_released();
    }

    /// Every row, once.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Arc<R>> + '_ {
        self.index.rows()
    }

    /// How many rows there are, about.
    pub(crate) fn entry_count(&self) -> u64 {
        self.settle();
        self.bound.entry_count()
    }

    /// What they weigh in bytes, about.
    pub(crate) fn weighted_size(&self) -> u64 {
        self.settle();
        self.bound.weighted_size()
    }

    /// What mini-moka has put off. It does so at reads and writes, and hears of few reads.
    fn settle(&self) {
        self.bound.sync();
        self.index.free_released();
    }

    /// Names under which rows are found.
    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.index.names()
    }

    /// All of it: mini-moka evicts some hundred at a time.
    #[cfg(test)]
    pub(super) fn sync(&self) {
        for _ in 0..20 {
            self.settle();
        }
    }
}
