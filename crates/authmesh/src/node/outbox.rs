//! The outbox: statements on their way from a caller to the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use authmesh_proto::commit::Voids;
use authmesh_proto::ident::{CHANNELS, ChannelId, StatementName};
use authmesh_proto::marks::Full;
use authmesh_proto::statement::{Body, Statement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Node;

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
            self.unpositioned().add(voids);
        }
        self.apply(&statement.body, None);
        let said = Said { statement, done, room };
        self.outbox.said.send(said).map_err(|_| SayError::ShutDown)?;
        self.counters.statements_made.add();
        Ok(receiver)
    }
}
