//! The outbox: statements on their way from a caller to the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use authmesh_proto::commit::Voids;
use authmesh_proto::ident::{CHANNELS, ChannelId, StatementName};
use authmesh_proto::marks::Full;
use authmesh_proto::statement::{Body, Statement};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Node;

/// How many statements may wait for their commit. At the limit marks fail with `Busy`, and a drop soils its channel: it is
/// voided whole.
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
    soiled: Arc<Notify>,
    /// Held while marks are admitted and applied: two callers must not both take the last room in the table.
    admission: Mutex<()>,
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
            soiled: Arc::default(),
            admission: Mutex::new(()),
        };
        (outbox, receiver)
    }

    fn counters(&self) -> MutexGuard<'_, [u64; CHANNELS]> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the driver when a channel was soiled.
    pub(super) fn soiled(&self) -> Arc<Notify> {
        Arc::clone(&self.soiled)
    }

    /// How many statements wait.
    pub(crate) fn waiting(&self) -> usize {
        CAPACITY - self.room.available_permits()
    }
}

impl Node {
    /// The name of the next statement in a channel.
    fn next_name(&self, channel: ChannelId) -> StatementName {
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
        match self.admit(std::slice::from_ref(&body)) {
            Ok((room, _admission)) => self.say_admitted(body, room),
            Err(SayError::Busy) => self.without_room(&body).ok_or(SayError::Busy),
            Err(error) => Err(error),
        }
    }

    /// Says several, in their order: all are accepted, or none is. Otherwise as [`Node::say`].
    pub(crate) fn say_all(&self, bodies: Vec<Body>) -> Result<Vec<oneshot::Receiver<Done>>, SayError> {
        let (mut room, _admission) = self.admit(&bodies)?;
        let mut receivers = Vec::with_capacity(bodies.len());
        for body in bodies {
            // One permit was acquired for each body.
            let own = room.split(1).ok_or(SayError::Busy)?;
            receivers.push(self.say_admitted(body, own)?);
        }
        Ok(receivers)
    }

    /// Room for all of them, in the outbox and in the table of marks.
    fn admit(&self, bodies: &[Body]) -> Result<(OwnedSemaphorePermit, MutexGuard<'_, ()>), SayError> {
        if self.shutdown.is_cancelled() {
            return Err(SayError::ShutDown);
        }
        let count = u32::try_from(bodies.len()).map_err(|_| SayError::Busy)?;
        let room = Arc::clone(&self.outbox.room)
            .try_acquire_many_owned(count)
            .map_err(|_| SayError::Busy)?;
        let admission = self.outbox.admission.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = bodies.iter().filter_map(|body| match body {
            Body::Mark(mark) => Some(&mark.key),
            Body::Drop(_) => None,
        });
        self.marks().admit_all(keys).map_err(SayError::Full)?;
        Ok((room, admission))
    }

    fn say_admitted(&self, body: Body, room: OwnedSemaphorePermit) -> Result<oneshot::Receiver<Done>, SayError> {
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

    /// Has a channel voided whole, everywhere: the driver is woken, and the follower mints as soon as it may.
    pub(super) fn soil(&self, channel: ChannelId) {
        self.follower().soil(channel);
        self.outbox.soiled.notify_one();
    }

    /// Voids what a drop names by voiding its whole channel, here now and everywhere by a mint: that needs no room, however
    /// many drops come. A mark has no such way.
    fn without_room(&self, body: &Body) -> Option<oneshot::Receiver<Done>> {
        let Body::Drop(name) = body else { return None };
        let channel = name.slot().channel;
        self.counters.soiled.add();
        tracing::warn!(%channel, "the outbox is full; the whole channel is voided in place of one entry");
        // Here at once; the follower's own bump follows when the driver polls it.
        self.fence.bump_channel(channel);
        self.soil(channel);
        // Nobody is told when the mint is done: this receiver is closed.
        Some(oneshot::channel().1)
    }
}
