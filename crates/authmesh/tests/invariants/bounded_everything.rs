//! Invariant 10: every queue, map and message has a limit; what is past it is refused loudly.

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::{Namespace, Policy, RevokeError, Subject, VerifyError};
use authmesh_testkit::Op;
use serde_json::json;

use crate::support::{HookedClock, TestIssuer, builder, eventually, node, node_through, poll_once, wired};

#[tokio::test]
async fn marks_are_refused_at_the_cap_and_never_evicted() {
    const CAP: usize = 10;
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = builder("a", &issuer)
        .mark_cap(CAP)
        .join(Arc::new(cluster))
        .start()
        .await
        .unwrap();
    let user = |n: usize| Subject::new(issuer.url(), format!("user-{n}"));
    for n in 0..CAP {
        mesh.revoke(user(n)).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(
            mesh.revoke(user(CAP)).await.unwrap_err(),
            RevokeError::Full { cap: CAP }
        );
    }
    assert!(mesh.stats().outbox == 0, "a refused statement waits for nothing");
    // One that is held can be renewed.
    let later = issuer.now() + 20;
    let receipt = mesh.revoke(user(0)).not_before(later).await.unwrap();
    assert_eq!(receipt.not_before, Some(later));
    assert_eq!(mesh.stats().marks, CAP);
    for n in 0..=CAP {
        let token = issuer.token_with(json!({"sub": format!("user-{n}")}));
        assert_eq!(mesh.verifier().verify(&token).await.is_err(), n < CAP, "user-{n}");
    }
}

/// Two callers do not both take the last room: the second one asks while the first one's mark is being applied.
#[tokio::test]
async fn marks_are_refused_at_the_cap_also_while_the_last_one_is_being_made() {
    let clock = HookedClock::new();
    let (cluster, issuer) = (Cluster::new(), TestIssuer::at(Arc::clone(&clock) as _));
    let mesh = builder("a", &issuer)
        .mark_cap(1)
        .join(Arc::new(cluster))
        .start()
        .await
        .unwrap();
    let (ended, second) = std::sync::mpsc::channel();
    let (other, bob) = (mesh.clone(), Subject::new(issuer.url(), "bob"));
    let runtime = tokio::runtime::Handle::current();
    // The first look gives the mark its times, the second one applies it.
    clock.arm(2, move || {
        let (begun, begins) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            begun.send(()).unwrap();
            ended.send(runtime.block_on(async { other.revoke(bob).await })).unwrap();
        });
        begins.recv().unwrap();
        // Room for the other thread to take what it must not have. It is waiting, so this always runs out.
        std::thread::sleep(Duration::from_millis(300));
    });
    let first = mesh.revoke(Subject::new(issuer.url(), "alice")).await;
    assert!(first.is_ok() && !clock.is_armed());
    let second = tokio::task::spawn_blocking(move || second.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.unwrap_err(), RevokeError::Full { cap: 1 });
    assert_eq!(mesh.stats().marks, 1);
}

#[tokio::test]
async fn tokens_are_refused_past_their_size() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let policy = Policy {
        max_token_bytes: 1000,
        ..Policy::default()
    };
    let mesh = builder("a", &issuer)
        .policy(policy)
        .join(Arc::new(cluster))
        .start()
        .await
        .unwrap();
    let sized = |length: usize| issuer.token_with(json!({"pad": "x".repeat(length)}));
    let fits = (1..1000)
        .map(sized)
        .take_while(|token| token.len() <= 1000)
        .last()
        .unwrap();
    mesh.verifier().verify(&fits).await.unwrap();
    let long = sized(2000);
    let refused = VerifyError::TooLarge {
        bytes: long.len(),
        limit: 1000,
    };
    assert_eq!(mesh.verifier().verify(&long).await.unwrap_err(), refused);
    assert_eq!(mesh.verifier().try_hit(&long).unwrap().unwrap_err(), refused);
}

#[tokio::test]
async fn names_and_notes_are_refused_past_their_size() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = builder("a", &issuer).join(Arc::new(cluster)).start().await.unwrap();
    let subject = |length: usize| mesh.revoke(Subject::new(issuer.url(), "x".repeat(length)));
    for refused in [
        subject(0),
        subject(1025),
        subject(5).why("y".repeat(257)),
        subject(5).by("y".repeat(257)),
    ] {
        assert!(matches!(refused.await, Err(RevokeError::BadValue(_))));
    }
    let far = mesh
        .revoke(Subject::new(issuer.url(), "x"))
        .not_before(issuer.now() + 3600);
    assert!(matches!(far.await, Err(RevokeError::AbsurdTime { .. })));
    let unknown = mesh.revoke(Subject::new("https://elsewhere.test", "x")).await;
    assert_eq!(unknown.unwrap_err(), RevokeError::UnknownIssuer);
    assert_eq!(mesh.stats().marks, 0);
    subject(1024).why("y".repeat(256)).by("z".repeat(256)).await.unwrap();
}

/// The same statement again and again, so that what is counted is the outbox and not the marks.
#[tokio::test]
async fn statements_are_refused_while_too_many_wait_for_their_commit() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let mesh = node_through("a", &wire, &issuer).await;
    let commits = wire.faults().on(Op::Commit).hang();
    let mut accepted = 0;
    let refused = loop {
        match poll_once(mesh.revoke(Subject::new(issuer.url(), "alice")).into_future()).await {
            None => accepted += 1,
            Some(result) => break result.unwrap_err(),
        }
        assert!(accepted <= 8192, "no bound");
    };
    assert_eq!((refused, accepted), (RevokeError::Busy, 8192));
    assert_eq!(mesh.stats().outbox, 8192);

    commits.lift();
    eventually("all are committed", || async { mesh.stats().outbox == 0 }).await;
    mesh.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
}

/// A drop needs no room: without it, its whole channel is voided on every node, by a mint.
#[tokio::test]
async fn a_drop_for_which_there_is_no_room_voids_its_channel_everywhere() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = node_through("a", &wire, &issuer).await;
    let b = node("b", &cluster, &issuer).await;
    let space = || Namespace::new("records");
    let (on_a, on_b) = (a.cache::<String>(space()).unwrap(), b.cache::<String>(space()).unwrap());
    let fill = async |cache: &authmesh::Cache<String>, value: &'static str| {
        let loaded = cache
            .get_or_load("key", move || async move { Ok::<_, ()>(value.to_owned()) })
            .await;
        loaded.unwrap().to_string()
    };
    assert_eq!(fill(&on_b, "old").await, "old");
    eventually("L2 has it", || async { on_a.get("key").await.is_some() }).await;

    let commits = wire.faults().on(Op::Commit).hang();
    let mut waiting = 0;
    while poll_once(a.revoke(Subject::new(issuer.url(), "alice")).into_future())
        .await
        .is_none()
    {
        waiting += 1;
    }
    assert_eq!(waiting, 8192);
    // Accepted, in force here, and not confirmed in time.
    assert_eq!(on_a.remove("key").await, Ok(false));
    assert_eq!(a.stats().counts.soiled, 1);
    assert_eq!(a.stats().outbox, 8192, "it took no room");
    eventually("it is void on the other node", || async {
        on_b.get("key").await.is_none()
    })
    .await;
    eventually("and both share L2 again", || async {
        assert_eq!(fill(&on_b, "new").await, "new");
        on_a.get("key").await.is_some_and(|value| *value == "new")
    })
    .await;
    commits.lift();
    eventually("the marks went their way", || async { a.stats().outbox == 0 }).await;
}
