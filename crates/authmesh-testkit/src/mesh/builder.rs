//! Settings of a mesh.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::{Cluster, Hub, Limits};
use authmesh::proto::follower::FollowerConfig;
use authmesh::proto::gossip::GossipConfig;
use authmesh::{AuthMesh, Builder, KeyRing};

use super::{TestMesh, TestNode, shared, start};
use crate::clock::TestClock;
use crate::faults::Faulty;
use crate::issuer::TestIssuer;

/// The key ring that the nodes of a test share. Known to everybody: good for tests only.
#[must_use]
pub fn key_ring() -> KeyRing {
    match KeyRing::new([1; 32], [[2; 32]]) {
        Ok(ring) => ring,
        Err(error) => panic!("the keys differ: {error}"),
    }
}

/// Short periods, so that what is found out "within a period" is found out soon; the lease is the real one.
#[must_use]
pub fn quick() -> FollowerConfig {
    FollowerConfig {
        watermark_period: Duration::from_millis(50),
        repair_period: Duration::from_millis(5),
        retry_period: Duration::from_millis(20),
        mint_period: Duration::from_millis(200),
        audit_period: Duration::from_millis(20),
        ..FollowerConfig::default()
    }
}

type Customize = Arc<dyn Fn(usize, Builder) -> Builder + Send + Sync>;

/// Settings of a [`TestMesh`].
#[must_use = "nothing runs before `start`"]
#[derive(Debug)]
pub struct MeshBuilder {
    nodes: usize,
    redis: bool,
    gossip: bool,
    issuer: Option<TestIssuer>,
    clock: Option<Arc<TestClock>>,
    customize: Option<Custom>,
}

/// What every node is made of.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) issuer: TestIssuer,
    pub(super) clock: Arc<TestClock>,
    nodes: usize,
    redis: bool,
    customize: Option<Custom>,
}

struct Custom(Customize);

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom(..)")
    }
}

impl MeshBuilder {
    pub(super) fn new() -> Self {
        Self {
            nodes: 3,
            redis: true,
            gossip: true,
            issuer: None,
            clock: None,
            customize: None,
        }
    }

    /// How many nodes. Default: 3.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Whether there is something that stands for Redis. Default: yes. Without it and without gossip, every node is alone.
    pub fn redis(mut self, redis: bool) -> Self {
        self.redis = redis;
        self
    }

    /// Whether the nodes hear each other directly. Default: yes.
    pub fn gossip(mut self, gossip: bool) -> Self {
        self.gossip = gossip;
        self
    }

    /// Whose tokens every node takes. Default: a [`TestIssuer`] by the mesh's clock. One with a clock of its own keeps it.
    pub fn issuer(mut self, issuer: TestIssuer) -> Self {
        self.issuer = Some(issuer);
        self
    }

    /// The clock of every node. Default: one that shows the machine's time at the start.
    pub fn clock(mut self, clock: Arc<TestClock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Has a say in every node before it starts, and before it starts again: another policy, a second issuer, real periods.
    /// Given are the number of the node, and the builder as it would be used.
    pub fn customize(mut self, customize: impl Fn(usize, Builder) -> Builder + Send + Sync + 'static) -> Self {
        self.customize = Some(Custom(Arc::new(customize)));
        self
    }

    /// Starts the nodes, and waits until all of them are coherent and know each other.
    ///
    /// # Panics
    /// If they do not.
    pub async fn start(self) -> TestMesh {
        let clock = self.clock.unwrap_or_default();
        let issuer = self.issuer.unwrap_or_else(|| TestIssuer::at(shared(&clock)));
        let cluster = Cluster::with(Limits::default(), shared(&clock));
        let hub = Hub::new();
        let settings = Settings {
            issuer,
            clock,
            nodes: self.nodes,
            redis: self.redis,
            customize: self.customize,
        };
        let mut nodes = Vec::new();
        for index in 0..self.nodes {
            let gossip = self.gossip.then(|| Faulty::new(Arc::new(hub.node())));
            let mut node = TestNode::new(Faulty::new(Arc::new(cluster.clone())), gossip);
            let mesh = start(settings.node(index, &node), index).await;
            node.run(mesh);
            nodes.push(node);
        }
        let mesh = TestMesh {
            settings,
            cluster,
            hub,
            nodes,
        };
        mesh.settled().await;
        mesh
    }
}

impl Settings {
    /// The builder of a node.
    pub(super) fn node(&self, index: usize, node: &TestNode) -> Builder {
        let mut builder = AuthMesh::builder()
            .name(format!("node-{index}"))
            .key_ring(key_ring())
            .clock(shared(&self.clock))
            .follower(quick());
        builder = self.issuer.add_to(builder);
        if self.redis {
            builder = builder.join(Arc::clone(node.redis()));
        }
        if let Some(gossip) = node.gossip() {
            builder = builder.gossip(Arc::clone(gossip) as _).gossip_config(GossipConfig {
                // Without Redis nobody else says how many there are.
                expect: if self.redis { 1 } else { self.nodes },
                ..GossipConfig::default()
            });
        }
        match &self.customize {
            Some(Custom(customize)) => customize(index, builder),
            None => builder,
        }
    }
}
