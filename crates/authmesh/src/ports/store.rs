//! The shared second level (L2).

use std::fmt;
use std::time::Duration;

use authmesh_proto::fill::{HoldOutcome, LeaseOutcome};
use authmesh_proto::ident::{EntryName, Nonce};
use authmesh_proto::log::Head;

use super::{BoxFuture, PortError};

/// Holds opaque values under keyed names, guarded by fill leases.
///
/// A value is what [`Stored`](authmesh_proto::record::Stored) encodes. The store reads only its clear part: incarnation and
/// generation, which tell an outdated value from a live one. A commit of a `Drop` deletes a value or lease behind this
/// port's back; that is what makes a late [`Store::store`] fail. It leaves a hold where it is.
///
/// Cancel safety: dropping a future leaves at most a lease, which runs out by itself.
pub trait Store: fmt::Debug + Send + Sync {
    /// The value under a name, and the head of its channel, read in one round trip from the primary.
    ///
    /// # Errors
    /// When it could not be read.
    fn read(&self, name: EntryName) -> BoxFuture<'_, Result<StoreRead, PortError>>;

    /// Takes the fill lease of a name for `ttl`, if there is no value, or an outdated one, or an own lease (same nonce), or
    /// exactly the bytes `over`: a value that the caller has read and found void, by a tag or because it does not open.
    ///
    /// # Errors
    /// When the store could not be asked; a lease may have been taken then.
    fn lease(
        &self,
        name: EntryName,
        nonce: Nonce,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<LeaseOutcome, PortError>>;

    /// Prolongs an own lease to `ttl` from now. `false`: it is gone, destroyed by a `Drop` or run out.
    ///
    /// # Errors
    /// When the store could not be asked.
    fn renew(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<bool, PortError>>;

    /// Replaces the own lease by a value that lives for `ttl`, and wakes those who wait for it. `false`: the lease is gone,
    /// and nothing was stored.
    ///
    /// # Errors
    /// When the store could not be asked, or has no room.
    fn store(
        &self,
        name: EntryName,
        nonce: Nonce,
        value: Vec<u8>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>>;

    /// Holds a name for `ttl`, whatever stands there: a value and a lease are gone, the holds of others stay beside it. Under
    /// a nonce that holds it already, the hold ends `ttl` from now, be that sooner or later than before. While any hold
    /// stands, [`Store::lease`] answers [`LeaseOutcome::OnHold`], and nothing is stored or inserted.
    ///
    /// At most 16 writers hold a name at a time.
    ///
    /// # Errors
    /// When the store could not be asked, or has no room; the name may be held then.
    fn hold(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<HoldOutcome, PortError>>;

    /// Ends an own hold; one that is not there is ended already.
    ///
    /// # Errors
    /// When the store could not be asked; the hold runs out by itself.
    fn unhold(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>>;

    /// Gives an own lease back without a value, and wakes those who wait for it.
    ///
    /// # Errors
    /// When the store could not be asked; the lease runs out by itself.
    fn release(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>>;

    /// Resolves when the lease `nonce` of a name is gone: stored over, given back, destroyed, or run out.
    ///
    /// # Errors
    /// When the store could not be asked.
    fn gone(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>>;

    /// Stores a value for `ttl` if there is none, or an outdated one, or only a lease, or exactly the bytes `over` (see
    /// [`Store::lease`]). Returns whether it was stored; under a hold it is not.
    ///
    /// # Errors
    /// [`PortError`], whose variant says whether it may have happened. [`PortError::Refused`] where the channel has no log
    /// yet: nothing could tell that value from an outdated one.
    fn insert_if_absent(
        &self,
        name: EntryName,
        value: Vec<u8>,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>>;

    /// Adds to a plain counter and returns its new value; `ttl` counts from the counter's first increment. Counters live
    /// apart from values: the same name may have both. Saturates.
    ///
    /// # Errors
    /// [`PortError`], whose variant says whether it may have happened.
    fn increment(&self, name: EntryName, by: i64, ttl: Duration) -> BoxFuture<'_, Result<i64, PortError>>;
}

/// What [`Store::read`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRead {
    /// The head of the channel's log.
    pub head: Option<Head>,
    /// The bytes under the name, whatever they are.
    pub value: Option<Vec<u8>>,
}
