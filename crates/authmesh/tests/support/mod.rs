//! What the invariant tests are made of, beside the test kit: nodes of one in-memory cluster whose ports have faults, step by step.

mod holder;
mod hooked;
mod sites;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use authmesh::clock::ManualClock;
use authmesh::jose::Algorithm;
use authmesh::memory::{Cluster, Limits};
use authmesh::ports::BoxFuture;
use authmesh::proto::crypto::{Namer, ScopeKind};
use authmesh::proto::ident::{EntryName, ScopeId};
use authmesh::proto::time::{Moment, Now, Unix};
use authmesh::{AuthMesh, Builder, KeyPolicy, Load};
use authmesh_testkit::Faulty;
use tokio::sync::oneshot;

pub(crate) use authmesh_testkit::forge::es256_twin as twin;
pub(crate) use authmesh_testkit::{TestIssuer, eventually, key_ring as ring, quick, soon};
pub(crate) use holder::{Holder, Request};
pub(crate) use hooked::HookedClock;
pub(crate) use sites::{Place, Site, pass};

/// Where manual clocks start.
pub(crate) const START: Unix = 1_800_000_000;

/// One node's way to the cluster, with faults of its own.
pub(crate) type Wire = Faulty<Cluster>;

/// A way to the cluster, with no faults yet.
pub(crate) fn wired(cluster: &Cluster) -> Arc<Wire> {
    Faulty::new(Arc::new(cluster.clone()))
}

/// An issuer with one P-256 key.
pub(crate) fn es256() -> TestIssuer {
    TestIssuer::builder().algorithm(Algorithm::ES256).build()
}

/// A clock that stands at [`START`].
pub(crate) fn manual_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Now {
        boot: Moment::ORIGIN.plus(Duration::from_secs(5000)),
        wall: START,
    }))
}

/// A cluster that keeps its values by the given clock.
pub(crate) fn cluster_with(clock: &Arc<ManualClock>) -> Cluster {
    Cluster::with(Limits::default(), Arc::clone(clock) as _)
}

/// The names that the nodes of [`ring`] give.
pub(crate) fn namer() -> Namer {
    Namer::new(&ring(), "authmesh")
}

/// The name of a cache entry.
pub(crate) fn entry(namespace: &str, key: &str) -> EntryName {
    namer().entry(namespace, key.as_bytes())
}

/// The name of a subject of an issuer.
pub(crate) fn subject(issuer: &TestIssuer, subject: &str) -> ScopeId {
    namer().scope(ScopeKind::Subject, issuer.url(), subject.as_bytes())
}

/// A node of one issuer that is not in a cluster yet.
pub(crate) fn builder(name: &str, issuer: &TestIssuer) -> Builder {
    let builder = AuthMesh::builder()
        .name(name)
        .key_ring(ring())
        .clock(issuer.clock())
        .follower(quick());
    issuer.add_to(builder)
}

/// Keys may be asked for at any time: where a clock stands still, the least time between two fetches would never pass.
pub(crate) fn eager_keys() -> KeyPolicy {
    TestIssuer::eager_keys()
}

/// A node of a cluster.
pub(crate) async fn node(name: &str, cluster: &Cluster, issuer: &TestIssuer) -> AuthMesh {
    builder(name, issuer)
        .join(Arc::new(cluster.clone()))
        .start()
        .await
        .unwrap()
}

/// A node that reaches the cluster through ports with faults.
pub(crate) async fn node_through(name: &str, wire: &Arc<Wire>, issuer: &TestIssuer) -> AuthMesh {
    builder(name, issuer).join(Arc::clone(wire)).start().await.unwrap()
}

/// Polls a future a single time and drops it.
pub(crate) async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// A loader that has started and waits for its release.
pub(crate) struct HeldLoad {
    started: oneshot::Receiver<()>,
    release: oneshot::Sender<()>,
}

impl HeldLoad {
    pub(crate) async fn started(&mut self) {
        soon("the loader starts", &mut self.started).await.unwrap();
    }

    pub(crate) fn release(self) {
        self.release.send(()).unwrap();
    }
}

type Loading = BoxFuture<'static, Result<Load<String>, ()>>;

/// A loader that brings `value` once it is released.
pub(crate) fn held_load(value: Load<String>) -> (impl FnOnce() -> Loading + Send + 'static, HeldLoad) {
    let (start, started) = oneshot::channel();
    let (release, released) = oneshot::channel();
    let load = move || {
        Box::pin(async move {
            start.send(()).unwrap();
            released.await.unwrap();
            Ok(value)
        }) as _
    };
    (load, HeldLoad { started, release })
}
