//! Key sets as nodes hand them to each other: in L2, and by stream.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bincode::{Decode, Encode};

use super::MAX_KID_BYTES;
use crate::crypto::{Kind, NONCE_BYTES, Sealer};
use crate::ident::{EntryName, Incarnation, Nonce, Origin, ScopeId};
use crate::record::{RecordError, Stored, open_as, seal_as};
use crate::time::Unix;
use crate::wire::{self, WireError};

/// The longest document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 512 * 1024;
/// The longest entity tag, in bytes.
pub const MAX_ETAG_BYTES: usize = 256;

/// Stands behind the version, where a request of the gossip machine has the number of its variant, and one of an observer a
/// length: the encoding never begins a number with this byte.
const MARK: [u8; 2] = [0xff, 0xff];

/// An issuer's key set, as one node fetched it for all.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct KeySet {
    /// Its generation, minted by the node that first saw its content.
    pub generation: u64,
    /// When the issuer was asked for it, or whether it still holds, by the wall clock of the node that did. Trust is counted
    /// from here on every node, and after every restart.
    pub asked: Unix,
    /// How long the issuer lets it be used, in seconds, if it says so.
    pub max_age: Option<u32>,
    /// The entity tag of the document.
    pub etag: Option<String>,
    /// The start of the node that asked.
    pub by: Origin,
    /// The JWK set (RFC 7517 section 5) as the issuer sent it. Every node reads it by its own rules.
    pub document: Vec<u8>,
}

impl KeySet {
    /// How old it is at `now`, by the reader's wall clock; `None`: it comes from further ahead than clocks may differ.
    #[must_use]
    pub const fn age(&self, now: Unix, max_skew: Duration) -> Option<Duration> {
        if self.asked > now.saturating_add(max_skew.as_secs()) {
            return None;
        }
        Some(Duration::from_secs(now.saturating_sub(self.asked)))
    }

    /// How long the issuer lets it be used.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Seals the set for the name of its issuer, and a place in L2. It expires with its trust.
    #[must_use]
    pub fn seal(
        &self,
        sealer: &Sealer,
        name: &EntryName,
        place: (Incarnation, u64),
        expires: Unix,
        nonce: [u8; NONCE_BYTES],
    ) -> Stored {
        seal_as(Kind::KeySet, self, sealer, name, place, expires, nonce)
    }

    /// Opens what [`KeySet::seal`] sealed. Incarnation and L2 generation are those that stand beside it, whatever the log has
    /// now: a set is guarded by its own generation.
    ///
    /// # Errors
    /// When it was altered or moved, is sealed under an unknown key, or is longer than a set may be.
    pub fn open(
        sealer: &Sealer,
        name: &EntryName,
        place: (Incarnation, u64),
        expires: Unix,
        sealed: &[u8],
    ) -> Result<Self, RecordError> {
        let set: Self = open_as(Kind::KeySet, sealer, name, place, expires, sealed)?;
        set.within().map_err(RecordError::Wire)
    }

    fn within(self) -> Result<Self, WireError> {
        let etag = self.etag.as_ref().is_none_or(|etag| etag.len() <= MAX_ETAG_BYTES);
        if etag && self.document.len() <= MAX_DOCUMENT_BYTES {
            Ok(self)
        } else {
            Err(WireError::Malformed)
        }
    }
}

/// What came of a fetch, for the nodes that would have made the same one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Ticket {
    /// The lease under which it was made.
    pub lease: Nonce,
    /// Of a failure: how long nobody asks again, in milliseconds from when the ticket was left.
    pub failed: Option<u32>,
}

impl Ticket {
    /// Of a failure, how long nobody asks again from `now` on, by the reader's wall clock. Clocks differ: never less than an
    /// eighth of what was said, nor more than all of it.
    #[must_use]
    pub fn left(&self, expires: Unix, now: Unix) -> Option<Duration> {
        let all = Duration::from_millis(self.failed?.into());
        Some(Duration::from_secs(expires.saturating_sub(now)).clamp(all / 8, all))
    }

    /// Seals the ticket for its name and place.
    #[must_use]
    pub fn seal(
        &self,
        sealer: &Sealer,
        name: &EntryName,
        place: (Incarnation, u64),
        expires: Unix,
        nonce: [u8; NONCE_BYTES],
    ) -> Stored {
        seal_as(Kind::KeySet, self, sealer, name, place, expires, nonce)
    }

    /// Opens what [`Ticket::seal`] sealed.
    ///
    /// # Errors
    /// As [`KeySet::open`].
    pub fn open(
        sealer: &Sealer,
        name: &EntryName,
        place: (Incarnation, u64),
        expires: Unix,
        sealed: &[u8],
    ) -> Result<Self, RecordError> {
        open_as(Kind::KeySet, sealer, name, place, expires, sealed)
    }
}

/// What a member is asked about an issuer's keys.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct KeyQuestion {
    /// The keyed name of the issuer's key sets.
    pub issuer: ScopeId,
    /// What the asker has: generation and time of asking, 0 for none.
    pub have: (u64, Unix),
    /// The generation that is wanted at least; 0: any.
    pub generation: u64,
    /// The kid that is wanted.
    pub kid: Option<String>,
    /// Whether the issuer must be asked after this question came.
    pub afresh: bool,
}

/// The answer to a [`KeyQuestion`].
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum KeyAnswer {
    /// The set that the member holds now.
    Set {
        /// The set.
        set: KeySet,
        /// Whether the issuer was asked for it after the question came.
        proof: bool,
    },
    /// The member may not, or could not, ask: not before so many milliseconds.
    NotNow(u32),
    /// The member does not know the issuer, or has nothing.
    Nothing,
}

impl KeyQuestion {
    /// Whether a request is a question about keys.
    #[must_use]
    pub fn is_one(request: &[u8]) -> bool {
        matches!(request, [_, first, second, ..] if [*first, *second] == MARK)
    }

    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::frame(&MARK, self)
    }

    /// Reads what [`KeyQuestion::encode`] wrote.
    ///
    /// # Errors
    /// When it is anything else, or of a version that is not spoken here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let question: Self = wire::unframe(&MARK, bytes)?;
        match &question.kid {
            Some(kid) if kid.len() > MAX_KID_BYTES => Err(WireError::Malformed),
            _ => Ok(question),
        }
    }
}

impl KeyAnswer {
    /// The bytes to send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        wire::frame(&MARK, self)
    }

    /// Reads what [`KeyAnswer::encode`] wrote.
    ///
    /// # Errors
    /// When it is anything else, or of a version that is not spoken here.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        match wire::unframe(&MARK, bytes)? {
            Self::Set { set, proof } => Ok(Self::Set {
                set: set.within()?,
                proof,
            }),
            other => Ok(other),
        }
    }
}
