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
    /// The newest positions applied, the watermark last.
    recent: VecDeque<Position>,
    pub(super) phase: Phase,
    /// The instant before the newest read that proved the watermark current.
    pub(super) proven: Option<Moment>,
    pub(super) next_repair: Moment,
    pub(super) last_mint: Option<Moment>,
    /// The entry after the watermark cannot be applied by this node.
    pub(super) refused: bool,
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
        }
    }

    pub(super) fn due(&self) -> Option<Moment> {
        match self.phase {
            Phase::Suspect { due } => Some(due),
            _ => None,
        }
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(
            self.phase,
            Phase::Loading(_) | Phase::Recommitting { .. } | Phase::Minting
        ) || self.watermark.is_none()
    }

    pub(super) fn knows(&self, position: &Position) -> bool {
        self.recent.contains(position)
    }

    /// Whether an entry comes right after the watermark.
    pub(super) fn is_next(&self, head: &Head) -> bool {
        self.watermark.is_some_and(|watermark| {
            watermark.incarnation == head.incarnation && head.previous == Some(watermark.position)
        })
    }

    /// Whether a head that was read proves that nothing is missing: this node has applied it, or what came after it.
    pub(super) fn proves(&self, head: &Head) -> bool {
        self.watermark.is_some_and(|watermark| watermark.incarnation == head.incarnation) && self.knows(&head.position)
    }

    pub(super) fn prove(&mut self, asked: Moment) {
        self.proven = self.proven.max(Some(asked));
    }

    pub(super) fn advance(&mut self, head: Head) {
        self.refused = false;
        self.watermark = Some(head);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(head.position);
    }

    pub(super) fn adopt(&mut self, head: Head) {
        self.recent.clear();
        self.advance(head);
        self.phase = Phase::Current;
    }

    pub(super) fn retry(&mut self, now: Moment, config: &FollowerConfig) {
        self.phase = Phase::Suspect {
            due: now.plus(config.retry_period),
        };
    }

    pub(super) fn repair(&mut self, id: ChannelId, now: Moment, config: &FollowerConfig) -> Action {
        self.next_repair = now.plus(config.repair_period);
        match self.watermark {
            None => {
                self.phase = Phase::Loading(Purpose::Join);
                Action::Load(id)
            }
            Some(watermark) => {
                self.phase = Phase::Reading;
                Action::ReadLog(id, watermark.position)
            }
        }
    }
}
