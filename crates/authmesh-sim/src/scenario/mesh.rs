//! What a seed means for gossip: how bad its network is, and what goes wrong in it.

use std::time::Duration;

use authmesh_proto::gossip::GossipConfig;

use super::{CALM, Fault, HEALED_WITHIN, Scenario, Trap, pick};
use crate::clock::{MS, SECOND, True};
use crate::rng::Rng;

/// Periods of registration, in a world that lives for a minute only: in the proportions of the defaults.
const ANNOUNCE: Duration = Duration::from_secs(3);
const REGISTRATION_LIFE: Duration = Duration::from_secs(9);
const GONE_AFTER: Duration = Duration::from_secs(12);
/// How long a member that died may keep others waiting: its registration, a lease, a look at it, a repair.
const DROPPED_WITHIN: True = 22 * SECOND;

/// Which way a partition cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing passes.
    Both,
    /// Nothing gets from the first side to the second.
    Out,
    /// Nothing gets from the second side to the first.
    In,
}

/// The roads of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roads {
    /// Redis alone.
    Log,
    /// Redis and gossip.
    Both,
    /// Gossip alone.
    Gossip,
}

/// How gossip is in a world.
#[derive(Debug, Clone)]
pub struct MeshScene {
    /// Whether there is Redis.
    pub has_log: bool,
    /// Without: how many must find each other.
    pub expect: usize,
    /// Of 1,000 datagrams so many get lost.
    pub loss: u64,
    /// .. are doubled.
    pub doubles: u64,
    /// Of 1,000 members so many are missed by a broadcast.
    pub misses: u64,
    /// The least and the most that a message takes.
    pub latency: (True, True),
    /// Of 1,000 looks of SWIM so many are wrong.
    pub mistakes: u64,
    /// Whether SWIM finds those whom only others reach.
    pub indirect: bool,
    /// After how many looks SWIM gives a member up.
    pub patience: u32,
    /// How often a registration is written.
    pub announce: Duration,
    /// How long a lease by gossip goes on after the last proof by Redis.
    pub redis_limit: Duration,
    /// Nothing but Redis goes away: every node must be coherent from here on, once it was taken in.
    pub steady_from: Option<True>,
}

impl MeshScene {
    /// Nothing is wrong.
    pub(super) fn calm(nodes: usize, rng: &mut Rng) -> Self {
        Self {
            has_log: true,
            expect: nodes,
            loss: 0,
            doubles: 20,
            misses: 100,
            latency: (MS / 5, 20 * MS),
            mistakes: 0,
            indirect: rng.per_mille(500),
            patience: rng.between(1, 5) as u32,
            announce: ANNOUNCE,
            redis_limit: Duration::from_secs(14),
            steady_from: None,
        }
    }

    /// Periods and limits of the machine.
    #[must_use]
    pub fn config(&self) -> GossipConfig {
        GossipConfig {
            has_log: self.has_log,
            expect: self.expect,
            redis_limit: self.redis_limit,
            registration_life: REGISTRATION_LIFE,
            gone_after: GONE_AFTER,
            ..GossipConfig::default()
        }
    }
}

impl Scenario {
    /// The scenario of a seed, with the roads that the seed chooses.
    #[must_use]
    pub fn mixed(seed: u64) -> Self {
        let roads = match Rng::new(seed ^ 0x0020_0ad5).below(20) {
            0..=7 => Roads::Log,
            8..=16 => Roads::Both,
            _ => Roads::Gossip,
        };
        Self::on(seed, roads)
    }

    /// The scenario of a seed on given roads.
    #[must_use]
    pub fn on(seed: u64, roads: Roads) -> Self {
        let mut rng = Rng::new(seed ^ 0x6055_1700);
        let has_log = match roads {
            Roads::Log => return Self::of(seed),
            Roads::Both => true,
            Roads::Gossip => false,
        };
        if has_log && rng.per_mille(100) {
            return Self::trap(seed, *pick(&mut rng, &Trap::ALL));
        }
        let steady = rng.per_mille(150);
        let nodes = match rng.below(100) {
            0..=84 => rng.between(2, 6),
            85..=95 => rng.between(7, 12),
            _ => rng.between(13, 24),
        } as usize;
        let mut scenario = Self::of_size(seed, nodes);
        let mut scene = MeshScene {
            has_log,
            expect: if rng.per_mille(500) { nodes } else { 2.min(nodes) },
            loss: *pick(&mut rng, &[0, 0, 10, 50, 150, 300]),
            doubles: *pick(&mut rng, &[0, 20, 100]),
            misses: *pick(&mut rng, &[10, 100, 400, 1000]),
            latency: *pick(&mut rng, &[(MS / 5, MS), (MS, 20 * MS), (MS, 150 * MS), (MS, 900 * MS)]),
            mistakes: *pick(&mut rng, &[0, 0, 5, 30]),
            indirect: rng.per_mille(500),
            patience: rng.between(1, 8) as u32,
            announce: ANNOUNCE,
            redis_limit: Duration::from_secs(*pick(&mut rng, &[3600, 14, 14, 14])),
            steady_from: None,
        };
        scenario.end = scenario.calm + HEALED_WITHIN + DROPPED_WITHIN;
        scenario.pace = *pick(&mut rng, &[8 * MS, 20 * MS, 50 * MS]);
        if steady {
            scenario.steady(&mut scene, &mut rng);
        } else {
            scenario.mesh_faults(&scene, &mut rng);
        }
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario.mesh = Some(scene);
        scenario
    }

