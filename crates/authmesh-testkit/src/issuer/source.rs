//! The document that an issuer publishes.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authmesh::ports::{BoxFuture, Fetched, FetchedBody, KeyFetch, KeySource, UpstreamError};
use authmesh::proto::time::Unix;

/// A key source as HTTP brings it: a document, and what stands beside it. A fetch that knows the present tag is told
/// that nothing changed.
pub struct Published(Mutex<State>);

struct State {
    document: Vec<u8>,
    version: u64,
    tags: bool,
    max_age: Option<Duration>,
    date: Option<Unix>,
    past_caches: bool,
}

impl Published {
    /// A source of this document, with nothing beside it.
    #[must_use]
    pub fn new(document: impl Into<Vec<u8>>) -> Self {
        Self(Mutex::new(State {
            document: document.into(),
            version: 1,
            tags: false,
            max_age: None,
            date: None,
            past_caches: false,
        }))
    }

    /// Replaces the document. Nodes see it at their next fetch.
    pub fn set(&self, document: impl Into<Vec<u8>>) {
        let mut state = self.lock();
        state.document = document.into();
        state.version += 1;
    }

    /// Whether documents have entity tags (`ETag`). Default: no.
    pub fn tags(&self, tags: bool) {
        self.lock().tags = tags;
    }

    /// `max-age` of `Cache-Control`. Default: none.
    pub fn max_age(&self, max_age: Option<Duration>) {
        self.lock().max_age = max_age;
    }

    /// The issuer's own time (`Date`), in seconds since the Unix epoch. Default: none.
    pub fn date(&self, date: Option<Unix>) {
        self.lock().date = date;
    }

    /// Whether the last fetch asked to go past caches.
    #[must_use]
    pub fn went_past_caches(&self) -> bool {
        self.lock().past_caches
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Published(..)")
    }
}

impl KeySource for Published {
    fn fetch(&self, request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>> {
        let mut state = self.lock();
        state.past_caches = request.no_cache;
        let etag = state.tags.then(|| format!("\"v{}\"", state.version));
        let body = if etag.is_some() && etag == request.etag {
            FetchedBody::NotModified
        } else {
            FetchedBody::Document(state.document.clone())
        };
        let fetched = Fetched {
            body,
            etag,
            max_age: state.max_age,
            date: state.date,
        };
        Box::pin(std::future::ready(Ok(fetched)))
    }
}
