//! One node's gossip as a state machine: datagrams, timers and wishes go in, datagrams and events come out.
//!
//! No socket and no clock: time is an argument, randomness comes from the [`DatagramSeal`]. The driver moves bytes.

mod join;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::{DatagramSeal, GossipPeer, MAX_SMALL};
use authmesh_proto::ident::Origin;
use authmesh_proto::time::Moment;
use tokio::sync::oneshot;

use self::join::Join;
use crate::counters::Counters;
use crate::datagram::{Incoming, Kind, Limits, Links, MAX_DATAGRAM, MIN_DATAGRAM};
use crate::spread::{Spread, items};
use crate::swim::{Change, Identity, Swim, Times};

/// How long an answer is waited for.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Requests that wait for their answer.
const MAX_ASKS: usize = 1024;
/// Events that wait to be taken. Items and requests beyond are dropped.
const MAX_EVENTS: usize = 8192;
/// How often what has run out is forgotten.
const SWEEP: Duration = Duration::from_secs(10);
/// A lag that says nothing: schedulers are like that.
const USUAL_LAG: Duration = Duration::from_millis(200);

/// What the engine tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Up(GossipPeer),
    Down(Origin),
    /// It said good-bye: this start of it does not come back.
    Left(Origin),
    Item(Vec<u8>),
    /// A member asks: answer to this address, with this number.
    Asked {
        from: GossipPeer,
        number: u64,
        request: Vec<u8>,
    },
    Slow(Duration),
}

#[derive(Debug)]
struct Ask {
    deadline: Moment,
    of: Origin,
    answer: oneshot::Sender<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Engine {
    seal: Arc<dyn DatagramSeal>,
    counters: Arc<Counters>,
    slow_after: Duration,
    links: Links,
    limits: Limits,
    swim: Swim,
    spread: Spread,
    join: Join,
    asks: BTreeMap<u64, Ask>,
    asked: u64,
    sweep_at: Moment,
    left: bool,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
}

impl Engine {
    pub(crate) fn new(
        me: Identity,
        times: Times,
        seal: Arc<dyn DatagramSeal>,
        counters: Arc<Counters>,
        now: Moment,
    ) -> Self {
        let random = || {
            let mut seed = [0; 32];
            seal.random(&mut seed);
            seed
        };
        Self {
            slow_after: USUAL_LAG.max(times.probe_rtt / 2),
            links: Links::new(me.origin),
            limits: Limits::default(),
            join: Join::new(me.address, now),
            swim: Swim::new(me, times, random()),
            spread: Spread::new(random()),
            asks: BTreeMap::new(),
            asked: 0,
            sweep_at: now.plus(SWEEP),
            left: false,
            out: VecDeque::new(),
            events: VecDeque::new(),
            seal,
            counters,
        }
    }

    /// A datagram came in.
    pub(crate) fn datagram(&mut self, from: SocketAddr, sealed: &[u8], now: Moment) {
        self.counters.bytes_received.add(sealed.len());
        if !(MIN_DATAGRAM..=MAX_DATAGRAM).contains(&sealed.len())
            || !self.limits.admit(from, self.links.is_proven(&from), now)
        {
            return self.counters.limited.one();
        }
        let Ok(opened) = self.seal.open(sealed) else {
            return self.counters.unopened.one();
        };
        let seal = Arc::clone(&self.seal);
        match self.links.incoming(from, &opened, now, &mut |bytes| seal.random(bytes)) {
            Incoming::Take { origin, kind, body } => {
                self.counters.datagrams_taken.one();
                if !self.take(from, origin, kind, &body, now) {
                    self.counters.malformed.one();
                }
                self.flush(now);
            }
            Incoming::Challenge(challenge) => {
                self.counters.challenged.one();
                self.transmit(from, &challenge);
            }
            Incoming::Resend(again) => again.iter().for_each(|plain| self.transmit(from, plain)),
            Incoming::Replayed => self.counters.replayed.one(),
            Incoming::Malformed => self.counters.malformed.one(),
            Incoming::Limited => self.counters.limited.one(),
            Incoming::Own => self.join.is_own(from),
            Incoming::Stale => {}
        }
    }

