//! Invariant 3, for those who change the source: after a write no cache holds what was there before, wherever the writer
//! died, provided that its hold outlived what the source was asked to do.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use authmesh::clock::ManualClock;
use authmesh::memory::Cluster;
use authmesh::ports::Effect;
use authmesh::{AuthMesh, Cache, Namespace, WriteError, WriteRules};
use authmesh_testkit::{Action, Call, Fault, Faults};
use tokio::sync::{Notify, oneshot};

use crate::support::{
    TestIssuer, Wire, cluster_with, entry, eventually, manual_clock, node, node_through, soon, wired,
};

const KEY: &str = "user:1";

/// The data base: what a key holds now.
#[derive(Clone)]
struct Source(Arc<Mutex<&'static str>>);

impl Source {
    fn new() -> Self {
        Self(Arc::new(Mutex::new("old")))
    }

    fn set(&self, value: &'static str) {
        *self.0.lock().unwrap() = value;
    }

    fn now(&self) -> &'static str {
        *self.0.lock().unwrap()
    }

    async fn read(&self, mesh: &AuthMesh) -> String {
        let source = self.clone();
        let load = move || async move { Ok::<_, ()>(source.now().to_owned()) };
        cache(mesh).get_or_load(KEY, load).await.unwrap().to_string()
    }
}

fn cache(mesh: &AuthMesh) -> Cache<String> {
    mesh.cache(Namespace::new("users")).unwrap()
}

/// Where the writer dies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Dies {
    /// After so many calls: hold, drop, hold again to see that it stood, (write), drop, end of the hold.
    AfterCalls(u64),
    /// In the write, before it asked the source.
    BeforeAsking,
    /// The source was asked, and does it when the writer is dead already.
    BeforeItIsDone,
    /// The source has done it.
    BeforeTheLastDrop,
}

/// The end of a writer's process, as the cluster sees it: so many of its holds, drops and ends of holds are carried out, the answer of
/// the last one is lost, and nothing after it is carried out.
struct Death {
    dead: Arc<AtomicBool>,
    last: OnceLock<Fault>,
}

impl Death {
    fn of(faults: &Faults) -> Arc<Self> {
        let dead = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&dead);
        let writes = |call: &Call| matches!(call, Call::Hold { .. } | Call::Unhold { .. } | Call::Commit(_));
        faults
            .when(move |call| writes(call) && is_over.load(Ordering::SeqCst))
            .hang();
        let last = OnceLock::new();
        Arc::new(Self { dead, last })
    }

    /// After so many calls from now.
    fn after(&self, faults: &Faults, calls: u64) {
        let dead = Arc::clone(&self.dead);
        let steps = faults.when(|call| match call {
            Call::Hold { .. } | Call::Unhold { .. } => true,
            Call::Commit(commit) => matches!(commit.effect, Effect::Drop(_)),
            _ => false,
        });
        let last = steps.after(calls - 1).once().decide(move |_| {
            dead.store(true, Ordering::SeqCst);
            Action::HangAnswer
        });
        assert!(self.last.set(last).is_ok(), "one dies once");
    }

    fn now(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    fn has_come(&self) -> bool {
        match self.last.get() {
            // Not before the last call is carried out.
            Some(last) => last.held() > 0,
            None => self.dead.load(Ordering::SeqCst),
        }
    }

    async fn comes(&self) {
        eventually("the writer dies", || async { self.has_come() }).await;
    }
}

struct Scene {
    clock: Arc<ManualClock>,
    cluster: Cluster,
    issuer: TestIssuer,
    wire: Arc<Wire>,
    death: Arc<Death>,
    writer: AuthMesh,
    reader: AuthMesh,
    source: Source,
}

impl Scene {
    async fn new() -> Self {
        let (clock, issuer) = (manual_clock(), TestIssuer::new());
        let cluster = cluster_with(&clock);
        let wire = wired(&cluster);
        let writer = node_through("writer", &wire, &issuer).await;
        let reader = node("reader", &cluster, &issuer).await;
        let scene = Self {
            death: Death::of(wire.faults()),
            clock,
            cluster,
            issuer,
            wire,
            writer,
            reader,
            source: Source::new(),
        };
        assert_eq!(scene.source.read(&scene.reader).await, "old");
        scene
    }

