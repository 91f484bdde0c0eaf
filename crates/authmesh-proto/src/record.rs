//! What stands under an entry's name in L2: a fill lease, or a sealed record.
//!
//! The outer part is fixed and in the clear, since the lease script has to tell an outdated value from a live one. It is
//! bound into the seal, so that changing it makes the record unreadable.
//!
//! ```text
//! version (1) | 1 | incarnation (16) | generation (8) | nonce (16)                   a fill lease
//! version (1) | 2 | incarnation (16) | generation (8) | expires (8) | sealed record  a record
//! version (1) | 3 | incarnation (16) | generation (8) | nonce (16) | until (8) | ..  a hold
//! ```
//!
//! A hold says that the source of the key is being written. While it stands the key has no value, nobody takes its lease or
//! stores under it, and a drop leaves it; see [`Content::Hold`].

use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::crypto::{Context, Kind, NONCE_BYTES, OpenError, Sealer};
use crate::ident::{EntryName, Incarnation, Nonce, Position, ScopeId};
use crate::time::Unix;
use crate::wire::{self, VERSION, WireError};

/// A value of L2, as its clear part tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Incarnation of the channel's log when it was written.
    pub incarnation: Incarnation,
    /// L2 generation of the channel when it was written.
    pub generation: u64,
    /// A lease or a record.
    pub content: Content,
}

/// Lease or record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Somebody is loading the key.
    Lease(Nonce),
    /// A sealed [`Record`].
    Record {
        /// When it expires, in seconds since the Unix epoch.
        expires: Unix,
        /// The envelope.
        sealed: Vec<u8>,
    },
    /// The source of the key is being written, by these: 1 to [`MAX_HOLDERS`].
    Hold(Vec<Holder>),
}

/// How many writers can hold a key at a time.
pub const MAX_HOLDERS: usize = 16;

/// One writer that holds a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its random name.
    pub nonce: Nonce,
    /// Until when it holds the key, in milliseconds of the store's own clock. Nobody else reads it.
    pub until: u64,
}

const HOLDER_BYTES: usize = 24;

impl Stored {
    /// The bytes that stand in L2.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(VERSION);
        out.push(match self.content {
            Content::Lease(_) => 1,
            Content::Record { .. } => 2,
            Content::Hold(_) => 3,
        });
        out.extend_from_slice(self.incarnation.as_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        match &self.content {
            Content::Lease(nonce) => out.extend_from_slice(nonce.as_bytes()),
            Content::Record { expires, sealed } => {
                out.extend_from_slice(&expires.to_be_bytes());
                out.extend_from_slice(sealed);
            }
            Content::Hold(holders) => {
                for holder in holders {
                    out.extend_from_slice(holder.nonce.as_bytes());
                    out.extend_from_slice(&holder.until.to_be_bytes());
                }
            }
        }
        out
    }

    /// Reads the bytes of L2, which may be anything.
    ///
    /// # Errors
    /// When they are no value of this version. That is a miss, a counter, and an audit event.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let (&[version, kind], rest) = bytes.split_first_chunk().ok_or(WireError::Malformed)?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let (incarnation, rest) = rest.split_first_chunk().ok_or(WireError::Malformed)?;
        let (generation, rest) = rest.split_first_chunk().ok_or(WireError::Malformed)?;
        let content = match kind {
            1 => Content::Lease(Nonce(rest.try_into().map_err(|_| WireError::Malformed)?)),
            2 => {
                let (expires, sealed) = rest.split_first_chunk().ok_or(WireError::Malformed)?;
                Content::Record {
                    expires: Unix::from_be_bytes(*expires),
                    sealed: sealed.to_vec(),
                }
            }
            3 => Content::Hold(holders(rest)?),
            _ => return Err(WireError::Malformed),
        };
        Ok(Self {
            incarnation: Incarnation(*incarnation),
            generation: u64::from_be_bytes(*generation),
            content,
        })
    }
}

fn holders(bytes: &[u8]) -> Result<Vec<Holder>, WireError> {
    let (holders, rest) = bytes.as_chunks::<HOLDER_BYTES>();
    if !rest.is_empty() || !(1..=MAX_HOLDERS).contains(&holders.len()) {
        return Err(WireError::Malformed);
    }
    let read = |holder: &[u8; HOLDER_BYTES]| {
        let (nonce, until) = holder.split_first_chunk().ok_or(WireError::Malformed)?;
        Ok(Holder {
            nonce: Nonce(*nonce),
            until: u64::from_be_bytes(until.try_into().map_err(|_| WireError::Malformed)?),
        })
    };
    holders.iter().map(read).collect()
}

/// The content of a cache entry as L2 holds it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Record {
    /// Wall clock of the filler when it read the source.
    pub filled_at: Unix,
    /// Per tag, the position that the filler had applied in the tag's channel **before** it read the source.
    pub tags: Vec<TagPosition>,
    /// The value.
    pub value: Vec<u8>,
}

/// A tag of a record, and how much of the tag's channel its filler had applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct TagPosition {
    /// The tag.
    pub tag: ScopeId,
    /// Incarnation and position of the tag's channel; `None` when the filler knew none.
    pub applied: Option<(Incarnation, Position)>,
}

/// Why a stored record cannot be used. A miss in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordError {
    /// The envelope did not open.
    Sealed(OpenError),
    /// It opened, but its content is malformed.
    Wire(WireError),
}

impl Record {
    /// Seals the record for one entry, one incarnation and generation, and one expiry.
    #[must_use]
    pub fn seal(
        &self,
        sealer: &Sealer,
        name: &EntryName,
        place: (Incarnation, u64),
        expires: Unix,
        nonce: [u8; NONCE_BYTES],
    ) -> Stored {
        seal_as(Kind::Record, self, sealer, name, place, expires, nonce)
    }

    /// Opens what [`Record::seal`] sealed, for the same place.
    ///
    /// # Errors
    /// When it was altered, moved, or sealed under an unknown key.
    pub fn open(
        sealer: &Sealer,
        name: &EntryName,
        place: (Incarnation, u64),
        expires: Unix,
        sealed: &[u8],
    ) -> Result<Self, RecordError> {
        open_as(Kind::Record, sealer, name, place, expires, sealed)
    }
}

fn context(name: &EntryName, (incarnation, generation): (Incarnation, u64), expires: Unix) -> Context {
    Context::new()
        .entry(name)
        .incarnation(incarnation, generation)
        .expires(expires)
}

/// Seals a value of L2 for its name, its place and its expiry, under the subkey of its kind.
pub(crate) fn seal_as<T: Encode>(
    kind: Kind,
    value: &T,
    sealer: &Sealer,
    name: &EntryName,
    place: (Incarnation, u64),
    expires: Unix,
    nonce: [u8; NONCE_BYTES],
) -> Stored {
    let sealed = sealer.seal(kind, &context(name, place, expires), nonce, &wire::encode(value));
    let (incarnation, generation) = place;
    Stored {
        incarnation,
        generation,
        content: Content::Record { expires, sealed },
    }
}

/// Opens what [`seal_as`] sealed.
pub(crate) fn open_as<T: Decode<()>>(
    kind: Kind,
    sealer: &Sealer,
    name: &EntryName,
    place: (Incarnation, u64),
    expires: Unix,
    sealed: &[u8],
) -> Result<T, RecordError> {
    let plain = sealer
        .open(kind, &context(name, place, expires), sealed)
        .map_err(RecordError::Sealed)?;
    wire::decode(&plain).map_err(RecordError::Wire)
}
