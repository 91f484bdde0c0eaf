//! Invariant 4: a missed message, a failover that lost acknowledged writes, a trimmed log and an emptied Redis are all
//! detected and repaired; drops as well as marks.

use std::sync::Arc;

use authmesh::memory::Cluster;
use authmesh::{AuthMesh, Cache, CommitState, Namespace, Subject, VerifyError};
use authmesh_testkit::{Faults, Op};
use serde_json::json;

use crate::support::{TestIssuer, entry, eventually, node, node_through, soon, subject, wired};

const SPACE: &str = "users";

fn cache(mesh: &AuthMesh) -> Cache<String> {
    mesh.cache(Namespace::new(SPACE)).unwrap()
}

async fn load(mesh: &AuthMesh, key: &str, value: &str) -> String {
    let value = value.to_owned();
    cache(mesh)
        .get_or_load(key, move || async { Ok::<_, ()>(value) })
        .await
        .unwrap()
        .to_string()
}

async fn shared(mesh: &AuthMesh, key: &str) {
    eventually("the value stands in L2", || async {
        cache(mesh).get(key).await.is_some()
    })
    .await;
}

async fn is_revoked(mesh: &AuthMesh, token: &str) -> bool {
    matches!(mesh.verifier().verify(token).await, Err(VerifyError::Revoked(_)))
}

fn user(n: usize) -> String {
    format!("user-{n}")
}

/// What becomes of bells.
#[derive(Debug, Clone, Copy)]
enum Bells {
    /// All arrive, once, in order.
    All,
    /// None arrives.
    None,
    /// Every other one is lost.
    Half,
    /// Each arrives twice.
    Twice,
    /// Each pair arrives the wrong way round.
    Swapped,
}

impl Bells {
    fn befall(self, faults: &Faults) {
        let bells = faults.on(Op::Bell);
        match self {
            Self::All => bells.count(),
            Self::None => bells.lose(),
            Self::Half => bells.every(2).lose(),
            Self::Twice => bells.double(),
            Self::Swapped => bells.swap(),
        };
    }
}

/// `a` says marks and drops; `b`, whose bells suffer, comes to know every one of them.
async fn repaired(bells: Bells) {
    const COUNT: usize = 30;
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    bells.befall(wire.faults());
    let (a, b) = (
        node("a", &cluster, &issuer).await,
        node_through("b", &wire, &issuer).await,
    );
    let tokens: Vec<String> = (0..COUNT).map(|n| issuer.token_with(json!({"sub": user(n)}))).collect();
    for (n, token) in tokens.iter().enumerate() {
        b.verifier().verify(token).await.unwrap();
        assert_eq!(load(&b, &user(n), "old").await, "old");
    }

    for n in 0..COUNT {
        a.revoke(Subject::new(issuer.url(), user(n))).await.unwrap();
        // Thrice, so that two neighbours of one channel change places.
        for _ in 0..3 {
            assert!(cache(&a).remove(user(n)).await.unwrap());
        }
    }

    for (n, token) in tokens.iter().enumerate() {
        eventually("the mark is known", || is_revoked(&b, token)).await;
        eventually("the drop is known", || async { cache(&b).get(user(n)).await.is_none() }).await;
    }
    assert_eq!(b.stats().marks, a.stats().marks);
    // Nothing was lost from the log, and nobody claims so.
    for mesh in [&a, &b] {
        assert_eq!(mesh.stats().counts.lost_writes, 0);
    }
    // A head that is read before its bell rings makes a channel suspect too, so the others may or may not.
    if matches!(bells, Bells::None | Bells::Half | Bells::Swapped) {
        assert!(b.stats().counts.suspects > 0, "{bells:?} did harm");
    }
}

#[tokio::test]
async fn no_bell_is_lost() {
    repaired(Bells::All).await;
}

#[tokio::test]
async fn every_bell_is_lost() {
    repaired(Bells::None).await;
}

#[tokio::test]
async fn every_other_bell_is_lost() {
    repaired(Bells::Half).await;
}

#[tokio::test]
async fn bells_ring_twice() {
    repaired(Bells::Twice).await;
}

#[tokio::test]
async fn bells_change_places() {
    repaired(Bells::Swapped).await;
}

/// Trap 3: a drop is committed and applied, the failover loses it, and the value is back in L2.
#[tokio::test]
async fn a_failover_brings_a_dropped_value_back() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let name = entry(SPACE, "key");
    load(&a, "key", "old").await;
    shared(&b, "key").await;
    assert!(cache(&a).remove("key").await.unwrap());
    eventually("b has applied the drop", || async {
        b.stats().counts.statements_applied > 0
    })
    .await;
    assert_eq!(cache(&b).get("key").await, None);

    cluster.lose_newest(name.slot().channel, 1);
    eventually("the loss is found and a new incarnation adopted", || async {
        for mesh in [&a, &b] {
            assert_eq!(cache(mesh).get("key").await, None, "the value is back");
        }
        let counts = [a.stats().counts, b.stats().counts];
        counts.iter().all(|counts| counts.adoptions > 0) && counts.iter().any(|counts| counts.lost_writes > 0)
    })
    .await;

    // Whoever comes later is not told the old value either, and the key can be filled again for all.
    let c = node("c", &cluster, &issuer).await;
    assert_eq!(cache(&c).get("key").await, None);
    assert_eq!(load(&c, "key", "new").await, "new");
    for mesh in [&a, &b] {
        eventually("L2 works again", || async {
            cache(mesh).get("key").await.is_some_and(|value| *value == "new")
        })
        .await;
    }
}

