//! Settings.

use std::fmt;
use std::time::Duration;

use redis::{Client, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};
use zeroize::Zeroizing;

use crate::error::ConnectError;

/// A password. Its `Debug` output is redacted, and it is wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a password over.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Zeroizing::new(secret.into()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// Where Redis is, and how it is used. Every setter ends with its default.
#[derive(Debug, Clone)]
#[must_use = "settings do nothing until `RedisAdapter::connect`"]
pub struct RedisConfig {
    tls: bool,
    host: String,
    port: u16,
    database: i64,
    username: Option<String>,
    password: Option<Secret>,
    pub(crate) cluster: String,
    pub(crate) prefix: String,
    pub(crate) log_entries: usize,
    pub(crate) members: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) any_eviction_policy: bool,
}

impl RedisConfig {
    /// Settings for `redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS. With TLS the certificate of
    /// the server must be signed by an authority that the machine trusts, for the host of the URL. Default port: 6379.
    ///
    /// # Errors
    /// When the URL is none of these. The error does not repeat it: it may hold a password.
    pub fn new(url: &str) -> Result<Self, ConnectError> {
        let wrong = |what: &str| ConnectError::setting("url", what);
        if !url.starts_with("redis://") && !url.starts_with("rediss://") {
            return Err(wrong("must begin with redis:// or, for TLS, rediss://"));
        }
        let info = url.into_connection_info().map_err(|_| {
            wrong("is no Redis URL: write redis://HOST:PORT, and percent-encode what is special in a password")
        })?;
        let (tls, host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (false, host.clone(), *port),
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                ..
            } => (true, host.clone(), *port),
            _ => return Err(wrong("asks for TLS without checks (#insecure): leave that out")),
        };
        let settings = info.redis_settings();
        Ok(Self {
            tls,
            host,
            port,
            database: settings.db(),
            username: settings.username().map(str::to_owned),
            password: settings.password().map(Secret::new),
            cluster: "authmesh".into(),
            prefix: "authmesh".into(),
            log_entries: 4096,
            members: 1024,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            any_eviction_policy: false,
        })
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

    /// Works with a Redis whose `maxmemory-policy` may evict marks and logs. **A revocation can be forgotten then**, and
    /// nobody is told but by the repair that follows. Default: `false`; such a Redis is refused.
    pub fn danger_any_eviction_policy(mut self, allow: bool) -> Self {
        self.any_eviction_policy = allow;
        self
    }

    /// Who is asked, in words for an error: no credentials.
    pub(crate) fn peer(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        format!("Redis at {host}:{}", self.port)
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
        Ok(())
    }

    /// A client that speaks RESP3. It opens no connection.
    pub(crate) fn client(&self) -> Result<Client, ConnectError> {
        let addr = if self.tls {
            // rustls takes the provider of the process, and panics where there is none and it has two to choose from. An
            // error here says that the program has installed one: that one is used.
            let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
            ConnectionAddr::TcpTls {
                host: self.host.clone(),
                port: self.port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(self.host.clone(), self.port)
        };
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.database)
            .set_lib_name("authmesh", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password.0.as_str());
        }
        let info = addr
            .into_connection_info()
            .map_err(|_| ConnectError::setting("url", "names no server that can be connected to"))?
            .set_redis_settings(settings);
        Client::open(info).map_err(|_| ConnectError::setting("url", "names no server that can be connected to"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let config = RedisConfig::new("rediss://node:s3cret@redis.example.com:6380/2").unwrap();
        assert!(config.tls && config.port == 6380 && config.database == 2);
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
        ];
        for (config, setting) in wrong {
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("redis.{setting}: ")), "{error}");
        }
    }

    #[test]
    fn a_tls_client_can_be_made() {
        assert!(RedisConfig::new("rediss://127.0.0.1:1").unwrap().client().is_ok());
    }
}
