//! Whether a server can keep what authmesh promises.

/// What a server says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    /// Part of a Redis Cluster.
    pub(crate) cluster: bool,
    /// Replicas that are connected to it.
    pub(crate) replicas: u32,
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
}

/// How many replicas are connected, by the answer to `INFO replication`.
pub(crate) fn replicas(info: &str) -> u32 {
    field(info, "connected_slaves")
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

/// Reads the answer to `INFO`. The error says what to change.
pub(crate) fn server(peer: &str, info: &str, any_eviction_policy: bool) -> Result<Facts, String> {
    let field = |name: &str| field(info, name);
    let version = field("redis_version").unwrap_or_default();
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    if major.is_none_or(|major| major < 7) {
        return Err(format!(
            "{peer} is version {}: authmesh needs Redis 7.0 or newer",
            if version.is_empty() { "unknown" } else { version }
        ));
    }
    let cluster = field("cluster_enabled") == Some("1");
    // In a cluster, roles change, and a replica says itself who the primary is.
    if !cluster && field("role") != Some("master") {
        return Err(format!(
            "{peer} is a replica and takes no writes: connect to the primary"
        ));
    }
    let policy = field("maxmemory_policy").unwrap_or("unknown");
    let safe = policy == "noeviction" || policy.starts_with("volatile-");
    if !safe && !any_eviction_policy {
        return Err(format!(
            "{peer} has maxmemory-policy {policy}, which may evict revocations: set it to volatile-lru or noeviction"
        ));
    }
    Ok(Facts {
        cluster,
        replicas: replicas(info),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::{Facts, server};

    fn info(version: &str, role: &str, policy: &str, cluster: &str) -> String {
        format!(
            "# Server\r\nredis_version:{version}\r\nrole:{role}\r\nmaxmemory_policy:{policy}\r\ncluster_enabled:{cluster}\r\nconnected_slaves:2\r\n"
        )
    }

    #[test]
    fn a_fit_server_passes() {
        let fit = |cluster| Ok(Facts { cluster, replicas: 2 });
        for policy in ["noeviction", "volatile-lru", "volatile-ttl"] {
            assert_eq!(server("r", &info("7.0.15", "master", policy, "0"), false), fit(false));
        }
        assert_eq!(
            server("r", &info("8.2.1", "master", "allkeys-lru", "0"), true),
            fit(false)
        );
        let replica = info("7.0.15", "slave", "noeviction", "1");
        assert_eq!(
            server("r", &replica, false),
            fit(true),
            "a cluster says who the primary is"
        );
    }

    #[test]
    fn an_unfit_server_is_refused_with_the_reason() {
        let cases = [
            (info("6.2.7", "master", "noeviction", "0"), "6.2.7"),
            (info("", "master", "noeviction", "0"), "unknown"),
            (info("7.0.15", "slave", "noeviction", "0"), "replica"),
            (info("7.0.15", "master", "allkeys-lru", "0"), "allkeys-lru"),
            (String::new(), "unknown"),
        ];
        for (info, word) in cases {
            let refusal = server("r", &info, false).unwrap_err();
            assert!(refusal.contains(word), "{refusal}");
        }
        // The danger is for the policy alone.
        assert!(server("r", &info("6.2.7", "master", "noeviction", "0"), true).is_err());
    }
}
