//! The one place that knows the encoding: bincode 2 (`standard` configuration: little endian, variable-length integers),
//! with a limit on every decode.
//!
//! bincode's authors have stopped; 2.0.1 is complete and stays pinned. Golden vectors in the tests hold the bytes still, so
//! that replacing the crate is a change of this file only.

use alloc::vec::Vec;
use core::fmt;

use bincode::{Decode, Encode, config, decode_from_slice, encode_to_vec};

/// The version of everything that leaves a process: envelopes, log entries, key prefix, channel names.
///
/// A node speaks this version and, from version 2 on, reads the one before it.
pub const VERSION: u8 = 1;

/// The longest value that [`decode`] reads, and the most memory that it claims. 1 MiB.
pub const DECODE_LIMIT: usize = 1 << 20;

/// Bytes that are not what they should be. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end early, or hold a value that the type does not have.
    Malformed,
    /// The value is longer than [`DECODE_LIMIT`].
    TooLong,
    /// The value is followed by bytes that belong to nothing.
    TrailingBytes,
    /// The version byte names a version that this node does not speak.
    Version(u8),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the bytes are truncated or hold an impossible value"),
            Self::TooLong => write!(f, "the value is longer than {DECODE_LIMIT} bytes"),
            Self::TrailingBytes => f.write_str("the value is followed by stray bytes"),
            Self::Version(v) => write!(f, "wire version {v} is not spoken here (this is version {VERSION})"),
        }
    }
}

impl core::error::Error for WireError {}

/// Encodes a value.
#[must_use]
pub fn encode<T: Encode>(value: &T) -> Vec<u8> {
    // Encoding into a vector fails only for types with interior borrow or time state; the wire has none.
    encode_to_vec(value, config::standard()).unwrap_or_default()
}

/// Encodes a value behind the version and a mark that tells what it is.
pub(crate) fn frame<T: Encode>(mark: &[u8], value: &T) -> Vec<u8> {
    let mut out = alloc::vec![VERSION];
    out.extend_from_slice(mark);
    out.append(&mut encode(value));
    out
}

/// Decodes what [`frame`] encoded under the same mark.
pub(crate) fn unframe<T: Decode<()>>(mark: &[u8], bytes: &[u8]) -> Result<T, WireError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => decode(rest.strip_prefix(mark).ok_or(WireError::Malformed)?),
        Some((&version, _)) => Err(WireError::Version(version)),
        None => Err(WireError::Malformed),
    }
}

/// Decodes a value that takes up all of `bytes`.
///
/// # Errors
/// [`WireError`] when the bytes are anything else; they may come from anyone.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > DECODE_LIMIT {
        return Err(WireError::TooLong);
    }
    let (value, read) =
        decode_from_slice(bytes, config::standard().with_limit::<DECODE_LIMIT>()).map_err(|_| WireError::Malformed)?;
    if read == bytes.len() {
        Ok(value)
    } else {
        Err(WireError::TrailingBytes)
    }
}
