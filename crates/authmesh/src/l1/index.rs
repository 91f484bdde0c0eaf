//! What a read looks into: rows by their names, in shards behind a lock each.
//!
//! A shard's lock is held for a look at its map and never longer: not while anything is dropped, since a value's `Drop` may be
//! anybody's code, and not while mini-moka is called, which calls back when it lets go of a row.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{FirstWord, Row, RowKey};

/// More than threads run at once, so that two of them seldom want one lock.
const SHARDS: usize = 64;

type Map<R> = HashMap<u64, Arc<R>, FirstWord>;

/// On cache lines of its own: a lock that is taken must not slow down its neighbours.
#[repr(align(128))]
struct Shard<R> {
    rows: RwLock<Map<R>>,
    /// Whose turn it is to change what mini-moka holds under a name of this shard.
    turn: Mutex<()>,
}

pub(super) struct Index<R> {
    shards: Box<[Shard<R>]>,
    /// Rows that mini-moka let go of: to be freed where no lock is held.
    released: Mutex<Vec<Arc<R>>>,
    any_released: AtomicBool,
}

impl<R: Row> Index<R> {
    pub(super) fn new() -> Self {
        let shard = |_| Shard {
            rows: RwLock::default(),
            turn: Mutex::default(),
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            released: Mutex::default(),
            any_released: AtomicBool::new(false),
        }
    }

    fn shard(&self, key: &RowKey) -> &Shard<R> {
        &self.shards[key.other_word() as usize % SHARDS]
    }

    /// Taken before mini-moka is told to insert or to invalidate: it queues both after it did them, and must not queue them in the
    /// other order.
    pub(super) fn turn(&self, key: &RowKey) -> MutexGuard<'_, ()> {
        self.shard(key).turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, key: &RowKey) -> RwLockReadGuard<'_, Map<R>> {
        self.shard(key).rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: &RowKey) -> RwLockWriteGuard<'_, Map<R>> {
        self.shard(key).rows.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row of this name.
    pub(super) fn get(&self, key: &RowKey) -> Option<Arc<R>> {
        let map = self.read(key);
        map.get(&key.word()).filter(|row| row.is_named(key)).map(Arc::clone)
    }

    /// Whether it is this very row that stands under a name.
    fn holds(&self, key: &RowKey, row: &Arc<R>) -> bool {
        let map = self.read(key);
        map.get(&key.word()).is_some_and(|held| Arc::ptr_eq(held, row))
    }

    /// Puts a row under a name, and returns what stood there.
    #[must_use]
    fn put(&self, key: &RowKey, row: &Arc<R>) -> Option<Arc<R>> {
        self.write(key).insert(key.word(), Arc::clone(row))
    }

    /// Takes this very row from a name, if it stands there.
    fn take(&self, key: &RowKey, row: &Arc<R>) {
        let mut map = self.write(key);
        let held = map.get(&key.word()).is_some_and(|held| Arc::ptr_eq(held, row));
        let taken = if held { map.remove(&key.word()) } else { None };
        drop(map);
        // The last owner, perhaps: not under the lock.
        drop(taken);
    }

    /// Puts a row under its name. What stood there is gone, and returned; its alias leads to the new one.
    pub(super) fn insert(&self, row: &Arc<R>) -> Option<Arc<R>> {
        let former = self.put(&row.kept().key, row)?;
        former.kept().set_gone();
        if let Some(alias) = former.alias() {
            self.attach(row, *alias);
            // Where the new row could not have it.
            self.take(alias, &former);
        }
        Some(former)
    }

    /// Lets a row be found by another name too, as long as it stands under its own.
    pub(super) fn attach(&self, row: &Arc<R>, alias: RowKey) {
        if !row.set_alias(alias) {
            return;
        }
        drop(self.put(&alias, row));
        // Whoever takes a row out looks for an alias after it took the row. One that came too late for that is seen here.
        if !self.holds(&row.kept().key, row) {
            self.take(&alias, row);
        }
    }

    /// Takes a row out: it answers nobody any more, from here or from a front.
    pub(super) fn remove(&self, row: &Arc<R>) {
        row.kept().set_gone();
        self.take(&row.kept().key, row);
        if let Some(alias) = row.alias() {
            self.take(alias, row);
        }
    }

    /// [`Index::remove`] for whoever may hold mini-moka's locks: it is freed later.
    pub(super) fn release(&self, row: &Arc<R>) {
        self.remove(row);
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        released.push(Arc::clone(row));
        self.any_released.store(true, Ordering::Release);
    }

    /// Frees what was released. No lock is held meanwhile.
    pub(super) fn free_released(&self) {
        if self.any_released.load(Ordering::Acquire) {
            let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
            self.any_released.store(false, Ordering::Release);
            let rows = std::mem::take(&mut *released);
            drop(released);
            drop(rows);
        }
    }

    /// Every row, once. A shard at a time: what changes meanwhile may be seen or not.
    pub(super) fn rows(&self) -> impl Iterator<Item = Arc<R>> + '_ {
        self.shards.iter().flat_map(|shard| {
            let map = shard.rows.read().unwrap_or_else(PoisonError::into_inner);
            let own = map.iter().filter(|(word, row)| row.kept().key.word() == **word);
            own.map(|(_, row)| Arc::clone(row)).collect::<Vec<_>>()
        })
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        let len = |shard: &Shard<R>| shard.rows.read().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(len).sum()
    }
}
