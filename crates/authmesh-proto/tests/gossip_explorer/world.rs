//! The world: nodes with the real gossip machine, what is on its way between them, and Redis.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use authmesh_proto::gossip::{Action, Event as Told, Gossip, GossipConfig, Input, Peer, Speaks};
use authmesh_proto::ident::{EntryName, Origin, StatementName};
use authmesh_proto::marks::Marks;
use authmesh_proto::statement::{Body, KINDS, Statement};
use authmesh_proto::time::{Moment, Now};
use authmesh_proto::wire::VERSION;

use crate::scenarios::{Control, Scenario};
use crate::tamper;

/// A node's place: a restart has the same one.
pub(crate) type At = usize;
/// A statement of the scenario.
pub(crate) type Said = usize;
/// So many ticks since the beginning.
pub(crate) type Tick = u64;

/// The most nodes, and the most statements.
pub(crate) const NODES: usize = 4;
pub(crate) const STATEMENTS: usize = 2;

/// How long a tick is. A node asks everybody once in each.
const TICK: Duration = Duration::from_secs(1);
const BEGIN: Tick = 1000;
const WALL: u64 = 1_700_000_000;

pub(crate) const fn ticks(ticks: u64) -> Duration {
    Duration::from_secs(ticks)
}

pub(crate) fn moment(tick: Tick) -> Moment {
    Moment::ORIGIN.plus(TICK.saturating_mul((BEGIN + tick) as u32))
}

pub(crate) fn tick_of(at: Moment) -> Tick {
    at.since(moment(0)).as_secs()
}

/// How a node of a start is called.
pub(crate) fn peer(at: At, start: u8) -> Peer {
    Peer {
        origin: Origin([1 + at as u8 + 16 * start; 16]),
        address: format!("10.0.0.{at}:7946"),
        name: format!("n{at}"),
    }
}

/// What a reader of the registrations has seen of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) written: Tick,
    pub(crate) since: Tick,
    pub(crate) moves: bool,
}

/// A registration in Redis.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) peer: Peer,
    pub(crate) written: Tick,
    pub(crate) view: Vec<Origin>,
}

/// A node that runs.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) machine: Gossip,
    pub(crate) peer: Peer,
    /// When it applied each statement, or voided its channel.
    pub(crate) applied: [Option<Tick>; STATEMENTS],
    /// What its follower has passed.
    pub(crate) passed: [bool; STATEMENTS],
    /// Its newest proof by Redis.
    pub(crate) proven: Option<Tick>,
    /// What it has done in this tick.
    pub(crate) announced_now: bool,
    pub(crate) seen: BTreeMap<Origin, Seen>,
    pub(crate) forgotten: bool,
}

/// A question on its way, or its answer.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) from: At,
    pub(crate) to: At,
    pub(crate) large: bool,
    pub(crate) exchange: u64,
    pub(crate) sent: Tick,
    pub(crate) request: Rc<[u8]>,
    pub(crate) answer: Option<Rc<[u8]>>,
}

/// What became of a statement.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fate {
    pub(crate) name: Option<StatementName>,
    pub(crate) logged: bool,
    /// When its receipt was given.
    pub(crate) confirmed: Option<Tick>,
}

/// How often what is rare may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Budget {
    pub(crate) crash: u8,
    pub(crate) restart: u8,
    pub(crate) join: u8,
    pub(crate) forget: u8,
    pub(crate) leave: u8,
    pub(crate) down: u8,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) tick: Tick,
    pub(crate) nodes: [Option<Rc<Node>>; NODES],
    pub(crate) starts: [u8; NODES],
    pub(crate) calls: Vec<Call>,
    pub(crate) fates: [Fate; STATEMENTS],
    pub(crate) records: BTreeMap<Origin, Rc<Record>>,
    pub(crate) budget: Budget,
    pub(crate) control: Option<Control>,
}

thread_local! {
    /// Statements here are drops of entries: no table of marks ever differs.
    static MARKS: Marks = Marks::new(16);
}

pub(crate) fn body(said: Said) -> Body {
    Body::Drop(EntryName([1 + said as u8 * 97; 32]))
}

