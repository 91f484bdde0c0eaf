//! One node of a mesh, with the ports that it stands on.

use std::sync::{Arc, Mutex, PoisonError};

use authmesh::AuthMesh;
use authmesh::memory::{Cluster, HubGossip};

use crate::faults::{Fault, Faults, Faulty};

/// One node of a [`TestMesh`](super::TestMesh).
#[derive(Debug)]
pub struct TestNode {
    /// `None` before its first start.
    mesh: Option<AuthMesh>,
    running: bool,
    redis: Arc<Faulty<Cluster>>,
    gossip: Option<Arc<Faulty<HubGossip>>>,
    /// Its cuts from what stands for Redis, by partitions.
    cuts: Mutex<Vec<Fault>>,
    /// Nobody hears of it any more.
    crash: Vec<Fault>,
}

impl TestNode {
    pub(super) fn new(redis: Arc<Faulty<Cluster>>, gossip: Option<Arc<Faulty<HubGossip>>>) -> Self {
        Self {
            mesh: None,
            running: false,
            redis,
            gossip,
            cuts: Mutex::default(),
            crash: Vec::new(),
        }
    }

    /// The node itself.
    #[must_use]
    pub fn mesh(&self) -> &AuthMesh {
        match &self.mesh {
            Some(mesh) => mesh,
            None => unreachable!("a node is handed out when it has started"),
        }
    }

    /// Whether it runs: neither stopped nor crashed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Its way to what stands for Redis: log, bus, store and members.
    #[must_use]
    pub fn redis(&self) -> &Arc<Faulty<Cluster>> {
        &self.redis
    }

    /// What becomes of its calls to what stands for Redis.
    #[must_use]
    pub fn redis_faults(&self) -> &Faults {
        self.redis.faults()
    }

    /// Its gossip; `None` where the mesh has none.
    #[must_use]
    pub fn gossip(&self) -> Option<&Arc<Faulty<HubGossip>>> {
        self.gossip.as_ref()
    }

    /// What becomes of its gossip.
    ///
    /// # Panics
    /// Where the mesh has none.
    #[must_use]
    pub fn gossip_faults(&self) -> &Faults {
        match &self.gossip {
            Some(gossip) => gossip.faults(),
            None => panic!("this mesh was built without gossip"),
        }
    }

    pub(super) fn run(&mut self, mesh: AuthMesh) {
        for fault in self.crash.drain(..) {
            fault.lift();
        }
        self.mesh = Some(mesh);
        self.running = true;
    }

    pub(super) async fn stop(&mut self) {
        if std::mem::take(&mut self.running) {
            self.mesh().shutdown().await;
        }
    }

    pub(super) async fn crash(&mut self) {
        self.crash.push(self.redis.faults().cut());
        if let Some(gossip) = &self.gossip {
            self.crash.push(gossip.faults().cut());
        }
        self.stop().await;
    }

    pub(super) fn cut_from_redis(&self) {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.push(self.redis.faults().cut());
    }

    pub(super) fn heal(&self) {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        for cut in cuts.drain(..) {
            cut.lift();
        }
    }
}
