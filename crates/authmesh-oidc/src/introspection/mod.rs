//! Introspection (RFC 7662): an issuer that is asked about each token.

mod answer;
mod signed;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use authmesh::clock::SystemClock;
use authmesh::jose::json;
use authmesh::ports::{BoxFuture, Clock, TokenSource, TokenState, UpstreamError, UpstreamFault};
use aws_lc_rs::digest::{SHA256, digest};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

pub use signed::SignedAnswers;

use crate::client::HttpClient;
use crate::credentials::{self, ClientAuth};
use crate::discovery::{Discovery, Located, Member, Metadata, configuration};
use crate::endpoint::Endpoint;
use crate::exchange::{self, Document};
use crate::failure::Failure;
use crate::{form, headers};

/// Asks an issuer's introspection endpoint about tokens (RFC 7662).
///
/// It asks once per call and keeps no answer; the SDK decides how long an answer counts. Build one per issuer, all on one
/// [`HttpClient`].
///
/// # What is sent
///
/// A POST with `token`, `token_type_hint=access_token` and the proof of [`ClientAuth`]. Text that cannot be a bearer token (empty, or
/// with anything but visible ASCII) is inactive, and is not sent.
///
/// # What is taken for an answer
///
/// A JSON object whose `active` is a boolean, in which no member stands twice. `"active": true` with an `exp` that has passed by
/// this node's clock is inactive. The members that RFC 7662 section 2.2 names must have the types it gives them; `null` counts as
/// absent. Everything else is an [`UpstreamError`], never "inactive":
///
/// | fault | when |
/// | --- | --- |
/// | `Unreachable`, `Timeout` | as for [`HttpKeySource`](crate::HttpKeySource) |
/// | `Configuration` | the endpoint refuses our credentials: 401, 403, or 400 with `invalid_client` or `unauthorized_client` |
/// | `Answer` | another status, a redirect, a body that is too long, HTML, no answer as above |
///
/// Who the token is from and for (`iss`, `aud`, `client_id`) is handed on, not judged.
pub struct Introspection {
    http: HttpClient,
    road: Road,
    auth: ClientAuth,
    signed: Option<SignedAnswers>,
    honour_no_store: bool,
    clock: Arc<dyn Clock>,
}

enum Road {
    Direct(Endpoint),
    Discovered(Box<Discovery>),
}

impl Introspection {
    /// Finds the endpoint by discovery, as [`HttpKeySource::discover`](crate::HttpKeySource::discover) finds the key set: asked
    /// for when it is first needed, remembered for an hour, and asked for again at once when the endpoint answers 404, 405 or 410.
    /// Tokens and credentials go to whatever address the issuer's document names, on another host, too.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`] when `issuer` is not a URL that the client may ask, or has a query.
    pub fn discover(issuer: &str, auth: ClientAuth, http: &HttpClient) -> Result<Self, UpstreamError> {
        let discovery = Discovery::of(issuer, http)?;
        Ok(Self::new(Road::Discovered(Box::new(discovery)), auth, http))
    }

    /// As [`discover`](Self::discover), for an issuer that keeps its discovery document at another address than the standards say.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`] when `metadata_url` is not a URL that the client may ask.
    pub fn discover_at(
        issuer: &str,
        metadata_url: &str,
        auth: ClientAuth,
        http: &HttpClient,
    ) -> Result<Self, UpstreamError> {
        let discovery = Discovery::at(issuer, metadata_url, http)?;
        Ok(Self::new(Road::Discovered(Box::new(discovery)), auth, http))
    }

    /// Takes the endpoint as given, without discovery.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`] when `url` is not a URL that the client may ask, or when `auth` needs to know the issuer: a
    /// [`PrivateKeyJwt`](crate::PrivateKeyJwt) whose audience was not written out.
    pub fn at(url: &str, auth: ClientAuth, http: &HttpClient) -> Result<Self, UpstreamError> {
        let endpoint = Endpoint::parse(url, http.inner().urls)
            .map_err(|refusal| configuration(format!("the address of the introspection endpoint {refusal}")))?;
        if auth.needs_discovery() {
            return Err(configuration(
                "the client assertion is meant for the issuer or its token endpoint, and neither is known where the introspection endpoint is given. Write the audience of the private_key_jwt out"
                    .to_owned(),
            ));
        }
        Ok(Self::new(Road::Direct(endpoint), auth, http))
    }

