//! One channel of the in-memory cluster: log, marks, values, counters.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use authmesh_proto::fill::HoldOutcome;
use authmesh_proto::ident::{ChannelId, Digest, EntryName, Incarnation, Nonce, Position};
use authmesh_proto::log::{Head, LogEntry, Payload};
use authmesh_proto::marks::{BUCKETS, Buckets, Digests, bucket_of_hour};
use authmesh_proto::record::{Content, Holder, MAX_HOLDERS, Stored};
use authmesh_proto::time::Moment;

use crate::ports::{Effect, LeaseOutcome, LogSlice, MarkTable, StoredMark};

/// Hour and field of a mark: what may stand once in the table.
type MarkId = (u64, [u8; 33]);

const fn is_bare(entry: &LogEntry) -> bool {
    matches!(entry.payload, Payload::Bare(_))
}

const fn millis(at: Moment) -> u64 {
    at.as_nanos() / 1_000_000
}

#[derive(Clone)]
enum Undo {
    Nothing,
    Mark(MarkId, Option<StoredMark>),
    Value(EntryName, Vec<u8>, Moment),
}

#[derive(Default)]
pub(super) struct Channel {
    log: VecDeque<LogEntry>,
    marks: BTreeMap<MarkId, StoredMark>,
    /// What each log entry did, so that a failover can lose it.
    undo: VecDeque<Undo>,
    root: Digest,
    pub(super) values: HashMap<EntryName, (Vec<u8>, Moment)>,
    counters: HashMap<EntryName, (i64, Moment)>,
}

impl Channel {
    pub(super) fn head(&self) -> Option<Head> {
        self.log.back().map(|entry| entry.head)
    }

    /// `past_before`: marks of earlier hours are past, by all clocks that count.
    pub(super) fn take_effect(&mut self, effect: Effect, past_before: u64) {
        let undo = match effect {
            // A hold outlasts the drops of its writer.
            Effect::Drop(name) if self.holders(&name).is_some() => Undo::Nothing,
            Effect::Drop(name) => match self.values.remove(&name) {
                Some((value, until)) => Undo::Value(name, value, until),
                None => Undo::Nothing,
            },
            Effect::Mark(mark) => {
                let hour = mark.hour;
                let undo = self.merge(mark);
                self.collect(hour, past_before);
                undo
            }
        };
        self.undo.push_back(undo);
    }

    fn merge(&mut self, mark: StoredMark) -> Undo {
        let id = (mark.hour, mark.field);
        let before = self.marks.get(&id).cloned();
        if before.as_ref().is_some_and(|held| held.rank >= mark.rank) {
            return Undo::Nothing;
        }
        if let Some(held) = &before {
            self.root = self.root.toggled(held.digest);
        }
        self.root = self.root.toggled(mark.digest);
        self.marks.insert(id, mark);
        Undo::Mark(id, before)
    }

    pub(super) fn append(
        &mut self,
        channel: ChannelId,
        position: Position,
        birth: Incarnation,
        payload: Payload,
        cap: usize,
    ) -> LogEntry {
        let previous = self.head();
        let head = Head {
            incarnation: previous.map_or(birth, |head| head.incarnation),
            generation: previous.map_or(0, |head| {
                head.generation + u64::from(matches!(payload, Payload::Bare(_)))
            }),
            position,
            previous: previous.map(|head| head.position),
            root: self.root,
        };
        self.push(channel, head, payload, cap)
    }

    pub(super) fn mint(
        &mut self,
        channel: ChannelId,
        position: Position,
        incarnation: Incarnation,
        cap: usize,
    ) -> LogEntry {
        let previous = self.head();
        let digests = self.marks.values().map(|mark| mark.digest);
        self.root = digests.fold(Digest::EMPTY, Digest::toggled);
        let head = Head {
            incarnation,
            generation: previous.map_or(0, |head| head.generation + 1),
            position,
            previous: previous.map(|head| head.position),
            root: self.root,
        };
        self.push(channel, head, Payload::Mint, cap)
    }

    fn push(&mut self, channel: ChannelId, head: Head, payload: Payload, cap: usize) -> LogEntry {
        let entry = LogEntry { channel, head, payload };
        self.log.push_back(entry.clone());
        self.undo.resize(self.log.len(), Undo::Nothing);
        self.trim(cap);
        entry
    }

    pub(super) fn trim(&mut self, keep: usize) {
        while self.log.len() > keep {
            self.log.pop_front();
            self.undo.pop_front();
        }
    }

