//! Whom a client trusts over TLS.
//!
//! `tests/tls/` holds a root made for this test and a certificate for 127.0.0.1 that it signed, both valid from 2020 to 2120. The
//! root's own key was thrown away. The server's key is public: it protects nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use authmesh::ports::{FetchedBody, KeyFetch, KeySource, UpstreamFault};
use authmesh_oidc::{HttpClient, HttpClientBuilder, HttpKeySource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const ROOT: &str = include_str!("tls/root.pem");
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}";

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Answers one request on one connection, and tells its URL.
async fn provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that does not trust us breaks the handshake off, which is what one test expects.
        let Ok(mut stream) = acceptor().accept(stream).await else {
            return;
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(ANSWER).await.unwrap();
        stream.flush().await.unwrap();
    });
    format!("https://{address}/jwks?hidden")
}

fn source(url: &str, http: HttpClientBuilder) -> HttpKeySource {
    HttpKeySource::jwks_url(url, &http.environment_proxy(false).build().unwrap()).unwrap()
}

#[tokio::test]
async fn an_extra_root_is_trusted_with_and_without_those_of_the_system() {
    for system in [true, false] {
        let http = HttpClient::builder().extra_roots_pem(ROOT).system_roots(system);
        let fetched = source(&provider().await, http)
            .fetch(KeyFetch::default())
            .await
            .unwrap();
        assert_eq!(fetched.body, FetchedBody::Document(br#"{"keys":[]}"#.to_vec()));
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    // Any list of roots without ours will do, so that the test does not depend on the machine's.
    let nothing = HttpClient::builder().danger_allow_http(true).system_roots(false);
    let error = source(&provider().await, nothing)
        .fetch(KeyFetch::default())
        .await
        .unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Unreachable, "{}", error.what);
    assert!(error.what.contains("certificate"), "{}", error.what);
    assert!(error.what.contains("UnknownIssuer"), "{}", error.what);
    assert!(!error.what.contains("hidden"), "{}", error.what);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let url = provider().await.replace("127.0.0.1", "localhost");
    let http = HttpClient::builder().extra_roots_pem(ROOT).system_roots(false);
    let error = source(&url, http).fetch(KeyFetch::default()).await.unwrap_err();
    assert_eq!(error.fault, UpstreamFault::Unreachable, "{}", error.what);
    assert!(error.what.contains("not valid for name"), "{}", error.what);
}
