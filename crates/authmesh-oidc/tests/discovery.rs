//! From an issuer to its keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, dead_code)]

mod provider;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use authmesh::ports::{FetchedBody, KeyFetch, KeySource, UpstreamFault};
use authmesh_oidc::{HttpClient, HttpKeySource};
use provider::{Provider, Reply, Request, json, json_with, status};

const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";
const METADATA: &str = r#"{"issuer":"{base}","jwks_uri":"{base}/jwks"}"#;
const KEYS: &str = r#"{"keys":[]}"#;

fn http() -> HttpClient {
    HttpClient::builder()
        .danger_allow_http(true)
        .environment_proxy(false)
        .build()
        .unwrap()
}

fn source(issuer: &str) -> HttpKeySource {
    HttpKeySource::discover(issuer, &http()).unwrap()
}

fn conditional() -> KeyFetch {
    KeyFetch {
        no_cache: false,
        etag: Some("\"v1\"".to_owned()),
    }
}

fn good(request: &Request) -> Reply {
    match request.path.as_str() {
        OPENID => json(METADATA),
        "/jwks" => json_with("ETag: \"v1\"\r\n", KEYS),
        _ => status("404 Not Found", ""),
    }
}

#[tokio::test]
async fn the_keys_of_an_issuer_are_found() {
    let provider = Provider::start(good).await;
    let source = source(&provider.url);
    assert!(provider.paths().is_empty(), "nothing is sent before the first fetch");
    let fetched = source.fetch(KeyFetch::default()).await.unwrap();
    assert_eq!(fetched.body, FetchedBody::Document(KEYS.into()));
    assert_eq!(provider.paths(), [OPENID, "/jwks"]);
}

#[tokio::test]
async fn the_address_of_the_keys_is_remembered_for_an_hour() {
    let provider = Provider::start(good).await;
    let source = source(&provider.url);
    source.fetch(KeyFetch::default()).await.unwrap();
    source.fetch(KeyFetch::default()).await.unwrap();
    assert_eq!(provider.paths(), [OPENID, "/jwks", "/jwks"]);

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_500)).await;
    tokio::time::resume();
    source.fetch(KeyFetch::default()).await.unwrap();
    assert_eq!(provider.paths().len(), 4, "not before the hour is over");

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(100)).await;
    tokio::time::resume();
    source.fetch(KeyFetch::default()).await.unwrap();
    assert_eq!(provider.paths()[4..], [OPENID, "/jwks"]);
}

#[tokio::test]
async fn zero_discovers_before_every_fetch() {
    let provider = Provider::start(good).await;
    let source = source(&provider.url).rediscover_after(Duration::ZERO);
    source.fetch(KeyFetch::default()).await.unwrap();
    source.fetch(KeyFetch::default()).await.unwrap();
    assert_eq!(provider.paths(), [OPENID, "/jwks", OPENID, "/jwks"]);
}

#[tokio::test]
async fn rfc_8414_is_asked_only_after_404() {
    let provider = Provider::start(|request| match request.path.as_str() {
        "/.well-known/oauth-authorization-server/tenant" => {
            json(r#"{"issuer":"{base}/tenant","jwks_uri":"{base}/tenant/jwks"}"#)
        }
        "/tenant/jwks" => json(KEYS),
        _ => status("404 Not Found", ""),
    })
    .await;
    source(&format!("{}/tenant", provider.url))
        .fetch(KeyFetch::default())
        .await
        .unwrap();
    assert_eq!(
        provider.paths(),
        [
            "/tenant/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server/tenant",
            "/tenant/jwks"
        ]
    );

    for other in ["403 Forbidden", "500 Internal Server Error"] {
        let provider = Provider::start(move |_| status(other, "")).await;
        let error = source(&provider.url).fetch(KeyFetch::default()).await.unwrap_err();
        assert_eq!(error.fault, UpstreamFault::Answer);
        assert_eq!(provider.paths(), [OPENID], "{other}");
    }
}

#[tokio::test]
async fn an_issuer_without_any_document_is_told_so() {
    let provider = Provider::start(|_| status("404 Not Found", "")).await;
    let error = source(&provider.url).fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Answer);
    assert!(error.what.contains("no discovery document"), "{}", error.what);
    assert_eq!(provider.paths(), [OPENID, OAUTH]);
}

#[tokio::test]
async fn the_document_of_another_issuer_is_refused() {
    let provider = Provider::start(|request| match request.path.as_str() {
        OPENID => json(r#"{"issuer":"https://other.example","jwks_uri":"{base}/jwks"}"#),
        _ => json(KEYS),
    })
    .await;
    let error = source(&provider.url).fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Answer);
    assert!(error.what.contains("https://other.example"), "{}", error.what);
    assert_eq!(provider.paths(), [OPENID], "its keys are not even asked for");
}

