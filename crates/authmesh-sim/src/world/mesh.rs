//! The network of gossip: datagrams that get lost, doubled and overtaken, streams that break, broadcasts that miss, and a
//! stand-in for SWIM that is late and makes mistakes.

use authmesh_proto::gossip::message::Answer;
use authmesh_proto::gossip::{Event as Told, GossipConfig, Input, Peer};
use authmesh_proto::ident::{Origin, StatementName};

use super::{Event, World};
use crate::clock::{MS, SECOND, True};
use crate::node::{MeshSetup, Said};
use crate::rules::Control;
use crate::scenario::{MeshScene, Way};
use crate::trace::About;

/// How long an answer is waited for: by datagram, by stream.
const PATIENCE: (True, True) = (SECOND, 5 * SECOND);
/// The most that an answer may have, in bytes: by datagram, by stream.
const LIMITS: (usize, usize) = (1200, 1 << 20);
/// How often the stand-in for SWIM looks.
const SWIM_PERIOD: True = 400 * MS;
/// How long a node that leaves waits for its statements to be done.
const DRAIN: True = 2 * SECOND;

/// A control: the digest of a view in which nobody is.
const EMPTY_VIEW: u64 = 0;

type Start = (usize, u32);

/// What happens in the network of gossip.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A request reaches a member.
    Asked {
        to: Origin,
        from: Start,
        peer: Peer,
        exchange: u64,
        request: Vec<u8>,
        large: bool,
    },
    /// An answer is back, or its time is over.
    Answered(u64, Option<Vec<u8>>),
    Item(Vec<u8>),
    Up(Peer),
    Down(Origin),
    Gone(Origin),
    /// A node that leaves looks whether its statements are done.
    Leave(True),
    /// It has left.
    Left,
}

/// One that asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    start: Start,
    exchange: u64,
    by: usize,
    large: bool,
}

/// A path that is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    from: usize,
    to: usize,
    until: True,
}

/// Everything that the world knows of gossip.
#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) cuts: Vec<Cut>,
    asked: std::collections::BTreeMap<u64, Asker>,
    next_token: u64,
    /// Per observer and node, whom the observer's SWIM holds to be there, and how often it was not heard since.
    found: std::collections::BTreeMap<(usize, usize), (Origin, u32)>,
    /// Bytes sent, and datagrams and streams.
    pub(super) sent: (u64, u64),
}

impl World {
    fn scene(&self) -> Option<&MeshScene> {
        self.scenario.mesh.as_ref()
    }

    pub(super) fn setup_of(&self, node: usize) -> Option<MeshSetup> {
        let scene = self.scene()?;
        Some(MeshSetup {
            config: match self.off(Control::DroppedEarly) {
                true => GossipConfig {
                    gone_after: std::time::Duration::from_millis(500),
                    ..scene.config()
                },
                false => scene.config(),
            },
            address: address(node),
            announce: scene.announce,
        })
    }

    /// Whether anything gets from one node to another now.
    fn passes(&self, from: usize, to: usize) -> bool {
        let cut = |cut: &Cut| (cut.from, cut.to) == (from, to) && self.now < cut.until;
        !self.network.cuts.iter().any(cut)
    }

    fn lost(&mut self) -> bool {
        let loss = self.scene().map_or(0, |scene| scene.loss);
        self.now < self.scenario.calm && self.rng.per_mille(loss)
    }

    fn hop(&mut self) -> True {
        let (low, high) = self.scene().map_or((MS, MS), |scene| scene.latency);
        self.rng.between(low, high)
    }

    pub(super) fn said(&mut self, start: Start, said: Said) {
        match said {
            Said::Broadcast(item) => self.broadcast(start, &item),
            Said::Ask {
                exchange,
                to,
                request,
                large,
            } => self.ask(start, exchange, &to, request, large),
            Said::Answer { token, answer } => self.answer(start, token, answer),
            Said::Tell(told) => self.told_by_mesh(start, &told),
            Said::Confirmed { name, whole } => self.confirmed(start.0, name, whole),
        }
    }