    /// Redis goes away, and nothing else is wrong: nobody may become blind.
    fn steady(&mut self, scene: &mut MeshScene, rng: &mut Rng) {
        let loss = scene.loss.min(50);
        *scene = MeshScene {
            has_log: scene.has_log,
            loss,
            misses: scene.misses,
            steady_from: Some(7 * SECOND),
            ..MeshScene::calm(self.nodes, rng)
        };
        scene.redis_limit = Duration::from_secs(3600);
        self.still();
        if scene.has_log {
            let at = rng.between(7 * SECOND, 10 * SECOND);
            self.faults.push((at, Fault::Away(rng.between(SECOND, CALM))));
        }
    }

    fn mesh_faults(&mut self, scene: &MeshScene, rng: &mut Rng) {
        if !scene.has_log {
            // What concerns Redis concerns nobody.
            let nodes = |fault: &Fault| {
                matches!(
                    fault,
                    Fault::Crash(..) | Fault::Burst(_) | Fault::Join(_) | Fault::Suspend(..) | Fault::Jump(..)
                )
            };
            self.faults.retain(|(_, fault)| nodes(fault));
            if scene.expect == self.nodes {
                self.faults.retain(|(_, fault)| !matches!(fault, Fault::Join(_)));
            }
        }
        if scene.has_log && rng.per_mille(500) {
            // Where much goes wrong in Redis too, little is seen of gossip.
            self.faults.retain(|(_, fault)| matches!(fault, Fault::Join(_)));
        }
        // What a clock that is hours ahead revokes, others refuse: without a log they are blind until an operator forgets it.
        if !scene.has_log {
            self.faults
                .retain(|(_, fault)| !matches!(fault, Fault::Jump(_, by) if by.abs() > 3000));
        }
        if scene.has_log && rng.per_mille(750) {
            let at = rng.between(2 * SECOND, CALM - 4 * SECOND);
            let until = rng.between(SECOND, CALM - at);
            self.faults.push((at, Fault::Away(until)));
            let back = at + until;
            match rng.below(4) {
                0 => self.faults.push((back - MS, Fault::Emptied)),
                1 => self
                    .faults
                    .push((back - MS, Fault::Rewound(rng.between(1, 60) as usize))),
                _ => {}
            }
            for _ in 0..rng.below(3) {
                let during = rng.between(at, back);
                self.faults.push((during, Fault::Burst(rng.index(self.nodes))));
            }
        }
        for _ in 0..rng.below(5) {
            let at = rng.between(3 * SECOND, CALM - SECOND);
            let node = rng.index(self.nodes);
            let fault = match rng.below(12) {
                0..=5 => Fault::Split {
                    sides: match rng.per_mille(500) {
                        true => 1 << (node % 64),
                        false => rng.next(),
                    },
                    way: *pick(rng, &[Way::Both, Way::Both, Way::Out, Way::In]),
                    bridge: rng.per_mille(300).then(|| rng.index(self.nodes)),
                    until: rng.between(SECOND / 2, 12 * SECOND),
                },
                6 => Fault::Crash(node, rng.between(SECOND / 10, 3 * SECOND)),
                7 => Fault::Suspend(node, rng.between(SECOND / 2, 7 * SECOND)),
                8 | 9 => Fault::Leave(node),
                _ => {
                    if !scene.has_log || rng.per_mille(500) {
                        let later = (at + rng.between(SECOND, 5 * SECOND)).min(CALM);
                        self.faults.push((later, Fault::Forget(node)));
                    }
                    Fault::Die(node)
                }
            };
            self.faults.push((at, fault));
        }
        // A deployment is made small.
        if self.nodes >= 7 && rng.per_mille(400) {
            let mut at = rng.between(4 * SECOND, 8 * SECOND);
            for node in 3..self.nodes {
                at += rng.below(800 * MS);
                if rng.per_mille(700) {
                    self.faults.push((at, Fault::Leave(node)));
                } else {
                    self.faults.push((at, Fault::Die(node)));
                    self.faults.push((CALM - SECOND / 2, Fault::Forget(node)));
                }
            }
        }
    }
}
