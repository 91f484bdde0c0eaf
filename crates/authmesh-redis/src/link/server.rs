//! One server: its shared connection, made anew when it breaks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::ports::PortError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, PushInfo, Value};
use tokio::time::Instant;

use super::call::Call;
use super::commits::Commits;
use crate::address::Address;
use crate::check::{self, Facts};
use crate::config::RedisConfig;
use crate::connect;
use crate::error::{self, Failure, Trouble};

/// Requests at the same time. More wait their turn.
const CONCURRENCY: usize = 1024;
/// The wait after a failed attempt to connect; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Sends commands to one server. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    address: Address,
    /// The address, in words for an error.
    peer: String,
    config: Arc<RedisConfig>,
    live: Mutex<Live>,
    /// Held while connecting, so that one attempt runs at a time.
    attempts: tokio::sync::Mutex<Attempts>,
    commits: Commits,
}

#[derive(Default)]
struct Live {
    /// Counts connections, so that a late error of an old one does not end the present one.
    number: u64,
    connection: Option<(MultiplexedConnection, Facts)>,
}

/// What is known of failed attempts to connect.
struct Attempts {
    wait: Duration,
    failed: Option<(Instant, PortError)>,
}

/// A connection, and which one it is.
pub(super) struct Connected {
    pub(super) connection: MultiplexedConnection,
    pub(super) facts: Facts,
    number: u64,
}

/// The answer to each command: an error says that this one did nothing.
pub(crate) type Answers = Vec<Result<Value, Trouble>>;

impl Server {
    pub(super) fn new(address: Address, config: Arc<RedisConfig>) -> Self {
        Self(Arc::new(Inner {
            peer: format!("Redis at {address}"),
            address,
            config,
            live: Mutex::default(),
            attempts: tokio::sync::Mutex::new(Attempts {
                wait: FIRST_WAIT,
                failed: None,
            }),
            commits: Commits::default(),
        }))
    }

    pub(crate) fn address(&self) -> &Address {
        &self.0.address
    }

    pub(crate) fn peer(&self) -> &str {
        &self.0.peer
    }

    pub(super) fn config(&self) -> &RedisConfig {
        &self.0.config
    }

    pub(super) fn commits(&self) -> &Commits {
        &self.0.commits
    }

    /// Whether it was up when last heard of.
    pub(super) fn is_connected(&self) -> bool {
        self.live().connection.is_some()
    }

    /// What the server said of itself when it was connected to.
    pub(super) async fn facts(&self) -> Result<Facts, PortError> {
        Ok(self.connected().await?.facts)
    }

    /// Runs a script, teaching it first if the server does not know it. A script that is not known did nothing.
    pub(super) async fn script(&self, call: &Call<'_>, asking: bool) -> Result<Value, Trouble> {
        match self.command(&call.by_hash(), asking).await {
            Err(Trouble::NoScript) => self.command(&call.by_code(), asking).await,
            other => other,
        }
    }

    pub(super) async fn command(&self, command: &Cmd, asking: bool) -> Result<Value, Trouble> {
        let answers = self.commands(std::slice::from_ref(command), asking).await;
        match answers.map_err(Trouble::Failed)?.pop() {
            Some(answer) => answer,
            None => Err(PortError::Unknown(format!("{} gave no answer", self.peer())).into()),
        }
    }

    /// Sends commands in one go. `asking`: where they concern a slot that this server is about to take over.
    pub(crate) async fn commands(&self, commands: &[Cmd], asking: bool) -> Result<Answers, Failure> {
        let mut connected = self.connected().await?;
        let mut pipeline = redis::pipe();
        for command in commands {
            if asking {
                pipeline.cmd("ASKING").ignore();
            }
            pipeline.add_command(command.clone());
        }
        let answers = self.exchange(&mut connected.connection, &mut pipeline).await;
        match answers {
            Ok(answers) if answers.len() == commands.len() => Ok(answers),
            Ok(_) => Err(Failure {
                error: PortError::Unknown(format!("{} gave too few answers", self.peer())),
                broken: true,
                deposed: false,
            }),
            Err(failure) => {
                self.note(&connected, &failure);
                Err(failure)
            }
        }
    }

