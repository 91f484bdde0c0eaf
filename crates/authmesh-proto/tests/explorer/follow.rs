//! The rules of `follower/channel.rs` and `follower/mod.rs` for one channel, small enough to be copied and compared.
//! `real.rs` holds them against the real follower.

use crate::rules::Rule;
use crate::state::{Follow, Log, NONE, Phase, Purpose, Scenario};

/// What the follower asks for; the mirror of `follower::Action`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Apply(u8),
    Bump,
    ReadLog,
    Load,
    Recommit,
    /// Mint, if the log's incarnation is this one.
    Mint(u8),
}

pub(crate) type Acts = Vec<Act>;

impl Follow {
    pub(crate) fn settled(&self) -> bool {
        self.phase == Phase::Current
    }

    fn is_loading(&self) -> bool {
        matches!(
            self.phase,
            Phase::Loading { .. } | Phase::Recommitting { .. } | Phase::Minting { .. }
        )
    }

    /// Whether an entry is among the remembered positions.
    pub(crate) fn knows(&self, log: &Log, at: u8) -> bool {
        at >= self.base && log.holds(self.watermark, at)
    }

    /// Whether a head proves the channel current, read by a call that was sent when the watermark was `asked`.
    pub(crate) fn proves(&self, log: &Log, head: u8, asked: u8, scenario: &Scenario) -> bool {
        if !self.knows(log, head) || log.incarnation(head) != log.incarnation(self.watermark) {
            return false;
        }
        // An older head: its successor must have been applied since.
        let older = head != self.watermark && asked != NONE && head != asked && log.holds(asked, head);
        !older || !scenario.rule(Rule::HeadAsked)
    }

    fn moved_since(&self, asked: u8) -> bool {
        self.watermark != asked
    }

    fn is_next(&self, log: &Log, at: u8) -> bool {
        log.incarnation(at) == log.incarnation(self.watermark) && log.entry(at).previous == self.watermark
    }

    /// Whether a bell would be applied.
    pub(crate) fn applies(&self, log: &Log, at: u8, scenario: &Scenario) -> bool {
        !self.is_loading() && !self.knows(log, at) && (self.is_next(log, at) || !scenario.rule(Rule::Link))
    }

    /// A call for the log is carried out.
    pub(crate) fn fix(&mut self, log: &Log) {
        if let Phase::Reading { fixed, .. } | Phase::Loading { fixed, .. } = &mut self.phase
            && *fixed == NONE
        {
            *fixed = log.head;
        }
    }

    pub(crate) fn on_bell(&mut self, log: &Log, at: u8, scenario: &Scenario, acts: &mut Acts) {
        if self.is_loading() || self.knows(log, at) {
            return;
        }
        if self.is_next(log, at) {
            self.apply(at, acts);
        } else if !scenario.rule(Rule::Link) {
            self.base = at;
            self.apply(at, acts);
        } else {
            self.suspect();
        }
    }

    pub(crate) fn on_heads(&mut self, log: &Log, head: u8, asked: u8, scenario: &Scenario) {
        if self.proves(log, head, asked, scenario) {
            if self.phase == Phase::Suspect {
                self.phase = Phase::Current;
            }
        } else {
            self.suspect();
        }
    }

    pub(crate) fn repair(&mut self, acts: &mut Acts) {
        self.phase = Phase::Reading {
            asked: self.watermark,
            fixed: NONE,
        };
        acts.push(Act::ReadLog);
    }

    pub(crate) fn on_slice(&mut self, log: &Log, head: u8, asked: u8, scenario: &Scenario, acts: &mut Acts) {
        if log.incarnation(head) != log.incarnation(self.watermark) {
            let purpose = if scenario.rule(Rule::Adopt) {
                Purpose::Adopt
            } else {
                Purpose::BeforeMint
            };
            self.load(purpose, acts);
            return;
        }
        if log.holds(head, self.watermark) {
            let mut news: Vec<u8> = log.back_from(head).take_while(|at| *at != self.watermark).collect();
            while let Some(at) = news.pop() {
                self.apply(at, acts);
            }
            self.caught_up(log, head, asked, scenario, acts);
        } else if self.proves(log, head, asked, scenario) {
            self.caught_up(log, head, asked, scenario, acts);
        } else if self.moved_since(asked) {
            self.phase = Phase::Suspect;
        } else {
            self.load(Purpose::BeforeMint, acts);
        }
    }

    fn caught_up(&mut self, log: &Log, head: u8, asked: u8, scenario: &Scenario, acts: &mut Acts) {
        if self.proves(log, head, asked, scenario) {
            self.phase = Phase::Current;
        } else {
            // Suspect, and due at once.
            self.repair(acts);
        }
    }

    pub(crate) fn on_loaded(&mut self, log: &Log, purpose: Purpose, head: u8, scenario: &Scenario, acts: &mut Acts) {
        // Another node has minted since the log was read. With one failover no incarnation ever comes back.
        let minted_meanwhile = log.incarnation(head) != log.incarnation(self.watermark);
        let purpose = if minted_meanwhile && scenario.rule(Rule::Adopt) {
            Purpose::Adopt
        } else {
            purpose
        };
        match purpose {
            Purpose::BeforeMint => {
                self.phase = Phase::Recommitting {
                    expected: log.incarnation(head),
                };
            }
            Purpose::Adopt => {
                self.watermark = head;
                self.base = head;
                self.phase = Phase::Current;
                acts.push(Act::Bump);
            }
        }
        acts.push(Act::Recommit);
    }

    /// A recommit was answered, and none is under way any more.
    pub(crate) fn on_recommitted(&mut self, acts: &mut Acts) {
        if let Phase::Recommitting { expected } = self.phase {
            self.phase = Phase::Minting { expected };
            acts.push(Act::Mint(expected));
        }
    }

    pub(crate) fn on_minted(&mut self, acts: &mut Acts) {
        self.repair(acts);
    }

    pub(crate) fn load(&mut self, purpose: Purpose, acts: &mut Acts) {
        self.phase = Phase::Loading { purpose, fixed: NONE };
        acts.push(Act::Bump);
        acts.push(Act::Load);
    }

    fn apply(&mut self, at: u8, acts: &mut Acts) {
        self.watermark = at;
        acts.push(Act::Apply(at));
    }

    fn suspect(&mut self) {
        if self.phase == Phase::Current {
            self.phase = Phase::Suspect;
        }
    }
}
