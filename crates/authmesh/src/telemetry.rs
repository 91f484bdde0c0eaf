//! Counters, and how they reach OpenTelemetry.
//!
//! The hot path adds to plain atomics; OpenTelemetry reads them when it collects. So telemetry that nobody collects costs
//! an addition. What is slow is timed ([`timings`]) and traced ([`spans`]), a hit never.

mod catalog;
mod spans;
mod timings;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrumentBuilder, Meter};

use crate::issuer::Issuer;
use crate::l1::thread_number;
use crate::node::{Node, register_gossip};
use crate::upstream::Upstream;

pub use catalog::{Metric, MetricAttribute, MetricKind, metrics};
pub(crate) use spans::{Empty, span};
pub(crate) use timings::{Began, Timing, Timings, word};

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter that every hit adds to: a share for each thread, summed when it is read, so that threads do not take it from each
/// other.
#[derive(Debug)]
pub(crate) struct HotCounter(Box<[Share; SHARES]>);

/// How many threads have a share of their own; more than these take turns.
const SHARES: usize = 16;

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Share(AtomicU64);

impl HotCounter {
    #[inline]
    pub(crate) fn add(&self) {
        self.0[thread_number() % SHARES].0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        let shares = self.0.iter().map(|share| share.0.load(Ordering::Relaxed));
        shares.fold(0, u64::wrapping_add)
    }
}

impl Default for HotCounter {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Share::default())))
    }
}

macro_rules! counter {
    () => {
        Counter
    };
    (hot) => {
        HotCounter
    };
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident $(($kind:tt))?: $metric:literal $(, $label:literal = $value:literal)* ;)*) => {
        /// Every counter of a node.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $field: counter!($($kind)?),)*
        }

        /// What a node counted since its start. The fields are the metrics of the same meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
        #[non_exhaustive]
        pub struct Counts {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Counts {
                Counts { $($field: self.$field.get(),)* }
            }
        }

        impl Counts {
            /// The counters as (metric, its labels with their values, count).
            fn rows(&self) -> Vec<(&'static str, &'static [(&'static str, &'static str)], u64)> {
                vec![$(($metric, &[$(($label, $value)),*] as &[_], self.$field),)*]
            }
        }
    };
}

