//! Reading the response headers that matter here: `Cache-Control`, `ETag`, `Date`, `Retry-After`, `Content-Type`,
//! `WWW-Authenticate`.
//!
//! A header that cannot be read counts as absent: it only steers *when* to ask again, never what is trusted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};

/// Longest `Retry-After` that is believed. A longer one would let an upstream's mistake stop refreshes for days.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// Longest entity tag that is kept, in bytes.
const MAX_ETAG_BYTES: usize = 256;

/// The media type of a signed introspection response (RFC 9701 section 9.1).
pub(crate) const SIGNED_INTROSPECTION: &str = "application/token-introspection+jwt";

/// Longest error code that is repeated, in bytes. Those of the standards have at most 30.
const MAX_ERROR_CODE_BYTES: usize = 64;

/// RFC 9111 section 1.2.2: a delta-seconds value too large to represent counts as 2^31.
const MAX_DELTA_SECONDS: u64 = 1 << 31;

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// `max-age` of `Cache-Control` (RFC 9111 section 5.2.2). `no-store` and `no-cache` count as zero. Of several values the
/// smallest counts. `s-maxage` is for shared caches and is not read.
pub(crate) fn max_age(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(directives)
        .filter_map(lifetime)
        .min()
}

/// `max-age` alone: `None` where the answer says `no-store` or `no-cache`, which speak to HTTP caches.
///
/// Many providers put these on every answer of theirs, and RFC 7662 section 4 leaves it to the resource server how long it
/// uses what it heard.
pub(crate) fn stated_max_age(headers: &HeaderMap) -> Option<Duration> {
    max_age(headers).filter(|age| !age.is_zero())
}

/// The `error` of a `Bearer` challenge in `WWW-Authenticate` (RFC 6750 section 3, RFC 9110 section 11.6.1).
pub(crate) fn bearer_error(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(bearer_error_in)
}

fn bearer_error_in(value: &str) -> Option<String> {
    let mut bearer = false;
    for part in directives(value) {
        let mut part = part.trim();
        // A part that begins with a word, a space and a parameter opens the next challenge.
        let opens = |(scheme, rest): &(&str, &str)| !scheme.contains(['=', '"']) && !rest.trim_start().starts_with('=');
        if let Some((scheme, rest)) = part.split_once(' ').filter(opens) {
            bearer = scheme.eq_ignore_ascii_case("Bearer");
            part = rest.trim_start();
        } else if !part.contains('=') {
            bearer = part.eq_ignore_ascii_case("Bearer");
        }
        let Some((name, value)) = part.split_once('=') else {
            continue;
        };
        if bearer && name.trim().eq_ignore_ascii_case("error") {
            let code = value.trim().trim_matches('"');
            return is_error_code(code).then(|| code.to_owned());
        }
    }
    None
}

/// Whether this may be an error code of RFC 6749 or RFC 6750, and so may be repeated in a message.
pub(crate) fn is_error_code(code: &str) -> bool {
    !code.is_empty()
        && code.len() <= MAX_ERROR_CODE_BYTES
        && code
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

fn lifetime(directive: &str) -> Option<Duration> {
    let (name, argument) = match directive.split_once('=') {
        Some((name, argument)) => (name.trim(), Some(argument.trim())),
        None => (directive.trim(), None),
    };
    if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
        return Some(Duration::ZERO);
    }
    if !name.eq_ignore_ascii_case("max-age") {
        return None;
    }
    delta_seconds(argument?.trim_matches('"')).map(Duration::from_secs)
}

/// Splits at commas, but not inside quoted strings, so that `private="a, max-age=1"` is one directive.
fn directives(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    value.split(move |c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match c {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
}

fn delta_seconds(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Only overflow can fail now.
    Some(digits.parse().unwrap_or(MAX_DELTA_SECONDS).min(MAX_DELTA_SECONDS))
}

/// The upstream's clock, in seconds since the Unix epoch (RFC 9110 section 6.6.1).
pub(crate) fn date(headers: &HeaderMap) -> Option<u64> {
    unix_seconds(text(headers, DATE)?)
}

fn unix_seconds(http_date: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(http_date).ok()?;
    at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The entity tag, if it is one that can be sent back.
pub(crate) fn etag(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, ETAG)?;
    (!tag.is_empty() && tag.len() <= MAX_ETAG_BYTES).then(|| tag.to_owned())
}

/// `If-None-Match` for an entity tag. `None` for one that is no header value: it may come from a store that others can write,
/// and an unconditional request is always right.
pub(crate) fn if_none_match(etag: &str) -> Option<HeaderValue> {
    if etag.is_empty() || etag.len() > MAX_ETAG_BYTES {
        return None;
    }
    HeaderValue::from_str(etag).ok()
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3), at most one hour. A date is read against the upstream's own
/// `Date`, so that a wrong clock on either side does not stretch it; `now` stands in where there is none.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?.trim();
    let wait = match delta_seconds(value) {
        Some(seconds) => seconds,
        None => {
            let now = date(headers).or_else(|| now.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()))?;
            unix_seconds(value)?.saturating_sub(now)
        }
    };
    Some(Duration::from_secs(wait).min(MAX_RETRY_AFTER))
}

/// What `Content-Type` and `Content-Encoding` say about a body that should be JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// JSON, or text without a promise: some providers send key sets as `text/plain`, or name no type at all.
    Json,
    /// A signed introspection response.
    SignedIntrospection,
    /// A web page: a login form, an error page, a captive portal.
    Html,
    /// Compressed, though we asked for no compression.
    Encoded,
    /// Anything else.
    Other(String),
}

