//! What the issuer mints is taken by a real verifier, whatever the algorithm, and what it does is seen there.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use authmesh::jose::Algorithm;
use authmesh::{AuthMesh, Rules, UpstreamRules, VerifyError};
use authmesh_testkit::{TestIssuer, TestMesh, forge, soon};
use serde_json::json;

async fn one(issuer: &TestIssuer) -> TestMesh {
    let mesh = TestMesh::builder().nodes(1).issuer(issuer.clone());
    mesh.gossip(false).start().await
}

#[tokio::test]
async fn tokens_of_every_algorithm_are_taken_and_altered_ones_are_not() {
    for algorithm in Algorithm::ALL {
        let issuer = TestIssuer::builder().algorithm(algorithm).build();
        let mesh = one(&issuer).await;
        let token = issuer.token("alice");
        assert_eq!(forge::header(&token)["alg"], algorithm.name());
        assert_eq!(
            mesh.verify(0, &token).await.unwrap().subject(),
            Some("alice"),
            "{algorithm}"
        );
        let forged = forge::with_claim(&token, "sub", "root");
        assert!(mesh.verify(0, &forged).await.is_err(), "{algorithm}");
        mesh.shutdown().await;
    }
}

#[tokio::test]
async fn a_token_says_what_it_was_told_to() {
    let issuer = TestIssuer::new();
    let mesh = one(&issuer).await;
    let mint = issuer.mint().subject("bob").scope("orders:read").scope("orders:write");
    let token = mint.client("web").session("s1").jwt_id("j1").claim("tenant", 7).sign();
    let verdict = mesh.verify(0, &token).await.unwrap();
    assert_eq!(verdict.subject(), Some("bob"));
    assert_eq!(verdict.scopes().collect::<Vec<_>>(), ["orders:read", "orders:write"]);
    assert_eq!(
        (verdict.client(), verdict.session(), verdict.jwt_id()),
        (Some("web"), Some("s1"), Some("j1"))
    );
    assert_eq!(verdict.claims::<serde_json::Value>().unwrap()["tenant"], 7);

    let refused = |token: String| {
        let mesh = &mesh;
        async move { mesh.verify(0, &token).await.unwrap_err().code() }
    };
    let now = issuer.now();
    let codes = [
        refused(issuer.mint().audience("billing").sign()).await,
        refused(issuer.mint().issued_at(now - 3600).sign()).await,
        refused(issuer.mint().not_before(now + 3600).sign()).await,
        refused(issuer.mint().lifetime(Duration::from_secs(86_401 * 2)).sign()).await,
        refused(issuer.mint().without("exp").sign()).await,
        refused(issuer.mint().header("typ", "logout+jwt").sign()).await,
        refused(issuer.mint().header("kid", "unheard-of").sign()).await,
    ];
    let distinct: std::collections::BTreeSet<_> = codes.iter().collect();
    assert_eq!(
        distinct.len(),
        codes.len(),
        "each is refused for its own reason: {codes:?}"
    );
    assert!(
        mesh.verify(0, &issuer.mint().header("kid", json!(null)).sign())
            .await
            .is_ok()
    );
    mesh.shutdown().await;
}

#[tokio::test]
async fn rotation_is_followed_and_retired_keys_void_their_tokens() {
    let issuer = TestIssuer::new();
    let mesh = one(&issuer).await;
    let old = issuer.token("alice");
    mesh.verify(0, &old).await.unwrap();
    issuer.rotate_to(Algorithm::ES256);
    let new = issuer.token("alice");
    mesh.verify(0, &new).await.unwrap();
    mesh.verify(0, &old).await.unwrap();
    issuer.retire_old_keys();
    mesh[0].refresh_keys(issuer.url()).await.unwrap().unwrap();
    assert!(mesh.verify(0, &old).await.is_err());
    mesh.verify(0, &new).await.unwrap();
    mesh.shutdown().await;
}

#[tokio::test]
async fn an_outage_is_counted_and_is_no_verdict() {
    let issuer = TestIssuer::new();
    issuer.fail();
    let mesh = one(&issuer).await;
    let token = issuer.token("alice");
    assert!(matches!(
        mesh.verify(0, &token).await,
        Err(VerifyError::CouldNotAsk { .. })
    ));
    let before = issuer.requests();
    assert!(before > 0);
    issuer.recover();
    mesh.taken(0, &token).await;
    assert!(issuer.requests() > before);
    mesh.shutdown().await;
}

#[tokio::test]
async fn an_issuer_that_hangs_is_waited_for() {
    let issuer = TestIssuer::new();
    let hangs = issuer.hang();
    let node = issuer.add_to(AuthMesh::builder()).start().await.unwrap();
    soon("a fetch hangs", hangs.holds(1)).await;
    let token = issuer.token("alice");
    let verifier = node.verifier();
    let verifying = tokio::spawn(async move { verifier.verify(&token).await.is_ok() });
    issuer.recover();
    assert!(soon("it is verified", verifying).await.unwrap());
    node.shutdown().await;
}

#[tokio::test]
async fn opaque_tokens_are_known_to_their_issuer_alone() {
    let issuer = TestIssuer::new();
    let rules = UpstreamRules::new(Rules::for_audiences([issuer.audience()]).opaque(true));
    let node = AuthMesh::builder()
        .upstream(issuer.url(), issuer.introspection(), rules)
        .start()
        .await
        .unwrap();
    let token = issuer.mint().subject("bob").scope("orders:read").opaque();
    let verdict = node.verifier().verify(&token).await.unwrap();
    assert_eq!(verdict.subject(), Some("bob"));
    assert!(verdict.has_scope("orders:read"));
    let ended = issuer.mint().opaque();
    issuer.opaque_tokens().end(&ended);
    assert!(matches!(
        node.verifier().verify(&ended).await,
        Err(VerifyError::Inactive)
    ));
    node.shutdown().await;
}

#[test]
fn a_twin_has_other_bytes_and_the_same_claims() {
    let issuer = TestIssuer::builder().algorithm(Algorithm::ES256).build();
    let token = issuer.token("alice");
    let twin = forge::es256_twin(&token);
    assert_ne!(twin, token);
    assert_eq!(forge::claims(&twin), forge::claims(&token));
    assert_eq!(forge::es256_twin(&twin), token);
}
