//! One direction between two nodes for one protocol.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use super::NodeId;

/// The protocol of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Udp,
    Tcp,
}

/// Which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneKey {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) kind: Kind,
}

/// Whether anything passes at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Road {
    #[default]
    Open,
    Cut,
    BlackHole,
    HalfOpen,
    Refused,
}

/// What happens to what is sent over a lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    pub(super) road: Road,
    pub(super) loss: f64,
    pub(super) duplication: f64,
    pub(super) reordering: f64,
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    /// Bytes per second.
    pub(super) rate: Option<u64>,
}

/// What happened on links since the mesh began. Faults that never struck prove nothing: assert on these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams delivered, copies included.
    pub passed: u64,
    /// Bytes delivered, by datagram or stream.
    pub bytes: u64,
    /// Datagrams lost by chance.
    pub lost: u64,
    /// Datagrams dropped by a cut, and connections that a cut stopped: at birth, or with bytes to send.
    pub cut: u64,
    /// Datagrams delivered twice.
    pub duplicated: u64,
    /// Datagrams held back until a later one had passed.
    pub reordered: u64,
    /// Datagrams and pieces of streams that had to wait, for a delay or for the rate.
    pub delayed: u64,
    /// Datagrams and connections dropped because too many waited already.
    pub overflowed: u64,
    /// Connections that reached the other side.
    pub opened: u64,
    /// Connections that nobody accepted at the other side.
    pub unreachable: u64,
    /// Connections refused by a fault.
    pub refused: u64,
    /// Connections reset by a fault.
    pub reset: u64,
    /// Connections whose other end is gone without a word.
    pub half_open: u64,
    /// Bytes of streams that vanished in a black hole.
    pub swallowed: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.cut += other.cut;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.delayed += other.delayed;
        self.overflowed += other.overflowed;
        self.opened += other.opened;
        self.unreachable += other.unreachable;
        self.refused += other.refused;
        self.reset += other.reset;
        self.half_open += other.half_open;
        self.swallowed += other.swallowed;
    }
}

/// What the dice say about one datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) lost: bool,
    pub(super) twice: bool,
    pub(super) held: bool,
    /// How long the datagram and its copy are under way.
    pub(super) delays: [Duration; 2],
}

/// The state of one lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) conditions: Conditions,
    pub(super) tally: Tally,
    /// Counted up by every order to reset connections.
    pub(super) resets: u64,
    /// Datagrams under way.
    pub(super) waiting: usize,
    /// When the wire is free again, where a rate limits it.
    free_at: Option<Instant>,
    dice: Dice,
}

impl Lane {
    pub(super) fn new(seed: u64, key: LaneKey, conditions: Conditions) -> Self {
        Self {
            conditions,
            tally: Tally::default(),
            resets: 0,
            waiting: 0,
            free_at: None,
            dice: Dice::new(seed, key),
        }
    }

    /// Always as many throws, so that a fault that comes or goes does not shift the luck of the others.
    pub(super) fn throw(&mut self) -> Fate {
        let Conditions {
            loss,
            duplication,
            reordering,
            ..
        } = self.conditions;
        Fate {
            lost: self.dice.throw() < loss,
            twice: self.dice.throw() < duplication,
            held: self.dice.throw() < reordering,
            delays: [self.delay(), self.delay()],
        }
    }

    /// How long something is under way, without regard to the rate.
    pub(super) fn delay(&mut self) -> Duration {
        let share = self.dice.throw();
        self.conditions.delay + self.conditions.jitter.mul_f64(share)
    }

    /// When the last of `bytes` bytes has left, where a rate limits the lane.
    pub(super) fn departure(&mut self, now: Instant, bytes: usize) -> Instant {
        let Some(rate) = self.conditions.rate else {
            self.free_at = None;
            return now;
        };
        let start = self.free_at.map_or(now, |free_at| free_at.max(now));
        // At least one byte a second; a cut is another fault.
        #[allow(clippy::cast_precision_loss)]
        let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        self.free_at = Some(start + takes);
        start + takes
    }
}

/// Random numbers by SplitMix64 (Steele, Lea and Flood 2014): tiny, and the same everywhere.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64, LaneKey { from, to, kind }: LaneKey) -> Self {
        let mut dice = Self(seed);
        for part in [from.0 as u64, to.0 as u64, kind as u64] {
            dice.0 ^= part;
            dice.0 = dice.next();
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, less than 1.
    fn throw(&mut self) -> f64 {
        // The upper 53 bits: as many as an f64 holds exactly.
        #[allow(clippy::cast_precision_loss)]
        let numerator = (self.next() >> 11) as f64;
        numerator / 9_007_199_254_740_992.0
    }
}
