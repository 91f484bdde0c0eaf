//! What can be wrong with the settings of a client.

use std::time::Duration;

use super::builder::{MAX_BODY_LIMIT, MAX_TIMEOUT};

/// An [`HttpClient`](crate::HttpClient) could not be built: a setting is wrong. Nothing was sent.
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
        /// Which call of [`HttpClientBuilder::extra_roots_pem`](crate::HttpClientBuilder::extra_roots_pem), counted from 1.
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
