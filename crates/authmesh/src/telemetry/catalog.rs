//! Every metric: the one place where a name, a unit, the attributes and the meaning stand.
//!
//! Names follow the conventions of OpenTelemetry: the unit is not part of a name, no name is the beginning of another one, and
//! times are in seconds. Prometheus adds the unit and `_total`. `docs/metrics.md` is made from this table, and a test compares
//! the table with what a running node exports.

/// A metric of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name in OpenTelemetry.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Its unit in UCUM.
    pub unit: &'static str,
    /// Its attributes. Every metric has `node` besides: the configured name of the node.
    pub attributes: &'static [MetricAttribute],
    /// What it tells, as collectors show it.
    pub meaning: &'static str,
    /// When to look; empty where nothing alarms.
    pub alarm: &'static str,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A sum that only grows, since the start of the node.
    Counter,
    /// A sum that grows and shrinks: those of several nodes add up.
    UpDownCounter,
    /// What is so now; those of several nodes do not add up.
    Gauge,
    /// How many lay below each of some bounds.
    Histogram,
}

impl MetricKind {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "up-down counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// An attribute of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricAttribute {
    /// Its name.
    pub name: &'static str,
    /// All its values; none where it is not one of a few words.
    pub values: &'static [&'static str],
    /// What it says, or where it is absent.
    pub about: &'static str,
}

impl Metric {
    /// Its name in Prometheus' text format.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let total = match self.kind {
            MetricKind::Counter => "_total",
            _ => "",
        };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }

    pub(super) fn named(name: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| metric.name == name)
    }
}

/// Every metric of a node, in the order of the documentation.
#[must_use]
pub fn metrics() -> &'static [Metric] {
    METRICS
}