    /// Every node reads what the source holds, those that are there and one that comes.
    async fn nothing_old_is_left(&self, why: &str) {
        let now = self.source.now();
        eventually(&format!("{why}: the reader has it"), || async {
            self.source.read(&self.reader).await == now
        })
        .await;
        let late = node("late", &self.cluster, &self.issuer).await;
        assert_eq!(self.source.read(&late).await, now, "{why}: from L2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_dies_anywhere_leaves_nothing_old() {
    let calls = (1..=5).map(Dies::AfterCalls);
    let inside = [Dies::BeforeAsking, Dies::BeforeItIsDone, Dies::BeforeTheLastDrop];
    for dies in calls.chain(inside) {
        let scene = Scene::new().await;
        if let Dies::AfterCalls(calls) = dies {
            scene.death.after(scene.wire.faults(), calls);
        }
        let (death, source) = (Arc::clone(&scene.death), scene.source.clone());
        let write = move || async move {
            // A dead process does nothing more.
            if death.has_come() {
                pending::<()>().await;
            }
            if matches!(dies, Dies::BeforeAsking | Dies::BeforeItIsDone) {
                death.now();
                pending::<()>().await;
            }
            source.set("new");
            if dies == Dies::BeforeTheLastDrop {
                death.now();
                pending::<()>().await;
            }
        };
        let users = cache(&scene.writer);
        let writing = tokio::spawn(async move { users.write([KEY], write).await });
        scene.death.comes().await;

        // Whoever reads now may get either, and must not keep what is old.
        let read = scene.source.read(&scene.reader).await;
        assert!(read == "old" || read == "new");
        if dies == Dies::BeforeItIsDone {
            assert_eq!(read, "old");
            scene.source.set("new");
        }
        scene.clock.advance(Duration::from_secs(11));
        scene.nothing_old_is_left(&format!("{dies:?}")).await;
        writing.abort();
    }
}

#[tokio::test]
async fn a_write_voids_its_keys_everywhere_and_lets_them_go() {
    let scene = Scene::new().await;
    let (users, source) = (cache(&scene.writer), scene.source.clone());
    let reader = scene.reader.clone();
    let of_reader = source.clone();
    let write = move || async move {
        assert_eq!(of_reader.read(&reader).await, "old", "who reads meanwhile is answered");
        source.set("new");
        7
    };
    let written = users.write([KEY], write).await.unwrap();
    assert_eq!((written.answer, written.held, written.committed), (7, true, true));
    scene.nothing_old_is_left("after the write").await;
    // The clock stands: the hold has not run out, it was ended. So what is loaded is kept again.
    scene.source.set("changed behind the cache");
    assert_eq!(scene.source.read(&scene.reader).await, "new", "it is kept in L1");
    let late = node("later", &scene.cluster, &scene.issuer).await;
    assert_eq!(scene.source.read(&late).await, "new", "it is kept in L2");
}

#[tokio::test]
async fn a_write_that_fails_panics_or_is_left_alone_voids_its_keys() {
    let scene = Scene::new().await;
    let users = cache(&scene.writer);
    let source = scene.source.clone();
    let failing = users.write([KEY], || async move {
        source.set("first");
        Err::<(), _>("the connection broke: who knows")
    });
    assert!(failing.await.unwrap().answer.is_err());
    scene.nothing_old_is_left("after an error").await;

    let source = scene.source.clone();
    let panicking = users.write([KEY], || async move {
        source.set("second");
        assert!(source.now().is_empty(), "this test wants a panic");
    });
    assert_eq!(panicking.await.unwrap_err(), WriteError::NoAnswer);
    scene.nothing_old_is_left("after a panic").await;

    let (started, go) = (oneshot::channel(), Arc::new(Notify::new()));
    let (source, gone) = (scene.source.clone(), Arc::clone(&go));
    let of_caller = users.clone();
    let caller = tokio::spawn(async move {
        let write = || async move {
            started.0.send(()).unwrap();
            gone.notified().await;
            source.set("third");
        };
        of_caller.write([KEY], write).await
    });
    soon("it writes", started.1).await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    assert_eq!(scene.source.read(&scene.reader).await, "second");
    go.notify_one();
    eventually("it went on", || async { scene.source.now() == "third" }).await;
    scene.nothing_old_is_left("after the caller went").await;
}

#[tokio::test]
async fn an_outage_stops_no_write_and_its_drops_are_made_good() {
    let scene = Scene::new().await;
    scene.wire.faults().cut();
    let source = scene.source.clone();
    let written = cache(&scene.writer)
        .write([KEY], || async move { source.set("new") })
        .await
        .unwrap();
    assert_eq!((written.held, written.committed), (false, false));
    assert_eq!(scene.source.read(&scene.writer).await, "new", "it is in force here");
    scene.wire.faults().clear();
    scene.nothing_old_is_left("once the way is free").await;
}

#[tokio::test]
async fn a_hold_that_is_lost_while_the_write_runs_is_taken_again() {
    let scene = Scene::new().await;
    let (cluster, death) = (scene.cluster.clone(), Arc::clone(&scene.death));
    let (source, reader) = (scene.source.clone(), scene.reader.clone());
    let rules = WriteRules::default().hold(Duration::from_secs(1));
    let write = move || async move {
        // As an eviction does, which no log tells of; then somebody fills.
        eventually("the old one is kept in the gap", || async {
            cluster.tamper(entry("users", KEY), Vec::new());
            source.read(&reader).await;
            cache(&reader).get(KEY).await.is_some()
        })
        .await;
        // The next renewal finds out.
        eventually("it was voided again", || async {
            cache(&reader).get(KEY).await.is_none()
        })
        .await;
        death.now();
        source.set("new");
        pending::<()>().await;
    };
    let users = cache(&scene.writer);
    let writing = tokio::spawn(async move { users.write_with(rules, [KEY], write).await });
    scene.death.comes().await;
    scene.clock.advance(Duration::from_secs(2));
    scene.nothing_old_is_left("after the loss").await;
    writing.abort();
}

#[tokio::test]
async fn while_a_hold_lingers_a_replica_that_lags_fills_nothing() {
    let scene = Scene::new().await;
    let rules = WriteRules::default().linger(Duration::from_secs(5));
    // The write is done; the replica that the loaders read does not have it yet.
    let written = cache(&scene.writer)
        .write_with(rules, [KEY], || async {})
        .await
        .unwrap();
    assert!(written.held && written.committed);
    assert_eq!(scene.source.read(&scene.reader).await, "old");
    scene.source.set("new");
    assert_eq!(
        scene.source.read(&scene.reader).await,
        "new",
        "the old one was not kept"
    );
    scene.clock.advance(Duration::from_secs(6));
    scene.nothing_old_is_left("after the lag").await;
}

#[tokio::test]
async fn a_write_names_some_keys_and_not_too_many_and_none_begins_after_the_end() {
    let scene = Scene::new().await;
    let users = cache(&scene.writer);
    let none: [&str; 0] = [];
    assert_eq!(
        users.write(none, || async {}).await.unwrap_err(),
        WriteError::Keys { most: 64 }
    );
    let keys = |count: usize| (0..count).map(|n| n.to_string());
    assert_eq!(
        users.write(keys(65), || async {}).await.unwrap_err(),
        WriteError::Keys { most: 64 }
    );
    assert!(users.write(keys(64), || async {}).await.unwrap().held);
    scene.writer.shutdown().await;
    let ran = Arc::new(Mutex::new(false));
    let runs = Arc::clone(&ran);
    let late = users.write([KEY], || async move { *runs.lock().unwrap() = true });
    assert_eq!(late.await.unwrap_err(), WriteError::ShutDown);
    assert!(!*ran.lock().unwrap());
}

#[tokio::test]
async fn a_node_that_shuts_down_waits_for_the_last_drop_of_a_write() {
    let scene = Scene::new().await;
    let (started, begun) = oneshot::channel();
    let (source, users) = (scene.source.clone(), cache(&scene.writer));
    let writer = scene.writer.clone();
    let write = move || async move {
        started.send(()).unwrap();
        // Told to end before it has written.
        eventually("the end was told", || async {
            matches!(
                cache(&writer).remove("another").await,
                Err(authmesh::RevokeError::ShutDown)
            )
        })
        .await;
        source.set("new");
    };
    let writing = tokio::spawn(async move { users.write([KEY], write).await });
    soon("it writes", begun).await.unwrap();
    scene.writer.shutdown().await;
    let written = writing.await.unwrap().unwrap();
    assert!(written.held && written.committed);
    scene.nothing_old_is_left("after the shutdown").await;
}
