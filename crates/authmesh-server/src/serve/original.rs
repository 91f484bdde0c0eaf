//! The request that a proxy asks about.
//!
//! Proxies tell it in headers: `X-Forwarded-Method`, `-Uri`, `-Host` (Traefik, Caddy, HAProxy), or `X-Original-Method`,
//! `X-Original-URI`, `X-Original-URL` (nginx). Where both families are there and differ, one of them came from the client:
//! such a request is refused.

use authmesh::possession::RequestUri;
use http::HeaderMap;

/// Method, host and path of the original request, as far as the proxy told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Original {
    /// In upper case.
    pub(super) method: Option<String>,
    /// In lower case, without a port.
    pub(super) host: Option<String>,
    /// Decoded and normalized.
    pub(super) path: Option<String>,
    /// As the client asked for it, where the proxy tells all of it: what a DPoP proof is for.
    asked: Option<Asked>,
}

/// A URI as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    /// As the client sent it: `htm` compares by case.
    method: String,
    scheme: String,
    authority: String,
    target: String,
}

/// Why the original request cannot be told. Fit for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ambiguous(pub(super) &'static str);

impl Original {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Ambiguous> {
        let method = one_of(headers, &["x-forwarded-method", "x-original-method"])?;
        let host = one_of(headers, &["x-forwarded-host"])?;
        let uri = one_of(headers, &["x-forwarded-uri", "x-original-uri"])?;
        let url = one_of(headers, &["x-original-url"])?;
        let (from_url_host, from_url_path) = match url {
            Some(url) => split_url(url)?,
            None => (None, None),
        };
        let uri = match (uri, from_url_path) {
            (Some(a), Some(b)) if a != b => return Err(DIFFER),
            (a, b) => a.or(b),
        };
        let scheme = match (
            one_of(headers, &["x-forwarded-proto"])?,
            url.and_then(|url| url.split_once("://")),
        ) {
            // Only what is asked for by it is refused then: the proxy before may end TLS.
            (Some(a), Some((b, _))) if !a.eq_ignore_ascii_case(b) => None,
            (a, b) => a.or(b.map(|(scheme, _)| scheme)),
        };
        let host = host.or(from_url_host);
        let asked = match (method, scheme, host, uri) {
            (Some(method), Some(scheme), Some(authority), Some(target)) => Some(Asked {
                method: method.to_owned(),
                scheme: scheme.to_owned(),
                authority: authority.to_owned(),
                target: target.to_owned(),
            }),
            _ => None,
        };
        Ok(Self {
            method: method.map(str::to_ascii_uppercase),
            host: host.map(without_port),
            path: uri.map(path_of).transpose()?,
            asked,
        })
    }

    /// Method and URI that the client asked for. `None`: the proxy does not tell all of it, or another origin than one of these; of none
    /// it is believed.
    pub(super) fn asked(&self, origins: &[String]) -> Option<(&str, RequestUri<'_>)> {
        let asked = self.asked.as_ref()?;
        let told = format!("{}://{}", asked.scheme, asked.authority);
        let same = |origin: &String| RequestUri::absolute(origin).is_same(RequestUri::absolute(&told));
        (origins.is_empty() || origins.iter().any(same)).then(|| {
            let uri = RequestUri::from_parts(&asked.scheme, &asked.authority, &asked.target);
            (asked.method.as_str(), uri)
        })
    }
}

const DIFFER: Ambiguous =
    Ambiguous("the headers that tell the original request contradict each other; let the proxy overwrite all of them");

/// The value of the only non-empty one of these headers; equal values count as one.
fn one_of<'a>(headers: &'a HeaderMap, names: &[&str]) -> Result<Option<&'a str>, Ambiguous> {
    let mut found: Option<&str> = None;
    for value in names.iter().flat_map(|name| headers.get_all(*name)) {
        let value = value
            .to_str()
            .map_err(|_| Ambiguous("a header that tells the original request is not ASCII"))?
            .trim();
        match found {
            _ if value.is_empty() => {}
            None => found = Some(value),
            Some(known) if known == value => {}
            Some(_) => return Err(DIFFER),
        }
    }
    Ok(found)
}

fn split_url(url: &str) -> Result<(Option<&str>, Option<&str>), Ambiguous> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or(Ambiguous("X-Original-URL is not an http or https URL"))?;
    let path_at = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(path_at);
    Ok((Some(host), Some(if path.is_empty() { "/" } else { path })))
}

