//! In-memory adapters of every port.
//!
//! [`Cluster`] is what Redis is to a real cluster: log, bus, L2 and registration of members, for the nodes of one process.
//! It carries the same sealed, versioned bytes, and it can suffer what Redis can suffer: an outage, a wipe, a failover that
//! loses the newest writes, a trimmed log. [`Hub`] is the network between them.

mod channel;
mod fixed;
mod hub;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh_proto::ident::{CHANNELS, ChannelId, EntryName, Incarnation, Nonce, Position};
use authmesh_proto::log::{Head, LogEntry, MAX_PAYLOAD, Payload};
use authmesh_proto::marks::Digests;
use authmesh_proto::time::Moment;
use tokio::sync::{broadcast, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;

use self::channel::Channel;
use crate::clock::SystemClock;
use crate::ports::{
    BoxFuture, Bus, BusEvent, BusStream, Clock, Commit, Committed, HoldOutcome, LeaseOutcome, Log, LogSlice, MarkTable,
    MemberEntry, Members, PortError, Store, StoreRead, StoredMark,
};

pub use fixed::FixedKeys;
pub use hub::{Hub, HubGossip};

/// How many bells a slow subscriber may lag behind before it is told that some were lost.
const BELLS: usize = 4096;

/// The longest ID of a member, in bytes.
const MAX_MEMBER_ID: usize = 32;

/// Limits of an in-memory [`Cluster`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries of a channel's log; older ones are trimmed. Default: 4,096.
    pub log_entries: usize,
    /// L2 values and counters together, over all channels. Default: 262,144. At the limit the ones nearest to their end
    /// give way; marks and logs never do.
    pub values: usize,
    /// Members. Default: 1,024.
    pub members: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_entries: 4096,
            values: 262_144,
            members: 1024,
        }
    }
}

/// An in-memory cluster. Clones share it.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    limits: Limits,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    bells: broadcast::Sender<Vec<u8>>,
    /// Moves whenever a lease may have gone; waiters look again.
    leases: watch::Sender<u64>,
}

struct State {
    up: bool,
    channels: Vec<Channel>,
    members: BTreeMap<Vec<u8>, Vec<u8>>,
    millis: u64,
}

