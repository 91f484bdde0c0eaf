//! How fast a statement reaches everybody, and what that costs: bare machines of gossip, in sizes up to 1,000.
//!
//! Broadcasts are left out: what is measured is what carries the guarantee, the push at a statement's birth and the questions.

use std::collections::BTreeMap;
use std::time::Duration;

use authmesh_proto::gossip::{Action, Gossip, GossipConfig, Input, Peer, Registered};
use authmesh_proto::ident::{EntryName, Origin, StatementName};
use authmesh_proto::marks::Marks;
use authmesh_proto::statement::{Body, Statement};
use authmesh_proto::time::{Moment, Now};

use crate::clock::{BEGIN, MS, SECOND, True};
use crate::rng::Rng;

/// How long everybody gets to know everybody.
const WARM_UP: True = 4 * SECOND;
/// How long bytes are counted.
const COUNTED: True = 2 * SECOND;
/// No statement takes longer.
const LONGEST: True = 30 * SECOND;
/// The most that an answer may have, in bytes: by datagram, by stream.
const LIMITS: (usize, usize) = (1200, 1 << 20);

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Nodes.
    pub nodes: usize,
    /// Rounds of questions until the last node had applied the statement.
    pub rounds: f64,
    /// Bytes that a node sends in a round while nothing is said: questions and answers.
    pub idle: f64,
    /// .. without the evidence of each member, a byte in each answer.
    pub without_evidence: f64,
    /// .. in the rounds in which the statement spreads.
    pub busy: f64,
    /// Whether everybody was coherent all the time.
    pub coherent: bool,
}

enum Message {
    Asked {
        from: usize,
        exchange: u64,
        request: Vec<u8>,
        large: bool,
    },
    Answered(u64, Vec<u8>),
    Wake,
}

struct Net {
    now: True,
    machines: Vec<Gossip>,
    marks: Marks,
    flight: BTreeMap<(True, u64), (usize, Message)>,
    sent: u64,
    rng: Rng,
    loss: u64,
    tokens: BTreeMap<u64, (usize, u64, bool)>,
    bytes: u64,
    evidence: u64,
    reached: Vec<Option<True>>,
    wakes: Vec<True>,
}

fn peer(number: usize) -> Peer {
    let mut origin = [0x5e; 16];
    // Spread as random ones are, and found again.
    origin[..8].copy_from_slice(&Rng::new(number as u64).next().to_be_bytes());
    Peer {
        origin: Origin(origin),
        address: number.to_string(),
        name: String::new(),
    }
}

const fn local(now: True) -> Now {
    Now {
        boot: Moment::from_nanos(1000 * SECOND + now),
        wall: BEGIN,
    }
}

impl Net {
    fn send(&mut self, at: True, to: usize, message: Message) {
        self.sent += 1;
        self.flight.insert((at, self.sent), (to, message));
    }

    fn input(&mut self, node: usize, input: Option<Input>) {
        let now = local(self.now);
        match input {
            Some(input) => self.machines[node].handle(now, input, &self.marks),
            None => self.machines[node].tick(now),
        }
        while let Some(action) = self.machines[node].poll() {
            self.carry_out(node, action);
        }
        let due = self.machines[node].poll_timeout().as_nanos();
        let due = due.saturating_sub(1000 * SECOND).max(self.now + 1);
        if due < self.wakes[node] || self.wakes[node] <= self.now {
            self.wakes[node] = due;
            self.send(due, node, Message::Wake);
        }
    }

    fn carry_out(&mut self, node: usize, action: Action) {
        match action {
            Action::Ask { exchange, to, request } => self.ask(node, exchange, &to, request, false),
            Action::Pull { exchange, to, request } => self.ask(node, exchange, &to, request, true),
            Action::Answer { token, answer } => {
                if let Some((to, exchange, large)) = self.tokens.remove(&token) {
                    self.bytes += answer.len() as u64;
                    self.evidence += if large { 0 } else { self.machines.len() as u64 };
                    self.pass(to, large, Message::Answered(exchange, answer));
                }
            }
            Action::Apply(_) => {
                self.reached[node].get_or_insert(self.now);
            }
            _ => {}
        }
    }

    fn ask(&mut self, node: usize, exchange: u64, to: &Peer, request: Vec<u8>, large: bool) {
        self.bytes += request.len() as u64;
        let Ok(to) = to.address.parse() else { return };
        let message = Message::Asked {
            from: node,
            exchange,
            request,
            large,
        };
        self.pass(to, large, message);
    }

    fn pass(&mut self, to: usize, large: bool, message: Message) {
        if large || !self.rng.per_mille(self.loss) {
            let at = self.now + self.rng.between(MS / 5, 5 * MS);
            self.send(at, to, message);
        }
    }

