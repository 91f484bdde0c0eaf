//! Settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use zeroize::Zeroizing;

use crate::address::Address;
use crate::error::ConnectError;

/// Addresses that may be given. A cluster is found by any one of them.
const MAX_SEEDS: usize = 32;

/// A password. Its `Debug` output is redacted, and it is wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a password over.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Where Redis is, and how it is used. Every setter ends with its default.
///
/// One server and a Redis Cluster are told apart by what the server at the first address says of itself.
///
/// Files are read again for each new connection, so that a rotated password or certificate is taken up without a restart.
#[derive(Debug, Clone)]
#[must_use = "settings do nothing until `RedisAdapter::connect`"]
pub struct RedisConfig {
    pub(crate) tls: bool,
    /// The first address, then the further ones.
    pub(crate) seeds: Vec<Address>,
    pub(crate) database: i64,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) cluster: String,
    pub(crate) prefix: String,
    pub(crate) log_entries: usize,
    pub(crate) members: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) replica_wait: Duration,
    pub(crate) any_eviction_policy: bool,
}

impl RedisConfig {
    /// Settings for `redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS: one server, or any node of a
    /// Redis Cluster. With TLS the certificate of each server must be signed by an authority that the machine trusts (or
    /// that of [`RedisConfig::ca_file`]), for the host of the URL; in a cluster, for the hosts by which the nodes know each
    /// other. Default port: 6379.
    ///
    /// # Errors
    /// When the URL is none of these. The error does not repeat it: it may hold a password.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let (tls, address, info) = parse("url", url)?;
        let settings = info.redis_settings();
        Ok(Self {
            tls,
            seeds: vec![address],
            database: settings.db(),
            username: settings.username().map(str::to_owned),
            password: settings.password().map(Secret::new),
            password_file: None,
            ca_file: None,
            client_certificate: None,
            cluster: "authmesh".into(),
            prefix: "authmesh".into(),
            log_entries: 4096,
            members: 1024,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            replica_wait: Duration::from_millis(100),
            any_eviction_policy: false,
        })
    }

    /// Further nodes of the same Redis Cluster, at most 31, so that it is found while the first is away. Credentials are
    /// those of the first address. A single server has one address only. Default: none.
    ///
    /// # Errors
    /// When one is no Redis URL, has credentials or a database, or differs from the first in its use of TLS.
    pub fn seeds<U: AsRef<str>>(mut self, urls: impl IntoIterator<Item = U>) -> Result<Self, ConnectError> {
        for url in urls {
            let (tls, address, info) = parse("seeds", url.as_ref())?;
            let settings = info.redis_settings();
            if settings.username().is_some() || settings.password().is_some() || settings.db() != 0 {
                return Err(ConnectError::setting(
                    "seeds",
                    format!("{address}: credentials and database are those of redis.url: leave them out here"),
                ));
            }
            if tls != self.tls {
                return Err(ConnectError::setting(
                    "seeds",
                    format!("{address}: either all addresses use TLS (rediss://) or none"),
                ));
            }
            if !self.seeds.contains(&address) {
                self.seeds.push(address);
            }
        }
        Ok(self)
    }

    /// The ACL user. Default: that of the URL, else Redis' user `default`.
    pub fn username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// The password. Default: that of the URL, else none.
    pub fn password(mut self, password: Secret) -> Self {
        self.password = Some(password);
        self
    }

    /// A file that holds the password and nothing else, but for a line break at its end. It goes before
    /// [`RedisConfig::password`]. Default: none.
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.password_file = Some(path.into());
        self
    }

    /// A file with the certificates (PEM) of the authorities that may sign those of the servers, **in place of** the ones
    /// that the machine trusts. Needs TLS. Default: the authorities of the machine.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Files with this client's certificate (PEM, with its intermediates) and its private key (PEM), for servers that ask
    /// for one. Needs TLS. Default: none.
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate = Some((certificate.into(), key.into()));
        self
    }

    /// The cluster's name, the same as that of the node, 1 to 64 bytes: clusters may share a Redis. Default: `authmesh`.
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = cluster.into();
        self
    }

    /// What every key begins with, 1 to 64 letters, digits, `.`, `_` or `-`. Default: `authmesh`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Entries of a channel's log, 128 to 1,000,000; older ones are trimmed. A node that was away for longer loads the
    /// marks anew. Default: 4,096.
    pub fn log_entries(mut self, entries: usize) -> Self {
        self.log_entries = entries;
        self
    }

    /// How many members may be registered, 1 to 65,536. Default: 1,024.
    pub fn members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// How long a connection may take until it can be used, 10 ms to 60 s. Default: 1 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an answer may take, 10 ms to 60 s. Default: 1 s.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// How long a commit waits for one replica to confirm it (`WAIT`), 1 ms to half of the response timeout. Where there are
    /// no replicas nothing waits. Default: 100 ms.
    pub fn replica_wait(mut self, timeout: Duration) -> Self {
        self.replica_wait = timeout;
        self
    }

    /// Works with a Redis whose `maxmemory-policy` may evict marks and logs. **A revocation can be forgotten then**, and
    /// nobody is told but by the repair that follows. Default: `false`; such a Redis is refused.
    pub fn danger_any_eviction_policy(mut self, allow: bool) -> Self {
        self.any_eviction_policy = allow;
        self
    }

    /// Who is asked, in words for an error: no credentials.
    pub(crate) fn peer(&self) -> String {
        match &self.seeds[..] {
            [only] => format!("Redis at {only}"),
            [first, more @ ..] => format!("Redis at {first} and {} more", more.len()),
            [] => "Redis".to_owned(),
        }
    }

    /// Checks what `new` could not.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let limits = |setting, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(ConnectError::setting(
                setting,
                format!("is {value}: choose {least} to {most}"),
            ))
        };
        limits("log_entries", self.log_entries, 128, 1_000_000)?;
        limits("members", self.members, 1, 65_536)?;
        limits("seeds", self.seeds.len(), 1, MAX_SEEDS)?;
        for (setting, timeout) in [
            ("connect_timeout", self.connect_timeout),
            ("response_timeout", self.response_timeout),
        ] {
            if !(Duration::from_millis(10)..=Duration::from_secs(60)).contains(&timeout) {
                return Err(ConnectError::setting(
                    setting,
                    format!("is {timeout:?}: choose 10 ms to 60 s"),
                ));
            }
        }
        let most = self.response_timeout / 2;
        if !(Duration::from_millis(1)..=most).contains(&self.replica_wait) {
            return Err(ConnectError::setting(
                "replica_wait",
                format!(
                    "is {:?}: choose 1 ms to {most:?}, half of redis.response_timeout",
                    self.replica_wait
                ),
            ));
        }
        for (setting, set) in [
            ("ca_file", self.ca_file.is_some()),
            ("client_certificate", self.client_certificate.is_some()),
        ] {
            if set && !self.tls {
                return Err(ConnectError::setting(
                    setting,
                    "is for TLS only: write rediss:// in redis.url, or leave it out",
                ));
            }
        }
        Ok(())
    }
}

