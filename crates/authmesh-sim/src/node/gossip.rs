//! What the SDK's driver does for gossip: inputs into the machine, its actions carried out at once and in order, the node's
//! registration, and receipts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use authmesh_proto::commit::{self, Voids};
use authmesh_proto::gossip::{Action, Event, Gossip, GossipConfig, Input, Peer, Registered, VoidId};
use authmesh_proto::ident::{ChannelId, Origin, StatementName};
use authmesh_proto::marks::bucket_of;
use authmesh_proto::statement::{Body, Mark, Statement};
use authmesh_proto::time::{Moment, Now};

use super::{Job, LEASE, Node, Out, PORT_TIMEOUT};
use crate::redis::{Op, Record};
use crate::rules::Control;

/// How long a node waits before it commits what another one said, at least, and how much longer at most.
const HELD: (u64, u64) = (2_000, 4_000);
/// A control: how long the machine is not told what a proof counts on.
const LATE: Duration = Duration::from_secs(8);
/// How soon a registration that could not be written is tried again.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(1);

/// How a node takes part in gossip.
#[derive(Debug, Clone)]
pub struct MeshSetup {
    /// Its machine's periods and limits.
    pub config: GossipConfig,
    /// Where others reach it, and its name.
    pub address: String,
    /// How often its registration is written.
    pub announce: Duration,
}

/// What gossip wants from the world, or tells it.
#[derive(Debug)]
pub enum Said {
    /// To everybody, best effort.
    Broadcast(Vec<u8>),
    /// To a member, by datagram or by stream.
    Ask {
        /// The exchange.
        exchange: u64,
        /// Whom.
        to: Peer,
        /// The request.
        request: Vec<u8>,
        /// By stream.
        large: bool,
    },
    /// To one that asked.
    Answer {
        /// That of the question.
        token: u64,
        /// The answer.
        answer: Vec<u8>,
    },
    /// What the machine tells operators.
    Tell(Event),
    /// A statement of this node is confirmed: by the log, or by everybody.
    Confirmed {
        /// The statement.
        name: StatementName,
        /// By every member of the view, the log left aside.
        whole: bool,
    },
}

/// A record as it was seen.
#[derive(Debug)]
struct Seen {
    sequence: u64,
    since: Moment,
    moves: bool,
}

/// A statement of this node that is not confirmed yet.
#[derive(Debug, Default)]
struct Receipt {
    /// The log has it, and this node's follower has passed it.
    logged: bool,
}

/// A node's part in gossip.
#[derive(Debug)]
pub struct Mesh {
    /// The machine.
    pub machine: Gossip,
    pub(super) has_log: bool,
    me: Peer,
    inputs: VecDeque<Input>,
    busy: bool,
    period: Duration,
    announce_at: Moment,
    last_announce: Moment,
    announcing: bool,
    sequence: u64,
    seen: BTreeMap<Origin, Seen>,
    receipts: BTreeMap<StatementName, Receipt>,
    dirty: Vec<ChannelId>,
    /// A control: what the machine is told too late.
    late: VecDeque<(Moment, Input)>,
    proven: Moment,
}

impl Mesh {
    pub(super) fn new(setup: MeshSetup, origin: Origin, seed: u64, now: Moment) -> Self {
        let me = Peer {
            origin,
            address: setup.address.clone(),
            name: setup.address,
        };
        let config = GossipConfig { seed, ..setup.config };
        Self {
            has_log: config.has_log,
            machine: Gossip::new(config, me.clone(), now),
            me,
            inputs: VecDeque::new(),
            busy: false,
            period: setup.announce,
            announce_at: now,
            last_announce: Moment::ORIGIN,
            announcing: false,
            sequence: 0,
            seen: BTreeMap::new(),
            receipts: BTreeMap::new(),
            dirty: Vec::new(),
            late: VecDeque::new(),
            proven: Moment::ORIGIN,
        }
    }

    pub(super) fn wake_at(&self) -> Moment {
        let announce = match self.announcing || !self.has_log {
            true => Moment::NEVER,
            false => self.announce_at,
        };
        self.machine.poll_timeout().min(announce)
    }

