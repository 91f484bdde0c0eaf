//! Key sources with a will of their own.

use std::sync::Arc;

use authmesh::memory::FixedKeys;
use authmesh::ports::{BoxFuture, Fetched, KeyFetch, KeySource, UpstreamError};
use authmesh::proto::time::Unix;
use tokio::sync::watch;

use super::soon;

/// Answers no fetch before it is opened.
#[derive(Debug)]
pub(crate) struct BlockedKeys {
    keys: Arc<FixedKeys>,
    open: watch::Sender<bool>,
    entered: watch::Sender<u64>,
}

impl BlockedKeys {
    pub(crate) fn new(keys: Arc<FixedKeys>) -> Arc<Self> {
        Arc::new(Self {
            keys,
            open: watch::Sender::new(false),
            entered: watch::Sender::new(0),
        })
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn close(&self) {
        self.open.send_replace(false);
    }

    /// Waits until somebody asks.
    pub(crate) async fn asked(&self) {
        let mut entered = self.entered.subscribe();
        soon("the keys are asked for", entered.wait_for(|n| *n > 0))
            .await
            .unwrap();
    }
}

impl KeySource for BlockedKeys {
    fn fetch(&self, request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>> {
        Box::pin(async move {
            self.entered.send_modify(|n| *n += 1);
            self.open.subscribe().wait_for(|open| *open).await.unwrap();
            self.keys.fetch(request).await
        })
    }
}

/// Says what time it is at the issuer, as a `Date` header does.
#[derive(Debug)]
pub(crate) struct DatedKeys(pub(crate) Arc<FixedKeys>, pub(crate) Unix);

impl KeySource for DatedKeys {
    fn fetch(&self, request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>> {
        Box::pin(async move {
            let mut fetched = self.0.fetch(request).await?;
            fetched.date = Some(self.1);
            Ok(fetched)
        })
    }
}
