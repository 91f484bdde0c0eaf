//! Faults for tests, of ours and of our users.

use std::fmt;
use std::net::SocketAddr;

/// Decides what gets out of a node: a decorator over its sockets. The real one lets everything pass.
pub trait Sieve: fmt::Debug + Send + Sync {
    /// Whether a datagram of this many bytes leaves for `to`.
    fn datagram(&self, to: SocketAddr, bytes: usize) -> bool;

    /// Whether a stream to `to` may be opened.
    fn stream(&self, to: SocketAddr) -> bool;
}

/// Lets everything pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Open;

impl Sieve for Open {
    fn datagram(&self, _: SocketAddr, _: usize) -> bool {
        true
    }

    fn stream(&self, _: SocketAddr) -> bool {
        true
    }
}
