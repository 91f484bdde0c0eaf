//! The log of a channel: its entries and its head.
//!
//! The log is a capped Redis Stream; the **head is its last entry**. The layout is fixed and big-endian, since a Lua script
//! has to write it:
//!
//! ```text
//! version (1) | channel (1) | payload kind (1) | incarnation (16) | generation (8)
//! | position: millis (8) sequence (8) nonce (16)
//! | has previous (1) | previous: millis (8) sequence (8) nonce (16)
//! | root digest (16) | payload length (4) | payload
//! ```
//!
//! A bell carries exactly these bytes.

use alloc::vec::Vec;

use crate::ident::{ChannelId, Digest, Incarnation, Nonce, Position, StreamId};
use crate::wire::{VERSION, WireError};

/// The longest payload of a log entry, in bytes: a sealed statement is far below.
pub const MAX_PAYLOAD: usize = 4096;
const FIXED: usize = 3 + 16 + 8 + 32 + 1 + 32 + 16 + 4;

/// The state of a channel's log, as its last entry tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// The log's incarnation.
    pub incarnation: Incarnation,
    /// L2 generation: raising it voids the channel's L2.
    pub generation: u64,
    /// The position of the last entry.
    pub position: Position,
    /// The position before it; `None` in the first entry of a log. Unborn equals nothing, not even another unborn.
    pub previous: Option<Position>,
    /// Root digest of the channel's marks, after this entry.
    pub root: Digest,
}

impl Head {
    /// Where a value of L2 has to stand to count beside this head.
    #[must_use]
    pub const fn place(&self) -> (Incarnation, u64) {
        (self.incarnation, self.generation)
    }
}

/// One entry of a channel's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// The channel.
    pub channel: ChannelId,
    /// The head that this entry is.
    pub head: Head,
    /// What it says.
    pub payload: Payload,
}

/// What a log entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload {
    /// A sealed [`Statement`](crate::statement::Statement).
    Statement(Vec<u8>),
    /// A raised L2 generation: the slot was migrating, so the channel's L2 is void instead of one entry of it, and the
    /// table of marks was not touched. With the sealed statement, or empty.
    Bare(Vec<u8>),
    /// A new incarnation, appended by the node that found lost writes.
    Mint,
}

impl LogEntry {
    /// The bytes of a bell.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload): (u8, &[u8]) = match &self.payload {
            Payload::Statement(sealed) => (1, sealed),
            Payload::Bare(sealed) => (2, sealed),
            Payload::Mint => (3, &[]),
        };
        let mut out = Vec::with_capacity(FIXED + payload.len());
        out.extend_from_slice(&[VERSION, self.channel.number(), kind]);
        out.extend_from_slice(self.head.incarnation.as_bytes());
        out.extend_from_slice(&self.head.generation.to_be_bytes());
        put_position(&mut out, &self.head.position);
        out.push(u8::from(self.head.previous.is_some()));
        put_position(&mut out, &self.head.previous.unwrap_or(ABSENT));
        out.extend_from_slice(self.head.root.as_bytes());
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    /// Reads a bell.
    ///
    /// # Errors
    /// When the bytes are anything but one whole entry of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader(bytes);
        let [version] = reader.take()?;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let [channel, kind] = reader.take()?;
        let channel = ChannelId::new(channel).ok_or(WireError::Malformed)?;
        let incarnation = Incarnation(reader.take()?);
        let generation = reader.number()?;
        let position = reader.position()?;
        let [has_previous] = reader.take()?;
        let previous = reader.position()?;
        let previous = match has_previous {
            0 if previous == ABSENT => None,
            1 => Some(previous),
            _ => return Err(WireError::Malformed),
        };
        let root = Digest(reader.take()?);
        let length = u32::from_be_bytes(reader.take()?) as usize;
        if length > MAX_PAYLOAD {
            return Err(WireError::TooLong);
        }
        if reader.0.len() < length {
            return Err(WireError::Malformed);
        }
        if reader.0.len() > length {
            return Err(WireError::TrailingBytes);
        }
        let payload = match (kind, length) {
            (1, 1..) => Payload::Statement(reader.0.to_vec()),
            (2, _) => Payload::Bare(reader.0.to_vec()),
            (3, 0) => Payload::Mint,
            _ => return Err(WireError::Malformed),
        };
        Ok(Self {
            channel,
            head: Head {
                incarnation,
                generation,
                position,
                previous,
                root,
            },
            payload,
        })
    }
}

const ABSENT: Position = Position {
    id: StreamId { millis: 0, sequence: 0 },
    nonce: Nonce([0; 16]),
};

fn put_position(out: &mut Vec<u8>, position: &Position) {
    out.extend_from_slice(&position.id.millis.to_be_bytes());
    out.extend_from_slice(&position.id.sequence.to_be_bytes());
    out.extend_from_slice(position.nonce.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(WireError::Malformed)?;
        self.0 = tail;
        Ok(*head)
    }

    fn number(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn position(&mut self) -> Result<Position, WireError> {
        Ok(Position {
            id: StreamId {
                millis: self.number()?,
                sequence: self.number()?,
            },
            nonce: Nonce(self.take()?),
        })
    }
}
