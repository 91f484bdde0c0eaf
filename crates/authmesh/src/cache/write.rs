//! Writes of a source: hold, drop, write, drop.
//!
//! The order decides what may stay in a cache when the writer dies half-way, and so does what a hold does to a fill. Why it
//! is this one, and what is left: `docs/decisions/0010-a-write-holds-its-keys.md`.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::fill::HoldOutcome;
use authmesh_proto::ident::{EntryName, Nonce};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Cache, Shared};
use crate::error::WriteError;
use crate::node::{Ticket, Writing};

/// The most keys of one write.
const MAX_KEYS: usize = 64;
/// How long the commit of drops is waited for, before the write and after it.
const COMMIT_WAIT: Duration = Duration::from_secs(2);
/// How often a hold that was lost under its own drop is taken, before the write goes on without.
const ROUNDS: usize = 2;
/// How long a write may go on once the node was told to shut down; then its keys are voided, and stay on hold.
const DRAIN: Duration = Duration::from_secs(1);

/// How a write holds its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteRules {
    hold: Duration,
    longest: Duration,
    linger: Duration,
}

impl Default for WriteRules {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(10),
            longest: Duration::from_secs(60),
            linger: Duration::ZERO,
        }
    }
}

impl WriteRules {
    /// How long the keys stay on hold when the node dies while it writes: longer than the source may take to carry out what
    /// it was asked for last. At least 1 s. Default: 10 s.
    #[must_use]
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold.max(Duration::from_secs(1));
        self
    }

    /// How long a write can hold its keys at most; one that takes longer goes on without. Default: 60 s.
    #[must_use]
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// How long the keys stay on hold after the write, where loaders read from replicas that lag: nothing that is loaded
    /// meanwhile is kept. At most 60 s. Default: none.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger.min(Duration::from_secs(60));
        self
    }
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<T> {
    /// What the write answered.
    pub answer: T,
    /// Whether every key was on hold while it ran. If not, and if this node had died between the write and the drops, old
    /// values could have stayed in the caches of other nodes until their lifetime ends. `false` while L2 is away, for a write
    /// that took longer than [`WriteRules::longest`], and in a namespace without L2.
    pub held: bool,
    /// Whether every key was voided by a statement that stands in the log. If not, it is in force on this node, and is
    /// committed as soon as it can be.
    pub committed: bool,
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// Writes the source of entries: `write` changes what the loaders read, and afterwards no cache holds what was there
    /// before, on any node. At most 64 keys.
    ///
    /// The keys are put on hold and voided, then `write` runs, then they are voided again, whatever it answered: an error may
    /// have been carried out. While a key is on hold it is loaded by whoever asks, and kept by nobody. So nothing old stays
    /// even if this node dies at any point, provided that the hold outlives what the source was asked to do.
    ///
    /// L2 that is away stops no write: it runs without a hold, and [`Written::held`] says so. Writes of the same keys run
    /// side by side; the source orders them.
    ///
    /// ```
    /// # async fn doc(users: authmesh::Cache<String>) -> Result<(), authmesh::WriteError> {
    /// let written = users
    ///     .write(["user:7"], || async { /* UPDATE users SET .. WHERE id = 7 */ Ok::<_, std::io::Error>(1) })
    ///     .await?;
    /// let rows = written.answer;
    /// # let _ = rows; Ok(()) }
    /// ```
    ///
    /// Cancel safety: it runs in a task of its own, and goes on to its end if the future is dropped.
    ///
    /// # Errors
    /// [`WriteError`], which says whether `write` has run.
    pub async fn write<K, L, F, T>(&self, keys: impl IntoIterator<Item = K>, write: L) -> Result<Written<T>, WriteError>
    where
        K: AsRef<[u8]>,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.write_with(WriteRules::default(), keys, write).await
    }

    /// [`Cache::write`] with rules of its own.
    ///
    /// Cancel safety: as [`Cache::write`].
    ///
    /// # Errors
    /// As [`Cache::write`].
    pub async fn write_with<K, L, F, T>(
        &self,
        rules: WriteRules,
        keys: impl IntoIterator<Item = K>,
        write: L,
    ) -> Result<Written<T>, WriteError>
    where
        K: AsRef<[u8]>,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let keys = keys.into_iter().take(MAX_KEYS + 1);
        let names: BTreeSet<_> = keys.map(|key| self.shared.name(key.as_ref())).collect();
        if names.is_empty() || names.len() > MAX_KEYS {
            return Err(WriteError::Keys { most: MAX_KEYS });
        }
        let node = &self.shared.node;
        let writer = Writer {
            shared: Arc::clone(&self.shared),
            names,
            nonce: Nonce(node.random()),
            rules,
            writing: node.begin_writing().map_err(|_| WriteError::ShutDown)?,
        };
        let (sender, receiver) = oneshot::channel();
        node.tasks.spawn(async move {
            // The caller may have gone; the write was carried out all the same.
            let _ = sender.send(writer.run(write).await);
        });
        receiver.await.unwrap_or(Err(WriteError::NoAnswer))
    }
}

