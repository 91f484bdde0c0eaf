//! HTTP as an attacker speaks it: bytes on a socket, no library that tidies them up.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Answer;

/// An answer may not be larger: nothing that authmesh or nginx says to an attacker is.
const MAX_ANSWER: u64 = 1024 * 1024;

/// A GET of `target` with these header lines, each without its line end. `Connection: close` is added.
pub fn get(target: &str, headers: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n").into_bytes();
    for line in headers {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// Sends `request` and reads until the server closes. `None` when it closed without an answer.
///
/// # Panics
///
/// When the deadline passes, or the answer is not HTTP.
pub async fn exchange(address: SocketAddr, request: &[u8], deadline: Duration) -> Option<Answer> {
    let answer = tokio::time::timeout(deadline, converse(address, request))
        .await
        .unwrap_or_else(|_| {
            panic!(
                "{address} neither answered nor closed within {} ms",
                deadline.as_millis()
            )
        })
        .unwrap_or_else(|error| panic!("{address}: {error}"));
    if answer.is_empty() { None } else { Some(parse(&answer)) }
}

async fn converse(address: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let (reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let (mut reader, mut answer) = (reader.take(MAX_ANSWER), Vec::new());
    // At the same time: a server may well answer and close before it has read a hostile request to its end.
    let (_, read) = tokio::join!(writer.write_all(request), reader.read_to_end(&mut answer));
    match read {
        // The reset that follows an early close. What was received before it stands.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
        _ if answer.len() as u64 == MAX_ANSWER => Err(Error::other("the answer is longer than 1 MiB")),
        _ => Ok(answer),
    }
}

/// Reads a whole answer, as `curl -i` shows it too.
///
/// # Panics
///
/// When it is not an HTTP answer.
pub fn parse(answer: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("not a whole HTTP answer: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .unwrap_or_else(|| panic!("not an HTTP answer: {text:?}"));
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer {
        status,
        headers,
        body: body.to_owned(),
    }
}
