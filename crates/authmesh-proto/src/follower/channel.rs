//! The follower's state of one channel.

use alloc::collections::VecDeque;

use super::{Action, FollowerConfig};
use crate::ident::{ChannelId, Incarnation, Position};
use crate::log::Head;
use crate::time::Moment;

/// How many positions before the watermark are remembered, to tell a duplicate from a gap.
const RECENT: usize = 128;

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) watermark: Option<Head>,
    /// The newest positions applied, each with the instant when it was, the watermark last.
    recent: VecDeque<(Position, Moment)>,
    pub(super) phase: Phase,
    /// The instant before the newest read that proved the watermark current.
    pub(super) proven: Option<Moment>,
    pub(super) next_repair: Moment,
    pub(super) last_mint: Option<Moment>,
    /// The entry after the watermark cannot be applied by this node.
    pub(super) refused: bool,
    /// Something is void that no statement names.
    pub(super) dirty: bool,
    /// .. and was so when the newest mint was sent.
    pub(super) dirty_before_mint: bool,
    /// Recommits that were asked for and not answered yet. One from an adoption may still run when the next begins.
    recommits: u32,
    recommit_failed: bool,
    /// When to load again because marks could not be committed after an adoption.
    reload_at: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is known to be missing.
    Current,
    /// Something may be missing; repair is due at the given time.
    Suspect { due: Moment },
    /// A read of the log is under way.
    Reading,
    /// A load of the marks is under way.
    Loading(Purpose),
    /// Marks that the log lacks are being committed, before a mint.
    Recommitting { expected: Option<Incarnation> },
    /// A mint is under way.
    Minting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The node is new.
    Join,
    /// The log has another incarnation.
    Adopt,
    /// The log was trimmed past the watermark.
    Reload,
    /// The log lost writes.
    BeforeMint,
}

impl Channel {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            watermark: None,
            recent: VecDeque::new(),
            phase: Phase::Suspect { due: now },
            proven: None,
            next_repair: now,
            last_mint: None,
            refused: false,
            dirty: false,
            dirty_before_mint: false,
            recommits: 0,
            recommit_failed: false,
            reload_at: None,
        }
    }

    pub(super) fn due(&self, config: &FollowerConfig) -> Option<Moment> {
        match self.phase {
            Phase::Suspect { due } => Some(due),
            Phase::Current if self.dirty => {
                let mint = self.next_mint(config).max(self.next_repair);
                Some(self.reload_at.map_or(mint, |at| at.min(mint)))
            }
            Phase::Current => self.reload_at,
            _ => None,
        }
    }

    /// When this node may mint again.
    pub(super) fn next_mint(&self, config: &FollowerConfig) -> Moment {
        self.last_mint.map_or(Moment::ORIGIN, |at| at.plus(config.mint_period))
    }

    pub(super) fn wants_mint(&self, now: Moment, config: &FollowerConfig) -> bool {
        self.dirty && now >= self.next_mint(config)
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(
            self.phase,
            Phase::Loading(_) | Phase::Recommitting { .. } | Phase::Minting
        ) || self.watermark.is_none()
    }

    pub(super) fn knows(&self, position: &Position) -> bool {
        // The newest first: it is nearly always that one.
        self.recent.iter().rev().any(|(known, _)| known == position)
    }

    /// Whether an entry comes right after the watermark.
    pub(super) fn is_next(&self, head: &Head) -> bool {
        self.watermark.is_some_and(|watermark| {
            watermark.incarnation == head.incarnation && head.previous == Some(watermark.position)
        })
    }

    /// Whether a head that was read proves that nothing is missing: it is the watermark, or bells were faster than the
    /// read. `asked` is the instant before the read.
    ///
    /// An older head is no proof where its successor was applied before the read was even sent: a log that goes back has
    /// lost writes.
    pub(super) fn proves(&self, head: &Head, asked: Moment) -> bool {
        if self
            .watermark
            .is_none_or(|watermark| watermark.incarnation != head.incarnation)
        {
            return false;
        }
        let Some(at) = self.recent.iter().rposition(|(known, _)| *known == head.position) else {
            return false;
        };
        self.recent.get(at + 1).is_none_or(|(_, applied)| *applied >= asked)
    }

    /// Whether something was applied since `asked`: what was read then says nothing about the watermark of now.
    pub(super) fn moved_since(&self, asked: Moment) -> bool {
        self.recent.back().is_some_and(|(_, applied)| *applied >= asked)
    }

    pub(super) fn prove(&mut self, asked: Moment) {
        self.proven = self.proven.max(Some(asked));
    }

    pub(super) fn advance(&mut self, now: Moment, head: Head) {
        self.refused = false;
        self.watermark = Some(head);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((head.position, now));
    }

    pub(super) fn adopt(&mut self, now: Moment, head: Head) {
        self.recent.clear();
        self.dirty_before_mint = false;
        self.advance(now, head);
        self.phase = Phase::Current;
    }

    pub(super) fn recommit(&mut self, id: ChannelId) -> Action {
        if self.recommits == 0 {
            self.recommit_failed = false;
        }
        self.recommits += 1;
        Action::Recommit(id)
    }

    /// A recommit was answered. `Some` once none is under way any more: whether all of them succeeded.
    pub(super) fn recommitted(&mut self, all: bool) -> Option<bool> {
        self.recommits = self.recommits.saturating_sub(1);
        self.recommit_failed |= !all;
        (self.recommits == 0).then_some(!self.recommit_failed)
    }

    pub(super) fn reload_at(&mut self, at: Moment) {
        self.reload_at = Some(at);
    }

    /// Whether the log still lacks marks and it is time to look which.
    pub(super) fn wants_reload(&self, now: Moment) -> bool {
        self.reload_at.is_some_and(|at| now >= at)
    }

    pub(super) fn load(&mut self, id: ChannelId, purpose: Purpose) -> Action {
        self.reload_at = None;
        self.phase = Phase::Loading(purpose);
        Action::Load(id)
    }

    pub(super) fn retry(&mut self, now: Moment, config: &FollowerConfig) {
        self.phase = Phase::Suspect {
            due: now.plus(config.retry_period),
        };
    }

    pub(super) fn repair(&mut self, id: ChannelId, now: Moment, config: &FollowerConfig) -> Action {
        self.next_repair = now.plus(config.repair_period);
        match self.watermark {
            None => self.load(id, Purpose::Join),
            Some(watermark) => {
                self.phase = Phase::Reading;
                Action::ReadLog(id, watermark.position)
            }
        }
    }
}