    pub(super) fn lose_newest(&mut self, entries: usize) {
        for _ in 0..entries {
            let (Some(_), Some(undo)) = (self.log.pop_back(), self.undo.pop_back()) else {
                break;
            };
            match undo {
                Undo::Nothing => {}
                Undo::Value(name, value, until) => {
                    self.values.insert(name, (value, until));
                }
                Undo::Mark(id, before) => {
                    if let Some(lost) = self.marks.remove(&id) {
                        self.root = self.root.toggled(lost.digest);
                    }
                    if let Some(before) = before {
                        self.root = self.root.toggled(before.digest);
                        self.marks.insert(id, before);
                    }
                }
            }
        }
    }

    pub(super) fn slice(&self, from: Position, limit: usize) -> LogSlice {
        let entries = self.log.iter().filter(|entry| entry.head.position.id >= from.id);
        LogSlice {
            head: self.head(),
            first: self.log.front().map(|entry| entry.head.position),
            entries: entries.take(limit).cloned().collect(),
        }
    }

    pub(super) fn table(&self, known: Option<&Digests>) -> MarkTable {
        let mut digests = [Digest::EMPTY; BUCKETS];
        for mark in self.marks.values() {
            let digest = &mut digests[bucket_of_hour(mark.hour)];
            *digest = digest.toggled(mark.digest);
        }
        let mut same = Buckets::NONE;
        for (at, known) in known.into_iter().flatten().enumerate() {
            if *known == digests[at] {
                same.add(at);
            }
        }
        let marks = self
            .marks
            .values()
            .filter(|mark| !same.contains(bucket_of_hour(mark.hour)));
        MarkTable {
            head: self.head(),
            marks: marks.cloned().collect(),
            same,
            bare: self.log.iter().filter(|entry| is_bare(entry)).cloned().collect(),
        }
    }

    pub(super) fn purge(&mut self, elements: &[StoredMark]) {
        for element in elements {
            let id = (element.hour, element.field);
            if self.marks.get(&id) == Some(element) {
                self.marks.remove(&id);
            }
        }
    }

    /// Puts an element into the table without telling the head.
    pub(super) fn plant(&mut self, element: StoredMark) {
        self.marks.insert((element.hour, element.field), element);
    }

    /// Removes what is past from the bucket of an hour.
    fn collect(&mut self, hour: u64, past_before: u64) {
        // Ordered by hour: a commit must not look at every mark of the channel.
        let past = self.marks.range(..(past_before, [0; 33])).map(|(id, _)| *id);
        let past: Vec<MarkId> = past
            .filter(|(of, _)| bucket_of_hour(*of) == bucket_of_hour(hour))
            .collect();
        for id in past {
            if let Some(mark) = self.marks.remove(&id) {
                self.root = self.root.toggled(mark.digest);
            }
        }
    }

    pub(super) fn value(&self, name: &EntryName, now: Moment) -> Option<&Vec<u8>> {
        self.values
            .get(name)
            .filter(|(_, until)| now < *until)
            .map(|(value, _)| value)
    }

    /// Whether a live value stands under a name: not expired, and written for the present incarnation and generation.
    fn live(&self, name: &EntryName, now: Moment) -> Option<Stored> {
        let stored = Stored::decode(self.value(name, now)?).ok()?;
        let head = self.head()?;
        (stored.incarnation == head.incarnation && stored.generation == head.generation).then_some(stored)
    }

    pub(super) fn holds(&self, name: &EntryName, nonce: Nonce, now: Moment) -> bool {
        self.live(name, now)
            .is_some_and(|stored| stored.content == Content::Lease(nonce))
    }

    pub(super) fn lease(
        &mut self,
        name: EntryName,
        nonce: Nonce,
        over: Option<&Vec<u8>>,
        now: Moment,
        ttl: Duration,
    ) -> LeaseOutcome {
        let Some(head) = self.head() else {
            return LeaseOutcome::Unborn;
        };
        let is_void = over.is_some() && self.value(&name, now) == over;
        match self.live(&name, now).map(|stored| stored.content) {
            Some(Content::Hold(_)) => return LeaseOutcome::OnHold,
            Some(Content::Record { .. }) if !is_void => return LeaseOutcome::Present,
            Some(Content::Lease(holder)) if holder != nonce => return LeaseOutcome::Held(holder),
            Some(_) | None => {}
        }
        let lease = Stored {
            incarnation: head.incarnation,
            generation: head.generation,
            content: Content::Lease(nonce),
        };
        self.values.insert(name, (lease.encode(), now.plus(ttl)));
        LeaseOutcome::Taken(head.incarnation, head.generation)
    }

