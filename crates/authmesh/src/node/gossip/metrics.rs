//! What gossip did and holds, as metrics.

use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::{GossipHealth, GossipStats};
use crate::node::Node;
use crate::ports::GossipCounts;
use crate::telemetry::described;

/// A counter of the adapter: the metric, its one label, and its rows, each with the label's value.
type Counter = (&'static str, &'static str, &'static [Row]);
type Row = (&'static str, fn(&GossipCounts) -> u64);

const COUNTERS: [Counter; 3] = [
    (
        "authmesh.gossip.datagrams",
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
        "authmesh.gossip.io",
        "direction",
        &[
            ("sent", |counts| counts.bytes_sent),
            ("received", |counts| counts.bytes_received),
        ],
    ),
    (
        "authmesh.gossip.streams",
        "direction",
        &[
            ("opened", |counts| counts.streams_opened),
            ("taken", |counts| counts.streams_taken),
        ],
    ),
];

type Read = fn(&GossipStats, &GossipHealth) -> Option<f64>;

/// What is not counted, but is so.
const GAUGES: [(&str, Read); 9] = [
    ("authmesh.gossip.members", |stats, _| Some(stats.members as f64)),
    ("authmesh.gossip.found", |stats, _| Some(stats.up as f64)),
    ("authmesh.gossip.waits_for", |_, health| {
        Some(health.waits_for.len() as f64)
    }),
    ("authmesh.gossip.evidence.age", |_, health| {
        health.evidence_age_ms.map(|age| age as f64 / 1000.0)
    }),
    ("authmesh.gossip.redis_proof.age", |_, health| {
        health.redis_proof_age_seconds.map(|age| age as f64)
    }),
    ("authmesh.gossip.ring", |stats, _| Some(stats.ring as f64)),
    ("authmesh.gossip.unpositioned", |stats, _| {
        Some(stats.unpositioned as f64)
    }),
    ("authmesh.gossip.lease_by_redis", |_, health| {
        Some(f64::from(health.coherent_by_redis))
    }),
    ("authmesh.gossip.lease_by_gossip", |_, health| {
        Some(f64::from(health.coherent_by_gossip))
    }),
];

/// Registers the metrics of a node's gossip. Without gossip they report nothing.
pub(crate) fn register(meter: &Meter, node: &Arc<Node>) {
    for (name, label, rows) in COUNTERS {
        let node = Arc::downgrade(node);
        described(meter.u64_observable_counter(name), name)
            .with_callback(move |observer| {
                let Some((node, counts)) = counts(&node) else { return };
                for (value, read) in rows {
                    let labels = [KeyValue::new("node", node.name.clone()), KeyValue::new(label, *value)];
                    observer.observe(read(&counts), &labels);
                }
            })
            .build();
    }
    for (name, read) in GAUGES {
        let node = Arc::downgrade(node);
        described(meter.f64_observable_gauge(name), name)
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
