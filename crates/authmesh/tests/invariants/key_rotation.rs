//! Rotation of the key ring on running nodes: nothing is lost in any order of the steps, and a node that cannot open what
//! another says claims no coherence.

use authmesh::memory::Cluster;
use authmesh::{AuthMesh, KeyRing, Subject, VerifyError};
use serde_json::json;

use crate::support::{TestIssuer, eventually, node, ring};

/// The old key is that of [`ring`].
const OLD: [u8; 32] = [2; 32];
const NEW: [u8; 32] = [3; 32];

fn of(keys: &[[u8; 32]]) -> KeyRing {
    KeyRing::new([1; 32], keys.iter().copied()).unwrap()
}

async fn coherent(mesh: &AuthMesh, token: &str) {
    eventually("the node is coherent", || async {
        mesh.verifier().sensitive().verify(token).await.is_ok()
    })
    .await;
}

async fn refuses(mesh: &AuthMesh, token: &str) {
    eventually("the node refuses", || async {
        matches!(mesh.verifier().verify(token).await, Err(VerifyError::Revoked(_)))
    })
    .await;
}

#[tokio::test]
async fn a_rotation_in_two_steps_blinds_nobody() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let nodes = [node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await];
    let [a, b] = &nodes;
    let bystander = issuer.token_with(json!({"sub": "bystander"}));
    let mut said = 0;
    for ring in [of(&[OLD, NEW]), of(&[NEW, OLD]), of(&[NEW])] {
        for mesh in [a, b] {
            mesh.set_key_ring(&ring).unwrap();
            // Said while one of the two nodes is a step ahead.
            said += 1;
            let subject = format!("user-{said}");
            let token = issuer.token_with(json!({"sub": subject}));
            a.revoke(Subject::new(issuer.url(), &subject)).await.unwrap();
            refuses(b, &token).await;
        }
    }
    for mesh in [a, b] {
        coherent(mesh, &bystander).await;
        // Every statement was opened as it came. (What the old key sealed is lost to newcomers from here on.)
        assert_eq!(mesh.stats().counts.unopened, 0, "{}", mesh.stats().node);
    }
}

#[tokio::test]
async fn a_node_without_the_new_key_claims_no_coherence_and_recovers_with_it() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let (alice, bystander) = (
        issuer.token_with(json!({"sub": "alice"})),
        issuer.token_with(json!({"sub": "bystander"})),
    );
    coherent(&b, &bystander).await;

    a.set_key_ring(&of(&[NEW, OLD])).unwrap();
    a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    eventually("the other node knows that it lacks something", || async {
        !b.health().coherent
    })
    .await;
    assert!(b.stats().counts.unopened > 0);

    b.set_key_ring(&of(&[OLD, NEW])).unwrap();
    refuses(&b, &alice).await;
    coherent(&b, &bystander).await;
}

#[tokio::test]
async fn a_ring_with_another_naming_key_is_refused_and_the_old_one_goes_on() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let refused = a
        .set_key_ring(&KeyRing::new([9; 32], [NEW]).unwrap())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("another naming key"), "{refused}");
    a.set_key_ring(&ring()).unwrap();

    let alice = issuer.token_with(json!({"sub": "alice"}));
    a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    refuses(&b, &alice).await;
}
