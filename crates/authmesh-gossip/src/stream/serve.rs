//! The end that is asked.

use std::net::SocketAddr;
use std::sync::Arc;

use authmesh::ports::{Asked, DatagramSeal, GossipEvent, MAX_LARGE};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::limits::Permit;
use super::{Direction, EXCHANGE_WITHIN, FIRST_FRAME_WITHIN, Frames, StreamError};
use crate::counters::Counters;
use crate::swim::get_identity;

/// What a stream that others open needs.
#[derive(Debug, Clone)]
pub(crate) struct Acceptor {
    pub(crate) seal: Arc<dyn DatagramSeal>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) events: mpsc::Sender<GossipEvent>,
}

/// Serves one stream to its end, which comes within [`EXCHANGE_WITHIN`].
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    acceptor: Acceptor,
    permit: Permit,
) {
    let counters = Arc::clone(&acceptor.counters);
    let exchanged = timeout(EXCHANGE_WITHIN, exchange(stream, acceptor, permit)).await;
    match exchanged.unwrap_or(Err(StreamError::Late)) {
        Ok(()) => {}
        Err(error) => {
            match error {
                StreamError::Unopened => counters.unopened.one(),
                StreamError::Malformed => counters.malformed.one(),
                StreamError::Late => counters.limited.one(),
                StreamError::Io(_) | StreamError::Silent => {}
            }
            tracing::debug!(%from, %error, "gossip: a stream ended early");
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    acceptor: Acceptor,
    mut permit: Permit,
) -> Result<(), StreamError> {
    let mut nonce = [0; 16];
    acceptor.seal.random(&mut nonce);
    let mut frames = Frames {
        stream,
        seal: acceptor.seal,
        counters: Arc::clone(&acceptor.counters),
    };
    frames.stream.write_all(&nonce).await?;
    let first = frames.read_first(Direction::Request, nonce, None);
    let mut message = timeout(FIRST_FRAME_WITHIN, first)
        .await
        .unwrap_or(Err(StreamError::Late))?;
    permit.proven();
    acceptor.counters.streams_taken.one();
    frames.read_rest(Direction::Request, &mut message).await?;
    let mut request = message.bytes.as_slice();
    let from = get_identity(&mut request).map_err(|_| StreamError::Malformed)?.peer();
    if request.len() > MAX_LARGE {
        return Err(StreamError::Malformed);
    }
    let (sender, answer) = oneshot::channel();
    let asked = Asked {
        from,
        request: request.to_vec(),
        limit: MAX_LARGE,
        answer: sender,
    };
    drop(message.bytes);
    let sent = acceptor.events.send(GossipEvent::Asked(asked)).await;
    sent.map_err(|_| StreamError::Silent)?;
    let answer = answer.await.map_err(|_| StreamError::Silent)?;
    if answer.len() > MAX_LARGE {
        return Err(StreamError::Silent);
    }
    frames.write(Direction::Answer, message.nonces, &answer).await?;
    frames.stream.shutdown().await?;
    Ok(())
}
