//! How telemetry is sent: by the HTTP client that is there, so that there is one TLS stack.

use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

use super::ServeError;
use crate::config::Telemetry;

/// Time for one request, its answer included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer of a collector that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// A client for a collector. Exporters call it from threads of their own, so it brings the runtime that its requests run on.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

impl Client {
    /// To be called from inside the runtime.
    pub(super) fn new(settings: &Telemetry) -> Result<Self, ServeError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("authmesh/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .timeout(TIMEOUT);
        if let Some(path) = &settings.ca_file {
            let refuse =
                |why: &dyn std::fmt::Display| ServeError::new(format!("telemetry.ca_file {}: {why}", path.display()));
            let pem = std::fs::read(path).map_err(|error| refuse(&error))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| refuse(&"it is no PEM file"))?;
            builder = builder.tls_certs_merge(roots);
        }
        Ok(Self {
            http: builder.build().map_err(ServeError::new)?,
            runtime: Handle::current(),
        })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let call = self.runtime.spawn(async move {
            let mut answer = http.execute(request.try_into()?).await?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                if body.len() + chunk.len() > MAX_ANSWER {
                    return Err("the collector's answer is too long".into());
                }
                body.extend_from_slice(&chunk);
            }
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                *headers = answer.headers().clone();
            }
            Ok::<_, HttpError>(response.body(Bytes::from(body))?)
        });
        call.await?
    }
}
