//! One Redis server, and how this crate's tests reach it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use authmesh_redis::{RedisAdapter, RedisConfig};
use authmesh_tests::redis_server::RedisServer;

/// A running server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Server(RedisServer);

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With more arguments.
    pub(crate) async fn with(arguments: &[&str]) -> Self {
        let debugging = ["--enable-debug-command", "local"];
        Self(RedisServer::start(&[&debugging, arguments].concat()).await)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig::new(&self.url()).unwrap()
    }

    /// An adapter for a cluster that nobody else on this server uses.
    pub(crate) async fn adapter(&self, config: RedisConfig) -> Arc<RedisAdapter> {
        Arc::new(RedisAdapter::connect(config).await.expect("the server is up and fit"))
    }

    /// Stops the process where it stands: connections stay, answers do not come.
    pub(crate) fn freeze(&self) {
        self.0.freeze();
    }

    pub(crate) fn thaw(&self) {
        self.0.thaw();
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill();
    }

    /// A new, empty process on the same port, after [`Server::kill`].
    pub(crate) async fn restart(&mut self) {
        self.0.restart().await;
    }

    /// A connection of the test's own.
    pub(crate) async fn raw(&self) -> redis::aio::MultiplexedConnection {
        self.raw_at(self.url()).await
    }

    /// The same, with a password.
    pub(crate) async fn raw_as(&self, password: &str) -> redis::aio::MultiplexedConnection {
        self.raw_at(format!("redis://:{password}@{}", self.address())).await
    }

    async fn raw_at(&self, url: String) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(url).unwrap();
        client
            .get_multiplexed_async_connection()
            .await
            .expect("the server is up")
    }
}

/// A name that no other cluster of this process has.
pub(crate) fn new_cluster() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
