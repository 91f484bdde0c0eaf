//! Spans of requests. They continue the trace of whoever asks.

use authmesh_tower::trace::continued;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, Method};
use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Instrument as _, Span};

use super::SPANS;

/// The span of a request, by OpenTelemetry's conventions for HTTP servers. Never its path: others choose it.
pub(in crate::serve) fn span(method: &Method, route: &'static str, headers: &HeaderMap) -> Span {
    // A method that nobody knows is a word of the caller's.
    let method = match *method {
        Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::HEAD | Method::OPTIONS | Method::PATCH => {
            method.as_str()
        }
        _ => "_OTHER",
    };
    continued(headers, || {
        tracing::debug_span!(
            target: SPANS,
            "authmesh.request",
            otel.name = %format_args!("{method} {route}"),
            otel.kind = "server",
            http.request.method = method,
            http.route = route,
            http.response.status_code = tracing::field::Empty,
        )
    })
}

/// The request has its answer.
pub(in crate::serve) fn answered(span: &Span, response: &Response) {
    span.record("http.response.status_code", response.status().as_u16());
}

/// For listeners whose requests are rare: each has a span.
pub(in crate::serve) async fn traced(route: &'static str, request: Request, next: Next) -> Response {
    let span = span(request.method(), route, request.headers());
    let response = next.run(request).instrument(span.clone()).await;
    answered(&span, &response);
    response
}

/// A trace context is taken from callers, and given to nobody.
#[derive(Debug)]
pub(super) struct Inbound(pub(super) TraceContextPropagator);

impl TextMapPropagator for Inbound {
    fn inject_context(&self, _: &Context, _: &mut dyn Injector) {}

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        self.0.extract_with_context(context, extractor)
    }

    fn fields(&self) -> FieldIter<'_> {
        self.0.fields()
    }
}
