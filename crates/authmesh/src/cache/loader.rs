//! What loads a value.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Load;
use super::fill::FILL;

/// What a value of L2, or of another caller's flight, must be to be good enough.
pub(crate) type Demand<V> = Arc<dyn Fn(&V) -> bool + Send + Sync>;

/// What loads a value, and has a say in what counts and in when it runs. `E`: why nothing was loaded; every caller who waited
/// gets it.
pub(crate) trait Loader<V, E>: Send + 'static {
    /// A turn to load; whoever drops it gives it back.
    type Turn: Send;

    /// What L2 or another caller's flight must bring; a value of L2 that is not good enough is replaced. `None`: whatever.
    fn demand(&self) -> Option<Demand<V>> {
        None
    }

    /// How long the load of another node is waited for before this one runs too.
    fn patience(&self) -> Duration {
        FILL.wait
    }

    /// Waits for a turn, before anything in the cluster waits for this load.
    fn admit(&mut self) -> impl Future<Output = Result<Self::Turn, E>> + Send;

    /// Loads.
    fn load(self, turn: Self::Turn) -> impl Future<Output = Result<Load<V>, E>> + Send;
}

/// A closure, which takes what there is and runs at once.
pub(super) struct Plain<L>(pub(super) L);

impl<V, L, F, E, R> Loader<V, E> for Plain<L>
where
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<R, E>> + Send,
    R: Into<Load<V>> + Send,
{
    type Turn = ();

    async fn admit(&mut self) -> Result<(), E> {
        Ok(())
    }

    async fn load(self, (): ()) -> Result<Load<V>, E> {
        (self.0)().await.map(Into::into)
    }
}
