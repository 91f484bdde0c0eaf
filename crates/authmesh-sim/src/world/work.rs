//! What callers do.

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::ScopeId;
use authmesh_proto::statement::{Body, Mark, MarkKey, Note, to_full_hour};
use authmesh_proto::time::Unix;

use super::{Event, World};
use crate::checker::Token;
use crate::clock::{BEGIN, MS, SECOND};
use crate::names;
use crate::node::Verdict;
use crate::trace::About;

/// Sessions of a subject.
const SESSIONS: u64 = 2;
/// How many of the newest tokens are in use.
const IN_USE: usize = 16;

impl World {
    pub(super) fn work(&mut self) {
        let pause = self.rng.between(1, 2 * self.scenario.pace);
        self.after(pause, Event::Work);
        let node = self.rng.index(self.slots.len());
        let slot = &self.slots[node];
        if slot.node.is_none() || slot.suspended_until > self.now || slot.leaving {
            return;
        }
        let start = (node, slot.start);
        // Once faults have ended nothing is said any more: what was said must settle.
        let quiet = self.now > self.scenario.calm;
        match self.rng.below(100) {
            0..=49 => self.get(start),
            50..=74 => self.verify(start),
            75..=81 => self.issue(),
            _ if quiet || !self.rng.per_mille(self.scenario.writes) => {}
            82..=91 => {
                let key = self.rng.index(self.source.len());
                self.source[key] += 1;
                let delay = self.rng.below(30 * MS);
                self.after(delay, Event::Drop(start, key));
            }
            92..=94 => self.say_tag(start),
            _ => self.say_mark(start),
        }
    }

    /// First thing after a suspend: before any timer fires, before any answer is read.
    pub(super) fn poke(&mut self, start: (usize, u32)) {
        let slot = &self.slots[start.0];
        if slot.start == start.1 && slot.node.is_some() && slot.suspended_until <= self.now {
            for _ in 0..4 {
                self.get(start);
                self.verify(start);
            }
        }
    }

    /// Somebody writes just before a primary dies.
    pub(super) fn burst(&mut self, node: usize) {
        let slot = &self.slots[node];
        if slot.node.is_some() && slot.suspended_until <= self.now {
            let start = (node, slot.start);
            let key = self.rng.index(self.source.len());
            self.source[key] += 1;
            self.say_drop(start, key);
            self.say_mark(start);
        }
    }

    fn get(&mut self, start: (usize, u32)) {
        let key = self.rng.index(self.keys.len());
        let now = self.local(start.0);
        let Some(node) = &mut self.slots[start.0].node else {
            return;
        };
        let need = self.checker.need(start.0, key, self.now, node.is_coherent(now));
        node.get(now, key, need);
        self.follow_up(start);
    }

    fn issue(&mut self) {
        let subject = self.rng.index(self.scenario.subjects);
        let session = self.rng.below(SESSIONS) as usize;
        let iat = BEGIN + self.now / SECOND;
        let scopes = names::token(subject, session, iat);
        let token = Token {
            subject,
            iat,
            scopes: scopes.iter().map(|(_, scope)| scope).collect(),
        };
        self.tokens.push((token, scopes));
    }

    fn verify(&mut self, start: (usize, u32)) {
        let newest = self.tokens.len();
        if newest == 0 {
            return;
        }
        let at = newest - 1 - self.rng.index(newest.min(IN_USE));
        let now = self.local(start.0);
        let Some(node) = &mut self.slots[start.0].node else {
            return;
        };
        let (token, scopes) = &self.tokens[at];
        let verdict = node.verify(now, at, scopes);
        let node_by_gossip = node.by_gossip(now);
        let about = [About::Node(start.0), About::Subject(token.subject)];
        self.trace.count(self.now, &about, 10 + verdict as u64);
        match verdict {
            Verdict::Accepted => {
                self.tally.accepted += 1;
                self.tally.by_gossip += u64::from(node_by_gossip);
                self.checker.accepted(start.0, token, self.now);
            }
            Verdict::Revoked => self.tally.revoked += 1,
            Verdict::Blind => {
                self.tally.blind += 1;
                self.blind(start.0);
            }
        }
    }

