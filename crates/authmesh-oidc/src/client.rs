//! The HTTP client: one pool, its timeouts and its limits, shared by all issuers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Certificate;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;

use crate::failure::Limits;

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_KEY_SET_LIMIT: usize = 512 * 1024;
const DEFAULT_DISCOVERY_LIMIT: usize = 256 * 1024;
const DEFAULT_USER_AGENT: &str = concat!("authmesh/", env!("CARGO_PKG_VERSION"));

/// A longer wait would hold up every caller that waits for a key.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// Far above any real key set; it bounds what a wrong setting can cost.
const MAX_BODY_LIMIT: usize = 16 * 1024 * 1024;

/// Key fetches are rare and one at a time per issuer: two idle connections leave room for issuers that share a host.
const IDLE_PER_HOST: usize = 2;
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

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
    pub(crate) allow_http: bool,
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
            .field("danger_allow_http", &self.inner.allow_http)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`HttpClient`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct HttpClientBuilder {
    connect_timeout: Duration,
    request_timeout: Duration,
    key_set_limit: usize,
    discovery_limit: usize,
    user_agent: String,
    extra_roots: Vec<Vec<u8>>,
    system_roots: bool,
    environment_proxy: bool,
    allow_http: bool,
}

impl Default for HttpClientBuilder {
    fn default() -> Self {
        Self {
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            key_set_limit: DEFAULT_KEY_SET_LIMIT,
            discovery_limit: DEFAULT_DISCOVERY_LIMIT,
            user_agent: DEFAULT_USER_AGENT.to_owned(),
            extra_roots: Vec::new(),
            system_roots: true,
            environment_proxy: true,
            allow_http: false,
        }
    }
}

impl HttpClientBuilder {
    /// Time for name resolution, the TCP connection and the TLS handshake together. More than 0 s, at most 60 s.
    ///
    /// Default: 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Time for one whole request: connecting, sending, and the answer to its last byte. An upstream that sends one byte a
    /// second runs into it. More than 0 s, at most 60 s.
    ///
    /// Default: 5 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Largest key set, in bytes. A longer one is refused, before reading where `Content-Length` tells, else while reading. More
    /// than 0, at most 16 MiB.
    ///
    /// Default: 512 KiB.
    pub fn key_set_limit(mut self, bytes: usize) -> Self {
        self.key_set_limit = bytes;
        self
    }

    /// Largest discovery document, in bytes, enforced like [`key_set_limit`](Self::key_set_limit). More than 0, at most 16 MiB.
    ///
    /// Default: 256 KiB.
    pub fn discovery_limit(mut self, bytes: usize) -> Self {
        self.discovery_limit = bytes;
        self
    }

    /// The `User-Agent` header.
    ///
    /// Default: `authmesh/` and the version.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Trusts the certificates of a PEM bundle, on top of those that are trusted already. May be called several times.
    ///
    /// Default: none.
    pub fn extra_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_roots.push(pem.into());
        self
    }

    /// Whether to trust the certificate authorities of the operating system. Set it to `false` to trust nothing but
    /// [`extra_roots_pem`](Self::extra_roots_pem).
    ///
    /// Default: `true`.
    pub fn system_roots(mut self, trust: bool) -> Self {
        self.system_roots = trust;
        self
    }

    /// Whether to use the proxy that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name. They are read once, when the
    /// client is built.
    ///
    /// Default: `true`.
    pub fn environment_proxy(mut self, obey: bool) -> Self {
        self.environment_proxy = obey;
        self
    }

    /// Allows `http:` URLs. Whoever sits on the way can then replace the keys and mint tokens: for tests on one machine only.
    ///
    /// Default: `false`.
    pub fn danger_allow_http(mut self, allow: bool) -> Self {
        self.allow_http = allow;
        self
    }

    /// Builds the client. Reads the certificates of the operating system; sends nothing.
    ///
    /// # Errors
    /// [`HttpClientError`] names the setting that is wrong.
    pub fn build(self) -> Result<HttpClient, HttpClientError> {
        timeout_in_range("connect_timeout", self.connect_timeout)?;
        timeout_in_range("request_timeout", self.request_timeout)?;
        limit_in_range("key_set_limit", self.key_set_limit)?;
        limit_in_range("discovery_limit", self.discovery_limit)?;
        let user_agent = HeaderValue::from_str(&self.user_agent).map_err(|_| HttpClientError::UserAgent)?;

        let mut roots = Vec::new();
        for (index, pem) in self.extra_roots.iter().enumerate() {
            let bundle = index + 1;
            let found = Certificate::from_pem_bundle(pem).map_err(|_| HttpClientError::RootCertificates { bundle })?;
            if found.is_empty() {
                return Err(HttpClientError::RootCertificates { bundle });
            }
            roots.extend(found);
        }
        if !self.system_roots && roots.is_empty() && !self.allow_http {
            return Err(HttpClientError::NothingTrusted);
        }

        let mut builder = reqwest::Client::builder()
            .user_agent(user_agent)
            .connect_timeout(self.connect_timeout)
            .timeout(self.request_timeout)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(Policy::none())
            .referer(false)
            // The key machine counts attempts; a hidden retry would break its budget.
            .retry(reqwest::retry::never())
            // Another crate of the final build may switch these features on. Then limits would count other bytes than
            // those that came.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .https_only(!self.allow_http);
        builder = if self.system_roots {
            builder.tls_certs_merge(roots)
        } else {
            builder.tls_certs_only(roots)
        };
        if !self.environment_proxy {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            HttpClientError::Tls { reason }
        })?;

        Ok(HttpClient {
            inner: Arc::new(Inner {
                client,
                limits: Limits {
                    connect: self.connect_timeout,
                    request: self.request_timeout,
                },
                key_set_limit: self.key_set_limit,
                discovery_limit: self.discovery_limit,
                allow_http: self.allow_http,
            }),
        })
    }
}

