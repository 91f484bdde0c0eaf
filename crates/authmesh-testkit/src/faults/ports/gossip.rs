//! Gossip with faults.

use std::net::SocketAddr;
use std::sync::Arc;

use authmesh::ports::{BoxFuture, Gossip, GossipCounts, GossipEvent, GossipNode, GossipPeer, GossipStream, PortError};

use crate::faults::line::{Kind, Line};
use crate::faults::{Call, Faulty, Heard, Op};

#[deny(clippy::missing_trait_methods)]
impl<T: Gossip + ?Sized + 'static> Gossip for Faulty<T> {
    fn open(&self, me: GossipNode) -> BoxFuture<'_, Result<GossipStream, PortError>> {
        Box::pin(async move {
            let forward = || self.inner.open(me.clone());
            let events = self.faults.request(Op::Open, || Call::Open, forward).await?;
            let kind = Kind {
                op: Op::Hear,
                call: |event: &GossipEvent| Call::Hear(Heard::of(event)),
                again: Heard::again,
                broken: || None,
            };
            Ok(Box::pin(Line::new(events, self.faults.clone(), kind)) as GossipStream)
        })
    }

    fn broadcast(&self, item: Vec<u8>) {
        let call = || Call::Broadcast(item.clone());
        let (inner, item) = (Arc::clone(&self.inner), item.clone());
        self.faults
            .message(Op::Broadcast, call, move || inner.broadcast(item.clone()));
    }

    fn ask(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        let to = to.clone();
        Box::pin(async move {
            let call = || Call::Ask {
                to: to.clone(),
                request: request.clone(),
            };
            let forward = || self.inner.ask(&to, request.clone());
            self.faults.request(Op::Ask, call, forward).await
        })
    }

    fn pull(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        let to = to.clone();
        Box::pin(async move {
            let call = || Call::Pull {
                to: to.clone(),
                request: request.clone(),
            };
            let forward = || self.inner.pull(&to, request.clone());
            self.faults.request(Op::Pull, call, forward).await
        })
    }

    fn suggest(&self, peers: Vec<GossipPeer>) {
        let call = || Call::Suggest(peers.clone());
        let (inner, peers) = (Arc::clone(&self.inner), peers.clone());
        self.faults
            .message(Op::Suggest, call, move || inner.suggest(peers.clone()));
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let forward = || {
                Box::pin(async {
                    self.inner.leave().await;
                    Ok::<(), PortError>(())
                }) as _
            };
            // The port's method has no error: a good-bye that is not sent is a good-bye that nobody hears.
            let _ = self.faults.request(Op::Leave, || Call::Leave, forward).await;
        })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.inner.address()
    }

    fn counts(&self) -> GossipCounts {
        self.inner.counts()
    }
}