counters! {
    /// Tokens answered from L1.
    hits (hot): "authmesh.verify.answers", "outcome" = "hit", "level" = "l1";
    /// Tokens verified freshly.
    verified: "authmesh.verify.answers", "outcome" = "verified", "level" = "source";
    /// Answers from L1 while the node was blind, inside `when_blind`.
    blind_hits (hot): "authmesh.verify.answers", "outcome" = "blind", "level" = "l1";
    /// Tokens verified freshly while the node was blind, inside `when_blind`.
    blind_verified: "authmesh.verify.answers", "outcome" = "blind", "level" = "source";
    /// Answers of a provider that L2 had.
    l2: "authmesh.verify.answers", "outcome" = "l2", "level" = "l2";
    /// Verdicts given past their lifetime while the provider was slow or away.
    stale: "authmesh.verify.answers", "outcome" = "stale", "level" = "l1";
    /// Tokens refused: the token's own fault.
    refused: "authmesh.verify.answers", "outcome" = "refused";
    /// Tokens refused because a mark voids them.
    revoked: "authmesh.verify.answers", "outcome" = "revoked";
    /// No answer: keys could not be asked for, or the provider about the token.
    could_not_ask: "authmesh.verify.answers", "outcome" = "could_not_ask";
    /// No answer: the node was blind and the route does not allow it.
    blind_denied: "authmesh.verify.answers", "outcome" = "blind_denied";
    /// Bound tokens whose sender proved that they are his.
    possession_proven: "authmesh.possession", "result" = "proven";
    /// Bound tokens without a proof that holds, and tokens that had to be bound and were not.
    possession_refused: "authmesh.possession", "result" = "refused";
    /// Proofs that came a second time.
    possession_replayed: "authmesh.possession", "result" = "replayed";
    /// Proofs that lacked the nonce; the client was given one.
    possession_nonces: "authmesh.possession", "result" = "nonce_demanded";
    /// Proofs for which there was no room in memory.
    possession_full: "authmesh.possession", "result" = "full";
    /// L1 entries that a statement, a key removal or their age voided when they were looked up.
    voided: "authmesh.l1.voided";
    /// Key set fetches that brought a usable set.
    key_fetches_ok: "authmesh.keys.fetches", "result" = "ok";
    /// Key set fetches that failed.
    key_fetches_failed: "authmesh.keys.fetches", "result" = "failed";
    /// Key sets of other nodes that were taken in, from L2 or a member: fetches saved.
    key_sets_taken: "authmesh.keys.fetches", "result" = "shared";
    /// Trips to a newer set that the cluster refused: lately asked in vain, or its budget is spent.
    key_trips_refused: "authmesh.keys.fetches", "result" = "refused";
    /// Keys that a newer set added.
    keys_added: "authmesh.keys.changes", "change" = "added";
    /// Keys that a newer set no longer held, or held as another key.
    keys_removed: "authmesh.keys.changes", "change" = "removed";
    /// Keys that stood under the name of another one, and were refused.
    keys_refused: "authmesh.keys.changes", "change" = "refused";
    /// Keys of a set that were left out.
    keys_skipped: "authmesh.keys.skipped";
    /// Issuers that were learned by a template.
    issuers_learned: "authmesh.issuers", "event" = "learned";
    /// Issuers of a template that were not learned: the budget is spent.
    issuers_refused: "authmesh.issuers", "event" = "refused";
    /// Issuers of a template whose first fetch failed.
    issuers_failed: "authmesh.issuers", "event" = "failed";
    /// Learned issuers that made room for others.
    issuers_evicted: "authmesh.issuers", "event" = "evicted";
    /// Calls of a provider about a token that it called active.
    upstream_active: "authmesh.upstream.calls", "result" = "active";
    /// Calls of a provider about a token that it called inactive.
    upstream_inactive: "authmesh.upstream.calls", "result" = "inactive";
    /// Calls of a provider that brought no usable answer.
    upstream_failed: "authmesh.upstream.calls", "result" = "failed";
    /// Calls of a provider that were not made: too many at once, or it is left alone.
    upstream_not_asked: "authmesh.upstream.calls", "result" = "not_asked";
    /// Answers of a provider that were asked for again ahead of their end.
    upstream_refreshes: "authmesh.upstream.refreshes";
    /// Statements this node made.
    statements_made: "authmesh.statements", "direction" = "made";
    /// Statements applied from the log.
    statements_applied: "authmesh.statements", "direction" = "applied";
    /// Logout tokens whose mark stands in the log.
    logouts: "authmesh.logouts", "outcome" = "committed";
    /// Logout tokens whose mark was not confirmed in time.
    logouts_unconfirmed: "authmesh.logouts", "outcome" = "unconfirmed";
    /// Logout tokens refused: the token's own fault.
    logouts_refused: "authmesh.logouts", "outcome" = "refused";
    /// Logout tokens that did nothing: keys could not be asked for, or the mark was not accepted.
    logouts_failed: "authmesh.logouts", "outcome" = "failed";
    /// Statements applied from gossip before the log had them.
    gossip_applied: "authmesh.statements", "direction" = "heard";
    /// Statements that were lost: no member had them. Their channels were voided.
    gossip_lost: "authmesh.statements", "direction" = "lost";
    /// Things that members said and that cannot be.
    gossip_malformed: "authmesh.gossip.malformed";
    /// Sealed values or statements that did not open: forged, moved, truncated, or under a foreign key.
    unopened: "authmesh.unopened";
    /// Snapshots of marks that could not be written.
    snapshot_failures: "authmesh.snapshot.failures";
    /// Bells that were no log entry of this version.
    malformed_bells: "authmesh.bells.malformed";
    /// Times a channel turned suspect.
    suspects: "authmesh.channel.events", "event" = "suspect";
    /// Times a channel followed a new incarnation.
    adoptions: "authmesh.channel.events", "event" = "adopted";
    /// Times a channel's log had lost writes.
    lost_writes: "authmesh.channel.events", "event" = "lost_writes";
    /// Drops for which there was no room in the outbox; their whole channel was voided.
    soiled: "authmesh.channel.events", "event" = "soiled";
    /// Cache reads answered from L1.
    cache_hits (hot): "authmesh.cache.reads", "outcome" = "hit";
    /// Cache reads answered from L2.
    cache_l2: "authmesh.cache.reads", "outcome" = "l2";
    /// Cache reads that ran their loader.
    cache_loads: "authmesh.cache.reads", "outcome" = "loaded";
    /// Loaders that failed.
    cache_load_failures: "authmesh.cache.reads", "outcome" = "load_failed";
    /// L2 calls that failed; the loader was run instead.
    cache_l2_failures: "authmesh.cache.reads", "outcome" = "l2_failed";
    /// Rounds of the observer.
    observations: "authmesh.observer.rounds";
    /// Differences that the observer saw, and that were gone within the bound.
    observed_in_flight: "authmesh.observer.in_flight";
    /// Verdicts in memory that would have been served although a mark held here voids them.
    inconsistent_marks: "authmesh.inconsistencies", "kind" = "marks";
    /// Entries of which memory and L2 held different values.
    inconsistent_level2: "authmesh.inconsistencies", "kind" = "level2";
    /// Marks that this node or the table in Redis lacked.
    inconsistent_table: "authmesh.inconsistencies", "kind" = "table";
    /// Marks that this node or a coherent member lacked.
    inconsistent_peer_marks: "authmesh.inconsistencies", "kind" = "peer_marks";
    /// Entries of which a coherent member would have served another value.
    inconsistent_peer_values: "authmesh.inconsistencies", "kind" = "peer_value";
}

