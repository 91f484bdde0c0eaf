//! One key set at a known address: what is sent, what is taken, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, dead_code)]

mod provider;

use std::time::Duration;

use authmesh::ports::{Fetched, FetchedBody, KeyFetch, KeySource, UpstreamError, UpstreamFault};
use authmesh_oidc::{HttpClient, HttpClientBuilder, HttpKeySource};
use provider::{Flood, Provider, Reply, json, json_with, status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const KEYS: &str = r#"{"keys":[]}"#;

fn local() -> HttpClientBuilder {
    HttpClient::builder().danger_allow_http(true).environment_proxy(false)
}

fn source(provider: &Provider, http: HttpClientBuilder) -> HttpKeySource {
    HttpKeySource::jwks_url(&format!("{}/jwks?tenant=hidden", provider.url), &http.build().unwrap()).unwrap()
}

async fn fetch(provider: &Provider, request: KeyFetch) -> Result<Fetched, UpstreamError> {
    source(provider, local()).fetch(request).await
}

/// Fetches with nothing special and expects an error, which must not show the query of the URL.
async fn error(provider: &Provider, http: HttpClientBuilder) -> UpstreamError {
    let error = source(provider, http).fetch(KeyFetch::default()).await.unwrap_err();
    assert!(!error.what.contains("hidden"), "{}", error.what);
    error
}

#[track_caller]
fn assert_answer(error: &UpstreamError, word: &str) {
    assert_eq!(error.fault, UpstreamFault::Answer, "{}", error.what);
    assert!(error.what.contains(word), "{}", error.what);
}

#[tokio::test]
async fn a_document_comes_with_its_tag_its_age_and_the_providers_clock() {
    let provider = Provider::start(|_| {
        json_with(
            "ETag: \"v1\"\r\nCache-Control: public, max-age=300\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            KEYS,
        )
    })
    .await;
    let fetched = fetch(&provider, KeyFetch::default()).await.unwrap();
    assert_eq!(
        fetched,
        Fetched {
            body: FetchedBody::Document(KEYS.into()),
            etag: Some("\"v1\"".to_owned()),
            max_age: Some(Duration::from_secs(300)),
            date: Some(784_111_777),
        }
    );
    let request = provider.requests().remove(0);
    assert_eq!(request.path, "/jwks?tenant=hidden");
    assert_eq!(request.header("cache-control"), None);
    assert_eq!(request.header("if-none-match"), None);
    assert!(request.header("user-agent").unwrap().starts_with("authmesh/"));
    assert_eq!(
        request.header("accept-encoding"),
        None,
        "limits count the bytes that come"
    );
}

#[tokio::test]
async fn no_cache_and_the_entity_tag_are_sent() {
    let provider = Provider::start(|_| status("304 Not Modified", "Cache-Control: max-age=60\r\n")).await;
    let request = KeyFetch {
        no_cache: true,
        etag: Some("\"v1\"".to_owned()),
    };
    let fetched = fetch(&provider, request).await.unwrap();
    assert_eq!(fetched.body, FetchedBody::NotModified);
    assert_eq!(
        fetched.etag.as_deref(),
        Some("\"v1\""),
        "the tag that was sent still holds"
    );
    assert_eq!(fetched.max_age, Some(Duration::from_secs(60)));
    let request = provider.requests().remove(0);
    assert_eq!(request.header("cache-control"), Some("no-cache"));
    assert_eq!(request.header("if-none-match"), Some("\"v1\""));
}

#[tokio::test]
async fn not_modified_without_a_tag_is_an_error() {
    let provider = Provider::start(|_| status("304 Not Modified", "")).await;
    assert_answer(&error(&provider, local()).await, "304");
}

#[tokio::test]
async fn a_tag_that_is_no_header_value_is_not_sent() {
    let provider = Provider::start(|_| json(KEYS)).await;
    let request = KeyFetch {
        no_cache: false,
        etag: Some("\"a\"\r\nX-Evil: 1".to_owned()),
    };
    fetch(&provider, request).await.unwrap();
    let request = provider.requests().remove(0);
    assert_eq!(request.header("if-none-match"), None);
    assert_eq!(request.header("x-evil"), None);
}

#[tokio::test]
async fn a_redirect_is_refused_and_not_followed() {
    let provider = Provider::start(|_| status("302 Found", "Location: /elsewhere?hidden\r\n")).await;
    let error = error(&provider, local()).await;
    assert_answer(&error, "302");
    assert!(error.what.contains("/elsewhere"), "{}", error.what);
    assert!(error.what.contains("Configure the final address"), "{}", error.what);
    assert_eq!(provider.paths().len(), 1);
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10485760\r\n\r\n";
    let provider = Provider::start(move |_| Reply::ThenDrip(head.to_owned())).await;
    assert_answer(&error(&provider, local()).await, "10485760 bytes, the limit is 524288");
}

#[tokio::test]
async fn a_body_without_end_is_read_only_to_the_limit() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let provider = Provider::start(move |_| Reply::ThenFlood(head.to_owned())).await;
    assert_answer(&error(&provider, local()).await, "raise key_set_limit");
    let Flood::Stopped(sent) = provider.flood().await else {
        panic!("the client read on to the end");
    };
    assert!(sent > 0, "the flood must have begun");
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let provider = Provider::start(|_| json(KEYS)).await;
    let exact = source(&provider, local().key_set_limit(KEYS.len()));
    assert!(exact.fetch(KeyFetch::default()).await.is_ok());
    assert_answer(
        &error(&provider, local().key_set_limit(KEYS.len() - 1)).await,
        "the limit is 10",
    );

    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{}\r\n7\r\n{}\r\n0\r\n\r\n",
        &KEYS[..4],
        &KEYS[4..]
    );
    let provider = Provider::start(move |_| Reply::Whole(chunked.clone())).await;
    let exact = source(&provider, local().key_set_limit(KEYS.len()));
    let fetched = exact.fetch(KeyFetch::default()).await.unwrap();
    assert_eq!(fetched.body, FetchedBody::Document(KEYS.into()));
    assert_answer(
        &error(&provider, local().key_set_limit(KEYS.len() - 1)).await,
        "the limit is 10",
    );
}