    fn new(road: Road, auth: ClientAuth, http: &HttpClient) -> Self {
        Self {
            http: http.clone(),
            road,
            auth,
            signed: None,
            honour_no_store: false,
            clock: Arc::new(SystemClock),
        }
    }

    /// Asks for signed answers (RFC 9701), and takes no others: whoever can write on the way, or stands in for the endpoint,
    /// cannot make a token valid then.
    ///
    /// Default: plain JSON over TLS.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`] when the answers are to be signed by another issuer than the one discovered, or when it is
    /// not clear whom they are meant for.
    pub fn signed(mut self, mut answers: SignedAnswers) -> Result<Self, UpstreamError> {
        if let Road::Discovered(discovery) = &self.road
            && discovery.issuer() != answers.issuer()
        {
            return Err(configuration(
                "signed introspection answers must come from the issuer whose endpoint is asked. Name the same issuer in both places"
                    .to_owned(),
            ));
        }
        if let Some(client) = self.auth.client_id() {
            answers.audience_if_none(client);
        }
        if !answers.has_audience() {
            return Err(configuration(
                "signed introspection answers name whom they are meant for, and a bearer token does not say who we are. Set the audience of the signed answers"
                    .to_owned(),
            ));
        }
        self.signed = Some(answers);
        Ok(self)
    }

    /// Whether `no-store`, `no-cache` and `max-age=0` in an answer keep it from being used again. Many providers put them on each
    /// of their answers, for HTTP caches, which would leave nothing of this cache. `max-age=60` alone is always honoured.
    ///
    /// Default: `false`: the policy says how long an answer counts, as RFC 7662 section 4 has it.
    #[must_use]
    pub fn honour_no_store(mut self, honour: bool) -> Self {
        self.honour_no_store = honour;
        self
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

    /// The clock that `exp`, client assertions and signed answers are judged by.
    ///
    /// Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    async fn state(&self, token: &str) -> Result<TokenState, UpstreamError> {
        if !credentials::is_token(token) {
            return Ok(TokenState::Inactive);
        }
        let discovery = match &self.road {
            Road::Direct(endpoint) => {
                return self
                    .at_endpoint(endpoint, None, token)
                    .await
                    .map_err(|failure| failure.error);
            }
            Road::Discovered(discovery) => discovery,
        };
        let located = discovery.locate(&self.http, Member::Introspection, false).await?;
        let failure = match self.at_located(&located, token).await {
            Ok(state) => return Ok(state),
            Err(failure) => failure,
        };
        if !failure.endpoint_is_gone() {
            return Err(failure.error);
        }
        match discovery.moved(&self.http, Member::Introspection, &located).await? {
            Some(moved) => self.at_located(&moved, token).await.map_err(|failure| failure.error),
            None => Err(failure.error),
        }
    }

    async fn at_located(&self, located: &Located, token: &str) -> Result<TokenState, Failure> {
        self.at_endpoint(&located.endpoint, Some(&located.metadata), token)
            .await
    }