/// Registers a node's metrics with a meter. They vanish from it when the node is gone.
pub(crate) fn register<'a>(meter: &Meter, node: &Arc<Node>, upstreams: impl Iterator<Item = &'a Arc<Upstream>>) {
    node.set_timings(Timings::new(meter, &node.name));
    register_issuers(meter, node);
    register_upstreams(meter, node, upstreams.map(Arc::downgrade).collect());
    register_gossip(meter, node);
    register_counters(meter, node);
    type Read = (&'static str, fn(&Node) -> u64);
    let gauges: [Read; 3] = [
        ("authmesh.coherent", |node| u64::from(node.coherence().is_coherent())),
        ("authmesh.blind", |node| node.blind_for().as_secs()),
        ("authmesh.inconsistency.age", |node| node.observer.oldest_seconds()),
    ];
    for (name, read) in gauges {
        let node = Arc::downgrade(node);
        described(meter.u64_observable_gauge(name), name)
            .with_callback(move |observer| {
                if let Some(node) = node.upgrade() {
                    observer.observe(read(&node), &[KeyValue::new("node", node.name.clone())]);
                }
            })
            .build();
    }
    let held: [Read; 3] = [
        ("authmesh.marks", |node| node.marks().len() as u64),
        ("authmesh.l1.verdicts", Node::verdict_count),
        ("authmesh.l1.size", Node::verdict_bytes),
    ];
    for (name, read) in held {
        let node = Arc::downgrade(node);
        described(meter.i64_observable_up_down_counter(name), name)
            .with_callback(move |observer| {
                if let Some(node) = node.upgrade() {
                    let held = i64::try_from(read(&node)).unwrap_or(i64::MAX);
                    observer.observe(held, &[KeyValue::new("node", node.name.clone())]);
                }
            })
            .build();
    }
}

/// Gives an instrument the unit and the meaning that the table has for it.
pub(crate) fn described<'a, I, M>(
    builder: AsyncInstrumentBuilder<'a, I, M>,
    name: &str,
) -> AsyncInstrumentBuilder<'a, I, M> {
    match Metric::named(name) {
        Some(metric) => builder.with_unit(metric.unit).with_description(metric.meaning),
        None => builder,
    }
}

fn register_counters(meter: &Meter, node: &Arc<Node>) {
    let mut names: Vec<_> = Counts::default().rows().into_iter().map(|(name, ..)| name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let node = Arc::downgrade(node);
        described(meter.u64_observable_counter(name), name)
            .with_callback(move |observer| {
                let Some(node) = node.upgrade() else { return };
                for (metric, own, count) in node.counters.read().rows() {
                    if metric == name {
                        let mut labels = vec![KeyValue::new("node", node.name.clone())];
                        labels.extend(own.iter().map(|(key, value)| KeyValue::new(*key, *value)));
                        observer.observe(count, &labels);
                    }
                }
            })
            .build();
    }
}

