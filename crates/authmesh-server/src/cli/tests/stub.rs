//! A stub of the admin API on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{AUTHORIZATION, LOCATION};
use serde_json::Value;
use tokio::sync::oneshot;

/// One request that came in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) bearer: String,
    pub(super) body: Value,
}

pub(super) struct Stub {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Stub {
    /// Answers these paths with these statuses and bodies, and every other one with 404 and no body.
    pub(super) fn start(answers: &[(&str, u16, String)]) -> Self {
        let answers: Arc<Vec<(String, u16, String)>> = Arc::new(
            answers
                .iter()
                .map(|(path, status, body)| ((*path).to_owned(), *status, body.clone()))
                .collect(),
        );
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let app = Router::new().fallback(move |request: Request| {
            let (answers, noted) = (Arc::clone(&answers), Arc::clone(&noted));
            async move { answer(request, &answers, &noted).await }
        });

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                // Not a graceful end: a client may hold its connection.
                tokio::select! {
                    served = axum::serve(listener, app) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self {
            url,
            seen,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The requests so far, in the order of their targets.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let mut seen = self.seen.lock().unwrap().clone();
        seen.sort_by(|a, b| a.target.cmp(&b.target));
        seen
    }

    /// The only request.
    #[track_caller]
    pub(super) fn only(&self) -> Seen {
        let [seen] = <[Seen; 1]>::try_from(self.seen()).unwrap();
        seen
    }
}

async fn answer(request: Request, answers: &[(String, u16, String)], noted: &Mutex<Vec<Seen>>) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = to_bytes(body, 1 << 20).await.unwrap();
    let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    noted.lock().unwrap().push(Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        bearer: header(AUTHORIZATION).unwrap_or_default(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    // An answer for `PATH+confirm` is for requests that confirm something.
    let confirms = body.windows(10).any(|part| part == b"\"confirm\":");
    let confirmed = format!("{}+confirm", parts.uri.path());
    let special = answers.iter().find(|(path, ..)| confirms && *path == confirmed);
    match special.or_else(|| answers.iter().find(|(path, ..)| path == parts.uri.path())) {
        Some((_, status, body)) if (300..400).contains(status) => {
            (StatusCode::from_u16(*status).unwrap(), [(LOCATION, body.clone())]).into_response()
        }
        Some((_, status, body)) => (StatusCode::from_u16(*status).unwrap(), body.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "the stub panicked");
        }
    }
}
