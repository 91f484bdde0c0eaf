//! `public_addresses_only`: who is never asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, dead_code)]

mod provider;

use authmesh::ports::{KeyFetch, KeySource, UpstreamError, UpstreamFault};
use authmesh_oidc::{HttpClient, HttpClientBuilder, HttpKeySource};
use provider::{Provider, json};

const KEYS: &str = r#"{"keys":[]}"#;

fn strict() -> HttpClientBuilder {
    HttpClient::builder()
        .danger_allow_http(true)
        .public_addresses_only(true)
}

fn port(provider: &Provider) -> &str {
    provider.url.rsplit(':').next().unwrap()
}

async fn fetch(url: &str, http: HttpClientBuilder) -> Result<(), UpstreamError> {
    HttpKeySource::jwks_url(url, &http.build().unwrap())?
        .fetch(KeyFetch::default())
        .await
        .map(|_| ())
}

#[tokio::test]
async fn an_address_in_a_url_is_refused_before_anything_is_sent() {
    let provider = Provider::start(|_| json(KEYS)).await;
    let port = port(&provider);
    for host in ["127.0.0.1", "127.1", "0x7f000001", "[::ffff:127.0.0.1]"] {
        let url = format!("http://{host}:{port}/jwks");
        let error = fetch(&url, strict()).await.unwrap_err();
        assert_eq!(error.fault, UpstreamFault::Configuration, "{url}");
        assert!(error.what.contains("loopback"), "{url}: {}", error.what);
    }
    assert_eq!(provider.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_connected_to() {
    let provider = Provider::start(|_| json(KEYS)).await;
    let url = format!("http://localhost:{}/jwks", port(&provider));
    let error = fetch(&url, strict()).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Configuration, "{}", error.what);
    assert!(error.what.contains("localhost leads to"), "{}", error.what);
    assert_eq!(provider.connections(), 0);

    // The same client without the policy asks.
    let lax = HttpClient::builder().danger_allow_http(true).environment_proxy(false);
    fetch(&url, lax.clone()).await.unwrap();
    assert_eq!(provider.connections(), 1);

    // And its strict twin does not reuse the connection that is still open in the pool of the lax one.
    let lax = lax.build().unwrap();
    let source = |http: &HttpClient| HttpKeySource::jwks_url(&url, http).unwrap();
    source(&lax).fetch(KeyFetch::default()).await.unwrap();
    let twin = lax.only_public_addresses().unwrap();
    source(&twin).fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(provider.connections(), 2);
}

#[tokio::test]
async fn a_discovery_document_cannot_send_us_into_the_private_network() {
    let provider = Provider::start(|request| {
        let host = request.header("host").unwrap();
        json(&format!(
            r#"{{"issuer":"http://{host}","jwks_uri":"http://169.254.169.254/latest/meta-data/"}}"#
        ))
    })
    .await;
    let address = provider.url.trim_start_matches("http://").parse().unwrap();
    let issuer = format!("http://login.example.com:{}", port(&provider));
    let http = strict().resolve("login.example.com", address).build().unwrap();
    let source = HttpKeySource::discover(&issuer, &http).unwrap();
    let error = source.fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Answer);
    assert!(error.what.contains("link-local"), "{}", error.what);
    assert_eq!(provider.paths(), ["/.well-known/openid-configuration"]);
}

#[tokio::test]
async fn a_pin_is_the_operators_own_word() {
    let provider = Provider::start(|_| json(KEYS)).await;
    let address = provider.url.trim_start_matches("http://").parse().unwrap();
    let url = format!("http://keys.example.com:{}/jwks", port(&provider));
    fetch(&url, strict().resolve("keys.example.com", address))
        .await
        .unwrap();
    assert_eq!(
        provider.requests()[0].header("host").unwrap(),
        url[7..].split('/').next().unwrap()
    );
}
