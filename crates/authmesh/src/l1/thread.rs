//! What each thread has for itself: a number, and its share of the hits that are told on.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Me {
    /// From 1. 0: none yet.
    number: Cell<usize>,
    /// Hits until the next one that is told.
    left: Cell<u32>,
    /// xorshift, to draw gaps by.
    drawn: Cell<u32>,
}

thread_local! {
    // Nothing to drop, nothing to build: an access is a read relative to a register.
    static ME: Me = const { Me { number: Cell::new(0), left: Cell::new(0), drawn: Cell::new(0) } };
}

static NEXT: AtomicUsize = AtomicUsize::new(1);

/// This thread's number: threads count from 0 as they come.
#[inline]
pub(crate) fn number() -> usize {
    ME.with(|me| {
        if me.number.get() == 0 {
            me.number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        me.number.get() - 1
    })
}

/// Whether this hit is the one of `one_of` that is told. Gaps are drawn, else a round of so many rows would tell of the same one
/// for ever.
#[inline]
pub(super) fn is_told(one_of: u32) -> bool {
    ME.with(|me| {
        let left = me.left.get();
        if left > 0 {
            me.left.set(left - 1);
            return false;
        }
        let gap = draw(me) % (2 * one_of - 1);
        me.left.set(gap);
        true
    })
}

/// A number that has nothing to do with what is looked up.
pub(super) fn any() -> usize {
    ME.with(|me| draw(me) as usize)
}

fn draw(me: &Me) -> u32 {
    let mut drawn = me.drawn.get();
    if drawn == 0 {
        drawn = (number() as u32 + 1).wrapping_mul(0x9e37_79b9) | 1;
    }
    drawn ^= drawn << 13;
    drawn ^= drawn >> 17;
    drawn ^= drawn << 5;
    me.drawn.set(drawn);
    drawn
}