const fn one_of(name: &'static str, values: &'static [&'static str]) -> MetricAttribute {
    told(name, values, "")
}

const fn told(name: &'static str, values: &'static [&'static str], about: &'static str) -> MetricAttribute {
    MetricAttribute { name, values, about }
}

const OUTCOMES: &[&str] = &[
    "hit",
    "verified",
    "l2",
    "stale",
    "blind",
    "refused",
    "revoked",
    "could_not_ask",
    "blind_denied",
];
const LEVEL: MetricAttribute = told("level", &["l1", "l2", "source"], "of accepted tokens only");
const ISSUER: MetricAttribute = told(
    "issuer",
    &[],
    "an issuer that is configured, or that was learned and has verified a token",
);
const ISSUER_OR_PATTERN: MetricAttribute =
    told("issuer", &[], "as configured: of a learned one its template's pattern");
const FAULTS: MetricAttribute = told(
    "error.type",
    &["unreachable", "timeout", "answer", "configuration"],
    "of failures only",
);
const PORT_FAULTS: MetricAttribute = told(
    "error.type",
    &["unavailable", "unknown", "refused", "partly", "full", "timeout"],
    "of failures only",
);
const NONE: &[MetricAttribute] = &[];

const fn metric(
    kind: MetricKind,
    name: &'static str,
    unit: &'static str,
    attributes: &'static [MetricAttribute],
    meaning: &'static str,
    alarm: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        unit,
        attributes,
        meaning,
        alarm,
    }
}

use MetricKind::{Counter, Gauge, Histogram, UpDownCounter};

const METRICS: &[Metric] = &[
    metric(
        Counter,
        "authmesh.verify.answers",
        "{answer}",
        &[one_of("outcome", OUTCOMES), LEVEL],
        "Answers about tokens, by outcome, and by level where there is one",
        "`could_not_ask` or `blind_denied` grow: users get 503. A jump of `refused`: a wrong audience or key somewhere, or an attack",
    ),
    metric(
        Histogram,
        "authmesh.verify.duration",
        "s",
        &[one_of("outcome", OUTCOMES), LEVEL],
        "Time of an answer that memory could not give: a hit is counted, and not timed. `hit` here: another policy had asked the provider",
        "the 99th percentile passes what your callers allow",
    ),
    metric(
        Counter,
        "authmesh.possession",
        "{proof}",
        &[one_of(
            "result",
            &["proven", "refused", "replayed", "nonce_demanded", "full"],
        )],
        "Proofs of possession of tokens that are bound, or had to be, by result",
        "`replayed` grows: somebody sends proofs of others. `full` grows: raise the room for proofs",
    ),
    metric(
        Counter,
        "authmesh.l1.voided",
        "{entry}",
        NONE,
        "Entries of L1 found void when they were looked up",
        "",
    ),
    metric(
        UpDownCounter,
        "authmesh.l1.verdicts",
        "{verdict}",
        NONE,
        "Verdicts in L1, about",
        "",
    ),
    metric(
        UpDownCounter,
        "authmesh.l1.size",
        "By",
        NONE,
        "Weight of the verdicts in L1, about",
        "it stays at its limit while the share of hits falls: raise `cache.verdict_bytes`",
    ),
    metric(
        Histogram,
        "authmesh.l2.duration",
        "s",
        &[
            one_of(
                "operation",
                &[
                    "read",
                    "lease",
                    "renew",
                    "release",
                    "store",
                    "insert",
                    "increment",
                    "hold",
                    "unhold",
                ],
            ),
            PORT_FAULTS,
        ],
        "Time of a call of L2",
        "the share with `error.type` grows, or the 99th percentile nears 250 ms: after that a call is given up",
    ),
    metric(
        Histogram,
        "authmesh.log.duration",
        "s",
        &[
            one_of(
                "operation",
                &["subscribe", "heads", "read", "load", "commit", "purge", "mint"],
            ),
            PORT_FAULTS,
        ],
        "Time of a call of the log. `heads` is made once a second: it tells how Redis is",
        "the share with `error.type` grows: the node turns blind when it lasts",
    ),
    metric(
        Counter,
        "authmesh.cache.reads",
        "{read}",
        &[one_of("outcome", &["hit", "l2", "loaded", "load_failed", "l2_failed"])],
        "Reads of the generic cache, by outcome; `l2_failed`: calls of L2, of whatever kind, that failed",
        "`load_failed` or `l2_failed` grow",
    ),
    metric(
        Counter,
        "authmesh.keys.fetches",
        "{fetch}",
        &[one_of("result", &["ok", "failed", "shared", "refused"])],
        "Key set fetches, by result; `shared`: another node had fetched it; `refused`: the cluster's budget is spent",
        "`failed` grows while `ok` does not: trust runs out, see `authmesh.keys.trusted`",
    ),
    metric(
        Histogram,
        "authmesh.keys.fetch.duration",
        "s",
        &[ISSUER_OR_PATTERN, FAULTS],
        "Time of one attempt to fetch a key set from its issuer",
        "",
    ),
    metric(
        Counter,
        "authmesh.keys.changes",
        "{key}",
        &[one_of("change", &["added", "removed", "refused"])],
        "Keys that a newer set added, no longer held, or held under the name of another one",
        "`refused` is not zero: an issuer reused a `kid`",
    ),
    metric(
        Counter,
        "authmesh.keys.skipped",
        "{key}",
        NONE,
        "Keys of fetched sets that were left out",
        "",
    ),
    metric(
        Gauge,
        "authmesh.keys.generation",
        "{generation}",
        &[ISSUER],
        "The cluster's number of the issuer's key set in use; 0 without one",
        "nodes differ for longer than a minute",
    ),
    metric(
        Gauge,
        "authmesh.keys.age",
        "s",
        &[ISSUER],
        "Time since the issuer's key set was fetched; absent without one",
        "",
    ),
    metric(
        Gauge,
        "authmesh.keys.trusted",
        "s",
        &[ISSUER],
        "Time for which the issuer's key set is still trusted if the issuer cannot be asked",
        "below an hour: the issuer has not answered for long; at 0 its tokens get 503",
    ),
    metric(
        Gauge,
        "authmesh.keys.circuit_open",
        "{issuer}",
        &[ISSUER],
        "1 while the issuer failed so often that it is only probed",
        "1 for some minutes",
    ),
    metric(
        Counter,
        "authmesh.issuers",
        "{issuer}",
        &[one_of("event", &["learned", "refused", "failed", "evicted"])],
        "Issuers that templates learned, or did not, by event",
        "`refused` or `evicted` grow: somebody makes issuers up, or a limit is too small",
    ),
    metric(
        Counter,
        "authmesh.upstream.calls",
        "{call}",
        &[one_of("result", &["active", "inactive", "failed", "not_asked"])],
        "Calls of providers about tokens, by result, and those that were not made",
        "`failed` or `not_asked` grow",
    ),
    metric(
        Histogram,
        "authmesh.upstream.duration",
        "s",
        &[
            told("issuer", &[], "as configured"),
            one_of("result", &["active", "inactive", "failed"]),
            FAULTS,
        ],
        "Time of one call of a provider about a token",
        "the 99th percentile nears the soft timeout: stale answers follow",
    ),
    metric(
        Counter,
        "authmesh.upstream.refreshes",
        "{refresh}",
        NONE,
        "Answers of providers that were asked for again ahead of their end",
        "",
    ),
    metric(
        Gauge,
        "authmesh.upstream.open",
        "{issuer}",
        &[told("issuer", &[], "as configured")],
        "1 while the provider is left alone after failures",
        "1 for some minutes",
    ),
    metric(
        Counter,
        "authmesh.statements",
        "{statement}",
        &[one_of("direction", &["made", "applied", "heard", "lost"])],
        "Statements made, applied from the log, heard by gossip before the log had them, and lost",
        "`lost` is not zero: a revocation or a drop was made up for by voiding its channel",
    ),
    metric(
        Histogram,
        "authmesh.commit.duration",
        "s",
        &[one_of("kind", &["mark", "drop"])],
        "Time from making a statement to its commit",
        "the 99th percentile nears 2 s: receipts say `unconfirmed`",
    ),
    metric(
        Histogram,
        "authmesh.propagation.duration",
        "s",
        &[one_of("kind", &["mark", "drop"])],
        "Time from making a statement until every member of the view has confirmed it, by the maker's own clock; with gossip, while a caller waits for it",
        "the 99th percentile passes your promise",
    ),
    metric(
        UpDownCounter,
        "authmesh.marks",
        "{mark}",
        NONE,
        "Marks held",
        "it nears the cap: `revoke` fails there",
    ),
    metric(
        Counter,
        "authmesh.logouts",
        "{token}",
        &[one_of("outcome", &["committed", "unconfirmed", "refused", "failed"])],
        "Logout tokens of issuers, by outcome",
        "`failed` grows: sessions were not ended",
    ),
    metric(
        Gauge,
        "authmesh.coherent",
        "{node}",
        NONE,
        "1 while the node can prove that it knows every revocation",
        "0 for longer than a lease",
    ),
    metric(
        Gauge,
        "authmesh.blind",
        "s",
        NONE,
        "For how long the node has been blind; 0 while it is coherent",
        "it nears the `when_blind` of your routes: they get 503 then",
    ),
    metric(
        Counter,
        "authmesh.channel.events",
        "{event}",
        &[one_of("event", &["suspect", "adopted", "lost_writes", "soiled"])],
        "Repairs of channels, by event",
        "`lost_writes` grows: Redis has lost acknowledged writes, after a failover or an eviction",
    ),
    metric(
        Counter,
        "authmesh.unopened",
        "{value}",
        NONE,
        "Sealed values that did not open: altered, moved, or of a foreign key",
        "not zero: somebody writes to your store, or a key ring differs",
    ),
    metric(
        Counter,
        "authmesh.bells.malformed",
        "{bell}",
        NONE,
        "Bells that were no log entry of this version",
        "not zero outside a rolling upgrade",
    ),
    metric(
        Counter,
        "authmesh.snapshot.failures",
        "{snapshot}",
        NONE,
        "Snapshots of marks that could not be written",
        "not zero: the disk is full, or not writable",
    ),
    metric(
        Counter,
        "authmesh.observer.rounds",
        "{round}",
        NONE,
        "Rounds of the observer",
        "it stands still where the observer is on",
    ),
    metric(
        Counter,
        "authmesh.observer.in_flight",
        "{difference}",
        NONE,
        "Differences that the observer saw, and that were gone within the bound",
        "",
    ),
    metric(
        Counter,
        "authmesh.inconsistencies",
        "{difference}",
        &[one_of(
            "kind",
            &["marks", "level2", "table", "peer_marks", "peer_value"],
        )],
        "Differences that outlasted the bound, by kind",
        "not zero: one is one too many",
    ),
    metric(
        Gauge,
        "authmesh.inconsistency.age",
        "s",
        NONE,
        "Age of the oldest inconsistency that the newest round of the observer found; 0 without one",
        "not zero",
    ),
    metric(
        Counter,
        "authmesh.gossip.datagrams",
        "{datagram}",
        &[one_of(
            "result",
            &[
                "sent",
                "taken",
                "unopened",
                "replayed",
                "limited",
                "malformed",
                "challenged",
                "dropped",
            ],
        )],
        "Datagrams of gossip, by what became of them",
        "`unopened`, `replayed` or `malformed` grow: somebody sends to your gossip port, or a key ring differs",
    ),
    metric(
        Counter,
        "authmesh.gossip.io",
        "By",
        &[one_of("direction", &["sent", "received"])],
        "Bytes of gossip, in datagrams and streams",
        "",
    ),
    metric(
        Counter,
        "authmesh.gossip.streams",
        "{stream}",
        &[one_of("direction", &["opened", "taken"])],
        "Streams of gossip, by who opened them",
        "",
    ),
    metric(
        Histogram,
        "authmesh.gossip.exchange.duration",
        "s",
        &[
            one_of("transport", &["datagram", "stream"]),
            told(
                "error.type",
                &["unavailable", "unknown", "refused", "partly", "full", "timeout"],
                "of failures only",
            ),
        ],
        "Time of one question to a member",
        "",
    ),
    metric(
        Counter,
        "authmesh.gossip.malformed",
        "{message}",
        NONE,
        "Things that members said and that cannot be",
        "not zero outside a rolling upgrade",
    ),
    metric(
        Gauge,
        "authmesh.gossip.members",
        "{member}",
        NONE,
        "Members of the view, the node itself not counted",
        "nodes differ for longer than a minute",
    ),
    metric(
        Gauge,
        "authmesh.gossip.found",
        "{member}",
        NONE,
        "Members of the view that SWIM finds",
        "less than `authmesh.gossip.members`: a member is down or cut off",
    ),
    metric(
        Gauge,
        "authmesh.gossip.waits_for",
        "{member}",
        NONE,
        "Members that have not taken the node in yet",
        "not zero for a minute: it stays blind until they do, leave, or are forgotten",
    ),
    metric(
        Gauge,
        "authmesh.gossip.evidence.age",
        "s",
        NONE,
        "Age of the oldest evidence of a member; absent while there is none of one",
        "",
    ),
    metric(
        Gauge,
        "authmesh.gossip.redis_proof.age",
        "s",
        NONE,
        "Age of the newest proof by Redis, its own or a relayed one; absent without one",
        "it nears an hour: leases by gossip end there",
    ),
    metric(
        Gauge,
        "authmesh.gossip.ring",
        "{statement}",
        NONE,
        "Statements kept to repair others",
        "",
    ),
    metric(
        Gauge,
        "authmesh.gossip.unpositioned",
        "{statement}",
        NONE,
        "Things that are void and whose statements have no position in the log yet",
        "it grows: the log takes nothing",
    ),
    metric(
        Gauge,
        "authmesh.gossip.lease_by_redis",
        "{node}",
        NONE,
        "1 while the node holds a lease by Redis",
        "",
    ),
    metric(
        Gauge,
        "authmesh.gossip.lease_by_gossip",
        "{node}",
        NONE,
        "1 while the node holds a lease by gossip",
        "",
    ),
];
