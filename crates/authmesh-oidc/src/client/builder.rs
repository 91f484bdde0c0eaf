//! Settings of a client, and what they may be.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::Certificate;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;

use super::error::HttpClientError;
use super::{HttpClient, Inner};
use crate::address::PublicOnly;
use crate::endpoint::UrlPolicy;
use crate::failure::Limits;

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const DEFAULT_KEY_SET_LIMIT: usize = 512 * 1024;
const DEFAULT_DISCOVERY_LIMIT: usize = 256 * 1024;
const DEFAULT_TOKEN_ANSWER_LIMIT: usize = 64 * 1024;
const DEFAULT_USER_AGENT: &str = concat!("authmesh/", env!("CARGO_PKG_VERSION"));

/// A longer wait would hold up every caller that waits for a key.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// Far above any real key set; it bounds what a wrong setting can cost.
pub(super) const MAX_BODY_LIMIT: usize = 16 * 1024 * 1024;

/// Key fetches are rare, but questions about tokens come in bursts, each of which would cost a handshake.
const IDLE_PER_HOST: usize = 16;
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Settings of an [`HttpClient`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct HttpClientBuilder {
    connect_timeout: Duration,
    request_timeout: Duration,
    key_set_limit: usize,
    discovery_limit: usize,
    token_answer_limit: usize,
    user_agent: String,
    extra_roots: Vec<Vec<u8>>,
    system_roots: bool,
    environment_proxy: bool,
    allow_http: bool,
    public_only: bool,
    pins: Vec<(String, SocketAddr)>,
    propagate_trace: bool,
}

impl Default for HttpClientBuilder {
    fn default() -> Self {
        Self {
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            key_set_limit: DEFAULT_KEY_SET_LIMIT,
            discovery_limit: DEFAULT_DISCOVERY_LIMIT,
            token_answer_limit: DEFAULT_TOKEN_ANSWER_LIMIT,
            user_agent: DEFAULT_USER_AGENT.to_owned(),
            extra_roots: Vec::new(),
            system_roots: true,
            environment_proxy: true,
            allow_http: false,
            public_only: false,
            pins: Vec::new(),
            propagate_trace: true,
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

    /// Largest answer about a token (introspection, userinfo), in bytes, enforced like [`key_set_limit`](Self::key_set_limit).
    /// More than 0, at most 16 MiB.
    ///
    /// Default: 64 KiB.
    pub fn token_answer_limit(mut self, bytes: usize) -> Self {
        self.token_answer_limit = bytes;
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

    /// Asks addresses of the public internet only. Loopback, private (RFC 1918), shared (100.64.0.0/10), link-local, unique-local,
    /// multicast, documentation and other reserved addresses are refused, those behind which clouds keep their metadata among
    /// them: written in a URL, in whatever notation, or found by name. Names are judged at each connection, by the very
    /// addresses that the connection then uses, so a name that changes its mind in between gains nothing.
    ///
    /// No proxy is used then, whatever [`environment_proxy`](Self::environment_proxy) says: it would look names up itself.
    ///
    /// Set it where others decide whom to ask. It is off by default because the issuers that an operator writes down are often
    /// in a private network, and the operator's word is enough; issuers that only matched a template of a
    /// [preset](crate::presets) are always asked through a client that has it set.
    ///
    /// Default: `false`.
    pub fn public_addresses_only(mut self, only: bool) -> Self {
        self.public_only = only;
        self
    }

    /// Takes `address` for the host name `host`, without looking it up: for split DNS, and for tests. The port is used where a URL
    /// names none, unless it is 0. TLS still asks for a certificate of `host`. May be called several times.
    ///
    /// A pin is the operator's own word: [`public_addresses_only`](Self::public_addresses_only) does not judge it.
    ///
    /// Default: none.
    pub fn resolve(mut self, host: impl Into<String>, address: SocketAddr) -> Self {
        self.pins.push((host.into(), address));
        self
    }

    /// Whether requests carry `traceparent` and `tracestate` (W3C Trace Context) of the span that they are made under, if the
    /// application has set OpenTelemetry's global propagator. Baggage is never sent. A client that asks
    /// [public addresses only](Self::public_addresses_only) sends none: strangers may choose whom it asks.
    ///
    /// Default: `true`.
    pub fn propagate_trace(mut self, propagate: bool) -> Self {
        self.propagate_trace = propagate;
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
        limit_in_range("token_answer_limit", self.token_answer_limit)?;
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
        if !self.environment_proxy || self.public_only {
            builder = builder.no_proxy();
        }
        if self.public_only {
            builder = builder.dns_resolver(Arc::new(PublicOnly::system()));
        }
        for (host, address) in &self.pins {
            builder = builder.resolve(host, *address);
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
                token_answer_limit: self.token_answer_limit,
                urls: UrlPolicy {
                    allow_http: self.allow_http,
                    public_only: self.public_only,
                },
                propagates: self.propagate_trace && !self.public_only,
                settings: self,
                strict: OnceLock::new(),
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
            (new().token_answer_limit(0), "token_answer_limit"),
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

    #[test]
    fn the_strict_twin_is_built_once_and_is_its_own_twin() {
        let client = HttpClient::new().unwrap();
        let strict = client.only_public_addresses().unwrap();
        assert!(format!("{strict:?}").contains("public_addresses_only: true"));
        assert!(format!("{client:?}").contains("public_addresses_only: false"));
        let again = client.clone().only_public_addresses().unwrap();
        assert!(Arc::ptr_eq(&strict.inner, &again.inner));
        assert!(Arc::ptr_eq(
            &strict.inner,
            &strict.only_public_addresses().unwrap().inner
        ));
    }
}
