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

/// Whether SWIM gives up whom no link reaches in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swim {
    Never,
    Maybe,
    Always,
}

/// How fine the steps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A tick is one step: any links, Redis for anybody, then all questions over the links there are.
    Rounds {
        /// SWIM may give up whom no link reaches.
        swim: Swim,
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
    /// In rounds: who writes its registration, and who is proven current, in every one; and what may be so besides, each
    /// unit as a whole.
    pub(crate) redis_always: (u8, u8),
    pub(crate) redis_units: &'static [(u8, u8)],
    /// In rounds: the links that are always there, and those that may be, each unit as a whole. A bit for each of
    /// 0-1, 0-2, 0-3, 1-2, 1-3, 2-3.
    pub(crate) links_always: u16,
    pub(crate) links: &'static [u16],
    /// Rounds in which everything works, before the search begins; then so many without Redis.
    pub(crate) settle: Tick,
    pub(crate) without_redis: Tick,
    /// .. and so many in which node 0 is cut off from everything, and the others have Redis.
    pub(crate) apart: Tick,
    pub(crate) ticks: Tick,
    pub(crate) mode: Mode,
    /// For each statement, who may say it: a bit each. Who may commit statements that it holds.
    pub(crate) statements: &'static [u8],
    pub(crate) commits: u8,
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
        self.settle + self.without_redis + self.apart
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
            redis_limit: or_never(self.redis_limit),
            registration_life: or_never(self.registration_life),
            gone_after: or_never(gone_after),
            has_log: self.has_log,
            expect: self.members,
            speaks: speaks(),
            ..GossipConfig::default()
        }
    }
}

/// No scenario is that long.
const NEVER: Tick = Tick::MAX;

