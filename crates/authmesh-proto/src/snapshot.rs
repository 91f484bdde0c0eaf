//! A snapshot: a node's marks as it keeps them for its next start.
//!
//! ```text
//! "authmesh marks" (14) | version (1) | snapshot (16) | parts
//! part: length (4) | envelope of kind 7
//! ```
//!
//! Inside an envelope: whether it is the last part, and up to [`MARKS`] marks. It is bound to the cluster, the snapshot and
//! the part's number: parts of two snapshots do not mix, and none is missing unnoticed. What opens was written by a node of
//! this cluster, and marks only void: so the parts of a file that breaks off are true all the same.

use alloc::vec::Vec;
use core::fmt;

use bincode::{Decode, Encode};

use crate::crypto::{Context, ENVELOPE_OVERHEAD, Kind, NONCE_BYTES, OpenError, Sealer};
use crate::statement::Mark;
use crate::wire::{self, DECODE_LIMIT, VERSION, WireError};

/// The most marks of one part.
pub const MARKS: usize = 512;
/// Length of the header.
pub const HEADER: usize = 31;
/// The longest envelope of a part.
pub const MAX_PART: usize = DECODE_LIMIT + ENVELOPE_OVERHEAD;

const MAGIC: &[u8; 14] = b"authmesh marks";

/// The random name of one snapshot.
pub type SnapshotId = [u8; 16];

/// A part of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Part {
    /// Nothing follows.
    pub last: bool,
    /// Some of the marks.
    pub marks: Vec<Mark>,
}

/// Why a file is no snapshot that this node can take. Marks of the parts before are true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It does not begin as one.
    NotOne,
    /// It is of another version.
    Version(u8),
    /// It breaks off.
    Truncated,
    /// Something stands behind its end.
    TrailingBytes,
    /// A part does not open: altered, moved, of another cluster, or under another key.
    Sealed(OpenError),
    /// A part opens and is malformed.
    Wire(WireError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOne => f.write_str("it is no snapshot of marks"),
            Self::Version(v) => write!(f, "it is of version {v}; this node reads {VERSION}"),
            Self::Truncated => f.write_str("it breaks off"),
            Self::TrailingBytes => f.write_str("something stands behind its end"),
            Self::Sealed(error) => write!(f, "a part of it does not open, or is of another cluster: {error}"),
            Self::Wire(error) => write!(f, "a part of it is malformed: {error}"),
        }
    }
}

impl core::error::Error for SnapshotError {}

/// The bytes at the beginning.
#[must_use]
pub fn header(id: &SnapshotId) -> [u8; HEADER] {
    let mut out = [VERSION; HEADER];
    out[..MAGIC.len()].copy_from_slice(MAGIC);
    out[HEADER - 16..].copy_from_slice(id);
    out
}

/// Reads what [`header`] wrote.
///
/// # Errors
/// [`SnapshotError::NotOne`] and [`SnapshotError::Version`].
pub fn read_header(bytes: &[u8; HEADER]) -> Result<SnapshotId, SnapshotError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::NotOne)?;
    let (version, id) = rest.split_first().ok_or(SnapshotError::NotOne)?;
    if *version != VERSION {
        return Err(SnapshotError::Version(*version));
    }
    id.try_into().map_err(|_| SnapshotError::NotOne)
}

impl Part {
    /// The part as it stands in the file, its length included. `number` counts from 0.
    #[must_use]
    pub fn seal(&self, sealer: &Sealer, id: &SnapshotId, number: u64, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let sealed = sealer.seal(Kind::Snapshot, &context(id, number), nonce, &wire::encode(self));
        // At most MAX_PART.
        let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        let mut out = Vec::with_capacity(4 + sealed.len());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&sealed);
        out
    }

    /// Opens the envelope of a part.
    ///
    /// # Errors
    /// [`SnapshotError::Sealed`] and [`SnapshotError::Wire`].
    pub fn open(sealer: &Sealer, id: &SnapshotId, number: u64, envelope: &[u8]) -> Result<Self, SnapshotError> {
        let opened = sealer.open(Kind::Snapshot, &context(id, number), envelope);
        let part: Self = wire::decode(&opened.map_err(SnapshotError::Sealed)?).map_err(SnapshotError::Wire)?;
        if part.marks.iter().all(|mark| mark.expires.is_multiple_of(3600)) {
            Ok(part)
        } else {
            Err(SnapshotError::Wire(WireError::Malformed))
        }
    }
}

fn context(id: &SnapshotId, number: u64) -> Context {
    Context::new().name(id).expires(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::crypto::{KeyRing, ScopeKind};
    use crate::ident::ScopeId;
    use crate::statement::{MAX_NOTE_BYTES, MarkKey, Note};

    const ID: SnapshotId = [7; 16];

    fn sealer(cluster: &str) -> Sealer {
        Sealer::new(&KeyRing::new([1; 32], [[2; 32]]).unwrap(), cluster)
    }

    fn largest() -> Part {
        let text = || "x".repeat(MAX_NOTE_BYTES);
        let mark = |n: usize| Mark {
            key: MarkKey {
                scope: ScopeId([n as u8; 16]),
                except: Some(ScopeId([0xff; 16])),
            },
            kind: ScopeKind::Subject,
            not_before: u64::MAX,
            expires: u64::MAX / 3600 * 3600,
            note: Note {
                at: u64::MAX,
                by: text(),
                why: text(),
            },
        };
        Part {
            last: true,
            marks: (0..MARKS).map(mark).collect(),
        }
    }

    #[test]
    fn the_largest_part_comes_back() {
        let sealed = largest().seal(&sealer("c"), &ID, 3, [9; NONCE_BYTES]);
        assert_eq!(sealed[..4], u32::to_be_bytes(sealed.len() as u32 - 4));
        assert!(sealed.len() - 4 <= MAX_PART);
        assert_eq!(Part::open(&sealer("c"), &ID, 3, &sealed[4..]), Ok(largest()));
    }

    #[test]
    fn a_part_opens_in_its_own_place_only() {
        let sealed = Part::default().seal(&sealer("c"), &ID, 3, [9; NONCE_BYTES]);
        let refused = Err(SnapshotError::Sealed(OpenError::Forged));
        assert_eq!(Part::open(&sealer("d"), &ID, 3, &sealed[4..]), refused);
        assert_eq!(Part::open(&sealer("c"), &[8; 16], 3, &sealed[4..]), refused);
        assert_eq!(Part::open(&sealer("c"), &ID, 4, &sealed[4..]), refused);
        assert!(Part::open(&sealer("c"), &ID, 3, &sealed[4..]).is_ok());
    }

    #[test]
    fn a_header_tells_its_name_and_nothing_else_is_one() {
        let good = header(&ID);
        assert_eq!(read_header(&good), Ok(ID));
        let mut newer = good;
        newer[14] = 2;
        assert_eq!(read_header(&newer), Err(SnapshotError::Version(2)));
        let mut other = good;
        other[0] = b'A';
        assert_eq!(read_header(&other), Err(SnapshotError::NotOne));
    }
}