    /// Processes what a proven source sent. `false`: it is malformed.
    fn take(&mut self, from: SocketAddr, origin: Origin, kind: Kind, body: &[u8], now: Moment) -> bool {
        match kind {
            // Challenges are the links' own.
            Kind::Challenge | Kind::Hello => true,
            // Whoever has left hears that it is gone, and must not come back for it.
            Kind::Swim => self.left || self.swim.take(origin, body, now),
            Kind::Items => {
                let Some(items) = items(body) else { return false };
                for item in items {
                    if self.spread.add(item) {
                        self.tell(Event::Item(item.to_vec()));
                    }
                }
                true
            }
            Kind::Ask => {
                let Some((number, request)) = numbered(body) else {
                    return false;
                };
                let known = self.swim.members().get(&origin);
                let name = known.map_or_else(String::new, |peer| peer.name.clone());
                let from = GossipPeer {
                    origin,
                    address: from,
                    name,
                };
                let request = request.to_vec();
                self.tell(Event::Asked { from, number, request });
                true
            }
            Kind::Answer => {
                let Some((number, answer)) = numbered(body) else {
                    return false;
                };
                if self.asks.get(&number).is_some_and(|ask| ask.of == origin)
                    && let Some(ask) = self.asks.remove(&number)
                {
                    // Whoever asked may have gone.
                    let _ = ask.answer.send(answer.to_vec());
                }
                true
            }
            Kind::Leave => {
                self.swim.left(origin, now);
                // It is said twice, so that one may be lost; told as often as it is heard.
                self.tell(Event::Left(origin));
                true
            }
        }
    }

    /// Runs what is due.
    pub(crate) fn timers(&mut self, now: Moment) {
        if let Some(due) = self.swim.next_timer().filter(|due| *due <= now) {
            let lag = now.since(due);
            if lag > self.slow_after {
                self.swim.was_slow(lag, now);
                self.tell(Event::Slow(lag));
            } else {
                self.swim.run_timers(now);
            }
        }
        if !self.left && self.join.due() <= now {
            let (members, gone) = (self.swim.members(), self.swim.gone());
            for to in self.join.round(members.values().map(|peer| peer.address), gone, now) {
                self.swim.announce(to, now);
            }
        }
        while let Some(ask) = self.asks.first_entry() {
            if ask.get().deadline > now {
                break;
            }
            ask.remove();
        }
        if self.sweep_at <= now {
            self.sweep_at = now.plus(SWEEP);
            self.links.sweep(now);
            self.swim.sweep(now);
        }
        self.flush(now);
    }

    /// When [`Self::timers`] has something to do.
    pub(crate) fn next_timer(&self) -> Moment {
        let join = if self.left { Moment::NEVER } else { self.join.due() };
        let ask = self
            .asks
            .first_key_value()
            .map_or(Moment::NEVER, |(_, ask)| ask.deadline);
        let swim = self.swim.next_timer().unwrap_or(Moment::NEVER);
        swim.min(self.spread.next_round()).min(join).min(ask).min(self.sweep_at)
    }

    /// Sends an item towards every member. `false`: it is known, empty or too long.
    pub(crate) fn broadcast(&mut self, item: &[u8], now: Moment) -> bool {
        let added = self.spread.add(item);
        self.flush(now);
        added
    }

    /// Asks a member. The answer's sender is dropped when there will be none.
    pub(crate) fn ask(&mut self, to: &GossipPeer, request: &[u8], answer: oneshot::Sender<Vec<u8>>, now: Moment) {
        if self.asks.len() >= MAX_ASKS || request.len() > MAX_SMALL {
            return self.counters.dropped.one();
        }
        self.asked += 1;
        let ask = Ask {
            deadline: now.plus(ANSWER_WITHIN),
            of: to.origin,
            answer,
        };
        self.asks.insert(self.asked, ask);
        self.send_numbered(to.address, Kind::Ask, self.asked, request, now);
    }

