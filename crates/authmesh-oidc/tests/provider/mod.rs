//! A tiny identity provider over plain TCP, so that tests decide every byte and every pause of its answers.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the provider does with one request.
pub enum Reply {
    /// Sends this answer and keeps the connection.
    Whole(String),
    /// Sends this and closes the connection.
    ThenClose(String),
    /// Sends this, then one byte every 50 ms, for as long as the client stays.
    ThenDrip(String),
    /// Sends this, then chunks of 16 KiB until the client hangs up or 64 MiB are sent.
    ThenFlood(String),
    /// Reads the request and never answers.
    Silence,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: String,
    head: String,
}

impl Request {
    /// The value of a header, if it was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Request {
    /// A field of the form that was sent, if it was sent once.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut found = self.body.split('&').filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then(|| decode(value))
        });
        let value = found.next()?;
        assert_eq!(found.next(), None, "{name} stands twice");
        Some(value)
    }
}

/// Decodes a form value.
fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(out).unwrap()
}

/// How a flood ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// The client hung up after this many bytes.
    Stopped(usize),
    /// The client took everything.
    Finished,
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running provider; it ends when it is dropped.
pub struct Provider {
    pub url: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    base: String,
    handler: Box<Handler>,
    requests: Mutex<Vec<Request>>,
    connections: Mutex<usize>,
    flood: watch::Sender<Option<Flood>>,
}

const FLOOD_LIMIT: usize = 64 * 1024 * 1024;

impl Provider {
    /// Starts a provider on a free port of 127.0.0.1. The handler is called once per request, with the provider's own URL in place
    /// of every `{base}` in what it answers.
    pub async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            base: url.clone(),
            handler: Box::new(handler),
            requests: Mutex::default(),
            connections: Mutex::default(),
            flood: watch::channel(None).0,
        });
        let accepting = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    *shared.connections.lock().unwrap() += 1;
                    // A client that hangs up is what several tests are about.
                    tokio::spawn(serve(stream, Arc::clone(&shared)));
                }
            }
        });
        Self { url, shared, accepting }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// Waits until a flood has ended.
    pub async fn flood(&self) -> Flood {
        let mut ended = self.shared.flood.subscribe();
        ended.wait_for(Option::is_some).await.unwrap().unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    while let Some(head) = read_head(&mut stream).await? {
        let word = |n| head.split(' ').nth(n).unwrap_or_default().to_owned();
        let mut request = Request {
            method: word(0),
            path: word(1),
            body: String::new(),
            head,
        };
        let length = request
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        request.body = String::from_utf8_lossy(&body).into_owned();
        shared.requests.lock().unwrap().push(request.clone());
        match (shared.handler)(&request) {
            Reply::Whole(answer) => stream.write_all(finish(&answer, &shared.base).as_bytes()).await?,
            Reply::ThenClose(answer) => return stream.write_all(finish(&answer, &shared.base).as_bytes()).await,
            Reply::ThenDrip(head) => {
                stream.write_all(head.as_bytes()).await?;
                loop {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    stream.write_all(b" ").await?;
                }
            }
            Reply::ThenFlood(head) => {
                let end = flood(&mut stream, &head).await;
                shared.flood.send_replace(Some(end));
                return Ok(());
            }
            Reply::Silence => {
                // Ends when the client hangs up.
                stream.read_u8().await?;
            }
        }
    }
    Ok(())
}

async fn flood(stream: &mut TcpStream, head: &str) -> Flood {
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    let mut sent = 0;
    if stream.write_all(head.as_bytes()).await.is_err() {
        return Flood::Stopped(sent);
    }
    while sent < FLOOD_LIMIT {
        if stream.write_all(&chunk).await.is_err() {
            return Flood::Stopped(sent);
        }
        sent += 0x4000;
    }
    Flood::Finished
}

/// Reads to the empty line after the headers. `None` when the client closed in between two requests.
async fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && head.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// Fills in the base URL, and then the length, which depends on it.
fn finish(answer: &str, base: &str) -> String {
    let answer = answer.replace("{base}", base);
    let length = answer.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
    answer.replace("{length}", &length.to_string())
}

/// A JSON answer with status 200 and these extra header lines, each ended by CRLF.
pub fn json_with(headers: &str, body: &str) -> Reply {
    Reply::Whole(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}Content-Length: {{length}}\r\n\r\n{body}"
    ))
}

/// A JSON answer with status 200.
pub fn json(body: &str) -> Reply {
    json_with("", body)
}

/// An answer without a body: a status line's end such as `404 Not Found`, and header lines, each ended by CRLF.
pub fn status(line: &str, headers: &str) -> Reply {
    Reply::Whole(format!("HTTP/1.1 {line}\r\n{headers}Content-Length: 0\r\n\r\n"))
}

/// An answer of any status and type.
pub fn answer(line: &str, content_type: &str, headers: &str, body: &str) -> Reply {
    Reply::Whole(format!(
        "HTTP/1.1 {line}\r\nContent-Type: {content_type}\r\n{headers}Content-Length: {{length}}\r\n\r\n{body}"
    ))
}