    /// How this node is named to others.
    #[must_use]
    pub const fn me(&self) -> &Peer {
        &self.me
    }

    /// How many own statements wait for their receipts.
    #[must_use]
    pub fn awaited(&self) -> usize {
        self.receipts.len()
    }
}

impl Node {
    /// Something came in for gossip.
    pub fn hear(&mut self, now: Now, input: Input) {
        if let Some(mesh) = &mut self.mesh {
            mesh.inputs.push_back(input);
        }
        self.run_mesh(now);
    }

    pub(super) fn tell_mesh(&mut self, input: Input) {
        if let Some(mesh) = &mut self.mesh {
            mesh.inputs.push_back(input);
        }
    }

    pub(super) fn tick_mesh(&mut self, now: Now) {
        let Some(mesh) = &mut self.mesh else { return };
        while mesh.late.front().is_some_and(|(at, _)| *at <= now.boot) {
            mesh.inputs.extend(mesh.late.pop_front().map(|(_, input)| input));
        }
        mesh.machine.tick(now);
        if mesh.has_log && !mesh.announcing && now.boot >= mesh.announce_at {
            self.announce(now);
        }
        self.run_mesh(now);
    }

    /// Every input in turn; what it wants done is done before the next one.
    pub(super) fn run_mesh(&mut self, now: Now) {
        let Some(mesh) = &mut self.mesh else { return };
        if std::mem::replace(&mut mesh.busy, true) {
            return;
        }
        self.carry_out_mesh(now);
        while let Some(mesh) = &mut self.mesh
            && let Some(input) = mesh.inputs.pop_front()
        {
            mesh.machine.handle(now, input, &self.marks);
            self.carry_out_mesh(now);
        }
        if let Some(mesh) = &mut self.mesh {
            mesh.busy = false;
        }
        self.settle_receipts(now);
        self.publish(now);
    }

    /// The later of both leases.
    pub(super) fn publish(&mut self, now: Now) {
        let Some(mesh) = &self.mesh else {
            self.coherent_until = self.follower_until;
            return;
        };
        let machine = &mesh.machine;
        let until = machine.coherent_until(now.boot, self.follower_until);
        self.coherent_until = match self.rules.off {
            Some(Control::JoinerAtOnce) if !machine.joined() => until.max(self.follower_until),
            Some(Control::RedisLeaseUnregistered) if machine.joined() => until.max(self.follower_until),
            Some(Control::PlainMajority) if machine.joined() => {
                let mut evidence: Vec<_> = machine.members().map(|(_, _, at)| at).collect();
                evidence.sort_unstable_by(|a, b| b.cmp(a));
                let most = evidence
                    .get(evidence.len().div_ceil(2).wrapping_sub(1))
                    .copied()
                    .flatten();
                until.max(most.map_or(Moment::ORIGIN, |at| at.plus(LEASE)))
            }
            _ => until,
        };
    }

    fn carry_out_mesh(&mut self, now: Now) {
        while let Some(action) = self.mesh.as_mut().and_then(|mesh| mesh.machine.poll()) {
            match action {
                Action::Broadcast(item) => self.out.push(Out::Mesh(Said::Broadcast(item))),
                Action::Ask { exchange, to, request } => self.ask(exchange, to, request, false),
                Action::Pull { exchange, to, request } => self.ask(exchange, to, request, true),
                Action::Answer { token, answer } => self.out.push(Out::Mesh(Said::Answer { token, answer })),
                Action::Apply(statement) => self.apply_heard(now, statement),
                Action::Merge(marks) => self.merge(now, marks),
                Action::BumpChannel(channel) => self.fence.bump_channel(channel),
                Action::Soil(channel) => self.soil(now, channel),
                Action::Forget(name) => self.commit_step(now, Some(commit::Input::Forgotten(name))),
                Action::Confirmed { name, whole } => self.on_confirmed(name, whole),
                Action::Tell(event) => {
                    if event == Event::Forgotten
                        && let Some(mesh) = &mut self.mesh
                    {
                        mesh.receipts.clear();
                    }
                    self.out.push(Out::Mesh(Said::Tell(event)));
                }
            }
        }
    }

