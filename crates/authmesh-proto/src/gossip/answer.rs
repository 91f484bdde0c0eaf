//! Answers to what members ask.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::message::{Answer, Ask, Change, Counted, MAX_CONFIRM, Name, PAGE_BYTES, Peer, Request, State, Tell, bucket};
use super::{Action, Event, Gossip};
use crate::ident::{ChannelId, Digest, Origin, StatementName};
use crate::marks::{BUCKETS, Marks};
use crate::statement::{Mark, MarkKey};
use crate::time::{Moment, Now};

/// The most buckets that one request may name.
const MAX_BUCKETS: usize = 64 * BUCKETS;
/// What a change takes at most.
const CHANGE: usize = 28;
/// What the frame of an answer takes, evidence and statements not counted.
const FRAME: usize = 120;
/// The most marks of a page: each has a scope, terms and a note of up to 512 bytes.
const PAGE_MARKS: usize = PAGE_BYTES / 640;

impl Gossip {
    pub(super) fn on_asked(&mut self, now: Now, token: u64, from: &Peer, request: &[u8], limit: usize, marks: &Marks) {
        let Ok(request) = Request::decode(request) else {
            self.actions.push_back(Action::Tell(Event::Malformed(from.origin)));
            return;
        };
        if !self.left {
            self.view.hear_of(now.boot, from, self.config.member_cap);
            self.view.heard(now.boot, &from.origin);
        }
        let answer = match request {
            Request::Ask(ask) => Answer::Tell(self.tell(now, from.origin, &ask, limit)),
            Request::Changes { since, counters } => self.changes(from.origin, since, &counters, limit),
            Request::Everything {
                counters,
                digests,
                after,
            } => self.everything(now.boot, from.origin, &counters, &digests, after, limit, marks),
            Request::Buckets { buckets, after } => self.buckets(&buckets, after, marks),
            Request::View => {
                let (members, gone) = self.view.list(self.me.clone());
                Answer::View { members, gone }
            }
        };
        let answer = answer.encode();
        if answer.len() <= limit {
            self.actions.push_back(Action::Answer { token, answer });
        }
    }

    fn state(&self, now: Moment, asker: Origin, evidence: bool) -> State {
        let until = self.view.lease(now, self.follower_until, &self.config);
        State {
            origin: self.me.origin,
            version: self.ring.version(),
            said: self.said,
            yours: self.ring.count_of(&asker),
            knows_you: self.view.contains(&asker),
            coherent: now < until,
            joined: self.view.joined,
            view: self.view.digest(),
            redis_age: self.view.redis.and_then(|at| {
                let age = now.since(at).as_nanos().div_ceil(1_000_000);
                u32::try_from(age).ok()
            }),
            evidence: match evidence {
                true => self.view.ages(now),
                false => Vec::new(),
            },
            speaks: self.config.speaks.clone(),
        }
    }

    fn tell(&mut self, now: Now, from: Origin, ask: &Ask, limit: usize) -> Tell {
        self.hear_all(now, Some(from), &ask.push);
        let mut confirmed = 0;
        for (at, (channel, counter)) in ask.confirm.iter().enumerate().take(MAX_CONFIRM) {
            let name = ChannelId::new(*channel).map(|channel| StatementName {
                origin: from,
                channel,
                counter: *counter,
            });
            if name.is_some_and(|name| self.ring.contains(&name)) {
                confirmed |= 1 << at;
            }
        }
        let state = self.state(now.boot, from, ask.evidence);
        let taken = FRAME + state.evidence.len() + state.speaks.versions.len() + 3 * state.speaks.kinds.len();
        let mut room = limit.saturating_sub(taken);
        let changes = self.small_changes(from, ask.since, &mut room);
        let mut statements = Vec::new();
        for change in changes.iter().flatten() {
            let Change::Statement(name) = change else { continue };
            let Some(statement) = name.get().and_then(|name| self.ring.statement(&name)) else {
                continue;
            };
            let bytes = statement.encode();
            if bytes.len() + 3 > room {
                break;
            }
            room -= bytes.len() + 3;
            statements.push(bytes);
        }
        Tell {
            state,
            changes,
            statements,
            confirmed,
        }
    }

    /// Those that fit, if all of them do.
    fn small_changes(&self, asker: Origin, since: u64, room: &mut usize) -> Option<Vec<Change>> {
        let mut changes = Vec::new();
        for (_, change) in self.ring.since(since)? {
            if is_of(&change, asker) {
                continue;
            }
            *room = room.checked_sub(CHANGE)?;
            changes.push(change);
        }
        Some(changes)
    }

