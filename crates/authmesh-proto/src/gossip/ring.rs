//! The ring: what this node has applied of late, in the order in which it did, and the counters of all statements.
//!
//! Two questions are answered from it. *What have you applied since?*: the changes behind a version. *Have you applied this
//! one?*: the counters, contiguous per origin and channel but for what arrived ahead of its turn.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::message::{Change, Counted, VoidId};
use crate::ident::{ChannelId, Origin, StatementName};
use crate::statement::Statement;
use crate::time::Moment;

/// The most counters that are kept ahead of a gap, per origin and channel.
const MAX_AHEAD: usize = 1024;
/// No origin lives long enough to count so far.
const FURTHEST: u64 = 1 << 48;
/// The most voids that are remembered.
const MAX_VOIDS: usize = 8192;

/// What is known of one origin in one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Run {
    /// Every counter up to here was applied.
    pub(super) upto: u64,
    /// .. and these.
    pub(super) ahead: BTreeSet<u64>,
    /// When the first gap was noticed.
    pub(super) gap_since: Option<Moment>,
}

impl Run {
    fn contains(&self, counter: u64) -> bool {
        counter <= self.upto || self.ahead.contains(&counter)
    }

    fn close(&mut self) {
        while let Some(next) = self.upto.checked_add(1)
            && self.ahead.remove(&next)
        {
            self.upto = next;
        }
        self.ahead = self.ahead.split_off(&self.upto.saturating_add(1));
        if self.ahead.is_empty() {
            self.gap_since = None;
        }
    }

    fn insert(&mut self, now: Moment, counter: u64) {
        self.ahead.insert(counter);
        self.close();
        if !self.ahead.is_empty() && self.gap_since.is_none() {
            self.gap_since = Some(now);
        }
    }

    fn count(&self) -> u64 {
        self.upto.saturating_add(self.ahead.len() as u64)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) runs: BTreeMap<ChannelId, Run>,
    /// When a statement of it was applied last.
    pub(super) touched: Moment,
}

#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) statement: Statement,
    pub(super) positioned: bool,
}

/// What became of a statement that was offered to the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is new.
    New,
    /// It was applied already.
    Known,
    /// Too many of its origin's statements are missing before it, or too many origins are known: it cannot be counted.
    Refused,
}

#[derive(Debug, Clone)]
pub(super) struct Ring {
    pub(super) life: Duration,
    pub(super) cap: usize,
    pub(super) origin_cap: usize,
    pub(super) has_log: bool,
    /// The changes, the version of the first of which is `first`.
    pub(super) changes: VecDeque<(Moment, Change)>,
    pub(super) first: u64,
    /// The version of the newest change of each bucket: older ones say nothing more.
    pub(super) buckets: BTreeMap<(u8, u8), u64>,
    pub(super) held: BTreeMap<StatementName, Held>,
    pub(super) known: BTreeMap<Origin, Known>,
    pub(super) voids: BTreeSet<VoidId>,
    pub(super) voids_by_age: VecDeque<VoidId>,
}

impl Ring {
    pub(super) const fn new(life: Duration, cap: usize, origin_cap: usize, has_log: bool) -> Self {
        Self {
            life,
            cap,
            origin_cap,
            has_log,
            changes: VecDeque::new(),
            first: 1,
            buckets: BTreeMap::new(),
            held: BTreeMap::new(),
            known: BTreeMap::new(),
            voids: BTreeSet::new(),
            voids_by_age: VecDeque::new(),
        }
    }

