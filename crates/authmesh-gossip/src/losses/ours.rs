//! This crate's engine below the machine of `authmesh_proto::gossip`, as the SDK's driver joins them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use authmesh::ports::{DatagramSeal, GossipPeer, MAX_LARGE, MAX_SMALL};
use authmesh_proto::crypto::{ENVELOPE_OVERHEAD, OpenError};
use authmesh_proto::gossip::message::Item;
use authmesh_proto::gossip::{Action, Gossip, GossipConfig, Input, Peer, Speaks};
use authmesh_proto::ident::{ChannelId, EntryName, StatementName};
use authmesh_proto::marks::Marks;
use authmesh_proto::statement::{Body, KINDS, Statement};
use authmesh_proto::time::{Moment, Now};
use authmesh_proto::wire::VERSION;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::oneshot;

use super::Row;
use super::net::{Figures, Net, Plan, Reached, plan};
use crate::counters::Counters;
use crate::engine::{Engine, Event as Told};
use crate::testing::{TIMES, address, identity};

/// How long a stream may take.
const STREAM_WITHIN: Duration = Duration::from_secs(5);
/// The longest that the nodes may take to find each other.
const FOUND_WITHIN: Duration = Duration::from_secs(30);

/// Envelopes of the right size: losses are measured here, not cryptography.
struct Unsealed(Mutex<SmallRng>);

impl std::fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unsealed")
    }
}

impl DatagramSeal for Unsealed {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut envelope = vec![0; ENVELOPE_OVERHEAD];
        envelope.extend_from_slice(plain);
        envelope
    }

    fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, OpenError> {
        Ok(envelope[ENVELOPE_OVERHEAD..].to_vec())
    }

    fn random(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap().fill(bytes);
    }
}

/// The exchanges by datagram of one node whose end has come: an answer, or none.
type Ended = Arc<Mutex<Vec<u64>>>;

struct Ends(Ended, u64);

impl Wake for Ends {
    fn wake(self: Arc<Self>) {
        self.0.lock().unwrap().push(self.1);
    }
}

struct Node {
    engine: Engine,
    machine: Gossip,
    counters: BTreeMap<ChannelId, u64>,
    asks: BTreeMap<u64, oneshot::Receiver<Vec<u8>>>,
    ended: Ended,
    inputs: VecDeque<Input>,
    wake: Moment,
}

enum Event {
    Planned(Plan),
    Wake(usize),
    Datagram(usize, usize, Vec<u8>),
    /// By stream: from, to, the exchange, the request.
    Pulled(usize, usize, u64, Vec<u8>),
    /// By stream: to, the exchange, the answer.
    Answered(usize, u64, Option<Vec<u8>>),
}

/// Where an answer goes.
enum Asker {
    Datagram(SocketAddr, u64),
    Stream(usize, usize, u64),
}

struct World {
    net: Net<Event>,
    nodes: Vec<Node>,
    numbers: BTreeMap<SocketAddr, usize>,
    askers: BTreeMap<u64, Asker>,
    asked: u64,
    /// Nobody marks anything: items are drops.
    marks: Marks,
    /// Items as [`Engine`] brings them, and statements as they are applied, by whatever road.
    spread: Reached,
    applied: Reached,
    /// Channels voided whole for want of a statement.
    voided: usize,
}

fn peer(peer: &GossipPeer) -> Peer {
    Peer {
        origin: peer.origin,
        address: peer.address.to_string(),
        name: peer.name.clone(),
    }
}

/// The number of the item that a statement is.
fn number(statement: &Statement) -> usize {
    let Body::Drop(name) = &statement.body else {
        panic!("only drops are said")
    };
    let (_, number) = name.0.split_last_chunk::<8>().unwrap();
    u64::from_be_bytes(*number) as usize
}

impl World {
    fn new(row: &Row) -> Self {
        let mut net = Net::new(row.seed());
        let nodes = (0..row.nodes)
            .map(|n| {
                let seal = Arc::new(Unsealed(Mutex::new(SmallRng::seed_from_u64(net.rng.random()))));
                let me = identity(n, 0);
                let config = GossipConfig {
                    has_log: false,
                    expect: row.nodes,
                    seed: net.rng.random(),
                    speaks: Speaks {
                        versions: vec![VERSION],
                        kinds: KINDS.to_vec(),
                    },
                    ..GossipConfig::default()
                };
                let machine = Gossip::new(config, peer(&me.peer()), net.now);
                let mut engine = Engine::new(me, TIMES, seal, Arc::<Counters>::default(), net.now);
                engine.looked_up(0, [address(0)], net.now);
                let wake = net.now.plus(Duration::from_micros(net.rng.random_range(0..200_000)));
                net.at(wake, Event::Wake(n));
                Node {
                    engine,
                    machine,
                    counters: BTreeMap::new(),
                    asks: BTreeMap::new(),
                    ended: Ended::default(),
                    inputs: VecDeque::new(),
                    wake,
                }
            })
            .collect();
        Self {
            net,
            nodes,
            numbers: (0..row.nodes).map(|n| (address(n), n)).collect(),
            askers: BTreeMap::new(),
            asked: 0,
            marks: Marks::new(1),
            spread: Reached::new(),
            applied: Reached::new(),
            voided: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            boot: self.net.now,
            wall: 1_700_000_000 + self.net.now.since(Moment::ORIGIN).as_secs(),
        }
    }

