//! One node's way to the cluster, with faults: cuts, held and refused commits, lost, doubled and reordered bells. It keeps
//! what it carried.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::ports::{
    BoxFuture, Bus, BusEvent, BusStream, Commit, Committed, Effect, HoldOutcome, LeaseOutcome, Log, LogSlice,
    MarkTable, MemberEntry, Members, PortError, Store, StoreRead, StoredMark,
};
use authmesh::proto::ident::{ChannelId, EntryName, Incarnation, Nonce, Position};
use authmesh::proto::log::Head;
use authmesh::proto::marks::Digests;
use futures_core::Stream;
use tokio::sync::watch;

/// What becomes of bells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bells {
    /// All arrive, once, in order.
    All,
    /// None arrives.
    None,
    /// Every other one is lost.
    Half,
    /// Each arrives twice.
    Twice,
    /// Each pair arrives the wrong way round.
    Swapped,
}

#[derive(Debug)]
struct State {
    cut: bool,
    refuse_commits: bool,
    bells: Bells,
    carried: Vec<Vec<u8>>,
}

/// Ports over a shared [`Cluster`], with faults of their own.
#[derive(Debug)]
pub(crate) struct Wire {
    cluster: Cluster,
    state: Arc<Mutex<State>>,
    commits: Gate,
    loads: Gate,
    inserts: Gate,
    answers: Gate,
    /// How many calls of a write are carried out before the node is dead to the world; then 0.
    steps_left: watch::Sender<usize>,
    heads_read: watch::Sender<u64>,
}

/// Holds calls up while it is closed.
#[derive(Debug)]
pub(crate) struct Gate {
    closed: watch::Sender<bool>,
    held: watch::Sender<usize>,
}

impl Gate {
    fn new() -> Self {
        Self {
            closed: watch::Sender::new(false),
            held: watch::Sender::new(0),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }

    pub(crate) fn open(&self) {
        self.closed.send_replace(false);
    }

    /// Waits until so many calls are held.
    pub(crate) async fn holds(&self, count: usize) {
        let mut held = self.held.subscribe();
        super::soon("calls are held", held.wait_for(|n| *n >= count))
            .await
            .unwrap();
    }

    async fn pass(&self) {
        let mut closed = self.closed.subscribe();
        if *closed.borrow() {
            self.held.send_modify(|n| *n += 1);
            closed.wait_for(|closed| !closed).await.unwrap();
            self.held.send_modify(|n| *n -= 1);
        }
    }
}

impl Wire {
    pub(crate) fn new(cluster: &Cluster) -> Arc<Self> {
        Arc::new(Self {
            cluster: cluster.clone(),
            state: Arc::new(Mutex::new(State {
                cut: false,
                refuse_commits: false,
                bells: Bells::All,
                carried: Vec::new(),
            })),
            commits: Gate::new(),
            loads: Gate::new(),
            inserts: Gate::new(),
            answers: Gate::new(),
            steps_left: watch::Sender::new(usize::MAX),
            heads_read: watch::Sender::new(0),
        })
    }

    /// While cut, every call fails and no bell arrives.
    pub(crate) fn cut(&self, cut: bool) {
        self.state().cut = cut;
    }

    /// While refused, commits fail; everything else works.
    pub(crate) fn refuse_commits(&self, refuse: bool) {
        self.state().refuse_commits = refuse;
    }

    pub(crate) fn bells(&self, bells: Bells) {
        self.state().bells = bells;
    }

    /// Commits, on their way to the cluster.
    pub(crate) fn commits(&self) -> &Gate {
        &self.commits
    }

    /// Waits until the heads were read once more, in vain or not.
    pub(crate) async fn reads_heads(&self) {
        let mut read = self.heads_read.subscribe();
        read.mark_unchanged();
        super::soon("the heads are read", read.changed()).await.unwrap();
    }

    /// Loads of marks, on their way to the cluster.
    pub(crate) fn loads(&self) -> &Gate {
        &self.loads
    }

    /// Answers of L2 reads, on their way back.
    pub(crate) fn answers(&self) -> &Gate {
        &self.answers
    }

    /// After so many more holds, drops and ends of holds the node is dead to the world: the last one is carried out, its
    /// answer is lost, and nothing after it is carried out.
    pub(crate) fn dies_after(&self, calls: usize) {
        self.steps_left.send_replace(calls);
    }

    pub(crate) fn is_dead(&self) -> bool {
        *self.steps_left.borrow() == 0
    }

    pub(crate) async fn dies(&self) {
        let mut left = self.steps_left.subscribe();
        super::soon("the node dies", left.wait_for(|left| *left == 0))
            .await
            .unwrap();
    }

    async fn alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    async fn step(&self) {
        self.steps_left.send_modify(|left| *left = left.saturating_sub(1));
        self.alive().await;
    }

    /// Everything that passed towards the cluster.
    pub(crate) fn carried(&self) -> Vec<Vec<u8>> {
        self.state().carried.clone()
    }

    /// Inserts of what is absent, on their way to the cluster.
    pub(crate) fn inserts(&self) -> &Gate {
        &self.inserts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn up(&self) -> Result<(), PortError> {
        if self.state().cut {
            return Err(PortError::Unavailable("the wire is cut".into()));
        }
        Ok(())
    }

    fn note(&self, bytes: &[u8]) {
        self.state().carried.push(bytes.to_vec());
    }
}

impl Log for Wire {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, PortError>> {
        Box::pin(async move {
            self.commits.pass().await;
            self.alive().await;
            self.up()?;
            if self.state().refuse_commits {
                return Err(PortError::Unavailable("commits are refused".into()));
            }
            self.note(&commit.statement);
            match &commit.effect {
                Effect::Drop(name) => self.note(name.as_bytes()),
                Effect::Mark(mark) => {
                    self.note(&mark.field);
                    self.note(&mark.sealed);
                }
            }
            let is_drop = matches!(commit.effect, Effect::Drop(_));
            let answer = self.cluster.commit(commit).await;
            if is_drop {
                self.step().await;
            }
            answer
        })
    }

