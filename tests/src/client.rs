//! HTTP as a well-behaved client speaks it.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;

/// No request of a test takes longer, whatever happens to the other side.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A client without proxies and redirects, with a deadline for each request.
pub fn http() -> Client {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(REQUEST_TIMEOUT)
        .build()
        .expect("an HTTP client")
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Every header, names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// The value of a header, names in lower case. Empty when it is absent.
    ///
    /// # Panics
    ///
    /// When the header came more than once.
    pub fn header(&self, name: &str) -> &str {
        let mut values = self
            .headers
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str());
        let first = values.next().unwrap_or_default();
        assert_eq!(values.next(), None, "the header {name} came twice in {self:?}");
        first
    }

    /// Whether a header is there, even if empty. Names in lower case.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(key, _)| key == name)
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is something else.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// What the upstream service saw, when the request got through to it.
    ///
    /// # Panics
    ///
    /// When the request was refused on the way.
    pub fn seen_upstream(&self) -> Seen {
        assert_eq!(self.status, 200, "the request did not get through: {self:?}");
        let answer: Seen = serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("not an answer of the upstream service ({error}): {self:?}"));
        answer
    }

    /// Asserts the status, with `why` in the message.
    #[track_caller]
    pub fn expect(&self, status: u16, why: &str) -> &Self {
        assert_eq!(self.status, status, "{why}: {self:?}");
        self
    }
}

/// A request as the upstream service received it.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The request target, as received.
    pub target: String,
    /// Every header, names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// Bytes of the body.
    pub body_bytes: usize,
}

impl Seen {
    /// All values of a header, names in lower case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }
}

/// Sends a request and reads the whole answer.
///
/// # Panics
///
/// When no answer came: a proxy that resets connections is never what a test expects.
pub async fn send(request: RequestBuilder) -> Answer {
    try_send(request)
        .await
        .unwrap_or_else(|error| panic!("no answer: {error:?}"))
}

/// Like [`send`], for requests that may stay without an answer.
///
/// # Errors
///
/// What the client reports.
pub async fn try_send(request: RequestBuilder) -> reqwest::Result<Answer> {
    let answer = request.send().await?;
    let status: StatusCode = answer.status();
    let headers = answer
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    Ok(Answer {
        status: status.as_u16(),
        headers,
        body: answer.text().await?,
    })
}
