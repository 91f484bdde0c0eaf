//! Which URLs may be asked, and how they are shown.

use std::fmt;

use reqwest::Url;

use crate::address;

/// Longest URL that is accepted, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// Which URLs a client may ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct UrlPolicy {
    /// `http:` is allowed.
    pub(crate) allow_http: bool,
    /// Addresses must be public. Names are judged when they are looked up.
    pub(crate) public_only: bool,
}

/// A URL that policy allows. Shown without its query: a query may carry a credential.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    url: Url,
}

/// Why a URL is refused. The words never repeat the URL, because it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("is not a URL; write it in full, such as https://login.example.com")]
    NotAUrl,
    #[error("is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    #[error("is neither an https nor an http URL")]
    Scheme,
    #[error(
        "uses http: keys that travel in clear can be replaced on the way. Use https, or allow http for tests with danger_allow_http"
    )]
    Http,
    #[error("carries a user name or a password; remove the part before the @")]
    Userinfo,
    #[error("carries a fragment; remove the part after the #")]
    Fragment,
    #[error(
        "carries a query, which an issuer must not have (OpenID Connect Discovery 1.0 section 3); remove the part after the ?"
    )]
    Query,
    #[error(
        "names {0}, and public_addresses_only is set. Write a name of the public internet, or configure the issuer by hand with a client that may ask any address"
    )]
    NotPublic(address::Kind),
}

impl Endpoint {
    /// Accepts an absolute URL.
    pub(crate) fn parse(text: &str, policy: UrlPolicy) -> Result<Self, Refusal> {
        if text.len() > MAX_URL_BYTES {
            return Err(Refusal::TooLong);
        }
        // The URL standard repairs backslashes, spaces and missing slashes. What it has to repair is not what the
        // operator, or the issuer, meant to write.
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(Refusal::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_| Refusal::NotAUrl)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Refusal::Scheme);
        }
        if !text
            .get(url.scheme().len()..)
            .is_some_and(|rest| rest.starts_with("://"))
        {
            return Err(Refusal::NotAUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Userinfo);
        }
        if url.fragment().is_some() {
            return Err(Refusal::Fragment);
        }
        if url.scheme() == "http" && !policy.allow_http {
            return Err(Refusal::Http);
        }
        // The parser has already read every notation of an address, such as 0x7f.1, as the address that it means.
        let literal = url.host_str().and_then(address::literal);
        if let Some(kind) = literal.filter(|_| policy.public_only).and_then(address::not_public) {
            return Err(Refusal::NotPublic(kind));
        }
        Ok(Self { url })
    }

    /// Accepts an issuer identifier: a URL without query and fragment.
    pub(crate) fn parse_issuer(text: &str, policy: UrlPolicy) -> Result<Self, Refusal> {
        let endpoint = Self::parse(text, policy)?;
        if endpoint.url.query().is_some() {
            return Err(Refusal::Query);
        }
        Ok(endpoint)
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// The endpoint that a `Location` header of this one's answer points to, if it is a URL.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        let mut url = self.url.join(location).ok()?;
        // Failing to remove the user name only happens for URLs that cannot have one.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        (url.as_str().len() <= MAX_URL_BYTES).then_some(Self { url })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.url.host_str().unwrap_or_default())?;
        if let Some(port) = self.url.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.url.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const HTTP: UrlPolicy = UrlPolicy {
        allow_http: true,
        public_only: false,
    };

    #[test]
    fn only_clean_https_urls_pass() {
        for (text, expected) in [
            ("", Refusal::NotAUrl),
            ("login.example.com", Refusal::NotAUrl),
            ("https:login.example.com", Refusal::NotAUrl),
            ("https:/login.example.com", Refusal::NotAUrl),
            ("https:\\\\login.example.com", Refusal::NotAUrl),
            (" https://login.example.com", Refusal::NotAUrl),
            ("https://login.example.com/a\nb", Refusal::NotAUrl),
            ("file:///etc/passwd", Refusal::Scheme),
            ("http://login.example.com", Refusal::Http),
            ("https://user@login.example.com", Refusal::Userinfo),
            ("https://:secret@login.example.com", Refusal::Userinfo),
            ("https://login.example.com/#x", Refusal::Fragment),
            ("https://login.example.com/#", Refusal::Fragment),
        ] {
            assert_eq!(Endpoint::parse(text, UrlPolicy::default()), Err(expected), "{text:?}");
        }
        let long = format!("https://login.example.com/{}", "a".repeat(MAX_URL_BYTES));
        assert_eq!(Endpoint::parse(&long, UrlPolicy::default()), Err(Refusal::TooLong));
        assert!(Endpoint::parse("https://login.example.com/jwks?v=1", UrlPolicy::default()).is_ok());
        assert!(Endpoint::parse("http://127.0.0.1:1/jwks", HTTP).is_ok());
    }

    #[test]
    fn an_issuer_has_no_query() {
        assert_eq!(
            Endpoint::parse_issuer("https://login.example.com?x", UrlPolicy::default()),
            Err(Refusal::Query)
        );
        assert!(Endpoint::parse_issuer("https://login.example.com/tenant", UrlPolicy::default()).is_ok());
    }

    #[test]
    fn a_query_is_never_shown() {
        let endpoint = Endpoint::parse("https://login.example.com:8443/jwks?key=secret", UrlPolicy::default()).unwrap();
        assert_eq!(endpoint.to_string(), "https://login.example.com:8443/jwks");
        assert!(!format!("{endpoint:?}").contains("secret"));
        let target = endpoint.join("https://user:secret@other.example.com/x?secret").unwrap();
        assert_eq!(target.to_string(), "https://other.example.com/x");
    }

    #[test]
    fn addresses_that_are_not_public_are_refused_in_every_notation_where_policy_says_so() {
        let strict = UrlPolicy {
            allow_http: true,
            public_only: true,
        };
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "10.0.0.1:8443",
            "[::1]",
            "[::ffff:10.0.0.1]",
            "[::ffff:a00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "[fd00:ec2::254]",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
        ] {
            let url = format!("https://{host}/jwks");
            let refused = Endpoint::parse(&url, strict);
            assert!(matches!(refused, Err(Refusal::NotPublic(_))), "{url}: {refused:?}");
            assert!(Endpoint::parse(&url, HTTP).is_ok(), "{url}");
        }
        for host in [
            "8.8.8.8",
            "[2606:4700::1111]",
            "[64:ff9b::808:808]",
            "login.example.com",
        ] {
            assert!(
                Endpoint::parse(&format!("https://{host}/jwks"), strict).is_ok(),
                "{host}"
            );
        }
    }
}
