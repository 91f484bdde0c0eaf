//! What gossip did and holds, as metrics.

use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::{GossipHealth, GossipStats};
use crate::node::Node;
use crate::ports::GossipCounts;

/// A counter of the adapter: the metric, what it means, its one label, and its rows, each with the label's value.
type Counter = (&'static str, &'static str, &'static str, &'static [Row]);
type Row = (&'static str, fn(&GossipCounts) -> u64);

const COUNTERS: [Counter; 3] = [
    (
        "authmesh.gossip.datagrams",
        "Datagrams of gossip, by what became of them",
        "result",
        &[
            ("sent", |counts| counts.datagrams_sent),
            ("taken", |counts| counts.datagrams_taken),
            ("unopened", |counts| counts.unopened),
            ("replayed", |counts| counts.replayed),
            ("limited", |counts| counts.limited),
            ("malformed", |counts| counts.malformed),
            ("challenged", |counts| counts.challenged),
            ("dropped", |counts| counts.dropped),
        ],
    ),
    (
        "authmesh.gossip.bytes",
        "Bytes of gossip, in datagrams and streams",
        "direction",
        &[
            ("sent", |counts| counts.bytes_sent),
            ("received", |counts| counts.bytes_received),
        ],
    ),
    (
        "authmesh.gossip.streams",
        "Streams of gossip, by who opened them",
        "direction",
        &[
            ("opened", |counts| counts.streams_opened),
            ("taken", |counts| counts.streams_taken),
        ],
    ),
];

type Read = fn(&GossipStats, &GossipHealth) -> Option<u64>;

/// What is not counted, but is so.
const GAUGES: [(&str, &str, Read); 9] = [
    (
        "authmesh.gossip.members",
        "Members of the view, the node itself not counted",
        |stats, _| Some(stats.members as u64),
    ),
    (
        "authmesh.gossip.found",
        "Members of the view that SWIM finds",
        |stats, _| Some(stats.up as u64),
    ),
    (
        "authmesh.gossip.waits_for",
        "Members that have not taken the node in yet",
        |_, health| Some(health.waits_for.len() as u64),
    ),
    (
        "authmesh.gossip.evidence_age_milliseconds",
        "Age of the oldest evidence of a member; absent while there is none of one",
        |_, health| health.evidence_age_ms,
    ),
    (
        "authmesh.gossip.redis_proof_age_seconds",
        "Age of the newest proof by Redis, its own or a relayed one; absent without one",
        |_, health| health.redis_proof_age_seconds,
    ),
    (
        "authmesh.gossip.ring",
        "Statements kept to repair others",
        |stats, _| Some(stats.ring as u64),
    ),
    (
        "authmesh.gossip.unpositioned",
        "Things that are void and whose statements have no position in the log yet",
        |stats, _| Some(stats.unpositioned as u64),
    ),
    (
        "authmesh.gossip.lease_by_redis",
        "1 while the node holds a lease by Redis",
        |_, health| Some(u64::from(health.coherent_by_redis)),
    ),
    (
        "authmesh.gossip.lease_by_gossip",
        "1 while the node holds a lease by gossip",
        |_, health| Some(u64::from(health.coherent_by_gossip)),
    ),
];

/// Registers the metrics of a node's gossip. Without gossip they report nothing.
pub(crate) fn register(meter: &Meter, node: &Arc<Node>) {
    for (name, description, label, rows) in COUNTERS {
        let node = Arc::downgrade(node);
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| {
                let Some((node, counts)) = counts(&node) else { return };
                for (value, read) in rows {
                    let labels = [KeyValue::new("node", node.name.clone()), KeyValue::new(label, *value)];
                    observer.observe(read(&counts), &labels);
                }
            })
            .build();
    }
    for (name, description, read) in GAUGES {
        let node = Arc::downgrade(node);
        meter
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| {
                let Some(node) = node.upgrade() else { return };
                let known = node.gossip_stats().zip(node.gossip_health());
                if let Some(value) = known.and_then(|(stats, health)| read(&stats, &health)) {
                    observer.observe(value, &[KeyValue::new("node", node.name.clone())]);
                }
            })
            .build();
    }
}

fn counts(node: &Weak<Node>) -> Option<(Arc<Node>, GossipCounts)> {
    let node = node.upgrade()?;
    let counts = node.gossip()?.port.counts();
    Some((node, counts))
}
