//! Everything in a row, as it stands in production: client, nginx, authmesh, identity provider, and a service behind.

use reqwest::{Client, RequestBuilder};

use crate::authmesh::Authmesh;
use crate::client::{Answer, http, send};
use crate::idp::Idp;
use crate::nginx::Nginx;
use crate::upstream::Upstream;

/// The whole row. Each test has its own, so no test sees another's tokens, keys or revocations.
#[derive(Debug)]
pub struct Stack {
    /// In front. Dropped first, so that nobody is asked any more when the others go.
    pub nginx: Nginx,
    /// The binary under test.
    pub authmesh: Authmesh,
    /// The identity provider.
    pub idp: Idp,
    /// The service.
    pub upstream: Upstream,
    http: Client,
}

impl Stack {
    /// Starts all of it.
    pub async fn start() -> Self {
        // First of all, so that a missing program is told at once.
        crate::tools::require("nginx");
        let idp = Idp::start().await;
        let authmesh = Authmesh::start(&idp.issuer()).await;
        let upstream = Upstream::start().await;
        let nginx = Nginx::start(authmesh.address(), upstream.address()).await;
        Self {
            nginx,
            authmesh,
            idp,
            upstream,
            http: http(),
        }
    }

    /// A GET through nginx, to be completed with headers and sent with [`send`].
    pub fn request(&self, path: &str) -> RequestBuilder {
        self.http.get(self.nginx.url(path))
    }

    /// A GET of `/orders` through nginx with a bearer token.
    pub async fn get(&self, token: &str) -> Answer {
        self.get_path("/orders", token).await
    }

    /// A GET of any path through nginx with a bearer token.
    pub async fn get_path(&self, path: &str, token: &str) -> Answer {
        send(self.request(path).bearer_auth(token)).await
    }
}