impl Cluster {
    /// An empty cluster with the default limits and the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Limits::default(), Arc::new(SystemClock))
    }

    /// An empty cluster.
    #[must_use]
    pub fn with(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            limits,
            clock,
            state: Mutex::new(State {
                up: true,
                channels: (0..CHANNELS).map(|_| Channel::default()).collect(),
                members: BTreeMap::new(),
                millis: 0,
            }),
            bells: broadcast::Sender::new(BELLS),
            leases: watch::Sender::new(0),
        }))
    }

    /// Takes the cluster down, or up again. While it is down every call fails with [`PortError::Unavailable`] and no bell
    /// rings. State is kept.
    pub fn set_up(&self, up: bool) {
        self.state().up = up;
    }

    /// Empties everything, as `FLUSHALL` does.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.channels = (0..CHANNELS).map(|_| Channel::default()).collect();
        state.members.clear();
        drop(state);
        self.leases_moved();
    }

    /// Forgets the newest `entries` log entries of a channel and what they did: marks are gone, dropped L2 values are back.
    /// So does a failover to a replica that lagged.
    pub fn lose_newest(&self, channel: ChannelId, entries: usize) {
        self.state().channels[channel.index()].lose_newest(entries);
        self.leases_moved();
    }

    /// Trims a channel's log to its newest `keep` entries.
    pub fn trim(&self, channel: ChannelId, keep: usize) {
        self.state().channels[channel.index()].trim(keep.max(1));
    }

    /// Overwrites the raw bytes under a name, as whoever can write to Redis could.
    pub fn tamper(&self, name: EntryName, bytes: Vec<u8>) {
        let until = self.now().plus(Duration::from_secs(3600));
        let mut state = self.state();
        state.channels[name.slot().channel.index()]
            .values
            .insert(name, (bytes, until));
    }

    /// Puts an element into a channel's table of marks, as whoever can write to Redis could.
    pub fn plant(&self, channel: ChannelId, element: StoredMark) {
        self.state().channels[channel.index()].plant(element);
    }

    /// Removes elements from a channel's table of marks, as whoever can write to Redis could.
    pub fn uproot(&self, channel: ChannelId, elements: &[StoredMark]) {
        self.state().channels[channel.index()].purge(elements);
    }

    /// Appends raw bytes as a statement to a channel's log, as whoever can write to Redis could.
    pub fn forge(&self, channel: ChannelId, statement: Vec<u8>) {
        self.append_raw(channel, Payload::Statement(statement));
    }

    /// Appends raw bytes to a channel's log as a statement that is not in its table yet, as whoever can write to Redis could.
    pub fn forge_bare(&self, channel: ChannelId, statement: Vec<u8>) {
        self.append_raw(channel, Payload::Bare(statement));
    }

    fn append_raw(&self, channel: ChannelId, payload: Payload) {
        let mut state = self.state();
        let (id, nonce) = (state.next_id(), Nonce([0xf0; 16]));
        let entry = state.channels[channel.index()].append(
            channel,
            Position { id, nonce },
            Incarnation([0xf0; 16]),
            payload,
            self.0.limits.log_entries,
        );
        drop(state);
        self.ring(&entry);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, PortError> {
        let state = self.state();
        if state.up {
            Ok(state)
        } else {
            Err(PortError::Unavailable("the in-memory cluster is down".into()))
        }
    }

    fn now(&self) -> Moment {
        self.0.clock.now().boot
    }

    fn ring(&self, entry: &LogEntry) {
        // Nobody listening is no error.
        let _ = self.0.bells.send(entry.encode());
    }

    fn leases_moved(&self) {
        self.0.leases.send_modify(|n| *n += 1);
    }

    fn do_commit(&self, commit: Commit) -> Result<Committed, PortError> {
        if commit.statement.is_empty() || commit.statement.len() > MAX_PAYLOAD {
            return Err(PortError::Refused(format!(
                "a statement has 1 to {MAX_PAYLOAD} bytes, this one {}",
                commit.statement.len()
            )));
        }
        let mut state = self.up()?;
        let id = state.next_id();
        let channel = &mut state.channels[commit.channel.index()];
        let hour = self.0.clock.now().wall.min(commit.now) / 3600;
        channel.take_effect(commit.effect, hour.saturating_sub(1));
        let entry = channel.append(
            commit.channel,
            Position {
                id,
                nonce: commit.nonce,
            },
            commit.birth,
            Payload::Statement(commit.statement),
            self.0.limits.log_entries,
        );
        self.ring(&entry);
        drop(state);
        self.leases_moved();
        Ok(Committed { entry, replicas: 0 })
    }

    /// Makes room among the values when the limit is reached.
    fn make_room(&self, state: &mut State) {
        let now = self.now();
        let count = |state: &State| state.channels.iter().map(Channel::volatile).sum::<usize>();
        if count(state) < self.0.limits.values {
            return;
        }
        state.channels.iter_mut().for_each(|channel| channel.expire(now));
        while count(state) >= self.0.limits.values {
            let nearest = state.channels.iter_mut().max_by_key(|channel| channel.volatile());
            if !nearest.is_some_and(Channel::evict) {
                break;
            }
        }
    }
}

impl State {
    fn next_id(&mut self) -> authmesh_proto::ident::StreamId {
        self.millis += 1;
        authmesh_proto::ident::StreamId {
            millis: self.millis,
            sequence: 0,
        }
    }

    fn of(&mut self, name: &EntryName) -> &mut Channel {
        &mut self.channels[name.slot().channel.index()]
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("memory::Cluster").finish_non_exhaustive()
    }
}

fn ready<'a, T: Send + 'a>(result: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(result))
}

impl Log for Cluster {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, PortError>> {
        ready(self.do_commit(commit))
    }

    fn heads(&self) -> BoxFuture<'_, Result<Vec<Option<Head>>, PortError>> {
        ready(
            self.up()
                .map(|state| state.channels.iter().map(Channel::head).collect()),
        )
    }

    fn read(&self, channel: ChannelId, from: Position, limit: usize) -> BoxFuture<'_, Result<LogSlice, PortError>> {
        ready(
            self.up()
                .map(|state| state.channels[channel.index()].slice(from, limit)),
        )
    }

    fn load(&self, channel: ChannelId, known: Option<Digests>) -> BoxFuture<'_, Result<MarkTable, PortError>> {
        ready(
            self.up()
                .map(|state| state.channels[channel.index()].table(known.as_ref())),
        )
    }

    fn mint(
        &self,
        channel: ChannelId,
        expected: Option<Incarnation>,
        incarnation: Incarnation,
        nonce: Nonce,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        ready(self.up().map(|mut state| {
            let id = state.next_id();
            let log = &mut state.channels[channel.index()];
            if log.head().map(|head| head.incarnation) != expected {
                return false;
            }
            let entry = log.mint(channel, Position { id, nonce }, incarnation, self.0.limits.log_entries);
            self.ring(&entry);
            true
        }))
    }

    fn purge(&self, channel: ChannelId, elements: Vec<StoredMark>) -> BoxFuture<'_, Result<(), PortError>> {
        ready(
            self.up()
                .map(|mut state| state.channels[channel.index()].purge(&elements)),
        )
    }
}

