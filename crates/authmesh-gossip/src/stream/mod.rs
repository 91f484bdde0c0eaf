//! One request and one answer over TCP, in sealed frames.
//!
//! Whoever accepts sends 16 random bytes first. Each frame is
//!
//! ```text
//! length of the envelope (4) | envelope around:
//!     2 | acceptor's nonce (16) | asker's nonce (16) | direction (1): 0 request, 1 answer | number (4) | last (1) | bytes
//! ```
//!
//! with numbers from 0 in each direction. The asker chooses its nonce and says it in its first frame. So no recorded stream
//! counts again, at either end, and no frame can be moved, left out, or cut off from the rest. A request begins with the
//! asker's identity, as `swim::put_identity` writes it.

mod limits;
mod pull;
mod serve;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::{DatagramSeal, MAX_LARGE};
use authmesh_proto::crypto::ENVELOPE_OVERHEAD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::counters::Counters;

pub(crate) use limits::StreamLimits;
pub(crate) use pull::pull;
pub(crate) use serve::{Acceptor, serve};

/// The first byte of what is sealed for a frame; datagrams have another.
const TAG: u8 = 2;
/// What stands before the bytes of a frame.
const HEADER: usize = 1 + 16 + 16 + 1 + 4 + 1;
/// The longest envelope of a frame.
const MAX_FRAME: usize = 64 << 10;
/// The most bytes of one frame.
const CHUNK: usize = MAX_FRAME - ENVELOPE_OVERHEAD - HEADER;
/// The longest message: a request with its sender's identity before it.
const MAX_MESSAGE: usize = MAX_LARGE + 256;

/// The time for the whole exchange.
pub(crate) const EXCHANGE_WITHIN: Duration = Duration::from_secs(5);
/// The time for the first frame.
const FIRST_FRAME_WITHIN: Duration = Duration::from_secs(2);

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a frame did not open")]
    Unopened,
    #[error("a frame was malformed, replayed or too long")]
    Malformed,
    #[error("too slow")]
    Late,
    #[error("the node did not answer")]
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Direction {
    Request = 0,
    Answer = 1,
}

/// What binds the frames of one exchange together.
#[derive(Debug, Clone, Copy, Default)]
struct Nonces {
    acceptor: [u8; 16],
    asker: [u8; 16],
}

/// Writes and reads the messages of one exchange.
#[derive(Debug)]
struct Frames<S> {
    stream: S,
    seal: Arc<dyn DatagramSeal>,
    counters: Arc<Counters>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    async fn write(&mut self, direction: Direction, nonces: Nonces, message: &[u8]) -> Result<(), StreamError> {
        let mut chunks = message.chunks(CHUNK).peekable();
        let mut number = 0_u32;
        loop {
            // An empty message is one empty frame.
            let chunk = chunks.next().unwrap_or_default();
            let last = chunks.peek().is_none();
            let mut plain = Vec::with_capacity(HEADER + chunk.len());
            plain.push(TAG);
            plain.extend_from_slice(&nonces.acceptor);
            plain.extend_from_slice(&nonces.asker);
            plain.push(direction as u8);
            plain.extend_from_slice(&number.to_be_bytes());
            plain.push(u8::from(last));
            plain.extend_from_slice(chunk);
            let sealed = self.seal.seal(&plain);
            let length = u32::try_from(sealed.len()).map_err(|_| StreamError::Malformed)?;
            self.stream.write_all(&length.to_be_bytes()).await?;
            self.stream.write_all(&sealed).await?;
            self.counters.bytes_sent.add(4 + sealed.len());
            if last {
                break;
            }
            number += 1;
        }
        self.stream.flush().await?;
        Ok(())
    }

    /// Reads the first frame of a message; the asker's nonce is taken from it where none is expected.
    async fn read_first(
        &mut self,
        direction: Direction,
        acceptor: [u8; 16],
        asker: Option<[u8; 16]>,
    ) -> Result<Message, StreamError> {
        let mut message = Message {
            nonces: Nonces {
                acceptor,
                asker: asker.unwrap_or_default(),
            },
            next: 0,
            bytes: Vec::new(),
            complete: false,
        };
        self.read_frame(direction, &mut message, asker.is_none()).await?;
        Ok(message)
    }

    /// Reads the rest of a message.
    async fn read_rest(&mut self, direction: Direction, message: &mut Message) -> Result<(), StreamError> {
        while !message.complete {
            self.read_frame(direction, message, false).await?;
        }
        Ok(())
    }

    async fn read_frame(
        &mut self,
        direction: Direction,
        message: &mut Message,
        learns_asker: bool,
    ) -> Result<(), StreamError> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| StreamError::Malformed)?;
        // Before any memory is claimed for it.
        if !(ENVELOPE_OVERHEAD + HEADER..=MAX_FRAME).contains(&length) {
            return Err(StreamError::Malformed);
        }
        let mut sealed = vec![0; length];
        self.stream.read_exact(&mut sealed).await?;
        self.counters.bytes_received.add(4 + length);
        let plain = self.seal.open(&sealed).map_err(|_| StreamError::Unopened)?;
        message
            .take(direction, &plain, learns_asker)
            .ok_or(StreamError::Malformed)
    }
}

/// A message as it comes in.
#[derive(Debug)]
struct Message {
    nonces: Nonces,
    next: u32,
    bytes: Vec<u8>,
    complete: bool,
}

impl Message {
    fn take(&mut self, direction: Direction, plain: &[u8], learns_asker: bool) -> Option<()> {
        let (tag, rest) = plain.split_first()?;
        let (acceptor, rest) = rest.split_first_chunk::<16>()?;
        let (asker, rest) = rest.split_first_chunk::<16>()?;
        let (towards, rest) = rest.split_first()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (last, bytes) = rest.split_first()?;
        if learns_asker {
            self.nonces.asker = *asker;
        }
        let is_next = *tag == TAG
            && *acceptor == self.nonces.acceptor
            && *asker == self.nonces.asker
            && *towards == direction as u8
            && u32::from_be_bytes(*number) == self.next
            && *last <= 1
            // Only a whole message may end in a frame without bytes.
            && (!bytes.is_empty() || (*last == 1 && self.next == 0));
        if !is_next || self.bytes.len() + bytes.len() > MAX_MESSAGE {
            return None;
        }
        self.next += 1;
        self.complete = *last == 1;
        self.bytes.extend_from_slice(bytes);
        Some(())
    }
}
