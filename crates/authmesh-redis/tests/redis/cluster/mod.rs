//! The adapter on a real Redis Cluster.

mod bells;
mod conformance;
mod faults;
mod hostile;
mod nodes;
mod tls;

use std::sync::Arc;

use authmesh_redis::{RedisAdapter, RedisConfig};
use authmesh_tests::redis_cluster::RedisCluster;
use tokio::sync::{Mutex, MutexGuard};

use crate::server::new_cluster;

/// One cluster for all tests, and one test at a time on it. It ends with the test process.
static SHARED: Mutex<Option<RedisCluster>> = Mutex::const_new(None);

pub(crate) struct Shared(MutexGuard<'static, Option<RedisCluster>>);

impl std::ops::Deref for Shared {
    type Target = RedisCluster;

    fn deref(&self) -> &RedisCluster {
        self.0.as_ref().expect("it runs")
    }
}

/// The cluster, in good health whatever the test before did to it.
pub(crate) async fn shared() -> Shared {
    let mut shared = SHARED.lock().await;
    match &*shared {
        Some(cluster) => cluster.heal().await,
        None => *shared = Some(RedisCluster::start().await),
    }
    Shared(shared)
}

/// For names that nobody else on this cluster uses.
pub(crate) fn config(cluster: &RedisCluster) -> RedisConfig {
    let urls = cluster.urls();
    let config = RedisConfig::new(&urls[0]).unwrap().seeds(&urls[1..]).unwrap();
    config.cluster(new_cluster())
}

pub(crate) async fn adapter(config: RedisConfig) -> Arc<RedisAdapter> {
    Arc::new(RedisAdapter::connect(config).await.expect("the cluster is up and fit"))
}
