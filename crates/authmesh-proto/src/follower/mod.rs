//! The follower: whether this node has applied everything that the log holds.
//!
//! A pure state machine over the 64 channels. It is told what came in ([`Follower::handle`]), asked what to do
//! ([`Follower::poll`]) and when to be woken ([`Follower::poll_timeout`]). It opens no envelope and draws no random number:
//! the driver does both, and says so in the inputs.
//!
//! | what the log shows | what happens |
//! | --- | --- |
//! | the entry after the watermark | apply |
//! | an entry applied recently | duplicate: nothing |
//! | anything else | the channel is *suspect*: no lease, its L2 is a miss; read the log |
//! | another incarnation | **adopt**: bump the channel, load marks, commit those that are lacking. Never mint |
//! | same incarnation, log trimmed past the watermark | **reload**: bump, load, go on from the head. Never mint |
//! | same incarnation, the watermark is absent | writes were lost: load, commit lacking marks, then **mint**, then adopt |
//! | an incarnation that this node followed before, or an older generation of a log that is not new | a mint was lost: the same |
//! | an entry that does not open | it may have been anything: no lease until a whole table of marks shows that no mark is missing, and a **mint** has voided what it may have dropped |
//! | a statement of an unknown kind | no lease: a newer node knows what it voids |
//!
//! The coherence lease comes from here too: it is the least over all channels of the instant *before* the newest read that
//! proved the channel current, plus the lease period.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::ident::{CHANNELS, ChannelId, Incarnation, Position};
use crate::log::Head;
use crate::statement::{Body, Statement, StatementError};
use crate::time::Moment;

mod channel;
mod talk;

use channel::{Channel, Phase, Purpose};
pub use talk::{Action, Event, FollowerConfig, Input, OpenedEntry, OpenedPayload, Refused, Slice};

#[cfg(test)]
mod tests;

/// Follows the logs of all channels.
#[derive(Debug)]
pub struct Follower {
    config: FollowerConfig,
    channels: Vec<Channel>,
    actions: VecDeque<Action>,
    next_heads: Moment,
    heads_asked: bool,
}

impl Follower {
    /// A follower that has applied nothing: the node is blind from birth.
    #[must_use]
    pub fn new(config: FollowerConfig, now: Moment) -> Self {
        Self {
            config,
            channels: (0..CHANNELS).map(|_| Channel::new(now)).collect(),
            actions: VecDeque::new(),
            next_heads: now.plus(config.watermark_period),
            heads_asked: false,
        }
    }

    /// Its periods.
    #[must_use]
    pub const fn config(&self) -> &FollowerConfig {
        &self.config
    }

    /// What the node has applied of a channel: incarnation, L2 generation, position. `None` before the first load.
    #[must_use]
    pub fn watermark(&self, channel: ChannelId) -> Option<Head> {
        self.channels[channel.index()].watermark
    }

    /// Whether L2 reads of a channel may count, and what head they must show.
    #[must_use]
    pub fn settled(&self, channel: ChannelId) -> Option<Head> {
        let channel = &self.channels[channel.index()];
        (channel.phase == Phase::Current && !channel.dirty)
            .then_some(channel.watermark)
            .flatten()
    }

    /// Whether a channel waits for a mint that voids everything in it; see [`Follower::soil`].
    #[must_use]
    pub fn is_dirty(&self, channel: ChannelId) -> bool {
        let channel = &self.channels[channel.index()];
        channel.dirty || channel.dirty_before_mint
    }

    /// Something in a channel is void that no statement will name: there was no room for it. The channel is *dirty*: its
    /// fence is raised, its L2 is a miss, and this node mints, which voids the whole channel on every node. Call it after
    /// the change; then poll.
    pub fn soil(&mut self, id: ChannelId) {
        self.channels[id.index()].dirty = true;
        self.actions.push_back(Action::BumpChannel(id));
    }

    /// Whether a head that was read shows that nothing is missing: it is the watermark, or was so recently that the read
    /// may have been slower than a bell. `asked` is the instant before the read.
    #[must_use]
    pub fn proves(&self, channel: ChannelId, head: &Head, asked: Moment) -> bool {
        self.channels[channel.index()].proves(head, asked)
    }

    /// Whether `position` is the watermark of a channel or was recently.
    #[must_use]
    pub fn knows(&self, channel: ChannelId, position: &Position) -> bool {
        self.channels[channel.index()].knows(position)
    }

