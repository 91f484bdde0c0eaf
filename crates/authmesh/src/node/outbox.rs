//! The outbox: statements on their way from a caller to the log.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use authmesh_proto::commit::Voids;
use authmesh_proto::ident::{CHANNELS, ChannelId, EntryName, StatementName};
use authmesh_proto::marks::Full;
use authmesh_proto::statement::{Body, Mark, Statement};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::progress::Timed;
use super::undone::Undone;
use super::{Node, Progress};

/// How many statements may wait for their commit. At the limit marks fail with `Busy`, and a drop soils its channel: it is
/// voided whole.
const CAPACITY: usize = 8192;

/// A statement that was named, applied here, and handed to the driver.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) statement: Statement,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) room: OwnedSemaphorePermit,
    pub(crate) timed: Timed,
}

/// Waits for what becomes of a statement. Members are asked for their confirmation as long as it is there.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// `None`: it has no name; a whole channel was voided in its place, and nobody is told when that is done.
    pub(crate) name: Option<StatementName>,
    progress: watch::Receiver<Progress>,
}

impl Ticket {
    fn unnamed() -> Self {
        Self {
            name: None,
            progress: watch::Sender::new(Progress::default()).subscribe(),
        }
    }

    /// Waits until that much is known, at most until the deadline; what is known then. Cancel safe.
    pub(crate) async fn wait(&mut self, deadline: Instant, mut enough: impl FnMut(&Progress) -> bool) -> Progress {
        // Too late, or the driver has ended: then this is how far it came.
        let _ = timeout_at(deadline, self.progress.wait_for(|progress| enough(progress))).await;
        *self.progress.borrow()
    }
}

/// Why a statement was not accepted. It has no name and was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SayError {
    Full(Full),
    Busy,
    ShutDown,
    /// Not every member knows statements of this kind.
    UnknownKind(u16),
}

/// A mark that was said once, however often it was asked for.
#[derive(Debug)]
pub(crate) enum Once {
    /// It was said for this caller.
    Said(Ticket),
    /// What was said or heard before covers it, and is on its way.
    OnItsWay(Vec<StatementName>),
    /// What is committed covers it.
    Stands,
}

impl Once {
    /// Whether anything was said for this caller.
    pub(crate) const fn is_new(&self) -> bool {
        matches!(self, Self::Said(_))
    }
}

