//! Moves datagrams.

use std::sync::Arc;
use std::time::Instant;

use tokio::net::UdpSocket;

use super::NodeId;
use super::state::Shared;

/// The largest datagram that UDP over IPv4 can carry fits.
const LARGEST: usize = 65_536;

/// Receives what is sent to the advertised address of node `to`.
pub(super) async fn receive(shared: Arc<Shared>, to: NodeId, socket: UdpSocket) {
    let mut buffer = vec![0; LARGEST];
    loop {
        // The socket is not connected, so the refusal of an earlier datagram is no error here.
        let (length, source) = socket.recv_from(&mut buffer).await.expect("a loopback socket receives");
        let later = shared.count(|state| {
            let from = state.sender(source);
            state.datagram(Instant::now(), from, to, &buffer[..length])
        });
        if later {
            shared.posted.notify_one();
        }
    }
}

/// Delivers datagrams that had to wait.
pub(super) async fn deliver_late_ones(shared: Arc<Shared>) {
    loop {
        let next = shared.count(|state| state.deliver_due(Instant::now()));
        match next {
            None => shared.posted.notified().await,
            Some(due) => {
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => {}
                    () = shared.posted.notified() => {}
                }
            }
        }
    }
}
