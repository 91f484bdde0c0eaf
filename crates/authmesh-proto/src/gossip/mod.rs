//! Gossip: coherence that needs no Redis.
//!
//! A pure state machine, with the contract of [`follower`](crate::follower): it is told what came in ([`Gossip::handle`]), asked
//! what to do ([`Gossip::poll`]) and when to be woken ([`Gossip::poll_timeout`]). It sees the node's marks, and changes them
//! only through its driver.
//!
//! Broadcasts are best effort. The guarantee is carried by one question, asked all the time: *what have you applied since
//! version v?* Whoever has applied all of the answer has applied everything that the other one had: it has **evidence** of it
//! (`view`). What does not fit a datagram goes by stream.
//!
//! | the answer | what happens |
//! | --- | --- |
//! | a statement that is not known here | it is in it, and applied; or all changes are pulled by stream |
//! | marks whose statements nobody knows | the marks of that bucket are pulled |
//! | a channel was voided | it is voided here, once for each reason |
//! | too much, or too long ago | everything is compared: counters and digests of marks; what is lacking is taken over, and its channel voided |

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

mod answer;
mod canon;
mod exchange;
pub mod message;
mod ring;
mod round;
mod talk;
mod view;

use crate::ident::{ChannelId, Origin, StatementName};
use crate::marks::Marks;
use crate::statement::{Body, Statement, StatementError};
use crate::time::{Moment, Now, Unix};
use exchange::Pending;
use message::{Item, Request};
use ring::{Offered, Ring};
use view::{Moved, View};

pub use message::{Peer, Speaks, VoidId};
pub use talk::{Action, Confirmations, Event, GossipConfig, Input, Registered};

#[cfg(test)]
mod tests;

/// How much later than now a mark may end: longer than any origin makes one.
const LONGEST_MARK: Unix = 8 * 86_400 + 3600;
/// How far ahead of the wall clock a `not_before` may lie: clocks may be off, but not by so much.
const FURTHEST_AHEAD: Unix = 3600;
/// How often what is old is dropped.
const TRIM_PERIOD: Duration = Duration::from_secs(5);
/// How long statements that are made in a row are gathered before they are sent together.
const GATHER: Duration = Duration::from_millis(2);

/// One node's part in the gossip of its cluster.
#[derive(Debug, Clone)]
pub struct Gossip {
    config: GossipConfig,
    me: Peer,
    ring: Ring,
    view: View,
    actions: VecDeque<Action>,
    /// Exchanges by datagram that are under way: whom, and since when.
    asks: BTreeMap<u64, (Origin, Moment, Vec<StatementName>)>,
    /// The greater ones, by stream: one for each member at most.
    pulls: BTreeMap<u64, Pending>,
    next_exchange: u64,
    /// Own statements that somebody waits for, and who has confirmed them.
    awaited: BTreeMap<StatementName, BTreeSet<Origin>>,
    /// Own statements that were not sent yet.
    fresh: Vec<StatementName>,
    flush_at: Moment,
    last_flush: Moment,
    next_round: Moment,
    rounds: u64,
    next_trim: Moment,
    random: u64,
    said: u64,
    dirty: Vec<ChannelId>,
    /// The end of the follower's own lease, as it was told last.
    follower_until: Moment,
    left: bool,
}

impl Gossip {
    /// A node that knows nobody. It is blind until it was taken in.
    #[must_use]
    pub fn new(config: GossipConfig, me: Peer, now: Moment) -> Self {
        Self {
            ring: Ring::new(config.ring_life, config.ring_cap, config.origin_cap, config.has_log),
            view: View::new(me.origin),
            actions: VecDeque::new(),
            asks: BTreeMap::new(),
            pulls: BTreeMap::new(),
            next_exchange: 1,
            awaited: BTreeMap::new(),
            fresh: Vec::new(),
            flush_at: Moment::NEVER,
            last_flush: Moment::ORIGIN,
            next_round: now,
            rounds: config.seed,
            next_trim: now.plus(TRIM_PERIOD),
            random: config.seed | 1,
            said: 0,
            dirty: Vec::new(),
            follower_until: Moment::ORIGIN,
            left: false,
            config,
            me,
        }
    }

    /// Its periods and limits.
    #[must_use]
    pub const fn config(&self) -> &GossipConfig {
        &self.config
    }

    /// Until when the node is coherent, by Redis or by gossip. `follower`: what the follower says of itself.
    /// [`Moment::ORIGIN`]: never yet.
    #[must_use]
    pub fn coherent_until(&self, now: Moment, follower: Moment) -> Moment {
        self.view.lease(now, follower, &self.config)
    }

