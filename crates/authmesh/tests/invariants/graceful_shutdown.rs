//! Shutdown commits what was said, ends every task, and answers from memory until the lease ends.

use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::{CacheError, Namespace, RevokeError, Subject, VerifyError};
use authmesh_testkit::Op;
use serde_json::json;

use crate::support::{TestIssuer, cluster_with, eventually, manual_clock, node, node_through, poll_once, soon, wired};

#[tokio::test]
async fn what_was_said_is_committed_and_nothing_is_accepted_afterwards() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = node_through("a", &wire, &issuer).await;
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let token = issuer.token_with(json!({}));
    a.verifier().verify(&token).await.unwrap();
    // Said, and forgotten by whoever said it.
    let commits = wire.faults().on(Op::Commit).hang();
    let revoking = a.revoke(Subject::new(issuer.url(), "bob"));
    assert!(
        poll_once(std::future::IntoFuture::into_future(revoking))
            .await
            .is_none()
    );
    commits.holds(1).await;

    let mut ending = std::pin::pin!(a.shutdown());
    assert!(
        poll_once(ending.as_mut()).await.is_none(),
        "the statement is not committed yet"
    );
    commits.lift();
    soon("the shutdown", ending).await;
    let left = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(tasks > 0 && left == 0, "{left} tasks are left of {tasks}");

    let b = node("b", &cluster, &issuer).await;
    let bob = issuer.token_with(json!({"sub": "bob"}));
    assert!(
        matches!(b.verifier().verify(&bob).await, Err(VerifyError::Revoked(_))),
        "it was committed"
    );
    assert_eq!(b.members().await.unwrap().len(), 1, "and the node has signed off");

    let marks = a.stats().marks;
    assert_eq!(
        a.revoke(Subject::new(issuer.url(), "carol")).await.unwrap_err(),
        RevokeError::ShutDown
    );
    assert_eq!(a.clear().await.unwrap_err(), RevokeError::ShutDown);
    assert_eq!(
        a.verifier().invalidate(&token).await.unwrap_err(),
        RevokeError::ShutDown
    );
    let cache = a.cache::<u32>(Namespace::new("numbers")).unwrap();
    assert_eq!(cache.remove("one").await.unwrap_err(), RevokeError::ShutDown);
    assert_eq!(
        cache.insert("one", 1).await.unwrap_err(),
        CacheError::Statement(RevokeError::ShutDown)
    );
    assert_eq!(a.stats().marks, marks, "what was refused is not in force");
    a.verifier().verify(&token).await.unwrap();
    a.shutdown().await;
}

#[tokio::test]
async fn memory_answers_until_the_lease_ends() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let a = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({}));
    a.verifier().verify(&token).await.unwrap();
    soon("the shutdown", a.shutdown()).await;
    clock.advance(Duration::from_millis(2999));
    assert_eq!(a.verifier().sensitive().answer(&token).await.unwrap().blind_for, None);
    clock.advance(Duration::from_millis(1));
    assert!(matches!(
        a.verifier().sensitive().verify(&token).await,
        Err(VerifyError::Blind { .. })
    ));
}

/// Neither Redis nor a loader that never ends can hold a shutdown up.
#[tokio::test]
async fn it_does_not_wait_for_ever() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = node_through("a", &wire, &issuer).await;
    let cache = a.cache::<String>(Namespace::new("users")).unwrap();
    let (load, mut held) = crate::support::held_load("value".to_owned().into());
    let hanging = tokio::spawn(async move { cache.get_or_load("key", load).await });
    held.started().await;
    wire.faults().cut();
    let revoking = a.revoke(Subject::new(issuer.url(), "bob"));
    assert!(
        poll_once(std::future::IntoFuture::into_future(revoking))
            .await
            .is_none()
    );

    soon("the shutdown", a.shutdown()).await;
    assert_eq!(
        soon("the caller of the loader", hanging).await.unwrap().unwrap_err(),
        CacheError::NoAnswer
    );
    eventually("the tasks are gone", || async {
        tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0
    })
    .await;
}
