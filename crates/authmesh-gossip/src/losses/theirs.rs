//! foca's own custom broadcasts, as its examples use them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::rc::Rc;
use std::time::Duration;

use foca::{BroadcastHandler, Config, Foca, Invalidates, Member, Notification, PeriodicParams, Runtime, Timer};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::net::{Figures, Net, Plan, Reached, plan};
use super::{ITEM_BYTES, Row};
use crate::swim::{Codec, Identity};
use crate::testing::{address, identity};

/// An item's number: nothing invalidates another one.
struct Number(u64);

impl Invalidates for Number {
    fn invalidates(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// What a node has heard.
struct Heard {
    numbers: Vec<bool>,
    /// Where it says what is new: foca does not give its handler away again.
    news: Rc<RefCell<Vec<usize>>>,
}

impl BroadcastHandler<Identity> for Heard {
    type Key = Number;
    type Error = Infallible;

    fn receive_item(&mut self, data: &[u8], _: Option<&Identity>) -> Result<Option<Number>, Infallible> {
        let Some((number, _)) = data.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let number = u64::from_be_bytes(*number);
        let at = number as usize;
        if self.numbers.len() <= at {
            self.numbers.resize(at + 1, false);
        }
        if std::mem::replace(&mut self.numbers[at], true) {
            return Ok(None);
        }
        self.news.borrow_mut().push(at);
        Ok(Some(Number(number)))
    }
}

/// What foca wants done.
#[derive(Default)]
struct Wishes {
    sent: Vec<(SocketAddr, Vec<u8>)>,
    timers: Vec<(Duration, Timer<Identity>)>,
}

impl Runtime<Identity> for &mut Wishes {
    fn notify(&mut self, _: Notification<'_, Identity>) {}

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sent.push((to.address, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((after, event));
    }
}

enum Event {
    Planned(Plan),
    Datagram(usize, Vec<u8>),
    Timer(usize, Timer<Identity>),
}

type Node = Foca<Identity, Codec, SmallRng, Heard>;

/// foca's `Config::new_lan`, but that nobody is given up: at 30 % loss it would be now and then, and what did not go to a member
/// for that is not what is measured.
fn config(nodes: usize, transmissions: Option<u8>) -> Config {
    let every = |frequency, members| {
        Some(PeriodicParams {
            frequency,
            num_members: NonZeroUsize::new(members).unwrap(),
        })
    };
    let transmissions = transmissions.unwrap_or_else(|| default_transmissions(nodes));
    Config {
        probe_period: Duration::from_secs(1),
        probe_rtt: Duration::from_millis(500),
        num_indirect_probes: NonZeroUsize::new(3).unwrap(),
        max_transmissions: NonZeroU8::new(transmissions).unwrap(),
        suspect_to_down_after: Duration::from_secs(3600),
        remove_down_after: Some(Duration::from_secs(86_400)),
        max_packet_size: NonZeroUsize::new(1400).unwrap(),
        notify_down_members: true,
        periodic_announce: every(Duration::from_secs(30), 1),
        periodic_announce_to_down_members: every(Duration::from_secs(65), 2),
        periodic_gossip: every(Duration::from_millis(200), 3),
    }
}

/// How often `Config::new_lan` has an item sent.
pub(super) fn default_transmissions(nodes: usize) -> u8 {
    (((nodes + 1) as f64).log10() * 4.0).max(1.0) as u8
}

/// A row of the table. `pushed`: an item is sent on at its birth, not with the next message.
pub(super) fn measure(row: &Row, pushed: bool, transmissions: Option<u8>) -> Figures {
    let mut net = Net::new(row.seed());
    let numbers: BTreeMap<_, _> = (0..row.nodes).map(|n| (address(n), n)).collect();
    let news: Rc<RefCell<Vec<usize>>> = Rc::default();
    let mut nodes: Vec<Node> = (0..row.nodes)
        .map(|n| {
            let rng = SmallRng::seed_from_u64(net.rng.random());
            let codec = Codec { address: address(n) };
            let config = config(row.nodes, transmissions);
            let heard = Heard {
                numbers: Vec::new(),
                news: Rc::clone(&news),
            };
            Foca::with_custom_broadcast(identity(n, 0), config, rng, codec, heard)
        })
        .collect();
    let mut wishes = Wishes::default();
    let mut reached = Reached::new();
    for (n, node) in nodes.iter_mut().enumerate() {
        // Everybody knows everybody. Not all probe at one instant.
        let others = (0..row.nodes).filter(|other| *other != n);
        let members = others.map(|other| Member::alive(identity(other, 0)));
        node.apply_many(members, false, &mut wishes).unwrap();
        let later = Duration::from_micros(net.rng.random_range(0..1_000_000));
        for (after, timer) in wishes.timers.drain(..) {
            net.at(net.now.plus(after + later), Event::Timer(n, timer));
        }
    }
    net.loss = row.loss;
    let begun = net.now.plus(Duration::from_secs(2));
    let (planned, end) = plan(row, begun);
    for (at, planned) in planned {
        net.at(at, Event::Planned(planned));
    }
    while let Some(event) = net.next(end) {
        let n = match event {
            Event::Planned(Plan::Cut(cut)) => {
                net.cut = cut;
                continue;
            }
            Event::Planned(Plan::Born) => {
                let n = net.rng.random_range(0..row.nodes);
                let number = reached.born(row, n, net.now) as u64;
                let mut item = number.to_be_bytes().to_vec();
                item.resize(ITEM_BYTES, 0x5e);
                assert!(nodes[n].add_broadcast(&item).unwrap());
                if pushed {
                    nodes[n].broadcast(&mut wishes).unwrap();
                }
                n
            }
            // What foca refuses it says of itself; membership goes on.
            Event::Datagram(n, bytes) => {
                let _ = nodes[n].handle_data(&bytes, &mut wishes);
                n
            }
            Event::Timer(n, timer) => {
                let _ = nodes[n].handle_timer(timer, &mut wishes);
                n
            }
        };
        for (after, timer) in wishes.timers.drain(..) {
            net.at(net.now.plus(after), Event::Timer(n, timer));
        }
        for (to, bytes) in wishes.sent.drain(..) {
            net.datagram(n, numbers[&to], Event::Datagram(numbers[&to], bytes));
        }
        for item in news.borrow_mut().drain(..) {
            reached.reached(item, n, net.now);
        }
    }
    let node_secs = row.nodes as f64 * end.since(begun).as_secs_f64();
    reached.figures(net.datagrams as f64 / node_secs)
}
