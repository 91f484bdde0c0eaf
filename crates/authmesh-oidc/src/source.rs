//! The key source: one issuer's key set over HTTP.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::ports::{BoxFuture, Fetched, FetchedBody, KeyFetch, KeySource, UpstreamError, UpstreamFault};
use reqwest::{StatusCode, Url};
use tokio::time::Instant;

use crate::client::HttpClient;
use crate::discovery::{self, WellKnown};
use crate::endpoint::Endpoint;
use crate::exchange::{self, Ask, Document};
use crate::failure::Failure;
use crate::headers;

const DEFAULT_REDISCOVER_AFTER: Duration = Duration::from_secs(3_600);

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
    issuer: String,
    well_known: WellKnown,
    rediscover_after: Duration,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// Where discovery found the key set, and when.
    found: Option<(Endpoint, Instant)>,
    /// The address that the last good answer came from: the caller's entity tag belongs to it.
    answered: Option<Url>,
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
    /// [`UpstreamFault::Configuration`] when `issuer` is not a URL that the client may ask, or has a query.
    pub fn discover(issuer: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        let well_known = WellKnown::of(issuer, http.inner().allow_http)
            .map_err(|refusal| configuration(format!("the issuer {refusal}")))?;
        Ok(Self {
            http: http.clone(),
            road: Road::Discovered(Box::new(Discovered {
                issuer: issuer.to_owned(),
                well_known,
                rediscover_after: DEFAULT_REDISCOVER_AFTER,
                memory: Mutex::new(Memory::default()),
            })),
        })
    }

    /// Takes the address of the key set as given, without discovery.
    ///
    /// The caller vouches that the address belongs to the issuer; nothing in a key set says so. Nothing is sent before the first
    /// fetch.
    ///
    /// # Errors
    /// [`UpstreamFault::Configuration`] when `url` is not a URL that the client may ask.
    pub fn jwks_url(url: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        let endpoint = Endpoint::parse(url, http.inner().allow_http)
            .map_err(|refusal| configuration(format!("the address of the key set {refusal}")))?;
        Ok(Self {
            http: http.clone(),
            road: Road::Direct(endpoint),
        })
    }

    /// How long the address that discovery found is used before discovery runs again. Zero runs discovery before every fetch.
    /// Without effect on [`jwks_url`](Self::jwks_url).
    ///
    /// Default: 1 h.
    #[must_use]
    pub fn rediscover_after(mut self, age: Duration) -> Self {
        if let Road::Discovered(discovered) = &mut self.road {
            discovered.rediscover_after = age;
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
            Road::Discovered(discovered) => out.field("issuer", &discovered.issuer),
        };
        out.finish_non_exhaustive()
    }
}

impl Discovered {
    async fn fetch(&self, http: &HttpClient, request: KeyFetch) -> Result<Fetched, UpstreamError> {
        let remembered = self.remembered(Instant::now());
        let endpoint = match &remembered {
            Some(endpoint) => endpoint.clone(),
            None => self.discover(http, request.no_cache).await?,
        };
        let failure = match self.ask(http, &endpoint, &request).await {
            Ok(fetched) => return Ok(fetched),
            Err(failure) => failure,
        };
        if !failure.address_is_wrong() {
            return Err(failure.error);
        }
        self.memory().found = None;
        if remembered.is_none() {
            // Discovery has only just named this address: asking again would bring the same answer.
            return Err(failure.error);
        }
        let moved_to = self.discover(http, true).await?;
        if moved_to == endpoint {
            return Err(failure.error);
        }
        tracing::info!(issuer = %self.issuer, from = %endpoint, to = %moved_to, "the key set has moved");
        self.ask(http, &moved_to, &request)
            .await
            .map_err(|failure| failure.error)
    }

    /// Asks for the key set, without the entity tag when that is known to belong to another address.
    async fn ask(&self, http: &HttpClient, endpoint: &Endpoint, request: &KeyFetch) -> Result<Fetched, Failure> {
        let elsewhere = matches!(&self.memory().answered, Some(url) if url != endpoint.url());
        let request = KeyFetch {
            no_cache: request.no_cache,
            etag: request.etag.clone().filter(|_| !elsewhere),
        };
        let fetched = key_set(http, endpoint, &request).await?;
        self.memory().answered = Some(endpoint.url().clone());
        Ok(fetched)
    }

    async fn discover(&self, http: &HttpClient, no_cache: bool) -> Result<Endpoint, UpstreamError> {
        let ask = Ask {
            no_cache,
            if_none_match: None,
        };
        let mut at = &self.well_known.openid;
        let mut answer = exchange::get(http.inner(), at, Document::Discovery, ask.clone()).await;
        if matches!(&answer, Err(failure) if failure.status == Some(StatusCode::NOT_FOUND)) {
            at = &self.well_known.oauth;
            answer = exchange::get(http.inner(), at, Document::Discovery, ask).await;
        }
        let answer = answer.map_err(|failure| {
            if failure.status == Some(StatusCode::NOT_FOUND) {
                return UpstreamError::new(
                    UpstreamFault::Answer,
                    format!(
                        "the issuer has no discovery document: {} and {} answered 404. Check the issuer, or give the address of its key set directly",
                        self.well_known.openid, self.well_known.oauth
                    ),
                );
            }
            failure.error
        })?;
        let body = answer.body.unwrap_or_default();
        let endpoint = discovery::jwks_uri(&body, &self.issuer, at, http.inner().allow_http)?;
        self.memory().found = Some((endpoint.clone(), Instant::now()));
        Ok(endpoint)
    }

    fn remembered(&self, now: Instant) -> Option<Endpoint> {
        let memory = self.memory();
        let (endpoint, since) = memory.found.as_ref()?;
        (now.saturating_duration_since(*since) < self.rediscover_after).then(|| endpoint.clone())
    }

    /// Held for single assignments only, never across an await. A panic in between leaves nothing half written.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
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

fn configuration(what: String) -> UpstreamError {
    UpstreamError::new(UpstreamFault::Configuration, what)
}
