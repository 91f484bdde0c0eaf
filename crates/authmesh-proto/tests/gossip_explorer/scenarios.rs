//! What is explored, and the controls.

use std::time::Duration;

use authmesh_proto::gossip::GossipConfig;

use crate::world::{Budget, Tick, speaks, ticks};

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// A node is coherent with evidence of a plain majority.
    MajorityLease,
    /// A receipt is given when a majority has confirmed.
    MajorityConfirms,
    /// A node that comes is coherent as soon as Redis proves it current.
    JoinerAtOnce,
    /// An answer counts although its sender's view has members that the asker does not know.
    NoContainment,
    /// Evidence and proofs that are relayed arrive as if they were of now.
    NoAge,
    /// A node's own proofs from Redis count although members may hold it to be gone.
    Unvouched,
    /// A member is dropped as soon as it is not heard.
    DropAtOnce,
    /// What stands in the log is confirmed although members may hold the origin to be gone.
    CommittedUnvouched,
}

/// How fine the steps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A tick is one step: any links, Redis for anybody, then all questions over the links there are.
    Rounds {
        /// SWIM may give up whom no link reaches.
        swim: bool,
        /// Questions may be asked in the other order.
        backwards: bool,
    },
    /// Every question, proof and registration is a step.
    Steps {
        /// A question may arrive and its answer be lost.
        half: bool,
        /// Between a question and its answer anything may happen.
        apart: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) members: usize,
    pub(crate) joiners: usize,
    pub(crate) has_log: bool,
    /// Who may ever reach Redis: a bit each.
    pub(crate) redis: u8,
    /// Who reaches it in every round.
    pub(crate) redis_always: u8,
    /// Rounds in which everything works, before the search begins; then so many without Redis.
    pub(crate) settle: Tick,
    pub(crate) without_redis: Tick,
    pub(crate) ticks: Tick,
    pub(crate) mode: Mode,
    /// For each statement, who may say it: a bit each.
    pub(crate) statements: &'static [u8],
    /// Who may crash, start anew or leave: a bit each.
    pub(crate) may_end: u8,
    pub(crate) budget: Budget,
    /// How many ticks an unanswered question stays on its way.
    pub(crate) slow: u8,
    /// In ticks.
    pub(crate) lease: Tick,
    pub(crate) registration_life: Tick,
    pub(crate) gone_after: Tick,
    pub(crate) redis_limit: Tick,
    pub(crate) control: Option<Control>,
}

impl Scenario {
    pub(crate) const fn places(&self) -> usize {
        self.members + self.joiners
    }

    /// The tick in which the search begins.
    pub(crate) const fn begin(&self) -> Tick {
        self.settle + self.without_redis
    }

    pub(crate) fn config(&self) -> GossipConfig {
        let gone_after = match self.control {
            Some(Control::DropAtOnce) => 0,
            _ => self.gone_after,
        };
        GossipConfig {
            period: ticks(1),
            fanout: 8,
            lease: ticks(self.lease),
            ring_life: Duration::MAX,
            redis_limit: ticks(self.redis_limit),
            registration_life: ticks(self.registration_life),
            gone_after: ticks(gone_after),
            has_log: self.has_log,
            expect: self.members,
            speaks: speaks(),
            ..GossipConfig::default()
        }
    }
}

const NOTHING: Budget = Budget {
    crash: 0,
    restart: 0,
    join: 0,
    forget: 0,
    leave: 0,
    down: 0,
};

const ROUNDS: Mode = Mode::Rounds {
    swim: false,
    backwards: true,
};

const SWIM: Mode = Mode::Rounds {
    swim: true,
    backwards: false,
};

/// Three members beside a log, Redis for all of them.
const THREE: Scenario = Scenario {
    name: "",
    members: 3,
    joiners: 0,
    has_log: true,
    redis: 0b111,
    redis_always: 0,
    settle: 6,
    without_redis: 0,
    ticks: 5,
    mode: ROUNDS,
    statements: &[0b001],
    may_end: 0,
    budget: NOTHING,
    slow: 0,
    lease: 3,
    registration_life: 4,
    gone_after: 6,
    redis_limit: 7,
    control: None,
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "three by gossip alone, cuts",
        has_log: false,
        redis: 0,
        ticks: 7,
        ..THREE
    },
    Scenario {
        name: "three beside a log, Redis for one",
        redis: 0b100,
        without_redis: 3,
        ticks: 5,
        ..THREE
    },
    Scenario {
        name: "two and one that comes, Redis for two",
        members: 2,
        joiners: 1,
        redis: 0b110,
        ticks: 5,
        lease: 2,
        budget: Budget { join: 1, ..NOTHING },
        ..THREE
    },
    Scenario {
        name: "two, one lapses and is dropped",
        members: 2,
        redis: 0b11,
        redis_always: 0b01,
        ticks: 10,
        mode: SWIM,
        statements: &[0b11],
        lease: 2,
        registration_life: 2,
        gone_after: 3,
        redis_limit: 4,
        ..THREE
    },
    Scenario {
        name: "two, every step by itself",
        members: 2,
        redis: 0b10,
        ticks: 4,
        mode: Mode::Steps { half: true, apart: true },
        lease: 2,
        slow: 1,
        ..THREE
    },
    Scenario {
        name: "two by gossip alone, one starts anew",
        members: 2,
        has_log: false,
        redis: 0,
        ticks: 8,
        mode: SWIM,
        statements: &[0b11],
        may_end: 0b11,
        budget: Budget {
            restart: 1,
            ..NOTHING
        },
        ..THREE
    },
    Scenario {
        name: "three by gossip alone, one crashes or leaves and is forgotten",
        has_log: false,
        redis: 0,
        ticks: 5,
        may_end: 0b100,
        budget: Budget {
            crash: 1,
            leave: 1,
            forget: 1,
            ..NOTHING
        },
        lease: 2,
        mode: SWIM,
        ..THREE
    },
];
