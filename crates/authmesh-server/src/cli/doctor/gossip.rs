//! Gossip: whether its addresses are those of this machine, and the seeds can be found.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::task::JoinSet;

use super::report::Report;
use crate::cli::text::{count, plain};
use crate::config::{Config, Gossip};

const TOPIC: &str = "gossip";
/// How long a name may take to be looked up.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(5);

/// Looks at the addresses and the seeds. Sends nothing to them.
pub(super) async fn check(config: &Config, report: &mut Report) {
    let Some(gossip) = &config.gossip else {
        if config.redis.is_some() {
            report.info(
                TOPIC,
                "without gossip, a Redis that withholds revocations is not detected, and nodes turn blind while it is away: let \
                 nobody but authmesh control it",
            );
        }
        return;
    };
    if let Err(error) = crate::gossip::adapter(config) {
        report.fail(TOPIC, error.to_string(), "");
        return;
    }
    let is_own = bind(gossip, report).await;
    let seeds = seeds(gossip, config.redis.is_some(), report).await;
    if is_own {
        reached_at(gossip, &seeds, report).await;
    }
    match gossip.expect.filter(|_| config.redis.is_none()) {
        Some(expect) => report.info(
            TOPIC,
            format!(
                "no Redis: the cluster begins when {} have found each other, and revocations live as long as one node does",
                count(expect as u64, "node", "nodes")
            ),
        ),
        None => report.ok(
            TOPIC,
            "nodes stay coherent while Redis is away, and notice a Redis that withholds revocations",
        ),
    }
}

/// Whether the address to listen on is one of this machine. The port may be in use: by the node itself.
async fn bind(gossip: &Gossip, report: &mut Report) -> bool {
    let ip = gossip.bind.ip();
    match UdpSocket::bind(SocketAddr::new(ip, 0)).await {
        Ok(_) => {
            report.ok(TOPIC, format!("bind {}: an address of this machine", gossip.bind));
            true
        }
        Err(error) => {
            report.fail(
                TOPIC,
                format!("bind {}: {error}", gossip.bind),
                "Set gossip.bind to an address of this machine, or to 0.0.0.0 for all.",
            );
            false
        }
    }
}

/// Looks the seeds up, and returns their addresses.
async fn seeds(gossip: &Gossip, has_redis: bool, report: &mut Report) -> Vec<SocketAddr> {
    let mut looking = JoinSet::new();
    for seed in gossip.seeds.clone() {
        looking.spawn(async move {
            let found = tokio::time::timeout(LOOK_UP_WITHIN, lookup_host(seed.clone())).await;
            let found = match found {
                Ok(Ok(addresses)) => Ok(addresses.collect::<Vec<_>>()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", LOOK_UP_WITHIN.as_secs())),
            };
            (seed, found)
        });
    }
    let mut looked_up = looking.join_all().await;
    looked_up.sort();
    let mut all = Vec::new();
    for (seed, found) in looked_up {
        let seed = plain(&seed);
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                let many = count(addresses.len() as u64, "address", "addresses");
                report.ok(TOPIC, format!("seed {seed}: {many}"));
                all.extend(addresses);
            }
            Ok(_) => unknown_seed(&seed, "it has no address", has_redis, report),
            Err(why) => unknown_seed(&seed, &why, has_redis, report),
        }
    }
    all
}

/// A name may have no address before the first node runs, and is looked up again; but a node that knows no other way waits.
fn unknown_seed(seed: &str, why: &str, has_redis: bool, report: &mut Report) {
    let what = format!("seed {seed} cannot be looked up: {why}");
    let advice = "Check its name; a headless service has addresses once its pods run.";
    if has_redis {
        report.warn(TOPIC, what, advice);
    } else {
        report.fail(TOPIC, what, advice);
    }
}

/// Where others reach this node.
async fn reached_at(gossip: &Gossip, seeds: &[SocketAddr], report: &mut Report) {
    let port = |address: SocketAddr| match address.port() {
        0 => SocketAddr::new(address.ip(), gossip.bind.port()),
        _ => address,
    };
    if let Some(advertise) = gossip.advertise.map(port) {
        let is_own = UdpSocket::bind(SocketAddr::new(advertise.ip(), 0)).await.is_ok();
        if is_own {
            report.ok(TOPIC, format!("advertise {advertise}: an address of this machine"));
        } else {
            report.warn(
                TOPIC,
                format!("advertise {advertise}: no address of this machine"),
                "That is right only where what this node sends seems to others to come from there.",
            );
        }
        return;
    }
    let bind = gossip.bind;
    let ip = if bind.ip().is_unspecified() {
        towards(bind, seeds).await
    } else {
        Some(bind.ip())
    };
    let Some(ip) = ip else {
        report.warn(
            TOPIC,
            "it cannot be told which address others reach this node at",
            "Set gossip.advertise.",
        );
        return;
    };
    let at = SocketAddr::new(ip, bind.port());
    if ip.is_loopback() && seeds.iter().any(|seed| !seed.ip().is_loopback()) {
        report.fail(
            TOPIC,
            format!("others are told to reach this node at {at}, which is loopback"),
            "Set gossip.bind or gossip.advertise to an address that other machines can reach.",
        );
    } else {
        report.ok(TOPIC, format!("others are told to reach this node at {at}"));
    }
}

