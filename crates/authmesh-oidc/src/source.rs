//! The key source: one issuer's key set over HTTP.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::ports::{BoxFuture, Fetched, FetchedBody, KeyFetch, KeySource, UpstreamError};
use reqwest::Url;

use crate::client::HttpClient;
use crate::discovery::{Discovery, Member, configuration};
use crate::endpoint::Endpoint;
use crate::exchange::{self, Ask, Document};
use crate::failure::Failure;
use crate::headers;

/// The key set of one issuer, fetched over HTTP.
///
/// It fetches and checks the answer's form; it keeps no keys and repeats no request. Build one per issuer, all on one
/// [`HttpClient`].
///
/// # Answers
///
/// 200 brings the document, 304 the word that it has not changed. Everything else is an
/// [`UpstreamError`]:
///
/// | fault | when |
/// | --- | --- |
/// | `Unreachable` | no connection, TLS refused, connection lost before the last byte, no HTTP spoken |
/// | `Timeout` | the connect or the request timeout ran out |
/// | `Answer` | another status, a redirect, a body that is too long or no JSON by its type, another issuer, a bad `jwks_uri` |
/// | `Configuration` | only from the constructors: a URL that policy forbids |
///
/// `retry_after` is set when 429 or 503 came with `Retry-After` (RFC 9110 section 10.2.3), at most one hour.
pub struct HttpKeySource {
    http: HttpClient,
    road: Road,
}

enum Road {
    Direct(Endpoint),
    Discovered(Box<Discovered>),
}

struct Discovered {
    discovery: Discovery,
    /// The address that the last good answer came from: the caller's entity tag belongs to it.
    answered: Mutex<Option<Url>>,
}

impl HttpKeySource {
    /// Finds the key set by discovery: OpenID Connect Discovery 1.0 section 4 and, only where that address answers 404, RFC
    /// 8414 section 3.
    ///
    /// Nothing is sent before the first fetch, so a provider that is down does not keep a service from starting. The address that
    /// discovery finds is remembered for [`rediscover_after`](Self::rediscover_after). When it answers with a 4xx (429 apart),
    /// discovery runs again at once, and the key set is asked for at its new address if that is another one.
    ///
    /// The document's `issuer` must be equal to `issuer`, byte for byte. So `issuer` must be spelled as in the `iss` claim of its
    /// tokens, its slash at the end included.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`](authmesh::ports::UpstreamFault::Configuration) when `issuer` is not a URL that the client may ask, or has a query.
    pub fn discover(issuer: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        Ok(Self::discovered(Discovery::of(issuer, http)?, http))
    }

    /// As [`discover`](Self::discover), for an issuer that keeps its discovery document at another address than the standards
    /// say. Only `metadata_url` is asked; its document must belong to `issuer` all the same.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`](authmesh::ports::UpstreamFault::Configuration) when `metadata_url` is not a URL that the client may ask.
    pub fn discover_at(issuer: &str, metadata_url: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        Ok(Self::discovered(Discovery::at(issuer, metadata_url, http)?, http))
    }

    fn discovered(discovery: Discovery, http: &HttpClient) -> Self {
        Self {
            http: http.clone(),
            road: Road::Discovered(Box::new(Discovered {
                discovery,
                answered: Mutex::default(),
            })),
        }
    }

    /// Takes the address of the key set as given, without discovery.
    ///
    /// The caller vouches that the address belongs to the issuer; nothing in a key set says so. Nothing is sent before the first
    /// fetch.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`](authmesh::ports::UpstreamFault::Configuration) when `url` is not a URL that the client may ask.
    pub fn jwks_url(url: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        let endpoint = Endpoint::parse(url, http.inner().urls)
            .map_err(|refusal| configuration(format!("the address of the key set {refusal}")))?;
        Ok(Self {
            http: http.clone(),
            road: Road::Direct(endpoint),
        })
    }

    /// How long the address that discovery found is used before discovery runs again. Zero runs discovery before every fetch.
    /// An issuer that does not answer then is still asked where its keys were, for at most 24 h after they were found there.
    /// Without effect on [`jwks_url`](Self::jwks_url).
    ///
    /// Default: 1 h.
    #[must_use]
    pub fn rediscover_after(mut self, age: Duration) -> Self {
        if let Road::Discovered(discovered) = &mut self.road {
            discovered.discovery.set_rediscover_after(age);
        }
        self
    }
}

impl KeySource for HttpKeySource {
    fn fetch(&self, request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>> {
        Box::pin(async move {
            match &self.road {
                Road::Direct(endpoint) => key_set(&self.http, endpoint, &request)
                    .await
                    .map_err(|failure| failure.error),
                Road::Discovered(discovered) => discovered.fetch(&self.http, request).await,
            }
        })
    }
}

impl fmt::Debug for HttpKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("HttpKeySource");
        match &self.road {
            Road::Direct(endpoint) => out.field("jwks_url", &format_args!("{endpoint}")),
            Road::Discovered(discovered) => out.field("issuer", &discovered.discovery.issuer()),
        };
        out.finish_non_exhaustive()
    }
}

impl Discovered {
    async fn fetch(&self, http: &HttpClient, request: KeyFetch) -> Result<Fetched, UpstreamError> {
        let located = self.discovery.locate(http, Member::JwksUri, request.no_cache).await?;
        let failure = match self.ask(http, &located.endpoint, &request).await {
            Ok(fetched) => return Ok(fetched),
            Err(failure) => failure,
        };
        if !failure.address_is_wrong() {
            return Err(failure.error);
        }
        let Some(moved) = self.discovery.moved(http, Member::JwksUri, &located).await? else {
            return Err(failure.error);
        };
        self.ask(http, &moved.endpoint, &request)
            .await
            .map_err(|failure| failure.error)
    }

    /// Asks for the key set, without the entity tag when that is known to belong to another address.
    async fn ask(&self, http: &HttpClient, endpoint: &Endpoint, request: &KeyFetch) -> Result<Fetched, Failure> {
        let elsewhere = matches!(&*self.answered(), Some(url) if url != endpoint.url());
        let request = KeyFetch {
            no_cache: request.no_cache,
            etag: request.etag.clone().filter(|_| !elsewhere),
        };
        let fetched = key_set(http, endpoint, &request).await?;
        *self.answered() = Some(endpoint.url().clone());
        Ok(fetched)
    }

    /// Held for single assignments only, never across an await.
    fn answered(&self) -> MutexGuard<'_, Option<Url>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn key_set(http: &HttpClient, endpoint: &Endpoint, request: &KeyFetch) -> Result<Fetched, Failure> {
    let if_none_match = request.etag.as_deref().and_then(headers::if_none_match);
    let ask = Ask {
        no_cache: request.no_cache,
        if_none_match,
    };
    let answer = exchange::get(http.inner(), endpoint, Document::KeySet, ask).await?;
    let etag = headers::etag(&answer.headers);
    let (body, etag) = match answer.body {
        Some(document) => (FetchedBody::Document(document), etag),
        // A 304 should repeat the tag (RFC 9110 section 15.4.5). Where it does not, the one that was sent still holds.
        None => (FetchedBody::NotModified, etag.or_else(|| request.etag.clone())),
    };
    Ok(Fetched {
        body,
        etag,
        max_age: headers::max_age(&answer.headers),
        date: headers::date(&answer.headers),
    })
}
