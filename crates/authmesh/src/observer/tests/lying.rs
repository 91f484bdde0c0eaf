//! Gossip whose answers to an observer were altered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};

use authmesh_proto::ident::{ChannelId, Digest};
use authmesh_proto::marks::BUCKETS;
use authmesh_proto::observe::{Element, Question, Reply};

use crate::memory::HubGossip;
use crate::ports::{BoxFuture, Gossip, GossipCounts, GossipNode, GossipPeer, GossipStream, PortError};

/// What is altered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lie {
    /// As if the member held no mark at all.
    LacksAll,
    /// As if it held this one, in bucket 0 of channel 0.
    Holds(Element),
    /// As if it held another one there at each look, which expires then.
    HoldsAnother(u64),
}

/// The gossip of one node, which hears lies.
#[derive(Debug)]
pub(super) struct Lying {
    inner: HubGossip,
    lie: Lie,
    looks: AtomicU8,
}

impl Lying {
    pub(super) fn new(inner: HubGossip, lie: Lie) -> Self {
        Self {
            inner,
            lie,
            looks: AtomicU8::new(0),
        }
    }

    fn altered(&self, request: &[u8], answer: Vec<u8>) -> Vec<u8> {
        let Ok(question) = Question::decode(request) else {
            return answer;
        };
        let mut reply = Reply::decode(&answer, &question).unwrap();
        if !question.roots.is_empty() {
            // Everything differs, so that the marks themselves are asked for.
            let is_altered = |channel: &ChannelId| match self.lie {
                Lie::LacksAll => question.roots[channel.index()] != Digest::EMPTY,
                Lie::Holds(_) | Lie::HoldsAnother(_) => channel.number() == 0,
            };
            reply.channels = ChannelId::all()
                .filter(is_altered)
                .map(|channel| (channel.number(), vec![Digest([0xee; 16]); BUCKETS]))
                .collect();
        }
        for (bucket, elements) in question.buckets.iter().zip(&mut reply.buckets) {
            match self.lie {
                Lie::LacksAll => *elements = Some(Vec::new()),
                Lie::Holds(element) if *bucket == (0, 0) => elements.get_or_insert_default().push(element),
                Lie::HoldsAnother(expires) if *bucket == (0, 0) => {
                    let look = self.looks.fetch_add(1, Ordering::Relaxed);
                    let digest = Digest([look; 16]);
                    elements.get_or_insert_default().push(Element { digest, expires });
                }
                Lie::Holds(_) | Lie::HoldsAnother(_) => {}
            }
        }
        reply.encode()
    }
}

impl Gossip for Lying {
    fn open(&self, me: GossipNode) -> BoxFuture<'_, Result<GossipStream, PortError>> {
        self.inner.open(me)
    }

    fn broadcast(&self, item: Vec<u8>) {
        self.inner.broadcast(item);
    }

    fn ask(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        self.inner.ask(to, request)
    }

    fn pull(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        let to = to.clone();
        Box::pin(async move {
            let answer = self.inner.pull(&to, request.clone()).await?;
            Ok(self.altered(&request, answer))
        })
    }

    fn suggest(&self, peers: Vec<GossipPeer>) {
        self.inner.suggest(peers);
    }

    fn leave(&self) -> BoxFuture<'_, ()> {
        self.inner.leave()
    }

    fn address(&self) -> Option<SocketAddr> {
        self.inner.address()
    }

    fn counts(&self) -> GossipCounts {
        self.inner.counts()
    }
}
