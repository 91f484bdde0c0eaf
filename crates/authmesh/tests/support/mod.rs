//! What the invariant tests are made of: an issuer that signs anything, nodes of one in-memory cluster, ports with faults.

mod holder;
mod hooked;
mod issuer;
mod sites;
mod sources;
mod wire;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use authmesh::clock::ManualClock;
use authmesh::memory::{Cluster, Limits};
use authmesh::ports::BoxFuture;
use authmesh::proto::crypto::{Namer, ScopeKind};
use authmesh::proto::follower::FollowerConfig;
use authmesh::proto::ident::{EntryName, ScopeId};
use authmesh::proto::time::{Moment, Now, Unix};
use authmesh::{AuthMesh, Builder, KeyPolicy, KeyRing, Load};
use tokio::sync::oneshot;

pub(crate) use holder::{Holder, Request};
pub(crate) use hooked::HookedClock;
pub(crate) use issuer::{TestIssuer, twin};
pub(crate) use sites::{Place, Site, pass};
pub(crate) use sources::{BlockedKeys, DatedKeys};
pub(crate) use wire::{Bells, Wire};

/// Where manual clocks start.
pub(crate) const START: Unix = 1_800_000_000;
/// Far more than anything here needs, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

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

/// The ring that every node shares, unless a test says otherwise.
pub(crate) fn ring() -> KeyRing {
    KeyRing::new([1; 32], [[2; 32]]).unwrap()
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

/// Short periods, so that what is found out "within a period" is found out soon; the lease is the real one.
pub(crate) fn quick() -> FollowerConfig {
    FollowerConfig {
        watermark_period: Duration::from_millis(50),
        repair_period: Duration::from_millis(5),
        retry_period: Duration::from_millis(20),
        mint_period: Duration::from_millis(200),
        audit_period: Duration::from_millis(20),
        ..FollowerConfig::default()
    }
}

/// A node of one issuer that is not in a cluster yet.
pub(crate) fn builder(name: &str, issuer: &TestIssuer) -> Builder {
    AuthMesh::builder()
        .name(name)
        .key_ring(ring())
        .clock(issuer.clock())
        .follower(quick())
        .issuer_with(issuer.url(), issuer.source(), eager_keys(), issuer.rules())
}

/// Keys may be asked for at any time: where a clock stands still, the least time between two fetches would never pass.
pub(crate) fn eager_keys() -> KeyPolicy {
    KeyPolicy {
        min_interval: Duration::ZERO,
        ..KeyPolicy::default()
    }
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

/// Looks again and again until `holds`; fails the test at the deadline.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, looking).await.is_err() {
        panic!("not within {DEADLINE:?}: {what}");
    }
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {DEADLINE:?}: {what}"),
    }
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
