//! A handful of machines in virtual time, and the messages between them.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::ToString as _;
use std::vec::Vec;

use core::time::Duration;

use crate::crypto::{KeyRing, Namer, ScopeKind};
use crate::gossip::{Action, Event, Gossip, GossipConfig, Input, Peer, Registered, Speaks};
use crate::ident::{ChannelId, EntryName, Origin, StatementName};
use crate::marks::{BUCKETS, Marks};
use crate::statement::{Body, KINDS, Mark, MarkKey, Note, Statement};
use crate::time::{Moment, Now};
use crate::wire::VERSION;

pub(super) const HOUR: u64 = 3600;
/// The wall clock at the beginning.
const WALL: u64 = 1_700_000_000 / HOUR * HOUR;
const LATENCY: Duration = Duration::from_millis(1);

pub(super) fn peer(number: u8) -> Peer {
    Peer {
        origin: Origin([number; 16]),
        address: format!("10.0.0.{number}:7946"),
        name: number.to_string(),
    }
}

pub(super) fn config() -> GossipConfig {
    GossipConfig {
        has_log: false,
        expect: 1,
        speaks: Speaks {
            versions: std::vec![VERSION],
            kinds: KINDS.to_vec(),
        },
        ..GossipConfig::default()
    }
}

pub(super) struct Node {
    pub(super) gossip: Gossip,
    pub(super) marks: Marks,
    pub(super) peer: Peer,
    pub(super) applied: BTreeSet<StatementName>,
    pub(super) bumped: Vec<ChannelId>,
    pub(super) soiled: Vec<ChannelId>,
    pub(super) events: Vec<Event>,
    pub(super) whole: BTreeSet<StatementName>,
    counters: BTreeMap<ChannelId, u64>,
}

enum Message {
    Item(Vec<u8>),
    Request {
        from: Peer,
        exchange: u64,
        request: Vec<u8>,
        limit: usize,
    },
    Answer {
        exchange: u64,
        answer: Option<Vec<u8>>,
    },
}

pub(super) struct Net {
    pub(super) now: Now,
    pub(super) nodes: BTreeMap<u8, Node>,
    namer: Namer,
    /// Messages in flight: when, in which order they were sent, to whom.
    flight: BTreeMap<(Moment, u64), (u8, Message)>,
    sent: u64,
    /// Directed pairs that hear nothing of each other.
    pub(super) cut: BTreeSet<(u8, u8)>,
    /// Whether broadcasts, and statements pushed along with questions, arrive.
    pub(super) broadcasts: bool,
    /// Whether streams come about.
    pub(super) streams: bool,
    /// Of 100 messages so many get lost.
    pub(super) loss: u64,
    random: u64,
    /// When each node was last proven by Redis.
    proven: BTreeMap<u8, Moment>,
    /// Bytes that were sent.
    pub(super) bytes: usize,
}

impl Net {
    pub(super) fn new() -> Self {
        let ring = KeyRing::new([1; 32], [[2; 32]]).expect("a ring");
        Self {
            now: Now {
                boot: Moment::ORIGIN.plus(Duration::from_secs(1000)),
                wall: WALL,
            },
            nodes: BTreeMap::new(),
            namer: Namer::new(&ring, "test"),
            flight: BTreeMap::new(),
            sent: 0,
            cut: BTreeSet::new(),
            broadcasts: true,
            streams: true,
            loss: 0,
            random: 7,
            proven: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// A net of so many nodes that know each other by SWIM.
    pub(super) fn of(nodes: u8, config: &GossipConfig) -> Self {
        let mut net = Self::new();
        for number in 1..=nodes {
            net.start(number, config.clone());
        }
        net
    }

    pub(super) fn start(&mut self, number: u8, config: GossipConfig) {
        self.start_as(number, peer(number), config);
    }

    pub(super) fn start_as(&mut self, number: u8, peer: Peer, mut config: GossipConfig) {
        config.seed = u64::from(number);
        let node = Node {
            gossip: Gossip::new(config, peer.clone(), self.now.boot),
            marks: Marks::new(100_000),
            peer: peer.clone(),
            applied: BTreeSet::new(),
            bumped: Vec::new(),
            soiled: Vec::new(),
            events: Vec::new(),
            whole: BTreeSet::new(),
            counters: BTreeMap::new(),
        };
        let others: Vec<(u8, Peer)> = self
            .nodes
            .iter()
            .map(|(number, node)| (*number, node.peer.clone()))
            .collect();
        self.nodes.insert(number, node);
        for (other, known) in others {
            if other != number {
                self.input(number, Input::Up(known));
                self.input(other, Input::Up(peer.clone()));
            }
        }
    }

    pub(super) fn node(&self, number: u8) -> &Node {
        &self.nodes[&number]
    }

    pub(super) fn node_mut(&mut self, number: u8) -> &mut Node {
        self.nodes.get_mut(&number).expect("a node")
    }

    pub(super) fn prove(&mut self, number: u8, at: Moment) {
        self.proven.insert(number, at);
    }

    pub(super) fn input(&mut self, number: u8, input: Input) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&number) else {
            return;
        };
        node.gossip.handle(now, input, &node.marks);
        self.settle(number);
    }