    fn changes(&self, asker: Origin, since: u64, counters: &[Counted], limit: usize) -> Answer {
        let known = Known::new(counters);
        let Some(all) = self.ring.since(since) else {
            return Answer::Changes {
                reached: since,
                changes: None,
                statements: Vec::new(),
            };
        };
        let (mut changes, mut statements, mut reached) = (Vec::new(), Vec::new(), self.ring.version());
        let mut room = limit.min(PAGE_BYTES).saturating_sub(FRAME);
        for (version, change) in all {
            let name = match &change {
                Change::Statement(name) => name.get(),
                _ => None,
            };
            if is_of(&change, asker) || name.is_some_and(|name| known.contains(&name)) {
                continue;
            }
            let statement = name.and_then(|name| self.ring.statement(&name));
            let bytes = statement.map(|statement| statement.encode());
            let takes = CHANGE + bytes.as_ref().map_or(0, |bytes| bytes.len() + 3);
            if takes > room {
                reached = version - 1;
                break;
            }
            room -= takes;
            changes.push(change);
            statements.extend(bytes);
        }
        Answer::Changes {
            reached,
            changes: Some(changes),
            statements,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one request")]
    fn everything(
        &self,
        now: Moment,
        asker: Origin,
        counters: &[Counted],
        digests: &[Digest],
        after: Option<Name>,
        limit: usize,
        marks: &Marks,
    ) -> Answer {
        let known = Known::new(counters);
        let mut room = limit.min(PAGE_BYTES).saturating_sub(FRAME);
        let first = after.is_none();
        let (mut own, mut differing) = (Vec::new(), Vec::new());
        if first {
            own = self.ring.counters();
            for channel in ChannelId::all() {
                for (bucket, digest) in marks.digests(channel).into_iter().enumerate() {
                    if digests.get(channel.index() * BUCKETS + bucket) != Some(&digest) {
                        differing.push((channel.number(), bucket as u8));
                    }
                }
            }
            let counted: usize = own.iter().map(|counted| 20 + 20 * counted.channels.len()).sum();
            room = room.saturating_sub(counted + 2 * differing.len());
        }
        let (mut statements, mut next, mut last) = (Vec::new(), None, after);
        for statement in self.ring.held_after(after.and_then(Name::get)) {
            if !known.contains(&statement.name) {
                let bytes = statement.encode();
                if bytes.len() + 3 > room {
                    next = last.or(Some(Name::FIRST));
                    break;
                }
                room -= bytes.len() + 3;
                statements.push(bytes);
            }
            last = Some(statement.name.into());
        }
        Answer::Everything {
            state: self.state(now, asker, true),
            counters: own,
            statements,
            next,
            differing,
            dirty: self.dirty.iter().map(|channel| channel.number()).collect(),
        }
    }

    fn buckets(&self, buckets: &[(u8, u8, Digest)], after: Option<MarkKey>, marks: &Marks) -> Answer {
        let (mut found, mut after) = (Vec::new(), after);
        for (at, (channel, number, digest)) in buckets.iter().enumerate().take(MAX_BUCKETS) {
            let Some((channel, number)) = bucket(*channel, *number) else {
                continue;
            };
            if marks.digests(channel)[number] == *digest {
                after = None;
                continue;
            }
            for mark in marks.of_bucket(channel, number, after.take()) {
                if found.len() >= PAGE_MARKS {
                    let last = found.last().map(|mark: &Mark| mark.key);
                    return Answer::Buckets {
                        marks: found,
                        next: Some((at as u32, last)),
                    };
                }
                found.push(mark);
            }
        }
        Answer::Buckets {
            marks: found,
            next: None,
        }
    }
}

/// Whether the asker made it: it has applied it.
fn is_of(change: &Change, asker: Origin) -> bool {
    match change {
        Change::Statement(name) => name.get().is_some_and(|name| name.origin == asker),
        _ => false,
    }
}

/// What an asker knows, to be looked up.
struct Known<'a>(BTreeMap<(Origin, u8), (u64, &'a [u64])>);

impl<'a> Known<'a> {
    fn new(counters: &'a [Counted]) -> Self {
        let runs = counters.iter().flat_map(|counted| {
            let channels = counted.channels.iter();
            channels.map(|(channel, upto, ahead)| ((counted.origin, *channel), (*upto, ahead.as_slice())))
        });
        Self(runs.collect())
    }

    fn contains(&self, name: &StatementName) -> bool {
        let run = self.0.get(&(name.origin, name.channel.number()));
        run.is_some_and(|(upto, ahead)| name.counter <= *upto || ahead.contains(&name.counter))
    }
}
