//! A key source that holds its document.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::ports::{BoxFuture, Fetched, FetchedBody, KeyFetch, KeySource, UpstreamError, UpstreamFault};

/// A [`KeySource`] with a document that the program supplies: a file, a configuration, a test.
///
/// The document can be replaced at any time; nodes see it at their next fetch.
pub struct FixedKeys(Mutex<State>);

struct State {
    document: Option<Vec<u8>>,
    fetches: u64,
}

impl FixedKeys {
    /// A source of this JWK set document.
    #[must_use]
    pub fn new(document: impl Into<Vec<u8>>) -> Self {
        Self(Mutex::new(State {
            document: Some(document.into()),
            fetches: 0,
        }))
    }

    /// Replaces the document: a rotation.
    pub fn set(&self, document: impl Into<Vec<u8>>) {
        self.lock().document = Some(document.into());
    }

    /// Makes every fetch fail as unreachable until [`FixedKeys::set`] is called.
    pub fn take_down(&self) {
        self.lock().document = None;
    }

    /// How many fetches were asked for.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.lock().fetches
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FixedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FixedKeys(..)")
    }
}

impl KeySource for FixedKeys {
    fn fetch(&self, _request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>> {
        let mut state = self.lock();
        state.fetches += 1;
        let fetched = match &state.document {
            Some(document) => Ok(Fetched {
                body: FetchedBody::Document(document.clone()),
                etag: None,
                max_age: None,
                date: None,
            }),
            None => Err(UpstreamError::new(UpstreamFault::Unreachable, "the key source is down")),
        };
        Box::pin(std::future::ready(fetched))
    }
}