    /// Carries out what a node wants.
    fn settle(&mut self, number: u8) {
        let now = self.now;
        let Some(mut node) = self.nodes.remove(&number) else {
            return;
        };
        let (mut merged, mut out) = (Vec::new(), Vec::new());
        while let Some(action) = node.gossip.poll() {
            match action {
                Action::Apply(statement) => {
                    assert!(node.applied.insert(statement.name), "applied twice: {statement:?}");
                    if let Body::Mark(mark) = statement.body {
                        node.marks.apply(now, mark, None, &self.namer);
                    }
                }
                Action::Merge(marks) => {
                    for mark in marks {
                        let (channel, bucket) = (mark.key.scope.slot().channel, crate::marks::bucket_of(mark.expires));
                        if node.marks.apply(now, mark, None, &self.namer) {
                            merged.push((channel, bucket));
                        }
                    }
                }
                Action::BumpChannel(channel) => node.bumped.push(channel),
                Action::Soil(channel) => node.soiled.push(channel),
                Action::Tell(event) => node.events.push(event),
                Action::Confirmed { name, whole } => {
                    if whole {
                        node.whole.insert(name);
                    }
                }
                Action::Forget(_) => {}
                Action::Answer { token, answer } => {
                    // Tokens are made from the asker and its exchange.
                    let (to, exchange) = ((token >> 48) as u8, token & 0xffff_ffff_ffff);
                    out.push((
                        to,
                        Message::Answer {
                            exchange,
                            answer: Some(answer),
                        },
                    ));
                }
                Action::Broadcast(item) => {
                    if self.broadcasts {
                        out.extend(self.nodes.keys().map(|to| (*to, Message::Item(item.clone()))));
                    }
                }
                Action::Ask { exchange, to, request } => {
                    let to = self.number_of(&to);
                    let from = node.peer.clone();
                    out.extend(to.map(|to| {
                        (
                            to,
                            Message::Request {
                                from,
                                exchange,
                                request,
                                limit: 1200,
                            },
                        )
                    }));
                }
                Action::Pull { exchange, to, request } => {
                    let to = self.number_of(&to).filter(|_| self.streams);
                    let from = node.peer.clone();
                    let limit = 1 << 20;
                    match to {
                        Some(to) => out.push((
                            to,
                            Message::Request {
                                from,
                                exchange,
                                request,
                                limit,
                            },
                        )),
                        None => out.push((number, Message::Answer { exchange, answer: None })),
                    }
                }
            }
        }
        self.nodes.insert(number, node);
        for (to, message) in out {
            self.send(number, to, message);
        }
        for (channel, bucket) in merged {
            self.input(number, Input::Merged(channel, bucket));
        }
    }

    fn number_of(&self, peer: &Peer) -> Option<u8> {
        self.nodes
            .iter()
            .find(|(_, node)| node.peer == *peer)
            .map(|(number, _)| *number)
    }

    fn send(&mut self, from: u8, to: u8, message: Message) {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (small, size) = match &message {
            Message::Item(item) => (true, item.len()),
            Message::Request { request, limit, .. } => (*limit <= 1200, request.len()),
            Message::Answer { answer, .. } => (true, answer.as_ref().map_or(0, Vec::len)),
        };
        self.bytes += size;
        let is_lost = small && (self.random >> 33) % 100 < self.loss;
        let mut at = self.now.boot.plus(LATENCY);
        let lost = is_lost || from != to && self.cut.contains(&(from, to));
        let message = match (lost, message) {
            (false, message) => (to, message),
            // Streams fail where a cut is; that is noticed late.
            (true, Message::Request { exchange, limit, .. }) if limit > 1200 => {
                at = self.now.boot.plus(Duration::from_secs(2));
                (from, Message::Answer { exchange, answer: None })
            }
            (true, _) => return,
        };
        self.sent += 1;
        self.flight.insert((at, self.sent), message);
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, by: Duration) {
        let end = self.now.boot.plus(by);
        loop {
            let wake = self
                .nodes
                .values()
                .map(|node| node.gossip.poll_timeout())
                .min()
                .unwrap_or(Moment::NEVER);
            let message = self.flight.first_key_value().map_or(Moment::NEVER, |((at, _), _)| *at);
            let next = wake.min(message);
            if next > end {
                break;
            }
            self.advance(next.max(self.now.boot));
            if message <= wake {
                if let Some((_, (to, message))) = self.flight.pop_first() {
                    self.deliver(to, message);
                }
            } else {
                let due: Vec<u8> = self
                    .nodes
                    .iter()
                    .filter(|(_, node)| node.gossip.poll_timeout() <= next)
                    .map(|(n, _)| *n)
                    .collect();
                for number in due {
                    let now = self.now;
                    if let Some(node) = self.nodes.get_mut(&number) {
                        node.gossip.tick(now);
                    }
                    self.settle(number);
                }
            }
        }
        self.advance(end);
    }

