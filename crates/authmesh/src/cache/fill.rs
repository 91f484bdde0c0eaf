//! Fills: one load that many callers wait for.
//!
//! A flight is joined only at its own fence value: a caller who comes after a drop never gets what began before it. The
//! load runs in a task of its own.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh_proto::freshness::Stamp;
use authmesh_proto::ident::{EntryName, Nonce, ScopeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::l2::{LEASE, Look};
use super::{Cache, Load, Shared};
use crate::error::CacheError;
use crate::l1::Entry;
use crate::ports::LeaseOutcome;

/// How many leases of other nodes a fill waits for before it loads by itself.
const PATIENCE: usize = 3;

/// How long loads may go on once the node was told to shut down.
const DRAIN: Duration = Duration::from_secs(2);

/// A key at one fence value.
type FlightKey = (EntryName, [Stamp; 2]);
/// Value or error, typed by whoever started the flight.
type Landed = Option<Result<Arc<Entry>, Arc<dyn Any + Send + Sync>>>;

/// The flights of a node.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<FlightKey, watch::Receiver<Landed>>>);

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, watch::Receiver<Landed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the flight off the table however its task ends.
struct OffTheTable(Arc<Flights>, FlightKey);

impl Drop for OffTheTable {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    pub(super) async fn fly<L, F, E, R>(&self, name: EntryName, load: L) -> Result<Arc<V>, CacheError<E>>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<R, E>> + Send,
        R: Into<Load<V>> + Send,
        E: Clone + Send + Sync + 'static,
    {
        let mut load = Some(load);
        let landed = match self.board(name, &mut load).await {
            // A tag that only the flight's loader knew was voided, perhaps before this caller came. Whatever flies under the
            // present fence began after that.
            (Some(Ok(entry)), true) if !self.shared.node.fence.all_current(&entry.stamps) => {
                self.board(name, &mut load).await.0
            }
            (landed, _) => landed,
        };
        match landed {
            Some(Ok(entry)) => Arc::clone(&entry.value).downcast().map_err(|_| CacheError::NoAnswer),
            Some(Err(error)) => Err(error
                .downcast_ref::<CacheError<E>>()
                .cloned()
                .unwrap_or(CacheError::NoAnswer)),
            None => Err(CacheError::NoAnswer),
        }
    }

    /// Joins the flight of a key at the present fence, or starts it with `load`. Returns how it landed, and whether it was
    /// joined; `load` is still there then.
    async fn board<L, F, E, R>(&self, name: EntryName, load: &mut Option<L>) -> (Landed, bool)
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<R, E>> + Send,
        R: Into<Load<V>> + Send,
        E: Clone + Send + Sync + 'static,
    {
        let shared = &self.shared;
        let key = (
            name,
            [name.slot(), ScopeId::slot(&shared.whole)].map(|slot| shared.node.fence.capture(slot)),
        );
        let (mut receiver, joined) = {
            let mut flights = shared.flights.lock();
            match flights.get(&key) {
                Some(flight) => (flight.clone(), true),
                None => {
                    let Some(load) = load.take() else {
                        return (None, false);
                    };
                    let (sender, receiver) = watch::channel(None);
                    flights.insert(key, receiver.clone());
                    let off_the_table = OffTheTable(Arc::clone(&shared.flights), key);
                    let cache = self.clone();
                    let shutdown = shared.node.shutdown.clone();
                    shared.node.tasks.spawn(async move {
                        let landed = tokio::select! {
                            landed = cache.fill(name, load) => Some(landed),
                            // A load that hangs must not keep the node from ending.
                            () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN).await } => None,
                        };
                        drop(off_the_table);
                        if landed.is_some() {
                            // Nobody waiting is no error.
                            let _ = sender.send(landed);
                        }
                    });
                    (receiver, false)
                }
            }
        };
        let landed = match receiver.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone(),
            // The task ended without landing: the loader panicked, or the runtime is going down.
            Err(_) => None,
        };
        (landed, joined)
    }

    async fn fill<L, F, E, R>(&self, name: EntryName, load: L) -> Result<Arc<Entry>, Arc<dyn Any + Send + Sync>>
    where
        L: FnOnce() -> F + Send,
        F: Future<Output = Result<R, E>> + Send,
        R: Into<Load<V>> + Send,
        E: Clone + Send + Sync + 'static,
    {
        let shared = &self.shared;
        let nonce = Nonce(shared.node.random());
        let mut captured;
        let mut place = None;
        let mut waited_for = Vec::new();
        loop {
            captured = shared.capture();
            let over = match self.look_in_l2(&name, &captured).await {
                Look::Counts(entry) => return Ok(entry),
                Look::Void(bytes) => Some(bytes),
                Look::Nothing => None,
            };
            if !shared.node.coherence().is_coherent() || waited_for.len() >= PATIENCE {
                break;
            }
            match shared.lease(&name, nonce, over).await {
                Some(LeaseOutcome::Taken(incarnation, generation)) => {
                    place = Some((incarnation, generation));
                    break;
                }
                // Once per nonce: its holder may be gone, and its lease renewed by nobody.
                Some(LeaseOutcome::Held(holder)) if !waited_for.contains(&holder) => {
                    waited_for.push(holder);
                    let gone = shared.node.ports.store.gone(name, holder);
                    let _ = tokio::time::timeout(LEASE * 2, gone).await;
                }
                // A value that L2 holds to be live and this node does not: it may not count yet.
                Some(LeaseOutcome::Present) if waited_for.is_empty() => waited_for.push(nonce),
                _ => break,
            }
        }

        let loading = load();
        let loaded = match place {
            Some(_) => renewing(shared, &name, nonce, loading).await,
            None => loading.await,
        };
        let filled = match loaded.map(Into::into).map_err(CacheError::Load) {
            Ok(load) => shared.filled(load).map_err(CacheError::<E>::Encode),
            Err(error) => Err(error),
        };
        match filled {
            Ok(filled) => {
                shared.node.counters.cache_loads.add();
                let entry = shared.keep_in_l1(&name, &captured, &filled);
                if let Some(place) = place {
                    // The write delays nobody.
                    let writer = Arc::clone(shared);
                    shared.node.tasks.spawn(async move {
                        writer.store(&name, nonce, place, &captured, &filled).await;
                    });
                }
                Ok(entry)
            }
            Err(error) => {
                shared.node.counters.cache_load_failures.add();
                if place.is_some() {
                    let _ = shared.node.ports.store.release(name, nonce).await;
                }
                Err(Arc::new(error))
            }
        }
    }
}

/// Runs the loader and renews the lease meanwhile: a slow source must not outlive it.
async fn renewing<T>(shared: &Shared, name: &EntryName, nonce: Nonce, loading: impl Future<Output = T>) -> T {
    let mut loading = std::pin::pin!(loading);
    loop {
        tokio::select! {
            loaded = &mut loading => return loaded,
            () = tokio::time::sleep(LEASE / 3) => {
                let renewal = shared.node.ports.store.renew(*name, nonce, LEASE);
                let _ = tokio::time::timeout(Duration::from_millis(250), renewal).await;
            }
        }
    }
}
