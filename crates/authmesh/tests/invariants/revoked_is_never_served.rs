//! Invariant 1: once a node has applied a mark, no path on that node yields an answer that the mark voids.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::proto::crypto::ScopeKind;
use authmesh::{
    AuthMesh, Client, JwtId, Outcome, RevokeError, Session, Subject, Target, Token, VerifyError, WholeIssuer,
};
use serde_json::json;

use crate::support::{
    TestIssuer, builder, cluster_with, es256, eventually, manual_clock, node, node_through, poll_once, ring, soon,
    twin, wired,
};

async fn is_revoked(mesh: &AuthMesh, token: &str) -> bool {
    matches!(mesh.verifier().verify(token).await, Err(VerifyError::Revoked(_)))
}

/// From memory, with a fresh signature check, and for a sensitive route.
async fn assert_refused_on_every_path(mesh: &AuthMesh, token: &str, kind: ScopeKind) {
    let verifier = mesh.verifier();
    let refused = VerifyError::Revoked(kind);
    assert_eq!(verifier.verify(token).await.unwrap_err(), refused, "as it stands");
    let fresh = verifier.clone().max_age(Duration::ZERO);
    assert_eq!(fresh.verify(token).await.unwrap_err(), refused, "checked freshly");
    assert_eq!(
        verifier.sensitive().verify(token).await.unwrap_err(),
        refused,
        "sensitive"
    );
}

async fn assert_hit(mesh: &AuthMesh, token: &str) {
    mesh.verifier().verify(token).await.unwrap();
    assert_eq!(mesh.verifier().answer(token).await.unwrap().outcome, Outcome::Hit);
}

/// Three nodes that know two issuers.
async fn three(cluster: &Cluster, issuer: &TestIssuer, other: &TestIssuer) -> [AuthMesh; 3] {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let node = builder(name, issuer).issuer(other.url(), other.source(), other.rules());
        nodes.push(node.join(Arc::new(cluster.clone())).start().await.unwrap());
    }
    nodes.try_into().unwrap()
}

/// Revokes on one node what three hold in memory, and looks on all of them. The other issuer's token with the same claims
/// stays good: a scope is a value *of an issuer*.
async fn revokes_everywhere(kind: ScopeKind, target: impl FnOnce(&TestIssuer, &str) -> Target) {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let other = issuer.other();
    let nodes = three(&cluster, &issuer, &other).await;
    let more = json!({"jti": "j1", "sid": "s1", "client_id": "app"});
    let (token, spared) = (issuer.token_with(more.clone()), other.token_with(more));
    for node in &nodes {
        assert_hit(node, &token).await;
        assert_hit(node, &spared).await;
    }

    nodes[0].revoke(target(&issuer, &token)).await.unwrap();

    assert_refused_on_every_path(&nodes[0], &token, kind).await;
    for node in &nodes[1..] {
        eventually("the mark reaches every node", || is_revoked(node, &token)).await;
        assert_refused_on_every_path(node, &token, kind).await;
    }
    for node in &nodes {
        assert_hit(node, &spared).await;
        node.verifier().max_age(Duration::ZERO).verify(&spared).await.unwrap();
    }
}

#[tokio::test]
async fn by_token() {
    revokes_everywhere(ScopeKind::Token, |_, token| Token::new(token).into()).await;
}

#[tokio::test]
async fn by_jti() {
    revokes_everywhere(ScopeKind::JwtId, |issuer, _| JwtId::new(issuer.url(), "j1").into()).await;
}

#[tokio::test]
async fn by_session() {
    revokes_everywhere(ScopeKind::Session, |issuer, _| Session::new(issuer.url(), "s1").into()).await;
}

#[tokio::test]
async fn by_subject() {
    revokes_everywhere(ScopeKind::Subject, |issuer, _| {
        Subject::new(issuer.url(), "alice").into()
    })
    .await;
}

#[tokio::test]
async fn by_client() {
    revokes_everywhere(ScopeKind::Client, |issuer, _| Client::new(issuer.url(), "app").into()).await;
}

