//! Nodes with both roads, in virtual time: each has a way of its own to the in-memory cluster, and a place on the hub.

use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::{Cluster, Hub, HubGossip, Limits};
use authmesh::ports::{Clock, Gossip as _};
use authmesh::proto::gossip::GossipConfig;
use authmesh::{AuthMesh, Member};
use authmesh_testkit::TestClock;

use super::{START, TestIssuer, Wire, builder, eventually, wired};

/// A cluster, a hub, and an issuer, all by virtual time.
pub(crate) struct Place {
    pub(crate) cluster: Cluster,
    pub(crate) hub: Hub,
    pub(crate) issuer: TestIssuer,
}

impl Place {
    /// Call it within a runtime whose time is paused.
    pub(crate) fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TestClock::at(START));
        Self {
            cluster: Cluster::with(Limits::default(), Arc::clone(&clock)),
            hub: Hub::new(),
            issuer: TestIssuer::at(clock),
        }
    }

    /// A node with both roads. It is not waited for.
    pub(crate) async fn site(&self, name: &str) -> Site {
        let (wire, gossip) = (wired(&self.cluster), Arc::new(self.hub.node()));
        let mesh = builder(name, &self.issuer)
            .join(Arc::clone(&wire))
            .gossip(Arc::clone(&gossip) as _)
            .start()
            .await
            .unwrap();
        Site { mesh, wire, gossip }
    }

    /// A node without Redis; it waits for so many members before it calls itself a cluster.
    pub(crate) async fn without_redis(&self, name: &str, expect: usize) -> Site {
        let gossip = Arc::new(self.hub.node());
        let mesh = builder(name, &self.issuer)
            .gossip(Arc::clone(&gossip) as _)
            .gossip_config(GossipConfig {
                expect,
                ..GossipConfig::default()
            })
            .start()
            .await
            .unwrap();
        Site {
            mesh,
            wire: wired(&self.cluster),
            gossip,
        }
    }

    /// So many nodes, all of them coherent, by names `a`, `b`, ...
    pub(crate) async fn sites<const N: usize>(&self) -> [Site; N] {
        let mut sites = Vec::new();
        for name in ["a", "b", "c", "d", "e"].into_iter().take(N) {
            sites.push(self.site(name).await);
        }
        let sites: [Site; N] = sites.try_into().ok().unwrap();
        Self::settled(&sites).await;
        sites
    }

    /// Waits until all of them are in each other's views and coherent.
    pub(crate) async fn settled(sites: &[Site]) {
        Self::all_settled(&sites.iter().collect::<Vec<_>>()).await;
    }

    /// [`Place::settled`] for two.
    pub(crate) async fn settled_pair(a: &Site, b: &Site) {
        Self::all_settled(&[a, b]).await;
    }

    async fn all_settled(sites: &[&Site]) {
        eventually("all nodes are coherent, and members for each other", || async {
            sites.iter().all(|site| {
                let health = site.mesh.health();
                let gossip = health.gossip.unwrap();
                health.coherent && gossip.members + 1 == sites.len() && gossip.coherent_by_gossip
            })
        })
        .await;
    }

    /// Cuts gossip between two nodes, or joins them again.
    pub(crate) fn cut(&self, a: &Site, b: &Site, cut: bool) {
        let address = |site: &Site| site.gossip.address().unwrap();
        self.hub.cut(address(a), address(b), cut);
    }

    /// Cuts gossip between every node of one side and every one of the other.
    pub(crate) fn split(&self, one: &[&Site], other: &[&Site], cut: bool) {
        for a in one {
            for b in other {
                self.cut(a, b, cut);
            }
        }
    }
}

/// A node with both roads.
pub(crate) struct Site {
    pub(crate) mesh: AuthMesh,
    pub(crate) wire: Arc<Wire>,
    pub(crate) gossip: Arc<HubGossip>,
}

impl Site {
    pub(crate) fn is_coherent(&self) -> bool {
        self.mesh.health().coherent
    }

    /// How it sees a member.
    pub(crate) async fn sees(&self, name: &str) -> Option<Member> {
        let members = self.mesh.members().await.unwrap();
        members.into_iter().find(|member| member.node == name)
    }
}

/// Lets virtual time pass.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
