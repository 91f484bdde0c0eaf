//! Who waits for the end of a verdict, and what wakes them.
//!
//! Waiters register first and look afterwards; whoever changes something changes it first and wakes afterwards. So no wake
//! is lost. A mark wakes the waiters of one shard only: a node that holds a hundred thousand streams must not look at all
//! of them for each logout.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use authmesh_proto::ident::ScopeId;
use authmesh_proto::marks::TokenScopes;
use tokio::sync::{Notify, futures::Notified, watch};

/// How many shards there are; a token stands in at most seven of them.
const SHARDS: usize = 512;

#[derive(Debug)]
pub(crate) struct Wakes {
    marks: Box<[Notify]>,
    /// Whether the node is coherent, as the driver saw it last.
    coherent: watch::Sender<bool>,
}

impl Wakes {
    pub(super) fn new(coherent: bool) -> Self {
        Self {
            marks: (0..SHARDS).map(|_| Notify::new()).collect(),
            coherent: watch::Sender::new(coherent),
        }
    }

    fn shard(&self, scope: ScopeId) -> &Notify {
        &self.marks[scope.slot().index() % SHARDS]
    }

    /// A mark of this scope changed. Call it after the change.
    pub(super) fn mark(&self, scope: ScopeId) {
        self.shard(scope).notify_waiters();
    }

    /// Says whether the node is coherent now.
    pub(super) fn coherent(&self, now: bool) {
        self.coherent
            .send_if_modified(|coherent| std::mem::replace(coherent, now) != now);
    }

    /// Hears of every change from coherent to blind and back.
    pub(crate) fn coherence(&self) -> watch::Receiver<bool> {
        self.coherent.subscribe()
    }

    /// Hears of every change of the marks of these scopes from this call on, polled or not.
    pub(crate) fn listen(&self, scopes: &TokenScopes) -> Listening<'_> {
        Listening(
            scopes
                .iter()
                .map(|(_, scope)| Box::pin(self.shard(scope).notified()))
                .collect(),
        )
    }
}

/// One registration in each shard of a token's scopes.
pub(crate) struct Listening<'a>(Vec<Pin<Box<Notified<'a>>>>);

impl Listening<'_> {
    /// Resolves after the first change. Cancel safe: a registration lasts until it is dropped.
    pub(crate) async fn changed(&mut self) {
        poll_fn(|context| {
            // A registration is woken by `notify_waiters` from its creation on (see the docs of `Notified`).
            let heard = self.0.iter_mut().any(|one| one.as_mut().poll(context).is_ready());
            if heard { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}