    fn run(&mut self, row: &Row, until: Moment) {
        while let Some(event) = self.net.next(until) {
            let now = self.net.now;
            match event {
                Event::Planned(Plan::Cut(cut)) => self.net.cut = cut,
                Event::Planned(Plan::Born) => self.born(row),
                Event::Wake(n) if self.nodes[n].wake == now => {
                    let at = self.now();
                    let node = &mut self.nodes[n];
                    node.wake = Moment::NEVER;
                    if node.engine.next_timer() <= now {
                        node.engine.timers(now);
                    }
                    if node.machine.poll_timeout() <= now {
                        node.machine.tick(at);
                    }
                    self.settle(n);
                }
                // Another one came first.
                Event::Wake(_) => {}
                Event::Datagram(from, to, bytes) => {
                    self.nodes[to].engine.datagram(address(from), &bytes, now);
                    self.settle(to);
                }
                Event::Pulled(from, to, exchange, request) => {
                    let asker = Asker::Stream(to, from, exchange);
                    self.asked(to, peer(&identity(from, 0).peer()), request, MAX_LARGE, asker);
                    self.settle(to);
                }
                Event::Answered(to, exchange, answer) => {
                    self.nodes[to].inputs.push_back(Input::Answered { exchange, answer });
                    self.settle(to);
                }
            }
        }
    }

    fn born(&mut self, row: &Row) {
        let (n, now) = (self.net.rng.random_range(0..row.nodes), self.net.now);
        let item = self.spread.born(row, n, now);
        assert_eq!(item, self.applied.born(row, n, now));
        let mut name = [0; 32];
        self.net.rng.fill(&mut name[..24]);
        name[24..].copy_from_slice(&(item as u64).to_be_bytes());
        let body = Body::Drop(EntryName(name));
        let channel = body.slot().channel;
        let counter = self.nodes[n].counters.entry(channel).or_default();
        *counter += 1;
        let name = StatementName {
            origin: identity(n, 0).origin,
            channel,
            counter: *counter,
        };
        // Nobody waits for it: a statement that is awaited is asked for until everybody has confirmed it.
        self.nodes[n].inputs.push_back(Input::Said(Statement { name, body }));
        self.settle(n);
    }

    fn asked(&mut self, n: usize, from: Peer, request: Vec<u8>, limit: usize, asker: Asker) {
        self.asked += 1;
        self.askers.insert(self.asked, asker);
        self.nodes[n].inputs.push_back(Input::Asked {
            token: self.asked,
            from,
            request,
            limit,
        });
    }

    /// Everything that a node wants done.
    fn settle(&mut self, n: usize) {
        loop {
            self.carry_out(n);
            self.hand_up(n);
            let now = self.now();
            let Some(input) = self.nodes[n].inputs.pop_front() else {
                break;
            };
            self.nodes[n].machine.handle(now, input, &self.marks);
        }
        let (net, node) = (&mut self.net, &mut self.nodes[n]);
        while let Some((to, bytes)) = node.engine.poll_transmit() {
            let to = self.numbers[&to];
            net.datagram(n, to, Event::Datagram(n, to, bytes));
        }
        let due = node.engine.next_timer().min(node.machine.poll_timeout());
        let due = due.max(net.now.plus(Duration::from_micros(1)));
        if due < node.wake {
            node.wake = due;
            net.at(due, Event::Wake(n));
        }
    }

    /// What the engine has for the machine.
    fn hand_up(&mut self, n: usize) {
        while let Some(told) = self.nodes[n].engine.poll_event() {
            let input = match told {
                Told::Up(member) => Input::Up(peer(&member)),
                Told::Down(origin) => Input::Down(origin),
                Told::Left(origin) => Input::Gone(origin),
                Told::Item(item) => {
                    for statement in Item::decode(&item).unwrap().statements {
                        let item = number(&Statement::decode(&statement).unwrap());
                        self.spread.reached(item, n, self.net.now);
                    }
                    Input::Item(item)
                }
                Told::Asked { from, number, request } => {
                    let asker = Asker::Datagram(from.address, number);
                    self.asked(n, peer(&from), request, MAX_SMALL, asker);
                    continue;
                }
                Told::Slow(lag) => panic!("virtual time is never late: {lag:?}"),
            };
            self.nodes[n].inputs.push_back(input);
        }
        let ended = std::mem::take(&mut *self.nodes[n].ended.lock().unwrap());
        for exchange in ended {
            let answer = self.nodes[n]
                .asks
                .remove(&exchange)
                .and_then(|mut ask| ask.try_recv().ok());
            self.nodes[n].inputs.push_back(Input::Answered { exchange, answer });
        }
    }

