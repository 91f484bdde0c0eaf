//! Invariant 10, trap 17: whoever logs in and out in a loop makes no marks without end, and nobody is logged out for it who
//! came later.

use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::proto::time::Unix;
use authmesh::{AuthMesh, CommitState, Receipt, RevocationOrder, Subject, Token, VerifyError};
use serde_json::json;

use crate::support::{START, TestIssuer, eventually, manual_clock, node};

fn token(issuer: &TestIssuer, user: &str, n: usize, issued_at: Unix) -> String {
    issuer.token_with(json!({"sub": user, "jti": format!("{user}-{n}"), "iat": issued_at, "exp": issued_at + 7200}))
}

async fn log_out(mesh: &AuthMesh, token: &str) -> Receipt {
    mesh.revoke(Token::new(token)).await.unwrap()
}

async fn is_revoked(mesh: &AuthMesh, token: &str) -> bool {
    match mesh.verifier().verify(token).await {
        Ok(_) => false,
        Err(VerifyError::Revoked(_)) => true,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn beyond_sixty_four_they_become_one_of_the_subject_that_reaches_no_further_than_they() {
    let clock = manual_clock();
    let issuer = TestIssuer::at(Arc::clone(&clock) as _);
    let cluster = Cluster::new();
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    // Older than what is logged out, between that, and newer; and somebody else's.
    let at = |seconds: u64| START - 1000 + seconds;
    let (older, newer) = (
        token(&issuer, "alice", 900, at(0)),
        token(&issuer, "alice", 901, at(201)),
    );
    let (other, newest) = (
        token(&issuer, "bob", 902, at(0)),
        token(&issuer, "alice", 903, at(1000)),
    );
    let mut gone = Vec::new();
    for n in 0..64 {
        let token = token(&issuer, "alice", n, at(100 + n as u64));
        let receipt = log_out(&a, &token).await;
        assert_eq!((receipt.scope, receipt.collapsed), ("token", false));
        gone.push(token);
    }
    assert_eq!(a.stats().marks, 64);
    assert!(!is_revoked(&a, &older).await, "so far each for itself");
    // Once more the same: no further mark.
    assert!(!log_out(&a, &gone[0]).await.collapsed);

    for n in 64..200 {
        let issued_at = if n == 64 { at(50) } else { at(200) };
        let token = token(&issuer, "alice", n, issued_at);
        let receipt = log_out(&a, &token).await;
        assert_eq!((receipt.scope, receipt.collapsed), ("subject", true));
        let newest_revoked = if n == 64 { at(163) } else { at(200) };
        assert_eq!(receipt.not_before, Some(newest_revoked));
        assert_eq!(receipt.state, CommitState::Committed);
        gone.push(token);
    }
    assert_eq!(a.stats().marks, 65, "and no more, however often");
    for mesh in [&a, &b] {
        for token in &gone {
            eventually("each of them is revoked", || is_revoked(mesh, token)).await;
        }
        eventually("as old as those", || is_revoked(mesh, &older)).await;
        for token in [&newer, &newest, &other] {
            assert!(
                !is_revoked(mesh, token).await,
                "issued after every one of them, or somebody else's"
            );
        }
    }
    // Marks that are past make room again.
    clock.advance(Duration::from_secs(3 * 86_400));
    let later = token(&issuer, "alice", 904, START + 3 * 86_400);
    assert!(!log_out(&a, &later).await.collapsed);
}

#[tokio::test]
async fn in_a_batch_too() {
    let (issuer, cluster) = (TestIssuer::new(), Cluster::new());
    let a = node("a", &cluster, &issuer).await;
    let now = issuer.now();
    let tokens: Vec<_> = (0..80).map(|n| token(&issuer, "alice", n, now - 100)).collect();
    let receipts = a
        .revoke_all(tokens.iter().map(|token| Token::new(token.as_str())))
        .await
        .unwrap();
    assert_eq!(receipts.iter().filter(|receipt| receipt.collapsed).count(), 16);
    assert_eq!(a.stats().marks, 65);
    for token in &tokens {
        assert!(is_revoked(&a, token).await);
    }
}

#[tokio::test]
async fn what_was_asked_for_with_bounds_of_its_own_is_said_as_it_was_asked_for() {
    let (issuer, cluster) = (TestIssuer::new(), Cluster::new());
    let a = node("a", &cluster, &issuer).await;
    let now = issuer.now();
    for n in 0..65 {
        log_out(&a, &token(&issuer, "alice", n, now - 100)).await;
    }
    let spared = token(&issuer, "alice", 900, now - 50);
    let order = RevocationOrder::new(Token::new(token(&issuer, "alice", 901, now - 40))).except_session("s1");
    let receipts = a.revoke_all([order]).await.unwrap();
    assert_eq!((receipts[0].scope, receipts[0].collapsed), ("token", false));
    assert!(!is_revoked(&a, &spared).await);
    let receipt = a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    assert_eq!(
        (receipt.scope, receipt.collapsed),
        ("subject", false),
        "it was asked for"
    );
}

/// A mark of the subject would void every token without `iat`, however new: such an issuer's do not collapse.
#[tokio::test]
async fn not_where_tokens_may_lack_the_time_of_issue() {
    let (issuer, cluster) = (TestIssuer::new(), Cluster::new());
    let rules = issuer.rules().danger_without_issued_at();
    let a = AuthMesh::builder()
        .key_ring(crate::support::ring())
        .clock(issuer.clock());
    let a = a.issuer(issuer.url(), issuer.source(), rules).join(Arc::new(cluster));
    let a = a.start().await.unwrap();
    let now = issuer.now();
    for n in 0..66 {
        assert!(!log_out(&a, &token(&issuer, "alice", n, now - 100)).await.collapsed);
    }
    assert!(!is_revoked(&a, &token(&issuer, "alice", 900, now - 100)).await);
}
