//! What the SDK's cache does: memory, flights, and which bytes of L2 count.

use std::time::Duration;

use authmesh_proto::commit::Voids;
use authmesh_proto::fill::{self, Action, Fill, FillConfig, Input};
use authmesh_proto::freshness::{Captured, Stamp};
use authmesh_proto::ident::{ChannelId, Incarnation, Nonce, Position};
use authmesh_proto::log::Head;
use authmesh_proto::record::{Content, Record, Stored, TagPosition};
use authmesh_proto::time::{Moment, Now};
use authmesh_proto::wire;

use super::{Job, L2_TIMEOUT, Node, Out};
use crate::checker::Need;
use crate::redis::{Answer, Op};
use crate::rules::Control;

/// How long an entry lives, in memory and in L2.
const LIFETIME: Duration = Duration::from_secs(120);

/// An entry in memory.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    version: u64,
    stamps: Vec<Stamp>,
    until: Moment,
}

/// A load that callers wait for.
pub(super) struct Flight {
    id: u64,
    key: usize,
    /// The fence values at which it may be joined.
    at: [Stamp; 2],
    pub(super) fill: Fill,
    fence: Captured,
    applied: Vec<Option<(Incarnation, Position)>>,
    waiters: Vec<(Need, bool)>,
    version: Option<u64>,
}

