use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use highway::{HighwayHash as _, HighwayHasher, Key};
use mini_moka::sync::Cache;

use super::store::ROW_OVERHEAD;
use super::*;

/// What a test keeps.
struct Item {
    kept: Kept,
    alias: OnceLock<RowKey>,
    bytes: usize,
    version: u32,
}

impl Row for Item {
    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn alias(&self) -> Option<&RowKey> {
        self.alias.get()
    }

    fn set_alias(&self, alias: RowKey) -> bool {
        *self.alias.get_or_init(|| alias) == alias
    }
}

fn key(n: u64) -> RowKey {
    let mut hasher = HighwayHasher::new(Key([1, 2, 3, 4]));
    hasher.append(&n.to_le_bytes());
    RowKey::from(&EntryName(words(hasher.finalize256())))
}

fn words(words: [u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

fn item(n: u64, version: u32) -> Arc<Item> {
    Arc::new(Item {
        kept: Kept::new(key(n)),
        alias: OnceLock::new(),
        // With what a store adds: 1,000.
        bytes: 1_000 - ROW_OVERHEAD,
        version,
    })
}

fn version(store: &Store<Item>, n: u64) -> Option<u32> {
    store.hit(&key(n), |item, _| Some(item.version))
}

/// Until the front of this thread has it, and serves it.
fn warm(store: &Store<Item>, n: u64) {
    for _ in 0..4 {
        assert!(version(store, n).is_some());
    }
}

#[test]
fn what_mini_moka_lets_go_of_leaves_the_index() {
    let store = Store::new(100_000);
    let rows: Vec<Weak<Item>> = (0..1_000)
        .map(|n| {
            let row = item(n, 0);
            store.insert(Arc::clone(&row));
            Arc::downgrade(&row)
        })
        .collect();
    store.sync();
    assert!((50..=100).contains(&store.names()), "{} of 100 that fit", store.names());
    assert_eq!(store.names() as u64, store.entry_count());
    let alive = rows.iter().filter(|row| row.strong_count() > 0).count();
    assert_eq!(alive, store.names(), "a row that is not found is not kept");
    assert_eq!(store.rows().count(), store.names());
}

#[test]
fn what_is_larger_than_everything_is_not_kept() {
    let store = Store::new(500);
    store.insert(item(1, 0));
    store.sync();
    assert_eq!((version(&store, 1), store.names()), (None, 0));
}

#[test]
fn a_row_gives_way_to_the_next_of_its_name_and_takes_nothing_with_it() {
    let store = Store::new(100_000);
    store.insert(item(1, 1));
    warm(&store, 1);
    store.insert(item(1, 2));
    assert_eq!(version(&store, 1), Some(2), "not what the front had");
    // mini-moka drops its hold on the first one now, at the latest.
    store.sync();
    assert_eq!((version(&store, 1), store.names()), (Some(2), 1));
}

#[test]
fn what_was_taken_out_is_served_by_no_front_of_any_thread() {
    let store = Store::new(100_000);
    store.insert(item(1, 1));
    let (told, ready) = (AtomicBool::new(false), std::sync::Barrier::new(3));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    warm(&store, 1);
                    ready.wait();
                    while !told.load(Ordering::Acquire) {
                        let _ = version(&store, 1);
                    }
                    version(&store, 1)
                })
            })
            .collect();
        ready.wait();
        store.invalidate(&key(1));
        told.store(true, Ordering::Release);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), None);
        }
    });
    assert_eq!(store.names(), 0);
}

#[test]
fn a_front_frees_what_is_gone_when_it_comes_across_it_and_a_store_frees_its_fronts() {
    let store = Store::new(100_000);
    let (one, two) = (item(1, 1), item(2, 1));
    for row in [&one, &two] {
        store.insert(Arc::clone(row));
    }
    warm(&store, 1);
    warm(&store, 2);
    store.invalidate(&key(1));
    store.sync();
    assert_eq!(version(&store, 1), None);
    assert_eq!(Arc::strong_count(&one), 1);
    drop(store);
    assert_eq!(Arc::strong_count(&two), 1);
}

