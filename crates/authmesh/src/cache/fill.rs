//! Fills: one load that many callers wait for.
//!
//! A flight is joined only at its own fence value: a caller who comes after a drop never gets what began before it. The
//! load runs in a task of its own.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh_proto::fill::{self, Action, Fill, FillConfig, Input};
use authmesh_proto::freshness::Stamp;
use authmesh_proto::ident::{EntryName, Nonce, ScopeId};
use authmesh_proto::time::Moment;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::l2::Look;
use super::{Cache, Demand, Loader};
use crate::error::CacheError;
use crate::l1::Entry;
use crate::telemetry::span;

/// How long a lease lives, and how long those of others are waited for: the defaults of the machine.
pub(super) const FILL: FillConfig = FillConfig::DEFAULT;

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
    pub(super) async fn fly<T: Loader<V, E>, E: Clone + Send + Sync + 'static>(
        &self,
        name: EntryName,
        loader: T,
    ) -> Result<Arc<V>, CacheError<E>> {
        let demand = loader.demand();
        let is_good = |entry: &Entry| counts(&demand, entry.value.downcast_ref());
        let mut loader = Some(loader);
        let landed = match self.board(name, &mut loader).await {
            // A tag that only the flight's loader knew was voided, perhaps before this caller came. Whatever flies under the
            // present fence began after that. Or the flight brought what is good enough for others only.
            (Some(Ok(entry)), true) if !self.shared.node.fence.all_current(&entry.stamps) || !is_good(&entry) => {
                self.board(name, &mut loader).await.0
            }
            (landed, _) => landed,
        };
        match landed {
            // A flight that was joined leaves the loader behind.
            Some(Ok(entry)) if loader.is_some() && !is_good(&entry) => Err(CacheError::NoAnswer),
            Some(Ok(entry)) => Arc::clone(&entry.value).downcast().map_err(|_| CacheError::NoAnswer),
            Some(Err(error)) => Err(error
                .downcast_ref::<CacheError<E>>()
                .cloned()
                .unwrap_or(CacheError::NoAnswer)),
            None => Err(CacheError::NoAnswer),
        }
    }

    /// Joins the flight of a key at the present fence, or starts it with `loader`. Returns how it landed, and whether it was
    /// joined; `loader` is still there then.
    async fn board<T: Loader<V, E>, E: Clone + Send + Sync + 'static>(
        &self,
        name: EntryName,
        loader: &mut Option<T>,
    ) -> (Landed, bool) {
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
                    let Some(loader) = loader.take() else {
                        return (None, false);
                    };
                    let (sender, receiver) = watch::channel(None);
                    flights.insert(key, receiver.clone());
                    let off_the_table = OffTheTable(Arc::clone(&shared.flights), key);
                    let cache = self.clone();
                    let shutdown = shared.node.shutdown.clone();
                    let span = span!("authmesh.fill", authmesh.namespace = %shared.space.name);
                    let flight = async move {
                        let landed = tokio::select! {
                            landed = cache.fill(name, loader) => Some(landed),
                            // A load that hangs must not keep the node from ending.
                            () = async { shutdown.cancelled().await; tokio::time::sleep(DRAIN).await } => None,
                        };
                        drop(off_the_table);
                        if landed.is_some() {
                            // Nobody waiting is no error.
                            let _ = sender.send(landed);
                        }
                    };
                    shared.node.tasks.spawn(flight.instrument(span));
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

    async fn fill<T: Loader<V, E>, E: Clone + Send + Sync + 'static>(
        &self,
        name: EntryName,
        loader: T,
    ) -> Result<Arc<Entry>, Arc<dyn Any + Send + Sync>> {
        let shared = &self.shared;
        let patience = loader.patience();
        let config = FillConfig { wait: patience, ..FILL };
        let mut fill = Fill::new(config, Nonce(shared.node.random()));
        let nonce = fill.nonce();
        let began = Instant::now();
        let now = || Moment::ORIGIN.plus(began.elapsed());
        let mut captured = shared.capture();
        let demand = loader.demand();
        let mut loader = Some(loader);
        let mut turn = None;
        // What counts for others, and makes room for what is to be loaded.
        let mut displaced = None;
        let mut loaded = None;
        let mut kept = None;
        let mut destination = None;
        while let Some(action) = fill.poll() {
            let input = match action {
                Action::Look => {
                    captured = shared.capture();
                    displaced = None;
                    let is_good = |value: &V| counts(&demand, Some(value));
                    let look = match self.look_in_l2(&name, |slot| captured.stamp(slot), is_good).await {
                        Look::Counts(entry) => return Ok(entry),
                        Look::Void(bytes) => fill::Look::Void(bytes),
                        Look::Refused(bytes, left) => {
                            displaced = Some((bytes.clone(), Instant::now() + left));
                            fill::Look::Void(bytes)
                        }
                        Look::Nothing => fill::Look::Nothing,
                        Look::OnHold => fill::Look::OnHold,
                    };
                    let applied = captured.applied[name.slot().channel.index()];
                    Input::Looked {
                        look,
                        captured: applied.map(|(incarnation, _)| incarnation),
                        coherent: shared.node.coherence().is_coherent(),
                    }
                }
                Action::Lease(over) => {
                    // Its turn comes before the lease: who waits for one blocks nobody in the cluster.
                    if let (None, Some(loader)) = (&turn, &mut loader) {
                        turn = Some(loader.admit().await.map_err(refused::<E>)?);
                    }
                    Input::Leased(shared.lease(&name, nonce, over).await)
                }
                Action::Wait(holder) => {
                    let gone = shared.node.ports.store.gone(name, holder);
                    let _ = tokio::time::timeout(patience, gone).await;
                    Input::Gone
                }
                Action::Load => {
                    let Some(mut loader) = loader.take() else { break };
                    let turn = match turn.take() {
                        Some(turn) => turn,
                        None => loader.admit().await.map_err(refused::<E>)?,
                    };
                    let outcome = loading(&mut fill, now, loader.load(turn), || shared.renew(&name, nonce)).await;
                    let filled = outcome.map_err(CacheError::Load);
                    let filled = filled.and_then(|load| shared.filled(load).map_err(CacheError::<E>::Encode));
                    let input = Input::Loaded(filled.is_ok());
                    match filled {
                        Ok(filled) => {
                            shared.node.counters.cache_loads.add();
                            loaded = Some(filled);
                        }
                        Err(error) => {
                            shared.node.counters.cache_load_failures.add();
                            kept = Some(Err(Arc::new(error) as Arc<dyn Any + Send + Sync>));
                        }
                    }
                    input
                }
                Action::Keep => {
                    kept = loaded
                        .as_ref()
                        .map(|filled| Ok(shared.keep_in_l1(&name, |slot| captured.stamp(slot), filled)));
                    continue;
                }
                Action::Answer => {
                    kept = loaded
                        .as_ref()
                        .map(|filled| Ok(shared.entry(&name, |slot| captured.stamp(slot), filled).0));
                    continue;
                }
                Action::Store(place) => {
                    destination = Some(place);
                    continue;
                }
                Action::Release => {
                    let writer = Arc::clone(shared);
                    let left = displaced
                        .take()
                        .map(|(bytes, until): (_, Instant)| (bytes, until.saturating_duration_since(Instant::now())));
                    shared.node.tasks.spawn(async move {
                        match left.filter(|(_, left)| *left >= Duration::from_secs(1)) {
                            Some((bytes, left)) => writer.put_back(&name, nonce, bytes, left).await,
                            None => writer.release(&name, nonce).await,
                        }
                    });
                    continue;
                }
                Action::Renew => continue,
            };
            fill.handle(now(), input);
        }
        if let (Some(place), Some(filled)) = (destination, loaded) {
            // The write delays nobody.
            let writer = Arc::clone(shared);
            shared.node.tasks.spawn(async move {
                writer.store(&name, nonce, place, &captured, &filled).await;
            });
        }
        kept.unwrap_or_else(|| Err(Arc::new(CacheError::<E>::NoAnswer)))
    }
}

fn counts<V>(demand: &Option<Demand<V>>, value: Option<&V>) -> bool {
    demand
        .as_ref()
        .is_none_or(|demand| value.is_some_and(|value| demand(value)))
}

/// A load that did not get its turn.
fn refused<E: Send + Sync + 'static>(error: E) -> Arc<dyn Any + Send + Sync> {
    Arc::new(CacheError::Load(error))
}

/// Runs the loader; whatever the fill wants done meanwhile is a renewal of its lease: a slow source must not outlive it.
async fn loading<T, F: Future>(
    fill: &mut Fill,
    now: impl Fn() -> Moment,
    loader: impl Future<Output = T>,
    renew: impl Fn() -> F,
) -> T {
    let mut loader = std::pin::pin!(loader);
    loop {
        // A fill without a lease has nothing to renew.
        let next = fill.poll_timeout().since(now()).min(FILL.lease);
        tokio::select! {
            loaded = &mut loader => return loaded,
            () = tokio::time::sleep(next) => {
                fill.tick(now());
                while let Some(Action::Renew) = fill.poll() {
                    renew().await;
                }
            }
        }
    }
}