/// The loss is older than the newest entry: somebody committed into the channel after the failover.
#[tokio::test]
async fn a_failover_loses_a_drop_and_the_log_goes_on() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let name = entry(SPACE, "key");
    let neighbour = (0..)
        .map(user)
        .find(|key| entry(SPACE, key).slot().channel == name.slot().channel)
        .unwrap();
    load(&a, "key", "old").await;
    shared(&b, "key").await;
    assert!(cache(&a).remove("key").await.unwrap());
    eventually("b has applied the drop", || async {
        cache(&b).get("key").await.is_none()
    })
    .await;

    cluster.lose_newest(name.slot().channel, 1);
    let removing = cache(&b);
    let removed = tokio::spawn(async move { removing.remove(neighbour).await.unwrap() });
    eventually("the loss is found and a new incarnation adopted", || async {
        for mesh in [&a, &b] {
            assert_eq!(cache(mesh).get("key").await, None, "the value is back");
        }
        a.stats().counts.adoptions > 0 && b.stats().counts.adoptions > 0
    })
    .await;
    soon("what was said meanwhile is committed", removed).await.unwrap();
}

#[tokio::test]
async fn a_failover_loses_a_mark() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let token = issuer.token_with(json!({}));
    b.verifier().verify(&token).await.unwrap();
    a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    eventually("b has the mark", || is_revoked(&b, &token)).await;

    cluster.lose_newest(subject(&issuer, "alice").slot().channel, 1);
    let c = node("c", &cluster, &issuer).await;
    eventually("the mark is committed again", || is_revoked(&c, &token)).await;
    for mesh in [&a, &b] {
        assert!(is_revoked(mesh, &token).await);
    }
}

/// A node that was cut off comes back to a log that no longer holds what it missed.
#[tokio::test]
async fn a_log_is_trimmed_past_a_node() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let (a, b) = (
        node("a", &cluster, &issuer).await,
        node_through("b", &wire, &issuer).await,
    );
    let token = issuer.token_with(json!({}));
    b.verifier().verify(&token).await.unwrap();
    load(&b, "key", "old").await;

    wire.faults().cut();
    a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    cache(&a).remove("key").await.unwrap();
    for channel in [
        entry(SPACE, "key").slot().channel,
        subject(&issuer, "alice").slot().channel,
    ] {
        // Two more entries, so that even the one after what was missed is behind the end.
        let near = (0..)
            .map(user)
            .filter(|key| entry(SPACE, key).slot().channel == channel);
        for key in near.take(2) {
            cache(&a).remove(key).await.unwrap();
        }
        cluster.trim(channel, 1);
    }
    wire.faults().clear();

    eventually("the mark is known", || is_revoked(&b, &token)).await;
    eventually("the drop is known", || async { cache(&b).get("key").await.is_none() }).await;
    assert_eq!(load(&b, "key", "new").await, "new");
    assert_eq!(
        b.stats().counts.lost_writes,
        0,
        "a node that is merely behind never mints"
    );
}

/// `b` misses a drop, and then its whole log goes.
#[tokio::test]
async fn everything_is_emptied() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let (a, b) = (
        node("a", &cluster, &issuer).await,
        node_through("b", &wire, &issuer).await,
    );
    let token = issuer.token_with(json!({}));
    b.verifier().verify(&token).await.unwrap();
    load(&b, "key", "old").await;

    wire.faults().cut();
    a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    cache(&a).remove("key").await.unwrap();
    cluster.wipe();
    wire.faults().clear();

    eventually("the mark is known", || is_revoked(&b, &token)).await;
    eventually("the drop is known", || async { cache(&b).get("key").await.is_none() }).await;
    load(&b, "key", "new").await;
    eventually("L2 works again", || async {
        cache(&a).get("key").await.is_some_and(|value| *value == "new")
    })
    .await;
}

/// A statement lands while its channel is being loaded anew: the follower goes on from behind it and never meets it.
#[tokio::test]
async fn a_statement_that_the_follower_jumped_over_is_not_waited_for_in_vain() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = Arc::new(node_through("a", &wire, &issuer).await);
    load(&a, "key", "old").await;
    let commits = wire.faults().on(Op::Commit).hang();
    let (revoking, removing, url) = (Arc::clone(&a), cache(&a), issuer.url().to_owned());
    let revoked = tokio::spawn(async move { revoking.revoke(Subject::new(url, "alice")).await.unwrap().state });
    let removed = tokio::spawn(async move { removing.remove("key").await.unwrap() });
    commits.holds(2).await;
    let loads = wire.faults().on(Op::Load).hang();
    cluster.wipe();
    // Each channel has begun its load, or waits for its turn to ask.
    eventually("every channel is loaded anew", || async {
        a.stats().counts.lost_writes == 64
    })
    .await;
    loads.holds(1).await;
    commits.lift();
    eventually("both stand in the log", || async {
        let heads = authmesh::ports::Log::heads(&cluster).await.unwrap();
        heads.iter().flatten().count() == 2
    })
    .await;
    loads.lift();

    assert_eq!(soon("the revocation", revoked).await.unwrap(), CommitState::Committed);
    assert!(soon("the drop", removed).await.unwrap());
    assert_eq!(a.stats().outbox, 0);
    // And the key is not cut off from L2 for good.
    load(&a, "key", "new").await;
    let b = node("b", &cluster, &issuer).await;
    eventually("L2 works for the key", || async {
        cache(&b).get("key").await.is_some()
    })
    .await;
}
