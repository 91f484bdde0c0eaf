//! The connection for commands: one, shared, made anew when it breaks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authmesh::ports::PortError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, ScriptInvocation, Value};
use tokio::time::Instant;

use crate::check;
use crate::config::RedisConfig;
use crate::connect;
use crate::error::{self, ConnectError};

/// Requests at the same time. More wait their turn.
const CONCURRENCY: usize = 1024;
/// The wait after a failed attempt to connect; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Sends commands. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    config: RedisConfig,
    peer: String,
    live: Mutex<Live>,
    /// Held while connecting, so that one attempt runs at a time.
    attempts: tokio::sync::Mutex<Attempts>,
}

#[derive(Default)]
struct Live {
    /// Counts connections, so that a late error of an old one does not end the present one.
    number: u64,
    connection: Option<MultiplexedConnection>,
}

/// What is known of failed attempts to connect.
struct Attempts {
    wait: Duration,
    failed: Option<(Instant, PortError)>,
}

impl Link {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, ConnectError> {
        config.check()?;
        Ok(Self(Arc::new(Inner {
            config: config.clone(),
            peer: config.peer(),
            live: Mutex::default(),
            attempts: tokio::sync::Mutex::new(Attempts {
                wait: FIRST_WAIT,
                failed: None,
            }),
        })))
    }

    pub(crate) fn peer(&self) -> &str {
        &self.0.peer
    }

    /// A client for the server, with the files of now.
    pub(crate) fn client(&self) -> Result<redis::Client, PortError> {
        match self.0.config.seeds.first() {
            Some(address) => connect::client(&self.0.config, address),
            None => Err(PortError::Refused("no address is set".into())),
        }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.0.config
    }

    /// Makes sure that there is a connection.
    pub(crate) async fn connect(&self) -> Result<(), PortError> {
        self.connection().await.map(drop)
    }

    /// Runs a script, loading it first if the server does not have it. A script that is not there did nothing.
    pub(crate) async fn invoke(&self, script: ScriptInvocation<'_>) -> Result<Value, PortError> {
        let (number, mut connection) = self.connection().await?;
        let answer = script.invoke_async(&mut connection).await;
        answer.map_err(|error| self.failed(number, &error))
    }

    pub(crate) async fn command(&self, command: &Cmd) -> Result<Value, PortError> {
        let (number, mut connection) = self.connection().await?;
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| self.failed(number, &error))
    }

    pub(crate) async fn pipeline(&self, commands: &Pipeline) -> Result<Vec<Value>, PortError> {
        let (number, mut connection) = self.connection().await?;
        let answer = commands.query_async(&mut connection).await;
        answer.map_err(|error| self.failed(number, &error))
    }

    fn failed(&self, number: u64, error: &RedisError) -> PortError {
        let (error, broken) = error::asking(&self.0.peer, error);
        if broken {
            let mut live = self.live();
            if live.number == number {
                live.connection = None;
            }
        }
        error
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self) -> Option<(u64, MultiplexedConnection)> {
        let live = self.live();
        live.connection.clone().map(|connection| (live.number, connection))
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), PortError> {
        if let Some(present) = self.present() {
            return Ok(present);
        }
        // In a task of its own: callers with less patience than a connection takes must not keep it from being made.
        let link = self.clone();
        let made = tokio::spawn(async move { link.reconnect().await }).await;
        made.unwrap_or_else(|_| Err(PortError::Unavailable("the process is ending".into())))
    }

    async fn reconnect(&self) -> Result<(u64, MultiplexedConnection), PortError> {
        let mut attempts = self.0.attempts.lock().await;
        if let Some(present) = self.present() {
            return Ok(present);
        }
        if let Some((when, error)) = &attempts.failed
            && when.elapsed() < attempts.wait
        {
            return Err(error.clone());
        }
        match self.establish().await {
            Ok(connection) => {
                attempts.wait = FIRST_WAIT;
                attempts.failed = None;
                let mut live = self.live();
                live.number += 1;
                live.connection = Some(connection.clone());
                Ok((live.number, connection))
            }
            Err(error) => {
                if attempts.failed.is_none() {
                    tracing::warn!(%error, "no connection to Redis; trying again");
                } else {
                    attempts.wait = (attempts.wait * 2).min(LONGEST_WAIT);
                }
                attempts.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// A new connection to a server that was found fit.
    async fn establish(&self) -> Result<MultiplexedConnection, PortError> {
        let Inner { config, peer, .. } = &*self.0;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout))
            .set_concurrency_limit(CONCURRENCY);
        let client = self.client()?;
        let connecting = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
            // At each connection: the server behind an address may be another one now, or have another configuration.
            let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
            Ok((connection, info))
        };
        match tokio::time::timeout(config.connect_timeout, connecting).await {
            Ok(Ok((connection, info))) => {
                check::server(peer, &info, config.any_eviction_policy).map_err(PortError::Refused)?;
                Ok(connection)
            }
            Ok(Err(error)) => Err(error::connecting(peer, &error)),
            Err(_) => Err(PortError::Unavailable(format!(
                "{peer} cannot be reached: no connection within {:?}",
                config.connect_timeout
            ))),
        }
    }
}
