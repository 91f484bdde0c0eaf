//! What the adapter did.

use std::sync::atomic::{AtomicU64, Ordering};

use authmesh::ports::GossipCounts;

/// A counter that several tasks move.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: usize) {
        self.0.store(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// [`GossipCounts`] as it grows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) datagrams_sent: Counter,
    pub(crate) datagrams_taken: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) unopened: Counter,
    pub(crate) replayed: Counter,
    pub(crate) limited: Counter,
    pub(crate) malformed: Counter,
    pub(crate) challenged: Counter,
    pub(crate) dropped: Counter,
    pub(crate) streams_opened: Counter,
    pub(crate) streams_taken: Counter,
    pub(crate) members: Counter,
}

impl Counters {
    pub(crate) fn read(&self) -> GossipCounts {
        let mut counts = GossipCounts::default();
        counts.datagrams_sent = self.datagrams_sent.get();
        counts.datagrams_taken = self.datagrams_taken.get();
        counts.bytes_sent = self.bytes_sent.get();
        counts.bytes_received = self.bytes_received.get();
        counts.unopened = self.unopened.get();
        counts.replayed = self.replayed.get();
        counts.limited = self.limited.get();
        counts.malformed = self.malformed.get();
        counts.challenged = self.challenged.get();
        counts.dropped = self.dropped.get();
        counts.streams_opened = self.streams_opened.get();
        counts.streams_taken = self.streams_taken.get();
        counts.members = self.members.get();
        counts
    }
}
