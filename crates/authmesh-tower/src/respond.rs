//! The one place where a refusal becomes a response, and where a service puts its own.
//!
//! Every layer and every extractor of a request asks the same [`MapRejection`]: that of the innermost layer. [`Standard`], the default,
//! looks at the request's content type: a gRPC call is answered as gRPC ([`Grpc`]), everything else as HTTP ([`Http`]).

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::head::RequestHead;
use crate::possession::DPOP_NONCE;
use crate::rejection::Rejection;

/// Makes the response of a refusal. Also any function of this signature.
///
/// Whatever it makes, `Cache-Control: no-store` is added where it says nothing of caching. It never sees the token
/// unless it looks for it in the request; do not quote the request in the answer.
pub trait MapRejection: Send + Sync + 'static {
    /// The response of a refusal.
    fn respond(&self, rejection: &Rejection, request: &RequestHead<'_>) -> Response<Bytes>;
}

impl<F> MapRejection for F
where
    F: Fn(&Rejection, &RequestHead<'_>) -> Response<Bytes> + Send + Sync + 'static,
{
    fn respond(&self, rejection: &Rejection, request: &RequestHead<'_>) -> Response<Bytes> {
        self(rejection, request)
    }
}

/// [`Grpc`] for a request of a gRPC content type, else [`Http`]. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standard;

impl MapRejection for Standard {
    fn respond(&self, rejection: &Rejection, request: &RequestHead<'_>) -> Response<Bytes> {
        if grpc_type(request.headers).is_some() {
            Grpc.respond(rejection, request)
        } else {
            Http.respond(rejection, request)
        }
    }
}

/// RFC 6750 and RFC 9457: [`Rejection::into_response`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Http;

impl MapRejection for Http {
    fn respond(&self, rejection: &Rejection, _: &RequestHead<'_>) -> Response<Bytes> {
        rejection.clone().into_response().map(Bytes::from)
    }
}

/// A response of headers alone ("Trailers-Only" in the gRPC protocol): HTTP 200, `grpc-status`, `grpc-message`.
///
/// | status in HTTP | `grpc-status` |
/// | --- | --- |
/// | 400, 401 | 16 `UNAUTHENTICATED`: the credentials are not valid ones |
/// | 403 | 7 `PERMISSION_DENIED` |
/// | 503 | 14 `UNAVAILABLE`, with `grpc-retry-pushback-ms` |
/// | 404 | 12 `UNIMPLEMENTED` |
/// | anything else | 13 `INTERNAL` |
///
/// The problem type's name stands in the metadata `authmesh-problem`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Grpc;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const PROBLEM: HeaderName = HeaderName::from_static("authmesh-problem");

impl MapRejection for Grpc {
    fn respond(&self, rejection: &Rejection, request: &RequestHead<'_>) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        let of_request = grpc_type(request.headers).cloned();
        headers.insert(
            CONTENT_TYPE,
            of_request.unwrap_or(HeaderValue::from_static("application/grpc")),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(GRPC_STATUS, HeaderValue::from(rejection.grpc_code()));
        headers.insert(PROBLEM, HeaderValue::from_static(rejection.problem()));
        if let Some(nonce) = rejection
            .dpop_nonce()
            .and_then(|nonce| HeaderValue::try_from(nonce).ok())
        {
            headers.insert(DPOP_NONCE, nonce);
        }
        // Percent-encoded, so it always is a header value.
        if let Ok(message) = HeaderValue::try_from(grpc_message(rejection.detail())) {
            headers.insert(GRPC_MESSAGE, message);
        }
        if let Some(seconds) = rejection.retry_after() {
            headers.insert(PUSHBACK, HeaderValue::from(seconds.saturating_mul(1000)));
        }
        response
    }
}

impl Rejection {
    /// The status code of gRPC, see [`Grpc`]. `tonic::Status::new(code.into(), rejection.detail())` is the same answer from inside of a
    /// service.
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        match self.status() {
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => 16,
            StatusCode::FORBIDDEN => 7,
            StatusCode::SERVICE_UNAVAILABLE => 14,
            StatusCode::NOT_FOUND => 12,
            _ => 13,
        }
    }
}

/// The response of a refusal, by this map, never to be cached.
pub(crate) fn respond(map: &dyn MapRejection, rejection: &Rejection, request: &RequestHead<'_>) -> Response<Bytes> {
    let mut response = map.respond(rejection, request);
    response
        .headers_mut()
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The request's content type, where it is one of gRPC: `application/grpc`, also with `+proto` and the like, and `application/grpc-web`.
fn grpc_type(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(CONTENT_TYPE)?;
    let rest = value.as_bytes().strip_prefix(b"application/grpc")?;
    let rest = rest.strip_prefix(b"-web").unwrap_or(rest);
    matches!(rest.first(), None | Some(b'+' | b';' | b'-' | b' ')).then_some(value)
}

/// `Status-Message` of the gRPC protocol: bytes outside of 0x20 to 0x7E, and `%`, are percent-encoded.
fn grpc_message(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
