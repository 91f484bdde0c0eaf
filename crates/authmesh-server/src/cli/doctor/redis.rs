//! The Redis: what a survey found, judged and put in words.

use authmesh::KeyRing;
use authmesh::proto::time::Unix;
use authmesh_redis::RedisAdapter;
use authmesh_redis::survey::{Missing, SLOTS, Server, Survey, Tested, survey};

use super::report::Report;
use crate::cli::keyring::count::count as count_keys;
use crate::cli::text::{count, span};
use crate::config::Config;
use crate::redis;

const TOPIC: &str = "redis";
/// Above this a failed primary is replaced so late that the bound of invariant 2 is of little use.
const SLOW_NODE_TIMEOUT_MILLIS: u64 = 5_000;
/// Share of the memory limit from which on it is worth a look, in percent.
const FULL_PERCENT: u64 = 90;

/// Asks Redis, and judges.
pub(super) async fn check(config: &Config, ring: Option<&KeyRing>, now: Unix, report: &mut Report) {
    let settings = match redis::settings(config) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            if config.gossip.is_none() {
                report.info(
                    TOPIC,
                    "no Redis: this node stands alone, and other nodes hear of no revocation",
                );
            }
            return;
        }
        Err(error) => {
            report.fail(TOPIC, error.to_string(), "");
            return;
        }
    };
    match survey(&settings).await {
        Ok(found) => judge(&found, config.danger.any_eviction_policy, report),
        Err(error) => {
            report.fail(TOPIC, error.to_string(), "");
            return;
        }
    }
    // A Redis that nodes refuse need not be read.
    if let Some(ring) = ring.filter(|_| !report.failed(TOPIC)) {
        match RedisAdapter::connect(settings).await {
            Ok(adapter) => keys(&adapter, ring, now, report).await,
            Err(error) => report.fail(TOPIC, error.to_string(), ""),
        }
    }
}

/// Whether this node could open what the others have written.
async fn keys(adapter: &RedisAdapter, ring: &KeyRing, now: Unix, report: &mut Report) {
    let counted = match count_keys(adapter, now).await {
        Ok(counted) => counted,
        Err(error) => {
            report.unknown(
                TOPIC,
                format!("what Redis holds could not be read whole: {error}"),
                "Try again.",
            );
            return;
        }
    };
    let known: Vec<_> = ring.key_ids().collect();
    let foreign = counted.keys.iter().filter(|(id, _)| !known.contains(id));
    let (mut marks, mut other) = (0, 0);
    for (_, of) in foreign {
        marks += of.marks;
        other += of.members + of.statements;
    }
    let advice = "Give this node the key ring of the others; `authmesh keyring status` counts by key.";
    if marks > 0 {
        report.fail(
            TOPIC,
            format!(
                "{} in Redis under a key that is not in the key ring",
                count(marks, "revocation is", "revocations are")
            ),
            advice,
        );
    } else if other > 0 {
        report.warn(
            TOPIC,
            format!(
                "{} in Redis under a key that is not in the key ring",
                count(other, "value is", "values are")
            ),
            advice,
        );
    } else {
        report.ok(TOPIC, "everything in Redis is sealed under keys of the key ring");
    }
    if counted.garbage > 0 {
        report.warn(
            TOPIC,
            format!(
                "{} in Redis: somebody else writes there",
                count(counted.garbage, "value is no envelope", "values are no envelopes")
            ),
            "Give authmesh a Redis user, a prefix and a password of its own.",
        );
    }
}

fn judge(found: &Survey, any_policy: bool, report: &mut Report) {
    for silent in &found.silent {
        let advice = if silent.refused {
            ""
        } else {
            "Check redis.url, and that Redis listens there."
        };
        if found.servers.is_empty() || silent.primary {
            report.fail(TOPIC, silent.why.clone(), advice);
        } else {
            report.warn(TOPIC, silent.why.clone(), advice);
        }
    }
    let Some(first) = found.servers.first() else {
        return;
    };
    summary(found, first, report);
    if let Some(why) = &found.topology {
        report.fail(
            TOPIC,
            format!("the nodes of the cluster are not known: {why}"),
            "Grant the Redis user +cluster|slots.",
        );
    }
    if let Some(slots) = found.slots.filter(|slots| *slots < SLOTS) {
        report.fail(
            TOPIC,
            format!("{} of the {SLOTS} slots have no primary", SLOTS - slots),
            "Bring the failed primaries back: `redis-cli --cluster check` names them.",
        );
    }
    let parts = found.servers.iter().map(|server| {
        let mut part = Report::default();
        fit(server, any_policy, &mut part);
        durable(server, &mut part);
        permitted(server, &mut part);
        if let Some(ahead) = server.clock_ahead_millis {
            let uncertainty = u64::try_from(server.clock_uncertainty.as_millis()).unwrap_or(u64::MAX);
            super::clock(TOPIC, "Redis", ahead, uncertainty, &mut part);
        }
        (server.address.clone(), part)
    });
    report.add_parts(parts.collect());
}

