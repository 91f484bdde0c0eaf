//! Commits, and the second copy of each.
//!
//! `WAIT` counts what its own connection wrote, and whoever sends something behind it on the same connection waits too. So a
//! commit and its `WAIT` go together over one of a few connections that nothing else uses.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::ports::PortError;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::call::Call;
use super::server::{Answers, Server};
use crate::answer::number;
use crate::check;
use crate::error::{Failure, Trouble};

/// Commits on their way to one server at the same time, where it has replicas. More wait their turn.
const LANES: usize = 8;
/// How long what is known about replicas holds.
const REPLICAS_KNOWN: Duration = Duration::from_secs(1);

pub(super) struct Commits {
    room: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: Vec<MultiplexedConnection>,
    replicas: u32,
    found: Option<Instant>,
    /// That `WAIT` is refused was said.
    told: bool,
}

impl Default for Commits {
    fn default() -> Self {
        Self {
            room: Semaphore::new(LANES),
            state: Mutex::default(),
        }
    }
}

impl Commits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many replicas are connected to the server.
    pub(super) fn found(&self, replicas: u32) {
        let mut state = self.state();
        state.replicas = replicas;
        state.found = Some(Instant::now());
    }

    pub(super) fn clear(&self) {
        self.state().idle.clear();
    }

    /// Replicas, and whether it is time to look again.
    fn replicas(&self) -> (u32, bool) {
        let state = self.state();
        let known = state.found.is_some_and(|found| found.elapsed() < REPLICAS_KNOWN);
        (state.replicas, !known)
    }
}

impl Server {
    /// Runs a script that commits; then waits until one replica has it, not longer than `replica_wait`. Answers what the
    /// script said, and how many replicas confirmed.
    pub(super) async fn commit(&self, call: &Call<'_>, asking: bool) -> Result<(Value, u32), Trouble> {
        match self.commit_by(call.by_hash(), asking).await {
            Err(Trouble::NoScript) => self.commit_by(call.by_code(), asking).await,
            other => other,
        }
    }

    async fn commit_by(&self, command: Cmd, asking: bool) -> Result<(Value, u32), Trouble> {
        // Tells how many replicas there are, if that was not known.
        let mut connected = self.connected().await?;
        let (replicas, look) = self.commits().replicas();
        let mut pipeline = redis::pipe();
        if asking {
            pipeline.cmd("ASKING").ignore();
        }
        pipeline.add_command(command);
        if replicas > 0 {
            let wait = self.config().replica_wait.as_millis().max(1);
            pipeline.cmd("WAIT").arg(1).arg(u64::try_from(wait).unwrap_or(u64::MAX));
        }
        if look {
            pipeline.cmd("INFO").arg("replication");
        }
        let answers = if replicas == 0 {
            let answers = self.exchange(&mut connected.connection, &mut pipeline).await;
            if let Err(failure) = &answers {
                self.note(&connected, failure);
            }
            answers
        } else {
            let mut lane = self.lane().await?;
            let answers = self.exchange(&mut lane.connection, &mut pipeline).await;
            match &answers {
                Ok(_) => self.commits().state().idle.push(lane.connection),
                Err(failure) => self.note(&connected, failure),
            }
            answers
        };
        self.read(answers, replicas > 0, look)
    }

    fn read(&self, answers: Result<Answers, Failure>, waited: bool, looked: bool) -> Result<(Value, u32), Trouble> {
        let mut answers = answers.map_err(Trouble::Failed)?.into_iter();
        let unreadable = || PortError::Unknown(format!("{} gave too few answers", self.peer()));
        let done = answers.next().ok_or_else(unreadable)??;
        let confirmed = if waited {
            match answers.next() {
                Some(Ok(count)) => number(&count).and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
                refused => {
                    if !std::mem::replace(&mut self.commits().state().told, true) {
                        tracing::warn!(
                            server = self.peer(),
                            ?refused,
                            "no replica can be waited for, so that receipts say `single_copy`; allow the Redis user WAIT"
                        );
                    }
                    0
                }
            }
        } else {
            0
        };
        if looked
            && let Some(Ok(info)) = answers.next()
            && let Ok(info) = redis::from_redis_value::<String>(info)
        {
            self.commits().found(check::replicas(&info));
        }
        Ok((done, confirmed))
    }

    /// A connection for one commit, and the right to use it.
    async fn lane(&self) -> Result<Lane<'_>, PortError> {
        let commits = self.commits();
        let turn = tokio::time::timeout(self.config().response_timeout, commits.room.acquire()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(PortError::Unavailable(format!(
                "{LANES} commits are on their way to {} and none has been answered",
                self.peer()
            )));
        };
        let idle = commits.state().idle.pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.another().await?,
        };
        Ok(Lane {
            connection,
            _turn: turn,
        })
    }
}

struct Lane<'a> {
    connection: MultiplexedConnection,
    _turn: tokio::sync::SemaphorePermit<'a>,
}
