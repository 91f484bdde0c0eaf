//! Datagrams: their layout, the proof that a source lives, and the limits before any cryptography.
//!
//! ```text
//! 1 | origin (16) | session (16) | sequence (8) | kind (1) | length (2) | body | zeros
//! ```
//!
//! sealed as an envelope of kind 6. The zeros fill up a datagram that is shorter than a challenge, so that a challenge is
//! never longer than what it answers.

mod limits;
mod links;
mod window;

#[cfg(test)]
mod tests;

use authmesh_proto::crypto::ENVELOPE_OVERHEAD;
use authmesh_proto::ident::Origin;

pub(crate) use limits::Limits;
pub(crate) use links::{Incoming, Links};

/// The longest datagram, sealed.
pub(crate) const MAX_DATAGRAM: usize = 1400;

/// The first byte of what is sealed for a datagram; stream frames have another, so that neither passes as the other.
const TAG: u8 = 1;

/// What stands before the body.
const HEADER: usize = 1 + 16 + 16 + 8 + 1 + 2;

/// The body of a challenge: its nonce, and session and sequence of the datagram that it answers.
const CHALLENGE_BODY: usize = 16 + 16 + 8;

/// The shortest datagram, sealed: exactly a challenge.
pub(crate) const MIN_DATAGRAM: usize = HEADER + CHALLENGE_BODY + ENVELOPE_OVERHEAD;

/// The longest body.
pub(crate) const MAX_BODY: usize = MAX_DATAGRAM - ENVELOPE_OVERHEAD - HEADER;

/// A session that nobody gave out: the sender has none yet.
const NO_SESSION: Session = [0; 16];

/// A number that a receiver gave to one sender. It shows that the sender hears what is sent to its address, now.
pub(crate) type Session = [u8; 16];

/// Fills bytes from a random source.
pub(crate) type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// What a datagram is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// "Who are you?": the receiver of a datagram without a session that it knows gives one out.
    Challenge = 1,
    /// Proves life, and says nothing else.
    Hello = 2,
    /// Membership, as foca wrote it.
    Swim = 3,
    /// Items: each with its length in 2 bytes before it.
    Items = 4,
    /// A request: its number (8), then its bytes.
    Ask = 5,
    /// The answer to a request: the request's number (8), then its bytes.
    Answer = 6,
    /// The sender leaves in good order.
    Leave = 7,
}

impl Kind {
    const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Challenge,
            2 => Self::Hello,
            3 => Self::Swim,
            4 => Self::Items,
            5 => Self::Ask,
            6 => Self::Answer,
            7 => Self::Leave,
            _ => return None,
        })
    }
}

/// An opened datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plain {
    origin: Origin,
    session: Session,
    sequence: u64,
    kind: Kind,
    body: Vec<u8>,
}

impl Plain {
    fn encode(&self) -> Vec<u8> {
        debug_assert!(self.body.len() <= MAX_BODY);
        let length = u16::try_from(self.body.len()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(HEADER + self.body.len().max(CHALLENGE_BODY));
        bytes.push(TAG);
        bytes.extend_from_slice(self.origin.as_bytes());
        bytes.extend_from_slice(&self.session);
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&self.body);
        bytes.resize(bytes.len().max(HEADER + CHALLENGE_BODY), 0);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let (origin, rest) = rest.split_first_chunk::<16>()?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let body = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        (*tag == TAG).then_some(())?;
        Some(Self {
            origin: Origin(*origin),
            session: *session,
            sequence: u64::from_be_bytes(*sequence),
            kind: Kind::of(*kind)?,
            body: body.to_vec(),
        })
    }
}
