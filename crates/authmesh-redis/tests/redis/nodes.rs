//! Nodes that share a real Redis: what one revokes, the other refuses, whatever happens to the server.

use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::FixedKeys;
use authmesh::ports::Clock as _;
use authmesh::proto::follower::FollowerConfig;
use authmesh::{AuthMesh, CommitState, KeyRing, Outcome, Rules, Subject, VerifyError};
use authmesh_redis::RedisAdapter;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::fixture::eventually;
use crate::server::Server;

pub(crate) const ISSUER: &str = "https://issuer.test";

/// An issuer with one key, which goes by the machine's clock.
pub(crate) struct Issuer(Ed25519KeyPair);

impl Issuer {
    pub(crate) fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn keys(&self) -> Arc<FixedKeys> {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key());
        let document = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]});
        Arc::new(FixedKeys::new(document.to_string()))
    }

    pub(crate) fn token(&self, subject: &str) -> String {
        let now = authmesh::clock::SystemClock.now().wall;
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "k"});
        let claims = json!({"iss": ISSUER, "aud": "api", "sub": subject, "iat": now, "exp": now + 600});
        let encode = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }
}

pub(crate) async fn node(name: &str, adapter: RedisAdapter, issuer: &Issuer) -> AuthMesh {
    // Repair as often as the tests look; the lease is the real one.
    let follower = FollowerConfig {
        watermark_period: Duration::from_millis(100),
        mint_period: Duration::from_millis(500),
        ..FollowerConfig::default()
    };
    AuthMesh::builder()
        .name(name)
        .key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap())
        .follower(follower)
        .issuer(ISSUER, issuer.keys(), Rules::for_audiences(["api"]))
        .join(Arc::new(adapter))
        .start()
        .await
        .unwrap()
}

async fn nodes(server: &Server, issuer: &Issuer) -> [AuthMesh; 2] {
    let adapter = || RedisAdapter::lazy(server.config()).unwrap();
    [node("a", adapter(), issuer).await, node("b", adapter(), issuer).await]
}

/// Two nodes that accept what they are shown, and tokens of Alice, Bob and Carol.
async fn coherent_nodes(server: &Server, issuer: &Issuer) -> ([AuthMesh; 2], [String; 3]) {
    let nodes = nodes(server, issuer).await;
    let tokens = ["alice", "bob", "carol"].map(|subject| issuer.token(subject));
    for mesh in &nodes {
        eventually("the node is coherent", async || {
            for token in &tokens {
                if !accepts(mesh, token).await {
                    return false;
                }
            }
            true
        })
        .await;
    }
    (nodes, tokens)
}

pub(crate) async fn accepts(mesh: &AuthMesh, token: &str) -> bool {
    mesh.verifier().sensitive().verify(token).await.is_ok()
}

pub(crate) async fn refuses(mesh: &AuthMesh, token: &str) -> bool {
    let verdict = mesh.verifier().verify(token).await;
    matches!(verdict, Err(VerifyError::Revoked(_)))
}

/// Revokes on `by`, which must be coherent, and waits until `on` refuses.
async fn revoke(by: &AuthMesh, on: &AuthMesh, subject: &str, token: &str) {
    let receipt = by.revoke(Subject::new(ISSUER, subject)).await.unwrap();
    assert_eq!(receipt.state, CommitState::Committed);
    assert!(receipt.single_copy, "there are no replicas");
    assert!(refuses(by, token).await);
    eventually("the other node refuses", async || refuses(on, token).await).await;
}

async fn blind(mesh: &AuthMesh, good: &str, revoked: &str) {
    eventually("the node knows that it is blind", async || !mesh.health().coherent).await;
    let sensitive = mesh.verifier().sensitive().verify(good).await.unwrap_err();
    assert!(
        matches!(sensitive, VerifyError::Blind { blind_for: Some(_) }),
        "{sensitive:?}"
    );
    let ordinary = mesh.verifier().answer(good).await.unwrap();
    assert_eq!(ordinary.outcome, Outcome::Blind, "served, and marked so");
    assert!(
        refuses(mesh, revoked).await,
        "what is known to be revoked is never served"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_revokes_the_other_refuses() {
    let (server, issuer) = (Server::start().await, Issuer::new());
    let ([a, b], [alice, bob, _]) = coherent_nodes(&server, &issuer).await;
    revoke(&a, &b, "alice", &alice).await;
    assert!(accepts(&a, &bob).await && accepts(&b, &bob).await, "and nobody else");
    // A node that comes later reads the table.
    let [c, _] = nodes(&server, &issuer).await;
    eventually("the newcomer refuses", async || refuses(&c, &alice).await).await;
    eventually("the newcomer is coherent", async || accepts(&c, &bob).await).await;
    eventually("members see each other", async || {
        a.members().await.is_ok_and(|members| members.len() >= 3)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_makes_nodes_blind_by_their_rule_and_they_recover() {
    let (server, issuer) = (Server::start().await, Issuer::new());
    let ([a, b], tokens) = coherent_nodes(&server, &issuer).await;
    let [alice, bob, carol] = &tokens;
    revoke(&a, &b, "alice", alice).await;
    server.freeze();
    for mesh in [&a, &b] {
        blind(mesh, carol, alice).await;
    }
    let said = a.revoke(Subject::new(ISSUER, "bob")).await.unwrap();
    assert_eq!(said.state, CommitState::Unconfirmed);
    assert!(refuses(&a, bob).await, "at its own node at once");

    server.thaw();
    for mesh in [&a, &b] {
        eventually("the node has recovered", async || accepts(mesh, carol).await).await;
        eventually("what was said meanwhile has arrived", async || refuses(mesh, bob).await).await;
        assert!(refuses(mesh, alice).await);
    }
    revoke(&b, &a, "carol", carol).await;
}

/// The new server is empty: nothing that was revoked may be forgotten, by those who were there or by who comes later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_died_and_came_back_empty_is_taught_every_mark_again() {
    let (mut server, issuer) = (Server::start().await, Issuer::new());
    let ([a, b], tokens) = coherent_nodes(&server, &issuer).await;
    let [alice, bob, carol] = &tokens;
    revoke(&a, &b, "alice", alice).await;
    server.kill();
    for mesh in [&a, &b] {
        blind(mesh, carol, alice).await;
    }
    // Born blind: it has no marks and answers nothing.
    let [late, _] = nodes(&server, &issuer).await;
    let nothing = late.verifier().verify(alice).await.unwrap_err();
    assert_eq!(nothing, VerifyError::Blind { blind_for: None });

    server.restart().await;
    for mesh in [&a, &b] {
        eventually("the node has recovered", async || accepts(mesh, carol).await).await;
        assert!(refuses(mesh, alice).await);
    }
    eventually("the mark stands in the new table", async || refuses(&late, alice).await).await;
    eventually("the late node is coherent", async || accepts(&late, carol).await).await;
    revoke(&b, &a, "bob", bob).await;
    eventually("the late node refuses too", async || refuses(&late, bob).await).await;
}
