//! A server that is every provider.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use authmesh_oidc::HttpClient;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const HOSTS: [&str; 11] = [
    "login.example.com",
    "acme.eu.auth0.com",
    "acme.okta.com",
    "sso.example.com",
    "login.microsoftonline.com",
    "accounts.google.com",
    "www.googleapis.com",
    "cognito-idp.eu-central-1.amazonaws.com",
    "clerk.example.com",
    "acme.frontegg.com",
    "acme.projects.oryapis.com",
];

/// A file of the folder `tests/recorded/NAME`.
pub(crate) fn recorded(name: &str, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("{}/tests/recorded/{name}/{file}", env!("CARGO_MANIFEST_DIR"))).ok()
}

/// A running provider; it ends when it is dropped.
pub(crate) struct StandIn {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl StandIn {
    /// Serves what was recorded of `name`: its documents at the addresses that they name themselves.
    pub(crate) async fn start(name: &str) -> Self {
        let mut pages = BTreeMap::new();
        let keys = recorded(name, "jwks.json").unwrap();
        match recorded(name, "discovery.json") {
            Some(document) => {
                let parsed: Value = serde_json::from_str(&document).unwrap();
                pages.insert(parsed["jwks_uri"].as_str().unwrap().to_owned(), keys);
                let issuer = parsed["issuer"].as_str().unwrap();
                // The metadata of version 1.0 is not where its issuer is.
                let base = issuer.replace("https://sts.windows.net/", "https://login.microsoftonline.com/");
                pages.insert(
                    format!("{}/.well-known/openid-configuration", base.trim_end_matches('/')),
                    document,
                );
            }
            None => {
                let host = HOSTS.iter().find(|host| host.contains(name)).unwrap();
                pages.insert(format!("https://{host}/.well-known/jwks.json"), keys);
            }
        }
        let pages = Arc::new(pages);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            let acceptor = acceptor();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, pages, heard) = (acceptor.clone(), Arc::clone(&pages), Arc::clone(&heard));
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await.ok()?;
                    loop {
                        let mut head = Vec::new();
                        while !head.ends_with(b"\r\n\r\n") {
                            head.push(stream.read_u8().await.ok()?);
                        }
                        let head = String::from_utf8(head).unwrap();
                        let path = head.split(' ').nth(1).unwrap();
                        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
                        let url = format!("https://{host}{path}");
                        heard.lock().unwrap().push(url.clone());
                        let (status, body) = match pages.get(&url) {
                            Some(body) => ("200 OK", body.as_str()),
                            None => ("404 Not Found", "{}"),
                        };
                        let answer = format!(
                            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        stream.write_all(answer.as_bytes()).await.ok()?;
                    }
                    #[allow(unreachable_code)]
                    Some(())
                });
            }
        });
        Self {
            address,
            asked,
            accepting,
        }
    }

    /// A client for which every provider's name leads here. With `lookup` names are looked up as they are anywhere.
    pub(crate) fn client(&self, lookup: bool) -> HttpClient {
        let http = HttpClient::builder()
            .environment_proxy(false)
            .system_roots(false)
            .extra_roots_pem(include_str!("../recorded/tls/root.pem"));
        let hosts = HOSTS.iter().filter(|_| !lookup);
        hosts
            .fold(http, |http, host| http.resolve(*host, self.address))
            .build()
            .unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../recorded/tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../recorded/tls/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
