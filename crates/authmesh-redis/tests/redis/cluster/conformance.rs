//! The suites of the ports.

use authmesh::ports::BoxFuture;
use authmesh_tests::conformance::{self, Abilities, Factory, Peer};

use super::{Shared, adapter, config, shared};
use crate::conformance::{LOG_ENTRIES, MEMBERS};

struct Cluster(Shared);

impl Factory for Cluster {
    fn cluster(&self) -> BoxFuture<'_, [Peer; 2]> {
        Box::pin(async {
            let config = config(&self.0).log_entries(LOG_ENTRIES).members(MEMBERS);
            [Peer::of(adapter(config.clone()).await), Peer::of(adapter(config).await)]
        })
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            log_cap: Some(LOG_ENTRIES),
            member_cap: Some(MEMBERS),
            replicas: 1,
            ..Abilities::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_in_a_cluster_keeps_its_promises() {
    conformance::log::suite(&Cluster(shared().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_in_a_cluster_keeps_its_promises() {
    conformance::bus::suite(&Cluster(shared().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_a_cluster_keeps_its_promises() {
    conformance::store::suite(&Cluster(shared().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_members_in_a_cluster_keep_their_promises() {
    conformance::members::suite(&Cluster(shared().await)).await;
}
