//! Rules for single words: names, header names, scopes, URLs.
//!
//! Each returns the end of a sentence that begins with the name of the setting. None repeats the word: it might be a
//! secret in the wrong place.

use http::Uri;

/// What a rule says of a word.
pub(super) type Verdict = Result<(), String>;

/// The nine algorithms that can be configured, as RFC 7518 section 3.1 and RFC 8037 section 3.1 spell them.
pub(super) const ALGORITHMS: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];

/// The greatest length of a URL, in bytes.
pub(super) const MAX_URL_BYTES: usize = 2048;

pub(super) fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub(super) fn length(text: &str, max: usize) -> Verdict {
    if text.is_empty() {
        return Err("is empty".into());
    }
    if text.len() > max {
        return Err(format!("is longer than {max} bytes"));
    }
    Ok(())
}

pub(super) fn cluster_name(text: &str) -> Verdict {
    length(text, 64)?;
    if text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Ok(());
    }
    Err("may have only lower-case letters, digits and \"-\"".into())
}

pub(super) fn node_name(text: &str) -> Verdict {
    length(text, 64)?;
    if text.bytes().all(is_node_byte) {
        return Ok(());
    }
    Err("may have only letters, digits, \".\", \"_\" and \"-\"".into())
}

pub(super) fn is_node_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b".-_".contains(&b)
}

/// A cookie name (RFC 6265 section 4.1.1).
pub(super) fn cookie_name(text: &str) -> Verdict {
    length(text, 128)?;
    if is_token(text) {
        return Ok(());
    }
    Err("is not a cookie name: use letters, digits, \"-\" and \"_\" (RFC 6265 section 4.1.1)".into())
}

/// A name for an identity header, or nothing.
pub(super) fn header_name(text: &str) -> Verdict {
    if text.is_empty() {
        return Ok(());
    }
    length(text, 128)?;
    if !is_token(text) {
        return Err("is not a header name: use letters, digits and \"-\" (RFC 9110 section 5.1)".into());
    }
    if is_reserved_header(&text.to_ascii_lowercase()) {
        return Err(
            "is a header with a meaning of its own in HTTP or in a proxy: choose another, such as one that \
                    begins with \"X-Auth-\", or \"\" to turn it off"
                .into(),
        );
    }
    Ok(())
}

/// Headers that steer HTTP, a proxy, or authmesh itself. An identity header under such a name would change requests.
fn is_reserved_header(name: &str) -> bool {
    const NAMES: [&str; 27] = [
        "accept",
        "age",
        "allow",
        "authorization",
        "cache-control",
        "connection",
        "cookie",
        "date",
        "etag",
        "expect",
        "expires",
        "forwarded",
        "host",
        "keep-alive",
        "location",
        "range",
        "retry-after",
        "server",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "vary",
        "via",
        "www-authenticate",
        "x-real-ip",
    ];
    const PREFIXES: [&str; 8] = [
        "accept-",
        "access-control-",
        "content-",
        "if-",
        "proxy-",
        "x-authmesh-",
        "x-forwarded-",
        "x-original-",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A `scope-token` (RFC 6749 section 3.3).
pub(super) fn scope(text: &str) -> Verdict {
    length(text, 256)?;
    if is_visible_ascii(text) && !text.contains(['"', '\\']) {
        return Ok(());
    }
    Err("is not one scope: no space, quote or backslash; give several as a list (RFC 6749 section 3.3)".into())
}

/// An HTTP method in upper case (RFC 9110 section 9.1).
pub(super) fn method(text: &str) -> Verdict {
    length(text, 32)?;
    if !is_token(text) {
        return Err("is not an HTTP method: write it as in \"GET\"".into());
    }
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err("is in lower case: HTTP methods are case-sensitive, write it as in \"GET\"".into());
    }
    Ok(())
}

pub(super) fn algorithm(text: &str) -> Verdict {
    if ALGORITHMS.contains(&text) {
        return Ok(());
    }
    if text.eq_ignore_ascii_case("none") {
        return Err("is \"none\": an unsigned token proves nothing and is never accepted. Remove it".into());
    }
    if ["HS256", "HS384", "HS512"]
        .iter()
        .any(|name| text.eq_ignore_ascii_case(name))
    {
        return Err(
            "is symmetric (HS*): whoever can check such a token can also make one, and a public key used as its \
                    secret lets anybody forge tokens (RFC 8725 section 2.1). Use RS256, ES256 or EdDSA"
                .into(),
        );
    }
    if let Some(name) = ALGORITHMS.iter().find(|name| text.eq_ignore_ascii_case(name)) {
        return Err(format!("is spelled in another case: write \"{name}\""));
    }
    Err(format!(
        "is not an algorithm that authmesh knows: use some of {}",
        ALGORITHMS.join(", ")
    ))
}

/// A media type without parameters, with or without `application/` (RFC 7515 section 4.1.9).
pub(super) fn typ(text: &str) -> Verdict {
    length(text, 127)?;
    if text.split('/').count() <= 2 && text.split('/').all(is_token) {
        return Ok(());
    }
    Err("is not a media type: write it as in \"at+jwt\" (RFC 7515 section 4.1.9)".into())
}

/// A name or a parameter of a preset. What it has to look like, the preset says.
pub(super) fn preset_value(text: &str) -> Verdict {
    length(text, MAX_URL_BYTES)
}

pub(super) fn claim_name(text: &str) -> Verdict {
    length(text, 256)?;
    printable(text)
}

pub(super) fn audience(text: &str) -> Verdict {
    length(text, 1024)?;
    printable(text)
}

/// Space around a name is nearly always a slip, and compares unequal to everything.
pub(super) fn printable(text: &str) -> Verdict {
    if text.chars().any(char::is_control) {
        return Err("has a control character".into());
    }
    if text.trim() != text {
        return Err("begins or ends with a space".into());
    }
    Ok(())
}

/// A host name or address without a port, as it stands in `Host` (RFC 9110 section 7.2).
pub(super) fn host(text: &str) -> Verdict {
    length(text, 253)?;
    if text.contains('*') {
        return Err("has a \"*\": a host is matched exactly. Write one route per host, or leave it out for all".into());
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("has upper-case letters: write host names in lower case".into());
    }
    let is_v6 = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    let is_name = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(&b));
    if is_v6 || is_name {
        return Ok(());
    }
    Err("is not a host name: write it without scheme, port and path, as in \"api.example.com\"".into())
}

