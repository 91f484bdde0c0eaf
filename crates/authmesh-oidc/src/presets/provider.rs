//! A provider that was filled in, and a template for many.

use authmesh::Rules;
use authmesh::ports::UpstreamError;

use super::Preset;
use crate::client::HttpClient;
use crate::credentials::ClientAuth;
use crate::discovery::configuration;
use crate::introspection::Introspection;
use crate::source::HttpKeySource;
use crate::userinfo::UserInfo;

/// A provider, ready for [`Builder::issuer`](authmesh::Builder::issuer).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Provider {
    /// Its issuer, as in `iss`.
    pub issuer: String,
    /// What is demanded of its tokens. Demand more if you like: `provider.rules.claim_equals("hd", "example.com")`.
    pub rules: Rules,
    pub(super) place: Place,
    pub(super) from_template: bool,
}

/// Where its keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Discovery,
    Metadata(String),
    KeySet(String),
}

impl Provider {
    pub(super) fn new(issuer: String, rules: Rules, place: Place) -> Self {
        Self {
            issuer,
            rules,
            place,
            from_template: false,
        }
    }

    /// The source of its keys.
    ///
    /// A provider that came from an [`IssuerTemplate`] is asked at addresses of the public internet only, whatever `http` allows:
    /// its issuer is what a stranger's token says. See
    /// [`public_addresses_only`](crate::HttpClientBuilder::public_addresses_only).
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`](authmesh::ports::UpstreamFault::Configuration) when the client may not ask there.
    pub fn key_source(&self, http: &HttpClient) -> Result<HttpKeySource, UpstreamError> {
        let http = &self.client(http)?;
        match &self.place {
            Place::Discovery => HttpKeySource::discover(&self.issuer, http),
            Place::Metadata(url) => HttpKeySource::discover_at(&self.issuer, url, http),
            Place::KeySet(url) => HttpKeySource::jwks_url(url, http),
        }
    }

    /// Its introspection endpoint, by discovery; asked as [`key_source`](Self::key_source) says.
    ///
    /// # Errors
    /// As [`key_source`](Self::key_source).
    pub fn introspection(&self, auth: ClientAuth, http: &HttpClient) -> Result<Introspection, UpstreamError> {
        let http = &self.client(http)?;
        match &self.place {
            Place::Metadata(url) => Introspection::discover_at(&self.issuer, url, auth, http),
            Place::Discovery | Place::KeySet(_) => Introspection::discover(&self.issuer, auth, http),
        }
    }

    /// Its userinfo endpoint, by discovery; asked as [`key_source`](Self::key_source) says.
    ///
    /// # Errors
    /// As [`key_source`](Self::key_source).
    pub fn userinfo(&self, http: &HttpClient) -> Result<UserInfo, UpstreamError> {
        let http = &self.client(http)?;
        match &self.place {
            Place::Metadata(url) => UserInfo::discover_at(&self.issuer, url, http),
            Place::Discovery | Place::KeySet(_) => UserInfo::discover(&self.issuer, http),
        }
    }

    /// The client that may ask it.
    fn client(&self, http: &HttpClient) -> Result<HttpClient, UpstreamError> {
        if !self.from_template {
            return Ok(http.clone());
        }
        http.only_public_addresses()
            .map_err(|error| configuration(error.to_string()))
    }

    /// Whether it came from an [`IssuerTemplate`], and so from a token.
    #[must_use]
    pub fn is_from_template(&self) -> bool {
        self.from_template
    }
}

/// All tenants of a provider: the issuers that fit a pattern.
#[derive(Debug, Clone)]
pub struct IssuerTemplate {
    preset: Preset,
}

impl IssuerTemplate {
    pub(super) fn new(preset: Preset) -> Self {
        Self { preset }
    }

    /// The provider that `issuer` is, if it fits: every byte of it, and each parameter by its own pattern.
    #[must_use]
    pub fn provider(&self, issuer: &str) -> Option<Provider> {
        let mut provider = self.preset.for_issuer(issuer)?;
        provider.from_template = true;
        Some(provider)
    }

    /// The pattern, parameters in braces.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.preset.issuer_template()
    }
}
