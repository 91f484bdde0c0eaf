//! Discovery: from an issuer to its addresses, asked for once and remembered.

mod metadata;
mod well_known;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::ports::{UpstreamError, UpstreamFault};
use reqwest::StatusCode;
use tokio::time::Instant;

pub(crate) use metadata::{Member, Metadata};
use well_known::WellKnown;

use crate::client::HttpClient;
use crate::endpoint::Endpoint;
use crate::exchange::{self, Ask, Document};

const DEFAULT_REDISCOVER_AFTER: Duration = Duration::from_secs(3_600);

/// An issuer whose document cannot be had is still asked at the addresses known for so long after they were found.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// How long after a failed discovery the next one waits, while there are addresses to go on with.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// One issuer's metadata: found when it is first needed, then remembered.
pub(crate) struct Discovery {
    issuer: String,
    well_known: WellKnown,
    rediscover_after: Duration,
    memory: Mutex<Memory>,
    /// Held while the issuer is asked: callers that come meanwhile share its answer.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Memory {
    found: Option<Found>,
    /// Counts discoveries that ended.
    ended: u64,
    /// How the last one failed, if it did.
    trouble: Option<UpstreamError>,
}

#[derive(Clone)]
struct Found {
    metadata: Arc<Metadata>,
    since: Instant,
    ask_again: Instant,
}

/// An address, and how it is known.
pub(crate) struct Located {
    pub(crate) endpoint: Endpoint,
    pub(crate) metadata: Arc<Metadata>,
    /// Discovery has only just named it.
    fresh: bool,
}

impl Discovery {
    /// Finds the metadata of `issuer` where the standards put it.
    pub(crate) fn of(issuer: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        let well_known = WellKnown::of(issuer, http.inner().urls)
            .map_err(|refusal| configuration(format!("the issuer {refusal}")))?;
        Ok(Self::new(issuer, well_known))
    }

    /// Finds the metadata of `issuer` at `url` alone.
    pub(crate) fn at(issuer: &str, url: &str, http: &HttpClient) -> Result<Self, UpstreamError> {
        let well_known = WellKnown::at(url, http.inner().urls)
            .map_err(|refusal| configuration(format!("the address of the discovery document {refusal}")))?;
        Ok(Self::new(issuer, well_known))
    }

    fn new(issuer: &str, well_known: WellKnown) -> Self {
        Self {
            issuer: issuer.to_owned(),
            well_known,
            rediscover_after: DEFAULT_REDISCOVER_AFTER,
            memory: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn set_rediscover_after(&mut self, age: Duration) {
        self.rediscover_after = age;
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// An address of the issuer, from memory or by asking.
    pub(crate) async fn locate(
        &self,
        http: &HttpClient,
        member: Member,
        no_cache: bool,
    ) -> Result<Located, UpstreamError> {
        let (found, ended) = {
            let memory = self.memory();
            (memory.found.clone(), memory.ended)
        };
        if let Some(found) = found.filter(|found| Instant::now() < found.ask_again) {
            return located(found.metadata, member, false);
        }
        let metadata = self.discover(http, no_cache, ended).await?;
        located(metadata, member, true)
    }

    /// The address that took the place of `old`, which answered as if it were wrong. `None` if there is no other.
    pub(crate) async fn moved(
        &self,
        http: &HttpClient,
        member: Member,
        old: &Located,
    ) -> Result<Option<Located>, UpstreamError> {
        let ended = {
            let mut memory = self.memory();
            memory.found = None;
            memory.ended
        };
        if old.fresh {
            // Discovery has only just named this address: asking again would bring the same answer.
            return Ok(None);
        }
        let new = located(self.discover(http, true, ended).await?, member, true)?;
        if new.endpoint == old.endpoint {
            return Ok(None);
        }
        tracing::info!(issuer = %self.issuer, from = %old.endpoint, to = %new.endpoint, "an endpoint of the issuer has moved");
        Ok(Some(new))
    }

    /// Asks the issuer, or takes the answer of whoever asked while this caller waited: a discovery that ended after `ended`.
    async fn discover(&self, http: &HttpClient, no_cache: bool, ended: u64) -> Result<Arc<Metadata>, UpstreamError> {
        let _asking = self.asking.lock().await;
        let old = {
            let memory = self.memory();
            if memory.ended > ended {
                match (&memory.trouble, &memory.found) {
                    (None, Some(found)) => return Ok(Arc::clone(&found.metadata)),
                    (Some(trouble), None) => return Err(trouble.clone()),
                    _ => {}
                }
            }
            memory.found.clone()
        };
        let asked = self.ask(http, no_cache).await;
        let now = Instant::now();
        let mut memory = self.memory();
        memory.ended += 1;
        match asked {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                memory.trouble = None;
                memory.found = Some(Found {
                    metadata: Arc::clone(&metadata),
                    since: now,
                    ask_again: now + self.rediscover_after,
                });
                Ok(metadata)
            }
            Err(error) => {
                let silent = matches!(error.fault, UpstreamFault::Unreachable | UpstreamFault::Timeout);
                // What the issuer says counts, even if it is wrong; its silence proves nothing against what it said before.
                let known = old.filter(|found| silent && now.saturating_duration_since(found.since) < MAX_AGE);
                let Some(found) = known else {
                    memory.found = None;
                    memory.trouble = Some(error.clone());
                    return Err(error);
                };
                tracing::warn!(issuer = %self.issuer, %error, "discovery failed; the addresses known are used");
                memory.trouble = None;
                let metadata = Arc::clone(&found.metadata);
                memory.found = Some(Found {
                    ask_again: now + RETRY_AFTER,
                    ..found
                });
                Ok(metadata)
            }
        }
    }

    async fn ask(&self, http: &HttpClient, no_cache: bool) -> Result<Metadata, UpstreamError> {
        let ask = Ask {
            no_cache,
            if_none_match: None,
        };
        let mut at = &self.well_known.openid;
        let mut answer = exchange::get(http.inner(), at, Document::Discovery, ask.clone()).await;
        let missing = matches!(&answer, Err(failure) if failure.status == Some(StatusCode::NOT_FOUND));
        if let Some(oauth) = self.well_known.oauth.as_ref().filter(|_| missing) {
            at = oauth;
            answer = exchange::get(http.inner(), at, Document::Discovery, ask).await;
        }
        let answer = answer.map_err(|failure| match (failure.status, &self.well_known.oauth) {
            (Some(StatusCode::NOT_FOUND), Some(oauth)) => UpstreamError::new(
                UpstreamFault::Answer,
                format!(
                    "the issuer has no discovery document: {} and {oauth} answered 404. Check the issuer, or give its addresses directly",
                    self.well_known.openid
                ),
            ),
            _ => failure.error,
        })?;
        let body = answer.body.unwrap_or_default();
        Metadata::parse(&body, &self.issuer, at, http.inner().urls)
    }

    /// Held for single assignments only, never across an await. A panic in between leaves nothing half written.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn located(metadata: Arc<Metadata>, member: Member, fresh: bool) -> Result<Located, UpstreamError> {
    Ok(Located {
        endpoint: metadata.endpoint(member)?,
        metadata,
        fresh,
    })
}

pub(crate) fn configuration(what: String) -> UpstreamError {
    UpstreamError::new(UpstreamFault::Configuration, what)
}
