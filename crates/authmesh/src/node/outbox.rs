//! The outbox: statements on their way from a caller to the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh_proto::ident::{CHANNELS, ChannelId, StatementName};
use authmesh_proto::marks::Full;
use authmesh_proto::statement::{Body, Statement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{Node, Voids};

/// How many statements may wait for their commit. At the limit `revoke` and drops fail with `Busy`.
const CAPACITY: usize = 8192;

/// A statement that was named, applied here, and handed to the driver.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) statement: Statement,
    pub(crate) done: oneshot::Sender<Done>,
    pub(crate) room: OwnedSemaphorePermit,
}

/// A statement was committed, and this node's own follower has passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) replicas: u32,
}

/// Why a statement was not accepted. It has no name and was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SayError {
    Full(Full),
    Busy,
    ShutDown,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    counters: Mutex<[u64; CHANNELS]>,
    room: Arc<Semaphore>,
    said: mpsc::UnboundedSender<Said>,
}

pub(crate) type SaidReceiver = mpsc::UnboundedReceiver<Said>;

impl Outbox {
    pub(crate) fn new() -> (Self, SaidReceiver) {
        // Bounded by the semaphore: a permit travels with every statement until it is committed.
        let (said, receiver) = mpsc::unbounded_channel();
        let outbox = Self {
            counters: Mutex::new([0; CHANNELS]),
            room: Arc::new(Semaphore::new(CAPACITY)),
            said,
        };
        (outbox, receiver)
    }

    fn counters(&self) -> MutexGuard<'_, [u64; CHANNELS]> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many statements wait.
    pub(crate) fn waiting(&self) -> usize {
        CAPACITY - self.room.available_permits()
    }
}

impl Node {
    /// The next name in a channel.
    pub(super) fn next_name(&self, channel: ChannelId) -> StatementName {
        let counter = &mut self.outbox.counters()[channel.index()];
        *counter += 1;
        StatementName {
            origin: self.origin,
            channel,
            counter: *counter,
        }
    }

    /// Makes a statement: names it, applies it here, and hands it to the driver for commit. After this call it is in force
    /// on this node and will be committed, whatever the caller does with the receiver.
    pub(crate) fn say(&self, body: Body) -> Result<oneshot::Receiver<Done>, SayError> {
        if self.shutdown.is_cancelled() {
            return Err(SayError::ShutDown);
        }
        let room = Arc::clone(&self.outbox.room)
            .try_acquire_owned()
            .map_err(|_| SayError::Busy)?;
        if let Body::Mark(mark) = &body {
            self.marks().admit(&mark.key).map_err(SayError::Full)?;
        }
        let (done, receiver) = oneshot::channel();
        let statement = Statement {
            name: self.next_name(body.slot().channel),
            body,
        };
        if let Some(voids) = Voids::of(&statement.body) {
            self.await_position(voids);
        }
        self.apply(&statement.body, None);
        let said = Said { statement, done, room };
        self.outbox.said.send(said).map_err(|_| SayError::ShutDown)?;
        self.counters.statements_made.add();
        Ok(receiver)
    }
}

/// The driver's side: statements that are not yet both committed and passed by the follower.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: BTreeMap<StatementName, Waiting>,
    /// Those that were committed and that the follower has not passed.
    unpassed: BTreeSet<StatementName>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) statement: Statement,
    done: oneshot::Sender<Done>,
    _room: OwnedSemaphorePermit,
    /// Replicas that confirmed, once the commit has answered.
    replicas: Option<u32>,
    /// The follower has passed it.
    passed: bool,
    /// It stands in the log, but its mark not in the table.
    pub(super) partly: bool,
    pub(super) attempts: u32,
}

impl Pending {
    pub(super) fn add(&mut self, said: Said) -> StatementName {
        let name = said.statement.name;
        let waiting = Waiting {
            statement: said.statement,
            done: said.done,
            _room: said.room,
            replicas: None,
            passed: false,
            partly: false,
            attempts: 0,
        };
        self.waiting.insert(name, waiting);
        name
    }

    pub(super) fn get_mut(&mut self, name: &StatementName) -> Option<&mut Waiting> {
        self.waiting.get_mut(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// It stands in the log by a bare entry: passing it is not the end.
    pub(super) fn partly(&mut self, name: &StatementName) {
        if let Some(waiting) = self.waiting.get_mut(name) {
            waiting.partly = true;
        }
    }

    /// The commit answered.
    pub(super) fn committed(&mut self, name: &StatementName, replicas: u32) {
        if let Some(waiting) = self.waiting.get_mut(name) {
            waiting.replicas = Some(replicas);
            self.unpassed.insert(*name);
            self.settle(name);
        }
    }

    /// Statements that were committed, and that the follower will not meet any more although their channel is settled: a
    /// load went past them, or the log lost them. They have to be committed again.
    pub(super) fn overtaken(&mut self, settled: impl Fn(ChannelId) -> bool) -> Vec<StatementName> {
        let names: Vec<_> = self
            .unpassed
            .iter()
            .copied()
            .filter(|name| settled(name.channel))
            .collect();
        for name in &names {
            self.unpassed.remove(name);
            if let Some(waiting) = self.waiting.get_mut(name) {
                waiting.replicas = None;
            }
        }
        names
    }

    /// The follower passed it. Returns whether it was pending.
    pub(super) fn passed(&mut self, name: &StatementName) -> bool {
        let Some(waiting) = self.waiting.get_mut(name) else {
            return false;
        };
        let first = !waiting.passed;
        waiting.passed = true;
        self.settle(name);
        first
    }

    fn settle(&mut self, name: &StatementName) {
        let Some(waiting) = self.waiting.get(name) else { return };
        if let (Some(replicas), true) = (waiting.replicas, waiting.passed)
            && let Some(waiting) = self.waiting.remove(name)
        {
            self.unpassed.remove(name);
            // The caller may have gone; the statement stands all the same.
            let _ = waiting.done.send(Done { replicas });
        }
    }
}

impl Waiting {
    /// Whether the commit must be tried (again). A commit whose answer was lost, but whose statement came back through the
    /// log, is done.
    pub(super) fn needs_commit(&self) -> bool {
        self.replicas.is_none() && (!self.passed || self.partly)
    }

    /// The wait before the next attempt: 50 ms, doubled up to 2 s.
    pub(super) fn backoff(&self) -> Duration {
        Duration::from_millis(50 << self.attempts.min(6)).min(Duration::from_secs(2))
    }
}