    fn confirmed(&mut self, node: usize, name: StatementName, whole: bool) {
        let mut about = vec![About::Node(node), About::Channel(name.channel)];
        about.extend(self.checker.keys_of(&name).map(About::Key));
        self.trace.note(self.now, &about, 15, || {
            let by = if whole { "by the whole view" } else { "by the log" };
            format!("{:?} {} of node {node} is confirmed {by}", name.channel, name.counter)
        });
        match whole {
            true => self.tally.whole += 1,
            false => self.tally.committed += 1,
        }
        self.checker.confirmed(name, self.now, whole);
    }

    fn told_by_mesh(&mut self, start: Start, told: &Told) {
        match told {
            Told::LostStatement(_) => self.tally.lost_statements += 1,
            Told::Joined(_) | Told::Left(_) => {
                if let Some(node) = &mut self.slots[start.0].node {
                    node.view_changed();
                }
            }
            _ => {}
        }
        self.trace.note(self.now, &[About::Node(start.0), About::Mesh], 16, || {
            format!("node {} tells {told:?}", start.0)
        });
    }

    fn origin_of(&self, node: usize) -> Option<Origin> {
        self.slots[node].node.as_ref().map(|node| node.origin)
    }

    fn ask(&mut self, start: Start, exchange: u64, to: &Peer, request: Vec<u8>, large: bool) {
        let patience = if large { PATIENCE.1 } else { PATIENCE.0 };
        self.mesh_after(patience, start, Step::Answered(exchange, None));
        self.network.sent.0 += request.len() as u64;
        self.network.sent.1 += 1;
        let Some(node) = node_at(&to.address).filter(|node| *node < self.slots.len()) else {
            return;
        };
        let Some(peer) = self.slots[start.0].node.as_ref().and_then(|node| node.mesh.as_ref()) else {
            return;
        };
        let step = Step::Asked {
            to: to.origin,
            from: start,
            peer: peer.me().clone(),
            exchange,
            request,
            large,
        };
        let copies = match large {
            true => 1,
            false => 1 + u64::from(self.doubled()),
        };
        for _ in 0..copies {
            let lost = !large && self.lost();
            if self.passes(start.0, node) && !lost {
                let delay = self.hop();
                let to = (node, self.slots[node].start);
                self.mesh_after(delay, to, step.clone());
            }
        }
    }

    fn doubled(&mut self) -> bool {
        let doubles = self.scene().map_or(0, |scene| scene.doubles);
        self.rng.per_mille(doubles)
    }

    fn answer(&mut self, start: Start, token: u64, answer: Vec<u8>) {
        let Some(asker) = self.network.asked.remove(&token) else {
            return;
        };
        self.network.sent.0 += answer.len() as u64;
        self.network.sent.1 += 1;
        let lost = !asker.large && self.lost();
        // A stream has two directions.
        let broken = asker.large && !self.passes(asker.start.0, start.0);
        if !self.passes(start.0, asker.start.0) || lost || broken || asker.by != start.0 {
            return;
        }
        let delay = self.hop();
        let step = Step::Answered(asker.exchange, Some(answer));
        if !asker.large && self.doubled() {
            let later = self.hop();
            self.mesh_after(later, asker.start, step.clone());
        }
        self.mesh_after(delay, asker.start, step);
    }

    fn broadcast(&mut self, start: Start, item: &[u8]) {
        let misses = self.scene().map_or(1000, |scene| scene.misses);
        for node in (0..self.slots.len()).filter(|node| *node != start.0) {
            if self.slots[node].node.is_none() || self.rng.per_mille(misses) || !self.passes(start.0, node) {
                continue;
            }
            let delay = self.hop() + self.rng.below(300 * MS);
            let to = (node, self.slots[node].start);
            self.mesh_after(delay, to, Step::Item(item.to_vec()));
            if self.doubled() {
                self.mesh_after(delay + 50 * MS, to, Step::Item(item.to_vec()));
            }
        }
    }

    fn mesh_after(&mut self, delay: True, start: Start, step: Step) {
        self.after(delay, Event::Mesh(start, step));
    }