/// What a look into L2 found.
#[derive(Debug)]
pub enum Look {
    /// A version that counts.
    Counts(u64),
    /// Bytes that count for no node that has applied as much as this one.
    Void(Vec<u8>),
    /// Nothing, or something about which this node cannot tell.
    Nothing,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Node {
    /// A caller asks for a key.
    pub fn get(&mut self, now: Now, key: usize, need: Need) {
        if let Some(version) = self.in_memory(now, key) {
            if self.is_coherent(now) {
                let from = "memory";
                self.out.push(Out::Answered {
                    key,
                    version,
                    need,
                    from,
                });
                return;
            }
        } else {
            self.l1.remove(&key);
        }
        self.board(now, key, need);
    }

    /// The version in memory, if its stamps are current.
    #[must_use]
    pub fn in_memory(&self, now: Now, key: usize) -> Option<u64> {
        let kept = self.l1.get(&key)?;
        let current = self.rules.off(Control::NoFence) || self.fence.all_current(&kept.stamps);
        (now.boot < kept.until && current).then_some(kept.version)
    }

    /// Joins the flight of a key at the present fence, or starts it.
    fn board(&mut self, now: Now, key: usize, need: Need) {
        let (name, whole) = (self.keys[key].name, self.keys[key].tags[0]);
        let at = [name.slot(), whole.slot()].map(|slot| self.fence.capture(slot));
        if let Some(flight) = self
            .flights
            .iter_mut()
            .find(|flight| flight.key == key && flight.at == at)
        {
            flight.waiters.push((need, true));
            return;
        }
        self.next_flight += 1;
        let flight = Flight {
            id: self.next_flight,
            key,
            at,
            fill: Fill::new(FillConfig::default(), Nonce(self.rng.bytes())),
            fence: self.fence.capture_all(),
            applied: Vec::new(),
            waiters: vec![(need, false)],
            version: None,
        };
        self.fly(now, flight, None);
    }

    pub(super) fn tick_flights(&mut self, now: Now) {
        let due: Vec<u64> = self
            .flights
            .iter()
            .filter(|flight| now.boot >= flight.fill.poll_timeout())
            .map(|flight| flight.id)
            .collect();
        for id in due {
            if let Some(flight) = self.take_flight(id) {
                self.fly(now, flight, None);
            }
        }
    }

    fn take_flight(&mut self, id: u64) -> Option<Flight> {
        let at = self.flights.iter().position(|flight| flight.id == id)?;
        Some(self.flights.remove(at))
    }

    /// One step of a fill, then everything that it wants done.
    fn fly(&mut self, now: Now, mut flight: Flight, input: Option<Input>) {
        match input {
            Some(input) => flight.fill.handle(now.boot, input),
            None => flight.fill.tick(now.boot),
        }
        let (name, nonce) = (self.keys[flight.key].name, flight.fill.nonce());
        let mut landed = None;
        while let Some(action) = flight.fill.poll() {
            match action {
                Action::Look => {
                    flight.fence = self.fence.capture_all();
                    flight.applied = ChannelId::all().map(|id| self.applied_in(id)).collect();
                    // Asked before the read is sent, and again when it is answered: the answer may be from before a drop that
                    // gets its position in between.
                    let waits = self.unpositioned.holds(&Voids::Entry(name))
                        && !self.rules.off(Control::L2OlderThanDrop)
                        && !self.rules.off(Control::EarlyDropsReadable);
                    let coherent = self.is_coherent(now);
                    if coherent && !waits {
                        let job = Job::Look {
                            flight: flight.id,
                            asked: now.boot,
                        };
                        self.start(job, Op::Look(name), L2_TIMEOUT);
                    } else {
                        let captured = flight.applied[name.slot().channel.index()];
                        let looked = Input::Looked {
                            look: fill::Look::Nothing,
                            captured: captured.map(|(incarnation, _)| incarnation),
                            coherent,
                        };
                        flight.fill.handle(now.boot, looked);
                    }
                }
                Action::Lease(over) => {
                    let ttl = nanos(FillConfig::default().lease);
                    let op = Op::Lease { name, nonce, over, ttl };
                    self.start(Job::Lease { flight: flight.id }, op, L2_TIMEOUT);
                }
                Action::Wait(holder) => self.out.push(Out::WaitGone {
                    flight: flight.id,
                    name,
                    nonce: holder,
                }),
                Action::Load => self.out.push(Out::Load {
                    flight: flight.id,
                    key: flight.key,
                }),
                Action::Renew => {
                    let ttl = nanos(FillConfig::default().lease);
                    self.start(Job::Forget, Op::Renew { name, nonce, ttl }, L2_TIMEOUT);
                }
                // Nobody holds anything here.
                Action::Answer => {}
                Action::Keep => {
                    if let Some(version) = flight.version {
                        landed = Some((self.keep(now, &flight, version), "source"));
                    }
                }
                Action::Store(place) => {
                    let value = self.record_of(now, &flight, place);
                    let ttl = nanos(LIFETIME);
                    let op = Op::Store {
                        name,
                        nonce,
                        value,
                        ttl,
                    };
                    self.start(Job::Forget, op, L2_TIMEOUT);
                }
                Action::Release => self.start(Job::Forget, Op::Release { name, nonce }, L2_TIMEOUT),
            }
        }
        match landed {
            Some((kept, from)) => self.land(flight, &kept, from),
            None if flight.fill.is_over() => {}
            None => self.flights.push(flight),
        }
    }

    fn stamps(&self, key: usize, fence: &Captured) -> Vec<Stamp> {
        let key = &self.keys[key];
        let slots = std::iter::once(key.name.slot()).chain(key.tags.iter().map(|tag| tag.slot()));
        slots.map(|slot| fence.stamp(slot)).collect()
    }

    fn keep(&mut self, now: Now, flight: &Flight, version: u64) -> Kept {
        let kept = Kept {
            version,
            stamps: self.stamps(flight.key, &flight.fence),
            until: now.boot.plus(LIFETIME),
        };
        self.l1.insert(flight.key, kept.clone());
        kept
    }

    fn land(&mut self, flight: Flight, kept: &Kept, from: &'static str) {
        let current = self.fence.all_current(&kept.stamps);
        for (need, joined) in flight.waiters {
            let (key, version) = (flight.key, kept.version);
            self.out.push(match joined && !current {
                true => Out::Again { key, need },
                false => Out::Answered {
                    key,
                    version,
                    need,
                    from,
                },
            });
        }
    }

    fn record_of(&self, now: Now, flight: &Flight, (incarnation, generation): (Incarnation, u64)) -> Vec<u8> {
        let tags = self.keys[flight.key].tags.iter().map(|tag| TagPosition {
            tag: *tag,
            applied: flight.applied[tag.slot().channel.index()],
        });
        let record = Record {
            filled_at: now.wall,
            tags: tags.collect(),
            value: flight.version.unwrap_or(0).to_be_bytes().to_vec(),
        };
        let content = Content::Record {
            expires: now.wall.saturating_add(LIFETIME.as_secs()),
            sealed: wire::encode(&record),
        };
        Stored {
            incarnation,
            generation,
            content,
        }
        .encode()
    }

    /// What this node may take from L2's bytes.
    #[must_use]
    pub fn look(&self, now: Now, key: usize, head: Option<Head>, value: Option<Vec<u8>>, asked: Moment) -> Look {
        let (Some(head), Some(value)) = (head, value) else {
            return Look::Nothing;
        };
        let (name, whole) = (self.keys[key].name, self.keys[key].tags[0]);
        let channel = name.slot().channel;
        let proven = self.follower.settled(channel).is_some() && self.follower.proves(channel, &head, asked);
        let waits = |voids: &Voids| self.unpositioned.holds(voids) && !self.rules.off(Control::EarlyDropsReadable);
        if !(proven || self.rules.off(Control::L2WithoutHead)) || waits(&Voids::Entry(name)) {
            return Look::Nothing;
        }
        let Ok(stored) = Stored::decode(&value) else {
            return Look::Nothing;
        };
        let Content::Record { expires, sealed } = stored.content else {
            return Look::Nothing;
        };
        if (stored.incarnation, stored.generation) != (head.incarnation, head.generation) {
            return Look::Nothing;
        }
        let Ok(record) = wire::decode::<Record>(&sealed) else {
            return Look::Void(value);
        };
        if record.tags.iter().any(|tag| waits(&Voids::Tag(tag.tag))) {
            return Look::Nothing;
        }
        // Of a tag about which this node knows a statement, the filler's position must be one that it has applied itself.
        let sloppy = self.rules.off(Control::TagsUnsettled);
        let mut allowed = true;
        for TagPosition { tag, applied } in &record.tags {
            if self.marks.tag_is_stated(*tag) && !sloppy {
                let channel = tag.slot().channel;
                if self.follower.settled(channel).is_none() {
                    return Look::Nothing;
                }
                allowed &= applied.is_some_and(|(_, position)| self.follower.knows(channel, &position));
            }
            allowed &= self.marks.tag_allows(*tag, *applied);
        }
        let live = expires > now.wall && record.tags.iter().any(|tag| tag.tag == whole);
        match <[u8; 8]>::try_from(&record.value[..]) {
            Ok(version) if allowed && live => Look::Counts(u64::from_be_bytes(version)),
            _ => Look::Void(value),
        }
    }

    pub(super) fn looked(&mut self, now: Now, id: u64, asked: Moment, answer: Option<Answer>) {
        let Some(mut flight) = self.take_flight(id) else { return };
        let look = match answer {
            Some(Answer::Looked(head, value)) => self.look(now, flight.key, head, value, asked),
            _ => Look::Nothing,
        };
        let look = match look {
            Look::Counts(version) => {
                flight.version = Some(version);
                let kept = self.keep(now, &flight, version);
                return self.land(flight, &kept, "L2");
            }
            Look::Void(bytes) => fill::Look::Void(bytes),
            Look::Nothing => fill::Look::Nothing,
        };
        let captured = flight.applied[self.keys[flight.key].name.slot().channel.index()];
        let looked = Input::Looked {
            look,
            captured: captured.map(|(incarnation, _)| incarnation),
            coherent: self.is_coherent(now),
        };
        self.fly(now, flight, Some(looked));
    }

    pub(super) fn leased(&mut self, now: Now, id: u64, answer: Option<Answer>) {
        let Some(flight) = self.take_flight(id) else { return };
        let outcome = match answer {
            Some(Answer::Leased(outcome)) => Some(outcome),
            _ => None,
        };
        self.fly(now, flight, Some(Input::Leased(outcome)));
    }

    /// The lease that a flight waits for is gone.
    pub fn gone(&mut self, now: Now, flight: u64) {
        if let Some(flight) = self.take_flight(flight) {
            self.fly(now, flight, Some(Input::Gone));
        }
    }

    /// The loader of a flight brought a version; `None`: it failed.
    pub fn loaded(&mut self, now: Now, flight: u64, version: Option<u64>) {
        if let Some(mut flight) = self.take_flight(flight) {
            flight.version = version;
            self.fly(now, flight, Some(Input::Loaded(version.is_some())));
        }
    }
}