#[tokio::test]
async fn by_issuer() {
    revokes_everywhere(ScopeKind::Issuer, |issuer, _| WholeIssuer::new(issuer.url()).into()).await;
}

#[tokio::test]
async fn and_nobody_else_is() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let bob = issuer.token_with(json!({"sub": "bob", "sid": "s2", "jti": "j2", "azp": "other"}));
    assert_hit(&mesh, &bob).await;

    mesh.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    mesh.revoke(Session::new(issuer.url(), "s1")).await.unwrap();
    mesh.revoke(JwtId::new(issuer.url(), "j1")).await.unwrap();
    mesh.revoke(Client::new(issuer.url(), "app")).await.unwrap();
    mesh.revoke(Token::new(issuer.token_with(json!({"sub": "bob"}))))
        .await
        .unwrap();

    assert_hit(&mesh, &bob).await;
}

#[tokio::test]
async fn not_after_clear_or_invalidate() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let token = issuer.token_with(json!({}));
    assert_hit(&a, &token).await;
    assert_hit(&b, &token).await;
    a.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    eventually("b has the mark", || is_revoked(&b, &token)).await;

    a.clear().await.unwrap();
    assert_refused_on_every_path(&a, &token, ScopeKind::Subject).await;
    a.verifier().invalidate(&token).await.unwrap();
    assert_refused_on_every_path(&a, &token, ScopeKind::Subject).await;
    let applied = b.stats().counts.statements_applied;
    b.clear().await.unwrap();
    assert!(b.stats().counts.statements_applied > applied, "b has applied the clear");
    assert_refused_on_every_path(&b, &token, ScopeKind::Subject).await;
}

#[tokio::test]
async fn not_from_memory_after_a_rotation() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({}));
    assert_hit(&mesh, &token).await;
    mesh.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();

    issuer.new_key();
    issuer.publish();
    mesh.refresh_keys(issuer.url()).await.unwrap().unwrap();
    // The new set is in use: it verifies what only the new key signs.
    mesh.verifier()
        .verify(issuer.token_with(json!({"sub": "bob"})))
        .await
        .unwrap();
    assert_refused_on_every_path(&mesh, &token, ScopeKind::Subject).await;
}

#[tokio::test]
async fn not_while_blind() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    let before = issuer.token_with(json!({}));
    let during = issuer.token_with(json!({"sub": "bob"}));
    let kept = issuer.token_with(json!({"sub": "carol"}));
    for token in [&before, &during, &kept] {
        assert_hit(&mesh, token).await;
    }
    mesh.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();

    cluster.set_up(false);
    clock.advance(Duration::from_secs(4));
    assert_eq!(
        mesh.verifier().answer(&kept).await.unwrap().outcome,
        Outcome::Blind,
        "the allowance is in use"
    );
    let refused = |kind| VerifyError::Revoked(kind);
    assert_eq!(
        mesh.verifier().verify(&before).await.unwrap_err(),
        refused(ScopeKind::Subject)
    );
    let fresh = mesh.verifier().max_age(Duration::ZERO);
    assert_eq!(fresh.verify(&before).await.unwrap_err(), refused(ScopeKind::Subject));

    // One that cannot be committed is in force here from its first poll.
    assert!(
        poll_once(std::future::IntoFuture::into_future(
            mesh.revoke(Subject::new(issuer.url(), "bob"))
        ))
        .await
        .is_none()
    );
    assert_eq!(
        mesh.verifier().verify(&during).await.unwrap_err(),
        refused(ScopeKind::Subject)
    );
    assert_eq!(fresh.verify(&during).await.unwrap_err(), refused(ScopeKind::Subject));
}

/// Trap 9.
#[tokio::test]
async fn not_by_the_twin_of_its_signature() {
    let (cluster, issuer) = (Cluster::new(), es256());
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({}));
    let twin = twin(&token);
    assert_ne!(token, twin);
    assert_hit(&mesh, &token).await;
    assert_hit(&mesh, &twin).await;

    mesh.revoke(Token::new(&*token)).await.unwrap();
    assert_refused_on_every_path(&mesh, &token, ScopeKind::Token).await;
    assert_refused_on_every_path(&mesh, &twin, ScopeKind::Token).await;
}