/// Whether TLS is used, the address, and the rest. The error does not repeat the URL.
fn parse(setting: &'static str, url: &str) -> Result<(bool, Address, ConnectionInfo), ConnectError> {
    let wrong = |what: &str| ConnectError::setting(setting, what);
    if !url.starts_with("redis://") && !url.starts_with("rediss://") {
        return Err(wrong("must begin with redis:// or, for TLS, rediss://"));
    }
    let info = url.into_connection_info().map_err(|_| {
        wrong("is no Redis URL: write redis://HOST:PORT, and percent-encode what is special in a password")
    })?;
    let (tls, address) = match info.addr() {
        ConnectionAddr::Tcp(host, port) => (false, Address::new(host, *port)),
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            ..
        } => (true, Address::new(host, *port)),
        _ => return Err(wrong("asks for TLS without checks (#insecure): leave that out")),
    };
    Ok((tls, address, info))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let config = RedisConfig::new("rediss://node:s3cret@redis.example.com:6380/2").unwrap();
        assert!(config.tls && config.seeds == [Address::new("redis.example.com", 6380)] && config.database == 2);
        let config = config.password(Secret::new("s3cret too"));
        let shown = format!("{config:?} {}", config.peer());
        assert!(
            shown.contains("redis.example.com") && !shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn a_wrong_url_is_refused_and_not_repeated() {
        for url in [
            "",
            "localhost",
            "http://u:s3cret@h",
            "unix:///s3cret",
            "redis://u:s3cret@",
            "redis://u:s3cret@h:99999",
            "redis://u:s3cret@h/not-a-number",
            "rediss://u:s3cret@h/#insecure",
        ] {
            let error = RedisConfig::new(url).map(|config| config.peer()).unwrap_err();
            assert!(error.to_string().starts_with("redis.url: "), "{url}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let config = || RedisConfig::new("redis://127.0.0.1:1").unwrap();
        assert_eq!(config().check(), Ok(()));
        let wrong = [
            (config().log_entries(0), "log_entries"),
            (config().members(0), "members"),
            (config().connect_timeout(Duration::ZERO), "connect_timeout"),
            (config().response_timeout(Duration::MAX), "response_timeout"),
            (config().replica_wait(Duration::from_millis(501)), "replica_wait"),
            (config().ca_file("ca.pem"), "ca_file"),
            (config().client_certificate("c.pem", "k.pem"), "client_certificate"),
            (
                config()
                    .seeds((2..40).map(|n| format!("redis://127.0.0.1:{n}")))
                    .unwrap(),
                "seeds",
            ),
        ];
        for (config, setting) in wrong {
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("redis.{setting}: ")), "{error}");
        }
    }

    #[test]
    fn further_addresses_have_no_settings_of_their_own() {
        let config = || RedisConfig::new("redis://node:s3cret@a").unwrap();
        let seeds = config()
            .seeds(["redis://a:6379", "redis://b", "redis://c:1"])
            .unwrap()
            .seeds;
        assert_eq!(
            seeds,
            [Address::new("a", 6379), Address::new("b", 6379), Address::new("c", 1)]
        );
        for url in ["redis://:s3cret@b", "redis://b/3", "rediss://b", "b:6379"] {
            let error = config().seeds([url]).unwrap_err().to_string();
            assert!(
                error.starts_with("redis.seeds: ") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
