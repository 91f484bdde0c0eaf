//! The bus: bells that say "the log went on".

use std::fmt;
use std::pin::Pin;

use tokio_stream::Stream;

use super::{BoxFuture, PortError};

/// A stream of bells. It ends when the adapter gives up; the driver then subscribes again.
pub type BusStream = Pin<Box<dyn Stream<Item = BusEvent> + Send>>;

/// Delivers the bells of all channels.
///
/// Best effort by nature: bells may be lost, doubled and reordered. The follower finds out; the bus only has to say when it
/// *knows* that something may be missing.
pub trait Bus: fmt::Debug + Send + Sync {
    /// Subscribes to all 64 channels. The subscription is in force when the future resolves: a statement committed
    /// afterwards rings on the stream.
    ///
    /// # Errors
    /// When the subscription could not be made; there is none then.
    fn subscribe(&self) -> BoxFuture<'_, Result<BusStream, PortError>>;
}

/// What comes over the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusEvent {
    /// The bytes of a bell: an encoded [`LogEntry`](authmesh_proto::log::LogEntry), not yet checked in any way.
    Bell(Vec<u8>),
    /// Bells may have been lost: the connection broke and was made anew, or the subscriber was too slow.
    Broken,
}