    /// Answers a member's request.
    pub(crate) fn answer(&mut self, to: SocketAddr, number: u64, answer: &[u8], now: Moment) {
        if answer.len() > MAX_SMALL {
            return self.counters.dropped.one();
        }
        self.send_numbered(to, Kind::Answer, number, answer, now);
    }

    /// A seed, by its number, was looked up and stands for these addresses.
    pub(crate) fn looked_up(&mut self, seed: usize, addresses: impl IntoIterator<Item = SocketAddr>, now: Moment) {
        self.join.looked_up(seed, addresses, now);
    }

    /// Others were heard of at these addresses.
    pub(crate) fn suggested(&mut self, addresses: impl IntoIterator<Item = SocketAddr>, now: Moment) {
        self.join.suggested(addresses, now);
    }

    /// Says good-bye. Again: says it again, to those who did not hear it.
    pub(crate) fn leave(&mut self, now: Moment) {
        let members: Vec<_> = self.swim.members().values().map(|peer| peer.address).collect();
        for address in members {
            self.send(address, Kind::Leave, &[], now);
        }
        if !self.left {
            self.left = true;
            self.swim.leave(now);
        }
        self.flush(now);
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Whether nobody takes the events, and more are kept than should be.
    pub(crate) fn is_stuck(&self) -> bool {
        self.events.len() > 2 * MAX_EVENTS
    }

    pub(crate) fn members(&self) -> usize {
        self.swim.members().len()
    }

    fn tell(&mut self, event: Event) {
        let may_be_lost = matches!(event, Event::Item(_) | Event::Asked { .. });
        if may_be_lost && self.events.len() >= MAX_EVENTS {
            return self.counters.dropped.one();
        }
        self.events.push_back(event);
    }

    /// Passes on what the machines inside have to say.
    fn flush(&mut self, now: Moment) {
        let mut changed = false;
        while let Some(change) = self.swim.poll_change() {
            changed = true;
            self.tell(match change {
                Change::Up(peer) => Event::Up(peer),
                Change::Down(origin) => Event::Down(origin),
            });
        }
        if changed {
            self.spread.members_changed(self.swim.members().keys().copied());
            self.counters.members.set(self.members());
        }
        while let Some((to, message)) = self.swim.poll_send() {
            self.send(to, Kind::Swim, &message, now);
        }
        if (self.spread.has_fresh() || self.spread.next_round() <= now)
            && let Some((targets, bodies)) = self.spread.round(now)
        {
            let members = self.swim.members();
            let addresses: Vec<_> = targets
                .iter()
                .filter_map(|origin| members.get(origin).map(|peer| peer.address))
                .collect();
            for to in addresses {
                for body in &bodies {
                    self.send(to, Kind::Items, body, now);
                }
            }
        }
    }

    fn send_numbered(&mut self, to: SocketAddr, kind: Kind, number: u64, bytes: &[u8], now: Moment) {
        let mut body = Vec::with_capacity(8 + bytes.len());
        body.extend_from_slice(&number.to_be_bytes());
        body.extend_from_slice(bytes);
        self.send(to, kind, &body, now);
    }

    fn send(&mut self, to: SocketAddr, kind: Kind, body: &[u8], now: Moment) {
        let seal = Arc::clone(&self.seal);
        match self
            .links
            .outgoing(to, kind, body, now, &mut |bytes| seal.random(bytes))
        {
            Some(plain) => self.transmit(to, &plain),
            None => self.counters.dropped.one(),
        }
    }

    fn transmit(&mut self, to: SocketAddr, plain: &[u8]) {
        let sealed = self.seal.seal(plain);
        debug_assert!(
            (MIN_DATAGRAM..=MAX_DATAGRAM).contains(&sealed.len()),
            "{}",
            sealed.len()
        );
        self.counters.datagrams_sent.one();
        self.counters.bytes_sent.add(sealed.len());
        self.out.push_back((to, sealed));
    }
}

fn numbered(body: &[u8]) -> Option<(u64, &[u8])> {
    let (number, bytes) = body.split_first_chunk::<8>()?;
    (bytes.len() <= MAX_SMALL).then_some((u64::from_be_bytes(*number), bytes))
}