    /// Where nothing but Redis is away, nobody who was taken in may be blind.
    fn blind(&mut self, node: usize) {
        let from = self.scenario.mesh.as_ref().and_then(|scene| scene.steady_from);
        if from.is_some_and(|from| self.now >= from) {
            let what = format!("node {node} is blind, and nothing is wrong but Redis");
            let about = vec![About::Node(node), About::Mesh];
            self.checker.fail(
                "availability: nodes that hear everybody are coherent",
                self.now,
                about,
                what,
            );
        }
    }

    pub(super) fn say_drop(&mut self, start: (usize, u32), key: usize) {
        let body = Body::Drop(self.keys[key].name);
        self.say_about(start, body, vec![key]);
    }

    fn say_tag(&mut self, start: (usize, u32)) {
        let tag = self.tags[self.rng.index(self.tags.len())];
        let keys: Vec<usize> = (0..self.keys.len())
            .filter(|key| self.keys[*key].tags.contains(&tag))
            .collect();
        for key in &keys {
            self.source[*key] += 1;
        }
        let wall = self.local(start.0).wall;
        let mark = mark(tag, None, ScopeKind::Tag, 0, wall);
        self.say_about(start, Body::Mark(mark), keys);
    }

    fn say_about(&mut self, start: (usize, u32), body: Body, keys: Vec<usize>) {
        let now = self.local(start.0);
        let slot = &mut self.slots[start.0];
        // A node that died between the write and the drop says nothing; one that is suspended says it later.
        if slot.start != start.1 {
            return;
        }
        let Some(node) = &mut slot.node else { return };
        if slot.suspended_until > self.now {
            if let [key] = keys[..] {
                let at = slot.suspended_until;
                self.at(at, Event::Drop(start, key));
            }
            return;
        }
        let name = node.name_to_come(body.slot().channel);
        self.tally.drops += 1;
        let mut about = vec![About::Node(start.0), About::Channel(name.channel)];
        about.extend(keys.iter().map(|key| About::Key(*key)));
        let source = &self.source;
        self.trace.note(self.now, &about, 13, || {
            let kept: Vec<String> = keys
                .iter()
                .map(|key| format!("{key} before {}", source[*key]))
                .collect();
            format!(
                "node {} drops key {} as {:?} {}",
                start.0,
                kept.join(", "),
                name.channel,
                name.counter
            )
        });
        let keys = keys.into_iter().map(|key| (key, self.source[key])).collect();
        self.checker.dropping(name, keys);
        node.say(now, body);
        self.follow_up(start);
    }

    fn say_mark(&mut self, start: (usize, u32)) {
        let subject = self.rng.index(self.scenario.subjects);
        let session = self.rng.below(SESSIONS) as usize;
        let (scope, except, kind) = match self.rng.below(3) {
            0 => (names::subject(subject), None, ScopeKind::Subject),
            1 => (
                names::subject(subject),
                Some(names::session(subject, session)),
                ScopeKind::Subject,
            ),
            _ => (names::session(subject, session), None, ScopeKind::Session),
        };
        let now = self.local(start.0);
        let mark = mark(scope, except, kind, now.wall, now.wall);
        self.tally.marks += 1;
        let about = [
            About::Node(start.0),
            About::Channel(scope.slot().channel),
            About::Subject(subject),
        ];
        self.trace.note(self.now, &about, 14, || {
            format!("node {} marks {kind} {subject} up to {}", start.0, now.wall)
        });
        let Some(node) = &self.slots[start.0].node else { return };
        let name = node.name_to_come(scope.slot().channel);
        self.checker.marking(name, mark.key, mark.not_before, kind, subject);
        if let Some(node) = &mut self.slots[start.0].node {
            node.say(now, Body::Mark(mark));
        }
        self.follow_up(start);
    }
}

fn mark(scope: ScopeId, except: Option<ScopeId>, kind: ScopeKind, not_before: Unix, wall: Unix) -> Mark {
    Mark {
        key: MarkKey { scope, except },
        kind,
        not_before,
        expires: to_full_hour(wall + 86_400),
        note: Note {
            at: wall,
            ..Note::default()
        },
    }
}
