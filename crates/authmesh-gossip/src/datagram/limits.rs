//! How much a source may send before anything is opened.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use authmesh_proto::time::Moment;

/// A rate, and how much may come at once.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// Between two datagrams, on average.
    interval: Duration,
    /// How many may come at once.
    burst: u32,
}

const fn per_second(rate: u32, burst: u32) -> Rate {
    Rate {
        interval: Duration::from_nanos(1_000_000_000 / rate as u64),
        burst,
    }
}

/// A source that has proven nothing.
const UNPROVEN: Rate = per_second(16, 32);
/// All of them together. Times the life of a challenge it stays below the number of challenges that have room, so no flood
/// can push out the challenge of an honest newcomer.
const ALL_UNPROVEN: Rate = per_second(256, 512);
/// A source that has proven that it lives.
const PROVEN: Rate = per_second(5000, 5000);

/// Sources that are remembered, of either sort.
const MAX_SOURCES: usize = 4096;

/// A bucket of tokens, as the instant when it will be full (GCRA, the generic cell rate algorithm of ITU-T I.371).
#[derive(Debug, Clone, Copy, Default)]
struct Bucket(Moment);

impl Bucket {
    fn take(&mut self, rate: Rate, now: Moment) -> bool {
        let full = self.0.max(now);
        if full.since(now) > rate.interval * (rate.burst - 1) {
            return false;
        }
        self.0 = full.plus(rate.interval);
        true
    }
}

/// The buckets of all sources.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    unproven: BTreeMap<SocketAddr, Bucket>,
    proven: BTreeMap<SocketAddr, Bucket>,
    all_unproven: Bucket,
    swept: Moment,
}

impl Limits {
    /// Whether a datagram of this source may be opened.
    pub(crate) fn admit(&mut self, from: SocketAddr, proven: bool, now: Moment) -> bool {
        if proven {
            return Self::of(&mut self.proven, &mut self.swept, from, now)
                .is_none_or(|bucket| bucket.take(PROVEN, now));
        }
        // The source first: one that floods has nothing left to take from all the others.
        Self::of(&mut self.unproven, &mut self.swept, from, now).is_none_or(|bucket| bucket.take(UNPROVEN, now))
            && self.all_unproven.take(ALL_UNPROVEN, now)
    }

    /// The bucket of a source. A full one is as good as none, so those make room; where there is none at all, a source has
    /// no bucket of its own.
    fn of<'a>(
        table: &'a mut BTreeMap<SocketAddr, Bucket>,
        swept: &mut Moment,
        from: SocketAddr,
        now: Moment,
    ) -> Option<&'a mut Bucket> {
        if table.len() >= MAX_SOURCES && !table.contains_key(&from) {
            // At most once a second: the sweep looks at every source.
            if now.since(*swept) < Duration::from_secs(1) {
                return None;
            }
            *swept = now;
            table.retain(|_, bucket| bucket.0 > now);
            if table.len() >= MAX_SOURCES {
                return None;
            }
        }
        Some(table.entry(from).or_default())
    }

    #[cfg(test)]
    pub(crate) fn sources(&self) -> usize {
        self.unproven.len() + self.proven.len()
    }
}
