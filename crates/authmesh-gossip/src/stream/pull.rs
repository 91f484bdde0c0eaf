//! The end that asks.

use std::sync::Arc;

use authmesh::ports::DatagramSeal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::{Direction, Frames, Nonces, StreamError};
use crate::counters::Counters;
use crate::swim::{Identity, put_identity};

/// Sends a request over a new stream, and reads the answer. The caller sees to the time.
pub(crate) async fn pull(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    me: &Identity,
    request: &[u8],
    seal: Arc<dyn DatagramSeal>,
    counters: Arc<Counters>,
) -> Result<Vec<u8>, StreamError> {
    let mut nonces = Nonces::default();
    stream.read_exact(&mut nonces.acceptor).await?;
    seal.random(&mut nonces.asker);
    let mut message = Vec::with_capacity(128 + request.len());
    put_identity(me, &mut message);
    message.extend_from_slice(request);
    let mut frames = Frames { stream, seal, counters };
    frames.write(Direction::Request, nonces, &message).await?;
    let mut answer = frames
        .read_first(Direction::Answer, nonces.acceptor, Some(nonces.asker))
        .await?;
    frames.read_rest(Direction::Answer, &mut answer).await?;
    Ok(answer.bytes)
}
