//! Rules and checks of the section `[gossip]`.

use std::net::SocketAddr;
use std::time::Duration;

use super::problem::Report;
use super::resolve::Resolved;
use super::rules::{Verdict, is_visible_ascii, length};
use super::schema::{self, Fallback};
use super::units::show_duration;
use super::value::Value;

/// The longest host name and port.
const MAX_SEED_BYTES: usize = 253 + 6;

/// Where a member may be: `host:port`.
pub(super) fn seed(text: &str) -> Verdict {
    length(text, MAX_SEED_BYTES)?;
    if text.contains("://") {
        return Err("is a URL: write only host and port, as in \"authmesh.prod.svc:7946\"".into());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.ip().is_unspecified() {
            return Err("is the address that stands for all: name one that others can be reached at".into());
        }
        return match address.port() {
            0 => Err("has no port from 1 to 65535".into()),
            _ => Ok(()),
        };
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("has no port: write it as in \"authmesh.prod.svc:7946\"".into());
    };
    let is_name = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if host.is_empty() || !is_name || !is_visible_ascii(host) {
        return Err(
            "has no host name or address before its port, as in \"authmesh.prod.svc:7946\" or \
                    \"[2001:db8::7]:7946\""
                .into(),
        );
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(()),
        _ => Err("has no port from 1 to 65535".into()),
    }
}

/// Compares the settings of gossip with each other, and with those of the cluster and of Redis.
pub(super) fn check(settings: &Resolved, problems: &mut Report, warnings: &mut Report) {
    times(settings, problems);
    if settings.is_refused("gossip.bind") {
        return;
    }
    let Some(bind) = address(settings, "gossip.bind") else {
        off(settings, problems);
        return;
    };
    advertise(settings, bind, problems);
    ports(settings, bind, problems);
    if !settings.is_given("cluster.key_ring_file") {
        problems.push(
            settings.location("gossip.bind"),
            "cluster.key_ring_file",
            "is missing: nodes that gossip need the same key ring. Make one with `authmesh keyring generate FILE`, give \
             every node a copy, and name it here.",
        );
    }
    if settings.is_refused("redis.url") || settings.is_refused("gossip.expect") {
        return;
    }
    let has_redis = !settings.words("redis.url").is_empty();
    match (has_redis, settings.is_given("gossip.expect")) {
        (false, false) => problems.push(
            settings.location("gossip.bind"),
            "gossip.expect",
            "is missing: without Redis nobody knows who else there should be, and a node that finds nobody could not tell \
             a new cluster from one that it is cut off from. Write how many nodes the cluster begins with, such as 3, the \
             same on every node; or set redis.url.",
        ),
        (true, true) => warnings.push(
            settings.location("gossip.expect"),
            "gossip.expect",
            "is not looked at: redis.url is set, and the members register there. Remove it.",
        ),
        _ => {}
    }
    let alone = matches!(settings.any("gossip.expect"), Some(Value::Count(1)));
    if !has_redis && !alone && settings.words("gossip.seeds").is_empty() && !settings.is_refused("gossip.seeds") {
        warnings.push(
            settings.location("gossip.seeds"),
            "gossip.seeds",
            "is empty, and there is no Redis: this node finds nobody, and waits until another one that has it among its \
             seeds finds it.",
        );
    }
}

fn address(settings: &Resolved, path: &str) -> Option<SocketAddr> {
    match settings.any(path) {
        Some(Value::Address(address)) => *address,
        _ => None,
    }
}

/// What stands there while gossip is off does nothing, and whoever wrote it thinks that it does.
fn off(settings: &Resolved, problems: &mut Report) {
    for setting in schema::settings_of(None).filter(|setting| setting.section() == "gossip") {
        // A default that somebody wrote out, as `config print` does, misleads nobody.
        let speaks = matches!(setting.fallback, Fallback::Unset { .. }) || !settings.words(setting.path).is_empty();
        if speaks && setting.path != "gossip.bind" && settings.is_given(setting.path) {
            problems.push(
                settings.location(setting.path),
                setting.path,
                "is set, but gossip.bind is not, so gossip is off: set gossip.bind, such as \"0.0.0.0:7946\", or remove this.",
            );
        }
    }
}