    /// Until when the node is coherent, counted from before the reads that prove it. [`Moment::ORIGIN`]: never yet.
    #[must_use]
    pub fn coherent_until(&self) -> Moment {
        self.proven().map_or(Moment::ORIGIN, |at| at.plus(self.config.lease))
    }

    /// The least, over all channels, of the instants before the reads that proved them current; `None` while one of them was
    /// never proven.
    #[must_use]
    pub fn proven(&self) -> Option<Moment> {
        self.channels.iter().map(|channel| channel.proven).min().flatten()
    }

    /// Whether every channel's marks were loaded at least once.
    #[must_use]
    pub fn loaded(&self) -> bool {
        self.channels.iter().all(|channel| channel.watermark.is_some())
    }

    /// When [`Follower::tick`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Moment {
        let due = self
            .channels
            .iter()
            .filter_map(|channel| channel.due(&self.config))
            .min();
        let heads = if self.heads_asked {
            Moment::NEVER
        } else {
            self.next_heads
        };
        due.map_or(heads, |due| due.min(heads))
    }

    /// The next thing to do; call until it answers `None`.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Moment) {
        if !self.heads_asked && now >= self.next_heads {
            self.ask_heads(now);
        }
        for id in ChannelId::all() {
            let channel = &mut self.channels[id.index()];
            if channel.due(&self.config).is_some_and(|due| now >= due) {
                let action = channel.repair(id, now, &self.config);
                self.actions.push_back(action);
            }
        }
    }

    /// Something came in.
    pub fn handle(&mut self, now: Moment, input: Input) {
        match input {
            Input::Bell(entry) => self.on_bell(now, entry),
            Input::BellsBroken => {
                if !self.heads_asked {
                    self.ask_heads(now);
                }
            }
            Input::Heads(asked, heads) => self.on_heads(now, asked, heads),
            Input::Slice(id, asked, slice) => self.on_slice(now, id, asked, slice),
            Input::Loaded(id, asked, head) => self.on_loaded(now, id, asked, head),
            Input::Damaged(id, head) => self.on_damaged(now, id, head),
            Input::Recommitted(id, all) => self.on_recommitted(now, id, all),
            Input::Minted(id, won) => {
                let channel = &mut self.channels[id.index()];
                // Another node's mint may be from before what made the channel dirty.
                channel.dirty |= channel.dirty_before_mint && !won;
                if channel.phase == Phase::Minting {
                    channel.phase = Phase::Suspect { due: now };
                }
            }
        }
        self.tick(now);
    }

    fn ask_heads(&mut self, now: Moment) {
        self.heads_asked = true;
        self.next_heads = now.plus(self.config.watermark_period);
        self.actions.push_back(Action::ReadHeads);
    }

    fn on_bell(&mut self, now: Moment, entry: OpenedEntry) {
        let id = entry.channel;
        let channel = &self.channels[id.index()];
        if channel.is_loading() || channel.knows(&entry.head.position) {
            return;
        }
        if channel.is_next(&entry.head) {
            self.apply(now, entry);
        } else {
            self.suspect(now, id);
        }
    }

    fn on_heads(&mut self, now: Moment, asked: Moment, heads: Option<Vec<Option<Head>>>) {
        self.heads_asked = false;
        let Some(heads) = heads.filter(|heads| heads.len() == CHANNELS) else {
            return;
        };
        for (id, head) in ChannelId::all().zip(heads) {
            let channel = &mut self.channels[id.index()];
            let proves = head.is_some_and(|head| channel.proves(&head, asked));
            if proves && !channel.refused {
                channel.prove(asked);
                if matches!(channel.phase, Phase::Suspect { .. }) {
                    channel.phase = Phase::Current;
                }
            } else {
                self.suspect(now, id);
            }
        }
    }

    fn on_slice(&mut self, now: Moment, id: ChannelId, asked: Moment, slice: Option<Slice>) {
        let channel = &mut self.channels[id.index()];
        if channel.phase != Phase::Reading {
            return;
        }
        let (Some(slice), Some(watermark)) = (slice, channel.watermark) else {
            channel.retry(now, &self.config);
            return;
        };
        let Some(head) = slice.head else {
            self.lost_writes(now, id, None);
            return;
        };
        if head.incarnation != watermark.incarnation {
            // The log is back in an incarnation that was minted away: the mint itself is among the lost writes.
            // Every mint raises the generation. A log that goes back behind what this node joined at has lost one, too; only one
            // that was born anew since begins again.
            let from_before = slice.first.is_some_and(|first| first.id <= watermark.position.id);
            let is_back = head.generation < watermark.generation && from_before;
            if is_back || channel.has_followed(head.incarnation) {
                self.lost_writes(now, id, Some(head.incarnation));
            } else {
                self.load(id, Purpose::Adopt);
            }
            return;
        }
        let found = slice
            .entries
            .iter()
            .position(|entry| entry.head.position == watermark.position);
        match found {
            Some(at) => {
                for entry in slice.entries.into_iter().skip(at + 1) {
                    // A hole inside the log itself cannot be told from lost writes.
                    if !self.channels[id.index()].is_next(&entry.head) {
                        self.lost_writes(now, id, Some(head.incarnation));
                        return;
                    }
                    if !self.apply(now, entry) {
                        return;
                    }
                }
                self.caught_up(now, id, asked, &head);
            }
            // Bells were faster than the read.
            None if self.channels[id.index()].proves(&head, asked) => self.caught_up(now, id, asked, &head),
            None if self.channels[id.index()].moved_since(asked) => self.suspect_again(now, id),
            None if slice.first.is_some_and(|first| first.id > watermark.position.id) => self.load(id, Purpose::Reload),
            None => self.lost_writes(now, id, Some(head.incarnation)),
        }
    }

    fn caught_up(&mut self, now: Moment, id: ChannelId, asked: Moment, head: &Head) {
        let channel = &mut self.channels[id.index()];
        if channel.proves(head, asked) {
            channel.phase = Phase::Current;
            channel.prove(asked);
            if channel.wants_mint(now, &self.config) {
                let seen = Some(head.incarnation);
                self.load(id, Purpose::BeforeMint { seen });
            } else if channel.wants_reload(now) {
                self.load(id, Purpose::Reload);
            }
        } else {
            // The log goes on beyond what one read brings.
            channel.phase = Phase::Suspect { due: now };
        }
    }

    /// Bells outran the read so far that it tells nothing: read again.
    fn suspect_again(&mut self, now: Moment, id: ChannelId) {
        let channel = &mut self.channels[id.index()];
        channel.phase = Phase::Suspect {
            due: channel.next_repair.max(now),
        };
    }

    fn on_loaded(&mut self, now: Moment, id: ChannelId, asked: Moment, head: Option<Option<Head>>) {
        let channel = &mut self.channels[id.index()];
        let Phase::Loading(purpose) = channel.phase else {
            return;
        };
        let Some(head) = head else {
            // What does not open may stay so for long, and a table can be large.
            let wait = if channel.refused {
                self.config.watermark_period
            } else {
                self.config.retry_period
            };
            channel.phase = Phase::Suspect { due: now.plus(wait) };
            return;
        };
        let purpose = match (purpose, head) {
            // The loss that was seen is still there.
            (Purpose::BeforeMint { seen }, Some(head)) if seen == Some(head.incarnation) => purpose,
            // Before a mint: another node has minted since the log was read, and its new incarnation covers this loss too.
            (Purpose::BeforeMint { .. } | Purpose::Adopt, Some(head)) if !channel.has_followed(head.incarnation) => {
                Purpose::Adopt
            }
            // The loss that was seen is not there any more, or what was to be adopted is gone again: two primaries answer, or
            // one gave way to another. Read again, and decide again.
            (Purpose::BeforeMint { .. } | Purpose::Adopt, Some(_)) => return channel.retry(now, &self.config),
            (Purpose::Reload, Some(head)) if !channel.follows(head.incarnation) => {
                return channel.retry(now, &self.config);
            }
            (purpose, _) => purpose,
        };
        match (purpose, head) {
            (Purpose::BeforeMint { .. }, _) | (_, None) => {
                channel.phase = Phase::Recommitting {
                    expected: head.map(|head| head.incarnation),
                };
                self.actions.push_back(channel.recommit(id));
            }
            (purpose, Some(head)) => {
                channel.adopt(now, head);
                channel.prove(asked);
                // After the marks are in the map: what was filled between the first bump and the load is void too.
                self.actions.push_back(Action::BumpChannel(id));
                match purpose {
                    Purpose::Join => {}
                    Purpose::Reload => self.actions.push_back(Action::Tell(Event::Reloaded(id))),
                    Purpose::Adopt | Purpose::BeforeMint { .. } => {
                        self.actions.push_back(Action::Tell(Event::Adopted(id)))
                    }
                }
                // A node that joins may have kept marks from before its start.
                let recommit = self.channels[id.index()].recommit(id);
                self.actions.push_back(recommit);
            }
        }
    }

    /// A node that has followed the log knows marks that the table lacks; one that is new does not, and waits for one that
    /// does.
    fn on_damaged(&mut self, now: Moment, id: ChannelId, head: Option<Head>) {
        let channel = &mut self.channels[id.index()];
        let Phase::Loading(_) = channel.phase else { return };
        if channel.watermark.is_none() {
            channel.phase = Phase::Suspect {
                due: now.plus(self.config.watermark_period),
            };
        } else if self.may_mint(now, id) {
            self.actions.push_back(Action::Tell(Event::Damaged(id)));
            let channel = &mut self.channels[id.index()];
            channel.phase = Phase::Recommitting {
                expected: head.map(|head| head.incarnation),
            };
            self.actions.push_back(channel.recommit(id));
        }
    }

    fn on_recommitted(&mut self, now: Moment, id: ChannelId, all: bool) {
        let channel = &mut self.channels[id.index()];
        // An earlier recommit that still runs is waited for: its answer says nothing about the later one.
        let Some(all) = channel.recommitted(all) else {
            return;
        };
        match channel.phase {
            Phase::Recommitting { expected } if all => {
                channel.phase = Phase::Minting;
                channel.last_mint = Some(now);
                // What soils the channel from here on is not covered by this mint.
                channel.dirty_before_mint = core::mem::take(&mut channel.dirty);
                self.actions.push_back(Action::Mint(id, expected));
            }
            Phase::Recommitting { .. } => channel.retry(now, &self.config),
            // After an adoption. What the log still lacks is found by loading again; no oftener than a mint, since a log that
            // takes no writes must not cost the channel its cache four times a second.
            _ if !all => channel.reload_at(now.plus(self.config.mint_period)),
            _ => {}
        }
    }

    /// Writes that this node had applied are gone from the log, whose incarnation was `seen`: marks first, mint last.
    fn lost_writes(&mut self, now: Moment, id: ChannelId, seen: Option<Incarnation>) {
        if self.may_mint(now, id) {
            self.actions.push_back(Action::Tell(Event::LostWrites(id)));
            self.load(id, Purpose::BeforeMint { seen });
        }
    }

    /// Whether this node may mint. If not, it goes on reading meanwhile: another node may mint before this one may.
    fn may_mint(&mut self, now: Moment, id: ChannelId) -> bool {
        let channel = &mut self.channels[id.index()];
        let next = channel.next_mint(&self.config);
        if now < next {
            channel.phase = Phase::Suspect {
                due: next.min(now.plus(self.config.watermark_period)),
            };
        }
        now >= next
    }

    fn load(&mut self, id: ChannelId, purpose: Purpose) {
        let load = self.channels[id.index()].load(id, purpose);
        self.actions.push_back(Action::BumpChannel(id));
        self.actions.push_back(load);
    }

    fn apply(&mut self, now: Moment, entry: OpenedEntry) -> bool {
        let id = entry.channel;
        match entry.payload {
            OpenedPayload::Refused(why) => {
                let channel = &mut self.channels[id.index()];
                if !channel.refused {
                    self.actions.push_back(Action::Tell(Event::Refused(id, why)));
                }
                channel.refused = true;
                channel.phase = Phase::Suspect {
                    due: now.plus(self.config.watermark_period),
                };
                let opened = matches!(why, Refused::Statement(StatementError::UnknownKind(_)));
                if !opened && self.may_mint(now, id) {
                    let seen = Some(entry.head.incarnation);
                    self.load(id, Purpose::BeforeMint { seen });
                }
                return false;
            }
            OpenedPayload::Bare(statement) => {
                if matches!(statement.body, Body::Mark(_)) {
                    // Should its origin die first, somebody else has to bring it into the table: the reload finds it lacking.
                    self.channels[id.index()].reload_at(now.plus(self.config.mint_period));
                    self.actions.push_back(Action::Unmerged(statement.name));
                }
                self.push_apply(statement, &entry.head);
            }
            OpenedPayload::Statement(statement) => self.push_apply(statement, &entry.head),
            OpenedPayload::Nothing => {}
        }
        self.channels[id.index()].advance(now, entry.head);
        true
    }

    fn push_apply(&mut self, statement: Statement, head: &Head) {
        let (incarnation, position) = (head.incarnation, head.position);
        self.actions.push_back(Action::Apply(statement, incarnation, position));
    }

    fn suspect(&mut self, now: Moment, id: ChannelId) {
        let channel = &mut self.channels[id.index()];
        if channel.phase == Phase::Current {
            channel.phase = Phase::Suspect {
                due: channel.next_repair.max(now),
            };
            self.actions.push_back(Action::Tell(Event::Suspect(id)));
        }
    }
}
