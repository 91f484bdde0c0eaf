//! Invariant 3: a fill that overlapped a statement for its key or its tags enters neither L1 nor L2, and answers only
//! callers who came before the statement.

use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use authmesh::memory::Cluster;
use authmesh::{AuthMesh, Cache, Load, Namespace};
use authmesh_testkit::Op;

use crate::support::{HeldLoad, TestIssuer, eventually, held_load, node, node_through, soon, wired};

const KEY: &str = "user:1";
const TAG: &str = "team:7";

#[derive(Clone, Copy, PartialEq)]
enum Statement {
    Remove,
    Tag,
    Clear,
}

impl Statement {
    async fn say(self, cache: &Cache<String>) {
        let committed = match self {
            Self::Remove => cache.remove(KEY).await,
            Self::Tag => cache.invalidate_tag(TAG).await,
            Self::Clear => cache.clear().await,
        };
        assert!(committed.unwrap());
    }
}

fn cache(mesh: &AuthMesh) -> Cache<String> {
    mesh.cache(Namespace::new("users")).unwrap()
}

fn value(text: &str) -> Load<String> {
    // Nobody but the loader knows the tag.
    Load::new(text.to_owned()).tag(TAG)
}

async fn read(cache: &Cache<String>) -> String {
    cache
        .get_or_load(KEY, || async { Ok::<_, ()>(value("new")) })
        .await
        .unwrap()
        .to_string()
}

type Reading = tokio::task::JoinHandle<String>;

async fn held_read(cache: &Cache<String>) -> (Reading, HeldLoad) {
    let (load, mut held) = held_load(value("old"));
    let cache = cache.clone();
    let reading = tokio::spawn(async move { cache.get_or_load(KEY, load).await.unwrap().to_string() });
    held.started().await;
    (reading, held)
}

/// `a` reads the old value; before it has it, the statement is made on `a` itself or on `b`.
async fn overlapped(statement: Statement, elsewhere: bool) {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let (on_a, on_b) = (cache(&a), cache(&b));
    let (early, held) = held_read(&on_a).await;

    let applied = a.stats().counts.statements_applied;
    statement.say(if elsewhere { &on_b } else { &on_a }).await;
    eventually("a has applied it", || async {
        a.stats().counts.statements_applied > applied
    })
    .await;

    // Comes after the statement, while the load from before it is still under way.
    let mut late = std::pin::pin!(read(&on_a));
    assert!(
        crate::support::poll_once(late.as_mut()).await.is_none(),
        "nothing is at hand"
    );
    held.release();
    assert_eq!(
        soon("the early caller", early).await.unwrap(),
        "old",
        "who came before may have it"
    );
    assert_eq!(soon("the late caller", late).await, "new");

    assert_eq!(soon("the next caller", read(&on_a)).await, "new");
    let c = node("c", &cluster, &issuer).await;
    for mesh in [&a, &b, &c] {
        assert_ne!(cache(mesh).get(KEY).await.as_deref().map(String::as_str), Some("old"));
        assert_eq!(soon("every node", read(&cache(mesh))).await, "new");
    }
}

#[tokio::test]
async fn by_a_remove_here() {
    overlapped(Statement::Remove, false).await;
}

#[tokio::test]
async fn by_a_remove_elsewhere() {
    overlapped(Statement::Remove, true).await;
}

#[tokio::test]
async fn by_a_tag_here() {
    overlapped(Statement::Tag, false).await;
}

#[tokio::test]
async fn by_a_tag_elsewhere() {
    overlapped(Statement::Tag, true).await;
}

#[tokio::test]
async fn by_a_clear_here() {
    overlapped(Statement::Clear, false).await;
}

#[tokio::test]
async fn by_a_clear_elsewhere() {
    overlapped(Statement::Clear, true).await;
}

/// Nobody waits here and nobody reads in between: what the fill left behind must not answer either.
#[tokio::test]
async fn a_fill_that_ends_late_leaves_nothing_behind() {
    for statement in [Statement::Remove, Statement::Tag, Statement::Clear] {
        let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
        let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
        let (early, held) = held_read(&cache(&a)).await;
        statement.say(&cache(&b)).await;
        eventually("a has applied it", || async { a.stats().counts.statements_applied > 0 }).await;
        held.release();
        assert_eq!(soon("the early caller", early).await.unwrap(), "old");

        // Shutdown waits for the writer that the fill left to L2.
        a.shutdown().await;
        assert_eq!(cache(&a).get(KEY).await, None);
        assert_eq!(cache(&b).get(KEY).await, None);
        assert_eq!(cache(&node("c", &cluster, &issuer).await).get(KEY).await, None);
    }
}

/// Trap 18: joined at an equal fence only. The early flight still hangs when the late caller has its answer.
#[tokio::test]
async fn a_caller_after_a_drop_does_not_wait_for_the_flight_from_before_it() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &cluster, &issuer).await;
    let on_a = cache(&a);
    let (early, held) = held_read(&on_a).await;
    Statement::Remove.say(&on_a).await;
    assert_eq!(soon("the late caller", read(&on_a)).await, "new");
    held.release();
    assert_eq!(soon("the early caller", early).await.unwrap(), "old");
    assert_eq!(
        read(&on_a).await,
        "new",
        "the early flight landed last and replaced nothing"
    );
}

