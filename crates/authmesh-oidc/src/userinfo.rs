//! UserInfo (OpenID Connect Core 1.0 section 5.3): a provider that tells whom a token speaks for.

use std::fmt;
use std::time::Duration;

use authmesh::jose::json;
use authmesh::ports::{ActiveToken, BoxFuture, TokenSource, TokenState, UpstreamError, UpstreamFault};
use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use serde_json::Value;

use crate::client::HttpClient;
use crate::credentials;
use crate::discovery::{Discovery, Member, configuration};
use crate::endpoint::Endpoint;
use crate::exchange::{self, Document};
use crate::failure::Failure;
use crate::headers;
use crate::introspection::place;

/// Asks an issuer's userinfo endpoint, with the token itself as the bearer (OpenID Connect Core 1.0 section 5.3).
///
/// For providers whose access tokens are opaque and that offer no introspection. It tells who the user is and that the token is good
/// **at that provider**; it does not tell for which service the token was made, nor when it ends. Any service that was handed a
/// token of the provider's can use it here, so prefer [`Introspection`](crate::Introspection) where there is one.
///
/// # Answers
///
/// 200 with a JSON object that has a string `sub` is an active token. 401 with `WWW-Authenticate: Bearer error="invalid_token"` (RFC
/// 6750 section 3.1) is an inactive one. Text that cannot be a bearer token is inactive, and is not sent. Everything else is an
/// [`UpstreamError`]; a 401 without that word and a 403 say nothing about the token.
pub struct UserInfo {
    http: HttpClient,
    road: Road,
}

enum Road {
    Direct(Endpoint),
    Discovered(Box<Discovery>),
}

impl UserInfo {
    /// Finds the endpoint by discovery, as [`Introspection::discover`](crate::Introspection::discover) does.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`] when `issuer` is not a URL that the client may ask, or has a query.
    pub fn discover(issuer: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        Ok(Self {
            http: http.clone(),
            road: Road::Discovered(Box::new(Discovery::of(issuer, http)?)),
        })
    }

    /// As [`discover`](Self::discover), for an issuer that keeps its discovery document at another address than the standards say.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`] when `metadata_url` is not a URL that the client may ask.
    pub fn discover_at(issuer: &str, metadata_url: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        Ok(Self {
            http: http.clone(),
            road: Road::Discovered(Box::new(Discovery::at(issuer, metadata_url, http)?)),
        })
    }

    /// Takes the endpoint as given, without discovery.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`] when `url` is not a URL that the client may ask.
    pub fn at(url: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        let endpoint = Endpoint::parse(url, http.inner().urls)
            .map_err(|refusal| configuration(format!("the address of the userinfo endpoint {refusal}")))?;
        Ok(Self {
            http: http.clone(),
            road: Road::Direct(endpoint),
        })
    }

    /// How long the endpoint that discovery found is used before discovery runs again; see
    /// [`HttpKeySource::rediscover_after`](crate::HttpKeySource::rediscover_after). Without effect on [`at`](Self::at).
    ///
    /// Default: 1 h.
    #[must_use]
    pub fn rediscover_after(mut self, age: Duration) -> Self {
        if let Road::Discovered(discovery) = &mut self.road {
            discovery.set_rediscover_after(age);
        }
        self
    }

    async fn state(&self, token: &str) -> Result<TokenState, UpstreamError> {
        if !credentials::is_token(token) {
            return Ok(TokenState::Inactive);
        }
        let discovery = match &self.road {
            Road::Direct(endpoint) => {
                return self.at_endpoint(endpoint, token).await.map_err(|failure| failure.error);
            }
            Road::Discovered(discovery) => discovery,
        };
        let located = discovery.locate(&self.http, Member::UserInfo, false).await?;
        let failure = match self.at_endpoint(&located.endpoint, token).await {
            Ok(state) => return Ok(state),
            Err(failure) => failure,
        };
        if !failure.endpoint_is_gone() {
            return Err(failure.error);
        }
        match discovery.moved(&self.http, Member::UserInfo, &located).await? {
            Some(moved) => self
                .at_endpoint(&moved.endpoint, token)
                .await
                .map_err(|failure| failure.error),
            None => Err(failure.error),
        }
    }

    async fn at_endpoint(&self, endpoint: &Endpoint, token: &str) -> Result<TokenState, Failure> {
        let bearer =
            credentials::header("Bearer", token).map_err(|error| Failure::from(configuration(error.to_string())))?;
        let request = self
            .http
            .inner()
            .client
            .get(endpoint.url().clone())
            .header(AUTHORIZATION, bearer);
        let answer = match exchange::ask_about_token(self.http.inner(), request, endpoint, Document::UserInfo).await {
            Ok(answer) => answer,
            Err(failure) if failure.status == Some(StatusCode::UNAUTHORIZED) && failure.says(&["invalid_token"]) => {
                return Ok(TokenState::Inactive);
            }
            Err(failure) => return Err(failure),
        };
        let bad = |why: &str| {
            Failure::from(UpstreamError::new(
                UpstreamFault::Answer,
                format!("the answer of {endpoint} is not a userinfo response: {why}"),
            ))
        };
        let body = answer.body.unwrap_or_default();
        let mut members = json::parse_object(&body).map_err(|error| bad(&error.to_string()))?;
        // A claim that is not told should be left out, section 5.3.2 says; some providers send `null` for it.
        members.retain(|_, value| !value.is_null());
        let claims = serde_json::to_vec(&members).map_err(|error| bad(&error.to_string()))?;
        let subject = match members.get("sub") {
            Some(Value::String(subject)) if !subject.is_empty() => subject.clone(),
            Some(_) => return Err(bad("sub is not a string with something in it")),
            None => return Err(bad("it has no sub")),
        };
        Ok(TokenState::Active(Box::new(ActiveToken {
            subject: Some(subject),
            max_age: headers::stated_max_age(&answer.headers),
            claims,
            ..ActiveToken::default()
        })))
    }
}

impl TokenSource for UserInfo {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenState, UpstreamError>> {
        Box::pin(self.state(token))
    }

    fn identity(&self) -> String {
        match &self.road {
            Road::Direct(endpoint) => format!("userinfo {}", place(endpoint)),
            Road::Discovered(discovery) => format!("userinfo of {}", discovery.issuer()),
        }
    }
}

impl fmt::Debug for UserInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserInfo")
            .field("asks", &self.identity())
            .finish_non_exhaustive()
    }
}
