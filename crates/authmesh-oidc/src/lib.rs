//! All outbound HTTP of authmesh: OpenID Connect Discovery 1.0, RFC 8414 metadata and JWK sets (RFC 7517 section 5).
//!
//! [`HttpKeySource`] is the [`KeySource`](authmesh::ports::KeySource) for real identity providers. It finds the key set by
//! discovery, or takes its URL as given. [`HttpClient`] holds the pool, the timeouts and the limits; build one and share it
//! between all issuers.
//!
//! ```
//! use authmesh_oidc::{HttpClient, HttpKeySource};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let http = HttpClient::builder().user_agent("orders/1.4").build()?;
//! let login = HttpKeySource::discover("https://login.example.com", &http)?;
//! let legacy = HttpKeySource::jwks_url("https://keys.example.com/legacy.json", &http)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is refused
//!
//! - `http:` URLs, unless [`HttpClientBuilder::danger_allow_http`] is set. Whoever can change the answer of a key set mints
//!   tokens.
//! - User names, passwords and fragments in URLs. An issuer may have no query either (OpenID Connect Discovery 1.0
//!   section 3).
//! - Redirects. A redirect hands the choice of keys to whoever can make one.
//! - A discovery document of another issuer, compared byte for byte (section 4.3; RFC 9207 calls the attack mix-up).
//! - Bodies over the limit, compressed bodies, and HTML pages.
//!
//! # Limits
//!
//! | limit | default | setting |
//! | --- | --- | --- |
//! | connect | 2 s | [`HttpClientBuilder::connect_timeout`] |
//! | one request, body included | 5 s | [`HttpClientBuilder::request_timeout`] |
//! | key set body | 512 KiB | [`HttpClientBuilder::key_set_limit`] |
//! | discovery body | 256 KiB | [`HttpClientBuilder::discovery_limit`] |
//! | requests in one fetch | 4 | fixed: key set, two discovery addresses, key set at its new address |
//! | idle connections per host | 2, for 90 s | fixed |
//! | discovered `jwks_uri` remembered | 1 h | [`HttpKeySource::rediscover_after`] |
//! | `Retry-After` believed | at most 1 h | fixed |
//! | entity tag | 256 bytes | fixed: a longer one is not kept |
//! | URL | 2,048 bytes | fixed |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod address;
mod client;
mod credentials;
mod discovery;
mod endpoint;
mod exchange;
mod failure;
mod form;
mod headers;
mod introspection;
pub mod presets;
mod source;
mod userinfo;

pub use client::{HttpClient, HttpClientBuilder, HttpClientError};
pub use credentials::{AssertionAudience, ClientAuth, CredentialError, PrivateKeyJwt, SigningKey};
pub use introspection::{Introspection, SignedAnswers};
pub use source::HttpKeySource;
pub use userinfo::UserInfo;