    /// What the machine wants of the engine.
    fn carry_out(&mut self, n: usize) {
        let now = self.net.now;
        while let Some(action) = self.nodes[n].machine.poll() {
            let node = &mut self.nodes[n];
            match action {
                Action::Broadcast(item) => assert!(node.engine.broadcast(&item, now)),
                Action::Ask { exchange, to, request } => {
                    let (answer, mut answered) = oneshot::channel();
                    let to = GossipPeer {
                        origin: to.origin,
                        address: to.address.parse().unwrap(),
                        name: to.name,
                    };
                    node.engine.ask(&to, &request, answer, now);
                    let waker = Waker::from(Arc::new(Ends(Arc::clone(&node.ended), exchange)));
                    match Pin::new(&mut answered).poll(&mut Context::from_waker(&waker)) {
                        Poll::Pending => drop(node.asks.insert(exchange, answered)),
                        // The engine had no room for it.
                        Poll::Ready(_) => node.inputs.push_back(Input::Answered { exchange, answer: None }),
                    }
                }
                Action::Pull { exchange, to, request } => self.pull(n, exchange, &to, request),
                Action::Answer { token, answer } => match self.askers.remove(&token).unwrap() {
                    Asker::Datagram(to, number) => node.engine.answer(to, number, &answer, now),
                    Asker::Stream(from, to, exchange) => {
                        let at = now.plus(self.net.segments(1));
                        self.stream(from, to, at, exchange, Event::Answered(to, exchange, Some(answer)));
                    }
                },
                Action::Apply(statement) => self.applied.reached(number(&statement), n, now),
                Action::BumpChannel(_) | Action::Soil(_) => self.voided += 1,
                Action::Merge(marks) => assert!(marks.is_empty(), "nobody marks anything"),
                Action::Forget(_) | Action::Confirmed { .. } | Action::Tell(_) => {}
            }
        }
    }

    /// A connection, the acceptor's nonce, the request; then the answer.
    fn pull(&mut self, n: usize, exchange: u64, to: &Peer, request: Vec<u8>) {
        let to = self.numbers[&to.address.parse().unwrap()];
        let at = self.net.now.plus(self.net.segments(4));
        self.stream(n, to, at, exchange, Event::Pulled(n, to, exchange, request));
    }

    /// A stream fails where a cut is, which is noticed late, and when it takes too long.
    fn stream(&mut self, from: usize, to: usize, at: Moment, exchange: u64, event: Event) {
        let asker = match event {
            Event::Answered(asker, ..) => asker,
            _ => from,
        };
        let latest = self.net.now.plus(STREAM_WITHIN);
        if self.net.is_cut(from, to) || at > latest {
            self.net.at(latest, Event::Answered(asker, exchange, None));
        } else {
            self.net.at(at, event);
        }
    }

    fn found(&self) -> bool {
        let now = self.net.now;
        let others = self.nodes.len() - 1;
        let coherent = |node: &Node| node.machine.coherent_until(now, Moment::ORIGIN) > now;
        self.nodes
            .iter()
            .all(|node| node.engine.members() == others && coherent(node))
    }
}

/// A row of the table: items as the engine spreads them, and statements with everything that the machine does for them.
pub(super) fn measure(row: &Row) -> (Figures, Figures) {
    let mut world = World::new(row);
    let latest = world.net.now.plus(FOUND_WITHIN);
    while !world.found() {
        assert!(world.net.now < latest, "the nodes find each other");
        let until = world.net.now.plus(Duration::from_millis(250));
        world.run(row, until);
    }
    world.net.loss = row.loss;
    world.net.datagrams = 0;
    let begun = world.net.now;
    let (planned, end) = plan(row, begun);
    for (at, planned) in planned {
        world.net.at(at, Event::Planned(planned));
    }
    world.run(row, end);
    assert_eq!(
        world.voided, 0,
        "statements come themselves, no channel is voided for them"
    );
    let datagrams = world.net.datagrams as f64 / (row.nodes as f64 * end.since(begun).as_secs_f64());
    (world.spread.figures(datagrams), world.applied.figures(datagrams))
}