impl Bus for Cluster {
    fn subscribe(&self) -> BoxFuture<'_, Result<BusStream, PortError>> {
        let subscribed = self.up().map(|_up| {
            let bells = BroadcastStream::new(self.0.bells.subscribe());
            let events = bells.map(|bell| bell.map_or(BusEvent::Broken, BusEvent::Bell));
            Box::pin(events) as BusStream
        });
        ready(subscribed)
    }
}

impl Store for Cluster {
    fn read(&self, name: EntryName) -> BoxFuture<'_, Result<StoreRead, PortError>> {
        let now = self.now();
        ready(self.up().map(|mut state| {
            let channel = state.of(&name);
            StoreRead {
                head: channel.head(),
                value: channel.value(&name, now).cloned(),
            }
        }))
    }

    fn lease(
        &self,
        name: EntryName,
        nonce: Nonce,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<LeaseOutcome, PortError>> {
        let now = self.now();
        ready(self.up().map(|mut state| {
            self.make_room(&mut state);
            state.of(&name).lease(name, nonce, over.as_ref(), now, ttl)
        }))
    }

    fn renew(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<bool, PortError>> {
        let now = self.now();
        ready(self.up().map(|mut state| state.of(&name).renew(&name, nonce, now, ttl)))
    }

    fn store(
        &self,
        name: EntryName,
        nonce: Nonce,
        value: Vec<u8>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        let now = self.now();
        let stored = self.up().map(|mut state| {
            let channel = state.of(&name);
            let held = channel.holds(&name, nonce, now);
            if held {
                channel.values.insert(name, (value, now.plus(ttl)));
            }
            held
        });
        self.leases_moved();
        ready(stored)
    }

    fn hold(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<HoldOutcome, PortError>> {
        let now = self.now();
        let held = self.up().map(|mut state| {
            self.make_room(&mut state);
            state.of(&name).hold(name, nonce, now, ttl)
        });
        self.leases_moved();
        ready(held)
    }

    fn unhold(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        let now = self.now();
        ready(self.up().map(|mut state| state.of(&name).unhold(name, nonce, now)))
    }

    fn release(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        let now = self.now();
        let released = self.up().map(|mut state| {
            let channel = state.of(&name);
            if channel.holds(&name, nonce, now) {
                channel.values.remove(&name);
            }
        });
        self.leases_moved();
        ready(released)
    }

    fn gone(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let mut moved = self.0.leases.subscribe();
            loop {
                let until = {
                    let now = self.now();
                    let mut state = self.up()?;
                    let channel = state.of(&name);
                    if !channel.holds(&name, nonce, now) {
                        return Ok(());
                    }
                    channel.values.get(&name).map_or(now, |(_, until)| *until).since(now)
                };
                tokio::select! {
                    _ = moved.changed() => {}
                    () = tokio::time::sleep(until.max(Duration::from_millis(1))) => {}
                }
            }
        })
    }

    fn insert_if_absent(
        &self,
        name: EntryName,
        value: Vec<u8>,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        let now = self.now();
        let stored = self.up().and_then(|mut state| {
            self.make_room(&mut state);
            let stored = state.of(&name).insert_if_absent(name, value, over.as_ref(), now, ttl);
            stored.ok_or_else(|| PortError::Refused("the channel has no log yet".into()))
        });
        self.leases_moved();
        ready(stored)
    }

    fn increment(&self, name: EntryName, by: i64, ttl: Duration) -> BoxFuture<'_, Result<i64, PortError>> {
        let now = self.now();
        ready(self.up().map(|mut state| {
            self.make_room(&mut state);
            state.of(&name).increment(name, by, now, ttl)
        }))
    }
}

impl Members for Cluster {
    fn announce(&self, id: Vec<u8>, sealed: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>> {
        ready(self.up().and_then(|mut state| {
            if id.len() > MAX_MEMBER_ID {
                return Err(PortError::Refused(format!(
                    "a member's ID has at most {MAX_MEMBER_ID} bytes"
                )));
            }
            if state.members.len() >= self.0.limits.members && !state.members.contains_key(&id) {
                return Err(PortError::Full(format!(
                    "{} members are registered already",
                    state.members.len()
                )));
            }
            state.members.insert(id, sealed);
            Ok(())
        }))
    }

    fn forget(&self, id: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>> {
        ready(self.up().map(|mut state| {
            state.members.remove(&id);
        }))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<MemberEntry>, PortError>> {
        ready(self.up().map(|state| {
            let entry = |(id, sealed): (&Vec<u8>, &Vec<u8>)| MemberEntry {
                id: id.clone(),
                sealed: sealed.clone(),
            };
            state.members.iter().map(entry).collect()
        }))
    }
}
