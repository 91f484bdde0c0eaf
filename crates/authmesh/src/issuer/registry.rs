//! The issuers of a node, for those who have only a keyed name of one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use authmesh_proto::ident::ScopeId;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Issuer;
use crate::node::Node;

/// How many questions of members about keys are answered at once. One issuer that hangs takes no more than
/// [`ANSWERS_OF_ONE`](super::members::ANSWERS_OF_ONE) of them.
const ANSWERS: usize = 1024;

/// Every issuer of a node, by the scope of its key sets. Holds none of them alive.
#[derive(Debug)]
pub(crate) struct Registry {
    issuers: RwLock<HashMap<ScopeId, Weak<Issuer>>>,
    answers: Arc<Semaphore>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            issuers: RwLock::default(),
            answers: Arc::new(Semaphore::new(ANSWERS)),
        }
    }
}

impl Registry {
    pub(crate) fn add(&self, issuer: &Arc<Issuer>) {
        let mut issuers = self.issuers.write().unwrap_or_else(PoisonError::into_inner);
        issuers.retain(|_, issuer| issuer.strong_count() > 0);
        issuers.insert(issuer.scope(), Arc::downgrade(issuer));
    }

    /// Takes one off that was forgotten, unless another stands in its place.
    pub(super) fn remove(&self, issuer: &Arc<Issuer>) {
        let mut issuers = self.issuers.write().unwrap_or_else(PoisonError::into_inner);
        let own = Arc::as_ptr(issuer);
        if issuers
            .get(&issuer.scope())
            .is_some_and(|other| std::ptr::eq(other.as_ptr(), own))
        {
            issuers.remove(&issuer.scope());
        }
    }

    /// Every issuer, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Issuer>> {
        let issuers = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        issuers.values().filter_map(Weak::upgrade).collect()
    }

    /// A turn to answer a member.
    pub(super) fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.answers).try_acquire_owned().ok()
    }

    pub(super) fn find(&self, scope: ScopeId) -> Option<Arc<Issuer>> {
        let issuers = self.issuers.read().unwrap_or_else(PoisonError::into_inner);
        issuers.get(&scope)?.upgrade()
    }

    /// The node is about to be coherent for the first time. Call it before anything may be answered.
    pub(crate) fn settle(&self, node: &Node) {
        for issuer in self.all() {
            issuer.settle(node);
        }
    }
}
