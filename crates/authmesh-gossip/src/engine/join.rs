//! Where others may be, and when they are asked.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use authmesh_proto::time::Moment;

/// Addresses that are kept.
const MAX_SEEDS: usize = 1024;
/// How often a node that is alone asks.
const ALONE: Duration = Duration::from_millis(500);
/// And how many at once.
const ALONE_AT_ONCE: usize = 8;
/// How often one in company asks addresses where it knows nobody: two halves of a cluster that never met find each other.
const IN_COMPANY: Duration = Duration::from_secs(10);
/// And how many at once.
const IN_COMPANY_AT_ONCE: usize = 3;

#[derive(Debug)]
pub(crate) struct Join {
    seeds: BTreeSet<SocketAddr>,
    /// This node's own addresses, its own datagrams told.
    own: BTreeSet<SocketAddr>,
    /// Whom the last round asked last.
    last: Option<SocketAddr>,
    due: Moment,
}

impl Join {
    pub(crate) fn new(me: SocketAddr, now: Moment) -> Self {
        Self {
            seeds: BTreeSet::new(),
            own: BTreeSet::from([me]),
            last: None,
            due: now,
        }
    }

    pub(crate) fn add(&mut self, addresses: impl IntoIterator<Item = SocketAddr>, now: Moment) {
        for address in addresses {
            if self.seeds.len() < MAX_SEEDS && self.seeds.insert(address) {
                self.due = self.due.min(now);
            }
        }
    }

    pub(crate) fn is_own(&mut self, address: SocketAddr) {
        // Only what would be asked is worth knowing, and that is bounded.
        if self.seeds.contains(&address) {
            self.own.insert(address);
        }
    }

    pub(crate) const fn due(&self) -> Moment {
        self.due
    }

    /// Whom to ask now, each in turn.
    pub(crate) fn round(
        &mut self,
        members: impl Iterator<Item = SocketAddr>,
        gone: impl Iterator<Item = SocketAddr>,
        now: Moment,
    ) -> Vec<SocketAddr> {
        let members: BTreeSet<_> = members.collect();
        let (every, at_once) = match members.is_empty() {
            true => (ALONE, ALONE_AT_ONCE),
            false => (IN_COMPANY, IN_COMPANY_AT_ONCE),
        };
        self.due = now.plus(every);
        let mut unknown: BTreeSet<_> = self.seeds.iter().copied().chain(gone).collect();
        unknown.retain(|address| !members.contains(address) && !self.own.contains(address));
        let after = |address: &&SocketAddr| self.last.is_none_or(|last| **address > last);
        let chosen: Vec<_> = unknown
            .iter()
            .filter(after)
            .chain(unknown.iter().filter(|address| !after(address)))
            .take(at_once)
            .copied()
            .collect();
        self.last = chosen.last().copied().or(self.last);
        chosen
    }
}
