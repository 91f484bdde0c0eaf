//! What a seed means: how large the world is, how its links and clocks are, and what goes wrong when.

mod mesh;
mod traps;

pub use mesh::{MeshScene, Roads, Way};
pub use traps::Trap;

use crate::clock::{MAX_DRIFT, MS, SECOND, True};
use crate::rng::Rng;

/// When faults end.
const CALM: True = 20 * SECOND;
/// How long after the last fault everything must be as if nothing had been. The longest wait of a node is that between
/// two mints, 10 s; then come a read of the heads, a load, a commit with the longest back-off.
pub const HEALED_WITHIN: True = 18 * SECOND;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A node dies, and starts anew after a while.
    Crash(usize, True),
    /// A node says something, whatever its mood.
    Burst(usize),
    /// A node starts for the first time.
    Join(usize),
    /// A node's machine is suspended.
    Suspend(usize, True),
    /// A node's wall clock jumps.
    Jump(usize, i64),
    /// A link is bad for a while.
    Link(usize, usize, Bad, True),
    /// A link is slow for a while, then cut for a while.
    SlowThenCut(usize, usize, True, True),
    /// A node hears no bells of a primary, and is told so only afterwards.
    Deaf(usize, usize, True),
    /// The bells' connection breaks, and the node notices.
    Disconnect(usize, usize),
    /// A primary dies; its replica lacks the newest scripts.
    FailOver {
        /// Which.
        shard: usize,
        /// How many scripts the replica lacks.
        lose: usize,
        /// How long nobody answers.
        down: True,
    },
    /// A replica takes over while the primary lives.
    TakeOver {
        /// Which.
        shard: usize,
        /// How many scripts the replica lacks.
        lose: usize,
        /// How long the former primary goes on.
        depose: True,
        /// Whether it takes writes.
        writes: bool,
    },
    /// Everything in a primary and its replica is deleted.
    Flush(usize),
    /// A channel moves to another primary; its scripts are refused meanwhile.
    Move(usize, usize, True),
    /// A primary answers nobody.
    Down(usize, True),
    /// Redis answers nobody.
    Away(True),
    /// Everything in Redis is deleted.
    Emptied,
    /// Redis has forgotten so many of its newest scripts, per primary.
    Rewound(usize),
    /// Gossip does not pass between two sides.
    Split {
        /// A bit for each node.
        sides: u64,
        /// Which way.
        way: Way,
        /// A node that reaches both.
        bridge: Option<usize>,
        /// For how long.
        until: True,
    },
    /// Gossip does not pass between two nodes.
    Cut(usize, usize, True),
    /// A node's registration is not written.
    Unlisted(usize, True),
    /// A node leaves in good order.
    Leave(usize),
    /// A node dies, and does not come back.
    Die(usize),
    /// An operator forgets the last start of a node.
    Forget(usize),
}

/// How a link is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// Nothing passes.
    Cut,
    /// Requests get lost.
    Out,
    /// Requests are carried out, answers get lost.
    In,
    /// Everything takes up to two seconds.
    Slow,
}