    pub(super) fn renew(&mut self, name: &EntryName, nonce: Nonce, now: Moment, ttl: Duration) -> bool {
        let held = self.holds(name, nonce, now);
        if let (true, Some((_, until))) = (held, self.values.get_mut(name)) {
            *until = now.plus(ttl);
        }
        held
    }

    /// Those that hold a name in the present incarnation and generation, perhaps past their time.
    fn holders(&self, name: &EntryName) -> Option<Vec<Holder>> {
        let stored = Stored::decode(&self.values.get(name)?.0).ok()?;
        let head = self.head()?;
        match stored.content {
            Content::Hold(holders)
                if (stored.incarnation, stored.generation) == (head.incarnation, head.generation) =>
            {
                Some(holders)
            }
            _ => None,
        }
    }

    pub(super) fn hold(&mut self, name: EntryName, nonce: Nonce, now: Moment, ttl: Duration) -> HoldOutcome {
        if self.head().is_none() {
            return HoldOutcome::Unborn;
        }
        let mut holders = self.holders(&name).unwrap_or_default();
        holders.retain(|holder| millis(now) < holder.until);
        let until = millis(now.plus(ttl));
        let outcome = if let Some(own) = holders.iter_mut().find(|holder| holder.nonce == nonce) {
            own.until = until;
            HoldOutcome::Renewed
        } else if holders.len() == MAX_HOLDERS {
            return HoldOutcome::Crowded;
        } else {
            holders.push(Holder { nonce, until });
            HoldOutcome::Taken
        };
        self.put_holders(name, holders);
        outcome
    }

    pub(super) fn unhold(&mut self, name: EntryName, nonce: Nonce, now: Moment) {
        if let Some(mut holders) = self.holders(&name) {
            holders.retain(|holder| holder.nonce != nonce && millis(now) < holder.until);
            self.put_holders(name, holders);
        }
    }

    fn put_holders(&mut self, name: EntryName, holders: Vec<Holder>) {
        let last = holders.iter().map(|holder| holder.until).max();
        let (Some(head), Some(last)) = (self.head(), last) else {
            self.values.remove(&name);
            return;
        };
        let stored = Stored {
            incarnation: head.incarnation,
            generation: head.generation,
            content: Content::Hold(holders),
        };
        let until = Moment::from_nanos(last.saturating_mul(1_000_000));
        self.values.insert(name, (stored.encode(), until));
    }

    /// `None`: the channel has no log.
    pub(super) fn insert_if_absent(
        &mut self,
        name: EntryName,
        value: Vec<u8>,
        over: Option<&Vec<u8>>,
        now: Moment,
        ttl: Duration,
    ) -> Option<bool> {
        self.head()?;
        let is_void = over.is_some() && self.value(&name, now) == over;
        let live = self.live(&name, now).map(|stored| stored.content);
        let absent = match live {
            // Nobody writes over a hold, not even over the bytes that were read.
            Some(Content::Hold(_)) => false,
            Some(Content::Record { .. }) => is_void,
            _ => true,
        };
        if absent {
            self.values.insert(name, (value, now.plus(ttl)));
        }
        Some(absent)
    }

    pub(super) fn increment(&mut self, name: EntryName, by: i64, now: Moment, ttl: Duration) -> i64 {
        let counter = self.counters.entry(name).or_insert((0, now.plus(ttl)));
        if now >= counter.1 {
            *counter = (0, now.plus(ttl));
        }
        counter.0 = counter.0.saturating_add(by);
        counter.0
    }

    pub(super) fn volatile(&self) -> usize {
        self.values.len() + self.counters.len()
    }

    pub(super) fn expire(&mut self, now: Moment) {
        self.values.retain(|_, (_, until)| now < *until);
        self.counters.retain(|_, (_, until)| now < *until);
    }

    /// Removes the value or counter that is nearest to its end. `false` when there is none.
    pub(super) fn evict(&mut self) -> bool {
        let value = self.values.iter().map(|(name, (_, until))| (*until, *name)).min();
        let counter = self.counters.iter().map(|(name, (_, until))| (*until, *name)).min();
        match (value, counter) {
            (Some((a, name)), Some((b, _))) if a <= b => self.values.remove(&name).is_some(),
            (Some((_, name)), None) => self.values.remove(&name).is_some(),
            (_, Some((_, name))) => self.counters.remove(&name).is_some(),
            (None, None) => false,
        }
    }
}