    fn ask(&mut self, exchange: u64, to: Peer, request: Vec<u8>, large: bool) {
        self.out.push(Out::Mesh(Said::Ask {
            exchange,
            to,
            request,
            large,
        }));
    }

    pub(super) fn has_log(&self) -> bool {
        self.mesh.as_ref().is_none_or(|mesh| mesh.has_log)
    }

    /// A statement that came by gossip: in force here, without a position.
    fn apply_heard(&mut self, now: Now, statement: Statement) {
        self.apply(now, &statement, None);
        if self.rules.off(Control::UnpositionedForgotten) {
            return self.tell_mesh(Input::Logged(statement));
        }
        if self.has_log() {
            let reads_on = self.rules.off(Control::DedupAcrossRoads);
            if let Some(voids) = Voids::of(&statement.body).filter(|_| !reads_on) {
                self.unpositioned.add(voids);
            }
            let wait = Duration::from_millis(self.rng.between(HELD.0, HELD.0 + HELD.1));
            self.commit_step(now, Some(commit::Input::Held(statement, wait)));
        }
    }

    fn merge(&mut self, now: Now, marks: Vec<Mark>) {
        let mut changed = BTreeSet::new();
        for mark in marks {
            let place = (mark.key.scope.slot().channel, bucket_of(mark.expires));
            if self.apply_mark(now, mark, None) {
                changed.insert(place);
            }
        }
        for (channel, bucket) in changed {
            self.tell_mesh(Input::Merged(channel, bucket));
        }
    }

    /// A channel has to be voided whole, everywhere.
    pub(super) fn soil(&mut self, now: Now, channel: ChannelId) {
        if self.has_log() {
            self.follower.soil(channel);
        } else {
            self.fence.bump_channel(channel);
        }
        let id = VoidId(self.rng.bytes());
        self.tell_mesh(Input::Voided(channel, id));
        if self.has_log() {
            self.step(now, None);
        }
    }

    fn on_confirmed(&mut self, name: StatementName, whole: bool) {
        let Some(mesh) = &mut self.mesh else { return };
        let a_majority = self.rules.off(Control::MajorityConfirms) && {
            let all = mesh.machine.members().count() + 1;
            let confirmed = mesh.machine.confirmations(&name).map_or(0, |c| c.confirmed.len());
            2 * (confirmed + 1) > all
        };
        if (whole || a_majority) && mesh.receipts.remove(&name).is_some() {
            mesh.inputs.push_back(Input::Unawait(name));
            self.out.push(Out::Mesh(Said::Confirmed { name, whole: true }));
        }
    }

    /// The log has a statement of this node for good.
    pub(super) fn logged(&mut self, name: StatementName) {
        if let Some(receipt) = self.mesh.as_mut().and_then(|mesh| mesh.receipts.get_mut(&name)) {
            receipt.logged = true;
        }
    }

    pub(super) fn await_receipt(&mut self, statement: Statement) {
        if let Some(mesh) = &mut self.mesh {
            let name = statement.name;
            mesh.receipts.insert(name, Receipt::default());
            mesh.inputs.extend([Input::Said(statement), Input::Await(name)]);
        }
    }

    /// What the log has counts once nobody may hold this node to be gone.
    fn settle_receipts(&mut self, now: Now) {
        let Some(mesh) = &mut self.mesh else { return };
        if !mesh.machine.vouched(now.boot) {
            return;
        }
        let done: Vec<StatementName> = mesh
            .receipts
            .iter()
            .filter(|(_, receipt)| receipt.logged)
            .map(|(name, _)| *name)
            .collect();
        for name in done {
            mesh.receipts.remove(&name);
            mesh.inputs.push_back(Input::Unawait(name));
            self.out.push(Out::Mesh(Said::Confirmed { name, whole: false }));
        }
    }

