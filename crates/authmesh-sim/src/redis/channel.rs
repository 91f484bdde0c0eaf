//! One channel of the modelled Redis: what its scripts read and write.
//!
//! A script is a pure function from a state to its effects and its answer; the effects are what Redis replicates, whole
//! scripts at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use authmesh_proto::fill::LeaseOutcome;
use authmesh_proto::ident::{ChannelId, Digest, EntryName, Incarnation, Nonce, Origin, Position, StreamId};
use authmesh_proto::log::Head;
use authmesh_proto::record::{Content, Stored};
use authmesh_proto::statement::{Body, Mark, Statement};

use super::{Answer, Op, Refused, SliceOf, Table};
use crate::clock::True;
use crate::names;

/// Hour and field: what may stand once in the table of marks.
type MarkId = (u64, [u8; 33]);

/// What a log entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A statement; `whole`: with its effect beside the log.
    Statement {
        /// The statement.
        statement: Statement,
        /// The table of marks, or L2, was changed with it.
        whole: bool,
    },
    /// A new incarnation.
    Mint,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The channel.
    pub channel: ChannelId,
    /// The head that it is.
    pub head: Head,
    /// What it says.
    pub payload: Payload,
}

/// A member's own record, beside the first channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where its gossip is reached.
    pub address: String,
    /// Counts up while it lives.
    pub sequence: u64,
    /// The members that it knows.
    pub view: BTreeSet<Origin>,
}

/// What a script did, as a replica is told.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Appended to the log.
    Append(Rc<Entry>),
    /// Wrote a value with its end.
    Put(EntryName, Vec<u8>, True),
    /// Deleted a value.
    Delete(EntryName),
    /// Wrote a member's record.
    Enrol(Origin, Rc<Record>),
    /// Wrote a mark.
    Merge(MarkId, Rc<Mark>, Digest),
}

/// The keys of one channel.
#[derive(Debug, Clone, Default)]
pub struct State {
    log: VecDeque<Rc<Entry>>,
    last_id: Option<StreamId>,
    marks: BTreeMap<MarkId, (Rc<Mark>, Digest)>,
    values: BTreeMap<EntryName, (Vec<u8>, True)>,
    members: BTreeMap<Origin, Rc<Record>>,
}

impl State {
    /// The last entry's head.
    pub fn head(&self) -> Option<Head> {
        self.log.back().map(|entry| entry.head)
    }