fn without_port(host: &str) -> String {
    let bare = match host.rsplit_once(':') {
        // The colons of an IPv6 literal are its own; a port follows its bracket.
        Some((bare, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!bare.contains(':') || bare.ends_with(']')) =>
        {
            bare
        }
        _ => host,
    };
    bare.to_ascii_lowercase()
}

/// The path of a request target, decoded once and normalized as RFC 3986 section 6.2.2 says, repeated slashes merged.
/// What a service behind could read in another way is refused: an encoded slash or backslash, a control, a second layer of
/// encoding, a `..` beyond the root.
fn path_of(uri: &str) -> Result<String, Ambiguous> {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(Ambiguous("the original request's target does not begin with a slash"));
    }
    let decoded = decode(path)?;
    let mut kept: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop()
                    .ok_or(Ambiguous("the original request's path leads above the root"))?;
            }
            segment => kept.push(segment),
        }
    }
    let mut normalized = String::with_capacity(decoded.len());
    for segment in &kept {
        normalized.push('/');
        normalized.push_str(segment);
    }
    let ends_in_folder = decoded.ends_with('/') || decoded.ends_with("/.") || decoded.ends_with("/..");
    if normalized.is_empty() || ends_in_folder {
        normalized.push('/');
    }
    Ok(normalized)
}

fn decode(path: &str) -> Result<String, Ambiguous> {
    const BAD: Ambiguous = Ambiguous("the original request's path holds a broken percent-encoding");
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let decoded = if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                return Err(BAD);
            };
            let decoded = (high * 16 + low) as u8;
            if matches!(decoded, b'/' | b'\\' | b'%') {
                return Err(Ambiguous(
                    "the original request's path holds an encoded slash, backslash or percent sign",
                ));
            }
            decoded
        } else {
            byte
        };
        if decoded < 0x20 || decoded == 0x7f || decoded == b'\\' {
            return Err(Ambiguous(
                "the original request's path holds a control character or a backslash",
            ));
        }
        bytes.push(decoded);
    }
    String::from_utf8(bytes).map_err(|_| BAD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn path(uri: &str) -> Result<String, Ambiguous> {
        Original::of(&headers(&[("x-forwarded-uri", uri)])).map(|original| original.path.unwrap())
    }

    #[test]
    fn paths_are_normalized_before_they_are_compared() {
        for spelling in [
            "/admin",
            "//admin",
            "/./admin",
            "/%61dmin",
            "/orders/../admin",
            "/orders/%2e%2e/admin",
            "/admin?x=/y",
        ] {
            assert_eq!(path(spelling).unwrap(), "/admin", "{spelling}");
        }
        assert_eq!(path("/").unwrap(), "/");
        assert_eq!(path("/a/b/").unwrap(), "/a/b/");
        assert_eq!(path("/a/b/..").unwrap(), "/a/");
    }

    #[test]
    fn what_a_service_could_read_otherwise_is_refused() {
        for spelling in [
            "/a%2fadmin",
            "/a%5c..",
            "/a\\b",
            "/%2561dmin",
            "/..",
            "/%zz",
            "/%0a",
            "admin",
            "http://x/",
        ] {
            assert!(path(spelling).is_err(), "{spelling}");
        }
    }

    #[test]
    fn families_that_contradict_each_other_are_refused() {
        let both = |a, b| Original::of(&headers(&[("x-forwarded-uri", a), ("x-original-uri", b)]));
        assert!(both("/a", "/b").is_err());
        assert_eq!(both("/a", "/a").unwrap().path.unwrap(), "/a");
        assert_eq!(both("/a", "").unwrap().path.unwrap(), "/a");
        let url = Original::of(&headers(&[("x-original-url", "https://Shop.example:8443/x?y")])).unwrap();
        assert_eq!(
            (url.host.unwrap(), url.path.unwrap()),
            ("shop.example".into(), "/x".into())
        );
    }

    #[test]
    fn what_the_client_asked_for_is_told_whole_or_not_at_all() {
        let traefik = [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "Api.example.com:443"),
            ("x-forwarded-uri", "/a%2Eb?c"),
        ];
        let nginx = [
            ("x-original-method", "GET"),
            ("x-original-url", "https://api.example.com/a.b?c"),
        ];
        let wanted = RequestUri::absolute("https://api.example.com/a.b");
        let own = [
            "https://other.example.com".to_owned(),
            "https://API.example.com".to_owned(),
        ];
        for list in [&traefik[..], &nginx[..]] {
            let original = Original::of(&headers(list)).unwrap();
            for origins in [&[][..], &own] {
                let (method, uri) = original.asked(origins).unwrap();
                assert!(method == "GET" && uri.is_same(wanted));
            }
            assert!(original.asked(&own[..1]).is_none(), "of another origin");
            for left_out in 0..list.len() {
                let less: Vec<_> = list
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| *at != left_out)
                    .map(|(_, one)| *one)
                    .collect();
                assert!(Original::of(&headers(&less)).unwrap().asked(&[]).is_none());
            }
        }
        let contradict = [nginx[0], nginx[1], ("x-forwarded-proto", "http")];
        assert!(Original::of(&headers(&contradict)).unwrap().asked(&[]).is_none());
    }

    #[test]
    fn hosts_lose_port_and_case_and_keep_ipv6() {
        assert_eq!(without_port("Shop.Example:443"), "shop.example");
        assert_eq!(without_port("[::1]:8080"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
    }
}
