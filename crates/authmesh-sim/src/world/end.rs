//! What must hold once everything is healed and quiet.

use std::collections::BTreeMap;

use authmesh_proto::ident::{ChannelId, Digest, Origin};
use authmesh_proto::statement::MarkKey;

use super::World;
use crate::clock::SECOND;
use crate::node::{Look, Node};
use crate::trace::About;

impl World {
    pub(super) fn check_end(&mut self) {
        self.now = self.scenario.end;
        self.check_nodes();
        self.check_values();
        self.check_marks();
        if self.scenario.mesh.is_some() {
            self.check_mesh();
        } else {
            self.check_mints();
        }
    }

    fn fail(&mut self, invariant: &'static str, about: Vec<About>, what: String) {
        self.checker.fail(invariant, self.now, about, what);
    }

    fn check_nodes(&mut self) {
        for n in 0..self.slots.len() {
            let now = self.local(n);
            let Some(node) = &self.slots[n].node else { continue };
            // All fields of a node are read before anything is reported.
            let coherent = node.is_coherent(now);
            let waiting = node.commits.len();
            let has_log = self.scenario.mesh.as_ref().is_none_or(|scene| scene.has_log);
            let unsettled = ChannelId::all().find(|id| has_log && node.follower.settled(*id).is_none());
            if node.mesh.as_ref().is_some_and(|mesh| mesh.machine.forgotten()) {
                continue;
            }
            // Without Redis nobody can tell that a member is gone for good: an operator must.
            let waits_for_operator = (!has_log || !self.forgets_soon())
                && node.mesh.as_ref().is_some_and(|mesh| {
                    let lives = |origin| {
                        self.slots
                            .iter()
                            .any(|slot| slot.node.as_ref().is_some_and(|node| node.origin == origin))
                    };
                    mesh.machine.members().any(|(peer, ..)| !lives(peer.origin))
                });
            let about = |channel: Option<ChannelId>| {
                let channel = channel.map(About::Channel);
                channel
                    .into_iter()
                    .chain([About::Node(n), About::Mesh])
                    .collect::<Vec<_>>()
            };
            let healed = (self.scenario.end - self.scenario.calm) / SECOND;
            if let Some(channel) = unsettled {
                let what = format!("node {n} does not follow {channel:?}, {healed} s after the last fault");
                self.fail("liveness: no channel is suspect for ever", about(unsettled), what);
            } else if !coherent && !waits_for_operator && self.are_enough() {
                let what = format!("node {n} is not coherent {healed} s after the last fault");
                self.fail("liveness: healed nodes are coherent", about(None), what);
            } else if waiting > 0 {
                let what =
                    format!("node {n} has {waiting} statements that are not done, {healed} s after the last fault");
                self.fail("liveness: every statement is done", about(None), what);
            }
        }
    }

    fn check_values(&mut self) {
        let owed = self.checker.owed_versions(|(node, start)| self.lives(node, start));
        for n in 0..self.slots.len() {
            let now = self.local(n);
            for (key, owed) in owed.iter().copied().enumerate() {
                let name = self.keys[key].name;
                let Some(node) = &self.slots[n].node else { continue };
                let channel = name.slot().channel;
                let state = self.shards[self.owner[channel.index()]].state(channel);
                let (head, value) = (state.head(), state.value(&name, self.now).cloned());
                let held = node.in_memory(now, key).map(|version| (version, "memory"));
                let shared = match node.look(now, key, head, value, now.boot) {
                    Look::Counts(version) if self.has_log() => Some((version, "L2")),
                    Look::Counts(_) | Look::Void(_) | Look::Nothing => None,
                };
                let stale = held.into_iter().chain(shared).find(|(version, _)| *version < owed);
                if let Some((version, place)) = stale {
                    let what = format!(
                        "healed and quiet, node {n} still answers key {key} from {place} with version {version}; everything \
                         before {owed} was dropped"
                    );
                    let about = vec![About::Node(n), About::Key(key), About::Channel(channel)];
                    self.fail("4: no lost statement is silent", about, what);
                }
            }
        }
    }

    fn lives(&self, node: usize, start: u32) -> bool {
        // Whom an operator forgot is nobody's witness.
        self.slots[node].start == start && self.slots[node].node.as_ref().is_some_and(is_member)
    }

    fn check_marks(&mut self) {
        let owed = self.checker.owed_marks(|(node, start)| self.lives(node, start));
        let newest = |marks: &mut dyn Iterator<Item = (MarkKey, u64)>| {
            let mut out: BTreeMap<MarkKey, u64> = BTreeMap::new();
            for (key, not_before) in marks {
                let newest = out.entry(key).or_insert(0);
                *newest = (*newest).max(not_before);
            }
            out
        };
        let mut places: Vec<(String, Option<usize>, BTreeMap<MarkKey, u64>)> = Vec::new();
        for (n, slot) in self.slots.iter().enumerate() {
            if let Some(node) = slot.node.as_ref().filter(|node| is_member(node)) {
                let mut all = ChannelId::all()
                    .flat_map(|id| node.marks.of_channel(id))
                    .map(|mark| (mark.key, mark.not_before));
                places.push((format!("node {n}"), Some(n), newest(&mut all)));
            }
        }
        if self.has_log() {
            let states = ChannelId::all().map(|id| self.shards[self.owner[id.index()]].state(id));
            let mut marks = states.flat_map(|state| state.marks().map(|mark| (mark.key, mark.not_before)));
            places.push(("the table".to_owned(), None, newest(&mut marks)));
        }
        for (place, node, marks) in places {
            let lacking = owed
                .iter()
                .find(|(key, (not_before, _))| marks.get(key).is_none_or(|held| held < not_before));
            if let Some((key, (not_before, subject))) = lacking {
                let what = format!(
                    "healed and quiet, {place} lacks the mark {:?} up to {not_before}",
                    key.scope
                );
                let mut about = vec![About::Subject(*subject), About::Channel(key.scope.slot().channel)];
                about.extend(node.map(About::Node));
                self.fail("5: marks survive Redis", about, what);
            }
        }
        self.check_digests();
    }

