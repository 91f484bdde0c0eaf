//! A fleet over a Redis Cluster with TLS: what one node hears, all know; what one has fetched, nobody fetches again.
//!
//! ```sh
//! cargo run -p authmesh-examples --example redis_tls -- \
//!     --ca ca.pem --cert client.pem --key client.key --ring ring.toml rediss://10.0.0.1:6379 rediss://10.0.0.2:6379
//! ```
//!
//! Needs a Redis Cluster 7.0 or newer. `authmesh keyring generate` makes the key ring; every node has the same. Start it twice, with another
//! `LISTEN`, and revoke on one what the other refuses. The guide is `docs/redis.md`.

use std::path::PathBuf;

use authmesh::{AuthMesh, Subject};
use authmesh_examples::{Error, Login, ctrl_c, listen, try_this};
use authmesh_redis::{RedisConfig, WithRedis as _};
use authmesh_tower::Protect as _;
use authmesh_tower::axum::Auth;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::net::TcpListener;

/// Where Redis is, and what proves who we are.
#[derive(Debug, Clone, Default)]
pub struct Redis {
    /// Some nodes of the cluster, `rediss://host:port`; the others are found.
    pub urls: Vec<String>,
    /// The authority that has signed Redis' certificates, if it is none of the public ones.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, if Redis asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The key ring that the nodes share: Redis holds nothing that it could read or make.
    pub ring: PathBuf,
}

impl Redis {
    /// Reads the arguments. A password comes from a file (`RedisConfig::password_file`), never from an argument.
    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut redis = Self::default();
        let (mut certificate, mut key) = (None, None);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .map(PathBuf::from)
                    .ok_or(format!("{argument} needs a file"))
            };
            match &*argument {
                "--ca" => redis.ca = Some(value()?),
                "--cert" => certificate = Some(value()?),
                "--key" => key = Some(value()?),
                "--ring" => redis.ring = value()?,
                _ => redis.urls.push(argument),
            }
        }
        redis.client = certificate.zip(key);
        Ok(redis)
    }

    fn config(&self) -> Result<RedisConfig, Error> {
        let (first, others) = self
            .urls
            .split_first()
            .ok_or("name a node of the Redis Cluster: rediss://host:port")?;
        let mut config = RedisConfig::new(first)?.seeds(others)?;
        if let Some(ca) = &self.ca {
            config = config.ca_file(ca);
        }
        // Files are read again for each connection: a renewed certificate needs no restart.
        if let Some((certificate, key)) = &self.client {
            config = config.client_certificate(certificate, key);
        }
        Ok(config)
    }
}

async fn hello(auth: Auth) -> String {
    format!("hello, {}", auth.subject().unwrap_or("somebody"))
}

async fn sign_out(State(mesh): State<AuthMesh>, auth: Auth) -> StatusCode {
    let subject = Subject::new(auth.issuer(), auth.subject().unwrap_or_default());
    match mesh.revoke(subject).why("signed out").await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Serves until the process is told to stop.
pub async fn run(redis: Redis, login: Login, listener: TcpListener) -> Result<(), Error> {
    let mesh = login
        .add_to(AuthMesh::builder())
        // One name for one fleet: nodes of another read nothing of it.
        .cluster("example")
        .key_ring_file(&redis.ring)
        // The node starts whether Redis is there or not, and says 503 until it knows every revocation.
        .redis_with(redis.config()?)
        .start()
        .await?;
    let app = Router::new()
        .route("/", get(hello))
        .route("/sign-out", post(sign_out))
        .layer(mesh.layer())
        .with_state(mesh.clone());
    axum::serve(listener, app).with_graceful_shutdown(ctrl_c()).await?;
    mesh.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let redis = Redis::from_arguments(std::env::args().skip(1))?;
    let (login, listener) = (Login::from_env(), listen().await?);
    let token = login.token("alice", "orders:read", "s1");
    try_this(&listener, "200", "", &token, "/");
    try_this(
        &listener,
        "204: on this node and on every other",
        "-X POST",
        &token,
        "/sign-out",
    );
    try_this(&listener, "401", "", &token, "/");
    run(redis, login, listener).await
}
