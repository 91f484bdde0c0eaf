//! The suites of the ports.

use authmesh::ports::BoxFuture;
use authmesh_tests::conformance::{self, Abilities, Factory, Peer};

use crate::server::{Server, new_cluster};

pub(crate) const LOG_ENTRIES: usize = 256;
pub(crate) const MEMBERS: usize = 96;

/// One server; each cluster has names of its own on it.
struct Redis(Server);

impl Factory for Redis {
    fn cluster(&self) -> BoxFuture<'_, [Peer; 2]> {
        Box::pin(async {
            let config = self.0.config().cluster(new_cluster());
            let config = config.log_entries(LOG_ENTRIES).members(MEMBERS);
            [
                Peer::of(self.0.adapter(config.clone()).await),
                Peer::of(self.0.adapter(config).await),
            ]
        })
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            log_cap: Some(LOG_ENTRIES),
            member_cap: Some(MEMBERS),
            ..Abilities::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_in_redis_keeps_its_promises() {
    conformance::log::suite(&Redis(Server::start().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_in_redis_keeps_its_promises() {
    conformance::bus::suite(&Redis(Server::start().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_redis_keeps_its_promises() {
    conformance::store::suite(&Redis(Server::start().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_members_in_redis_keep_their_promises() {
    conformance::members::suite(&Redis(Server::start().await)).await;
}