/// Trap 8.
#[tokio::test]
async fn an_exception_spares_one_session_and_no_more() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let session = |sid| issuer.token_with(json!({"sid": sid}));
    let (kept, lost, none) = (session("s1"), session("s2"), issuer.token_with(json!({})));
    for token in [&kept, &lost, &none] {
        assert_hit(&mesh, token).await;
    }
    let subject = || Subject::new(issuer.url(), "alice");

    mesh.revoke(subject()).except_session("s1").await.unwrap();
    assert_hit(&mesh, &kept).await;
    assert_refused_on_every_path(&mesh, &lost, ScopeKind::Subject).await;
    assert_refused_on_every_path(&mesh, &none, ScopeKind::Subject).await;

    // An earlier "all" stands beside a later "all but s1": any mark that voids, voids.
    mesh.revoke(subject()).not_before(issuer.now() - 60).await.unwrap();
    let old = issuer.token_with(json!({"sid": "s1", "iat": issuer.now() - 90}));
    assert_refused_on_every_path(&mesh, &old, ScopeKind::Subject).await;
    assert_hit(&mesh, &kept).await;

    mesh.revoke(subject()).await.unwrap();
    assert_refused_on_every_path(&mesh, &kept, ScopeKind::Subject).await;
    // A mark merges by maximum: a later one that reaches less far takes nothing back.
    mesh.revoke(subject()).not_before(issuer.now() - 60).await.unwrap();
    assert_refused_on_every_path(&mesh, &kept, ScopeKind::Subject).await;
}

#[tokio::test]
async fn not_by_a_verification_that_began_before() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let fetches = issuer.hang();
    let mesh = authmesh::AuthMesh::builder()
        .key_ring(ring())
        .issuer(issuer.url(), issuer.source(), issuer.rules())
        .join(Arc::new(cluster))
        .start()
        .await
        .unwrap();
    let (alice, bob) = (issuer.token_with(json!({})), issuer.token_with(json!({"sub": "bob"})));
    let verifier = mesh.verifier();
    let (mut revoked, mut control) = (pin!(verifier.verify(&alice)), pin!(verifier.verify(&bob)));
    assert!(poll_once(revoked.as_mut()).await.is_none(), "it waits for the keys");
    assert!(poll_once(control.as_mut()).await.is_none(), "it waits for the keys");
    fetches.holds(1).await;

    mesh.revoke(Subject::new(issuer.url(), "alice")).await.unwrap();
    fetches.lift();

    let refused = soon("the verification ends", revoked).await.unwrap_err();
    assert_eq!(refused, VerifyError::Revoked(ScopeKind::Subject));
    soon("the other one ends", control).await.unwrap();
    assert_refused_on_every_path(&mesh, &alice, ScopeKind::Subject).await;
}

/// A key that left the set voids what it signed, in memory too; what the others signed stays.
#[tokio::test]
async fn not_by_a_key_that_left_the_set() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let old = issuer.token_with(json!({}));
    issuer.new_key();
    issuer.publish();
    let new = issuer.token_with(json!({}));
    for token in [&old, &new] {
        mesh.verifier().verify(token).await.unwrap();
        assert_hit(&mesh, token).await;
    }
    issuer.retire_old_keys();
    mesh.refresh_keys(issuer.url()).await.unwrap().unwrap();
    assert_eq!(mesh.verifier().verify(&old).await.unwrap_err(), VerifyError::UnknownKey);
    assert_eq!(mesh.verifier().answer(&new).await.unwrap().outcome, Outcome::Hit);
}