/// What a seed means.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// Nodes, those that join later included.
    pub nodes: usize,
    /// Primaries.
    pub shards: usize,
    /// Keys.
    pub keys: usize,
    /// Subjects.
    pub subjects: usize,
    /// Log entries that a channel holds.
    pub log_cap: usize,
    /// The least and the most that a message takes.
    pub latency: (u64, u64),
    /// In so many of 1,000 calls the answer gets lost.
    pub lossy: u64,
    /// Of 1,000 chances to write, so many are taken. Where little is written, what is stale stays stale for long.
    pub writes: u64,
    /// Whether a statement is announced in the log while its slot moves. Default: no, it is refused and committed later. A mark
    /// whose origin dies between the two comes into the table only when a node that heard it loads again.
    pub announces: bool,
    /// Whether a deposed primary takes writes while it lasts. Default: no. A drop that is committed there *after* nodes have
    /// minted on the new primary is committed again by its origin, unless that dies first; mints may then be one more than
    /// their bound.
    pub deposed_writes: bool,
    /// Mean time between two things that callers do.
    pub pace: True,
    /// How far off clocks run, in millionths.
    pub drift: u64,
    /// How long the loader takes at most.
    pub load: True,
    /// What goes wrong, in order.
    pub faults: Vec<(True, Fault)>,
    /// When faults end and links are good.
    pub calm: True,
    /// When the world ends.
    pub end: True,
    /// How gossip is; `None`: there is none.
    pub mesh: Option<MeshScene>,
}

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let nodes = match rng.below(100) {
            0..=89 => rng.between(2, 5),
            90..=97 => rng.between(6, 16),
            _ => rng.between(20, 64),
        } as usize;
        Self::with(seed, nodes, rng)
    }

    /// A scenario of so many nodes.
    #[must_use]
    pub fn of_size(seed: u64, nodes: usize) -> Self {
        Self::with(seed, nodes, Rng::new(seed ^ 0x5eed))
    }

    fn with(seed: u64, nodes: usize, mut rng: Rng) -> Self {
        let latency = *pick(&mut rng, &[(MS / 5, MS), (MS / 2, 5 * MS), (2 * MS, 40 * MS)]);
        // A log that was trimmed while it lost writes looks like one that was only trimmed: those two do not meet here.
        let small_log = rng.per_mille(200);
        let mut scenario = Self {
            seed,
            nodes,
            shards: rng.between(1, 3) as usize,
            keys: rng.between(2, 6) as usize,
            subjects: rng.between(1, 4) as usize,
            log_cap: if small_log { rng.between(4, 24) as usize } else { 4096 },
            latency,
            lossy: *pick(&mut rng, &[0, 0, 5, 30]),
            writes: *pick(&mut rng, &[1000, 1000, 100, 20]),
            announces: false,
            deposed_writes: false,
            pace: *pick(&mut rng, &[4 * MS, 10 * MS, 25 * MS]),
            drift: *pick(&mut rng, &[0, 50, MAX_DRIFT]),
            load: *pick(&mut rng, &[5 * MS, 60 * MS, 1800 * MS]),
            faults: Vec::new(),
            calm: CALM,
            end: CALM + HEALED_WITHIN,
            mesh: None,
        };
        let late = if nodes > 2 { rng.index(nodes / 2) } else { 0 };
        for node in nodes - late..nodes {
            let at = rng.between(2 * SECOND, CALM);
            scenario.faults.push((at, Fault::Join(node)));
        }
        let count = rng.below(9);
        for _ in 0..count {
            let at = rng.between(3 * SECOND, CALM - 3 * SECOND);
            let fault = scenario.fault(&mut rng, small_log);
            if let Fault::FailOver { lose, .. } | Fault::TakeOver { lose, .. } = fault
                && lose > 0
                && rng.per_mille(500)
            {
                let before = rng.between(latency.0, 4 * latency.1);
                scenario.faults.push((at - before, Fault::Burst(rng.index(nodes))));
            }
            scenario.faults.push((at, fault));
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }

    fn fault(&self, rng: &mut Rng, small_log: bool) -> Fault {
        let (node, shard) = (rng.index(self.nodes), rng.index(self.shards));
        let lose = match small_log {
            true => 0,
            false => *pick(rng, &[0, 1, 2, 4, 8, 40]),
        };
        match rng.below(17) {
            0 => Fault::Crash(node, rng.between(SECOND / 10, 3 * SECOND)),
            1 => Fault::Suspend(node, rng.between(SECOND / 2, 7 * SECOND)),
            2 => Fault::Jump(node, *pick(rng, &[-86_400, -40, 3, 40, 7_200, 1_000_000])),
            3 | 4 => {
                let bad = *pick(rng, &[Bad::Cut, Bad::Out, Bad::In, Bad::Slow]);
                Fault::Link(node, shard, bad, rng.between(SECOND / 2, 6 * SECOND))
            }
            5 => Fault::Deaf(node, shard, rng.between(SECOND / 2, 8 * SECOND)),
            6 => Fault::Disconnect(node, shard),
            7..=9 => Fault::FailOver {
                shard,
                lose,
                down: rng.between(SECOND / 100, 3 * SECOND),
            },
            10..=12 => Fault::TakeOver {
                shard,
                lose,
                depose: rng.between(SECOND / 100, 2 * SECOND),
                writes: !small_log && rng.per_mille(500),
            },
            13 if !small_log => Fault::Flush(shard),
            14 => {
                // An answer that is still under way when the link is cut.
                Fault::SlowThenCut(
                    node,
                    shard,
                    rng.between(SECOND / 2, 2 * SECOND),
                    rng.between(2 * SECOND, 6 * SECOND),
                )
            }
            15 => Fault::Move(
                rng.index(8),
                rng.index(self.shards),
                rng.between(SECOND / 10, 3 * SECOND),
            ),
            _ => Fault::Down(shard, rng.between(SECOND / 10, 4 * SECOND)),
        }
    }
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.index(from.len())]
}
