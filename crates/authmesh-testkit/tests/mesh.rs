//! The mesh does what a cluster does: it spreads revocations, falls apart, heals, and loses nodes.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use authmesh::{Confirm, Policy, Subject, VerifyError, WhenBlind};
use authmesh_testkit::{MeshBuilder, Op, TestClock, TestIssuer, TestMesh, eventually, forge};

fn alice(mesh: &TestMesh) -> Subject {
    Subject::new(mesh.issuer().url(), "alice")
}

/// Nodes that refuse as soon as they are blind.
fn strict() -> MeshBuilder {
    TestMesh::builder().customize(|_, builder| {
        builder.policy(Policy {
            when_blind: WhenBlind::Deny,
            ..Policy::default()
        })
    })
}

fn is_blind<T>(answer: Result<T, VerifyError>) -> bool {
    matches!(answer, Err(VerifyError::Blind { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_revocation_reaches_every_node_by_either_road_and_by_both() {
    for (redis, gossip) in [(true, true), (true, false), (false, true)] {
        let mesh = TestMesh::builder().redis(redis).gossip(gossip).start().await;
        let token = mesh.issuer().token("alice");
        for node in 0..3 {
            mesh.verify(node, &token).await.unwrap();
        }
        let receipt = mesh[0].revoke(alice(&mesh)).confirm(Confirm::AllLive).await.unwrap();
        assert!(receipt.missing.is_empty(), "redis: {redis}, gossip: {gossip}");
        for node in 0..3 {
            mesh.refused(node, &token).await;
        }
        if redis {
            assert_eq!(
                mesh.issuer().requests(),
                1,
                "the keys were fetched once for the cluster"
            );
        }
        mesh.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_without_a_road_are_alone() {
    let mesh = TestMesh::builder().redis(false).gossip(false).nodes(2).start().await;
    let token = mesh.issuer().token("alice");
    mesh[0].revoke(alice(&mesh)).await.unwrap();
    mesh.refused(0, &token).await;
    mesh.clock().advance(Duration::from_secs(60)).await;
    assert!(mesh.verify(1, &token).await.is_ok());
    mesh.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_goes_blind_and_knows_everything_when_it_is_back() {
    let mesh = strict().start().await;
    let token = mesh.issuer().token("alice");
    for node in 0..3 {
        mesh.verify(node, &token).await.unwrap();
    }
    mesh.partition(&[0], &[1, 2]);
    mesh[2].revoke(alice(&mesh)).await.unwrap();
    mesh.refused(1, &token).await;
    // The lease.
    mesh.clock().advance(Duration::from_secs(4)).await;
    assert!(is_blind(mesh.verify(0, &token).await));
    assert!(mesh.verify(1, &mesh.issuer().token("bob")).await.is_ok());

    mesh.heal();
    mesh.settled().await;
    assert!(matches!(mesh.verify(0, &token).await, Err(VerifyError::Revoked(_))));
    mesh.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn without_redis_the_others_vouch_for_a_node() {
    let mesh = strict().start().await;
    mesh.cut_from_redis(&[0]);
    mesh.clock().advance(Duration::from_secs(20)).await;
    let token = mesh.issuer().token("alice");
    assert!(mesh.verify(0, &token).await.is_ok());
    assert!(mesh.node(0).redis_faults().calls(Op::Heads) > 0);
    mesh.cluster().set_up(false);
    mesh.clock().advance(Duration::from_secs(20)).await;
    for node in 0..3 {
        assert!(mesh.verify(node, &token).await.is_ok());
    }
    mesh.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_anew_has_forgotten_its_verdicts_and_knows_the_marks() {
    let mut mesh = TestMesh::of(3).await;
    let token = mesh.issuer().token("alice");
    let fresh = mesh.issuer().token("bob");
    mesh[0].revoke(alice(&mesh)).await.unwrap();
    mesh.verify(2, &fresh).await.unwrap();
    let before = incarnation(&mesh, 2).await;

    mesh.stop(2).await;
    assert!(!mesh.node(2).is_running());
    mesh.settled().await;
    mesh.restart(2).await;
    mesh.settled().await;
    assert_ne!(incarnation(&mesh, 2).await, before);
    assert_eq!(mesh[2].stats().counts.hits, 0);
    assert!(matches!(mesh.verify(2, &token).await, Err(VerifyError::Revoked(_))));
    mesh.verify(2, &fresh).await.unwrap();
    mesh.shutdown().await;
}

async fn incarnation(mesh: &TestMesh, node: usize) -> Vec<String> {
    let members = mesh[node].members().await.unwrap();
    let own = members
        .into_iter()
        .filter(|member| member.node == format!("node-{node}"));
    own.map(|member| member.incarnation).collect()
}

#[tokio::test(start_paused = true)]
async fn nobody_hears_a_good_bye_of_a_node_that_crashes() {
    let mut mesh = TestMesh::of(3).await;
    mesh.crash(2).await;
    let there = mesh[0].members().await.unwrap();
    assert!(there.iter().any(|member| member.node == "node-2"), "{there:?}");
    assert!(!mesh.node(2).is_running());
    mesh.restart(2).await;
    let token = mesh.issuer().token("alice");
    mesh.taken(2, &token).await;
    mesh.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn everybody_goes_by_the_clock_of_the_mesh() {
    let clock = Arc::new(TestClock::at(1_800_000_000));
    let mesh = TestMesh::builder().nodes(2).clock(Arc::clone(&clock)).start().await;
    let token = mesh.issuer().token("alice");
    assert_eq!(forge::claims(&token)["iat"], 1_800_000_000);
    mesh.verify(0, &token).await.unwrap();
    clock.advance(Duration::from_secs(631)).await;
    assert!(matches!(mesh.verify(0, &token).await, Err(VerifyError::Expired { .. })));
    mesh.shutdown().await;
}

#[tokio::test]
async fn a_mesh_needs_no_paused_time() {
    let mesh = TestMesh::builder().issuer(TestIssuer::new()).start().await;
    let token = mesh.issuer().token("alice");
    mesh.verify(1, &token).await.unwrap();
    mesh[0].revoke(alice(&mesh)).await.unwrap();
    mesh.refused(1, &token).await;
    mesh.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_no_fault_of_the_token() {
    let mesh = TestMesh::of(2).await;
    let slow = mesh.node(1).redis_faults().all().delay(Duration::from_millis(200));
    let token = mesh.issuer().token("alice");
    mesh.verify(1, &token).await.unwrap();
    eventually("the delay is felt", || async { slow.hits() > 0 }).await;
    mesh.shutdown().await;
}
