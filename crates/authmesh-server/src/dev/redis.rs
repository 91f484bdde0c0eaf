//! Development mode over a real Redis.

use std::sync::Arc;

use authmesh_redis::{RedisAdapter, RedisConfig};

use super::random;
use crate::config::redis_url;
use crate::serve::ServeError;

/// The cluster's name.
pub(super) const CLUSTER: &str = "dev";

/// The Redis of one run.
pub(super) struct DevRedis {
    settings: RedisConfig,
    pub(super) url: String,
    pub(super) prefix: String,
}

impl DevRedis {
    /// Connects once, so that what is wrong is said before anything else is.
    pub(super) async fn connect(url: &str) -> Result<Self, ServeError> {
        let refuse = |what: &dyn std::fmt::Display| ServeError::new(format!("--redis: {what}"));
        redis_url(url).map_err(|what| refuse(&format!("the URL {what}")))?;
        let bytes: [u8; 4] = random()?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let prefix = format!("authmesh-dev-{hex}");
        let settings = RedisConfig::new(url)
            .map_err(|error| refuse(&error))?
            .cluster(CLUSTER)
            .prefix(&prefix);
        RedisAdapter::connect(settings.clone()).await.map_err(|error| {
            refuse(&format!(
                "{error}. `redis-server --port 6379 --save ''` starts one on this machine; a Redis with a password or a \
                 private certificate needs a configuration: `authmesh serve --config`"
            ))
        })?;
        Ok(Self {
            settings,
            // It holds no credentials: the rule refuses those.
            url: url.to_owned(),
            prefix,
        })
    }

    /// An adapter of its own for each node, as if each were a process.
    pub(super) fn adapter(&self) -> Result<Arc<RedisAdapter>, ServeError> {
        RedisAdapter::lazy(self.settings.clone())
            .map(Arc::new)
            .map_err(ServeError::new)
    }

    /// What is left in Redis, and how to be rid of it. The logs have no time to live, on purpose.
    pub(super) fn farewell(&self) -> String {
        format!(
            "keys of this run stay in {}: redis-cli -u {} --scan --pattern '{}:*' | xargs redis-cli -u {} unlink\n",
            self.url, self.url, self.prefix, self.url
        )
    }
}