    async fn at_endpoint(
        &self,
        endpoint: &Endpoint,
        metadata: Option<&Metadata>,
        token: &str,
    ) -> Result<TokenState, Failure> {
        let issuer = match &self.road {
            Road::Discovered(discovery) => Some(discovery.issuer()),
            Road::Direct(_) => None,
        };
        let proof = self
            .auth
            .prove(issuer, metadata, self.clock.now().wall)
            .map_err(|error| Failure::from(configuration(error.to_string())))?;
        let mut fields = vec![("token", token), ("token_type_hint", "access_token")];
        fields.extend(proof.form.iter().map(|(name, value)| (*name, value.as_str())));
        let body = form::body(&fields);
        let request = self
            .http
            .inner()
            .client
            .post(endpoint.url().clone())
            .header(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )
            .body(body.as_bytes().to_vec());
        let request = credentials::authorize(request, &proof);
        let document = match self.signed {
            Some(_) => Document::SignedIntrospection,
            None => Document::Introspection,
        };
        let answer = exchange::ask_about_token(self.http.inner(), request, endpoint, document)
            .await
            .map_err(|failure| self.explained(failure, metadata))?;
        let body = answer.body.unwrap_or_default();
        let bad = |why: String| Failure::from(bad_answer(endpoint, &why));

        // A question may have waited for the network: the present is when the answer came.
        let now = self.clock.now();
        let mut members = match &self.signed {
            None => json::parse_object(&body).map_err(|error| bad(error.to_string()))?,
            Some(answers) => answers.open(&body, endpoint, now).await?,
        };
        // `null` is no value of any type that the standard names, and says as much as absence.
        members.retain(|_, value| !value.is_null());
        let claims = serde_json::to_vec(&members).map_err(|error| bad(error.to_string()))?;
        let mut state = answer::read(&members, claims, now.wall).map_err(bad)?;
        if let TokenState::Active(token) = &mut state {
            token.max_age = self.max_age(&answer.headers);
        }
        Ok(state)
    }

    fn max_age(&self, headers: &HeaderMap) -> Option<Duration> {
        if self.honour_no_store {
            headers::max_age(headers)
        } else {
            headers::stated_max_age(headers)
        }
    }

    /// A refusal of our credentials is the operator's to mend: nothing that the provider may be asked again about.
    fn explained(&self, mut failure: Failure, metadata: Option<&Metadata>) -> Failure {
        let refused = match failure.status {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => true,
            Some(StatusCode::BAD_REQUEST) => failure.says(&["invalid_client", "unauthorized_client"]),
            _ => false,
        };
        let method = self.auth.method();
        if refused {
            let takes = match metadata {
                Some(metadata) if !metadata.takes_auth_method(method) => {
                    ", which its discovery document does not list among those it takes"
                }
                _ => "",
            };
            failure.error.fault = UpstreamFault::Configuration;
            failure.error.what.push_str(&format!(
                ". It refuses the credentials of {}, sent as {method}{takes}. Check the client's name, its secret or key, and that it may introspect tokens",
                crate::failure::quoted(self.auth.name())
            ));
        } else if self.signed.is_some() && metadata.is_some_and(|metadata| !metadata.offers_signed_introspection()) {
            failure
                .error
                .what
                .push_str(". Its discovery document offers no signed answers: ask for plain ones");
        }
        failure
    }
}

impl TokenSource for Introspection {
    fn ask<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<TokenState, UpstreamError>> {
        Box::pin(self.state(token))
    }

    fn identity(&self) -> String {
        let place = match &self.road {
            Road::Direct(endpoint) => place(endpoint),
            Road::Discovered(discovery) => format!("of {}", discovery.issuer()),
        };
        let trust = match &self.signed {
            Some(answers) => answers.identity(),
            None => String::new(),
        };
        format!(
            "introspection {place} as {} by {}{trust}",
            crate::failure::quoted(self.auth.name()),
            self.auth.method()
        )
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Introspection");
        match &self.road {
            Road::Direct(endpoint) => out.field("url", &format_args!("{endpoint}")),
            Road::Discovered(discovery) => out.field("issuer", &discovery.issuer()),
        };
        out.field("auth", &self.auth)
            .field("signed", &self.signed)
            .finish_non_exhaustive()
    }
}

/// An address by name. Two that differ only in their queries, which are not shown, have different names.
pub(crate) fn place(endpoint: &Endpoint) -> String {
    match endpoint.url().query() {
        None => format!("at {endpoint}"),
        Some(query) => {
            let digest = digest(&SHA256, query.as_bytes());
            let short: String = digest
                .as_ref()
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("at {endpoint}?{short}")
        }
    }
}

fn bad_answer(endpoint: &Endpoint, why: &str) -> UpstreamError {
    UpstreamError::new(
        UpstreamFault::Answer,
        format!("the answer of {endpoint} is not an introspection response: {why}"),
    )
}
