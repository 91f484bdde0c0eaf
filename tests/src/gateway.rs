//! Caddy, HAProxy and Envoy, running the snippets that the documentation publishes. (nginx has a module of its own.)

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::ports::Port;
use crate::process::{Process, command, started};
use crate::{chart, tools};

const READY_WITHIN: Duration = Duration::from_secs(20);

/// What Caddy's snippet leaves to the rest of a configuration: nothing may leave the scratch folder, or ask for a certificate.
const AROUND_CADDY: &str = "{\n\tadmin off\n\tauto_https off\n}\n\nimport snippet\n";

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `forward_auth` of Caddy.
    Caddy,
    /// A Lua action of HAProxy.
    Haproxy,
    /// `ext_authz` of Envoy, over HTTP.
    Envoy,
}

/// A running proxy.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    port: Port,
    _scratch: TempDir,
}

impl Gateway {
    /// Starts a proxy between its clients and `upstream`, asking `authmesh` about every request.
    pub async fn start(kind: Kind, authmesh: SocketAddr, upstream: SocketAddr) -> Self {
        started(async || {
            let scratch = tempfile::tempdir().expect("a scratch folder");
            let port = Port::reserve();
            let run = match kind {
                Kind::Caddy => caddy(&scratch, &port, authmesh, upstream),
                Kind::Haproxy => haproxy(&scratch, &port, authmesh, upstream),
                Kind::Envoy => envoy(&scratch, &port, authmesh, upstream),
            };
            let mut process = Process::spawn(&format!("{kind:?}"), run);
            process.accepting(port.address(), READY_WITHIN).await?;
            Ok(Self {
                process,
                port,
                _scratch: scratch,
            })
        })
        .await
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// A URL behind the proxy. `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        self.port.url(path)
    }

    /// What the proxy wrote.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn caddy(scratch: &TempDir, port: &Port, authmesh: SocketAddr, upstream: SocketAddr) -> Command {
    tools::require("caddy");
    let folder = scratch.path();
    fs::write(folder.join("snippet"), chart::read("docs/snippets/Caddyfile")).expect("the snippet");
    fs::write(folder.join("Caddyfile"), AROUND_CADDY).expect("Caddyfile");
    let mut caddy = command("caddy");
    caddy
        .args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"])
        .current_dir(folder)
        .env("HOME", folder)
        .env("XDG_CONFIG_HOME", folder)
        .env("XDG_DATA_HOME", folder)
        .env("LISTEN", format!("http://{}", port.address()))
        .env("AUTHMESH", authmesh.to_string())
        .env("UPSTREAM", upstream.to_string());
    caddy
}

fn haproxy(scratch: &TempDir, port: &Port, authmesh: SocketAddr, upstream: SocketAddr) -> Command {
    tools::require("haproxy");
    let folder = scratch.path();
    let snippets = chart::root().join("docs/snippets");
    let mut haproxy = command("haproxy");
    haproxy
        .arg("-db")
        .arg("-f")
        .arg(snippets.join("haproxy.cfg"))
        .current_dir(folder)
        .env("LISTEN", port.address().to_string())
        .env("AUTHMESH", authmesh.to_string())
        .env("UPSTREAM", upstream.to_string())
        .env("LUA", snippets.join("authmesh.lua"));
    haproxy
}

fn envoy(scratch: &TempDir, port: &Port, authmesh: SocketAddr, upstream: SocketAddr) -> Command {
    let folder = scratch.path();
    let mut config = chart::read("docs/snippets/envoy.yaml");
    for (name, address) in [
        ("LISTEN", port.address()),
        ("AUTHMESH", authmesh),
        ("UPSTREAM", upstream),
    ] {
        config = config
            .replace(&format!("${{{name}_HOST}}"), &address.ip().to_string())
            .replace(&format!("${{{name}_PORT}}"), &address.port().to_string());
    }
    fs::write(folder.join("envoy.yaml"), config).expect("envoy.yaml");
    let mut envoy = command(tools::envoy());
    envoy
        .args(["-c", "envoy.yaml", "--concurrency", "1", "--log-level", "warn"])
        // Several on one machine would share memory by their numbers.
        .arg("--disable-hot-restart")
        .current_dir(folder);
    envoy
}
