//! The double's thread: accepts, reads requests, sends answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::answer::{Reply, key_set};
use super::{Asked, Page, Power, Shared};

/// Bytes of a request head that are read.
const MAX_HEAD: u64 = 64 * 1024;
/// Connections that wait to be accepted: 64 nodes that all ask at once must not be refused by accident.
const BACKLOG: u32 = 4_096;

/// Serves until the value is gone.
pub(super) fn run(address: SocketAddr, shared: &Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(turns(address, shared));
}

async fn turns(address: SocketAddr, shared: &Arc<Shared>) {
    let mut wanted = shared.wanted.subscribe();
    loop {
        let power = *wanted.borrow();
        match power {
            Power::Ended => return,
            Power::On => {
                let listener = listen(address);
                shared.listening.send_replace(true);
                tokio::select! {
                    // Connections end with this future: the set in it aborts its tasks.
                    () = accept(listener, shared) => {}
                    // Whoever asks for what is already so must not make it listen anew: it would refuse for a moment.
                    _ = wanted.wait_for(|power| *power != Power::On) => {}
                }
            }
            Power::Off => {
                shared.listening.send_replace(false);
                // The sender lives as long as `shared`.
                let _ = wanted.wait_for(|power| *power != Power::Off).await;
            }
        }
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("SO_REUSEADDR on a new socket");
    socket.bind(address).expect("the port is reserved for us");
    socket.listen(BACKLOG).expect("a listener on a bound socket")
}

async fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Small answers: without this each waits for an acknowledgement.
        let _ = stream.set_nodelay(true);
        connections.spawn(serve(stream, Arc::clone(shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// Answers one connection until the client closes it. A broken one is nobody's concern but the client's.
async fn serve(stream: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let asked = read(&mut stream).await?;
        let number = shared.came(asked.clone());
        let reply = match asked.page {
            Page::KeySet => key_set(&shared, &asked).await,
            Page::Discovery => Some(Reply::json("", discovery(&shared.base))),
            Page::Other => Some(Reply::new(404, "", String::new())),
        };
        let Some(reply) = reply else {
            // Ends when the client hangs up.
            stream.read_u8().await.ok()?;
            return None;
        };
        send(&mut stream, &reply).await?;
        shared.answered(number, reply.status);
    }
}

async fn send(stream: &mut BufReader<TcpStream>, reply: &Reply) -> Option<()> {
    stream.write_all(reply.head.as_bytes()).await.ok()?;
    match reply.pause {
        None => stream.write_all(reply.body.as_bytes()).await.ok()?,
        Some(pause) => {
            for byte in reply.body.as_bytes() {
                stream.write_all(&[*byte]).await.ok()?;
                tokio::time::sleep(pause).await;
            }
        }
    }
    stream.flush().await.ok()
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut head = Vec::new();
    let mut limited = stream.take(MAX_HEAD);
    while !head.ends_with(b"\r\n\r\n") {
        if limited.read_until(b'\n', &mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let target = lines.next()?.split(' ').nth(1)?;
    // Some clients add a query of their own.
    let path = target.split('?').next()?;
    let mut asked = Asked {
        at: Instant::now(),
        page: match path {
            "/jwks" => Page::KeySet,
            "/.well-known/openid-configuration" => Page::Discovery,
            _ => Page::Other,
        },
        no_cache: false,
        if_none_match: None,
        status: 0,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "cache-control" => asked.no_cache |= value.to_ascii_lowercase().contains("no-cache"),
            "if-none-match" => asked.if_none_match = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    Some(asked)
}

fn discovery(base: &str) -> String {
    json!({
        "issuer": base,
        "jwks_uri": format!("{base}/jwks"),
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
    })
    .to_string()
}