fn timeout_in_range(setting: &'static str, given: Duration) -> Result<(), HttpClientError> {
    if given.is_zero() || given > MAX_TIMEOUT {
        return Err(HttpClientError::Timeout { setting, given });
    }
    Ok(())
}

fn limit_in_range(setting: &'static str, given: usize) -> Result<(), HttpClientError> {
    if given == 0 || given > MAX_BODY_LIMIT {
        return Err(HttpClientError::Limit { setting, given });
    }
    Ok(())
}

/// An [`HttpClient`] could not be built: a setting is wrong. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpClientError {
    /// A timeout is zero or over 60 s.
    #[error("{setting} is {given:?}: set more than 0 s and at most {MAX_TIMEOUT:?}")]
    Timeout {
        /// The builder's method.
        setting: &'static str,
        /// What was set.
        given: Duration,
    },
    /// A body limit is zero or over 16 MiB.
    #[error("{setting} is {given} bytes: set more than 0 and at most {MAX_BODY_LIMIT}")]
    Limit {
        /// The builder's method.
        setting: &'static str,
        /// What was set, in bytes.
        given: usize,
    },
    /// The user agent holds characters that a header cannot carry.
    #[error("user_agent holds characters that an HTTP header cannot carry: use visible ASCII")]
    UserAgent,
    /// A bundle of extra root certificates holds no certificate, or something that is none.
    #[error("extra_roots_pem, bundle {bundle}: no readable certificate. It must hold BEGIN CERTIFICATE blocks in PEM")]
    RootCertificates {
        /// Which call of [`HttpClientBuilder::extra_roots_pem`], counted from 1.
        bundle: usize,
    },
    /// System roots are off and no others were given: every connection would fail.
    #[error(
        "system_roots is false and no extra_roots_pem is given: nothing would be trusted. Add a bundle, or trust the system"
    )]
    NothingTrusted,
    /// TLS could not be set up, most often because the machine has no root certificates.
    #[error(
        "TLS could not be set up: {reason}. Install the system's root certificates (package ca-certificates), or set system_roots to false and give extra_roots_pem"
    )]
    Tls {
        /// What the TLS library says.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn error(builder: HttpClientBuilder) -> HttpClientError {
        builder.build().expect_err("the setting must be refused")
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let new = HttpClient::builder;
        for (builder, setting) in [
            (new().connect_timeout(Duration::ZERO), "connect_timeout"),
            (new().request_timeout(Duration::from_secs(61)), "request_timeout"),
            (new().key_set_limit(0), "key_set_limit"),
            (new().discovery_limit(MAX_BODY_LIMIT + 1), "discovery_limit"),
            (new().user_agent("a\nb"), "user_agent"),
            (new().system_roots(false), "system_roots"),
        ] {
            let text = error(builder).to_string();
            assert!(text.starts_with(setting), "{text}");
        }
    }

    #[test]
    fn a_bundle_without_certificates_is_refused() {
        assert_eq!(
            error(HttpClient::builder().extra_roots_pem("no certificate here")),
            HttpClientError::RootCertificates { bundle: 1 }
        );
    }

    #[test]
    fn without_any_roots_a_client_for_plain_http_can_be_built() {
        let client = HttpClient::builder()
            .system_roots(false)
            .danger_allow_http(true)
            .build()
            .unwrap();
        assert!(format!("{client:?}").contains("danger_allow_http: true"));
    }
}
