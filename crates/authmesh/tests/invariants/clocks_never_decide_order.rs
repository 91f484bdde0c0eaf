//! Invariant 6: order comes from positions and counters; times of issue are compared in the issuer's time.

use std::sync::Arc;
use std::time::Duration;

use authmesh::clock::ManualClock;
use authmesh::memory::Cluster;
use authmesh::proto::crypto::ScopeKind;
use authmesh::{AuthMesh, Namespace, Outcome, Subject, VerifyError};
use serde_json::json;

use crate::support::{START, TestIssuer, builder, cluster_with, eager_keys, eventually, manual_clock, node, ring};

const HOUR: u64 = 3600;

async fn is_revoked(mesh: &AuthMesh, token: &str) -> bool {
    matches!(mesh.verifier().verify(token).await, Err(VerifyError::Revoked(_)))
}

/// A node with a clock of its own.
async fn node_at(name: &str, clock: &Arc<ManualClock>, cluster: &Cluster, issuer: &TestIssuer) -> AuthMesh {
    let node = builder(name, issuer).clock(Arc::clone(clock) as _);
    node.join(Arc::new(cluster.clone())).start().await.unwrap()
}

fn long_lived(issuer: &TestIssuer) -> String {
    issuer.token_with(json!({"exp": START + 12 * HOUR}))
}

#[tokio::test]
async fn a_jump_revives_no_revoked_token() {
    let (clock, other) = (manual_clock(), manual_clock());
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let a = node_at("a", &clock, &cluster, &issuer).await;
    let b = node_at("b", &other, &cluster, &issuer).await;
    let (token, control) = (
        long_lived(&issuer),
        issuer.token_with(json!({"sub": "bob", "exp": START + 12 * HOUR})),
    );
    b.verifier().verify(&token).await.unwrap();
    a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    eventually("b has the mark", || is_revoked(&b, &token)).await;

    for wall in [START + HOUR, START - HOUR, START] {
        other.jump_to(wall);
        for verifier in [b.verifier(), b.verifier().max_age(Duration::ZERO)] {
            match verifier.verify(&token).await.unwrap_err() {
                VerifyError::Revoked(ScopeKind::Subject) => {}
                // An hour back, the token is from the future.
                VerifyError::NotYetValid { .. } if wall < START => {}
                error => panic!("at {wall}: {error}"),
            }
        }
    }
    b.verifier().verify(&control).await.unwrap();
}

/// The mark is made by the node whose clock is wrong.
#[tokio::test]
async fn a_mark_of_a_node_whose_clock_is_wrong_voids_what_it_should() {
    for jump in [START + HOUR, START - HOUR] {
        let (clock, wrong) = (manual_clock(), manual_clock());
        let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
        let a = node_at("a", &wrong, &cluster, &issuer).await;
        let b = node_at("b", &clock, &cluster, &issuer).await;
        let token = long_lived(&issuer);
        for mesh in [&a, &b] {
            mesh.verifier().verify(&token).await.unwrap();
        }
        wrong.jump_to(jump);
        let receipt = a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
        assert!(
            receipt.not_before >= Some(START),
            "issuer time is at least the newest iat that was accepted"
        );
        eventually("b has the mark", || is_revoked(&b, &token)).await;
        wrong.jump_to(START);
        assert!(is_revoked(&a, &token).await);
    }
}

/// The order of a drop and a fill is that of the fence, whatever the clocks say.
#[tokio::test]
async fn a_drop_of_a_node_whose_clock_is_behind_voids_what_is_newer_by_the_clock() {
    let (clock, behind) = (manual_clock(), manual_clock());
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let a = node_at("a", &behind, &cluster, &issuer).await;
    let b = node_at("b", &clock, &cluster, &issuer).await;
    behind.jump_to(START - HOUR);
    let cache = |mesh: &AuthMesh| mesh.cache::<String>(Namespace::new("users")).unwrap();
    for drop_all in [false, true] {
        let loaded = cache(&b)
            .get_or_load("key", || async { Ok::<_, ()>("old".to_owned()) })
            .await
            .unwrap();
        assert_eq!(*loaded, "old");
        if drop_all {
            cache(&a).clear().await.unwrap();
        } else {
            cache(&a).remove("key").await.unwrap();
        }
        eventually("b has applied it", || async { cache(&b).get("key").await.is_none() }).await;
        assert_eq!(cache(&a).get("key").await, None);
    }
}

