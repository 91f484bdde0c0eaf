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

/// The same service without authmesh: what nginx costs by itself.
const PLAIN: &str = "\
upstream service { server ${UPSTREAM}; }
server {
    listen ${LISTEN};
    large_client_header_buffers 4 16k;
    location / {
        proxy_set_header Host            $host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_pass http://service;
    }
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
        let snippet = SNIPPET.replace("server ${AUTHMESH}", &format!("server {authmesh}"));
        Self::run(&snippet, upstream).await
    }

    /// Starts nginx between its clients and `upstream`, asking nobody.
    pub async fn start_plain(upstream: SocketAddr) -> Self {
        Self::run(PLAIN, upstream).await
    }

    async fn run(snippet: &str, upstream: SocketAddr) -> Self {
        tools::require("nginx");
        started(async || {
            let scratch = tempfile::tempdir().expect("a scratch folder");
            let port = Port::reserve();
            let snippet = snippet
                .replace("listen ${LISTEN}", &format!("listen {}", port.address()))
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

    /// The process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What nginx wrote.
    pub fn log(&self) -> String {
        self.process.log()
    }
}
