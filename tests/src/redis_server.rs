//! One real Redis server, which can be stopped where it stands, killed, and started again.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::ports::Port;
use crate::process::{NotReady, Process, command, started};
use crate::tools;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// A running `redis-server` on a loopback port, without persistence: killed and started again, it is empty.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    port: Port,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts a server with more arguments, such as `["--maxmemory-policy", "allkeys-lru"]`.
    pub async fn start(arguments: &[&str]) -> Self {
        tools::require("redis-server");
        tools::require("redis-cli");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        started(async || {
            let port = Port::reserve();
            let process = launch(&port, &arguments).await?;
            Ok(Self {
                process,
                port,
                arguments: arguments.clone(),
            })
        })
        .await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.port.address())
    }

    /// Stops the process where it stands: connections stay, answers do not come.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on after [`RedisServer::freeze`].
    pub fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// A new, empty process on the same port, after [`RedisServer::kill`].
    pub async fn restart(&mut self) {
        self.process = launch(&self.port, &self.arguments)
            .await
            .unwrap_or_else(|trouble| panic!("{trouble}"));
    }

    /// Runs one command, and returns what `redis-cli` printed.
    ///
    /// # Panics
    ///
    /// When the server does not answer.
    pub fn cli(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.number().to_string()])
            .args(words)
            .output()
            .expect("redis-cli runs");
        assert!(output.status.success(), "redis-cli {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

async fn launch(port: &Port, arguments: &[String]) -> Result<Process, NotReady> {
    let mut redis = command("redis-server");
    redis
        .args(["--bind", "127.0.0.1", "--port", &port.number().to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(arguments);
    let mut process = Process::spawn("redis-server", redis);
    process.accepting(port.address(), READY_WITHIN).await?;
    Ok(process)
}