#[tokio::test]
async fn a_truncated_body_is_no_document() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\":[",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"keys\":[\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        let provider = Provider::start(move |_| Reply::ThenClose(head.to_owned())).await;
        let error = error(&provider, local()).await;
        assert_eq!(error.fault, UpstreamFault::Unreachable, "{}", error.what);
        assert!(error.what.contains("broke before"), "{}", error.what);
    }
}

#[tokio::test]
async fn a_provider_that_drips_runs_into_the_timeout_of_the_whole_request() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n";
    let provider = Provider::start(move |_| Reply::ThenDrip(head.to_owned())).await;
    let error = error(&provider, local().request_timeout(Duration::from_millis(300))).await;
    assert_eq!(error.fault, UpstreamFault::Timeout, "{}", error.what);
    assert!(error.what.contains("300ms"), "{}", error.what);
}

#[tokio::test]
async fn a_provider_that_says_nothing_runs_into_the_timeout() {
    let provider = Provider::start(|_| Reply::Silence).await;
    let error = error(&provider, local().request_timeout(Duration::from_millis(100))).await;
    assert_eq!(error.fault, UpstreamFault::Timeout, "{}", error.what);
}

#[tokio::test]
async fn only_json_is_taken() {
    for (content_type, word) in [
        ("text/html; charset=utf-8", "an HTML page"),
        ("image/png", "content of type \"image/png\""),
    ] {
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {{length}}\r\n\r\n{KEYS}");
        let provider = Provider::start(move |_| Reply::Whole(answer.clone())).await;
        assert_answer(&error(&provider, local()).await, word);
    }
    let provider = Provider::start(|_| json_with("Content-Encoding: gzip\r\n", KEYS)).await;
    assert_answer(&error(&provider, local()).await, "compressed");
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/jwk-set+json\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {{length}}\r\n\r\n{KEYS}");
        let provider = Provider::start(move |_| Reply::Whole(answer.clone())).await;
        assert!(fetch(&provider, KeyFetch::default()).await.is_ok(), "{headers}");
    }
}