    /// The ends of the two leases whose later one is [`Gossip::coherent_until`]: by Redis, and by gossip.
    #[must_use]
    pub fn leases(&self, now: Moment, follower: Moment) -> (Moment, Moment) {
        self.view.leases(now, follower, &self.config)
    }

    /// Whether this node was taken in.
    #[must_use]
    pub const fn joined(&self) -> bool {
        self.view.joined
    }

    /// Whether its marks are those of the cluster.
    #[must_use]
    pub const fn loaded(&self) -> bool {
        self.view.loaded
    }

    /// Whether an operator forgot it.
    #[must_use]
    pub const fn forgotten(&self) -> bool {
        self.view.forgotten
    }

    /// Whether its own proofs by Redis, and what Redis has committed for it, count: no member may hold it to be gone.
    #[must_use]
    pub fn vouched(&self, now: Moment) -> bool {
        self.view.joined && self.view.vouched && self.view.is_registered(now, &self.config)
    }

    /// The members of the view, this node not among them, each with whether SWIM finds it, and the instant of this node's
    /// evidence of it.
    pub fn members(&self) -> impl Iterator<Item = (Peer, bool, Option<Moment>)> + '_ {
        let member =
            |(origin, member): (&Origin, &view::Member)| Some((self.view.peer(origin)?, member.is_up, member.evidence));
        self.view.iter().filter_map(member)
    }

    /// The instant of the newest proof by Redis that is applied here, of this node or relayed.
    #[must_use]
    pub const fn redis_proof(&self) -> Option<Moment> {
        self.view.redis
    }

    /// The members that stand between this node and being taken in: they have not said that they know it.
    pub fn waits_for(&self) -> impl Iterator<Item = Peer> + '_ {
        let unknowing = self.view.iter().filter(|(_, member)| !member.knows_me);
        unknowing.filter_map(|(origin, _)| self.view.peer(origin))
    }

    /// Whom this node's registration may name as members of its view: nobody while it has applied a statement that the log does
    /// not have. Whoever is taken in by that word alone has what the log has, and no more.
    #[must_use]
    pub fn vouches_for(&self) -> Vec<Origin> {
        match self.config.has_log && !self.ring.all_positioned() {
            true => Vec::new(),
            false => self.view.iter().map(|(origin, _)| *origin).collect(),
        }
    }

    /// Whether every member understands a statement kind: only then may it be sent. What a member never said, it does not.
    #[must_use]
    pub fn all_know_kind(&self, kind: u16) -> bool {
        self.view.iter().all(|(_, member)| member.speaks.kinds.contains(&kind))
    }

    /// Whether a member has said what it understands, and this kind is not among it.
    #[must_use]
    pub fn denies_kind(&self, kind: u16) -> bool {
        self.view.iter().any(|(_, member)| {
            let kinds = &member.speaks.kinds;
            !kinds.is_empty() && !kinds.contains(&kind)
        })
    }

    /// Who has confirmed a statement of this node that is waited for.
    #[must_use]
    pub fn confirmations(&self, name: &StatementName) -> Option<Confirmations> {
        let confirmed_by = self.awaited.get(name)?;
        let (confirmed, missing) = self
            .view
            .iter()
            .partition::<Vec<_>, _>(|(origin, _)| confirmed_by.contains(origin));
        let peers = |members: Vec<(&Origin, _)>| {
            members
                .into_iter()
                .filter_map(|(origin, _)| self.view.peer(origin))
                .collect()
        };
        Some(Confirmations {
            confirmed: peers(confirmed),
            missing: peers(missing),
        })
    }

    /// How many statements the ring holds.
    #[must_use]
    pub fn ring_len(&self) -> usize {
        self.ring.len()
    }

    /// Whether a statement was applied here.
    #[must_use]
    pub fn has_applied(&self, name: &StatementName) -> bool {
        self.ring.contains(name)
    }

    /// When [`Gossip::tick`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Moment {
        if self.left {
            return Moment::NEVER;
        }
        self.next_round.min(self.flush_at)
    }

    /// The next thing to do; call until it answers `None`. Carry each out before the next input: what was granted counts on it.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Something came in.
    pub fn handle(&mut self, now: Now, input: Input, marks: &Marks) {
        let at = now.boot;
        match input {
            Input::Up(peer) => self.on_up(at, &peer),
            Input::Down(origin) => {
                if let Some(member) = self.view.get_mut(&origin) {
                    member.is_up = false;
                    member.next_try = at.plus(self.config.period);
                }
            }
            Input::Gone(origin) => self.part(origin),
            Input::Registered(asked, list) => {
                for registered in &list {
                    self.part_if_former(&registered.peer);
                }
                self.view.registered(at, asked, list, &self.config);
            }
            Input::Announced(asked) => self.view.announced(at, asked, &self.config),
            Input::Proven(proven) => {
                self.follower_until = proven.plus(self.config.lease);
                self.view.proven(at, proven, &self.config);
            }
            Input::Said(statement) => self.on_said(at, &statement),
            Input::Await(name) => {
                self.awaited.entry(name).or_default();
                self.confirm(at, &[]);
            }
            Input::Unawait(name) => {
                self.awaited.remove(&name);
            }
            Input::Logged(statement) => {
                if self.ring.offer(at, &statement, true) == Offered::Known {
                    self.ring.positioned(&statement.name);
                }
            }
            Input::Voided(channel, id) => {
                self.ring.voided(at, channel, id);
            }
            Input::Merged(channel, bucket) => self.ring.merged(at, channel, bucket),
            Input::Dirty(channels) => self.dirty = channels,
            Input::Item(item) => self.on_item(now, &item),
            Input::Asked {
                token,
                from,
                request,
                limit,
            } => self.on_asked(now, token, &from, &request, limit, marks),
            Input::Answered { exchange, answer } => self.on_answered(now, exchange, answer.as_deref(), marks),
        }
        self.tick(now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        if self.left {
            return;
        }
        let at = now.boot;
        if at >= self.flush_at {
            self.flush(at);
        }
        if at >= self.next_trim {
            self.next_trim = at.plus(TRIM_PERIOD);
            self.trim(at);
        }
        if at >= self.next_round {
            self.next_round = at.plus(self.config.period);
            self.round(at);
            self.give_up_lost(at);
        }
        if self.view.try_join(at, &self.config) {
            self.actions.push_back(Action::Tell(Event::TakenIn));
        }
        self.tell_moved(at);
    }

    fn on_up(&mut self, now: Moment, peer: &Peer) {
        for former in self.view.supersede(peer) {
            self.part(former);
        }
        if self.view.hear_of(now, peer, self.config.member_cap)
            && let Some(member) = self.view.get_mut(&peer.origin)
        {
            member.is_up = true;
        }
    }

    /// An earlier start of this node stands in records and views of others: it has ended.
    fn part_if_former(&mut self, peer: &Peer) {
        let is_here = !peer.address.is_empty() && (&peer.address, &peer.name) == (&self.me.address, &self.me.name);
        if is_here && peer.origin != self.me.origin {
            self.part(peer.origin);
        }
    }

    fn part(&mut self, origin: Origin) {
        let was_forgotten = self.view.forgotten;
        self.view.part(origin);
        if self.view.forgotten && !was_forgotten {
            self.actions.push_back(Action::Tell(Event::Forgotten));
        }
    }

    fn tell_moved(&mut self, now: Moment) {
        let moved = self.view.take_moved();
        if moved.is_empty() {
            return;
        }
        for moved in moved {
            let event = match moved {
                Moved::Joined(peer) => Event::Joined(peer),
                Moved::Left(origin) => {
                    self.pulls.retain(|_, pending| pending.from != origin);
                    Event::Left(origin)
                }
            };
            self.actions.push_back(Action::Tell(event));
        }
        self.confirm(now, &[]);
    }

    fn on_said(&mut self, now: Moment, statement: &Statement) {
        // An own statement always has room: the outbox is smaller than the ring.
        self.ring.offer(now, statement, false);
        self.said += 1;
        self.fresh.push(statement.name);
        self.flush_at = self.flush_at.min(self.last_flush.plus(GATHER).max(now));
    }

    fn on_item(&mut self, now: Now, item: &[u8]) {
        if let Ok(item) = Item::decode(item) {
            self.hear_all(now, None, &item.statements);
        }
    }

    /// Applies statements that came by gossip. `false`: one of them cannot be applied by this node.
    fn hear_all(&mut self, now: Now, from: Option<Origin>, statements: &[Vec<u8>]) -> bool {
        let mut all = true;
        for bytes in statements {
            all &= self.hear(now, from, bytes);
        }
        all
    }

    fn hear(&mut self, now: Now, from: Option<Origin>, bytes: &[u8]) -> bool {
        let statement = match Statement::decode(bytes) {
            Ok(statement) => statement,
            Err(error) => {
                if let Some(from) = from {
                    let event = match error {
                        StatementError::UnknownKind(kind) => Event::UnknownKind(from, kind),
                        StatementError::Wire(_) => Event::Malformed(from),
                    };
                    self.actions.push_back(Action::Tell(event));
                }
                return false;
            }
        };
        if statement.name.counter == 0 || self.ring.contains(&statement.name) {
            return true;
        }
        if let Body::Mark(mark) = &statement.body
            && (mark.expires > now.wall.saturating_add(LONGEST_MARK)
                || mark.not_before > now.wall.saturating_add(FURTHEST_AHEAD))
        {
            self.actions.push_back(Action::Tell(Event::Absurd(statement.name)));
            return false;
        }
        match self.ring.offer(now.boot, &statement, false) {
            Offered::New => {
                self.actions.push_back(Action::Apply(statement));
                true
            }
            Offered::Known => true,
            Offered::Refused => false,
        }
    }

    /// Members have confirmed statements; or the view is another one.
    fn confirm(&mut self, now: Moment, by: &[(Origin, StatementName)]) {
        let counts = self.view.speaks_for_all(now, &self.config);
        for (origin, name) in by {
            let Some(confirmed) = self.awaited.get_mut(name) else {
                continue;
            };
            if self.view.get(origin).is_some() && confirmed.insert(*origin) {
                let whole = counts && self.view.iter().all(|(origin, _)| confirmed.contains(origin));
                self.actions.push_back(Action::Confirmed { name: *name, whole });
            }
        }
        // Alone beside a log: what is confirmed stands in the log.
        let alone = self.view.others() == 0 && self.config.has_log;
        if by.is_empty() && counts && !alone {
            for (name, confirmed) in &self.awaited {
                if self.view.iter().all(|(origin, _)| confirmed.contains(origin)) {
                    self.actions.push_back(Action::Confirmed {
                        name: *name,
                        whole: true,
                    });
                }
            }
        }
    }

    fn trim(&mut self, now: Moment) {
        let (view, ring) = (&self.view, &mut self.ring);
        for statement in ring.trim(now, |origin| view.contains(origin)) {
            let channel = statement.name.channel;
            // A mark stands in the table of this node, which whoever compares everything is given. A drop stands nowhere.
            if commits_void(&statement) {
                self.actions.push_back(Action::Soil(channel));
                self.actions.push_back(Action::Tell(Event::Overflow(channel)));
            }
            self.actions.push_back(Action::Forget(statement.name));
        }
    }

    /// Statements that are missing though later ones of their origin are there, and that no member has.
    fn give_up_lost(&mut self, now: Moment) {
        for (name, since) in self.ring.gaps(now) {
            let all_asked = self
                .view
                .iter()
                .all(|(_, member)| member.completed.is_some_and(|at| at > since));
            if all_asked && now.since(since) > self.config.lease {
                self.ring.give_up(now, &name);
                self.actions.push_back(Action::BumpChannel(name.channel));
                self.actions.push_back(Action::Soil(name.channel));
                self.actions.push_back(Action::Tell(Event::LostStatement(name)));
            }
        }
    }

    #[cfg(test)]
    fn restart_changes(&mut self) {
        self.ring.restart();
    }

    #[cfg(test)]
    fn unawait_all(&mut self) {
        self.awaited.clear();
    }

    /// This node leaves: what it has said and not sent yet is sent; then it asks nobody any more, and answers that it is gone.
    pub fn leave(&mut self, now: Moment) {
        if !core::mem::replace(&mut self.left, true) && !self.fresh.is_empty() {
            self.flush(now);
        }
        self.view.leave();
    }

    fn exchange(&mut self) -> u64 {
        let exchange = self.next_exchange;
        self.next_exchange += 1;
        exchange
    }

    fn pull(&mut self, pending: Pending, request: &Request) {
        let exchange = self.exchange();
        let Some(to) = self.view.peer(&pending.from) else {
            return;
        };
        if let Some(member) = self.view.get_mut(&pending.from) {
            member.pulling = Some(exchange);
        }
        self.pulls.insert(exchange, pending);
        let request = request.encode();
        self.actions.push_back(Action::Pull { exchange, to, request });
    }

    /// SplitMix64: whom to ask is no secret.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Whether no table shows that the statement is lacking: a drop, or the mark of a tag.
fn commits_void(statement: &Statement) -> bool {
    crate::commit::Voids::of(&statement.body).is_some()
}
