//! The second level with faults.

use std::time::Duration;

use authmesh::ports::{BoxFuture, HoldOutcome, LeaseOutcome, PortError, Store, StoreRead};
use authmesh::proto::ident::{EntryName, Nonce};

use crate::faults::{Call, Faulty, Op};

#[deny(clippy::missing_trait_methods)]
impl<T: Store + ?Sized> Store for Faulty<T> {
    fn read(&self, name: EntryName) -> BoxFuture<'_, Result<StoreRead, PortError>> {
        let call = move || Call::ReadValue { name };
        Box::pin(self.faults.request(Op::ReadValue, call, move || self.inner.read(name)))
    }

    fn lease(
        &self,
        name: EntryName,
        nonce: Nonce,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<LeaseOutcome, PortError>> {
        Box::pin(async move {
            let call = || Call::Lease {
                name,
                nonce,
                over: over.clone(),
                ttl,
            };
            let forward = || self.inner.lease(name, nonce, over.clone(), ttl);
            self.faults.request(Op::Lease, call, forward).await
        })
    }

    fn renew(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<bool, PortError>> {
        let call = move || Call::Renew { name, nonce, ttl };
        let forward = move || self.inner.renew(name, nonce, ttl);
        Box::pin(self.faults.request(Op::Renew, call, forward))
    }

    fn store(
        &self,
        name: EntryName,
        nonce: Nonce,
        value: Vec<u8>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            let call = || Call::StoreValue {
                name,
                nonce,
                value: value.clone(),
                ttl,
            };
            let forward = || self.inner.store(name, nonce, value.clone(), ttl);
            self.faults.request(Op::StoreValue, call, forward).await
        })
    }

    fn hold(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<HoldOutcome, PortError>> {
        let call = move || Call::Hold { name, nonce, ttl };
        let forward = move || self.inner.hold(name, nonce, ttl);
        Box::pin(self.faults.request(Op::Hold, call, forward))
    }

    fn unhold(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        let call = move || Call::Unhold { name, nonce };
        let forward = move || self.inner.unhold(name, nonce);
        Box::pin(self.faults.request(Op::Unhold, call, forward))
    }

    fn release(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        let call = move || Call::Release { name, nonce };
        let forward = move || self.inner.release(name, nonce);
        Box::pin(self.faults.request(Op::Release, call, forward))
    }

    fn gone(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        let call = move || Call::Gone { name, nonce };
        let forward = move || self.inner.gone(name, nonce);
        Box::pin(self.faults.request(Op::Gone, call, forward))
    }

    fn insert_if_absent(
        &self,
        name: EntryName,
        value: Vec<u8>,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            let call = || Call::InsertIfAbsent {
                name,
                value: value.clone(),
                over: over.clone(),
                ttl,
            };
            let forward = || self.inner.insert_if_absent(name, value.clone(), over.clone(), ttl);
            self.faults.request(Op::InsertIfAbsent, call, forward).await
        })
    }

    fn increment(&self, name: EntryName, by: i64, ttl: Duration) -> BoxFuture<'_, Result<i64, PortError>> {
        let call = move || Call::Increment { name, by, ttl };
        let forward = move || self.inner.increment(name, by, ttl);
        Box::pin(self.faults.request(Op::Increment, call, forward))
    }
}
