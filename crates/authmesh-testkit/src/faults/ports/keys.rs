//! The key source with faults.

use authmesh::ports::{BoxFuture, Fetched, KeyFetch, KeySource, UpstreamError};

use crate::faults::{Call, Faulty, Op};

#[deny(clippy::missing_trait_methods)]
impl<T: KeySource + ?Sized> KeySource for Faulty<T> {
    fn fetch(&self, request: KeyFetch) -> BoxFuture<'_, Result<Fetched, UpstreamError>> {
        Box::pin(async move {
            let call = || Call::Fetch(request.clone());
            let forward = || self.inner.fetch(request.clone());
            self.faults.request(Op::Fetch, call, forward).await
        })
    }
}
