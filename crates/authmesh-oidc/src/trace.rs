//! Traces of what is sent: a client span for each request, and the trace context (W3C Trace Context) that goes with it.

use opentelemetry::Context;
use opentelemetry::global::get_text_map_propagator;
use opentelemetry::propagation::Injector;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use tracing::Span;

/// The fields that may leave. What else a propagator writes, baggage above all, is of the application, and an identity provider
/// is somebody else.
const FIELDS: [HeaderName; 2] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The span of one request, by OpenTelemetry's conventions for HTTP clients. Never a path or a query: others choose them.
pub(crate) fn span(method: &Method, url: &Url, document: &'static str) -> Span {
    tracing::debug_span!(
        target: "authmesh::trace",
        "authmesh.http",
        otel.name = method.as_str(),
        otel.kind = "client",
        http.request.method = method.as_str(),
        server.address = url.host_str(),
        server.port = url.port_or_known_default(),
        authmesh.document = document,
        http.response.status_code = tracing::field::Empty,
        error.type = tracing::field::Empty,
    )
}

/// Writes the trace context of the current span, by the propagator of the application. It writes nothing where there is none.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let context = Context::current();
    get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Allowed(headers)));
}

struct Allowed<'a>(&'a mut HeaderMap);

impl Injector for Allowed<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = FIELDS.into_iter().find(|name| name.as_str().eq_ignore_ascii_case(key));
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_trace_context_may_leave() {
        let mut headers = HeaderMap::new();
        let mut allowed = Allowed(&mut headers);
        for key in [
            "traceparent",
            "Tracestate",
            "baggage",
            "b3",
            "authorization",
            "x-datadog-trace-id",
        ] {
            allowed.set(key, "value".to_owned());
        }
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["traceparent", "tracestate"]);
    }
}