    /// Something reaches a node.
    pub(super) fn mesh_step(&mut self, start: Start, step: Step) {
        match step {
            Step::Asked {
                to,
                from,
                peer,
                exchange,
                request,
                large,
            } => {
                // What is sealed for another start of it is refused.
                if self.origin_of(start.0) != Some(to) {
                    return;
                }
                self.network.next_token += 1;
                let token = self.network.next_token;
                let by = start.0;
                let asker = Asker {
                    start: from,
                    exchange,
                    by,
                    large,
                };
                self.network.asked.insert(token, asker);
                let limit = if large { LIMITS.1 } else { LIMITS.0 };
                let input = Input::Asked {
                    token,
                    from: peer,
                    request,
                    limit,
                };
                self.give(start, input);
            }
            Step::Answered(exchange, answer) => {
                let answer = answer.map(|answer| altered(self.rules.off, answer));
                self.give(start, Input::Answered { exchange, answer });
            }
            Step::Item(item) => self.give(start, Input::Item(item)),
            Step::Up(peer) => self.give(start, Input::Up(peer)),
            Step::Down(origin) => self.give(start, Input::Down(origin)),
            Step::Gone(origin) => self.give(start, Input::Gone(origin)),
            Step::Leave(since) => self.leave(start, since),
            Step::Left => {
                if self.slots[start.0].start == start.1 {
                    self.end_of(start.0);
                }
            }
        }
    }

    fn give(&mut self, start: Start, input: Input) {
        let now = self.local(start.0);
        let slot = &mut self.slots[start.0];
        if slot.start != start.1 {
            return;
        }
        if let Some(node) = &mut slot.node {
            node.hear(now, input);
        }
        self.follow_up(start);
    }

    /// The stand-in for SWIM looks at every pair.
    pub(super) fn swim(&mut self) {
        self.after(SWIM_PERIOD, Event::Swim);
        let Some(scene) = self.scene() else { return };
        let (indirect, mistakes, patience) = (scene.indirect, scene.mistakes, scene.patience);
        for by in 0..self.slots.len() {
            if self.slots[by].node.is_none() || self.slots[by].suspended_until > self.now {
                continue;
            }
            for other in (0..self.slots.len()).filter(|other| *other != by) {
                self.look_at(by, other, indirect, mistakes, patience);
            }
        }
    }

    fn look_at(&mut self, by: usize, other: usize, indirect: bool, mistakes: u64, patience: u32) {
        let both = |world: &Self, a: usize, b: usize| world.passes(a, b) && world.passes(b, a);
        let there = self.slots[other].suspended_until <= self.now && !self.slots[other].leaving;
        let peer = self.slots[other].node.as_ref().filter(|_| there);
        let peer = peer.and_then(|node| node.mesh.as_ref()).map(|mesh| mesh.me().clone());
        let reached = peer.filter(|_| {
            both(self, by, other)
                || indirect
                    && (0..self.slots.len()).any(|third| {
                        third != by
                            && third != other
                            && self.slots[third].node.is_some()
                            && both(self, by, third)
                            && both(self, third, other)
                    })
        });
        let start = (by, self.slots[by].start);
        let found = self.network.found.get(&(by, other)).copied();
        let delay = self.rng.below(300 * MS);
        let mistaken = self.now < self.scenario.calm && self.rng.per_mille(mistakes);
        match (reached, found) {
            (Some(peer), Some((origin, _))) if peer.origin == origin => {
                if mistaken {
                    self.network.found.remove(&(by, other));
                    self.mesh_after(delay, start, Step::Down(origin));
                } else {
                    self.network.found.insert((by, other), (origin, 0));
                }
            }
            (Some(peer), _) => {
                if !mistaken && self.rng.per_mille(600) {
                    self.network.found.insert((by, other), (peer.origin, 0));
                    self.mesh_after(delay, start, Step::Up(peer));
                }
            }
            (None, Some((origin, missed))) if missed >= patience => {
                self.network.found.remove(&(by, other));
                self.mesh_after(delay, start, Step::Down(origin));
            }
            (None, Some((origin, missed))) => {
                self.network.found.insert((by, other), (origin, missed + 1));
            }
            (None, None) => {}
        }
    }

    /// Whom a node found is nobody's knowledge any more: it starts anew.
    pub(super) fn forget_found(&mut self, node: usize) {
        self.network.found.retain(|(by, _), _| *by != node);
    }

