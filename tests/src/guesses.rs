//! Requests about whose credentials nobody may guess, and how every framework has to answer them.
//!
//! The app under test lets requests to `/` pass that have a token, answers `in`, and looks for tokens in the header, the cookie
//! `session`, the WebSocket sub-protocols and the query parameter `access_token`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Far more than anything here needs, on a busy machine too.
const DEADLINE: Duration = Duration::from_secs(30);

/// A request, and its answer.
#[derive(Debug)]
pub struct Case {
    /// Method and target.
    pub line: String,
    /// Header lines, as they are.
    pub headers: Vec<(String, String)>,
    /// The status of the answer.
    pub status: u16,
    /// The name of the problem; `None` where the request passes.
    pub problem: Option<&'static str>,
}

/// Every case, with a good token.
#[must_use]
pub fn cases(token: &str) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |line: &str, headers: &[(&str, &str)], status, problem| {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        all.push(Case {
            line: line.to_owned(),
            headers: headers.collect(),
            status,
            problem,
        });
    };
    let bearer = format!("Bearer {token}");
    let cookie = format!("session={token}");
    let protocol = format!("bearer, {token}");
    let in_query = format!("GET /?access_token={token}");
    let authorization = ("authorization", &*bearer);
    let in_cookie = ("cookie", &*cookie);
    let in_protocol = ("sec-websocket-protocol", &*protocol);
    for (line, headers) in [
        ("GET /", &[authorization, authorization][..]),
        ("GET /", &[authorization, ("authorization", "Basic eDp5")]),
        ("GET /", &[("authorization", "Basic eDp5"), authorization]),
        ("GET /", &[authorization, in_cookie]),
        ("GET /", &[authorization, in_protocol]),
        ("GET /", &[in_cookie, in_protocol]),
        ("GET /", &[in_cookie, in_cookie]),
        ("GET /", &[in_protocol, in_protocol]),
        (&*in_query, &[authorization]),
        (&*in_query, &[in_cookie]),
        ("GET /", &[("authorization", "Bearer")]),
        ("GET /", &[("authorization", "Bearer\ttoken")]),
        ("GET /", &[("authorization", &format!("Bearer {token} {token}"))]),
        ("GET /", &[("authorization", &format!("Bearer {token},{token}"))]),
        ("GET /", &[("authorization", &format!("Bearer \"{token}\""))]),
    ] {
        add(line, headers, 400, Some("invalid-request"));
    }
    for headers in [
        &[][..],
        &[("authorization", "Basic eDp5")],
        &[("authorization", token)],
        &[("authorization", &*format!("Token {token}"))],
        &[("x-authorization", &*bearer)],
        &[("cookie", "session=")],
    ] {
        add("GET /", headers, 401, Some("no-credential"));
    }
    for headers in [
        &[("authorization", &*format!("bearer {token}"))][..],
        &[("AUTHORIZATION", &*format!("BEARER   {token}  "))],
        &[in_cookie],
        &[in_protocol],
    ] {
        add("GET /", headers, 200, None);
    }
    add(&in_query, &[], 200, None);
    all
}

/// Asks every case of a server.
///
/// # Panics
///
/// When one of them is answered otherwise.
pub async fn check(server: SocketAddr, token: &str) {
    for case in cases(token) {
        let reply = ask(server, &case.line, &case.headers).await;
        assert_eq!(reply.status, case.status, "{case:?} {reply:?}");
        let Some(problem) = case.problem else {
            assert_eq!(reply.body, "in", "{case:?}");
            continue;
        };
        assert_eq!(reply.problem(), problem, "{case:?}");
        let challenge = reply
            .header("www-authenticate")
            .expect("a challenge (RFC 6750 section 3)");
        let says = challenge.contains("error=\"invalid_request\", error_description=\"");
        assert_eq!(says, case.status == 400, "{challenge}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{case:?}");
        assert!(!reply.body.contains(token) && !reply.head.contains(token));
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    head: String,
    /// The body.
    pub body: String,
}

impl Reply {
    /// The value of a header.
    ///
    /// # Panics
    ///
    /// When it is there twice.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        let value = values.next();
        assert!(values.next().is_none(), "{name} is there twice: {}", self.head);
        value
    }

    /// The name of the problem that the body describes.
    ///
    /// # Panics
    ///
    /// When it describes none (RFC 9457).
    #[must_use]
    pub fn problem(&self) -> String {
        let kind = self.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{self:?}");
        let body: serde_json::Value = serde_json::from_str(&self.body).expect("a problem is JSON");
        let name = body["type"].as_str().and_then(|kind| kind.rsplit('/').next());
        name.expect("a problem has a type").to_owned()
    }
}

/// A connection on which a request was sent and nothing read. `headers` are sent as they are.
///
/// # Panics
///
/// When the server cannot be reached.
pub async fn send(server: SocketAddr, line: &str, headers: &[(String, String)]) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.expect("the server listens");
    let mut text = format!("{line} HTTP/1.1\r\nhost: api.test\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream.write_all(text.as_bytes()).await.expect("the server reads");
    stream
}

/// Sends a request, and reads the whole answer.
///
/// # Panics
///
/// When there is none.
pub async fn ask(server: SocketAddr, line: &str, headers: &[(String, String)]) -> Reply {
    let close = ("connection".to_owned(), "close".to_owned());
    let mut stream = send(server, line, &[headers, &[close]].concat()).await;
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    read.expect("an answer in time").expect("an answer");
    let text = String::from_utf8(bytes).expect("an answer in UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    Reply {
        status: head
            .get(9..12)
            .and_then(|code| code.parse().ok())
            .expect("a status line"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