/// What is revoked, or cannot be judged because the node is blind, can be revoked: the signature held.
#[tokio::test]
async fn a_revoked_token_can_be_revoked_again_and_a_blind_node_can_revoke() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let mesh = node_through("a", &wire, &issuer).await;
    let token = issuer.token_with(json!({"jti": "j1"}));
    mesh.revoke(JwtId::new(issuer.url(), "j1")).await.unwrap();
    let receipt = mesh.revoke(Token::new(&*token)).await.unwrap();
    assert_eq!(receipt.scope, "token");

    let never = wired(&cluster);
    never.faults().cut();
    let blind = node_through("b", &never, &issuer).await;
    let other = issuer.token_with(json!({"sub": "bob"}));
    assert_eq!(
        blind.verifier().verify(&other).await.unwrap_err(),
        VerifyError::Blind { blind_for: None }
    );
    let revoking = blind.clone();
    let revoked = tokio::spawn(async move { revoking.revoke(Token::new(other)).await });
    eventually("the blind node holds the mark", || async { blind.stats().marks == 1 }).await;
    never.faults().clear();
    soon("it is committed", revoked).await.unwrap().unwrap();
    // And only what verifies: another token's signature does not.
    let (first, second) = (issuer.token_with(json!({})), issuer.token_with(json!({"sub": "carol"})));
    let (input, signature) = (first.rsplit_once('.').unwrap().0, second.rsplit_once('.').unwrap().1);
    let refused = blind
        .revoke(Token::new(format!("{input}.{signature}")))
        .await
        .unwrap_err();
    assert_eq!(refused, RevokeError::Token(VerifyError::BadSignature));
}

/// Threads hit the same tokens all the time, each from its front, while one after the other is revoked.
#[tokio::test(flavor = "multi_thread")]
async fn not_from_the_front_of_any_thread() {
    const TOKENS: usize = 40;
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let verifier = mesh.verifier();
    let tokens: Vec<String> = (0..TOKENS)
        .map(|n| issuer.token_with(json!({"sub": format!("user-{n}")})))
        .collect();
    for token in &tokens {
        verifier.verify(token).await.unwrap();
    }
    // So many are revoked, and so many threads have filled their fronts.
    let (revoked, ready) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let look = || {
        // Twice let in, the third time served by the front.
        for token in tokens.iter().chain(&tokens).chain(&tokens) {
            assert!(verifier.try_hit(token).unwrap().is_ok());
        }
        ready.fetch_add(1, Ordering::AcqRel);
        let mut looks = 0;
        while revoked.load(Ordering::Acquire) < TOKENS {
            for (n, token) in tokens.iter().enumerate() {
                let since = revoked.load(Ordering::Acquire);
                if let Some(Ok(answer)) = verifier.try_hit(token) {
                    assert!(
                        n >= since,
                        "{:?} was revoked when it was asked for",
                        answer.verdict.subject()
                    );
                    looks += 1;
                }
            }
        }
        looks
    };
    let revoke_all = async {
        while ready.load(Ordering::Acquire) < 3 {
            tokio::task::yield_now().await;
        }
        for n in 0..TOKENS {
            mesh.revoke(Subject::new(issuer.url(), format!("user-{n}")))
                .await
                .unwrap();
            revoked.store(n + 1, Ordering::Release);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(look)).collect();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(revoke_all));
        let looks: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(looks.iter().all(|looks| *looks > 0), "{looks:?}");
    });
    for token in &tokens {
        assert!(is_revoked(&mesh, token).await);
    }
}

/// `invalidate` makes no mark: the token is good, and verified again, by every thread.
#[tokio::test(flavor = "multi_thread")]
async fn nor_is_a_verdict_that_was_invalidated() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let (verifier, token) = (mesh.verifier(), issuer.token_with(json!({})));
    let at_hand = || (0..4).map(|_| verifier.try_hit(&token).is_some()).collect::<Vec<_>>();
    for _ in 0..50 {
        verifier.verify(&token).await.unwrap();
        let (warm, done) = (Barrier::new(3), Barrier::new(3));
        std::thread::scope(|scope| {
            let look = || {
                assert_eq!(at_hand(), [true; 4]);
                warm.wait();
                done.wait();
                assert_eq!(at_hand(), [false; 4]);
            };
            for _ in 0..2 {
                scope.spawn(look);
            }
            warm.wait();
            let invalidated = verifier.invalidate(&token);
            let invalidated = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(invalidated));
            done.wait();
            assert!(invalidated.unwrap());
        });
    }
}
