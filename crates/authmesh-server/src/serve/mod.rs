//! `authmesh serve`: forward auth and the admin API on top of the SDK.

mod admin;
mod forward;
mod issuer;
mod listener;
mod logout;
mod mesh;
mod original;
mod rotation;
mod routes;
mod telemetry;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use authmesh::AuthMesh;
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, Secret};
use crate::dev;

pub use forward::Settings as ForwardSettings;
pub(crate) use issuer::{key_source, token_source};
pub use logout::Budget as LogoutBudget;
use telemetry::Exporters;
pub use telemetry::Metrics;

/// Runs a node: forward auth, admin API, metrics.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  authmesh serve --dev --nodes 3              a small world on loopback, with commands to paste
  authmesh serve --dev --redis redis://127.0.0.1:6379     the same over a real Redis
  authmesh serve --config authmesh.toml       the real thing; `authmesh config default` prints a file to begin with

Exit codes: 0 stopped in good order; 2 not started: what is wrong stands on standard error; 3 the other nodes have forgotten this
one, and it has to be started anew.")]
pub struct ServeArgs {
    /// Configuration file (TOML). Every setting can also come from an AUTHMESH_... variable.
    #[arg(long, value_name = "FILE", env = "AUTHMESH_CONFIG", conflicts_with = "dev")]
    pub config: Option<PathBuf>,
    /// Development mode: an embedded identity provider, in-memory cluster, throw-away keys, loopback only.
    #[arg(long)]
    pub dev: bool,
    /// How many nodes to run in this process (development mode only).
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=26), requires = "dev")]
    pub nodes: u16,
    /// First port (development mode only): nodes from here, admin APIs from 100 above, the issuer 200 above. 0 takes any
    /// free ports.
    #[arg(long, value_name = "PORT", default_value_t = 8400, requires = "dev")]
    pub port_base: u16,
    /// Let the nodes gossip as well, over free ports (development mode only). Default: more than one node does
    #[arg(long, requires = "dev", overrides_with = "no_gossip")]
    pub gossip: bool,
    /// Let the nodes share nothing but memory, or the Redis (development mode only)
    #[arg(long, requires = "dev", overrides_with = "gossip")]
    pub no_gossip: bool,
    /// A Redis without a password for the nodes to share (development mode only), such as redis://127.0.0.1:6379. Each run
    /// has keys of its own there. Default: a cluster in memory.
    #[arg(long, value_name = "URL", requires = "dev")]
    pub redis: Option<String>,
}

/// Why a server did not start, in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServeError(pub String);

impl ServeError {
    pub(crate) fn new(what: impl std::fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// Runs `authmesh serve` to its end.
#[must_use]
pub fn run(args: &ServeArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("authmesh: the runtime could not be started: {error}");
            return ExitCode::from(2);
        }
    };
    let served = runtime.block_on(async {
        if args.dev {
            telemetry::log_for_dev();
            let gossip = args.gossip || (args.nodes > 1 && !args.no_gossip);
            return dev::run(args.nodes, args.port_base, args.redis.as_deref(), gossip)
                .await
                .map(|()| Ended::Stopped);
        }
        let loaded = Config::load(args.config.as_deref(), config::process_environment()).map_err(ServeError::new)?;
        let exporters = Exporters::new(&loaded.config, |name| std::env::var(name).ok())?;
        telemetry::log(&loaded.config.log, &exporters);
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        serve(loaded.config, exporters).await
    });
    match served {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::Forgotten) => {
            eprintln!(
                "authmesh: the other nodes have forgotten this one, and do not wait for it any more. It would stay blind: start it \
                 anew, and it joins as another"
            );
            ExitCode::from(FORGOTTEN)
        }
        Err(error) => {
            eprintln!("authmesh: {error}");
            ExitCode::from(2)
        }
    }
}

/// The exit code of a node that the others have forgotten.
const FORGOTTEN: u8 = 3;

/// Why a server ended that had started.
enum Ended {
    /// It was asked to.
    Stopped,
    /// An operator had the others forget this node, or another start of it has taken its place.
    Forgotten,
}

