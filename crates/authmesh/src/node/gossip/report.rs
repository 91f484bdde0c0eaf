//! What an operator is told of gossip.

use serde::Serialize;

use super::Room;
use crate::node::Node;
use crate::ports::GossipCounts;

/// How a node stands with the other members. Only of nodes with gossip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GossipHealth {
    /// Whether every member of the view has taken this node in. Before that it holds no lease.
    pub joined: bool,
    /// Whether an operator forgot this node, or another start of it took its place. It stays blind: start it anew.
    pub forgotten: bool,
    /// Whether its proofs by Redis count: its registration is fresh, and no member may hold it to be gone.
    pub vouched: bool,
    /// Whether it holds a lease by Redis.
    pub coherent_by_redis: bool,
    /// Whether it holds a lease by gossip.
    pub coherent_by_gossip: bool,
    /// Members of its view, itself not counted.
    pub members: usize,
    /// Names of the members that have not taken it in yet, by name.
    pub waits_for: Vec<String>,
    /// How old its oldest evidence of a member is, in milliseconds; `None` while it has none of one of them, or is alone.
    pub evidence_age_ms: Option<u64>,
    /// How old the newest proof by Redis is that it has, its own or a relayed one, in seconds; `None` without one.
    pub redis_proof_age_seconds: Option<u64>,
}

/// What a node's gossip did and holds. Only of nodes with gossip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GossipStats {
    /// Members of the view, this node not counted.
    pub members: usize,
    /// Those among them that SWIM finds.
    pub up: usize,
    /// Statements in the ring.
    pub ring: usize,
    /// Things that are void and whose statements have no position in the log: L2 reads of them are misses.
    pub unpositioned: usize,
    /// Statements that were lost: no member had them. Their channels were voided.
    pub lost_statements: u64,
    /// What the adapter did.
    pub counts: GossipCounts,
}

impl Node {
    pub(crate) fn gossip_health(&self) -> Option<GossipHealth> {
        let room = self.gossip()?;
        let now = self.now().boot;
        let follower = self.follower().coherent_until();
        let machine = room.machine();
        let (by_redis, by_gossip) = machine.leases(now, follower);
        let mut waits_for: Vec<String> = machine.waits_for().map(|peer| peer.name).collect();
        waits_for.sort();
        let evidence: Option<Vec<_>> = machine.members().map(|(_, _, at)| at).collect();
        let oldest = evidence.and_then(|evidence| evidence.into_iter().min());
        Some(GossipHealth {
            joined: machine.joined(),
            forgotten: machine.forgotten(),
            vouched: machine.vouched(now),
            coherent_by_redis: now < by_redis,
            coherent_by_gossip: now < by_gossip,
            members: machine.members().count(),
            waits_for,
            evidence_age_ms: oldest.map(|at| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX)),
            redis_proof_age_seconds: machine.redis_proof().map(|at| now.since(at).as_secs()),
        })
    }

    pub(crate) fn gossip_stats(&self) -> Option<GossipStats> {
        let room: &Room = self.gossip()?;
        let unpositioned = self.unpositioned().len();
        let machine = room.machine();
        Some(GossipStats {
            members: machine.members().count(),
            up: machine.members().filter(|(_, is_up, _)| *is_up).count(),
            ring: machine.ring_len(),
            unpositioned,
            lost_statements: self.counters.gossip_lost.get(),
            counts: room.port.counts(),
        })
    }
}