    pub(super) fn secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    fn advance(&mut self, to: Moment) {
        self.now.boot = to;
        self.now.wall = WALL + to.since(Moment::ORIGIN).as_secs() - 1000;
    }

    fn deliver(&mut self, to: u8, message: Message) {
        match message {
            Message::Item(item) => self.input(to, Input::Item(item)),
            Message::Answer { exchange, answer } => self.input(to, Input::Answered { exchange, answer }),
            Message::Request {
                from,
                exchange,
                request,
                limit,
            } => {
                let Some(number) = self.number_of(&from) else { return };
                let token = u64::from(number) << 48 | exchange;
                self.input(
                    to,
                    Input::Asked {
                        token,
                        from,
                        request,
                        limit,
                    },
                );
            }
        }
    }

    /// A node revokes somebody.
    pub(super) fn revoke(&mut self, number: u8, subject: &str) -> StatementName {
        let mark = self.mark(subject);
        self.say(number, Body::Mark(mark))
    }

    pub(super) fn mark(&self, subject: &str) -> Mark {
        Mark {
            key: MarkKey {
                scope: self
                    .namer
                    .scope(ScopeKind::Subject, "https://issuer", subject.as_bytes()),
                except: None,
            },
            kind: ScopeKind::Subject,
            not_before: self.now.wall,
            expires: WALL + 30 * HOUR,
            note: Note::default(),
        }
    }

    pub(super) fn drop_entry(&mut self, number: u8, first: u8) -> StatementName {
        self.say(number, Body::Drop(EntryName([first; 32])))
    }

    fn say(&mut self, number: u8, body: Body) -> StatementName {
        let now = self.now;
        let channel = body.slot().channel;
        let Some(node) = self.nodes.get_mut(&number) else {
            panic!("no such node")
        };
        let counter = node.counters.entry(channel).or_insert(0);
        *counter += 1;
        let name = StatementName {
            origin: node.peer.origin,
            channel,
            counter: *counter,
        };
        if let Body::Mark(mark) = &body {
            node.marks.apply(now, mark.clone(), None, &self.namer);
        }
        node.applied.insert(name);
        let statement = Statement { name, body };
        self.input(number, Input::Said(statement));
        self.input(number, Input::Await(name));
        name
    }

    /// Marks that come into a node beside all statements, as from a table in Redis.
    pub(super) fn merge(&mut self, number: u8, mark: Mark) {
        let now = self.now;
        let (channel, bucket) = (mark.key.scope.slot().channel, crate::marks::bucket_of(mark.expires));
        assert!(bucket < BUCKETS);
        if let Some(node) = self.nodes.get_mut(&number) {
            node.marks.apply(now, mark, None, &self.namer);
        }
        self.input(number, Input::Merged(channel, bucket));
    }

    pub(super) fn has(&self, number: u8, subject: &str) -> bool {
        let scope = self
            .namer
            .scope(ScopeKind::Subject, "https://issuer", subject.as_bytes());
        self.nodes[&number].marks.of_scope(scope).next().is_some()
    }

    pub(super) fn coherent(&self, number: u8) -> bool {
        let node = &self.nodes[&number];
        node.gossip.coherent_until(self.now.boot, self.redis_until(number)) > self.now.boot
    }

    fn redis_until(&self, number: u8) -> Moment {
        let proven = self.proven.get(&number).copied();
        proven.map_or(Moment::ORIGIN, |at| at.plus(Duration::from_secs(3)))
    }

    /// One side hears nothing of the other, and SWIM gives each other up.
    pub(super) fn partition(&mut self, one: &[u8], other: &[u8]) {
        for a in one {
            for b in other {
                self.cut.extend([(*a, *b), (*b, *a)]);
                let (on_a, on_b) = (peer(*a), peer(*b));
                self.input(*a, Input::Down(on_b.origin));
                self.input(*b, Input::Down(on_a.origin));
            }
        }
    }

    pub(super) fn heal(&mut self) {
        for (a, b) in core::mem::take(&mut self.cut) {
            if self.nodes.contains_key(&b) {
                let known = self.nodes[&b].peer.clone();
                self.input(a, Input::Up(known));
            }
        }
    }

    /// Redis as the nodes `with` see it: proofs and registrations every second, for so long.
    pub(super) fn redis(&mut self, with: &[u8], secs: u64) {
        for _ in 0..secs {
            let asked = self.now.boot;
            let list: Vec<Registered> = with
                .iter()
                .filter_map(|number| self.nodes.get(number))
                .map(|node| Registered {
                    peer: node.peer.clone(),
                    still_for: Duration::ZERO,
                    moves: true,
                    knows_me: false,
                })
                .collect();
            for number in with {
                self.input(*number, Input::Announced(asked));
            }
            for number in with {
                self.input(*number, Input::Registered(asked, list.clone()));
                self.input(*number, Input::Proven(asked));
                self.proven.insert(*number, asked);
            }
            self.secs(1);
        }
    }
}
