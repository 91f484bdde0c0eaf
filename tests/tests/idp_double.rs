//! The identity provider of our own: what it claims to count it has counted, and each way to misbehave is that one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use authmesh_tests::client::{http, send, try_send};
use authmesh_tests::forge;
use authmesh_tests::idp_double::{Edge, IdpDouble, Manner, Page};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(10);

async fn kids(idp: &IdpDouble, no_cache: bool) -> Vec<String> {
    let mut request = http().get(idp.jwks_url());
    if no_cache {
        request = request.header("Cache-Control", "no-cache");
    }
    let set = send(request).await.expect(200, "the key set").json();
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    set["keys"].as_array().unwrap().iter().map(kid).collect()
}

#[tokio::test]
async fn every_request_is_counted_with_what_it_said() {
    let idp = IdpDouble::start().await;
    let client = http();
    let found = send(client.get(idp.issuer() + "/.well-known/openid-configuration")).await;
    assert_eq!(found.json()["jwks_uri"], idp.jwks_url());
    let set = send(client.get(idp.jwks_url())).await;
    let tag = set.header("etag").to_owned();
    let again = client.get(idp.jwks_url() + "?kid=k").header("If-None-Match", &tag);
    send(again.header("Cache-Control", "no-cache"))
        .await
        .expect(304, "the same set");
    send(client.get(idp.issuer() + "/elsewhere"))
        .await
        .expect(404, "there is nothing else");
    assert_eq!((idp.key_sets(), idp.discoveries()), (2, 1));
    let asked: Vec<_> = idp
        .asked()
        .into_iter()
        .map(|asked| (asked.page, asked.no_cache, asked.if_none_match, asked.status))
        .collect();
    assert_eq!(
        asked,
        [
            (Page::Discovery, false, None, 200),
            (Page::KeySet, false, None, 200),
            (Page::KeySet, true, Some(tag), 304),
            (Page::Other, false, None, 404),
        ]
    );
}

#[tokio::test]
async fn keys_are_rotated_retired_and_withdrawn() {
    let idp = IdpDouble::start().await;
    assert_eq!(kids(&idp, false).await, ["key-1"]);
    idp.rotate(true);
    assert_eq!(forge::header(&idp.token("alice"))["kid"], "key-2");
    assert_eq!(kids(&idp, false).await, ["key-1", "key-2"]);
    idp.retire();
    assert_eq!(kids(&idp, false).await, ["key-2"]);
    idp.rotate(false);
    assert_eq!(kids(&idp, false).await, ["key-3"]);
    idp.publish_also(&[json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0"})]);
    assert_eq!(kids(&idp, false).await, ["secret", "key-3"]);
    assert_eq!(forge::header(&idp.token_of_unknown_kid("bogus"))["kid"], "bogus");
}

#[tokio::test]
async fn an_edge_that_is_out_of_date_is_passed_by_no_cache_alone() {
    let idp = IdpDouble::start().await;
    idp.edge(Edge::Stale);
    idp.rotate(false);
    assert_eq!(kids(&idp, false).await, ["key-1"]);
    assert_eq!(kids(&idp, true).await, ["key-2"]);
    assert_eq!(kids(&idp, false).await, ["key-1"]);
    idp.edge(Edge::None);
    idp.edge(Edge::Flapping);
    idp.rotate(false);
    let seen = [
        kids(&idp, false).await,
        kids(&idp, false).await,
        kids(&idp, true).await,
        kids(&idp, true).await,
    ];
    assert_ne!(seen[0], seen[1], "the edges take turns");
    assert_eq!(seen[2..], [["key-3"], ["key-3"]]);
}

#[tokio::test]
async fn faults_are_the_ones_that_were_asked_for() {
    let idp = IdpDouble::start().await;
    let ask = async || send(http().get(idp.jwks_url())).await;
    idp.behave(Manner::Failing(500));
    ask().await.expect(500, "a failure");
    idp.behave(Manner::TooMany { retry_after: 7 });
    assert_eq!(ask().await.expect(429, "too many").header("retry-after"), "7");
    idp.behave(Manner::NotModified);
    ask().await.expect(304, "for ever");
    idp.behave(Manner::OfType("text/html"));
    assert_eq!(ask().await.header("content-type"), "text/html");
    idp.max_age(Some(40));
    idp.behave(Manner::Late(Duration::from_millis(300)));
    let begin = Instant::now();
    assert_eq!(ask().await.header("cache-control"), "max-age=40");
    assert!(begin.elapsed() >= Duration::from_millis(300));

    let impatient = async || try_send(http().get(idp.jwks_url()).timeout(Duration::from_millis(500))).await;
    for manner in [
        Manner::Silent,
        Manner::Dripping(Duration::from_millis(100)),
        Manner::Held,
    ] {
        idp.behave(manner);
        assert!(impatient().await.unwrap_err().is_timeout(), "{manner:?}");
    }
}

#[tokio::test]
async fn who_is_held_gets_what_is_true_when_it_is_let_go() {
    let idp = IdpDouble::start().await;
    idp.behave(Manner::Held);
    let (seen, ()) = tokio::join!(kids(&idp, false), async {
        idp.asked_for_keys(1, SOON).await;
        idp.rotate(false);
        idp.behave(Manner::Prompt);
    });
    assert_eq!(seen, ["key-2"]);
}

#[tokio::test]
async fn it_goes_down_with_its_connections_and_comes_back_on_its_port() {
    let idp = IdpDouble::start().await;
    // A client of its own each time: one that keeps connections sees the end of an old one first.
    let ask = async || try_send(http().get(idp.jwks_url()).timeout(SOON)).await;
    assert_eq!(ask().await.unwrap().status, 200);
    for _ in 0..3 {
        idp.down().await;
        assert!(ask().await.unwrap_err().is_connect(), "refused");
        idp.up().await;
        assert_eq!(ask().await.unwrap().status, 200);
    }
}
