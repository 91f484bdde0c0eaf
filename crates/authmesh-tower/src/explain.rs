//! How an answer was reached, in headers.

use authmesh::Answer;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Writes `X-Authmesh-Outcome`, `-Age`, `-Issuer`, `-Key-Generation`, and, while the node is blind, `-Blind-For` (seconds).
pub fn explain_headers(answer: &Answer, headers: &mut HeaderMap) {
    let mut put = |name: &'static str, value: String| {
        // An issuer that is no header value is left out.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    put("x-authmesh-outcome", answer.outcome.to_string());
    put("x-authmesh-age", answer.age.as_secs().to_string());
    put("x-authmesh-issuer", answer.verdict.issuer().to_owned());
    put("x-authmesh-key-generation", answer.verdict.key_generation().to_string());
    if let Some(blind_for) = answer.blind_for {
        put("x-authmesh-blind-for", blind_for.as_secs().to_string());
    }
}