/// A file, wherever the server is started from.
pub(super) fn absolute_path(text: &str) -> Verdict {
    if text.starts_with('/') && !text.ends_with('/') {
        Ok(())
    } else {
        Err("does not begin with \"/\" or names no file: give the whole path".into())
    }
}

/// A plain path prefix. Everything that two programs could read in two ways is refused, since a rule that silently
/// never matches protects nothing.
pub(super) fn route_path(text: &str) -> Verdict {
    length(text, 1024)?;
    if !text.starts_with('/') {
        return Err("does not begin with \"/\"".into());
    }
    if !is_visible_ascii(text) || text.contains(['%', '\\', '"']) {
        return Err(
            "has an escape, a backslash, a quote, a space or a character beyond ASCII: use the longest plain prefix"
                .into(),
        );
    }
    if text.contains(['*', '{', '}']) {
        return Err(
            "is a pattern: a route is a plain prefix that covers everything below it. Remove the wildcard".into(),
        );
    }
    if text.contains(['?', '#', ';']) {
        return Err("has a query, fragment or parameter: only the path is compared".into());
    }
    if text.contains("//") || text.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("has an empty, \".\" or \"..\" segment: write the path in its shortest form".into());
    }
    Ok(())
}

/// An issuer identifier (OpenID Connect Discovery 1.0 section 3). The scheme is checked with `danger.allow_http` later.
pub(super) fn issuer_url(text: &str) -> Verdict {
    url(text)?;
    if text.contains('?') {
        return Err("has a query: an issuer is a plain URL (OpenID Connect Discovery 1.0 section 3)".into());
    }
    Ok(())
}

/// A scheme and a host, and no more.
pub(super) fn origin(text: &str) -> Verdict {
    url(text)?;
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    if rest.trim_end_matches('/').contains(['/', '?']) {
        return Err("is more than an origin: write it as in \"https://api.example.com\"".into());
    }
    Ok(())
}

