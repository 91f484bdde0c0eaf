//! How an answer was reached, in headers.
//!
//! They tell about the cluster, not about the holder. Send them where an operator asked for them.

use authmesh::Answer;
use http::{HeaderMap, HeaderName, HeaderValue};

const OUTCOME: HeaderName = HeaderName::from_static("x-authmesh-outcome");
const LEVEL: HeaderName = HeaderName::from_static("x-authmesh-level");
const AGE: HeaderName = HeaderName::from_static("x-authmesh-age");
const ISSUER: HeaderName = HeaderName::from_static("x-authmesh-issuer");
const KEY_GENERATION: HeaderName = HeaderName::from_static("x-authmesh-key-generation");
const BLIND_FOR: HeaderName = HeaderName::from_static("x-authmesh-blind-for");

/// Writes how the answer was reached. Replaces what stands under these names.
///
/// | header | value |
/// | --- | --- |
/// | `X-Authmesh-Outcome` | the word of the [`Outcome`](authmesh::Outcome) |
/// | `X-Authmesh-Level` | the word of the [`Level`](authmesh::Level), blind or not |
/// | `X-Authmesh-Age` | whole seconds since the signature was verified, or the provider was asked, rounded down |
/// | `X-Authmesh-Issuer` | `iss` |
/// | `X-Authmesh-Key-Generation` | the generation of the issuer's key set; not where a provider was asked |
/// | `X-Authmesh-Blind-For` | whole seconds that the node has been blind, rounded down; only while it is |
///
/// A value that cannot stand in a header (RFC 9110 section 5.5) is left out.
pub fn explain_headers(answer: &Answer, headers: &mut HeaderMap) {
    let rows = [
        (OUTCOME, Some(HeaderValue::from_static(answer.outcome.as_str()))),
        (LEVEL, Some(HeaderValue::from_static(answer.level.as_str()))),
        (AGE, Some(HeaderValue::from(answer.age.as_secs()))),
        (ISSUER, HeaderValue::from_str(answer.verdict.issuer()).ok()),
        (KEY_GENERATION, answer.verdict.key_generation().map(HeaderValue::from)),
        (
            BLIND_FOR,
            answer.blind_for.map(|blind_for| HeaderValue::from(blind_for.as_secs())),
        ),
    ];
    for (name, value) in rows {
        match value {
            Some(value) => headers.insert(name, value),
            // What somebody else wrote there would pass for ours.
            None => headers.remove(name),
        };
    }
}