#[tokio::test]
async fn the_slash_at_the_end_of_an_issuer_counts() {
    let provider = Provider::start(|request| match request.path.as_str() {
        "/tenant/.well-known/openid-configuration" => json(r#"{"issuer":"{base}/tenant/","jwks_uri":"{base}/jwks"}"#),
        "/jwks" => json(KEYS),
        _ => status("404 Not Found", ""),
    })
    .await;
    source(&format!("{}/tenant/", provider.url))
        .fetch(KeyFetch::default())
        .await
        .unwrap();
    let error = source(&format!("{}/tenant", provider.url))
        .fetch(KeyFetch::default())
        .await
        .unwrap_err();
    assert!(error.what.contains("slash at the end"), "{}", error.what);
}

#[tokio::test]
async fn a_redirected_or_oversized_discovery_is_refused() {
    let provider = Provider::start(|_| status("301 Moved Permanently", "Location: https://other.example/x\r\n")).await;
    let error = source(&provider.url).fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Answer);
    assert!(error.what.contains("https://other.example/x"), "{}", error.what);
    assert_eq!(provider.paths(), [OPENID]);

    let provider = Provider::start(|_| json(&" ".repeat(256 * 1024 + 1))).await;
    let error = source(&provider.url).fetch(KeyFetch::default()).await.unwrap_err();
    assert!(error.what.contains("raise discovery_limit"), "{}", error.what);
}

#[tokio::test]
async fn retry_after_on_discovery_is_handed_on() {
    let provider = Provider::start(|_| status("503 Service Unavailable", "Retry-After: 9\r\n")).await;
    let error = source(&provider.url).fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(9)));
}

/// A provider whose key set moves from `/jwks` to `/moved` when the counter is raised.
async fn moving(gone: &'static str) -> (Provider, Arc<AtomicUsize>) {
    let moved = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&moved);
    let provider = Provider::start(move |request| {
        let moved = seen.load(Ordering::SeqCst) > 0;
        match request.path.as_str() {
            OPENID if moved => json(r#"{"issuer":"{base}","jwks_uri":"{base}/moved"}"#),
            "/moved" if moved => json(KEYS),
            "/jwks" if moved => status(gone, ""),
            _ => good(request),
        }
    })
    .await;
    (provider, moved)
}

#[tokio::test]
async fn a_key_set_that_moved_is_found_again_at_once() {
    let (provider, moved) = moving("410 Gone").await;
    let source = source(&provider.url);
    source.fetch(KeyFetch::default()).await.unwrap();
    moved.store(1, Ordering::SeqCst);
    source.fetch(conditional()).await.unwrap();
    assert_eq!(provider.paths()[2..], ["/jwks", OPENID, "/moved"]);

    let requests = provider.requests();
    assert_eq!(requests[2].header("if-none-match"), Some("\"v1\""));
    assert_eq!(
        requests[3].header("cache-control"),
        Some("no-cache"),
        "a stale edge would name the old address"
    );
    assert_eq!(
        requests[4].header("if-none-match"),
        None,
        "the tag belongs to the old address"
    );

    source.fetch(conditional()).await.unwrap();
    let last = provider.requests().pop().unwrap();
    assert_eq!(
        (last.path.as_str(), last.header("if-none-match")),
        ("/moved", Some("\"v1\""))
    );
}

#[tokio::test]
async fn being_asked_to_slow_down_is_no_reason_to_discover() {
    for line in ["429 Too Many Requests", "500 Internal Server Error"] {
        let (provider, moved) = moving(line).await;
        let source = source(&provider.url);
        source.fetch(KeyFetch::default()).await.unwrap();
        moved.store(1, Ordering::SeqCst);
        source.fetch(KeyFetch::default()).await.unwrap_err();
        assert_eq!(provider.paths()[2..], ["/jwks"], "{line}");
    }
}

#[tokio::test]
async fn one_fetch_never_sends_more_than_four_requests() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    // Names another address every time, through the second road, and serves keys only once.
    let provider = Provider::start(move |request| {
        let call = seen.fetch_add(1, Ordering::SeqCst);
        match request.path.as_str() {
            OAUTH => json(&format!(r#"{{"issuer":"{{base}}","jwks_uri":"{{base}}/jwks{call}"}}"#)),
            "/jwks1" if call == 2 => json(KEYS),
            _ => status("404 Not Found", ""),
        }
    })
    .await;
    let source = source(&provider.url);
    source.fetch(KeyFetch::default()).await.unwrap();
    source.fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(provider.paths()[3..], ["/jwks1", OPENID, OAUTH, "/jwks5"]);
}

#[tokio::test]
async fn an_address_that_is_wrong_from_the_start_is_not_rediscovered_in_the_same_fetch() {
    let provider = Provider::start(|request| match request.path.as_str() {
        OPENID => json(METADATA),
        _ => status("404 Not Found", ""),
    })
    .await;
    let source = source(&provider.url);
    let error = source.fetch(KeyFetch::default()).await.unwrap_err();
    assert!(error.what.contains("404"), "{}", error.what);
    assert_eq!(provider.paths(), [OPENID, "/jwks"]);
    source.fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(provider.paths()[2..], [OPENID, "/jwks"], "the address was forgotten");
}

#[tokio::test]
async fn an_address_that_discovery_confirms_is_asked_once_per_fetch() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&calls);
    let provider = Provider::start(move |request| match request.path.as_str() {
        OPENID => json(METADATA),
        _ if seen.fetch_add(1, Ordering::SeqCst) == 0 => json(KEYS),
        _ => status("403 Forbidden", ""),
    })
    .await;
    let source = source(&provider.url);
    source.fetch(KeyFetch::default()).await.unwrap();
    let error = source.fetch(KeyFetch::default()).await.unwrap_err();
    assert!(error.what.contains("403"), "{}", error.what);
    assert_eq!(provider.paths()[2..], ["/jwks", OPENID]);
}