    /// The version of the newest change; 0: there was none.
    pub(super) fn version(&self) -> u64 {
        self.first - 1 + self.changes.len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    fn push(&mut self, now: Moment, change: Change) {
        self.changes.push_back((now, change));
        if let Change::Marks { channel, bucket } = change {
            self.buckets.insert((channel, bucket), self.version());
        }
    }

    pub(super) fn contains(&self, name: &StatementName) -> bool {
        let known = self.known.get(&name.origin);
        known.is_some_and(|known| {
            known
                .runs
                .get(&name.channel)
                .is_some_and(|run| run.contains(name.counter))
        })
    }

    /// Counts a statement that is about to be applied, or was; keeps it for others.
    pub(super) fn offer(&mut self, now: Moment, statement: &Statement, positioned: bool) -> Offered {
        let name = statement.name;
        // A restatement of a mark that was known before: nobody misses it.
        if name.counter == 0 {
            return Offered::Known;
        }
        if self.contains(&name) {
            return Offered::Known;
        }
        if !self.known.contains_key(&name.origin) && self.known.len() >= self.origin_cap {
            return Offered::Refused;
        }
        let known = self.known.entry(name.origin).or_default();
        let run = known.runs.entry(name.channel).or_default();
        if run.ahead.len() >= MAX_AHEAD && name.counter != run.upto + 1 {
            return Offered::Refused;
        }
        known.touched = now;
        run.insert(now, name.counter);
        let statement = statement.clone();
        self.held.insert(name, Held { statement, positioned });
        self.push(now, Change::Statement(name.into()));
        Offered::New
    }

    /// The log has it.
    pub(super) fn positioned(&mut self, name: &StatementName) {
        if let Some(held) = self.held.get_mut(name) {
            held.positioned = true;
        }
    }

    pub(super) fn merged(&mut self, now: Moment, channel: ChannelId, bucket: usize) {
        let bucket = bucket as u8;
        let channel = channel.number();
        self.push(now, Change::Marks { channel, bucket });
    }

    /// Whether this voiding is new.
    pub(super) fn voided(&mut self, now: Moment, channel: ChannelId, id: VoidId) -> bool {
        if !self.voids.insert(id) {
            return false;
        }
        self.voids_by_age.push_back(id);
        if self.voids_by_age.len() > MAX_VOIDS
            && let Some(oldest) = self.voids_by_age.pop_front()
        {
            self.voids.remove(&oldest);
        }
        let channel = channel.number();
        self.push(now, Change::Void { channel, id });
        true
    }

    /// The changes behind a version, each with its own, without those that a later one says again; `None`: some are not kept any
    /// more, or the version is not one of this ring.
    pub(super) fn since(&self, version: u64) -> Option<impl Iterator<Item = (u64, Change)> + '_> {
        if version.saturating_add(1) < self.first || version > self.version() {
            return None;
        }
        let skip = (version + 1 - self.first) as usize;
        let changes = self.changes.iter().enumerate().skip(skip);
        Some(changes.filter_map(|(at, (_, change))| {
            let version = self.first + at as u64;
            let is_last = match change {
                Change::Marks { channel, bucket } => self.buckets.get(&(*channel, *bucket)) == Some(&version),
                _ => true,
            };
            is_last.then_some((version, *change))
        }))
    }

    pub(super) fn statement(&self, name: &StatementName) -> Option<&Statement> {
        self.held.get(name).map(|held| &held.statement)
    }

