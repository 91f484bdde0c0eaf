//! nginx, running the snippet that the documentation publishes.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;

use crate::ports::Port;
use crate::process::{Process, command, started};
use crate::tools;

const SNIPPET: &str = include_str!("../../docs/snippets/nginx.conf");
const READY_WITHIN: Duration = Duration::from_secs(10);

/// What the snippet leaves to the rest of a configuration.
///
/// One process, because a master that is killed leaves its workers behind. Every path lies in the scratch folder.
const AROUND: &str = "\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include snippet.conf;
}
";

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    port: Port,
    _scratch: TempDir,
}

impl Nginx {
    /// Starts nginx between its clients and `upstream`, asking `authmesh` about every request.
    pub async fn start(authmesh: SocketAddr, upstream: SocketAddr) -> Self {
        tools::require("nginx");
        started(async || {
            let scratch = tempfile::tempdir().expect("a scratch folder");
            let port = Port::reserve();
            let snippet = SNIPPET
                .replace("listen ${LISTEN}", &format!("listen {}", port.address()))
                .replace("server ${AUTHMESH}", &format!("server {authmesh}"))
                .replace("server ${UPSTREAM}", &format!("server {upstream}"));
            std::fs::write(scratch.path().join("snippet.conf"), snippet).expect("snippet.conf");
            std::fs::write(scratch.path().join("nginx.conf"), AROUND).expect("nginx.conf");
            let mut nginx = command("nginx");
            nginx
                .arg("-p")
                .arg(scratch.path())
                .args(["-c", "nginx.conf", "-e", "stderr"]);
            let mut process = Process::spawn("nginx", nginx);
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

    /// A URL behind nginx. `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        self.port.url(path)
    }

    /// What nginx wrote.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