    fn heads(&self) -> BoxFuture<'_, Result<Vec<Option<Head>>, PortError>> {
        Box::pin(async move {
            let heads = match self.up() {
                Ok(()) => self.cluster.heads().await,
                Err(error) => Err(error),
            };
            self.heads_read.send_modify(|n| *n += 1);
            heads
        })
    }

    fn read(&self, channel: ChannelId, from: Position, limit: usize) -> BoxFuture<'_, Result<LogSlice, PortError>> {
        Box::pin(async move {
            self.up()?;
            Log::read(&self.cluster, channel, from, limit).await
        })
    }

    fn load(&self, channel: ChannelId, known: Option<Digests>) -> BoxFuture<'_, Result<MarkTable, PortError>> {
        Box::pin(async move {
            self.loads.pass().await;
            self.up()?;
            self.cluster.load(channel, known).await
        })
    }

    fn purge(&self, channel: ChannelId, elements: Vec<StoredMark>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.up()?;
            self.cluster.purge(channel, elements).await
        })
    }

    fn mint(
        &self,
        channel: ChannelId,
        expected: Option<Incarnation>,
        incarnation: Incarnation,
        nonce: Nonce,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            self.up()?;
            self.cluster.mint(channel, expected, incarnation, nonce).await
        })
    }
}

impl Bus for Wire {
    fn subscribe(&self) -> BoxFuture<'_, Result<BusStream, PortError>> {
        Box::pin(async move {
            self.up()?;
            let bells = Faulty {
                inner: self.cluster.subscribe().await?,
                state: Arc::clone(&self.state),
                queue: VecDeque::new(),
                kept: None,
                count: 0,
            };
            Ok(Box::pin(bells) as BusStream)
        })
    }
}

struct Faulty {
    inner: BusStream,
    state: Arc<Mutex<State>>,
    queue: VecDeque<BusEvent>,
    kept: Option<BusEvent>,
    count: u64,
}

impl Faulty {
    fn take_in(&mut self, event: BusEvent) {
        let (cut, bells) = {
            let state = self.state.lock().unwrap();
            (state.cut, state.bells)
        };
        self.count += 1;
        match bells {
            _ if cut => {}
            Bells::All => self.queue.push_back(event),
            Bells::None => {}
            Bells::Half if self.count.is_multiple_of(2) => self.queue.push_back(event),
            Bells::Half => {}
            Bells::Twice => self.queue.extend([event.clone(), event]),
            Bells::Swapped => match self.kept.take() {
                None => self.kept = Some(event),
                Some(earlier) => self.queue.extend([event, earlier]),
            },
        }
    }
}

impl Stream for Faulty {
    type Item = BusEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<BusEvent>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Poll::Ready(Some(event));
            }
            match self.inner.as_mut().poll_next(context) {
                Poll::Ready(Some(event)) => self.take_in(event),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Store for Wire {
    fn read(&self, name: EntryName) -> BoxFuture<'_, Result<StoreRead, PortError>> {
        Box::pin(async move {
            self.up()?;
            let answer = Store::read(&self.cluster, name).await;
            self.answers.pass().await;
            answer
        })
    }

    fn lease(
        &self,
        name: EntryName,
        nonce: Nonce,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<LeaseOutcome, PortError>> {
        Box::pin(async move {
            self.up()?;
            self.note(name.as_bytes());
            self.cluster.lease(name, nonce, over, ttl).await
        })
    }

    fn hold(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<HoldOutcome, PortError>> {
        Box::pin(async move {
            self.alive().await;
            self.up()?;
            let answer = self.cluster.hold(name, nonce, ttl).await;
            self.step().await;
            answer
        })
    }

    fn unhold(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.alive().await;
            self.up()?;
            let answer = self.cluster.unhold(name, nonce).await;
            self.step().await;
            answer
        })
    }

    fn renew(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            self.up()?;
            self.cluster.renew(name, nonce, ttl).await
        })
    }

    fn store(
        &self,
        name: EntryName,
        nonce: Nonce,
        value: Vec<u8>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            self.up()?;
            self.note(&value);
            self.cluster.store(name, nonce, value, ttl).await
        })
    }

    fn release(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.up()?;
            self.cluster.release(name, nonce).await
        })
    }

    fn gone(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.up()?;
            self.cluster.gone(name, nonce).await
        })
    }

    fn insert_if_absent(
        &self,
        name: EntryName,
        value: Vec<u8>,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            self.inserts.pass().await;
            self.up()?;
            self.note(&value);
            self.cluster.insert_if_absent(name, value, over, ttl).await
        })
    }

    fn increment(&self, name: EntryName, by: i64, ttl: Duration) -> BoxFuture<'_, Result<i64, PortError>> {
        Box::pin(async move {
            self.up()?;
            self.cluster.increment(name, by, ttl).await
        })
    }
}

impl Members for Wire {
    fn announce(&self, id: Vec<u8>, sealed: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.up()?;
            self.note(&id);
            self.note(&sealed);
            self.cluster.announce(id, sealed).await
        })
    }

    fn forget(&self, id: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.up()?;
            self.cluster.forget(id).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<MemberEntry>, PortError>> {
        Box::pin(async move {
            self.up()?;
            self.cluster.list().await
        })
    }
}
