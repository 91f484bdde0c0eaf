//! A random sample of what is in memory.

use std::sync::Arc;

use authmesh_proto::ident::EntryName;

use crate::l1::{Entry, VerdictEntry};
use crate::node::Node;

/// What was taken.
pub(super) struct Sample {
    pub(super) verdicts: Vec<Arc<VerdictEntry>>,
    pub(super) entries: Vec<(EntryName, Arc<Entry>)>,
}

/// Takes `size` of each, every one in memory with the same chance. Looks at all of them: the map gives no other way to a fair
/// sample, and a sample of the newest would never find what is old.
pub(super) async fn take(node: &Arc<Node>, size: usize) -> Sample {
    let seeds = [(); 2].map(|()| u64::from_le_bytes(node.random()));
    let node = Arc::clone(node);
    let taken = tokio::task::spawn_blocking(move || Sample {
        verdicts: reservoir(size, seeds[0], node.l1.verdicts.rows()),
        entries: reservoir(
            size,
            seeds[1],
            node.l1
                .entries
                .rows()
                .filter(|entry| !entry.seen.renews)
                .map(|entry| (entry.name, entry)),
        ),
    });
    // The runtime is going down.
    taken.await.unwrap_or(Sample {
        verdicts: Vec::new(),
        entries: Vec::new(),
    })
}

/// Vitter's algorithm R: every item has the same chance, however many there are.
pub(crate) fn reservoir<T>(size: usize, seed: u64, items: impl Iterator<Item = T>) -> Vec<T> {
    let (mut taken, mut random) = (Vec::with_capacity(size.min(1024)), Random(seed));
    for (at, item) in items.enumerate() {
        if taken.len() < size {
            taken.push(item);
        } else if let Some(place) = taken.get_mut(random.below(at + 1)) {
            *place = item;
        }
    }
    taken
}

/// SplitMix64: fair enough to choose by, and seeded from the node's entropy.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The bias of a bound below 2^32 is not worth a second draw.
        ((u128::from(mixed) * bound as u128) >> 64) as usize
    }
}
