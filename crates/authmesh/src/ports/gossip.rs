//! Gossip: the road between nodes that needs no Redis.
//!
//! The port carries bytes between members and says who is there. What the bytes mean, who is believed, and when a node may
//! call itself coherent is decided by `authmesh_proto::gossip`.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::crypto::OpenError;
use authmesh_proto::ident::Origin;
use tokio::sync::oneshot;
use tokio_stream::Stream;

use super::{BoxFuture, PortError};

/// The longest item of [`Gossip::broadcast`], request of [`Gossip::ask`] and answer to it, in bytes: with header and seal it
/// fits a datagram of 1,400 bytes.
pub const MAX_SMALL: usize = 1200;

/// The longest request of [`Gossip::pull`] and answer to it, in bytes.
pub const MAX_LARGE: usize = 1 << 20;

/// What gossip brings. It ends when the adapter gives up; the driver opens it again.
pub type GossipStream = Pin<Box<dyn Stream<Item = GossipEvent> + Send>>;

/// Talks to the other members of the cluster.
///
/// Everything that it carries is sealed under the cluster's key ring; what does not open, is replayed, or comes from a
/// source beyond its limits reaches nobody. Delivery is best effort: messages may be lost, doubled, reordered and delayed.
pub trait Gossip: fmt::Debug + Send + Sync {
    /// Binds the sockets and joins the cluster. The stream is that of one life of the node: opening again ends the one before.
    ///
    /// # Errors
    /// When the sockets could not be bound. Seeds that do not answer are no error: they are asked again for as long as it takes.
    fn open(&self, me: GossipNode) -> BoxFuture<'_, Result<GossipStream, PortError>>;

    /// Sends an item of at most [`MAX_SMALL`] bytes towards every member, at once. Best effort, and silent about failure.
    fn broadcast(&self, item: Vec<u8>);

    /// Sends one member a request, and waits for its answer; both have at most [`MAX_SMALL`] bytes and travel as datagrams. They
    /// are sent once: no answer within a second is an error.
    ///
    /// Cancel safety: the member may or may not have seen the request.
    ///
    /// # Errors
    /// [`PortError::Unknown`] when no answer came, [`PortError::Refused`] when the request is too long.
    fn ask(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>>;

    /// As [`Gossip::ask`] over a stream: request and answer have at most [`MAX_LARGE`] bytes, and it is given up after 5 s.
    ///
    /// # Errors
    /// As [`Gossip::ask`]; [`PortError::Unavailable`] when no connection came about.
    fn pull(&self, to: &GossipPeer, request: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, PortError>>;

    /// Tells members where others were heard of: from their registration in Redis. They are tried as seeds are.
    fn suggest(&self, peers: Vec<GossipPeer>);

    /// Says good-bye, for at most a second.
    fn leave(&self) -> BoxFuture<'_, ()>;

    /// Where others reach this node; `None` before [`Gossip::open`].
    fn address(&self) -> Option<SocketAddr>;

    /// What it did.
    fn counts(&self) -> GossipCounts;
}

/// A node, as its gossip adapter knows it.
#[derive(Debug, Clone)]
pub struct GossipNode {
    /// This start of it.
    pub origin: Origin,
    /// Its configured name.
    pub name: String,
    /// Seals what leaves it.
    pub seal: Arc<dyn DatagramSeal>,
}

/// Seals and opens datagrams and stream frames under the cluster's key ring, which may be rotated meanwhile.
pub trait DatagramSeal: fmt::Debug + Send + Sync {
    /// Seals `plain`. The envelope is [`ENVELOPE_OVERHEAD`](authmesh_proto::crypto::ENVELOPE_OVERHEAD) bytes longer.
    fn seal(&self, plain: &[u8]) -> Vec<u8>;

    /// Opens an envelope.
    ///
    /// # Errors
    /// When it was not sealed by a member of the cluster, or is under a key that this node does not have.
    fn open(&self, envelope: &[u8]) -> Result<Vec<u8>, OpenError>;

    /// Fills `bytes` from the node's random source.
    fn random(&self, bytes: &mut [u8]);
}

/// A member, as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GossipPeer {
    /// This start of it.
    pub origin: Origin,
    /// Where its datagrams and streams go.
    pub address: SocketAddr,
    /// Its configured name.
    pub name: String,
}

/// What comes in.
#[derive(Debug)]
pub enum GossipEvent {
    /// A member is there, by SWIM. Also when its address or name changed.
    Up(GossipPeer),
    /// SWIM gave a member up: it may be dead, or cut off from here.
    Down(Origin),
    /// A member said good-bye: this start of it does not come back.
    Left(Origin),
    /// A broadcast item of some member.
    Item(Vec<u8>),
    /// A member asks.
    Asked(Asked),
    /// This node was so slow that others may have been wronged by its suspicions; it has widened its time-outs.
    Slow(Duration),
}

/// A request of a member. Dropped without an answer it is as if it had been lost.
#[derive(Debug)]
pub struct Asked {
    /// Who asks. Its datagrams have proven that it holds the key ring and lives at its address now.
    pub from: GossipPeer,
    /// The request.
    pub request: Vec<u8>,
    /// The most that the answer may have, in bytes.
    pub limit: usize,
    /// Takes the answer.
    pub answer: oneshot::Sender<Vec<u8>>,
}

/// Counters of an adapter, since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct GossipCounts {
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received and taken.
    pub datagrams_taken: u64,
    /// Bytes sent, in datagrams and streams.
    pub bytes_sent: u64,
    /// Bytes received, in datagrams and streams.
    pub bytes_received: u64,
    /// Datagrams and frames that did not open.
    pub unopened: u64,
    /// Datagrams that were replayed, or older than the window.
    pub replayed: u64,
    /// Datagrams and streams refused before any cryptography, by the limits of their source.
    pub limited: u64,
    /// Datagrams and frames that opened and were malformed or too long.
    pub malformed: u64,
    /// Datagrams of sources that had to prove first that they live: each was answered with a challenge.
    pub challenged: u64,
    /// Items and requests given up because a queue was full.
    pub dropped: u64,
    /// Streams opened to others.
    pub streams_opened: u64,
    /// Streams that others opened.
    pub streams_taken: u64,
    /// Members that SWIM holds to be there.
    pub members: u64,
}
