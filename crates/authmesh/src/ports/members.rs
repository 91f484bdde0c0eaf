//! Registration of the cluster's members.

use std::fmt;

use super::{BoxFuture, PortError};

/// Holds one sealed record per member.
///
/// Cancel safety: dropping a future may leave the change made or not made; every call can be repeated.
pub trait Members: fmt::Debug + Send + Sync {
    /// Writes the record of the member `id` (32 bytes at most), replacing the one before.
    ///
    /// # Errors
    /// When it could not be written. A longer ID is [`PortError::Refused`].
    fn announce(&self, id: Vec<u8>, sealed: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>>;

    /// Removes the record of a member: it left in good order, or an operator forgets it.
    ///
    /// # Errors
    /// When it could not be removed.
    fn forget(&self, id: Vec<u8>) -> BoxFuture<'_, Result<(), PortError>>;

    /// Every record, in the order of their IDs.
    ///
    /// # Errors
    /// When they could not be read whole.
    fn list(&self) -> BoxFuture<'_, Result<Vec<MemberEntry>, PortError>>;
}

/// One record as the port holds it: nothing in it is trusted before it opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEntry {
    /// The member's ID.
    pub id: Vec<u8>,
    /// The sealed record.
    pub sealed: Vec<u8>,
}
