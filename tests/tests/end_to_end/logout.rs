//! Back-channel logout by a real identity provider: `oidc-provider` makes the logout tokens and posts them.

use std::path::Path;

use authmesh_tests::authmesh::{Authmesh, Shared};
use authmesh_tests::client::{Answer, http, send};
use authmesh_tests::forge;
use authmesh_tests::idp::Idp;
use authmesh_tests::ports::Port;
use authmesh_tests::redis_server::RedisServer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::redis::{coherent, eventually, key_ring, recovered, token, until};

const PATH: &str = "/backchannel-logout";

/// The session that the identity provider writes into the access tokens of a client.
fn session(client: &str) -> String {
    format!("session-of-{client}")
}

/// A node with a logout listener that takes the tokens for `alice` and `bob`.
async fn node(idp: &Idp, redis: &RedisServer, ring: &Path, name: &str, logout: &Port) -> Authmesh {
    let more = format!(
        "\n[[routes]]\npath = \"/refund\"\nsensitive = true\n\n[issuers.logout]\nclient_ids = [\"alice\", \"bob\"]\n\
         require_typ = true\n\n[logout]\nlisten = \"{}\"\n",
        logout.address()
    );
    let shared = Shared {
        node: name,
        redis: &[redis.url()],
        key_ring: ring.to_str().unwrap(),
        issuer: "",
        more: &more,
        unready: false,
    };
    Authmesh::start_shared(&idp.issuer(), shared).await
}

async fn post(logout: &Port, token: &str) -> Answer {
    send(http().post(logout.url(PATH)).form(&[("logout_token", token)])).await
}

async fn marks(node: &Authmesh) -> Value {
    node.admin(reqwest::Method::GET, "/v1/marks", None)
        .await
        .expect(200, "the marks")
        .json()
}

async fn metric(node: &Authmesh, start: &str) -> u64 {
    let text = node.get("/metrics").await.expect(200, "the metrics").body.clone();
    let line = text.lines().find(|line| line.starts_with(start));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_provider_ends_is_refused_by_another_node() {
    let (folder, idp, redis) = (
        TempDir::new().unwrap(),
        Idp::start().await,
        RedisServer::start(&[]).await,
    );
    let ring = key_ring(&folder);
    let (to_a, to_b) = (Port::reserve(), Port::reserve());
    let mut a = node(&idp, &redis, &ring, "a", &to_a).await;
    let b = node(&idp, &redis, &ring, "b", &to_b).await;
    let (alice, bob) = (token(&idp, "alice").await, token(&idp, "bob").await);
    coherent(&[&a, &b], &alice).await;
    coherent(&[&a, &b], &bob).await;

    let out = idp.log_out("alice", Some(&session("alice")), &to_a.url(PATH)).await;
    assert_eq!((out.status, &*out.body, &out.error), (200, "", &None));
    let (header, claims) = (forge::header(&out.token), forge::claims(&out.token));
    assert_eq!(
        (&header["typ"], &claims["aud"]),
        (&json!("logout+jwt"), &json!("alice"))
    );
    assert_eq!(claims["sid"], session("alice"));
    a.verify(&alice)
        .await
        .expect(401, "where the provider said it, at once");
    until(&b, "/", &alice, 401, 503).await;
    b.verify(&bob).await.expect(200, "who has nothing to do with it");

    // Again, to either node: nothing is said, and the mark is the same.
    let before = (
        marks(&a).await,
        metric(&a, "authmesh_statements_total{direction=\"made\"").await,
    );
    for to in [&to_a, &to_b] {
        let again = post(to, &out.token).await;
        again.expect(200, "a replay");
        assert_eq!(again.header("cache-control"), "no-store");
    }
    assert_eq!(
        (
            marks(&a).await,
            metric(&a, "authmesh_statements_total{direction=\"made\"").await
        ),
        before
    );
    assert_eq!(metric(&b, "authmesh_statements_total{direction=\"made\"").await, 0);
    assert_eq!(before.0["marks"][0]["by"], "back-channel logout");
    assert_eq!(before.0["marks"][0]["not_before"], claims["iat"]);

    // Without a session, all of the subject's.
    let out = idp.log_out("bob", None, &to_b.url(PATH)).await;
    assert_eq!((out.status, forge::claims(&out.token)["sid"].is_null()), (200, true));
    until(&a, "/", &bob, 401, 503).await;

    // It is no access token, and an access token is none of its kind. Nor does a client that nobody named log anybody out.
    a.verify(&out.token)
        .await
        .expect(401, "a logout token at the front door");
    for wrong in [token(&idp, "carol").await, idp.logout_token("carol", None).await] {
        let refused = post(&to_a, &wrong).await;
        refused.expect(400, "no logout token for this service");
        assert_eq!(refused.json()["error"], "invalid_request");
    }
    assert_eq!(
        metric(&a, "authmesh_logouts_total{node=\"a\",outcome=\"refused\"}").await,
        2
    );
    let log = a.process().log();
    assert!(log.contains("back-channel logout") && !log.contains(forge::signature(&out.token)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_that_the_cluster_did_not_confirm_is_answered_503_until_it_did() {
    let (folder, idp, mut redis) = (
        TempDir::new().unwrap(),
        Idp::start().await,
        RedisServer::start(&[]).await,
    );
    let ring = key_ring(&folder);
    let (to_a, to_b) = (Port::reserve(), Port::reserve());
    let a = node(&idp, &redis, &ring, "a", &to_a).await;
    let b = node(&idp, &redis, &ring, "b", &to_b).await;
    let (alice, bob) = (token(&idp, "alice").await, token(&idp, "bob").await);
    coherent(&[&a, &b], &alice).await;
    coherent(&[&a, &b], &bob).await;

    redis.kill();
    let out = idp.log_out("alice", Some(&session("alice")), &to_a.url(PATH)).await;
    assert_eq!((out.status, out.retry_after.as_deref()), (503, Some("1")), "{out:?}");
    assert!(out.error.is_some(), "the provider knows that it did not work");
    a.verify(&alice).await.expect(401, "in force where it was said");
    post(&to_a, &out.token).await.expect(503, "a replay is no confirmation");

    redis.restart().await;
    eventually("the replay is confirmed", async || {
        post(&to_a, &out.token).await.status == 200
    })
    .await;
    until(&b, "/", &alice, 401, 500).await;
    recovered(&[&a, &b], &bob, &[&alice]).await;
    assert_eq!(metric(&a, "authmesh_statements_total{direction=\"made\"").await, 1);
}