struct Writer {
    shared: Arc<Shared>,
    names: BTreeSet<EntryName>,
    nonce: Nonce,
    rules: WriteRules,
    writing: Writing,
}

/// What became of the holds of all keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// They stood all the time.
    Still,
    /// One was taken just now.
    Anew,
    /// One could not be had.
    No,
}

impl Writer {
    async fn run<L, F, T>(self, write: L) -> Result<Written<T>, WriteError>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let shutdown = self.shared.node.shutdown.clone();
        if shutdown.is_cancelled() {
            return Err(WriteError::ShutDown);
        }
        let mut held = self.protect().await;
        let began = Instant::now();
        // A task of its own: should it panic, its keys are voided all the same.
        let mut running = tokio::spawn(async move { write().await });
        let answer = loop {
            tokio::select! {
                answer = &mut running => break answer.map_err(|_| WriteError::NoAnswer),
                () = sleep(self.rules.hold / 3) => held &= self.go_on(began).await,
                () = long_after(&shutdown) => break Err(WriteError::StillRunning),
            }
        };
        let committed = self.committed(self.drops()).await;
        // What still runs may yet be carried out; what is not committed may not be known to others: the holds run out.
        if committed && !matches!(answer, Err(WriteError::StillRunning)) {
            self.let_go().await;
        }
        answer.map(|answer| Written {
            answer,
            held,
            committed,
        })
    }

    /// Hold, then void. Whoever looked into L2 before the hold had captured its fence before the drop, and whoever looks
    /// after it keeps nothing: so nothing old is kept from here on.
    async fn protect(&self) -> bool {
        for _ in 0..ROUNDS {
            let held = self.hold(self.rules.hold).await;
            let drops = self.drops();
            // Without a hold there is nothing to wait for: the write must not be held up by an outage.
            if held == Held::No || !self.committed(drops).await {
                return false;
            }
            // A failover may have lost it, or, while the slot moves, the drop itself has outdated it.
            if self.hold(self.rules.hold).await == Held::Still {
                return true;
            }
        }
        false
    }

    /// Renews the holds while the write runs. Whether they stood all the time.
    async fn go_on(&self, began: Instant) -> bool {
        if began.elapsed() >= self.rules.longest {
            return false;
        }
        match self.hold(self.rules.hold).await {
            Held::Still => true,
            Held::No => false,
            // What was kept in the gap is voided; the writer did not die in it.
            Held::Anew => self.protect().await,
        }
    }

    async fn hold(&self, ttl: Duration) -> Held {
        if !self.shared.space.l2 {
            return Held::No;
        }
        let mut asked = JoinSet::new();
        for name in self.names.iter().copied() {
            let (shared, nonce) = (Arc::clone(&self.shared), self.nonce);
            asked.spawn(async move {
                shared
                    .bounded("hold", shared.node.ports.store.hold(name, nonce, ttl))
                    .await
            });
        }
        let mut held = Held::Still;
        while let Some(outcome) = asked.join_next().await {
            match outcome {
                Ok(Some(HoldOutcome::Renewed)) => {}
                Ok(Some(HoldOutcome::Taken)) if held != Held::No => held = Held::Anew,
                Ok(Some(HoldOutcome::Taken)) => {}
                Ok(Some(HoldOutcome::Unborn | HoldOutcome::Crowded) | None) | Err(_) => held = Held::No,
            }
        }
        held
    }

    fn drops(&self) -> Vec<Option<Ticket>> {
        self.names.iter().map(|name| self.writing.drop_key(*name)).collect()
    }

    async fn committed(&self, drops: Vec<Option<Ticket>>) -> bool {
        let deadline = Instant::now() + COMMIT_WAIT;
        let mut all = true;
        for drop in drops {
            all &= match drop {
                Some(mut ticket) => ticket.wait(deadline, |progress| progress.committed).await.committed,
                None => false,
            };
        }
        all
    }

    async fn let_go(&self) {
        if !self.rules.linger.is_zero() {
            self.hold(self.rules.linger).await;
            return;
        }
        let mut asked = JoinSet::new();
        for name in self.names.iter().copied() {
            let (shared, nonce) = (Arc::clone(&self.shared), self.nonce);
            asked.spawn(async move {
                shared
                    .bounded("unhold", shared.node.ports.store.unhold(name, nonce))
                    .await
            });
        }
        // Those that fail run out by themselves.
        while asked.join_next().await.is_some() {}
    }
}

async fn long_after(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    sleep(DRAIN).await;
}
