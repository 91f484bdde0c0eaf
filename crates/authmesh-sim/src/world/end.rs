//! What must hold once everything is healed and quiet.

use std::collections::BTreeMap;

use authmesh_proto::ident::{ChannelId, Digest};
use authmesh_proto::statement::MarkKey;

use super::World;
use crate::clock::SECOND;
use crate::node::Look;
use crate::trace::About;

impl World {
    pub(super) fn check_end(&mut self) {
        self.now = self.scenario.end;
        self.check_nodes();
        self.check_values();
        self.check_marks();
        self.check_mints();
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
            let unsettled = ChannelId::all().find(|id| node.follower.settled(*id).is_none());
            let about = |channel: Option<ChannelId>| {
                let channel = channel.map(About::Channel);
                channel.into_iter().chain([About::Node(n)]).collect::<Vec<_>>()
            };
            let healed = (self.scenario.end - self.scenario.calm) / SECOND;
            if let Some(channel) = unsettled {
                let what = format!("node {n} does not follow {channel:?}, {healed} s after the last fault");
                self.fail("liveness: no channel is suspect for ever", about(unsettled), what);
            } else if !coherent {
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
                    Look::Counts(version) => Some((version, "L2")),
                    Look::Void(_) | Look::Nothing => None,
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
        self.slots[node].start == start && self.slots[node].node.is_some()
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
            if let Some(node) = &slot.node {
                let mut all = ChannelId::all()
                    .flat_map(|id| node.marks.of_channel(id))
                    .map(|mark| (mark.key, mark.not_before));
                places.push((format!("node {n}"), Some(n), newest(&mut all)));
            }
        }
        let table = {
            let states = ChannelId::all().map(|id| self.shards[self.owner[id.index()]].state(id));
            let mut marks = states.flat_map(|state| state.marks().map(|mark| (mark.key, mark.not_before)));
            newest(&mut marks)
        };
        places.push(("the table".to_owned(), None, table));
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

    fn check_digests(&mut self) {
        for id in ChannelId::all() {
            let state = self.shards[self.owner[id.index()]].state(id);
            let head = state.head().map_or(Digest::EMPTY, |head| head.root);
            if head != state.root() {
                let what = format!("the head of {id:?} has not the digest of its table");
                self.fail("5: digests are equal", vec![About::Channel(id)], what);
            }
            let roots: Vec<(usize, Digest)> = self
                .slots
                .iter()
                .enumerate()
                .filter_map(|(n, slot)| Some((n, slot.node.as_ref()?.marks.root(id))))
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