    fn run(&mut self, until: True) {
        while let Some(entry) = self.flight.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), (node, message)) = entry.remove_entry();
            self.now = at;
            match message {
                Message::Wake => {
                    if self.wakes[node] == at {
                        self.input(node, None);
                    }
                }
                Message::Answered(exchange, answer) => {
                    let answer = Some(answer);
                    self.input(node, Some(Input::Answered { exchange, answer }));
                }
                Message::Asked {
                    from,
                    exchange,
                    request,
                    large,
                } => {
                    let token = self.sent;
                    self.sent += 1;
                    self.tokens.insert(token, (from, exchange, large));
                    let asked = Input::Asked {
                        token,
                        from: peer(from),
                        request,
                        limit: if large { LIMITS.1 } else { LIMITS.0 },
                    };
                    self.input(node, Some(asked));
                }
            }
        }
        self.now = until;
    }

    fn all_coherent(&self) -> bool {
        let now = local(self.now).boot;
        self.machines
            .iter()
            .all(|machine| now < machine.coherent_until(now, Moment::ORIGIN))
    }
}

/// Measures a cluster of so many nodes that Redis has just left, of 1,000 datagrams `loss` lost.
#[must_use]
pub fn measure(nodes: usize, loss: u64, seed: u64) -> Spread {
    let mut rng = Rng::new(seed);
    let config = GossipConfig::default();
    let period = config.period.as_nanos() as u64;
    let machine = |number: usize| {
        let config = GossipConfig {
            seed: number as u64 + 1,
            ..config.clone()
        };
        Gossip::new(config, peer(number), local(0).boot)
    };
    let mut net = Net {
        now: 0,
        machines: (0..nodes).map(machine).collect(),
        marks: Marks::new(1),
        flight: BTreeMap::new(),
        sent: 0,
        loss,
        tokens: BTreeMap::new(),
        bytes: 0,
        evidence: 0,
        reached: vec![None; nodes],
        wakes: vec![0; nodes],
        rng: rng.fork(),
    };
    let registered: Vec<Registered> = (0..nodes)
        .map(|number| Registered {
            peer: peer(number),
            still_for: Duration::ZERO,
            moves: true,
            knows_me: true,
        })
        .collect();
    for node in 0..nodes {
        // They do not all ask at one instant.
        net.now = node as u64 * period / nodes as u64;
        let asked = local(net.now).boot;
        net.input(node, Some(Input::Announced(asked)));
        net.input(node, Some(Input::Registered(asked, registered.clone())));
        net.input(node, Some(Input::Proven(asked)));
        for (other, known) in registered.iter().enumerate() {
            if other != node {
                net.input(node, Some(Input::Up(known.peer.clone())));
            }
        }
    }
    // The word of a registration counts from the second list on: it has to be written after the node's own.
    for node in 0..nodes {
        net.now = period + node as u64 * period / nodes as u64;
        let asked = local(net.now).boot;
        net.input(node, Some(Input::Registered(asked, registered.clone())));
    }
    // All come at once, and each hears sixteen others a round until it has heard everybody.
    let warm_up = WARM_UP + nodes as u64 / 8 * period;
    // A proof is passed on by those only that are vouched for.
    net.run(warm_up / 2);
    for node in 0..nodes {
        let asked = local(net.now).boot;
        net.input(node, Some(Input::Proven(asked)));
    }
    net.run(warm_up);
    let per_round = |bytes: u64, over: True| bytes as f64 / nodes as f64 / (over as f64 / period as f64);
    (net.bytes, net.evidence) = (0, 0);
    net.run(warm_up + COUNTED);
    let (idle, evidence) = (per_round(net.bytes, COUNTED), per_round(net.evidence, COUNTED));
    let mut coherent = net.all_coherent();
    net.bytes = 0;
    let began = net.now;
    let name = EntryName([9; 32]);
    net.reached[0] = Some(began);
    let statement = Statement {
        name: StatementName {
            origin: peer(0).origin,
            channel: name.slot().channel,
            counter: 1,
        },
        body: Body::Drop(name),
    };
    net.input(0, Some(Input::Said(statement)));
    while net.reached.iter().any(Option::is_none) && net.now < began + LONGEST {
        let next = net.now + period / 10;
        net.run(next);
    }
    let busy = per_round(net.bytes, (net.now - began).max(period));
    coherent &= net.all_coherent();
    let last = net.reached.iter().map(|at| at.unwrap_or(began + LONGEST)).max();
    Spread {
        nodes,
        rounds: (last.unwrap_or(began) - began) as f64 / period as f64,
        idle,
        without_evidence: idle - evidence,
        busy,
        coherent,
    }
}