    pub(super) fn split(&mut self, sides: u64, way: Way, bridge: Option<usize>, until: True) {
        let end = (self.now + until).min(self.scenario.calm);
        let side = |node: usize| sides >> (node % 64) & 1 == 1;
        let nodes = self.slots.len();
        for from in 0..nodes {
            for to in (0..nodes).filter(|to| side(*to) != side(from)) {
                let bridged = bridge == Some(from) || bridge == Some(to);
                let hit = match way {
                    Way::Both => true,
                    Way::Out => side(from),
                    Way::In => !side(from),
                };
                if hit && !bridged {
                    self.network.cuts.push(Cut { from, to, until: end });
                }
            }
        }
    }

    pub(super) fn cut(&mut self, one: usize, other: usize, until: True) {
        let until = (self.now + until).min(self.scenario.calm);
        for (from, to) in [(one, other), (other, one)] {
            self.network.cuts.push(Cut { from, to, until });
        }
    }

    /// One that leaves takes no callers any more, and waits a while for its statements.
    pub(super) fn leaves(&mut self, node: usize) {
        if self.slots[node].node.is_some() && !self.slots[node].leaving {
            self.slots[node].leaving = true;
            let start = (node, self.slots[node].start);
            self.mesh_after(0, start, Step::Leave(self.now));
        }
    }

    fn leave(&mut self, start: Start, since: True) {
        let now = self.local(start.0);
        let slot = &mut self.slots[start.0];
        if slot.start != start.1 {
            return;
        }
        let Some(node) = &mut slot.node else { return };
        let waits = !node.commits.is_empty() || node.mesh.as_ref().is_some_and(|mesh| mesh.awaited() > 0);
        if waits && self.now < since + DRAIN {
            return self.mesh_after(50 * MS, start, Step::Leave(since));
        }
        node.leave(now);
        let origin = node.origin;
        for other in (0..self.slots.len()).filter(|other| *other != start.0) {
            if self.slots[other].node.is_some() && self.passes(start.0, other) && self.rng.per_mille(800) {
                let to = (other, self.slots[other].start);
                let delay = self.hop();
                self.mesh_after(delay, to, Step::Gone(origin));
            }
        }
        self.mesh_after(500 * MS, start, Step::Left);
    }

    /// An operator forgets the start of a node that lived there last.
    pub(super) fn forget(&mut self, node: usize) {
        let Some(origin) = self.slots[node].last else { return };
        let alive: Vec<usize> = (0..self.slots.len())
            .filter(|other| *other != node && self.slots[*other].node.is_some() && !self.slots[*other].leaving)
            .collect();
        if alive.is_empty() {
            return;
        }
        let at = alive[self.rng.index(alive.len())];
        let shard = self.owner[0];
        if self.now >= self.shards[shard].down_until {
            self.shards[shard].strike(&origin);
        }
        self.give((at, self.slots[at].start), Input::Gone(origin));
    }
}

fn address(node: usize) -> String {
    format!("n{node}")
}

fn node_at(address: &str) -> Option<usize> {
    address.strip_prefix('n')?.parse().ok()
}

/// A control alters what members say.
fn altered(off: Option<Control>, bytes: Vec<u8>) -> Vec<u8> {
    let Ok(mut answer) = Answer::decode(&bytes) else {
        return bytes;
    };
    match (off, &mut answer) {
        (Some(Control::AgesLost), Answer::Tell(tell)) => {
            tell.state.evidence.fill(0);
            tell.state.redis_age = tell.state.redis_age.map(|_| 0);
        }
        (Some(Control::NoAntiEntropy), Answer::Tell(tell)) => {
            tell.state.said = 0;
            tell.changes = Some(Vec::new());
            tell.statements.clear();
        }
        (Some(Control::ViewsNotCompared), Answer::Tell(tell)) => tell.state.view = EMPTY_VIEW,
        (Some(Control::ViewsNotCompared), Answer::Everything { state, .. }) => state.view = EMPTY_VIEW,
        (Some(Control::ViewsNotCompared), Answer::View { members, gone }) => {
            members.clear();
            gone.clear();
        }
        _ => return bytes,
    }
    answer.encode()
}
