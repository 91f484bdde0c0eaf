//! How long a revocation waits, and for what.

use std::time::Duration;

use authmesh_proto::gossip::Peer;
use serde::Serialize;
use tokio::time::Instant;

use super::COMMIT_WAIT;
use crate::node::{Node, Progress, Ticket, hex};

/// How long a commit that has no second copy yet is kept waiting for one: gossip confirms within a round trip.
const COPY_WAIT: Duration = Duration::from_millis(100);

/// What a revocation waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirm {
    /// That no coherent node can go on without it for longer than one lease.
    ///
    /// By Redis: it stands in the log, this node's own follower has passed it there, and no member may hold this node to be
    /// gone. Without Redis: every member of this node's view has applied it; a majority is not enough, since a node outside
    /// of it may hold a lease by Redis.
    #[default]
    Committed,
    /// That, and that every member of this node's view has confirmed it by gossip. Without gossip nobody confirms: it is the
    /// same as [`Confirm::Committed`].
    AllLive,
}

/// A member that confirmed a revocation, or did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confirmer {
    /// The node's configured name.
    pub node: String,
    /// Where its gossip is reached; empty where it has none, so that it can confirm nothing.
    pub address: String,
    /// This start of it, in hexadecimal.
    pub incarnation: String,
}

impl From<Peer> for Confirmer {
    fn from(peer: Peer) -> Self {
        Self {
            node: peer.name,
            address: peer.address,
            incarnation: hex(peer.origin.as_bytes()),
        }
    }
}

/// What a caller waits for, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wait {
    pub(super) confirm: Confirm,
    pub(super) at_most: Duration,
}

impl Default for Wait {
    fn default() -> Self {
        Self {
            confirm: Confirm::default(),
            at_most: COMMIT_WAIT,
        }
    }
}

impl Wait {
    /// The deadline, from now.
    pub(super) fn until(&self) -> Instant {
        let now = Instant::now();
        // A wait that no clock can count is one for a very long time.
        now.checked_add(self.at_most)
            .unwrap_or(now + Duration::from_secs(86_400))
    }

    pub(super) async fn wait(&self, node: &Node, ticket: &mut Ticket, deadline: Instant) -> Progress {
        let has_others = || {
            node.gossip()
                .is_some_and(|room| room.machine().members().next().is_some())
        };
        match self.confirm {
            Confirm::AllLive => {
                ticket
                    .wait(deadline, |progress| {
                        progress.committed && (progress.whole || !has_others())
                    })
                    .await
            }
            Confirm::Committed => {
                let progress = ticket.wait(deadline, |progress| progress.committed).await;
                if progress.committed && !progress.has_copy() && has_others() {
                    let soon = deadline.min(Instant::now() + COPY_WAIT);
                    return ticket.wait(soon, Progress::has_copy).await;
                }
                progress
            }
        }
    }
}

/// Who has confirmed a statement, and who has not, by name.
pub(super) fn named(node: &Node, ticket: &Ticket) -> (Vec<Confirmer>, Vec<Confirmer>) {
    let confirmations = node
        .gossip()
        .zip(ticket.name)
        .and_then(|(room, name)| room.machine().confirmations(&name));
    let confirmations = confirmations.unwrap_or_default();
    let named = |peers: Vec<Peer>| {
        let mut named: Vec<Confirmer> = peers.into_iter().map(Confirmer::from).collect();
        named.sort_by(|a, b| a.node.cmp(&b.node).then_with(|| a.incarnation.cmp(&b.incarnation)));
        named
    };
    (named(confirmations.confirmed), named(confirmations.missing))
}