    /// Whether members that never knew somebody are dropped within the life of the world.
    fn forgets_soon(&self) -> bool {
        let limit = self.scenario.mesh.as_ref().map(|scene| scene.redis_limit.as_secs());
        limit.is_none_or(|limit| limit < 60)
    }

    /// Without a log: whether so many live as call themselves a cluster.
    fn are_enough(&self) -> bool {
        // Whom an operator forgot is no member any more: it does not count until it is started anew.
        let alive = self.slots.iter().filter_map(|slot| slot.node.as_ref());
        let alive = alive.filter(|node| is_member(node)).count();
        let scene = self.scenario.mesh.as_ref().filter(|scene| !scene.has_log);
        scene.is_none_or(|scene| alive >= scene.expect)
    }

    fn has_log(&self) -> bool {
        self.scenario.mesh.as_ref().is_none_or(|scene| scene.has_log)
    }

    /// Views are alike, nobody waits for anything, and nothing has grown.
    fn check_mesh(&mut self) {
        let mut found: Vec<(&'static str, usize, String)> = Vec::new();
        let alive: Vec<Origin> = self
            .slots
            .iter()
            .filter_map(|slot| slot.node.as_ref())
            .filter(|node| is_member(node))
            .map(|node| node.origin)
            .collect();
        for (n, slot) in self.slots.iter().enumerate() {
            let Some((node, mesh)) = slot.node.as_ref().and_then(|node| Some((node, node.mesh.as_ref()?))) else {
                continue;
            };
            let machine = &mesh.machine;
            if machine.forgotten() {
                continue;
            }
            let view: Vec<Origin> = machine.members().map(|(peer, ..)| peer.origin).collect();
            let lacks = alive
                .iter()
                .find(|origin| **origin != node.origin && !view.contains(origin));
            let dead = view
                .iter()
                .find(|origin| !alive.contains(origin))
                .filter(|_| self.has_log() && self.forgets_soon());
            if let Some(origin) = lacks {
                found.push((
                    "gossip: everybody knows everybody",
                    n,
                    format!("lacks {origin:?} in its view"),
                ));
            } else if let Some(origin) = dead {
                found.push((
                    "gossip: the dead are dropped",
                    n,
                    format!("still has {origin:?} in its view"),
                ));
            } else if mesh.awaited() > 0 && self.has_log() && machine.joined() && self.forgets_soon() {
                let what = format!("still waits for {} receipts", mesh.awaited());
                found.push(("liveness: every statement is confirmed", n, what));
            }
        }
        for (invariant, n, what) in found {
            let what = format!("healed and quiet, node {n} {what}");
            self.fail(invariant, vec![About::Mesh, About::Node(n)], what);
        }
    }

    fn check_digests(&mut self) {
        for id in ChannelId::all() {
            let state = self.shards[self.owner[id.index()]].state(id);
            let head = state.head().map_or(Digest::EMPTY, |head| head.root);
            if self.has_log() && head != state.root() {
                let what = format!("the head of {id:?} has not the digest of its table");
                self.fail("5: digests are equal", vec![About::Channel(id)], what);
            }
            let roots: Vec<(usize, Digest)> = self
                .slots
                .iter()
                .enumerate()
                .filter_map(|(n, slot)| Some((n, slot.node.as_ref()?)))
                .filter(|(_, node)| is_member(node))
                .map(|(n, node)| (n, node.marks.root(id)))
                .collect();
            if let Some(((a, _), (b, _))) = roots.iter().zip(roots.iter().skip(1)).find(|(a, b)| a.1 != b.1) {
                let what = format!("nodes {a} and {b} have different marks in {id:?}");
                self.fail("5: digests are equal", vec![About::Channel(id)], what);
            }
        }
    }

    fn check_mints(&mut self) {
        for (channel, (mints, reasons)) in self.mints.clone().into_iter().enumerate() {
            if mints > reasons {
                let what = format!("channel {channel} was minted {mints} times for {reasons} reasons");
                let about = ChannelId::new(channel as u8).map(About::Repair);
                self.fail("liveness: mints are bounded", about.into_iter().collect(), what);
            }
        }
    }
}

/// Whether no operator has forgotten it.
fn is_member(node: &Node) -> bool {
    node.mesh.as_ref().is_none_or(|mesh| !mesh.machine.forgotten())
}
