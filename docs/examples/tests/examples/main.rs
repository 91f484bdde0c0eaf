//! Each example serves on a real socket, and answers as it says it does. One program for all of them: they share what they link.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// An example's `main` is run by hand.
#![allow(dead_code, unreachable_pub)]

#[path = "../../actix.rs"]
mod actix_example;
#[path = "../../axum.rs"]
mod axum_example;
#[path = "../../custom_data.rs"]
mod custom_data;
#[path = "../../logout.rs"]
mod logout;
#[path = "../../many_issuers.rs"]
mod many_issuers;
#[path = "../../redis_tls.rs"]
mod redis_tls;
#[path = "../../tonic.rs"]
mod tonic_example;

mod grpc;
mod redis;
mod stories;

use std::future::Future;

use authmesh_examples::Error;
use authmesh_tests::client::{Answer, http, send};
use axum::http::Method;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running example; it ends with this.
struct Example {
    base: String,
    task: JoinHandle<()>,
}

impl Example {
    /// Starts an example on a port of its own.
    async fn start<F>(run: impl FnOnce(TcpListener) -> F) -> Self
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let running = run(listener);
        let task = tokio::spawn(async move {
            if let Err(error) = running.await {
                panic!("the example ended: {error}");
            }
        });
        Self { base, task }
    }

    async fn ask(&self, method: Method, path: &str, token: &str, body: &str) -> Answer {
        let request = http().request(method, format!("{}{path}", self.base));
        send(request.bearer_auth(token).body(body.to_owned())).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask(Method::GET, path, token, "").await
    }

    async fn post(&self, path: &str, token: &str) -> Answer {
        self.ask(Method::POST, path, token, "").await
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.task.abort();
    }
}