    /// The statements that are kept, in the order of their names, behind `after`.
    pub(super) fn held_after(&self, after: Option<StatementName>) -> impl Iterator<Item = &Statement> + '_ {
        use core::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.held.range((from, Unbounded)).map(|(_, held)| &held.statement)
    }

    /// How many statements of an origin were applied.
    pub(super) fn count_of(&self, origin: &Origin) -> u64 {
        let known = self.known.get(origin).into_iter().flat_map(|known| known.runs.values());
        known.fold(0, |sum, run| sum.saturating_add(run.count()))
    }

    pub(super) fn counters(&self) -> Vec<Counted> {
        let counted = |(origin, known): (&Origin, &Known)| Counted {
            origin: *origin,
            channels: known
                .runs
                .iter()
                .map(|(channel, run)| (channel.number(), run.upto, run.ahead.iter().copied().collect()))
                .collect(),
        };
        self.known.iter().map(counted).collect()
    }

    /// Takes over that these were applied, without having their statements. Returns the channels in which something was lacking:
    /// they must be voided.
    pub(super) fn take_over(&mut self, now: Moment, counters: &[Counted]) -> BTreeSet<ChannelId> {
        let mut lacking = BTreeSet::new();
        for counted in counters {
            if !self.known.contains_key(&counted.origin) && self.known.len() >= self.origin_cap {
                lacking.extend(
                    counted
                        .channels
                        .iter()
                        .filter_map(|(channel, ..)| ChannelId::new(*channel)),
                );
                continue;
            }
            let known = self.known.entry(counted.origin).or_default();
            known.touched = now;
            for (channel, upto, ahead) in &counted.channels {
                let Some(channel) = ChannelId::new(*channel) else {
                    continue;
                };
                if *upto > FURTHEST {
                    continue;
                }
                let run = known.runs.entry(channel).or_default();
                let mut lacks = run.upto < *upto;
                run.upto = run.upto.max(*upto);
                run.close();
                for counter in ahead.iter().take(MAX_AHEAD) {
                    if !run.contains(*counter) {
                        lacks = true;
                        run.insert(now, *counter);
                    }
                }
                if lacks {
                    lacking.insert(channel);
                }
            }
        }
        if !lacking.is_empty() {
            self.restart();
        }
        lacking
    }

    /// Whoever asks what was applied has to compare everything: there is more than the changes tell.
    pub(super) fn restart(&mut self) {
        // One version is spent, so that nobody who knew the newest one takes that for all.
        self.first = self.version() + 2;
        self.changes.clear();
        self.buckets.clear();
    }

    /// Forgets what an origin was said to have said.
    pub(super) fn disown(&mut self, origin: &Origin) {
        self.known.remove(origin);
        self.held.retain(|name, _| name.origin != *origin);
        self.restart();
    }

    /// The first missing statement of each gap that was noticed at or before `at`.
    pub(super) fn gaps(&self, at: Moment) -> Vec<(StatementName, Moment)> {
        let mut gaps = Vec::new();
        for (origin, known) in &self.known {
            for (channel, run) in &known.runs {
                if let Some(since) = run.gap_since.filter(|since| *since <= at) {
                    let name = StatementName {
                        origin: *origin,
                        channel: *channel,
                        counter: run.upto + 1,
                    };
                    gaps.push((name, since));
                }
            }
        }
        gaps
    }

    /// Gives a missing statement up, with all that are missing up to the next known one.
    pub(super) fn give_up(&mut self, now: Moment, name: &StatementName) {
        let run = self
            .known
            .get_mut(&name.origin)
            .and_then(|known| known.runs.get_mut(&name.channel));
        if let Some(run) = run
            && let Some(next) = run.ahead.first().copied()
        {
            run.upto = run.upto.max(next);
            run.gap_since = Some(now);
            run.close();
        }
    }

    /// Drops what is too old or too much. Returns statements without a position for which there is no room.
    pub(super) fn trim(&mut self, now: Moment, is_member: impl Fn(&Origin) -> bool) -> Vec<Statement> {
        while let Some((at, change)) = self.changes.front()
            && (now.since(*at) > self.life || self.changes.len() > self.cap)
        {
            let version = self.first;
            match change {
                Change::Statement(name) => {
                    if let Some(name) = name.get()
                        && self
                            .held
                            .get(&name)
                            .is_some_and(|held| held.positioned || !self.has_log)
                    {
                        self.held.remove(&name);
                    }
                }
                Change::Marks { channel, bucket } => {
                    if self.buckets.get(&(*channel, *bucket)) == Some(&version) {
                        self.buckets.remove(&(*channel, *bucket));
                    }
                }
                Change::Void { .. } => {}
            }
            self.changes.pop_front();
            self.first += 1;
        }
        let mut homeless = Vec::new();
        while self.held.len() > self.cap {
            // Those without a position are what is left; any of them goes, with its channel.
            let Some((_, held)) = self.held.pop_first() else { break };
            if !held.positioned && self.has_log {
                homeless.push(held.statement);
            }
            self.restart();
        }
        let life = self.life.saturating_mul(6);
        let held = &self.held;
        self.known.retain(|origin, known| {
            let first = ChannelId::new(0).map(|channel| StatementName {
                origin: *origin,
                channel,
                counter: 0,
            });
            let next = first.and_then(|first| held.range(first..).next());
            let holds = next.is_some_and(|(name, _)| name.origin == *origin);
            now.since(known.touched) <= life || holds || is_member(origin)
        });
        homeless
    }
}