fn or_never(count: Tick) -> Duration {
    match count {
        NEVER => Duration::MAX,
        count => ticks(count),
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
    swim: Swim::Never,
    backwards: true,
};

const FORWARDS: Mode = Mode::Rounds {
    swim: Swim::Never,
    backwards: false,
};

const GIVING_UP: Mode = Mode::Rounds {
    swim: Swim::Always,
    backwards: false,
};

const SWIM: Mode = Mode::Rounds {
    swim: Swim::Maybe,
    backwards: false,
};

/// Three members, any links.
const THREE: Scenario = Scenario {
    name: "",
    members: 3,
    joiners: 0,
    has_log: true,
    redis: 0b111,
    redis_always: (0, 0),
    redis_units: &[],
    links_always: 0,
    links: &[LINK_01, LINK_02, LINK_12],
    settle: 6,
    without_redis: 0,
    apart: 0,
    ticks: 5,
    mode: ROUNDS,
    statements: &[0b001],
    commits: 0b111,
    may_end: 0,
    budget: NOTHING,
    slow: 0,
    lease: 2,
    registration_life: NEVER,
    gone_after: NEVER,
    redis_limit: NEVER,
    control: None,
};

const LINK_01: u16 = 1;
const LINK_02: u16 = 2;
const LINK_12: u16 = 8;
const LINK_23: u16 = 32;

const CUTS: Scenario = Scenario {
    name: "three by gossip alone, cuts",
    has_log: false,
    lease: 3,
    ..THREE
};

const ONE_REDIS: Scenario = Scenario {
    name: "three beside a log, Redis for one",
    redis: 0b100,
    redis_units: &[(0b100, 0b100)],
    without_redis: 3,
    ticks: 3,
    mode: FORWARDS,
    statements: &[0b101],
    ..THREE
};

const JOINER: Scenario = Scenario {
    name: "two and one that comes and has Redis",
    members: 2,
    joiners: 1,
    redis_always: (0b100, 0b100),
    redis_units: &[(0b010, 0b010)],
    ticks: 3,
    mode: FORWARDS,
    commits: 0b010,
    budget: Budget { join: 1, ..NOTHING },
    ..THREE
};

const LINE: Scenario = Scenario {
    name: "two and two that come, in a line",
    members: 2,
    joiners: 2,
    redis: 0,
    links: &[LINK_01, LINK_12, LINK_23],
    mode: FORWARDS,
    commits: 0,
    budget: Budget { join: 2, ..NOTHING },
    ..THREE
};

/// Node 0 can be cut off; the others stay together.
const LAPSE: Scenario = Scenario {
    name: "three, one lapses, is dropped and comes back",
    redis_always: (0b110, 0b110),
    redis_units: &[(0b001, 0b001)],
    links_always: LINK_12,
    links: &[LINK_01, LINK_02],
    apart: 5,
    ticks: 4,
    mode: GIVING_UP,
    statements: &[0b010],
    commits: 0,
    registration_life: 2,
    gone_after: 2,
    ..THREE
};

/// .. and commits, while the others lose Redis.
const LAPSE_AND_COMMIT: Scenario = Scenario {
    name: "three, one lapses, is dropped and commits",
    redis_always: (0, 0),
    redis_units: &[(0b001, 0b001), (0b110, 0b110)],
    links: &[LINK_01 | LINK_02],
    statements: &[0b001],
    commits: 0b001,
    ticks: 3,
    ..LAPSE
};

/// Node 0 does not write its registration any more, and is not given up by Redis.
const UNWRITTEN: Scenario = Scenario {
    name: "three, one whose registration stands still",
    redis_always: (0b110, 0b110),
    redis_units: &[(0, 0b001)],
    links: &[LINK_01 | LINK_02],
    registration_life: 6,
    gone_after: 7,
    apart: 0,
    ticks: 6,
    statements: &[0b011],
    ..LAPSE
};

/// Node 0 lapses and is dropped; then 2 comes.
const LAPSE_AND_JOIN: Scenario = Scenario {
    name: "two, one lapses and is dropped, then one comes",
    members: 2,
    joiners: 1,
    redis: 0b110,
    redis_always: (0b110, 0b110),
    redis_units: &[],
    links_always: LINK_12,
    links: &[LINK_01, LINK_02],
    apart: 5,
    ticks: 6,
    mode: GIVING_UP,
    commits: 0,
    budget: Budget { join: 1, ..NOTHING },
    registration_life: 2,
    gone_after: 2,
    ..THREE
};

/// The ordinary run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    CUTS,
    ONE_REDIS,
    JOINER,
    LINE,
    LAPSE,
    LAPSE_AND_COMMIT,
    UNWRITTEN,
    LAPSE_AND_JOIN,
    Scenario {
        name: "two, one lapses and is dropped",
        members: 2,
        redis_always: (0b01, 0b01),
        redis_units: &[(0b10, 0b10)],
        links_always: 0,
        apart: 0,
        mode: SWIM,
        ticks: 7,
        statements: &[0b11],
        commits: 0b11,
        ..LAPSE
    },
    Scenario {
        name: "two, gossip ends after Redis",
        members: 2,
        redis_units: &[(0b10, 0b10)],
        ticks: 7,
        statements: &[0b11],
        redis_limit: 4,
        ..THREE
    },
    Scenario {
        name: "two, every step by itself",
        members: 2,
        redis: 0b10,
        ticks: 2,
        mode: Mode::Steps {
            half: false,
            apart: true,
        },
        ..THREE
    },
    Scenario {
        name: "two by gossip alone, one starts anew",
        members: 2,
        ticks: 6,
        mode: SWIM,
        statements: &[0b11],
        may_end: 0b11,
        budget: Budget { restart: 1, ..NOTHING },
        ..CUTS
    },
    Scenario {
        name: "three by gossip alone, one crashes or leaves and is forgotten",
        ticks: 4,
        may_end: 0b100,
        budget: Budget {
            crash: 1,
            leave: 1,
            forget: 1,
            ..NOTHING
        },
        lease: 2,
        mode: FORWARDS,
        ..CUTS
    },
];

/// What the full run explores besides, up to its limit of states.
pub(crate) const FULL: &[Scenario] = &[
    Scenario {
        name: "three by gossip alone, cuts, longer",
        ticks: 7,
        ..CUTS
    },
    Scenario {
        name: "three beside a log, Redis for one, longer",
        ticks: 6,
        ..ONE_REDIS
    },
    Scenario {
        name: "two and one that comes and has Redis, longer",
        ticks: 5,
        commits: 0b110,
        ..JOINER
    },
    Scenario {
        name: "two, every step by itself, slow answers, lost ones",
        members: 2,
        redis: 0b10,
        ticks: 3,
        mode: Mode::Steps {
            half: true,
            apart: true,
        },
        slow: 1,
        ..THREE
    },
];

/// Each rule off, in a scenario that is clean with it.
pub(crate) const CONTROLS: &[(Control, Scenario)] = &[
    (Control::MajorityLease, ONE_REDIS),
    (Control::MajorityConfirms, ONE_REDIS),
    (Control::JoinerAtOnce, JOINER),
    (Control::NoContainment, LINE),
    (Control::NoAge, CUTS),
    (Control::Unvouched, LAPSE),
    (Control::DropAtOnce, UNWRITTEN),
    (Control::CommittedUnvouched, LAPSE_AND_COMMIT),
];
