//! All outbound HTTP of authmesh: OpenID Connect Discovery 1.0, RFC 8414 metadata, JWK sets (RFC 7517 section 5), token
//! introspection (RFC 7662, RFC 9701) and userinfo; and what is known of the common providers.
//!
//! | to | use |
//! | --- | --- |
//! | fill in a known provider | [`presets`] |
//! | add an issuer in one line of a builder | [`WithOidc`] |
//! | get the keys of any issuer | [`HttpKeySource`] |
//! | ask an issuer about each token | [`Introspection`], with [`ClientAuth`] |
//! | ask a provider whom a token speaks for | [`UserInfo`] |
//! | say how, and whom never to ask | [`HttpClient`]; build one and share it between all issuers |
//!
//! [`HttpKeySource`] is the [`KeySource`](authmesh::ports::KeySource) for real identity providers. It finds the key set by
//! discovery, or takes its URL as given. [`Introspection`] and [`UserInfo`] are [`TokenSource`](authmesh::ports::TokenSource)s.
//!
//! ```
//! use authmesh_oidc::{ClientAuth, HttpClient, HttpKeySource, Introspection, presets};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let http = HttpClient::builder().user_agent("orders/1.4").build()?;
//! let login = HttpKeySource::discover("https://login.example.com", &http)?;
//! let legacy = HttpKeySource::jwks_url("https://keys.example.com/legacy.json", &http)?;
//!
//! let staff = presets::okta("acme.okta.com", "default")?.audience("api://orders").build()?;
//! let staff_keys = staff.key_source(&http)?;
//!
//! # let secret = "from a file".to_owned();
//! let us = ClientAuth::client_secret_basic("orders", secret)?;
//! let partners = Introspection::discover("https://partners.example.com", us, &http)?;
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
//! - Redirects. A redirect hands the choice of keys to whoever can make one, and credentials to whoever it points to.
//! - A discovery document of another issuer, compared byte for byte (section 4.3; RFC 9207 calls the attack mix-up), and one in
//!   which a member stands twice.
//! - Bodies over the limit, compressed bodies, and HTML pages.
//! - Addresses that are not of the public internet, where [`HttpClientBuilder::public_addresses_only`] is set, and always for
//!   issuers that only matched a template.
//!
//! # Traces
//!
//! Each request makes a [`tracing`] span of the target `authmesh::trace`. Where the application has set a propagator
//! (`opentelemetry::global::set_text_map_propagator`), the request carries `traceparent` and `tracestate` (W3C Trace Context);
//! never baggage. See [`HttpClientBuilder::propagate_trace`].
//!
//! # Limits
//!
//! | limit | default | setting |
//! | --- | --- | --- |
//! | connect | 2 s | [`HttpClientBuilder::connect_timeout`] |
//! | one request, body included | 5 s | [`HttpClientBuilder::request_timeout`] |
//! | key set body | 512 KiB | [`HttpClientBuilder::key_set_limit`] |
//! | discovery body | 256 KiB | [`HttpClientBuilder::discovery_limit`] |
//! | answer about a token | 64 KiB | [`HttpClientBuilder::token_answer_limit`] |
//! | error response, its code | 4 KiB, 64 bytes | fixed |
//! | requests in one fetch or question | 4 | fixed: the endpoint, two discovery addresses, the endpoint where it is now |
//! | discoveries of an issuer at once | 1 per source | fixed: who comes meanwhile shares its outcome |
//! | idle connections per host | 16, for 90 s | fixed |
//! | discovered address remembered | 1 h | [`HttpKeySource::rediscover_after`] and its likes |
//! | the same, while discovery cannot be had | 24 h, tried again every minute | fixed |
//! | `Retry-After` believed | at most 1 h | fixed |
//! | client assertion lives | 60 s | fixed |
//! | signed introspection answer: age | 60 s | fixed |
//! | its keys: fetched again; believed; pause between fetches | 1 h; 24 h; 10 s | fixed |
//! | entity tag | 256 bytes | fixed: a longer one is not kept |
//! | URL | 2,048 bytes | fixed |
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod address;
mod builder;
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
mod trace;
mod userinfo;

pub use builder::WithOidc;
pub use client::{HttpClient, HttpClientBuilder, HttpClientError};
pub use credentials::{AssertionAudience, ClientAuth, CredentialError, PrivateKeyJwt, SigningKey};
pub use introspection::{Introspection, SignedAnswers};
pub use source::HttpKeySource;
pub use userinfo::UserInfo;