/// The state of the key sets: of the issuers that are configured, and of those that were learned and have verified a token.
/// Whoever can write a token must not be able to make labels.
fn register_issuers(meter: &Meter, node: &Arc<Node>) {
    type Gauge = (&'static str, fn(&Issuer, &Node) -> Option<u64>);
    let gauges: [Gauge; 4] = [
        ("authmesh.keys.generation", |issuer, _| {
            Some(issuer.held().map_or(0, |keys| keys.generation()))
        }),
        ("authmesh.keys.trusted", |issuer, node| {
            Some(issuer.trusted_until().since(node.now().boot).as_secs())
        }),
        ("authmesh.keys.circuit_open", |issuer, node| {
            Some(u64::from(issuer.status(node.now().boot).circuit_open))
        }),
        ("authmesh.keys.age", |issuer, node| {
            issuer.status(node.now().boot).age_seconds
        }),
    ];
    for (name, read) in gauges {
        let node = Arc::downgrade(node);
        described(meter.u64_observable_gauge(name), name)
            .with_callback(move |observer| {
                let Some(node) = node.upgrade() else { return };
                for issuer in node.issuers.all().into_iter().filter(|issuer| !issuer.on_trial()) {
                    if let Some(value) = read(&issuer, &node) {
                        let labels = [
                            KeyValue::new("node", node.name.clone()),
                            KeyValue::new("issuer", issuer.url.to_string()),
                        ];
                        observer.observe(value, &labels);
                    }
                }
            })
            .build();
    }
}

/// Whether providers are left alone. They are configured, so the label has few values.
fn register_upstreams(meter: &Meter, node: &Arc<Node>, upstreams: Box<[Weak<Upstream>]>) {
    let node = node.name.clone();
    let name = "authmesh.upstream.open";
    described(meter.u64_observable_gauge(name), name)
        .with_callback(move |observer| {
            for upstream in upstreams.iter().filter_map(Weak::upgrade) {
                let status = upstream.status();
                let labels = [
                    KeyValue::new("node", node.clone()),
                    KeyValue::new("issuer", status.issuer),
                ];
                observer.observe(u64::from(status.open), &labels);
            }
        })
        .build();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_counter_stands_in_the_table_with_its_words_and_the_other_way_round() {
        let mut counted = BTreeSet::new();
        for (name, attributes, _) in Counts::default().rows() {
            let metric = Metric::named(name).unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(metric.kind, MetricKind::Counter, "{name}");
            for (key, value) in attributes {
                let attribute = metric.attributes.iter().find(|attribute| attribute.name == *key);
                let attribute = attribute.unwrap_or_else(|| panic!("{name} has no {key}"));
                assert!(attribute.values.contains(value), "{name} has no {key} {value}");
                counted.insert((name, *key, *value));
            }
        }
        let of_gossip = |metric: &&Metric| {
            metric.name.starts_with("authmesh.gossip.") && metric.name != "authmesh.gossip.malformed"
        };
        for metric in metrics()
            .iter()
            .filter(|metric| metric.kind == MetricKind::Counter && !of_gossip(metric))
        {
            for attribute in metric.attributes {
                for value in attribute.values {
                    assert!(
                        counted.contains(&(metric.name, attribute.name, value)),
                        "nothing counts {} {value}",
                        metric.name
                    );
                }
            }
        }
    }

    #[test]
    fn names_are_as_opentelemetry_asks() {
        for metric in metrics() {
            let name = metric.name;
            assert!(
                !name.ends_with("_total") && !name.ends_with("_seconds") && !name.ends_with("_bytes"),
                "{name}"
            );
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte)),
                "{name}"
            );
            let below = format!("{name}.");
            let namespace = metrics().iter().find(|other| other.name.starts_with(&below));
            assert_eq!(namespace, None, "{name} is a name and a namespace");
            assert!(!metric.meaning.ends_with('.') && !metric.unit.is_empty(), "{name}");
        }
    }
}
