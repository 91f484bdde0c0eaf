//! The registration of members with faults.

use authmesh::ports::{BoxFuture, MemberEntry, Members, PortError};

use crate::faults::{Call, Faulty, Op};

#[deny(clippy::missing_trait_methods)]
impl<T: Members + ?Sized> Members for Faulty<T> {
    fn announce(&self, id: Vec<u8>, sealed: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let call = || Call::Announce {
                id: id.clone(),
                sealed: sealed.clone(),
            };
            let forward = || self.inner.announce(id.clone(), sealed.clone());
            self.faults.request(Op::Announce, call, forward).await
        })
    }

    fn forget(&self, id: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let call = || Call::Forget { id: id.clone() };
            let forward = || self.inner.forget(id.clone());
            self.faults.request(Op::Forget, call, forward).await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<MemberEntry>, PortError>> {
        Box::pin(self.faults.request(Op::List, || Call::List, || self.inner.list()))
    }
}
