//! Counters, and how they reach OpenTelemetry.
//!
//! The hot path adds to plain atomics; OpenTelemetry reads them when it collects. So telemetry that nobody collects costs
//! an addition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::issuer::Issuer;
use crate::l1::thread_number;
use crate::node::{Node, register_gossip};
use crate::upstream::Upstream;

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
    hits (hot): "authmesh.verify", "outcome" = "hit", "level" = "l1";
    /// Tokens verified freshly.
    verified: "authmesh.verify", "outcome" = "verified", "level" = "source";
    /// Answers from L1 while the node was blind, inside `when_blind`.
    blind_hits (hot): "authmesh.verify", "outcome" = "blind", "level" = "l1";
    /// Tokens verified freshly while the node was blind, inside `when_blind`.
    blind_verified: "authmesh.verify", "outcome" = "blind", "level" = "source";
    /// Answers of a provider that L2 had.
    l2: "authmesh.verify", "outcome" = "l2", "level" = "l2";
    /// Verdicts given past their lifetime while the provider was slow or away.
    stale: "authmesh.verify", "outcome" = "stale", "level" = "l1";
    /// Tokens refused: the token's own fault.
    refused: "authmesh.verify", "outcome" = "refused";
    /// Tokens refused because a mark voids them.
    revoked: "authmesh.verify", "outcome" = "revoked";
    /// No answer: keys could not be asked for, or the provider about the token.
    could_not_ask: "authmesh.verify", "outcome" = "could_not_ask";
    /// No answer: the node was blind and the route does not allow it.
    blind_denied: "authmesh.verify", "outcome" = "blind_denied";
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
    cache_hits (hot): "authmesh.cache", "outcome" = "hit";
    /// Cache reads answered from L2.
    cache_l2: "authmesh.cache", "outcome" = "l2";
    /// Cache reads that ran their loader.
    cache_loads: "authmesh.cache", "outcome" = "loaded";
    /// Loaders that failed.
    cache_load_failures: "authmesh.cache", "outcome" = "load_failed";
    /// L2 calls that failed; the loader was run instead.
    cache_l2_failures: "authmesh.cache", "outcome" = "l2_failed";
    /// Rounds of the observer.
    observations: "authmesh.observations";
    /// Differences that the observer saw, and that were gone within the bound.
    observed_in_flight: "authmesh.observations.in_flight";
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

/// What each metric means, as collectors show it.
const DESCRIPTIONS: [(&str, &str); 19] = [
    (
        "authmesh.issuers",
        "Issuers that templates learned, or did not, by event",
    ),
    (
        "authmesh.keys.changes",
        "Keys that a newer set added, no longer held, or held under the name of another one",
    ),
    (
        "authmesh.verify",
        "Answers about tokens, by outcome, and by level where there is one",
    ),
    (
        "authmesh.l1.voided",
        "Entries of L1 found void when they were looked up",
    ),
    ("authmesh.keys.fetches", "Key set fetches, by result"),
    ("authmesh.keys.skipped", "Keys of fetched sets that were left out"),
    (
        "authmesh.upstream.calls",
        "Calls of providers about tokens, by result, and those that were not made",
    ),
    (
        "authmesh.upstream.refreshes",
        "Answers of providers that were asked for again ahead of their end",
    ),
    (
        "authmesh.statements",
        "Statements made, applied from the log, heard by gossip, and lost",
    ),
    (
        "authmesh.gossip.malformed",
        "Things that members said and that cannot be",
    ),
    ("authmesh.logouts", "Logout tokens of issuers, by outcome"),
    (
        "authmesh.unopened",
        "Sealed values that did not open: altered, moved, or of a foreign key",
    ),
    (
        "authmesh.snapshot.failures",
        "Snapshots of marks that could not be written",
    ),
    (
        "authmesh.bells.malformed",
        "Bells that were no log entry of this version",
    ),
    ("authmesh.channel.events", "Repairs of channels, by event"),
    ("authmesh.cache", "Reads of the generic cache, by outcome"),
    ("authmesh.observations", "Rounds of the observer"),
    (
        "authmesh.observations.in_flight",
        "Differences that the observer saw, and that were gone within the bound",
    ),
    (
        "authmesh.inconsistencies",
        "Differences that outlasted the bound, by kind: one is one too many",
    ),
];

