//! Where others may be, and when they are asked.
//!
//! An address is tried for as long as a seed stands for it, for a while after it was suggested, and while a member lives there.
//! Pods come and go behind a name: addresses of old must not take the room of new ones.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use authmesh_proto::time::Moment;

/// Addresses that are kept.
const MAX_SEEDS: usize = 1024;
/// How long an address counts that was suggested. Registrations suggest it again all the time.
const SUGGESTED_FOR: Duration = Duration::from_secs(600);
/// How often a node that is alone asks.
const ALONE: Duration = Duration::from_millis(500);
/// And how many at once.
const ALONE_AT_ONCE: usize = 8;
/// How often one in company asks addresses where it knows nobody: two halves of a cluster that never met find each other.
const IN_COMPANY: Duration = Duration::from_secs(10);
/// And how many at once.
const IN_COMPANY_AT_ONCE: usize = 3;

/// Why an address is kept. Without any reason it goes once nobody lives there.
#[derive(Debug, Default)]
struct Why {
    /// The seeds that stand for it, by the newest look-up of each.
    seeds: BTreeSet<usize>,
    suggested: Option<Moment>,
}

impl Why {
    fn counts(&self, now: Moment) -> bool {
        !self.seeds.is_empty() || self.suggested.is_some_and(|at| now.since(at) < SUGGESTED_FOR)
    }
}

#[derive(Debug)]
pub(crate) struct Join {
    me: SocketAddr,
    seeds: BTreeMap<SocketAddr, Why>,
    /// This node's own addresses beside `me`, its own datagrams told. All are among the seeds.
    own: BTreeSet<SocketAddr>,
    /// Whom the last round asked last.
    last: Option<SocketAddr>,
    due: Moment,
}

impl Join {
    pub(crate) const fn new(me: SocketAddr, now: Moment) -> Self {
        Self {
            me,
            seeds: BTreeMap::new(),
            own: BTreeSet::new(),
            last: None,
            due: now,
        }
    }

    /// A seed was looked up: it stands for these addresses, and for no other any more. One that has no address now was not
    /// looked up: a name server that is away must not empty the table.
    pub(crate) fn looked_up(&mut self, seed: usize, addresses: impl IntoIterator<Item = SocketAddr>, now: Moment) {
        let addresses: BTreeSet<_> = addresses.into_iter().collect();
        if addresses.is_empty() {
            return;
        }
        for (address, why) in &mut self.seeds {
            if !addresses.contains(address) {
                why.seeds.remove(&seed);
            }
        }
        for address in addresses {
            if let Some(why) = self.keep(address, now) {
                why.seeds.insert(seed);
            }
        }
    }

    /// Others were heard of at these addresses.
    pub(crate) fn suggested(&mut self, addresses: impl IntoIterator<Item = SocketAddr>, now: Moment) {
        for address in addresses {
            if let Some(why) = self.keep(address, now) {
                why.suggested = Some(now);
            }
        }
    }

    /// An address, its reason still to be told. Without room, what is kept for no reason gives way, then what was suggested
    /// longest ago; never what a seed stands for.
    fn keep(&mut self, address: SocketAddr, now: Moment) -> Option<&mut Why> {
        if !self.seeds.contains_key(&address) {
            if self.seeds.len() >= MAX_SEEDS {
                let weak = self.seeds.iter().filter(|(_, why)| why.seeds.is_empty());
                let weakest = weak.min_by_key(|(_, why)| why.suggested).map(|(address, _)| *address)?;
                self.forget(weakest);
            }
            self.due = self.due.min(now);
        }
        Some(self.seeds.entry(address).or_default())
    }

    fn forget(&mut self, address: SocketAddr) {
        self.seeds.remove(&address);
        self.own.remove(&address);
    }

    pub(crate) fn is_own(&mut self, address: SocketAddr) {
        // Only what would be asked is worth knowing, and that is bounded.
        if self.seeds.contains_key(&address) {
            self.own.insert(address);
        }
    }

    pub(crate) const fn due(&self) -> Moment {
        self.due
    }

    /// Whom to ask now, each in turn. What is kept for no reason any more goes.
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
        self.seeds
            .retain(|address, why| why.counts(now) || members.contains(address));
        let seeds = &self.seeds;
        self.own.retain(|address| seeds.contains_key(address));
        let mut unknown: BTreeSet<_> = self.seeds.keys().copied().chain(gone).collect();
        unknown.retain(|address| !members.contains(address) && !self.own.contains(address) && *address != self.me);
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

#[cfg(test)]
mod tests;