fn advertise(settings: &Resolved, bind: SocketAddr, problems: &mut Report) {
    let Some(advertise) = address(settings, "gossip.advertise") else {
        return;
    };
    let message = if advertise.ip().is_unspecified() {
        "is the address that stands for all: name the one that other nodes reach this one at, or leave it out."
    } else if advertise.is_ipv4() != bind.is_ipv4() && !(bind.is_ipv6() && bind.ip().is_unspecified()) {
        "cannot be reached by a socket that is bound to gossip.bind: use two IPv4 or two IPv6 addresses."
    } else {
        return;
    };
    problems.push(settings.location("gossip.advertise"), "gossip.advertise", message);
}

/// Gossip listens for streams, too.
fn ports(settings: &Resolved, bind: SocketAddr, problems: &mut Report) {
    for other in ["server.listen", "admin.listen", "logout.listen"] {
        let Some(address) = address(settings, other) else {
            continue;
        };
        let same_ip = address.ip() == bind.ip() || address.ip().is_unspecified() || bind.ip().is_unspecified();
        if bind.port() != 0 && bind.port() == address.port() && same_ip {
            problems.push(
                settings.location("gossip.bind"),
                "gossip.bind",
                format!("is the same port as {other}: give gossip a port of its own."),
            );
        }
    }
}

fn times(settings: &Resolved, problems: &mut Report) {
    let fits_strictly = |rtt: Duration, period: Duration| rtt < period;
    let fits = |period: Duration, suspicion: Duration| period <= suspicion;
    compare(
        settings,
        problems,
        "gossip.probe_rtt",
        "gossip.probe_period",
        fits_strictly,
        "less than",
    );
    compare(
        settings,
        problems,
        "gossip.probe_period",
        "gossip.suspicion",
        fits,
        "at most",
    );
}

/// Demands an order of two durations, and points at the one that somebody wrote.
fn compare(
    settings: &Resolved,
    problems: &mut Report,
    lesser: &str,
    greater: &str,
    fits: fn(Duration, Duration) -> bool,
    words: &str,
) {
    let (Some(a), Some(b)) = (settings.duration(lesser), settings.duration(greater)) else {
        return;
    };
    if fits(a, b) {
        return;
    }
    let at = if settings.is_given(lesser) { lesser } else { greater };
    let message = format!(
        "does not fit: {lesser}, which is {}, must be {words} {greater}, which is {}.",
        show_duration(a),
        show_duration(b)
    );
    problems.push(settings.location(at), at, message);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::rules::tests::table;
    use super::*;

    #[test]
    fn seeds() {
        let good = [
            "10.0.0.7:7946",
            "authmesh.prod.svc:7946",
            "node_1:1",
            "[2001:db8::7]:7946",
        ];
        table(
            seed,
            &good,
            &[
                ("", "is empty"),
                ("authmesh.prod.svc", "has no port"),
                ("10.0.0.7:0", "port from 1"),
                ("host:0", "port from 1"),
                ("host:x", "port from 1"),
                ("host:65536", "port from 1"),
                (":7946", "no host name"),
                ("a b:7946", "no host name"),
                ("2001:db8::7:7946", "no host name"),
                ("0.0.0.0:7946", "stands for all"),
                ("udp://host:7946", "is a URL"),
            ],
        );
        // What this takes, the adapter takes.
        let config = authmesh_gossip::GossipConfig {
            seeds: good.map(str::to_owned).to_vec(),
            ..authmesh_gossip::GossipConfig::default()
        };
        assert_eq!(config.check(), Ok(()));
    }
}
