//! Redis: the registrations, and the log.

use std::rc::Rc;

use authmesh_proto::gossip::{Input, Registered};
use authmesh_proto::statement::Statement;

use crate::world::{At, Record, STATEMENTS, Said, Seen, World, body, moment, ticks};

impl World {
    /// A node writes its registration, then reads all.
    pub(crate) fn announce(&mut self, at: At) {
        let Some(node) = self.node(at) else { return };
        let record = Record {
            peer: node.peer.clone(),
            written: self.tick,
            view: node.machine.members().map(|(peer, ..)| peer.origin).collect(),
        };
        let me = node.peer.origin;
        self.records.insert(me, Rc::new(record));
        self.input(at, Input::Announced(moment(self.tick)));
        let (tick, records) = (self.tick, self.records.clone());
        let Some(node) = self.node_mut(at) else { return };
        node.announced_now = true;
        let mut list = Vec::new();
        for (origin, record) in &records {
            let seen = node.seen.entry(*origin).or_insert(Seen {
                written: record.written,
                since: tick,
                moves: false,
            });
            if seen.written != record.written {
                *seen = Seen {
                    written: record.written,
                    since: tick,
                    moves: true,
                };
            }
            list.push(Registered {
                peer: record.peer.clone(),
                still_for: ticks(tick - seen.since),
                moves: seen.moves,
                knows_me: record.view.contains(&me),
            });
        }
        self.input(at, Input::Registered(moment(self.tick), list));
    }

    /// A node's follower applies what the log has, and proves that it is current.
    pub(crate) fn prove(&mut self, at: At) {
        for said in 0..STATEMENTS {
            self.pass_logged(at, said);
        }
        let tick = self.tick;
        if let Some(node) = self.node_mut(at) {
            node.proven = Some(tick);
        }
        self.input(at, Input::Proven(moment(tick)));
    }

    /// Whether the log has something that a node's follower has not passed.
    pub(crate) fn lacks_logged(&self, at: At) -> bool {
        let lacks = |said: Said| self.fates[said].logged && self.node(at).is_some_and(|node| !node.passed[said]);
        (0..STATEMENTS).any(lacks)
    }

    fn pass_logged(&mut self, at: At, said: Said) {
        let (Some(name), true) = (self.fates[said].name, self.fates[said].logged) else {
            return;
        };
        let tick = self.tick;
        let Some(node) = self.node_mut(at) else { return };
        if std::mem::replace(&mut node.passed[said], true) {
            return;
        }
        node.applied[said].get_or_insert(tick);
        self.input(at, Input::Logged(Statement { name, body: body(said) }));
    }

    /// A node that holds a statement commits it, and passes it.
    pub(crate) fn commit(&mut self, said: Said, at: At) {
        self.fates[said].logged = true;
        self.pass_logged(at, said);
    }
}