#[derive(Debug)]
pub(crate) struct Outbox {
    counters: Mutex<[u64; CHANNELS]>,
    room: Arc<Semaphore>,
    said: mpsc::UnboundedSender<Said>,
    soiled: Arc<Notify>,
    /// Writes of sources that are under way: their last drops are still to come.
    writing: AtomicUsize,
    /// Held while marks are admitted and applied: two callers must not both take the last room in the table.
    admission: Mutex<()>,
    /// Bounded as `said` is.
    pub(crate) undone: Undone,
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
            writing: AtomicUsize::new(0),
            admission: Mutex::new(()),
            undone: Undone::default(),
        };
        (outbox, receiver)
    }

    fn counters(&self) -> MutexGuard<'_, [u64; CHANNELS]> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_admission(&self) -> MutexGuard<'_, ()> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room_for(&self, count: u32) -> Result<OwnedSemaphorePermit, SayError> {
        let room = Arc::clone(&self.room).try_acquire_many_owned(count);
        room.map_err(|_| SayError::Busy)
    }

    /// Wakes the driver when a channel was soiled.
    pub(super) fn soiled(&self) -> Arc<Notify> {
        Arc::clone(&self.soiled)
    }

    /// Whether a source is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire) > 0
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
    pub(crate) fn say(&self, body: Body) -> Result<Ticket, SayError> {
        match self.admit(std::slice::from_ref(&body)) {
            Ok((room, _admission)) => self.say_admitted(body, room),
            Err(SayError::Busy) => self.without_room(&body).ok_or(SayError::Busy),
            Err(error) => Err(error),
        }
    }

    /// Says several, in their order: all are accepted, or none is. Otherwise as [`Node::say`].
    pub(crate) fn say_all(&self, bodies: Vec<Body>) -> Result<Vec<Ticket>, SayError> {
        let (mut room, _admission) = self.admit(&bodies)?;
        let mut receivers = Vec::with_capacity(bodies.len());
        for body in bodies {
            // One permit was acquired for each body.
            let own = room.split(1).ok_or(SayError::Busy)?;
            receivers.push(self.say_admitted(body, own)?);
        }
        Ok(receivers)
    }

    /// Says a mark unless what this node holds covers it already: two callers with the same mark make one statement.
    ///
    /// What this node holds came from the log or from its table, or was said here: so it stands in the log, unless it is
    /// still among what is not done. A road that brings marks which stand nowhere yet has to add them there.
    pub(crate) fn say_once(&self, mark: Mark) -> Result<Once, SayError> {
        if self.shutdown.is_cancelled() {
            return Err(SayError::ShutDown);
        }
        let _admission = self.outbox.lock_admission();
        if self.marks().covers(&mark) {
            let waiting = self.outbox.undone.of(mark.key);
            return Ok(if waiting.is_empty() {
                Once::Stands
            } else {
                Once::OnItsWay(waiting)
            });
        }
        let room = self.outbox.room_for(1)?;
        self.marks().admit(&mark.key).map_err(SayError::Full)?;
        self.say_admitted(Body::Mark(mark), room).map(Once::Said)
    }

    /// Announces that a source is being written: a node that shuts down waits for its last drops, for a while.
    pub(crate) fn begin_writing(self: &Arc<Self>) -> Result<Writing, SayError> {
        // Counted first: the driver looks at the count after the shutdown.
        self.outbox.writing.fetch_add(1, Ordering::AcqRel);
        let writing = Writing(Arc::clone(self));
        if self.shutdown.is_cancelled() {
            return Err(SayError::ShutDown);
        }
        Ok(writing)
    }

    /// Room for all of them, in the outbox and in the table of marks.
    fn admit(&self, bodies: &[Body]) -> Result<(OwnedSemaphorePermit, MutexGuard<'_, ()>), SayError> {
        if self.shutdown.is_cancelled() {
            return Err(SayError::ShutDown);
        }
        for body in bodies {
            let kind = body.kind();
            if !self.may_send(kind) {
                return Err(SayError::UnknownKind(kind));
            }
        }
        self.admit_late(bodies)
    }

    fn admit_late(&self, bodies: &[Body]) -> Result<(OwnedSemaphorePermit, MutexGuard<'_, ()>), SayError> {
        let count = u32::try_from(bodies.len()).map_err(|_| SayError::Busy)?;
        let room = self.outbox.room_for(count)?;
        let admission = self.outbox.lock_admission();
        let keys = bodies.iter().filter_map(|body| match body {
            Body::Mark(mark) => Some(&mark.key),
            Body::Drop(_) => None,
        });
        self.marks().admit_all(keys).map_err(SayError::Full)?;
        Ok((room, admission))
    }

    fn say_admitted(&self, body: Body, room: OwnedSemaphorePermit) -> Result<Ticket, SayError> {
        let (progress, receiver) = watch::channel(Progress::default());
        let statement = Statement {
            name: self.next_name(body.slot().channel),
            body,
        };
        if let Some(voids) = Voids::of(&statement.body) {
            self.unpositioned().add(voids);
        }
        self.outbox.undone.begin(statement.name, &statement.body);
        self.apply(&statement.body, None);
        let name = statement.name;
        let said = Said {
            timed: Timed::new(self, &statement.body),
            statement,
            progress,
            room,
        };
        if self.outbox.said.send(said).is_err() {
            self.outbox.undone.end(&name);
            return Err(SayError::ShutDown);
        }
        self.counters.statements_made.add();
        Ok(Ticket {
            name: Some(name),
            progress: receiver,
        })
    }

    /// Voids what a drop names by voiding its whole channel, here now and everywhere by a mint: that needs no room, however
    /// many drops come. A mark has no such way.
    fn without_room(&self, body: &Body) -> Option<Ticket> {
        let Body::Drop(name) = body else { return None };
        let channel = name.slot().channel;
        self.counters.soiled.add();
        tracing::warn!(%channel, "the outbox is full; the whole channel is voided in place of one entry");
        self.soil(channel);
        Some(Ticket::unnamed())
    }
}

/// A write of a source that is under way.
pub(crate) struct Writing(Arc<Node>);

impl Writing {
    /// Drops a key that was written; while the node shuts down, too, since the write may have happened. `None`: the driver
    /// has ended, and nobody else hears of it.
    pub(crate) fn drop_key(&self, name: EntryName) -> Option<Ticket> {
        let (node, body) = (&*self.0, Body::Drop(name));
        node.l1.entries.invalidate(&(&name).into());
        match node.admit_late(std::slice::from_ref(&body)) {
            Ok((room, _admission)) => node.say_admitted(body, room).ok(),
            Err(_) => node.without_room(&body),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.outbox.writing.fetch_sub(1, Ordering::AcqRel);
    }
}
