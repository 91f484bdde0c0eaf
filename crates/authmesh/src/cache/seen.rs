//! What an observer sees of the cache.

use std::sync::Arc;

use authmesh_proto::ident::{Digest, EntryName, ScopeId};
use authmesh_proto::observe::Held;
use authmesh_proto::time::Unix;

use super::l2::Look;
use super::{Filled, Flights, MAX_LIFETIME, Namespace, Shared};
use crate::node::Node;

/// What an entry carries for those who compare it with others of its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// The keyed digest of its value, as it is encoded.
    pub(crate) digest: Digest,
    /// Wall clock of the filler when it read the source.
    pub(crate) filled_at: Unix,
    /// The tag of its whole namespace.
    pub(crate) whole: ScopeId,
    /// Whether nodes may hold different values under its name, all of them good.
    pub(crate) renews: bool,
}

impl Shared {
    pub(super) fn seen(&self, name: &EntryName, filled: &Filled) -> Seen {
        Seen {
            digest: self.node.observer.digest(name, &filled.encoded),
            filled_at: filled.filled_at,
            whole: self.whole,
            renews: self.space.renews,
        }
    }
}

/// What L2 holds under the name of an entry, if it counts by the rules that every read obeys. `whole` is the tag of its
/// namespace.
pub(crate) async fn seen_in_l2(node: &Arc<Node>, name: &EntryName, whole: ScopeId) -> Option<Held> {
    let space = Namespace::new("").lifetime(MAX_LIFETIME);
    let reader = Shared::new(node, &Arc::new(Flights::default()), space, whole);
    match reader.read_record(name).await {
        Look::Counts((record, ..)) => Some(Held {
            digest: node.observer.digest(name, &record.value),
            filled_at: record.filled_at,
        }),
        _ => None,
    }
}
