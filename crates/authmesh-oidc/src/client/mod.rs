//! The HTTP client: one pool, its timeouts and its limits, shared by all issuers.

mod builder;
mod error;

use std::fmt;
use std::sync::{Arc, OnceLock};

pub use builder::HttpClientBuilder;
pub use error::HttpClientError;

use crate::endpoint::UrlPolicy;
use crate::failure::Limits;

/// An HTTP client for identity providers: pooled connections, timeouts, body limits and what may be asked at all.
///
/// Build one and share it between all issuers. Cloning is cheap and shares the pool.
///
/// No answer and no failure leads to a second request. A request for which the pool offered a connection that the other side had
/// closed meanwhile was never sent; it goes out once, on a new connection.
#[derive(Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: reqwest::Client,
    pub(crate) limits: Limits,
    pub(crate) key_set_limit: usize,
    pub(crate) discovery_limit: usize,
    pub(crate) token_answer_limit: usize,
    pub(crate) urls: UrlPolicy,
    /// Whether requests carry the trace context.
    pub(crate) propagates: bool,
    /// What it was built of, and the client of [`HttpClient::only_public_addresses`] once that was asked for.
    settings: HttpClientBuilder,
    strict: OnceLock<HttpClient>,
}

impl HttpClient {
    /// A client with every default.
    ///
    /// # Errors
    /// See [`HttpClientBuilder::build`].
    pub fn new() -> Result<Self, HttpClientError> {
        Self::builder().build()
    }

    /// Starts a client with every default.
    pub fn builder() -> HttpClientBuilder {
        HttpClientBuilder::default()
    }

    /// The same client, but for addresses of the public internet only: see
    /// [`HttpClientBuilder::public_addresses_only`]. Pins of [`HttpClientBuilder::resolve`] still hold.
    ///
    /// It has a pool of its own, because a connection in this one may lead anywhere. It is built once and shared by all clones.
    ///
    /// # Errors
    /// As [`HttpClientBuilder::build`].
    pub fn only_public_addresses(&self) -> Result<Self, HttpClientError> {
        if self.inner.urls.public_only {
            return Ok(self.clone());
        }
        if let Some(strict) = self.inner.strict.get() {
            return Ok(strict.clone());
        }
        let strict = self.inner.settings.clone().public_addresses_only(true).build()?;
        Ok(self.inner.strict.get_or_init(|| strict).clone())
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("connect_timeout", &self.inner.limits.connect)
            .field("request_timeout", &self.inner.limits.request)
            .field("key_set_limit", &self.inner.key_set_limit)
            .field("discovery_limit", &self.inner.discovery_limit)
            .field("token_answer_limit", &self.inner.token_answer_limit)
            .field("public_addresses_only", &self.inner.urls.public_only)
            .field("danger_allow_http", &self.inner.urls.allow_http)
            .finish_non_exhaustive()
    }
}
