//! Statements: what a node tells the cluster.
//!
//! A statement voids something. It is named, sealed, idempotent, and may arrive by any road, in any order, more than once.

use alloc::string::String;
use alloc::vec::Vec;

use bincode::{Decode, Encode};

use crate::crypto::ScopeKind;
use crate::ident::{ChannelId, EntryName, Origin, ScopeId, Slot, StatementName};
use crate::time::Unix;
use crate::wire::{self, WireError};

/// Longest `by` and `why` of a mark, in bytes; longer texts are refused at the origin.
pub const MAX_NOTE_BYTES: usize = 256;

/// A named fact that voids something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// Who said it, in which channel, as its how manieth; of a restatement, who said it again.
    pub name: StatementName,
    /// What it voids.
    pub body: Body,
}

/// What a statement voids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// Forget one cache entry.
    Drop(EntryName),
    /// Void everything in a scope.
    Mark(Mark),
}

impl Body {
    /// The number of its kind, as members announce which they know; see [`KINDS`].
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Drop(_) => KIND_DROP,
            Self::Mark(mark) => kind_of(mark),
        }
    }

    /// Where in the fence it acts.
    #[must_use]
    pub fn slot(&self) -> Slot {
        match self {
            Self::Drop(name) => name.slot(),
            Self::Mark(mark) => mark.key.scope.slot(),
        }
    }
}

/// What a mark is about, and whom it spares. Two marks with equal keys merge; others stand beside each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
pub struct MarkKey {
    /// The scope that is voided.
    pub scope: ScopeId,
    /// A scope (a session, a token) that this mark spares: "sign out my other devices".
    pub except: Option<ScopeId>,
}

impl MarkKey {
    /// What names a mark within its bucket of the table: the scope, whether there is an exception, and that or zeros.
    #[must_use]
    pub fn field(&self) -> [u8; 33] {
        let mut field = [0; 33];
        field[..16].copy_from_slice(self.scope.as_bytes());
        if let Some(except) = self.except {
            field[16] = 1;
            field[17..].copy_from_slice(except.as_bytes());
        }
        field
    }
}

/// Everything in a scope that was issued up to `not_before` is void until `expires`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Mark {
    /// Scope and exception.
    pub key: MarkKey,
    /// The kind of the scope.
    pub kind: ScopeKind,
    /// The newest `iat` that is void, in the issuer's time, second granularity: a token issued in the same second is void.
    pub not_before: Unix,
    /// When no token that it could void can be valid any more. Always on a full hour: marks of one hour share a bucket.
    pub expires: Unix,
    /// Who said it, why, and when.
    pub note: Note,
}

/// Who made a mark, and why. For people; decides nothing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Encode, Decode)]
pub struct Note {
    /// Wall clock of the origin when it was made.
    pub at: Unix,
    /// Who: a principal of the admin API, or the service that embeds the SDK. At most [`MAX_NOTE_BYTES`].
    pub by: String,
    /// Why. At most [`MAX_NOTE_BYTES`].
    pub why: String,
}

/// Rounds an expiry up to the full hour, as [`Mark::expires`] wants it.
#[must_use]
pub const fn to_full_hour(at: Unix) -> Unix {
    at.div_ceil(3600).saturating_mul(3600)
}

#[derive(Encode, Decode)]
struct Frame {
    origin: Origin,
    channel: u8,
    counter: u64,
    /// The body's kind, apart from its bytes: a node can tell an unknown kind from garbage.
    kind: u16,
    body: Vec<u8>,
}

const KIND_DROP: u16 = 1;
const KIND_MARK: u16 = 2;
/// A mark of [`ScopeKind::KeySet`]. A kind of its own, since whoever does not know it must not be sent one.
pub const KIND_KEY_SET: u16 = 3;

/// The statement kinds that this version knows, as members announce them.
pub const KINDS: [u16; 3] = [KIND_DROP, KIND_MARK, KIND_KEY_SET];

const fn kind_of(mark: &Mark) -> u16 {
    match mark.kind {
        ScopeKind::KeySet => KIND_KEY_SET,
        _ => KIND_MARK,
    }
}

/// Why the bytes inside an envelope are no statement that this node can apply. The channel is suspect then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatementError {
    /// A kind that a newer node knows. This node must not claim coherence.
    UnknownKind(u16),
    /// The bytes are malformed, or the statement stands in a channel where it does not belong.
    Wire(WireError),
}

impl core::fmt::Display for StatementError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(
                f,
                "statement kind {kind} is not known to this version; upgrade the node"
            ),
            Self::Wire(e) => write!(f, "the statement is malformed: {e}"),
        }
    }
}

impl core::error::Error for StatementError {}

impl Statement {
    /// The bytes to seal.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, body) = match &self.body {
            Body::Drop(name) => (KIND_DROP, wire::encode(name)),
            Body::Mark(mark) => (kind_of(mark), wire::encode(mark)),
        };
        wire::encode(&Frame {
            origin: self.name.origin,
            channel: self.name.channel.number(),
            counter: self.name.counter,
            kind,
            body,
        })
    }

    /// Reads what [`Statement::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are malformed, of an unknown kind, or name a channel where the body does not belong.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let frame: Frame = wire::decode(bytes).map_err(StatementError::Wire)?;
        let malformed = StatementError::Wire(WireError::Malformed);
        let channel = ChannelId::new(frame.channel).ok_or(malformed)?;
        let body = match frame.kind {
            KIND_DROP => Body::Drop(wire::decode(&frame.body).map_err(StatementError::Wire)?),
            kind @ (KIND_MARK | KIND_KEY_SET) => {
                let mark: Mark = wire::decode(&frame.body).map_err(StatementError::Wire)?;
                if mark.note.by.len() > MAX_NOTE_BYTES
                    || mark.note.why.len() > MAX_NOTE_BYTES
                    || !mark.expires.is_multiple_of(3600)
                    || kind_of(&mark) != kind
                {
                    return Err(malformed);
                }
                Body::Mark(mark)
            }
            other => return Err(StatementError::UnknownKind(other)),
        };
        // Only marks are kept, so only marks are ever said again without being counted.
        let uncounted = frame.counter == StatementName::RESTATED && !matches!(body, Body::Mark(_));
        if body.slot().channel != channel || uncounted {
            return Err(malformed);
        }
        Ok(Self {
            name: StatementName {
                origin: frame.origin,
                channel,
                counter: frame.counter,
            },
            body,
        })
    }
}