/// Registers a node's metrics with a meter. They vanish from it when the node is gone.
pub(crate) fn register<'a>(meter: &Meter, node: &Arc<Node>, upstreams: impl Iterator<Item = &'a Arc<Upstream>>) {
    register_issuers(meter, node);
    register_upstreams(meter, node, upstreams.map(Arc::downgrade).collect());
    register_gossip(meter, node);
    let weak = Arc::downgrade(node);
    for (name, description) in DESCRIPTIONS {
        let node = Weak::clone(&weak);
        meter
            .u64_observable_counter(name)
            .with_description(description)
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
    type Gauge = (&'static str, &'static str, fn(&Node) -> u64);
    let gauges: [Gauge; 6] = [
        (
            "authmesh.coherent",
            "1 while the node can prove that it knows every revocation",
            |node| u64::from(node.coherence().is_coherent()),
        ),
        (
            "authmesh.blind_seconds",
            "For how long the node has been blind; 0 while it is coherent",
            |node| node.blind_for().as_secs(),
        ),
        (
            "authmesh.inconsistency_age_seconds",
            "Age of the oldest inconsistency that the newest round of the observer found; 0 without one",
            |node| node.observer.oldest_seconds(),
        ),
        ("authmesh.marks", "Marks held", |node| node.marks().len() as u64),
        ("authmesh.l1.verdicts", "Verdicts in L1, about", Node::verdict_count),
        (
            "authmesh.l1.verdict_bytes",
            "Weight of the verdicts in L1 in bytes, about",
            Node::verdict_bytes,
        ),
    ];
    for (name, description, read) in gauges {
        let node = Weak::clone(&weak);
        meter
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| {
                if let Some(node) = node.upgrade() {
                    observer.observe(read(&node), &[KeyValue::new("node", node.name.clone())]);
                }
            })
            .build();
    }
}

/// The state of the key sets. Issuers are configured, so the label has few values.
/// Of the issuers that are configured, and of those that were learned and have verified a token: whoever can write a token
/// must not be able to make labels.
fn register_issuers(meter: &Meter, node: &Arc<Node>) {
    type Gauge = (&'static str, &'static str, fn(&Issuer, &Node) -> Option<u64>);
    let gauges: [Gauge; 4] = [
        (
            "authmesh.keys.generation",
            "The cluster's number of the issuer's key set in use; 0 without one",
            |issuer, _| Some(issuer.held().map_or(0, |keys| keys.generation())),
        ),
        (
            "authmesh.keys.trusted_seconds",
            "Seconds for which the issuer's key set is still trusted if the issuer cannot be asked",
            |issuer, node| Some(issuer.trusted_until().since(node.now().boot).as_secs()),
        ),
        (
            "authmesh.keys.circuit_open",
            "1 while the issuer failed so often that it is only probed",
            |issuer, node| Some(u64::from(issuer.status(node.now().boot).circuit_open)),
        ),
        (
            "authmesh.keys.age_seconds",
            "Seconds since the issuer's key set was fetched",
            |issuer, node| issuer.status(node.now().boot).age_seconds,
        ),
    ];
    for (name, description, read) in gauges {
        let node = Arc::downgrade(node);
        meter
            .u64_observable_gauge(name)
            .with_description(description)
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
    meter
        .u64_observable_gauge("authmesh.upstream.open")
        .with_description("1 while the provider is left alone after failures")
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
    use super::*;

    #[test]
    fn every_counter_belongs_to_a_described_metric_and_the_other_way_round() {
        let rows = Counts::default().rows();
        assert!(
            rows.iter()
                .all(|(metric, ..)| DESCRIPTIONS.iter().any(|(name, _)| name == metric))
        );
        assert!(
            DESCRIPTIONS
                .iter()
                .all(|(name, _)| rows.iter().any(|(metric, ..)| metric == name))
        );
    }
}
