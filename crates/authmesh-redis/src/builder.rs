//! One line in a builder.

use std::sync::Arc;

use authmesh::{BuildError, Builder};

use crate::{ConnectError, RedisAdapter, RedisConfig};

/// Redis in the chain of a [`Builder`].
///
/// ```no_run
/// use authmesh_redis::WithRedis as _;
///
/// # fn doc(builder: authmesh::Builder) -> authmesh::Builder {
/// builder.cluster("orders").key_ring_file("/etc/authmesh/ring.toml").redis("rediss://redis.internal:6379")
/// # }
/// ```
pub trait WithRedis: Sized {
    /// Joins the cluster through one Redis server, or any node of a Redis Cluster: `redis://`, or `rediss://` for TLS. The node
    /// starts whether it is there or not. What is wrong with the URL, [`Builder::start`] says.
    fn redis(self, url: impl Into<String>) -> Self;

    /// The same with settings. Their [`RedisConfig::cluster`] is the builder's.
    fn redis_with(self, settings: RedisConfig) -> Self;
}

impl WithRedis for Builder {
    fn redis(self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.at_start(move |builder| join(builder, RedisConfig::new(&url)))
    }

    fn redis_with(self, settings: RedisConfig) -> Self {
        self.at_start(move |builder| join(builder, Ok(settings)))
    }
}

fn join(builder: Builder, settings: Result<RedisConfig, ConnectError>) -> Result<Builder, BuildError> {
    let adapter = settings.and_then(|settings| RedisAdapter::lazy(settings.cluster(builder.cluster_name())));
    let adapter = adapter.map_err(|error| BuildError::new("redis", error.to_string()))?;
    Ok(builder.join(Arc::new(adapter)))
}