async fn serve(config: Config, exporters: Exporters) -> Result<Ended, ServeError> {
    let metrics = Metrics::with(&exporters)?;
    let listener = bind(config.server.listen).await?;
    let address = listener.local_addr().map_err(ServeError::new)?;
    let admin_listener = match (&config.admin.listen, &config.admin.token) {
        (Some(address), Some(_)) => Some(bind(*address).await?),
        (Some(_), None) => {
            tracing::warn!(
                "no admin credential is set (AUTHMESH_ADMIN_TOKEN or admin.token_file): the admin API is off"
            );
            None
        }
        (None, _) => None,
    };
    let logout_listener = match config.logout.listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let ring = mesh::key_ring(&config)?;
    let mesh = mesh::start(&config, address, ring.as_ref(), &metrics).await?;
    let rotation = CancellationToken::new();
    if let Some((path, ring)) = config.cluster.key_ring_file.clone().zip(ring) {
        tokio::spawn(rotation::follow(mesh.clone(), path, ring, rotation.clone()));
    }
    let settings = ForwardSettings::from_config(&config, &mesh)?;
    let node = RunningNode::start(
        mesh,
        metrics.clone(),
        listener,
        settings,
        admin_listener.zip(config.admin.token.clone()),
        logout_listener.map(|listener| (listener, logout_budget(&config))),
        Limits {
            connections: config.server.max_connections,
            request: config.server.request_timeout,
            header_bytes: config.cache.max_token_bytes,
            drain: config.server.drain,
        },
    );
    tracing::info!(
        %address, admin = ?node.admin, logout = ?node.logout, cluster = %config.cluster.name, node = %config.cluster.node,
        issuers = config.issuers.len(), redis = config.redis.is_some(), gossip = config.gossip.is_some(),
        "authmesh {} is serving", env!("CARGO_PKG_VERSION")
    );
    let ended = tokio::select! {
        () = stop_signal() => Ended::Stopped,
        () = forgotten(&node.mesh) => Ended::Forgotten,
    };
    tracing::info!("stopping: open requests may end");
    rotation.cancel();
    // Metrics are read from the node: it has to be there for the last time.
    let mesh = node.mesh.clone();
    node.stop().await;
    exporters.stop(&metrics).await;
    drop(mesh);
    Ok(ended)
}

/// Resolves when the other members have forgotten this node: it cannot become coherent any more.
async fn forgotten(mesh: &AuthMesh) {
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        look.tick().await;
        if mesh.health().gossip.is_some_and(|gossip| gossip.forgotten) {
            return;
        }
    }
}

fn logout_budget(config: &Config) -> LogoutBudget {
    LogoutBudget {
        connections: config.logout.max_connections,
        concurrent: config.logout.max_concurrent,
        per_second: config.logout.per_second,
        burst: config.logout.burst,
    }
}

pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| {
        ServeError::new(format!(
            "cannot listen on {address}: {error}. Stop what uses it, or choose another address"
        ))
    })
}

/// Resolves when the process is asked to stop: SIGINT (Ctrl-C) or SIGTERM.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Limits of a node's listeners.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at one time; further ones wait.
    pub connections: usize,
    /// Time for one request.
    pub request: Duration,
    /// The longest token: it sizes the buffer for request headers.
    pub header_bytes: usize,
    /// How long open requests may take to end at a stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            request: Duration::from_secs(10),
            header_bytes: 16 << 10,
            drain: Duration::from_secs(5),
        }
    }
}

/// A node with its listeners.
#[derive(Debug)]
pub struct RunningNode {
    /// The node.
    pub mesh: AuthMesh,
    /// Address of the admin API, if it is on.
    pub admin: Option<SocketAddr>,
    /// Address of the logout listener, if it is on.
    pub logout: Option<SocketAddr>,
    stop: CancellationToken,
    listeners: Vec<tokio::task::JoinHandle<()>>,
}

impl RunningNode {
    /// Starts to answer. Listeners are bound already, so nothing can fail any more.
    pub fn start(
        mesh: AuthMesh,
        metrics: Metrics,
        forward: TcpListener,
        settings: ForwardSettings,
        admin: Option<(TcpListener, Secret)>,
        logout: Option<(TcpListener, LogoutBudget)>,
        limits: Limits,
    ) -> Self {
        let stop = CancellationToken::new();
        let app = forward::router(mesh.clone(), settings, metrics, limits);
        let mut listeners = vec![tokio::spawn(listener::serve(forward, app, limits, stop.clone()))];
        let admin_address = admin.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        if let Some((listener, credential)) = admin {
            let app = admin::router(mesh.clone(), Arc::new(credential), limits);
            listeners.push(tokio::spawn(listener::serve(listener, app, limits, stop.clone())));
        }
        let logout_address = logout.as_ref().and_then(|(listener, _)| listener.local_addr().ok());
        if let Some((listener, budget)) = logout {
            let app = logout::router(mesh.clone(), budget, limits);
            let limits = Limits {
                connections: budget.connections,
                ..limits
            };
            listeners.push(tokio::spawn(listener::serve(listener, app, limits, stop.clone())));
        }
        Self {
            mesh,
            admin: admin_address,
            logout: logout_address,
            stop,
            listeners,
        }
    }

    /// Stops: no new connections, open requests end within the drain time, then the node leaves its cluster.
    pub async fn stop(self) {
        self.stop.cancel();
        for listener in self.listeners {
            let _ = listener.await;
        }
        self.mesh.shutdown().await;
    }
}
