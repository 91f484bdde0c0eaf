//! What the double says to a request for its key set.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};

use super::{Asked, Shared};

/// How requests for the key set are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Answered at once.
    #[default]
    Prompt,
    /// Answered after so long.
    Late(Duration),
    /// Kept waiting until another manner is set, then answered in that manner.
    Held,
    /// Never answered; the connection stays.
    Silent,
    /// The head comes at once, the body one byte at a time with such a pause after each.
    Dripping(Duration),
    /// Answered with the right bytes under this `Content-Type`.
    OfType(&'static str),
    /// Answered with 304, whatever was asked.
    NotModified,
    /// Answered with this status and no key set.
    Failing(u16),
    /// Answered with 429 and `Retry-After` in seconds.
    TooMany {
        /// How long to stay away.
        retry_after: u32,
    },
}

/// A cache between the provider and whoever asks. `Cache-Control: no-cache` goes past it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// There is none.
    #[default]
    None,
    /// It keeps what was published when it was put there, for ever.
    Stale,
    /// Two edges take turns: one is stale, the other is not.
    Flapping,
}

/// What is sent.
pub(super) struct Reply {
    pub(super) status: u16,
    /// The status line and header lines, with the empty line after them.
    pub(super) head: String,
    pub(super) body: String,
    /// The pause after each byte of the body.
    pub(super) pause: Option<Duration>,
}

impl Reply {
    pub(super) fn new(status: u16, headers: &str, body: String) -> Self {
        let length = body.len();
        Self {
            status,
            head: format!("HTTP/1.1 {status} -\r\n{headers}Content-Length: {length}\r\n\r\n"),
            body,
            pause: None,
        }
    }

    pub(super) fn json(more: &str, body: String) -> Self {
        Self::new(200, &format!("Content-Type: application/json\r\n{more}"), body)
    }
}

/// The answer to a request for the key set, once it is due. None: there will never be one.
pub(super) async fn key_set(shared: &Shared, asked: &Asked) -> Option<Reply> {
    let mut changes = shared.manner.subscribe();
    let held = changes.wait_for(|manner| *manner != Manner::Held).await;
    let manner = *held.ok()?;
    match manner {
        Manner::Silent => None,
        Manner::Failing(status) => Some(Reply::new(status, "", String::new())),
        Manner::NotModified => Some(Reply::new(304, "", String::new())),
        Manner::TooMany { retry_after } => {
            let headers = format!("Retry-After: {retry_after}\r\n");
            Some(Reply::new(429, &headers, String::new()))
        }
        Manner::Late(delay) => {
            tokio::time::sleep(delay).await;
            Some(document(shared, asked, "application/json"))
        }
        Manner::Dripping(pause) => {
            let mut reply = document(shared, asked, "application/json");
            reply.pause = Some(pause);
            Some(reply)
        }
        Manner::OfType(content_type) => Some(document(shared, asked, content_type)),
        Manner::Prompt | Manner::Held => Some(document(shared, asked, "application/json")),
    }
}

/// What is published now: the answer shows what is true when it is sent, not when it was asked for.
fn document(shared: &Shared, asked: &Asked, content_type: &str) -> Reply {
    let state = shared.state();
    let stale = !asked.no_cache
        && match state.edge {
            Edge::None => false,
            Edge::Stale => true,
            Edge::Flapping => state.key_sets.is_multiple_of(2),
        };
    let body = if stale {
        state.at_edge.clone()
    } else {
        state.keys.document()
    };
    let tag: String = digest(&SHA256, body.as_bytes()).as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut headers = format!("ETag: \"{tag}\"\r\n");
    if let Some(seconds) = state.max_age {
        headers += &format!("Cache-Control: max-age={seconds}\r\n");
    }
    if asked.if_none_match.as_deref() == Some(&format!("\"{tag}\"")) {
        return Reply::new(304, &headers, String::new());
    }
    Reply::new(200, &format!("Content-Type: {content_type}\r\n{headers}"), body)
}