#[test]
fn another_name_leads_to_a_row_while_its_own_does() {
    let store = Store::new(100_000);
    let row = item(1, 1);
    store.insert(Arc::clone(&row));
    store.attach(&row, key(77));
    warm(&store, 77);
    assert_eq!(store.rows().count(), 1, "once, under two names");
    // The next one inherits the name.
    store.insert(item(1, 2));
    assert_eq!((version(&store, 77), store.names()), (Some(2), 2));
    // One that was taken out meanwhile does not get it.
    store.invalidate(&key(1));
    store.attach(&row, key(77));
    assert_eq!(
        (version(&store, 77), version(&store, 1), store.names()),
        (None, None, 0)
    );
}

/// A value's `Drop` is anybody's code: it may use the store.
#[test]
fn a_value_may_use_the_store_while_it_is_dropped() {
    struct Nosy(Kept, Mutex<Option<Arc<Store<Nosy>>>>);
    impl Row for Nosy {
        fn kept(&self) -> &Kept {
            &self.0
        }
        fn bytes(&self) -> usize {
            10
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            if let Some(store) = self.1.get_mut().unwrap().take() {
                let key = *self.0.key();
                assert!(store.hit(&key, |_, _| Some(())).is_none());
                store.insert(Arc::new(Nosy(Kept::new(key), Mutex::new(None))));
            }
        }
    }
    let store = Arc::new(Store::new(100_000));
    store.insert(Arc::new(Nosy(Kept::new(key(1)), Mutex::new(Some(Arc::clone(&store))))));
    for _ in 0..4 {
        assert!(store.hit(&key(1), |_, _| Some(())).is_some());
    }
    store.invalidate(&key(1));
    store.sync();
    // In the front it was still held; this look lets go of it, and finds what its end put there.
    assert!(store.hit(&key(1), |_, _| Some(())).is_some());
}

/// .. also where mini-moka lets go of it in the middle of a write, whatever name it asks for.
#[test]
fn a_value_may_use_the_store_while_it_is_evicted() {
    struct Nosy(Kept, Arc<Mutex<Weak<Store<Nosy>>>>);
    impl Row for Nosy {
        fn kept(&self) -> &Kept {
            &self.0
        }
        fn bytes(&self) -> usize {
            840
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            let store = self.1.lock().unwrap().upgrade();
            // Names of every shard.
            for n in 10_000..10_500 {
                store.iter().for_each(|store| {
                    store.insert(Arc::new(Nosy(Kept::new(key(n)), Arc::default())));
                    store.invalidate(&key(n));
                });
            }
        }
    }
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let store = Arc::new(Store::new(20_000));
        let home = Arc::new(Mutex::new(Arc::downgrade(&store)));
        for n in 0..200 {
            store.insert(Arc::new(Nosy(Kept::new(key(n)), Arc::clone(&home))));
        }
        let _ = done.send(());
    });
    wait.recv_timeout(std::time::Duration::from_secs(60))
        .expect("no value waits for its own thread");
}

/// mini-moka queues writes, and turns down by key: the second of two rows of one key would be let in without being there, and
/// weigh for ever.
#[test]
fn a_row_that_is_turned_down_does_not_take_the_next_of_its_name_with_it() {
    let store = Store::new(100_000);
    // Asked for once since mini-moka counts.
    for version in 0..2 {
        (0..100).for_each(|n| store.insert(item(n, version)));
        store.sync();
    }
    // For half a second after it did its work mini-moka does it at every call; then it waits for 64.
    std::thread::sleep(std::time::Duration::from_millis(600));
    // Worth less than the five that would have to go for it; worth more than the one that has to go for the next.
    let large = Arc::into_inner(item(200, 0)).unwrap();
    store.insert(Arc::new(Item {
        bytes: 5_000 - ROW_OVERHEAD,
        ..large
    }));
    store.insert(item(200, 1));
    store.sync();
    assert_eq!((version(&store, 200), store.entry_count()), (Some(1), 100));
    for n in (0..100).chain([200]) {
        store.invalidate(&key(n));
    }
    store.sync();
    assert_eq!((store.names(), store.entry_count(), store.weighted_size()), (0, 0, 0));
}

