//! The log with faults.

use authmesh::ports::{BoxFuture, Commit, Committed, Log, LogSlice, MarkTable, PortError, StoredMark};
use authmesh::proto::ident::{ChannelId, Incarnation, Nonce, Position};
use authmesh::proto::log::Head;
use authmesh::proto::marks::Digests;

use crate::faults::{Call, Faulty, Op};

#[deny(clippy::missing_trait_methods)]
impl<T: Log + ?Sized> Log for Faulty<T> {
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Committed, PortError>> {
        Box::pin(async move {
            let call = || Call::Commit(commit.clone());
            let forward = || self.inner.commit(commit.clone());
            self.faults.request(Op::Commit, call, forward).await
        })
    }

    fn heads(&self) -> BoxFuture<'_, Result<Vec<Option<Head>>, PortError>> {
        Box::pin(self.faults.request(Op::Heads, || Call::Heads, || self.inner.heads()))
    }

    fn read(&self, channel: ChannelId, from: Position, limit: usize) -> BoxFuture<'_, Result<LogSlice, PortError>> {
        let call = move || Call::ReadLog { channel, from, limit };
        let forward = move || self.inner.read(channel, from, limit);
        Box::pin(self.faults.request(Op::ReadLog, call, forward))
    }

    fn load(&self, channel: ChannelId, known: Option<Digests>) -> BoxFuture<'_, Result<MarkTable, PortError>> {
        let call = move || Call::Load {
            channel,
            known: known.map(Box::new),
        };
        let forward = move || self.inner.load(channel, known);
        Box::pin(self.faults.request(Op::Load, call, forward))
    }

    fn mint(
        &self,
        channel: ChannelId,
        expected: Option<Incarnation>,
        incarnation: Incarnation,
        nonce: Nonce,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        let call = move || Call::Mint {
            channel,
            expected,
            incarnation,
            nonce,
        };
        let forward = move || self.inner.mint(channel, expected, incarnation, nonce);
        Box::pin(self.faults.request(Op::Mint, call, forward))
    }

    fn purge(&self, channel: ChannelId, elements: Vec<StoredMark>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let call = || Call::Purge {
                channel,
                elements: elements.clone(),
            };
            let forward = || self.inner.purge(channel, elements.clone());
            self.faults.request(Op::Purge, call, forward).await
        })
    }
}