#[tokio::test]
async fn retry_after_is_handed_on_and_capped() {
    for (line, header, expected) in [
        ("429 Too Many Requests", "Retry-After: 7\r\n", Some(7)),
        ("503 Service Unavailable", "Retry-After: 999999\r\n", Some(3_600)),
        ("503 Service Unavailable", "", None),
        (
            "429 Too Many Requests",
            "Date: Sun, 06 Nov 1994 08:49:07 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            Some(30),
        ),
        ("500 Internal Server Error", "Retry-After: 7\r\n", None),
    ] {
        let provider = Provider::start(move |_| status(line, header)).await;
        let error = error(&provider, local()).await;
        assert_answer(&error, &line[..3]);
        assert_eq!(error.retry_after, expected.map(Duration::from_secs), "{line}");
    }
}

#[tokio::test]
async fn other_statuses_are_no_documents() {
    for line in [
        "204 No Content",
        "206 Partial Content",
        "401 Unauthorized",
        "500 Internal Server Error",
    ] {
        let provider = Provider::start(move |_| status(line, "")).await;
        assert_answer(&error(&provider, local()).await, &line[..3]);
        assert_eq!(provider.paths().len(), 1, "no hidden retry");
    }
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks?hidden", listener.local_addr().unwrap());
    drop(listener);
    let source = HttpKeySource::jwks_url(&url, &local().build().unwrap()).unwrap();
    let error = source.fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Unreachable);
    assert!(error.what.contains("refused"), "{}", error.what);
    assert!(!error.what.contains("hidden"), "{}", error.what);
}

#[tokio::test]
async fn a_server_without_tls_is_unreachable_over_https() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/jwks?hidden", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Until the client hangs up, so that a reset cannot overtake the answer.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        rest
    });
    let source = HttpKeySource::jwks_url(&url, &local().system_roots(false).build().unwrap()).unwrap();
    let error = source.fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Unreachable, "{}", error.what);
    assert!(error.what.contains("no connection"), "{}", error.what);
    let sent = server.await.unwrap();
    assert!(!sent.windows(6).any(|part| part == b"hidden"), "no request in clear");
}

#[tokio::test]
async fn http_is_refused_by_default_before_anything_is_sent() {
    let provider = Provider::start(|_| json(KEYS)).await;
    let http = HttpClient::builder().environment_proxy(false).build().unwrap();
    for error in [
        HttpKeySource::jwks_url(&provider.url, &http).unwrap_err(),
        HttpKeySource::discover(&provider.url, &http).unwrap_err(),
    ] {
        assert_eq!(error.fault, UpstreamFault::Configuration);
        assert!(error.what.contains("uses http"), "{}", error.what);
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn connections_are_kept_and_shared_between_sources() {
    let provider = Provider::start(|_| json(KEYS)).await;
    let http = local().build().unwrap();
    for round in 0..10 {
        let source = HttpKeySource::jwks_url(&format!("{}/{round}", provider.url), &http).unwrap();
        source.fetch(KeyFetch::default()).await.unwrap();
        // The finished connection goes back to the pool in a task of its own: let it run.
        tokio::task::yield_now().await;
    }
    assert_eq!(provider.paths().len(), 10);
    assert_eq!(provider.connections(), 1);
}

#[tokio::test]
async fn debug_output_hides_the_query() {
    let provider = Provider::start(|_| json(KEYS)).await;
    let text = format!("{:?}", source(&provider, local()));
    assert!(text.contains("/jwks"), "{text}");
    assert!(!text.contains("hidden"), "{text}");
}
