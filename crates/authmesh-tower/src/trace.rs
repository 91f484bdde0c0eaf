//! The caller's trace (W3C Trace Context): work that a request causes continues it.
//!
//! The headers are read by the propagator that the application has set
//! (`opentelemetry::global::set_text_map_propagator`). Without one nothing is read, and nothing continued. A hit needs no trace:
//! look here once memory has no answer.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::global::get_text_map_propagator;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::TraceContextExt as _;

/// Runs `make`, which makes a span, so that the span continues the trace of the caller. A trace that is under way already, by a
/// layer outside of this one, goes on.
///
/// Baggage is not taken over: it is the caller's, and nobody has checked it.
pub fn continued<T>(headers: &HeaderMap, make: impl FnOnce() -> T) -> T {
    let _attached = of_caller(headers).attach();
    make()
}

/// The context under which work for a request is done: the current one if a trace is under way, else the caller's.
pub(crate) fn of_caller(headers: &HeaderMap) -> Context {
    let current = Context::current();
    if current.span().span_context().is_valid() {
        return current;
    }
    get_text_map_propagator(|propagator| propagator.extract_with_context(&current, &Fields(headers)))
}

/// The fields of a trace context, and no others.
struct Fields<'a>(&'a HeaderMap);

const NAMES: [&str; 2] = ["traceparent", "tracestate"];

impl Extractor for Fields<'_> {
    /// A field that stands twice is none: which of them the caller meant cannot be told.
    fn get(&self, key: &str) -> Option<&str> {
        let name = NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(key))?;
        let mut values = self.0.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        NAMES.into_iter().filter(|name| self.0.contains_key(*name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn nothing_but_one_trace_context_is_read() {
        let read = headers(&[
            ("traceparent", "00-a"),
            ("baggage", "user=alice"),
            ("tracestate", "x=1"),
        ]);
        let fields = Fields(&read);
        assert_eq!(fields.get("traceparent"), Some("00-a"));
        assert_eq!((fields.get("baggage"), fields.get("b3")), (None, None));
        assert_eq!(fields.keys(), ["traceparent", "tracestate"]);
        let twice = headers(&[("traceparent", "00-a"), ("traceparent", "00-b")]);
        assert_eq!(Fields(&twice).get("traceparent"), None);
    }
}
