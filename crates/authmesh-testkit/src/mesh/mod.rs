//! Nodes of one process that share a cluster in memory.

mod builder;
mod node;

use std::ops::Index;
use std::sync::Arc;

use authmesh::memory::{Cluster, Hub};
use authmesh::ports::Gossip as _;
use authmesh::{AuthMesh, Verdict, VerifyError};

use crate::clock::TestClock;
use crate::issuer::TestIssuer;
use crate::wait::eventually;

pub use builder::{MeshBuilder, key_ring, quick};
pub use node::TestNode;

use builder::Settings;

/// A mesh in the memory of this process: nodes, what stands for Redis between them, and an issuer whose tokens they take.
/// Every node is a whole [`AuthMesh`], with its own memory, and what they say to each other is sealed as anywhere.
///
/// `mesh[0]` is the first node.
///
/// ```
/// use authmesh::Subject;
/// use authmesh_testkit::TestMesh;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mesh = TestMesh::of(3).await;
/// let token = mesh.issuer().token("alice");
///
/// // Every node takes it, and goes on taking it while the issuer is down.
/// mesh.verify(0, &token).await?;
/// mesh.verify(2, &token).await?;
/// mesh.issuer().fail();
/// assert_eq!(mesh.verify(2, &token).await?.subject(), Some("alice"));
///
/// // Revoked on node 0, refused on node 2.
/// mesh[0].revoke(Subject::new(mesh.issuer().url(), "alice")).why("a test").await?;
/// mesh.refused(2, &token).await;
/// # mesh.shutdown().await; Ok(()) }
/// ```
#[derive(Debug)]
pub struct TestMesh {
    settings: Settings,
    cluster: Cluster,
    hub: Hub,
    nodes: Vec<TestNode>,
}

impl Index<usize> for TestMesh {
    type Output = AuthMesh;

    /// # Panics
    /// If there is no such node.
    fn index(&self, node: usize) -> &AuthMesh {
        self.nodes[node].mesh()
    }
}

impl TestMesh {
    /// So many nodes with every default, running and coherent.
    ///
    /// # Panics
    /// If a node does not start.
    pub async fn of(nodes: usize) -> Self {
        Self::builder().nodes(nodes).start().await
    }

    /// A mesh with settings.
    pub fn builder() -> MeshBuilder {
        MeshBuilder::new()
    }

    /// The issuer whose tokens every node takes.
    #[must_use]
    pub fn issuer(&self) -> &TestIssuer {
        &self.settings.issuer
    }

    /// The clock that every node, the issuer and the cluster go by.
    #[must_use]
    pub fn clock(&self) -> &TestClock {
        &self.settings.clock
    }

    /// What stands for Redis: it can be taken down, emptied, and can lose what it had ([`Cluster`]). Unused where the mesh was
    /// built without it.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// A node with what belongs to it.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn node(&self, node: usize) -> &TestNode {
        &self.nodes[node]
    }

    /// Every node, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &TestNode> {
        self.nodes.iter()
    }

    /// Verifies a token on a node, by the node's own policy.
    ///
    /// # Errors
    /// What the node says.
    ///
    /// # Panics
    /// If there is no such node.
    pub async fn verify(&self, node: usize, token: &str) -> Result<Arc<Verdict>, VerifyError> {
        self[node].verifier().verify(token).await
    }

    /// Waits until a node refuses a token as revoked.
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn refused(&self, node: usize, token: &str) {
        eventually("the node refuses the token as revoked", || async {
            matches!(self.verify(node, token).await, Err(VerifyError::Revoked(_)))
        })
        .await;
    }

    /// Waits until a node takes a token.
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn taken(&self, node: usize, token: &str) {
        eventually("the node takes the token", || async {
            self.verify(node, token).await.is_ok()
        })
        .await;
    }

    /// Waits until every node that runs is coherent, and every one that can hear others knows them.
    ///
    /// # Panics
    /// If they are not in time: after a partition, say, that was not healed.
    pub async fn settled(&self) {
        let running: Vec<_> = self.nodes.iter().filter(|node| node.is_running()).collect();
        eventually("every node is coherent, and knows the others", || async {
            running.iter().all(|node| {
                let health = node.mesh().health();
                let knows_all = health
                    .gossip
                    .is_none_or(|gossip| gossip.members + 1 == running.len() && gossip.coherent_by_gossip);
                health.coherent && knows_all
            })
        })
        .await;
    }

    /// Cuts two sides off from each other: the network between them is gone. What stands for Redis stays with the **second**
    /// side; nodes of the first are cut off from it, too. Until [`TestMesh::heal`].
    ///
    /// # Panics
    /// If there is no such node.
    pub fn partition(&self, without_redis: &[usize], with_redis: &[usize]) {
        for a in without_redis {
            for b in with_redis {
                self.cut_gossip(*a, *b, true);
            }
            self.nodes[*a].cut_from_redis();
        }
    }

    /// Cuts nodes off from what stands for Redis, and from nothing else. Until [`TestMesh::heal`].
    ///
    /// # Panics
    /// If there is no such node.
    pub fn cut_from_redis(&self, nodes: &[usize]) {
        for node in nodes {
            self.nodes[*node].cut_from_redis();
        }
    }

    /// Ends every partition and cut. Other faults stay. It takes a moment until everybody knows everybody again:
    /// [`TestMesh::settled`].
    pub fn heal(&self) {
        for a in 0..self.nodes.len() {
            for b in 0..a {
                self.cut_gossip(a, b, false);
            }
            self.nodes[a].heal();
        }
    }

    fn cut_gossip(&self, a: usize, b: usize, cut: bool) {
        let address = |node: usize| self.nodes[node].gossip().and_then(|gossip| gossip.address());
        if let (Some(a), Some(b)) = (address(a), address(b)) {
            self.hub.cut(a, b, cut);
        }
    }

    /// Stops a node in good order, as a deployment does: it says good-bye. Its memory stays as it was, for whoever asks it still.
    ///
    /// # Panics
    /// If there is no such node.
    pub async fn stop(&mut self, node: usize) {
        self.nodes[node].stop().await;
    }

    /// Ends a node as a crash does: nobody hears anything of it.
    ///
    /// # Panics
    /// If there is no such node.
    pub async fn crash(&mut self, node: usize) {
        self.nodes[node].crash().await;
    }

    /// Starts a node anew, stopped before if it runs: an empty memory, the same name, a new incarnation. It may be blind, as
    /// any node is at first: [`TestMesh::settled`].
    ///
    /// # Panics
    /// If there is no such node, or it does not start.
    pub async fn restart(&mut self, node: usize) {
        if self.nodes[node].is_running() {
            self.nodes[node].stop().await;
        }
        let builder = self.settings.node(node, &self.nodes[node]);
        self.nodes[node].run(start(builder, node).await);
    }

    /// Stops every node.
    pub async fn shutdown(mut self) {
        for node in &mut self.nodes {
            node.stop().await;
        }
    }
}

async fn start(builder: authmesh::Builder, node: usize) -> AuthMesh {
    match builder.start().await {
        Ok(mesh) => mesh,
        Err(error) => panic!("node {node} does not start: {error}"),
    }
}

/// The clock as a port.
fn shared(clock: &Arc<TestClock>) -> Arc<dyn authmesh::ports::Clock> {
    Arc::clone(clock) as _
}
