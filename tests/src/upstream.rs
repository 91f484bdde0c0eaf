//! A service that answers with the request that it received, as JSON.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::client::Seen;

/// Bytes of a request head that the service reads. nginx sends no more.
const MAX_HEAD: u64 = 256 * 1024;
/// Bytes of a body that the service reads.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The service. It ends when this value is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Starts the service on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port for the upstream service");
        let address = listener.local_addr().expect("address of a bound listener");
        let task = tokio::spawn(async move {
            // Connections end with the service: a set aborts its tasks when it is dropped.
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(answer(connection));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, task }
    }

    /// Where the service listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request for each connection. A broken one is nobody's concern but the client's, who gets no answer.
async fn answer(connection: TcpStream) -> Option<()> {
    let mut connection = BufReader::new(connection);
    let seen = read(&mut connection).await?;
    let body = serde_json::to_string(&seen).ok()?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.ok()?;
    connection.write_all(body.as_bytes()).await.ok()?;
    connection.shutdown().await.ok()
}

async fn read(connection: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut head = Vec::new();
    let mut limited = connection.take(MAX_HEAD);
    while !head.ends_with(b"\r\n\r\n") {
        if limited.read_until(b'\n', &mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut request = lines.next()?.split(' ');
    let (method, target) = (request.next()?.to_owned(), request.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let body_bytes = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
    if body_bytes > MAX_BODY {
        return None;
    }
    connection.read_exact(&mut vec![0; body_bytes]).await.ok()?;
    Some(Seen {
        method,
        target,
        headers,
        body_bytes,
    })
}
