//! One `redis-server` on a loopback port, without a configuration of the system and without persistence.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authmesh_redis::{RedisAdapter, RedisConfig};
use authmesh_tests::ports::Port;
use authmesh_tests::process::{NotReady, Process, command, started};
use authmesh_tests::tools;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    port: Port,
    arguments: Vec<String>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With more arguments.
    pub(crate) async fn with(arguments: &[&str]) -> Self {
        tools::require("redis-server");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        started(async || {
            let port = Port::reserve();
            let process = run(&port, &arguments).await?;
            Ok(Self {
                process,
                port,
                arguments: arguments.clone(),
            })
        })
        .await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.port.address())
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
        self.process.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.process.signal("CONT");
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// A new, empty process on the same port, after [`Server::kill`].
    pub(crate) async fn restart(&mut self) {
        self.process = run(&self.port, &self.arguments)
            .await
            .unwrap_or_else(|trouble| panic!("{trouble}"));
    }

    /// A connection of the test's own.
    pub(crate) async fn raw(&self) -> redis::aio::MultiplexedConnection {
        self.raw_at(self.url()).await
    }

    /// The same, with a password.
    pub(crate) async fn raw_as(&self, password: &str) -> redis::aio::MultiplexedConnection {
        self.raw_at(format!("redis://:{password}@{}", self.port.address()))
            .await
    }

    async fn raw_at(&self, url: String) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(url).unwrap();
        client
            .get_multiplexed_async_connection()
            .await
            .expect("the server is up")
    }
}

async fn run(port: &Port, arguments: &[String]) -> Result<Process, NotReady> {
    let mut redis = command("redis-server");
    redis
        .args(["--bind", "127.0.0.1", "--port", &port.number().to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(["--enable-debug-command", "local"])
        .args(arguments);
    let mut process = Process::spawn("redis-server", redis);
    process.accepting(port.address(), READY_WITHIN).await?;
    Ok(process)
}

/// A name that no other cluster of this process has.
pub(crate) fn new_cluster() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
