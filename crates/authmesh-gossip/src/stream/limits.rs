//! How many streams others may open.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Streams of others at once.
pub(crate) const MAX_STREAMS: usize = 64;
/// Those among them whose peer has proven nothing yet. The rest stays free for members, whoever knocks.
pub(crate) const MAX_UNPROVEN: usize = 48;
/// Those from one address whose peer has proven nothing yet.
pub(crate) const MAX_UNPROVEN_OF_ONE: usize = 8;

#[derive(Debug, Default)]
struct Open {
    all: usize,
    unproven: BTreeMap<IpAddr, usize>,
}

/// The streams that are open. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamLimits(Arc<Mutex<Open>>);

/// The right to one stream, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    limits: StreamLimits,
    unproven: Option<IpAddr>,
}

impl StreamLimits {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream from this address may be opened, or not.
    pub(crate) fn admit(&self, from: IpAddr) -> Option<Permit> {
        let mut open = self.open();
        let of_one = open.unproven.get(&from).copied().unwrap_or(0);
        let unproven: usize = open.unproven.values().sum();
        if open.all >= MAX_STREAMS || unproven >= MAX_UNPROVEN || of_one >= MAX_UNPROVEN_OF_ONE {
            return None;
        }
        open.all += 1;
        *open.unproven.entry(from).or_default() += 1;
        Some(Permit {
            limits: self.clone(),
            unproven: Some(from),
        })
    }
}

impl Permit {
    /// The peer has shown that it holds the key ring, and lives now.
    pub(crate) fn proven(&mut self) {
        if let Some(from) = self.unproven.take() {
            let mut open = self.limits.open();
            if let Some(count) = open.unproven.get_mut(&from) {
                *count -= 1;
                if *count == 0 {
                    open.unproven.remove(&from);
                }
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.proven();
        self.limits.open().all -= 1;
    }
}