/// Trap 16: a clock that jumps ahead collects nothing; when both clocks agree, marks do go.
#[tokio::test]
async fn a_jump_loses_no_mark() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    let token = long_lived(&issuer);
    mesh.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    // A round of collection at these clocks, seen by the lease that the same tick renews.
    let collect = async |by: Duration, wall: u64| {
        clock.advance(by);
        clock.jump_to(wall);
        assert!(!mesh.health().coherent);
        eventually("the driver has ticked", || async {
            clock.advance(Duration::from_millis(1));
            mesh.health().coherent
        })
        .await;
    };

    collect(Duration::from_secs(70), START + 100 * HOUR).await;
    assert_eq!(
        mesh.stats().marks,
        1,
        "civil time jumped, and hardly any time has passed"
    );
    collect(Duration::from_secs(100 * HOUR), START + 70).await;
    assert_eq!(mesh.stats().marks, 1, "time has passed, and civil time says otherwise");
    assert!(is_revoked(&mesh, &token).await);
    collect(Duration::from_secs(70), START + 100 * HOUR).await;
    assert_eq!(mesh.stats().marks, 0, "long past by both clocks");
}

/// Trap 7: the issuer's clock is 40 s ahead, and the token is revoked 30 s after its issue.
#[tokio::test]
async fn an_issuer_that_is_ahead_is_met_in_its_own_time() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mut rules = issuer.rules();
    rules.leeway = Duration::from_secs(60);
    let start = async |source| {
        let node = AuthMesh::builder().key_ring(ring()).clock(issuer.clock());
        let node = node
            .issuer_with(issuer.url(), source, eager_keys(), rules.clone())
            .join(Arc::new(cluster.clone()));
        node.start().await.unwrap()
    };
    let stolen = |subject: &str| issuer.token_with(json!({"sub": subject, "iat": START + 40, "exp": START + HOUR}));
    let accepted = start(issuer.source()).await;
    let (alice, bob) = (stolen("alice"), stolen("bob"));
    accepted.verifier().verify(&alice).await.unwrap();
    // This one has never seen a token of the issuer; all it knows is the `Date` of its answers.
    issuer.published().date(Some(START + 40));
    let dated = start(issuer.source()).await;
    dated.refresh_keys(issuer.url()).await.unwrap().unwrap();

    clock.advance(Duration::from_secs(30));
    let receipt = accepted.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    assert_eq!(receipt.not_before, Some(START + 40));
    assert!(is_revoked(&accepted, &alice).await);
    eventually("the other has the mark", || is_revoked(&dated, &alice)).await;

    let receipt = dated.revoke(Subject::new(issuer.url(), "bob")).await.unwrap();
    assert_eq!(receipt.not_before, Some(START + 70));
    assert!(is_revoked(&dated, &bob).await);
    eventually("the other has the mark", || is_revoked(&accepted, &bob)).await;
}

#[tokio::test]
async fn the_second_of_the_revocation_is_void_and_the_next_one_is_not() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    let receipt = mesh.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    assert_eq!(receipt.not_before, Some(START));
    for (iat, void) in [
        (json!(START - 1), true),
        (json!(START), true),
        (json!(START as f64 + 0.9), true),
        (json!(START + 1), false),
    ] {
        let token = issuer.token_with(json!({"iat": iat}));
        assert_eq!(is_revoked(&mesh, &token).await, void, "iat {iat}");
        if !void {
            assert_eq!(mesh.verifier().answer(&token).await.unwrap().outcome, Outcome::Hit);
        }
    }
}
