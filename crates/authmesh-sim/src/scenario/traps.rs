//! Worlds made for one attack each: what chance alone seldom brings about.

use std::time::Duration;

use super::mesh::MeshScene;
use super::{Bad, Fault, HEALED_WITHIN, Scenario, Way, pick};
use crate::clock::{MS, SECOND, True};
use crate::rng::Rng;

/// When a trap springs.
const SPRINGS: True = 7 * SECOND;
/// When its faults end.
const CALM: True = 40 * SECOND;
/// When the world ends.
const END: True = CALM + HEALED_WITHIN + 25 * SECOND;
/// For as long as faults last.
const TO_THE_END: True = CALM;

/// An attack on the rules of the road of gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// Two nodes have gossip only, a third one Redis only.
    RedisAlone,
    /// Three of five nodes have neither Redis nor those that have it.
    BlindMajority,
    /// A node comes that has Redis only, to others that have gossip only.
    UnknownJoiner,
    /// A node reads Redis and cannot register; the others drop it, then lose Redis.
    Unregistered,
    /// A node is late with its registration, and the others lose Redis.
    LateRegistration,
    /// Two nodes that have nothing but each other tell each other of a third.
    EndlessRelay,
    /// A node with Redis has applied what another one without has not.
    ProofBeforeStatement,
    /// Four nodes in a row of which none has heard of the next but one, and the row breaks in its middle.
    Chain,
    /// A node without Redis missed what was said; those who said it are gone; one that starts anew loads what Redis holds, and
    /// relays its proof.
    FreshProof,
}

impl Trap {
    /// Every trap.
    pub const ALL: [Self; 9] = [
        Self::RedisAlone,
        Self::BlindMajority,
        Self::UnknownJoiner,
        Self::Unregistered,
        Self::LateRegistration,
        Self::EndlessRelay,
        Self::ProofBeforeStatement,
        Self::Chain,
        Self::FreshProof,
    ];
}

impl Scenario {
    /// The world of a trap.
    #[must_use]
    pub fn trap(seed: u64, trap: Trap) -> Self {
        let mut rng = Rng::new(seed ^ 0x7a9);
        let nodes = match trap {
            Trap::BlindMajority => 5,
            Trap::UnknownJoiner | Trap::Chain => 4,
            _ => 3,
        };
        let mut scenario = Self::of_size(seed, nodes);
        let mut scene = MeshScene::calm(nodes, &mut rng);
        scenario.still();
        // Where little is written, what is stale stays stale.
        scenario.writes = *pick(&mut rng, &[30, 100, 300]);
        scenario.calm = CALM;
        scenario.end = END;
        let at = SPRINGS + rng.below(SECOND);
        let split = |nodes: &[usize]| Fault::Split {
            sides: nodes.iter().fold(0, |sides, node| sides | 1 << node),
            way: Way::Both,
            bridge: None,
            until: TO_THE_END,
        };
        match trap {
            Trap::RedisAlone => {
                scenario.without_redis(at, &[0, 1]);
                scenario.faults.push((at, split(&[2])));
            }
            Trap::BlindMajority => {
                scenario.without_redis(at, &[2, 3, 4]);
                scenario.faults.push((at, split(&[0, 1])));
            }
            Trap::UnknownJoiner => {
                scene.redis_limit = Duration::from_secs(3600);
                scenario.without_redis(at, &[0, 1, 2]);
                scenario.faults.push((at, split(&[3])));
                scenario.faults.push((at + SECOND, Fault::Join(3)));
            }
            Trap::Unregistered => {
                scenario.faults.push((at, split(&[2])));
                scenario.faults.push((at, Fault::Unlisted(2, TO_THE_END)));
                scenario.without_redis(at + 20 * SECOND, &[0, 1]);
            }
            Trap::LateRegistration => {
                scene.patience = 1;
                scenario.faults.push((at, split(&[2])));
                scenario.faults.push((at, Fault::Unlisted(2, 6 * SECOND)));
                scenario.without_redis(at + 6 * SECOND, &[0, 1]);
            }
            Trap::EndlessRelay => {
                scenario.without_redis(at, &[0, 1]);
                scenario.faults.push((at, split(&[2])));
            }
            Trap::ProofBeforeStatement => {
                scenario.without_redis(at, &[1]);
                scenario.faults.push((at, split(&[2])));
            }
            Trap::FreshProof => {
                scenario.without_redis(at, &[1]);
                let apart = Fault::Split {
                    sides: 1 << 1,
                    way: Way::Both,
                    bridge: None,
                    until: 6 * SECOND,
                };
                scenario.faults.push((at, apart));
                for burst in 1..5 {
                    scenario.faults.push((at + burst * SECOND, Fault::Burst(2)));
                }
                scenario.faults.push((at + 5 * SECOND, Fault::Die(2)));
                scenario.faults.push((at + 5 * SECOND, Fault::Crash(0, SECOND / 2)));
                scenario.faults.push((at + 7 * SECOND, Fault::Forget(2)));
            }
            Trap::Chain => {
                scene.has_log = false;
                scene.expect = 2;
                scene.indirect = false;
                for (from, to) in [(0, 2), (0, 3), (1, 3)] {
                    scenario.faults.push((0, Fault::Cut(from, to, TO_THE_END)));
                }
                scenario.faults.push((at, Fault::Cut(1, 2, TO_THE_END)));
            }
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario.mesh = Some(scene);
        scenario
    }

    /// Nothing is wrong.
    pub(super) fn still(&mut self) {
        self.lossy = 0;
        self.writes = 1000;
        self.pace = 8 * MS;
        self.load = self.load.min(60 * MS);
        self.latency = (MS / 5, 5 * MS);
        self.faults.clear();
    }

    fn without_redis(&mut self, at: True, nodes: &[usize]) {
        for node in nodes {
            for shard in 0..self.shards {
                self.faults.push((at, Fault::Link(*node, shard, Bad::Cut, TO_THE_END)));
            }
        }
    }
}
