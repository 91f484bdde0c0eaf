//! Freshness: whether something in memory may still answer.
//!
//! An entry is valid by **equality of stamps**, never by having been removed. It carries the fence counters that its fill
//! captured before it read its source, and the mark epoch of its last check of the marks. A fence counter that differs
//! voids the entry. A mark epoch that differs means: check the marks again, and restamp.
//!
//! Two orders make it right, and both are written out where they are used: whoever *applies* a statement changes the map,
//! **then** bumps; whoever *reads* loads the epoch, **then** checks the map.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::ident::{CHANNELS, ChannelId, STRIPES, Slot};

/// 64 channels x 64 stripes of counters, 32 KiB. Counters only grow.
pub struct Fence {
    counters: Box<[AtomicU64; CHANNELS * STRIPES]>,
    /// How often anything in a channel was bumped. Moves *before* the counter does.
    moves: [AtomicU64; CHANNELS],
}

/// A fence counter as a fill captured it: the slot in the first 12 bits, the counter in the others. A node that bumps a slot a
/// million times a second comes to their end after 140 years.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp(u64);

impl Stamp {
    const COUNTER_BITS: u32 = 52;

    const fn new(slot: Slot, counter: u64) -> Self {
        let counter = counter & ((1 << Self::COUNTER_BITS) - 1);
        Self(((slot.index() as u64) << Self::COUNTER_BITS) | counter)
    }

    const fn index(&self) -> usize {
        (self.0 >> Self::COUNTER_BITS) as usize
    }

    const fn counter(&self) -> u64 {
        self.0 & ((1 << Self::COUNTER_BITS) - 1)
    }

    /// The slot that it watches.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        Slot::at(self.index())
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamp")
            .field("slot", &self.slot())
            .field("counter", &self.counter())
            .finish()
    }
}

impl Fence {
    /// A fence with every counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            counters: Box::new([const { AtomicU64::new(0) }; CHANNELS * STRIPES]),
            moves: [const { AtomicU64::new(0) }; CHANNELS],
        }
    }

    /// Captures the counter of a slot. Do it **before** reading the source of a fill.
    #[must_use]
    pub fn capture(&self, slot: Slot) -> Stamp {
        Stamp::new(slot, self.counters[slot.index()].load(Ordering::Acquire))
    }

    /// Notes how far each channel has moved, for a short read that learns its tags from its source: a fraction of what
    /// [`Fence::capture_all`] costs. Do it **before** reading the source; then ask [`Fence::capture_since`].
    #[must_use]
    pub fn glance(&self) -> Glance {
        Glance(self.moves.each_ref().map(|moves| moves.load(Ordering::Acquire)))
    }

    /// The stamp of a slot as it was at the glance; `None` where anything in its channel was voided since.
    #[must_use]
    pub fn capture_since(&self, glance: &Glance, slot: Slot) -> Option<Stamp> {
        // The counter, then how far the channel has moved: a bump that shows in the counter shows there too. One that moved
        // the channel before the glance and comes to its counter only now leaves a stamp that it voids.
        let stamp = self.capture(slot);
        let channel = slot.channel.index();
        (self.moves[channel].load(Ordering::Acquire) == glance.0[channel]).then_some(stamp)
    }

    /// Captures every counter, for a fill that learns its tags only from its source. About 1 µs.
    #[must_use]
    pub fn capture_all(&self) -> Captured {
        Captured(
            self.counters
                .iter()
                .map(|counter| counter.load(Ordering::Acquire))
                .collect(),
        )
    }

    /// Whether nothing in the slot was voided since the stamp was captured.
    #[must_use]
    pub fn is_current(&self, stamp: &Stamp) -> bool {
        let counter = self.counters[stamp.index()].load(Ordering::Acquire);
        (counter ^ stamp.0) << (u64::BITS - Stamp::COUNTER_BITS) == 0
    }

    /// Whether every one of the stamps is current.
    #[must_use]
    pub fn all_current(&self, stamps: &[Stamp]) -> bool {
        stamps.iter().all(|stamp| self.is_current(stamp))
    }

    /// Voids what is stamped with this slot.
    pub fn bump(&self, slot: Slot) {
        self.moves[slot.channel.index()].fetch_add(1, Ordering::AcqRel);
        self.counters[slot.index()].fetch_add(1, Ordering::AcqRel);
    }

    /// Voids a whole channel: its 64 counters.
    pub fn bump_channel(&self, channel: ChannelId) {
        self.moves[channel.index()].fetch_add(1, Ordering::AcqRel);
        let first = channel.index() * STRIPES;
        for counter in &self.counters[first..first + STRIPES] {
            counter.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// How far each channel of a fence had moved.
#[derive(Clone, Debug)]
pub struct Glance([u64; CHANNELS]);

/// Every counter of a fence, as a fill captured them.
#[derive(Clone)]
pub struct Captured(Box<[u64]>);

impl Captured {
    /// The stamp of one slot.
    #[must_use]
    pub fn stamp(&self, slot: Slot) -> Stamp {
        Stamp::new(slot, self.0[slot.index()])
    }
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Captured(..)")
    }
}

impl Default for Fence {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fence(..)")
    }
}

/// Counts the changes of the marks of one node.
#[derive(Debug)]
pub struct MarkEpoch(AtomicU64);

impl MarkEpoch {
    /// Epoch 1. Zero is never current: it is the stamp of something that was never checked.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    /// The present epoch. Load it **before** checking the marks.
    #[must_use]
    pub fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Says that the marks changed. Call it **after** the change.
    pub fn bump(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Default for MarkEpoch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_names_its_slot_and_is_void_after_one_bump_of_it_alone() {
        for index in 0..CHANNELS * STRIPES {
            let slot = Slot::at(index);
            assert_eq!(slot.index(), index);
            let fence = Fence::new();
            let before = fence.capture(slot);
            assert_eq!(before.slot(), slot);
            fence.bump(Slot::at((index + 1) % (CHANNELS * STRIPES)));
            assert!(fence.is_current(&before));
            fence.bump(slot);
            assert!(!fence.is_current(&before) && fence.is_current(&fence.capture(slot)));
        }
    }
}