pub(crate) fn content(headers: &HeaderMap) -> Content {
    if headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Content::Encoded;
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Content::Json;
    };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "text/plain" => Content::Json,
        "text/html" | "application/xhtml+xml" => Content::Html,
        SIGNED_INTROSPECTION => Content::SignedIntrospection,
        other if other.ends_with("+json") => Content::Json,
        other => Content::Other(crate::failure::quoted(other)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn max_age_is_read_as_rfc_9111_says() {
        for (value, expected) in [
            ("max-age=60", Some(60)),
            ("public, Max-Age=60 , must-revalidate", Some(60)),
            ("max-age=\"60\"", Some(60)),
            ("max-age=60, max-age=30", Some(30)),
            ("max-age=60, no-cache", Some(0)),
            ("no-store", Some(0)),
            ("max-age=99999999999999999999999", Some(1 << 31)),
            ("s-maxage=60", None),
            ("private=\"x, max-age=1\"", None),
            ("private=\"x\\\", max-age=1\", max-age=7", Some(7)),
            ("max-age", None),
            ("max-age=-1", None),
            ("max-age=1.5", None),
            ("", None),
        ] {
            let got = max_age(&headers(&[(CACHE_CONTROL, value)]));
            assert_eq!(got, expected.map(Duration::from_secs), "{value:?}");
        }
        let two = headers(&[(CACHE_CONTROL, "max-age=60"), (CACHE_CONTROL, "max-age=5")]);
        assert_eq!(max_age(&two), Some(Duration::from_secs(5)));
        assert_eq!(max_age(&HeaderMap::new()), None);
    }

    #[test]
    fn date_is_unix_seconds() {
        let given = headers(&[(DATE, "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert_eq!(date(&given), Some(784_111_777));
        assert_eq!(date(&headers(&[(DATE, "yesterday")])), None);
        assert_eq!(date(&HeaderMap::new()), None);
    }

    #[test]
    fn retry_after_takes_seconds_and_dates_and_is_capped() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        let seconds = |value| retry_after(&headers(&[(RETRY_AFTER, value)]), now).map(|wait| wait.as_secs());
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("86400"), Some(3_600));
        assert_eq!(seconds("99999999999999999999999"), Some(3_600));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0), "already over");
        assert_eq!(seconds("Sat, 06 Nov 2094 08:49:37 GMT"), Some(3_600));
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn a_retry_date_is_read_against_the_upstreams_own_clock() {
        let both = headers(&[
            (DATE, "Sun, 06 Nov 1994 08:49:07 GMT"),
            (RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT"),
        ]);
        let far_off = UNIX_EPOCH + Duration::from_secs(2_000_000_000);
        assert_eq!(retry_after(&both, far_off), Some(Duration::from_secs(30)));
    }

    #[test]
    fn content_types() {
        let of = |value| content(&headers(&[(CONTENT_TYPE, value)]));
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/jwk-set+json",
            "application/vnd.x+json",
            "text/plain;charset=UTF-8",
        ] {
            assert_eq!(of(json), Content::Json, "{json}");
        }
        assert_eq!(content(&HeaderMap::new()), Content::Json);
        assert_eq!(of("text/html; charset=utf-8"), Content::Html);
        assert_eq!(of("image/png"), Content::Other("\"image/png\"".to_owned()));
        assert_eq!(content(&headers(&[(CONTENT_ENCODING, "gzip")])), Content::Encoded);
        assert_eq!(content(&headers(&[(CONTENT_ENCODING, "identity")])), Content::Json);
    }

    #[test]
    fn entity_tags_that_cannot_be_sent_back_are_dropped() {
        assert_eq!(etag(&headers(&[(ETAG, "W/\"a\"")])).as_deref(), Some("W/\"a\""));
        let long = "x".repeat(MAX_ETAG_BYTES + 1);
        assert_eq!(etag(&headers(&[(ETAG, &long)])), None);
        assert_eq!(if_none_match(&long), None);
        assert_eq!(if_none_match("\"a\"\r\nX-Evil: 1"), None);
        assert_eq!(if_none_match(""), None);
        assert_eq!(if_none_match("\"a\"").unwrap(), "\"a\"");
    }

    #[test]
    fn the_error_of_a_bearer_challenge_is_found_among_others() {
        let of = |value: &str| bearer_error(&headers(&[(WWW_AUTHENTICATE, value)]));
        for value in [
            r#"Bearer error="invalid_token""#,
            r#"Bearer realm="a, error=\"no\"", error="invalid_token", error_description="x""#,
            "bearer error=invalid_token",
            r#"Basic realm="error=wrong", Bearer realm="x",error = "invalid_token""#,
            r#"DPoP algs="ES256", error="use_dpop_nonce", Bearer error="invalid_token""#,
            r#"Negotiate, Bearer error="invalid_token""#,
        ] {
            assert_eq!(of(value).as_deref(), Some("invalid_token"), "{value}");
        }
        for value in [
            "",
            "Bearer",
            r#"Bearer realm="x""#,
            r#"DPoP error="invalid_token""#,
            r#"Bearer realm="x", DPoP error="invalid_token""#,
            r#"Bearer error="two words""#,
            r#"Bearer error="""#,
            r#"Bearer realm="error=invalid_token""#,
        ] {
            assert_eq!(of(value), None, "{value}");
        }
    }

    #[test]
    fn a_blanket_ban_on_caching_is_no_lifetime() {
        let of = |value: &str| stated_max_age(&headers(&[(CACHE_CONTROL, value)]));
        assert_eq!(of("max-age=60"), Some(Duration::from_secs(60)));
        for value in ["no-store", "no-cache, max-age=60", "max-age=0", "private"] {
            assert_eq!(of(value), None, "{value}");
        }
    }
}