#[test]
fn threads_that_read_write_and_remove_at_once_leave_nothing_behind() {
    const NAMES: u64 = 200;
    let store = Store::new(100_000);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                let mut random = Random(thread + 1);
                for round in 0..20_000_u32 {
                    let n = random.below(NAMES);
                    match random.below(8) {
                        0 => store.insert(item(n, round)),
                        1 => store.invalidate(&key(n)),
                        2 => {
                            if let Some(row) = store.get(&key(n)) {
                                store.attach(&row, key(n + NAMES));
                            }
                        }
                        3 => drop(version(store, n + NAMES)),
                        _ => drop(version(store, n)),
                    }
                }
            });
        }
    });
    for n in 0..NAMES {
        store.invalidate(&key(n));
    }
    store.sync();
    assert_eq!((store.names(), store.entry_count()), (0, 0));
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

/// A key of a mini-moka that is on its own.
#[derive(PartialEq, Eq)]
struct Named(u64);

impl std::hash::Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(key(self.0).word());
    }
}

/// Names by Zipf's law: the n-th is asked for 1/n as often as the first, give or take `skew`.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(names: u64, skew: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=names).map(|n| {
            sum += (n as f64).powf(-skew);
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let all = self.0[self.0.len() - 1];
        let at = random.next() as f64 / u64::MAX as f64 * all;
        self.0.partition_point(|sum| *sum < at) as u64
    }
}

/// The share of reads that hit, after a warm-up; every miss is an insertion. `shift` moves the popular names half-way.
fn hit_rate(skew: f64, shift: u64, mut read: impl FnMut(u64) -> bool) -> f64 {
    const READS: u32 = 120_000;
    let (zipf, mut random, mut hits) = (Zipf::new(20_000, skew), Random(7), 0);
    for round in 0..2 * READS {
        let moved = if round < READS { 0 } else { shift };
        let hit = read(zipf.draw(&mut random) + moved);
        hits += u32::from(hit && round >= READS / 2);
    }
    f64::from(hits) / f64::from(2 * READS - READS / 2)
}

/// Room for one name of twenty.
#[test]
fn a_sample_of_the_hits_keeps_nearly_as_much_as_all_of_them() {
    const ROOM: u64 = 1_000;
    for (skew, shift) in [(0.8, 0), (1.0, 0), (1.2, 0), (1.0, 20_000)] {
        let every = Cache::builder()
            .max_capacity(ROOM * 1_000)
            .weigher(|_, ()| 1_000)
            .build_with_hasher(FirstWord::default());
        let all = hit_rate(skew, shift, |n| {
            let hit = every.get(&Named(n)).is_some();
            if !hit {
                every.insert(Named(n), ());
            }
            hit
        });
        let store = Store::new(ROOM * 1_000);
        let sampled = hit_rate(skew, shift, |n| {
            let hit = version(&store, n).is_some();
            if !hit {
                store.insert(item(n, 0));
            }
            hit
        });
        println!("skew {skew}, shift {shift}: {all:.3} when every hit is told, {sampled:.3} by sample");
        assert!(
            sampled > all - 0.04,
            "skew {skew}, shift {shift}: {sampled:.3} of {all:.3}"
        );
    }
}

/// The figures of docs/benchmarks.md.
#[test]
fn a_verdict_and_its_entry_have_the_size_that_is_documented() {
    assert_eq!((size_of::<VerdictEntry>(), size_of::<Verdict>()), (128, 88));
}