/// The address that this machine writes to a seed from. Nothing is sent.
async fn towards(bind: SocketAddr, seeds: &[SocketAddr]) -> Option<IpAddr> {
    let seed = seeds.iter().find(|seed| seed.is_ipv4() == bind.is_ipv4())?;
    let socket = UdpSocket::bind(SocketAddr::new(bind.ip(), 0)).await.ok()?;
    socket.connect(seed).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// The findings about these settings, each as its level and what it says.
    async fn findings(settings: &[(&str, &str)]) -> Vec<(String, String)> {
        let ring = tempfile::NamedTempFile::new().unwrap();
        let path = ring.path().display().to_string();
        let base = [
            ("ISSUERS_0_URL", "https://login.example.com"),
            ("ISSUERS_0_AUDIENCE", "orders-api"),
            ("CLUSTER_KEY_RING_FILE", path.as_str()),
        ];
        let environment = base.iter().chain(settings);
        let environment = environment.map(|(name, value)| (format!("AUTHMESH_{name}"), (*value).to_owned()));
        let config = Config::load(None, environment).unwrap().config;
        let mut report = Report::default();
        check(&config, &mut report).await;
        let report = report.json();
        let checks = report["checks"].as_array().unwrap().iter();
        checks
            .map(|check| {
                ["level", "what"]
                    .map(|part| check[part].as_str().unwrap().to_owned())
                    .into()
            })
            .collect()
    }

    fn says(findings: &[(String, String)], level: &str, what: &str) -> bool {
        findings.iter().any(|(at, said)| at == level && said.contains(what))
    }

    #[tokio::test]
    async fn good_addresses_and_seeds_are_fine() {
        let found = findings(&[
            ("GOSSIP_BIND", "127.0.0.1:7946"),
            ("GOSSIP_SEEDS", "127.0.0.1:7946,localhost:7947"),
            ("GOSSIP_EXPECT", "3"),
        ])
        .await;
        assert!(
            says(&found, "ok", "bind 127.0.0.1:7946: an address of this machine"),
            "{found:?}"
        );
        assert!(says(&found, "ok", "seed 127.0.0.1:7946: 1 address"), "{found:?}");
        assert!(says(&found, "ok", "seed localhost:7947: "), "{found:?}");
        assert!(says(&found, "ok", "reach this node at 127.0.0.1:7946"), "{found:?}");
        assert!(
            says(&found, "info", "begins when 3 nodes have found each other"),
            "{found:?}"
        );
        assert!(
            found.iter().all(|(level, _)| level == "ok" || level == "info"),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn what_others_could_not_reach_fails() {
        // 192.0.2.0/24 is documentation (RFC 5737), and .invalid is no domain (RFC 2606).
        let found = findings(&[
            ("GOSSIP_BIND", "192.0.2.1:7946"),
            ("GOSSIP_SEEDS", "nobody.invalid:7946"),
            ("GOSSIP_EXPECT", "3"),
        ])
        .await;
        assert!(says(&found, "fail", "bind 192.0.2.1:7946: "), "{found:?}");
        assert!(
            says(&found, "fail", "seed nobody.invalid:7946 cannot be looked up"),
            "{found:?}"
        );

        let found = findings(&[
            ("GOSSIP_BIND", "127.0.0.1:7946"),
            ("GOSSIP_SEEDS", "192.0.2.1:7946"),
            ("GOSSIP_EXPECT", "3"),
        ])
        .await;
        assert!(says(&found, "fail", "127.0.0.1:7946, which is loopback"), "{found:?}");

        let found = findings(&[
            ("GOSSIP_BIND", "0.0.0.0:7946"),
            ("GOSSIP_ADVERTISE", "192.0.2.1:0"),
            ("REDIS_URL", "redis://127.0.0.1"),
            ("GOSSIP_SEEDS", "nobody.invalid:7946"),
        ])
        .await;
        assert!(
            says(&found, "warn", "advertise 192.0.2.1:7946: no address of this machine"),
            "{found:?}"
        );
        assert!(says(&found, "warn", "seed nobody.invalid:7946"), "{found:?}");
        assert!(says(&found, "ok", "notice a Redis that withholds"), "{found:?}");
    }

    #[tokio::test]
    async fn without_gossip_a_redis_that_withholds_is_not_noticed() {
        let found = findings(&[("REDIS_URL", "redis://127.0.0.1")]).await;
        assert!(
            says(&found, "info", "withholds revocations is not detected"),
            "{found:?}"
        );
        assert_eq!(findings(&[]).await, []);
    }
}