    /// What the follower did, told in its order; the proof last, since it counts on all of it.
    pub(super) fn tell_followed(&mut self, now: Now, told: Vec<Input>) {
        let Some(mesh) = &mut self.mesh else { return };
        if !mesh.has_log {
            return;
        }
        let dirty: Vec<ChannelId> = ChannelId::all().filter(|id| self.follower.is_dirty(*id)).collect();
        let proven = self.follower_until.as_nanos().checked_sub(LEASE.as_nanos() as u64);
        let proven = proven.map(Moment::from_nanos).filter(|_| self.follower.loaded());
        let mut news = Vec::new();
        if let Some(at) = proven.filter(|at| *at > mesh.proven) {
            mesh.proven = at;
            news.push(Input::Proven(at));
        }
        if self.rules.off(Control::ProvenBeforeApplied) {
            let at = now.boot.plus(LATE);
            mesh.late.extend(told.into_iter().map(|input| (at, input)));
            mesh.inputs.extend(news);
        } else {
            mesh.inputs.extend(told.into_iter().chain(news));
        }
        if dirty != mesh.dirty {
            mesh.dirty.clone_from(&dirty);
            mesh.inputs.push_back(Input::Dirty(dirty));
        }
        self.run_mesh(now);
    }

    fn announce(&mut self, now: Now) {
        let Some(mesh) = &mut self.mesh else { return };
        mesh.announcing = true;
        mesh.last_announce = now.boot;
        mesh.sequence += 1;
        let record = Record {
            address: mesh.me.address.clone(),
            sequence: mesh.sequence,
            view: mesh.machine.vouches_for().into_iter().collect(),
        };
        let op = Op::Announce(mesh.me.origin, record);
        self.start(Job::Announce(now.boot), op, PORT_TIMEOUT);
    }

    pub(super) fn on_announced(&mut self, now: Now, asked: Moment, written: bool) {
        let Some(mesh) = &mut self.mesh else { return };
        mesh.announcing = false;
        mesh.announce_at = match written {
            true => asked.plus(mesh.period),
            false => now.boot.plus(ANNOUNCE_AGAIN),
        };
        if written {
            self.hear(now, Input::Announced(asked));
            self.start(Job::List(now.boot), Op::List, PORT_TIMEOUT);
        }
    }

    pub(super) fn on_listed(&mut self, now: Now, asked: Moment, list: Vec<(Origin, Record)>) {
        let Some(mesh) = &mut self.mesh else { return };
        let me = mesh.me.origin;
        let mut registered = Vec::new();
        for (origin, record) in list {
            let seen = mesh.seen.entry(origin).or_insert(Seen {
                sequence: record.sequence,
                since: asked,
                moves: false,
            });
            if seen.sequence != record.sequence {
                *seen = Seen {
                    sequence: record.sequence,
                    since: asked,
                    moves: true,
                };
            }
            registered.push(Registered {
                still_for: asked.since(seen.since),
                moves: seen.moves,
                knows_me: record.view.contains(&me),
                peer: Peer {
                    origin,
                    address: record.address.clone(),
                    name: record.address,
                },
            });
        }
        self.hear(now, Input::Registered(asked, registered));
    }

    /// The view is another one: others should know.
    pub fn view_changed(&mut self) {
        if let Some(mesh) = &mut self.mesh {
            mesh.announce_at = mesh.announce_at.min(mesh.last_announce.plus(ANNOUNCE_AGAIN));
        }
    }

    /// The node leaves in good order.
    pub fn leave(&mut self, now: Now) {
        if let Some(mesh) = &mut self.mesh {
            mesh.machine.leave(now.boot);
        }
        self.run_mesh(now);
        self.publish(now);
    }

    /// Whether another node's statement was applied before the log brings it.
    pub(super) fn came_by_gossip(&self, name: &StatementName) -> bool {
        let mesh = self.mesh.as_ref().filter(|_| name.origin != self.origin);
        mesh.is_some_and(|mesh| mesh.machine.has_applied(name))
    }

    /// The statement was applied from the log.
    pub(super) fn told_of(&self, statement: &Statement, changed: bool) -> Option<Input> {
        match (&statement.body, statement.name.counter) {
            (Body::Mark(mark), 0) => changed.then(|| Input::Merged(statement.name.channel, bucket_of(mark.expires))),
            _ => Some(Input::Logged(statement.clone())),
        }
    }
}