/// Trap 4, for the road that is there: a drop that is in force here and not yet in the log.
#[tokio::test]
async fn l2_does_not_answer_for_a_key_whose_drop_is_on_its_way() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = node_through("a", &wire, &issuer).await;
    let b = node("b", &cluster, &issuer).await;
    for statement in [Statement::Remove, Statement::Tag, Statement::Clear] {
        fill_l2(&b).await;
        let commits = wire.faults().on(Op::Commit).hang();
        let (cache_a, saying) = (cache(&a), cache(&a));
        assert_eq!(
            cache_a.get(KEY).await.as_deref().map(String::as_str),
            Some("old"),
            "L2 has it"
        );
        let said = tokio::spawn(async move { statement.say(&saying).await });
        commits.holds(1).await;
        if statement != Statement::Remove {
            // An older statement of the same kind, from elsewhere, lands meanwhile; and the value of L2 is newer than that.
            let applied = a.stats().counts.statements_applied;
            statement.say(&cache(&b)).await;
            eventually("a has applied it", || async {
                a.stats().counts.statements_applied > applied
            })
            .await;
            cache(&b).remove(KEY).await.unwrap();
            fill_l2(&b).await;
            eventually("a has applied both", || async {
                a.stats().counts.statements_applied > applied + 1
            })
            .await;
        }
        assert_eq!(cache_a.get(KEY).await, None, "in force here from the start");
        assert_eq!(read(&cache_a).await, "new");
        commits.lift();
        soon("it is committed", said).await.unwrap();
        assert_ne!(cache_a.get(KEY).await.as_deref().map(String::as_str), Some("old"));
        cache(&b).remove(KEY).await.unwrap();
    }
}

/// Puts the old value into L2.
async fn fill_l2(mesh: &AuthMesh) {
    let loaded = cache(mesh)
        .get_or_load(KEY, || async { Ok::<_, ()>(value("old")) })
        .await
        .unwrap();
    assert_eq!(*loaded, "old");
    // Asks L2 alone.
    eventually("it stands in L2", || async {
        !cache(mesh).insert_if_absent(KEY, value("old")).await.unwrap()
    })
    .await;
}

/// A late store of a fill whose lease was destroyed changes nothing, even when a new lease is held by then.
#[tokio::test]
async fn the_lease_of_a_fill_is_destroyed_by_a_drop() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let (early, first) = held_read(&cache(&a)).await;
    cache(&b).remove(KEY).await.unwrap();

    let (load, mut second) = held_load(value("newer"));
    let on_b = cache(&b);
    let late = tokio::spawn(async move { on_b.get_or_load(KEY, load).await.unwrap().to_string() });
    // It holds the lease now: it did not wait for the first one.
    second.started().await;
    first.release();
    assert_eq!(soon("the early caller", early).await.unwrap(), "old");
    second.release();
    assert_eq!(soon("the late caller", late).await.unwrap(), "newer");

    let c = Arc::new(node("c", &cluster, &issuer).await);
    eventually("the newer value is shared", || async {
        let got = cache(&c).get(KEY).await;
        assert_ne!(got.as_deref().map(String::as_str), Some("old"));
        got.is_some()
    })
    .await;
}

/// Found by the model check: a read of L2 that is sent while a drop waits for its position, and answered when it has one,
/// brings the value and the head from before it.
#[tokio::test]
async fn a_read_of_l2_that_a_drop_overtakes_brings_nothing() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let (a, b) = (
        node_through("a", &wire, &issuer).await,
        node("b", &cluster, &issuer).await,
    );
    fill_l2(&b).await;
    let commits = wire.faults().on(Op::Commit).hang();
    let on_a = cache(&a);
    let removing = tokio::spawn({
        let on_a = on_a.clone();
        async move { on_a.remove(KEY).await }
    });
    soon("the drop is on its way", commits.holds(1)).await;
    let answers = wire.faults().on(Op::ReadValue).hang_answer();
    let reading = tokio::spawn(async move { on_a.get(KEY).await });
    let held = answers.holds(1);
    let asked = async {
        while !reading.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    // Whether the caller asks L2 at all is not the point.
    tokio::select! {
        () = held => {}
        () = soon("the caller has its answer", asked) => {}
    }
    commits.lift();
    assert_eq!(soon("the drop is committed", removing).await.unwrap(), Ok(true));
    answers.lift();
    assert_eq!(soon("the caller", reading).await.unwrap(), None);
}

/// Threads read one key all the time, each from its front, while its value is removed and filled again, by a key or by a tag.
#[tokio::test(flavor = "multi_thread")]
async fn by_the_front_of_any_thread() {
    const ROUNDS: usize = 60;
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let cache: Cache<usize> = mesh.cache(Namespace::new("versions").l2(false)).unwrap();
    // No value below this one may be read from now on.
    let (least, reads) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let look = || {
        while least.load(Ordering::Acquire) < ROUNDS {
            let since = least.load(Ordering::Acquire);
            let get = std::pin::pin!(cache.get(KEY));
            if let Poll::Ready(Some(value)) = get.poll(&mut Context::from_waker(Waker::noop())) {
                assert!(*value >= since, "{value} was removed before {since} was said");
                reads.fetch_add(1, Ordering::AcqRel);
            }
        }
    };
    let write = async {
        for version in 0..ROUNDS {
            let load = move || async move { Ok::<_, ()>(Load::new(version).tag(TAG)) };
            // Until fronts have it. The copy of the last statement in the log may void it once more meanwhile.
            let enough = reads.load(Ordering::Acquire) + 20;
            while reads.load(Ordering::Acquire) < enough {
                assert_eq!(*cache.get_or_load(KEY, load).await.unwrap(), version);
                tokio::task::yield_now().await;
            }
            let said = match version % 3 {
                0 => cache.remove(KEY).await,
                1 => cache.invalidate_tag(TAG).await,
                _ => cache.clear().await,
            };
            assert!(said.unwrap());
            least.store(version + 1, Ordering::Release);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(look);
        }
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(write));
    });
}