    /// The table of marks.
    pub fn marks(&self) -> impl Iterator<Item = &Mark> + '_ {
        self.marks.values().map(|(mark, _)| &**mark)
    }

    /// The XOR of the table's digests.
    pub fn root(&self) -> Digest {
        self.marks
            .values()
            .fold(Digest::EMPTY, |root, (_, digest)| root.toggled(*digest))
    }

    /// Does what a script did.
    pub fn apply(&mut self, effect: &Effect, cap: usize) {
        match effect {
            Effect::Append(entry) => {
                self.last_id = Some(entry.head.position.id);
                self.log.push_back(Rc::clone(entry));
                while self.log.len() > cap {
                    self.log.pop_front();
                }
            }
            Effect::Put(name, value, until) => {
                self.values.insert(*name, (value.clone(), *until));
            }
            Effect::Delete(name) => {
                self.values.remove(name);
            }
            Effect::Enrol(origin, record) => {
                self.members.insert(*origin, Rc::clone(record));
            }
            Effect::Merge(id, mark, digest) => {
                self.marks.insert(*id, (Rc::clone(mark), *digest));
            }
        }
    }

    /// The value under a name, and nothing beside it.
    pub fn value(&self, name: &EntryName, now: True) -> Option<&Vec<u8>> {
        self.values
            .get(name)
            .filter(|(_, until)| now < *until)
            .map(|(value, _)| value)
    }

    fn live(&self, name: &EntryName, now: True) -> Option<Stored> {
        let stored = Stored::decode(self.value(name, now)?).ok()?;
        let head = self.head()?;
        (stored.incarnation == head.incarnation && stored.generation == head.generation).then_some(stored)
    }

    /// Whether the lease of this nonce stands under a name.
    pub fn holds(&self, name: &EntryName, nonce: Nonce, now: True) -> bool {
        self.live(name, now)
            .is_some_and(|stored| stored.content == Content::Lease(nonce))
    }

    /// A member's record is deleted.
    pub fn strike(&mut self, origin: &Origin) {
        self.members.remove(origin);
    }

    fn next_id(&self, millis: u64) -> StreamId {
        match self.last_id {
            Some(last) if last.millis >= millis => StreamId {
                millis: last.millis,
                sequence: last.sequence + 1,
            },
            _ => StreamId { millis, sequence: 0 },
        }
    }

    /// Runs a script.
    ///
    /// # Errors
    /// Refused, nothing was done.
    pub fn run(&self, op: &Op, script: Script) -> Result<(Answer, Vec<Effect>), Refused> {
        match op {
            Op::Heads => Err(Refused),
            Op::Read(_, from) => Ok((Answer::Slice(self.slice(*from)), Vec::new())),
            Op::Look(name) => {
                let value = self.value(name, script.now).cloned();
                Ok((Answer::Looked(self.head(), value), Vec::new()))
            }
            Op::Commit {
                statement,
                nonce,
                birth,
                announced,
            } => self.commit(statement, *nonce, *birth, *announced, script),
            Op::Announce(origin, record) => Ok((Answer::Done, vec![Effect::Enrol(*origin, Rc::new(record.clone()))])),
            Op::List => {
                let members = self
                    .members
                    .iter()
                    .map(|(origin, record)| (*origin, (**record).clone()));
                Ok((Answer::Members(members.collect()), Vec::new()))
            }
            // The rest names several keys of the slot: refused while it moves.
            _ if script.moving => Err(Refused),
            Op::Load(_) => {
                let marks = self.marks().cloned().collect();
                let table = Table {
                    head: self.head(),
                    sound: self.head().map_or(Digest::EMPTY, |head| head.root) == self.root(),
                    marks,
                };
                Ok((Answer::Table(table), Vec::new()))
            }
            Op::Mint {
                channel,
                expected,
                incarnation,
                nonce,
            } => Ok(self.mint(*channel, *expected, *incarnation, *nonce, script)),
            Op::Lease { name, nonce, over, ttl } => {
                let (outcome, effects) = self.lease(*name, *nonce, over.as_ref(), *ttl, script.now);
                Ok((Answer::Leased(outcome), effects))
            }
            Op::Renew { name, nonce, ttl } => {
                let value = self.value(name, script.now).cloned();
                let effects = match value.filter(|_| self.holds(name, *nonce, script.now)) {
                    Some(value) => vec![Effect::Put(*name, value, script.now + ttl)],
                    None => Vec::new(),
                };
                Ok((Answer::Done, effects))
            }
            Op::Store {
                name,
                nonce,
                value,
                ttl,
            } => {
                let stored = script.blind_stores || self.holds(name, *nonce, script.now);
                let effects = match stored {
                    true => vec![Effect::Put(*name, value.clone(), script.now + ttl)],
                    false => Vec::new(),
                };
                Ok((Answer::Done, effects))
            }
            Op::Release { name, nonce } => {
                let held = self.holds(name, *nonce, script.now);
                Ok((
                    Answer::Done,
                    if held { vec![Effect::Delete(*name)] } else { Vec::new() },
                ))
            }
        }
    }

    fn slice(&self, from: Position) -> SliceOf {
        let entries = self.log.iter().filter(|entry| entry.head.position.id >= from.id);
        SliceOf {
            head: self.head(),
            first: self.log.front().map(|entry| entry.head.position),
            entries: entries.take(super::READ_LIMIT).cloned().collect(),
        }
    }

    fn commit(
        &self,
        statement: &Statement,
        nonce: Nonce,
        birth: Incarnation,
        announced: bool,
        script: Script,
    ) -> Result<(Answer, Vec<Effect>), Refused> {
        let previous = self.head();
        let mut root = previous.map_or_else(|| self.root(), |head| head.root);
        let (incarnation, mut generation) = previous.map_or((birth, 0), |head| (head.incarnation, head.generation));
        let mut effects = Vec::new();
        if script.moving {
            if announced || !script.announces || previous.is_none() {
                return Err(Refused);
            }
            // One key: it cannot touch what is beside the log, so it voids the channel's L2.
            generation += 1;
        } else {
            match &statement.body {
                Body::Drop(name) => effects.push(Effect::Delete(*name)),
                Body::Mark(mark) => {
                    let id = (mark.expires / 3600, mark.key.field());
                    let held = self.marks.get(&id);
                    if held.is_none_or(|(held, _)| held.not_before < mark.not_before) {
                        let digest = names::element(mark);
                        root = root.toggled(digest);
                        if let Some((_, held)) = held {
                            root = root.toggled(*held);
                        }
                        effects.push(Effect::Merge(id, Rc::new(mark.clone()), digest));
                    }
                }
            }
        }
        let position = Position {
            id: self.next_id(script.millis),
            nonce,
        };
        let entry = Rc::new(Entry {
            channel: statement.name.channel,
            head: Head {
                incarnation,
                generation,
                position,
                previous: previous.map(|head| head.position),
                root,
            },
            payload: Payload::Statement {
                statement: statement.clone(),
                whole: !script.moving,
            },
        });
        effects.push(Effect::Append(Rc::clone(&entry)));
        Ok((Answer::Committed(entry), effects))
    }

    fn mint(
        &self,
        channel: ChannelId,
        expected: Option<Incarnation>,
        incarnation: Incarnation,
        nonce: Nonce,
        script: Script,
    ) -> (Answer, Vec<Effect>) {
        let previous = self.head();
        if previous.map(|head| head.incarnation) != expected {
            return (Answer::Minted(false), Vec::new());
        }
        let entry = Entry {
            channel,
            head: Head {
                incarnation,
                generation: previous.map_or(0, |head| head.generation + 1),
                position: Position {
                    id: self.next_id(script.millis),
                    nonce,
                },
                previous: previous.map(|head| head.position),
                root: previous.map_or_else(|| self.root(), |head| head.root),
            },
            payload: Payload::Mint,
        };
        (Answer::Minted(true), vec![Effect::Append(Rc::new(entry))])
    }

    fn lease(
        &self,
        name: EntryName,
        nonce: Nonce,
        over: Option<&Vec<u8>>,
        ttl: u64,
        now: True,
    ) -> (LeaseOutcome, Vec<Effect>) {
        let Some(head) = self.head() else {
            return (LeaseOutcome::Unborn, Vec::new());
        };
        let is_void = over.is_some() && self.value(&name, now) == over;
        match self.live(&name, now).map(|stored| stored.content) {
            Some(Content::Record { .. }) if !is_void => return (LeaseOutcome::Present, Vec::new()),
            Some(Content::Lease(holder)) if holder != nonce => return (LeaseOutcome::Held(holder), Vec::new()),
            Some(_) | None => {}
        }
        let lease = Stored {
            incarnation: head.incarnation,
            generation: head.generation,
            content: Content::Lease(nonce),
        };
        (
            LeaseOutcome::Taken(head.incarnation, head.generation),
            vec![Effect::Put(name, lease.encode(), now + ttl)],
        )
    }
}

/// How a script is run.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    /// True time.
    pub now: True,
    /// The primary's clock.
    pub millis: u64,
    /// The channel's slot is moving.
    pub moving: bool,
    /// While it moves, statements are announced in the log without their effect; otherwise they are refused.
    pub announces: bool,
    /// A control: stores are not compared with their lease.
    pub blind_stores: bool,
}