/// The URL of a key set. The scheme is checked with `danger.allow_http` later.
pub(super) fn url(text: &str) -> Verdict {
    length(text, MAX_URL_BYTES)?;
    if text.trim() != text {
        return Err("begins or ends with a space".into());
    }
    if text.contains('#') {
        return Err("has a fragment (\"#\"): remove it".into());
    }
    if !text.starts_with("https://") && !text.starts_with("http://") {
        return Err("does not begin with \"https://\" (in lower case)".into());
    }
    // `Uri` reads "/" and "\" by the letter of RFC 3986, unlike parsers for browsers, so nothing is repaired in silence.
    let uri: Uri = text
        .parse()
        .map_err(|_| "is not a URL: write it as in \"https://login.example.com\"".to_owned())?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("has a user name or password: remove everything before the \"@\"".into());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("has no host".into());
    }
    let host_and_port = authority.rsplit(']').next().unwrap_or("");
    if host_and_port.contains(':') && uri.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is not a number from 1 to 65535".into());
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// Texts that a rule accepts, and texts that it refuses with a part of the reason.
    pub(in crate::config) fn table(rule: fn(&str) -> Verdict, good: &[&str], bad: &[(&str, &str)]) {
        for text in good {
            assert_eq!(rule(text), Ok(()), "{text:?}");
        }
        for (text, part) in bad {
            let error = rule(text).expect_err(text);
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn names() {
        table(
            cluster_name,
            &["a", "orders-prod-2"],
            &[("", "is empty"), ("Orders", "lower-case"), ("a_b", "lower-case")],
        );
        table(
            node_name,
            &["Web-1.prod_x"],
            &[("a b", "letters"), (&"x".repeat(65), "64 bytes")],
        );
        table(
            cookie_name,
            &["__Host-auth", "t"],
            &[("a=b", "cookie name"), ("a b", "cookie name")],
        );
        table(
            claim_name,
            &["https://example.com/tenant", "sub"],
            &[("", "empty"), (" sub", "space"), ("a\n", "control")],
        );
        table(
            host,
            &["api.example.com", "[::1]", "127.0.0.1"],
            &[
                ("*.example.com", "exactly"),
                ("API.example.com", "lower case"),
                ("api.example.com:443", "without scheme, port"),
                ("https://api", "without scheme"),
            ],
        );
    }

    #[test]
    fn header_names() {
        table(
            header_name,
            &["X-Auth-Subject", "Remote-User", ""],
            &[
                ("X Auth", "not a header name"),
                ("X-Auth:", "not a header name"),
                ("Authorization", "meaning of its own"),
                ("cookie", "meaning of its own"),
                ("HOST", "meaning of its own"),
                ("Content-Length", "meaning of its own"),
                ("connection", "meaning of its own"),
                ("Transfer-Encoding", "meaning of its own"),
                ("X-Forwarded-For", "meaning of its own"),
                ("X-Authmesh-Outcome", "meaning of its own"),
            ],
        );
    }

    #[test]
    fn origins() {
        table(
            origin,
            &[
                "https://api.example.com",
                "https://api.example.com:8443/",
                "http://[::1]:8080",
            ],
            &[
                ("api.example.com", "does not begin"),
                ("https://api.example.com/v1", "more than an origin"),
                ("https://api.example.com/?x", "more than an origin"),
                ("https://user@api.example.com", "user name"),
            ],
        );
    }

    #[test]
    fn algorithms() {
        table(
            algorithm,
            &ALGORITHMS,
            &[
                ("none", "unsigned"),
                ("NONE", "unsigned"),
                ("HS256", "symmetric"),
                ("hs512", "symmetric"),
                ("rs256", "write \"RS256\""),
                ("ES512", "not an algorithm"),
                ("", "not an algorithm"),
            ],
        );
    }

    #[test]
    fn words_of_requests() {
        table(
            scope,
            &["read", "orders:write", "https://api/x"],
            &[("a b", "one scope"), ("a\"", "one scope"), ("é", "one scope")],
        );
        table(
            method,
            &["GET", "M-SEARCH"],
            &[("get", "lower case"), ("G T", "not an HTTP method")],
        );
        table(
            typ,
            &["at+jwt", "JWT", "application/at+jwt"],
            &[("a b", "media type"), ("a/b/c", "media type"), ("/", "media type")],
        );
        table(
            route_path,
            &["/", "/admin", "/admin/", "/a/b.c~d"],
            &[
                ("admin", "begin with"),
                ("/a b", "longest plain prefix"),
                ("/a%2f", "longest plain prefix"),
                ("/é", "longest plain prefix"),
                ("/a\\b", "longest plain prefix"),
                ("/a/*", "pattern"),
                ("/a/{id}", "pattern"),
                ("/a?x", "query"),
                ("/a;x", "parameter"),
                ("/a//b", "shortest form"),
                ("/a/../b", "shortest form"),
                ("/.", "shortest form"),
            ],
        );
    }

    #[test]
    fn urls() {
        table(
            issuer_url,
            &[
                "https://a",
                "https://a:8443/realms/x/",
                "http://127.0.0.1:8600",
                "https://[::1]:1",
            ],
            &[
                ("", "is empty"),
                ("login.example.com", "https://"),
                ("HTTPS://a", "lower case"),
                ("ftp://a", "https://"),
                ("https://", "not a URL"),
                ("https://a/#x", "fragment"),
                ("https://a/?x=1", "query"),
                ("https://me:pw@a/", "user name"),
                ("https://a:0", "port"),
                ("https://a:99999", "port"),
                ("https://a b", "not a URL"),
                (" https://a", "space"),
            ],
        );
        table(url, &["https://a/keys?v=1"], &[("https://a/keys#x", "fragment")]);
    }
}