    /// One round trip on a connection.
    pub(super) async fn exchange(
        &self,
        connection: &mut MultiplexedConnection,
        pipeline: &mut Pipeline,
    ) -> Result<Answers, Failure> {
        let answers: Result<Vec<Value>, _> = pipeline.ignore_errors().query_async(connection).await;
        match answers {
            Ok(answers) => Ok(answers
                .into_iter()
                .map(|answer| match answer {
                    Value::ServerError(error) => Err(error::answered(self.address(), &error)),
                    answer => Ok(answer),
                })
                .collect()),
            Err(error) => Err(error::unanswered(self.peer(), &error)),
        }
    }

    /// Gives a connection up that a failure shows to be of no more use.
    pub(super) fn note(&self, connected: &Connected, failure: &Failure) {
        if !failure.broken {
            return;
        }
        let mut live = self.live();
        if live.number == connected.number {
            live.connection = None;
            // Those that wait there have most likely gone with it.
            self.0.commits.clear();
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn present(&self) -> Option<Connected> {
        let live = self.live();
        live.connection.clone().map(|(connection, facts)| Connected {
            connection,
            facts,
            number: live.number,
        })
    }

    pub(super) async fn connected(&self) -> Result<Connected, PortError> {
        if let Some(present) = self.present() {
            return Ok(present);
        }
        // In a task of its own: callers with less patience than a connection takes must not keep it from being made.
        let server = self.clone();
        let made = tokio::spawn(async move { server.reconnect().await }).await;
        made.unwrap_or_else(|_| Err(PortError::Unavailable("the process is ending".into())))
    }

    async fn reconnect(&self) -> Result<Connected, PortError> {
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
            Ok((connection, facts)) => {
                attempts.wait = FIRST_WAIT;
                attempts.failed = None;
                self.0.commits.found(facts.replicas);
                let mut live = self.live();
                live.number += 1;
                live.connection = Some((connection.clone(), facts));
                Ok(Connected {
                    connection,
                    facts,
                    number: live.number,
                })
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
    async fn establish(&self) -> Result<(MultiplexedConnection, Facts), PortError> {
        let connecting = async {
            let mut connection = self.open(self.settings()).await?;
            // At each connection: the server behind an address may be another one now, or have another configuration.
            let info: Result<String, _> = redis::cmd("INFO").query_async(&mut connection).await;
            Ok((
                connection,
                info.map_err(|error| error::connecting(self.peer(), &error))?,
            ))
        };
        let (connection, info) = self.in_time(connecting).await?;
        let facts = check::server(self.peer(), &info, self.config().any_eviction_policy).map_err(PortError::Refused)?;
        Ok((connection, facts))
    }

    /// A connection of one's own, for commands.
    pub(super) async fn another(&self) -> Result<MultiplexedConnection, PortError> {
        self.in_time(self.open(self.settings())).await
    }

    /// A connection of one's own, for messages. `hear` must not wait.
    pub(crate) async fn listening(
        &self,
        silence: Duration,
        hear: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, PortError> {
        let settings = self.settings().set_response_timeout(Some(silence));
        let settings = settings.set_push_sender(move |push| {
            hear(push);
            Ok::<(), ()>(())
        });
        self.in_time(self.open(settings)).await
    }

    fn settings(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config().connect_timeout))
            .set_response_timeout(Some(self.config().response_timeout))
            .set_concurrency_limit(CONCURRENCY)
    }

    async fn open(&self, settings: AsyncConnectionConfig) -> Result<MultiplexedConnection, PortError> {
        let client = connect::client(self.config(), self.address())?;
        let opened = client.get_multiplexed_async_connection_with_config(&settings).await;
        opened.map_err(|error| error::connecting(self.peer(), &error))
    }

    async fn in_time<T>(&self, connecting: impl Future<Output = Result<T, PortError>>) -> Result<T, PortError> {
        let limit = self.config().connect_timeout;
        match tokio::time::timeout(limit, connecting).await {
            Ok(done) => done,
            Err(_) => Err(PortError::Unavailable(format!(
                "{} cannot be reached: no connection within {limit:?}",
                self.peer()
            ))),
        }
    }
}