impl World {
    /// The members of a scenario, each in the view of all others, coherent for long.
    pub(crate) fn settled(scenario: &Scenario) -> Self {
        let mut world = Self {
            tick: 0,
            nodes: Default::default(),
            starts: [0; NODES],
            calls: Vec::new(),
            fates: Default::default(),
            records: BTreeMap::new(),
            budget: scenario.budget,
            control: scenario.control,
        };
        for at in 0..scenario.members {
            world.start(scenario, at);
        }
        let all = (u8::MAX, u8::MAX);
        for _ in 0..scenario.settle {
            world.round(scenario, u16::MAX, all, false, false);
        }
        for at in 0..scenario.members {
            assert!(
                world.really_coherent(at),
                "{}: node {at} at the beginning",
                scenario.name
            );
        }
        for _ in 0..scenario.without_redis {
            world.round(scenario, u16::MAX, (0, 0), false, false);
        }
        for _ in 0..scenario.apart {
            let others = (!1, !1);
            let links = scenario.links_always;
            world.round(scenario, links, others, true, false);
        }
        world.begin_again();
        world
    }

    fn begin_again(&mut self) {
        self.calls.retain(|call| call.sent == self.tick);
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            boot: moment(self.tick),
            wall: WALL + self.tick,
        }
    }

    pub(crate) fn node(&self, at: At) -> Option<&Node> {
        self.nodes[at].as_deref()
    }

    pub(crate) fn node_mut(&mut self, at: At) -> Option<&mut Node> {
        self.nodes[at].as_mut().map(Rc::make_mut)
    }

    pub(crate) fn place_of(&self, origin: &Origin) -> Option<At> {
        (0..NODES).find(|at| self.node(*at).is_some_and(|node| node.peer.origin == *origin))
    }

    pub(crate) fn start(&mut self, scenario: &Scenario, at: At) {
        let peer = peer(at, self.starts[at]);
        let config = GossipConfig {
            seed: at as u64,
            ..scenario.config()
        };
        self.nodes[at] = Some(Rc::new(Node {
            machine: Gossip::new(config, peer.clone(), moment(self.tick)),
            peer,
            applied: [None; STATEMENTS],
            passed: [false; STATEMENTS],
            proven: None,
            announced_now: false,
            seen: BTreeMap::new(),
            forgotten: false,
        }));
        self.tick_node(at);
    }

    pub(crate) fn stop(&mut self, at: At) {
        self.nodes[at] = None;
        self.calls
            .retain(|call| call.from != at && (call.to != at || call.answer.is_some()));
    }

    fn tick_node(&mut self, at: At) {
        let now = self.now();
        if let Some(node) = self.node_mut(at) {
            node.machine.tick(now);
        }
        self.carry_out(at);
    }

    /// A node is told something; it does what it wants at once. Returns its answer, if it was asked.
    pub(crate) fn input(&mut self, at: At, input: Input) -> Option<Vec<u8>> {
        let now = self.now();
        let node = self.node_mut(at)?;
        MARKS.with(|marks| node.machine.handle(now, input, marks));
        self.carry_out(at)
    }

    fn carry_out(&mut self, at: At) -> Option<Vec<u8>> {
        let mut answered = None;
        loop {
            let tick = self.tick;
            let node = self.node_mut(at)?;
            let Some(action) = node.machine.poll() else { break };
            match action {
                Action::Apply(statement) => {
                    if let Some(said) = self.said(&statement.name) {
                        let node = self.node_mut(at)?;
                        node.applied[said].get_or_insert(tick);
                    }
                }
                Action::BumpChannel(channel) => {
                    for said in 0..STATEMENTS {
                        if body(said).slot().channel == channel && self.fates[said].name.is_some() {
                            let node = self.node_mut(at)?;
                            node.applied[said].get_or_insert(tick);
                        }
                    }
                }
                Action::Ask { exchange, to, request } => self.call(at, &to, exchange, request, false),
                Action::Pull { exchange, to, request } => self.call(at, &to, exchange, request, true),
                Action::Answer { answer, .. } => answered = Some(answer),
                Action::Confirmed { name, whole } => self.on_confirmed(at, name, whole),
                Action::Tell(Told::Forgotten) => node.forgotten = true,
                Action::Tell(Told::Malformed(_) | Told::Lied(_)) => unreachable!("a member is broken"),
                Action::Merge(marks) => assert!(marks.is_empty(), "there are no marks here"),
                // A broadcast is a question's load that may come at any time: the question brings it too.
                Action::Broadcast(_) | Action::Soil(_) | Action::Forget(_) | Action::Tell(_) => {}
            }
        }
        self.settle_receipts(at);
        answered
    }

    fn said(&self, name: &StatementName) -> Option<Said> {
        (0..STATEMENTS).find(|said| self.fates[*said].name.as_ref() == Some(name))
    }

    fn call(&mut self, from: At, to: &Peer, exchange: u64, request: Vec<u8>, large: bool) {
        let Some(to) = self.place_of(&to.origin) else {
            // Nobody is there, or another start: the answer never comes.
            return self.unanswered(from, exchange);
        };
        // The newer question has all of the older one.
        let older = self
            .calls
            .iter()
            .position(|call| (call.from, call.to, call.large, call.sent) == (from, to, large, self.tick));
        if let Some(older) = older {
            let older = self.calls.remove(older);
            self.unanswered(from, older.exchange);
        }
        self.calls.push(Call {
            from,
            to,
            large,
            exchange,
            sent: self.tick,
            request: request.into(),
            answer: None,
        });
        self.calls
            .sort_by_key(|call| (call.from, call.to, call.large, call.sent));
    }

    fn unanswered(&mut self, at: At, exchange: u64) {
        let now = self.now();
        if let Some(node) = self.node_mut(at) {
            let input = Input::Answered { exchange, answer: None };
            MARKS.with(|marks| node.machine.handle(now, input, marks));
        }
    }

    /// Time goes on; what was not answered is lost, but for slow calls.
    pub(crate) fn pass(&mut self, scenario: &Scenario) {
        let patience = u64::from(scenario.slow);
        let tick = self.tick;
        let (lost, kept): (Vec<Call>, Vec<Call>) =
            self.calls.drain(..).partition(|call| call.sent + patience < tick + 1);
        self.calls = kept;
        for call in lost {
            self.unanswered(call.from, call.exchange);
            self.carry_out(call.from);
        }
        self.tick += 1;
        for at in 0..NODES {
            if let Some(node) = self.node_mut(at) {
                node.announced_now = false;
                self.tick_node(at);
            }
        }
    }

    /// A question reaches whom it is for. `false`: it is lost.
    pub(crate) fn reach(&mut self, index: usize) -> bool {
        let call = self.calls[index].clone();
        let from = self.node(call.from).map(|node| node.peer.clone());
        let Some(from) = from else { return false };
        let input = Input::Asked {
            token: 0,
            from,
            request: call.request.to_vec(),
            limit: if call.large { 1 << 20 } else { 1200 },
        };
        let Some(answer) = self.input(call.to, input) else {
            return false;
        };
        let place = |other: &Call| (other.from, other.exchange) == (call.from, call.exchange);
        if let Some(call) = self.calls.iter_mut().find(|other| place(other)) {
            call.answer = Some(answer.into());
        }
        true
    }

    /// An answer arrives.
    pub(crate) fn answer(&mut self, index: usize) {
        let call = self.calls.remove(index);
        let Some(answer) = call.answer else { return };
        let answer = tamper::answer(self, call.from, call.to, &answer);
        let input = Input::Answered {
            exchange: call.exchange,
            answer: Some(answer),
        };
        self.input(call.from, input);
    }

    /// A question is heard; its answer is lost.
    pub(crate) fn half_exchange(&mut self, index: usize) {
        let (from, exchange) = (self.calls[index].from, self.calls[index].exchange);
        self.reach(index);
        self.calls.retain(|call| (call.from, call.exchange) != (from, exchange));
        self.unanswered(from, exchange);
        self.carry_out(from);
    }

    /// A question, its answer, and all that follows from it by stream.
    pub(crate) fn exchange(&mut self, index: usize) {
        let (from, to) = (self.calls[index].from, self.calls[index].to);
        let mut index = Some(index);
        while let Some(at) = index {
            let exchange = self.calls[at].exchange;
            let reached = self.reach(at);
            let at = self
                .calls
                .iter()
                .position(|call| (call.from, call.exchange) == (from, exchange));
            match (reached, at) {
                (true, Some(at)) => self.answer(at),
                (_, Some(at)) => {
                    self.calls.remove(at);
                    self.unanswered(from, exchange);
                    self.carry_out(from);
                }
                (_, None) => {}
            }
            index = self
                .calls
                .iter()
                .position(|call| (call.from, call.to, call.large) == (from, to, true) && call.answer.is_none());
        }
    }

    /// A whole tick at once: SWIM as the links are, Redis for some, questions over the links that there are.
    pub(crate) fn round(&mut self, scenario: &Scenario, links: u16, redis: (u8, u8), swim: bool, backwards: bool) {
        self.pass(scenario);
        for (bit, (a, b)) in pairs().enumerate() {
            let is_linked = links >> bit & 1 == 1;
            for (a, b) in [(a, b), (b, a)] {
                match is_linked {
                    true => self.up(a, b),
                    false if swim => self.down(a, b),
                    false => {}
                }
            }
        }
        if scenario.has_log {
            let (announce, prove) = redis;
            for at in (0..NODES).filter(|at| announce >> at & 1 == 1) {
                self.announce(at);
            }
            for at in (0..NODES).filter(|at| prove >> at & 1 == 1) {
                self.prove(at);
            }
        }
        let mut order: Vec<(At, At)> = pairs()
            .enumerate()
            .filter(|(bit, _)| links >> bit & 1 == 1)
            .flat_map(|(_, (a, b))| [(a, b), (b, a)])
            .collect();
        if backwards {
            order.reverse();
        }
        for (a, b) in order {
            let asked = self
                .calls
                .iter()
                .position(|call| (call.from, call.to, call.answer.is_none()) == (a, b, true));
            if let Some(index) = asked {
                self.exchange(index);
            }
        }
    }

    /// Whether `a` should learn that `b` is there.
    pub(crate) fn finds(&self, a: At, b: At) -> bool {
        let (Some(one), Some(other)) = (self.node(a), self.node(b)) else {
            return false;
        };
        let up = |(peer, is_up, _): (Peer, bool, _)| is_up && peer.origin == other.peer.origin;
        a != b && !one.machine.members().any(up)
    }

    pub(crate) fn up(&mut self, a: At, b: At) {
        if self.finds(a, b)
            && let Some(other) = self.node(b).map(|node| node.peer.clone())
        {
            self.input(a, Input::Up(other));
        }
    }

    pub(crate) fn down(&mut self, a: At, b: At) {
        let Some(node) = self.node(a) else { return };
        let former: Vec<Origin> = node
            .machine
            .members()
            .filter(|(peer, is_up, _)| *is_up && peer.address == self::peer(b, 0).address)
            .map(|(peer, ..)| peer.origin)
            .collect();
        for origin in former {
            self.input(a, Input::Down(origin));
        }
    }

    pub(crate) fn say(&mut self, said: Said, at: At) {
        let Some(node) = self.node(at) else { return };
        let name = StatementName {
            origin: node.peer.origin,
            channel: body(said).slot().channel,
            counter: 1,
        };
        self.fates[said].name = Some(name);
        let tick = self.tick;
        if let Some(node) = self.node_mut(at) {
            node.applied[said] = Some(tick);
        }
        self.input(at, Input::Said(Statement { name, body: body(said) }));
        self.input(at, Input::Await(name));
    }

    fn on_confirmed(&mut self, at: At, name: StatementName, whole: bool) {
        let Some(node) = self.node(at) else { return };
        let by_majority = self.control == Some(Control::MajorityConfirms) && {
            let all = node.machine.members().count() + 1;
            let by = node.machine.confirmations(&name).map_or(0, |by| by.confirmed.len());
            2 * (by + 1) > all
        };
        if whole || by_majority {
            self.confirmed(at, &name);
        }
    }

    fn confirmed(&mut self, at: At, name: &StatementName) {
        let Some(said) = self.said(name) else { return };
        let tick = self.tick;
        self.fates[said].confirmed.get_or_insert(tick);
        self.unawait(at, *name);
    }

    fn unawait(&mut self, at: At, name: StatementName) {
        let now = self.now();
        if let Some(node) = self.node_mut(at) {
            MARKS.with(|marks| node.machine.handle(now, Input::Unawait(name), marks));
        }
    }

    /// What the log has counts once nobody may hold its origin to be gone.
    fn settle_receipts(&mut self, at: At) {
        for said in 0..STATEMENTS {
            let (Some(name), Some(node)) = (self.fates[said].name, self.node(at)) else {
                continue;
            };
            let vouched = node.machine.vouched(moment(self.tick)) || self.control == Some(Control::CommittedUnvouched);
            if self.fates[said].confirmed.is_none()
                && name.origin == node.peer.origin
                && node.passed[said]
                && vouched
                && !node.forgotten
            {
                self.confirmed(at, &name);
            }
        }
    }
}

/// Every pair of places once.
pub(crate) fn pairs() -> impl Iterator<Item = (At, At)> {
    (0..NODES).flat_map(|a| (a + 1..NODES).map(move |b| (a, b)))
}

pub(crate) fn speaks() -> Speaks {
    Speaks {
        versions: vec![VERSION],
        kinds: KINDS.to_vec(),
    }
}