fn summary(found: &Survey, first: &Server, report: &mut Report) {
    let replicas: u64 = found.servers.iter().map(|server| u64::from(server.replicas)).sum();
    let replicas = count(replicas, "replica", "replicas");
    let kind = if first.cluster {
        format!("cluster, {}", count(found.servers.len() as u64, "primary", "primaries"))
    } else {
        "one server".to_owned()
    };
    let what = format!("{} {}, {kind}, {replicas}", first.product, first.version);
    if found.servers.iter().all(new_enough) {
        report.ok(TOPIC, what);
    } else {
        report.fail(TOPIC, what, "authmesh needs Redis 7.0 or Valkey 7.2 at least: upgrade.");
    }
}

fn new_enough(server: &Server) -> bool {
    let mut parts = server.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let least = if server.product == "valkey" { (7, 2) } else { (7, 0) };
    version >= least
}

/// What makes a node refuse a server.
fn fit(server: &Server, any_policy: bool, report: &mut Report) {
    if !server.primary {
        report.fail(
            TOPIC,
            "it is a replica and takes no writes",
            "Name the primary in redis.url.",
        );
    }
    if server.loading {
        report.unknown(TOPIC, "it is still loading its data", "Wait, and ask again.");
    }
    let Some(policy) = server.settings.get("maxmemory-policy") else {
        report.unknown(
            TOPIC,
            "maxmemory-policy could not be read",
            "Grant the Redis user +info.",
        );
        return;
    };
    let advice = "Set it to volatile-lru or noeviction.";
    if policy == "noeviction" || policy.starts_with("volatile-") {
        report.ok(TOPIC, format!("maxmemory-policy {policy} evicts no revocation"));
    } else if any_policy {
        report.warn(
            TOPIC,
            format!("maxmemory-policy {policy} may evict revocations, and danger.any_eviction_policy is on"),
            advice,
        );
    } else {
        report.fail(
            TOPIC,
            format!("maxmemory-policy {policy} may evict revocations"),
            advice,
        );
    }
    // Without a limit there is no share of it.
    let percent = server.used_memory.saturating_mul(100).checked_div(server.maxmemory);
    if let Some(percent) = percent.filter(|percent| *percent >= FULL_PERCENT) {
        report.warn(
            TOPIC,
            format!("{percent} % of maxmemory is used: beyond it nothing is cached any more, revocations go on"),
            "Raise maxmemory.",
        );
    }
}

/// What decides how much a failure costs.
fn durable(server: &Server, report: &mut Report) {
    if server.persistent == Some(false) {
        report.warn(
            TOPIC,
            "nothing is kept on disk: if Redis and every node restart together, revocations are lost",
            "Set appendonly yes.",
        );
    }
    let setting = |name: &str| server.settings.get(name).map(String::as_str);
    if server.cluster {
        if server.replicas == 0 {
            report.warn(
                TOPIC,
                "this primary has no replica: its channels are gone while it is",
                "Give every primary a replica.",
            );
        }
        let timeout: Option<u64> = setting("cluster-node-timeout").and_then(|millis| millis.parse().ok());
        if let Some(millis) = timeout.filter(|millis| *millis > SLOW_NODE_TIMEOUT_MILLIS) {
            report.warn(
                TOPIC,
                format!(
                    "cluster-node-timeout {millis}: a failed primary is replaced after {} or more, and nodes are blind \
                     meanwhile",
                    span(millis / 1000)
                ),
                "Set it to 1000 to 5000.",
            );
        }
        if setting("cluster-require-full-coverage") == Some("yes") {
            report.warn(
                TOPIC,
                "cluster-require-full-coverage yes: one lost shard stops all the others",
                "Set it to no.",
            );
        }
    } else if server.replicas == 0 {
        report.info(
            TOPIC,
            "no replica: receipts of revocations say single_copy, and a failure of Redis is an outage of the shared half",
        );
    } else if setting("min-replicas-to-write") == Some("0") {
        report.warn(
            TOPIC,
            "min-replicas-to-write 0: a primary that was deposed may go on taking writes, and nodes that it answers do not \
             notice",
            "Set it to 1, with min-replicas-max-lag 10 or less.",
        );
    }
    if setting("maxmemory-policy").is_none() || setting("min-replicas-to-write").is_none() {
        report.info(
            TOPIC,
            "the Redis user may not run CONFIG GET, so fewer settings were checked",
        );
    }
}

fn permitted(server: &Server, report: &mut Report) {
    let permissions = &server.permissions;
    let user = permissions.user.as_deref().unwrap_or("default");
    if permissions.missing.is_empty() {
        let how = match permissions.tested {
            Tested::DryRun => "by ACL DRYRUN",
            Tested::Queued => "in a transaction that was discarded",
            _ => "by doing it",
        };
        report.ok(TOPIC, format!("user {user} may do what authmesh does (tested {how})"));
        return;
    }
    let mut words = Vec::new();
    let mut rules = Vec::new();
    for missing in &permissions.missing {
        let (word, rule) = match missing {
            Missing::Command(command) => (command.clone(), format!("+{command}")),
            Missing::Keys(root) => (format!("keys {root}:*"), format!("~{root}:*")),
            Missing::Channels(root) => (format!("channels {root}:*"), format!("&{root}:*")),
            other => (format!("{other:?}"), String::new()),
        };
        words.push(word);
        rules.push(rule);
    }
    report.fail(
        TOPIC,
        format!("user {user} lacks permissions: {}", words.join(", ")),
        format!("Grant them: ACL SETUSER {user} {}", rules.join(" ")),
    );
}
