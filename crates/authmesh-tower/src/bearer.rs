//! Where a token stands in a request (RFC 6750 section 2.1).

use std::fmt;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

/// Where to look for a token. The `Authorization` header is always looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSource {
    cookie: Option<String>,
}

impl TokenSource {
    /// Only the `Authorization` header.
    #[must_use]
    pub const fn header() -> Self {
        Self { cookie: None }
    }

    /// Also a cookie of this name (RFC 6265).
    #[must_use]
    pub fn or_cookie(mut self, name: impl Into<String>) -> Self {
        self.cookie = Some(name.into());
        self
    }
}

/// A token as it stood in a request. `Debug` tells its length only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token<'a>(&'a str);

impl<'a> Token<'a> {
    /// The token's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0.as_bytes()
    }

    /// The token.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}

/// The credentials of a request cannot be told without a guess (`invalid_request`, RFC 6750 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// More than one `Authorization` header.
    #[error("there is more than one Authorization header")]
    TwoHeaders,
    /// A token in the header and one in the cookie.
    #[error("there is a token in the Authorization header and one in the cookie")]
    TwoPlaces,
    /// The cookie is there more than once.
    #[error("the token cookie is there more than once")]
    TwoCookies,
    /// The header's value is not ASCII.
    #[error("the Authorization header holds bytes that are not ASCII")]
    NotAscii,
    /// `Bearer` without a token, or with something that is no token (`b64token`, RFC 6750 section 2.1).
    #[error("the Authorization header says Bearer, and what follows is no token")]
    NotAToken,
    /// The cookie's value is no token.
    #[error("the token cookie holds no token")]
    CookieNotAToken,
}

/// The token of a request; `None` where there is none, and where the `Authorization` header is of another scheme.
///
/// # Errors
/// [`CredentialError`] where there could be more than one answer, or the header says `Bearer` and carries no token.
pub fn find_token<'a>(headers: &'a HeaderMap, source: &TokenSource) -> Result<Option<Token<'a>>, CredentialError> {
    let header = from_header(headers)?;
    let cookie = match &source.cookie {
        Some(name) => from_cookie(headers, name)?,
        None => None,
    };
    match (header, cookie) {
        (Some(_), Some(_)) => Err(CredentialError::TwoPlaces),
        (header, cookie) => Ok(header.or(cookie)),
    }
}

fn from_header(headers: &HeaderMap) -> Result<Option<Token<'_>>, CredentialError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(CredentialError::TwoHeaders);
    }
    let value = value.to_str().map_err(|_| CredentialError::NotAscii)?;
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    // The scheme's case does not matter (RFC 9110 section 11.1).
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    // One space or more (RFC 9110 section 11.4), and nothing after the token.
    token(rest.trim_start_matches(' '))
        .ok_or(CredentialError::NotAToken)
        .map(Some)
}

fn from_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<Token<'a>>, CredentialError> {
    let mut found = None;
    for line in headers.get_all(COOKIE) {
        // A line that is not ASCII cannot be split reliably; it may hold the cookie.
        let line = line.to_str().map_err(|_| CredentialError::CookieNotAToken)?;
        for pair in line.split(';') {
            let Some((own, value)) = pair.split_once('=') else {
                continue;
            };
            if own.trim() != name {
                continue;
            }
            let value = value.trim();
            let bare = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'))
                .unwrap_or(value);
            if found.replace(bare).is_some() {
                return Err(CredentialError::TwoCookies);
            }
        }
    }
    match found {
        // What a logout leaves behind is no credential.
        None | Some("") => Ok(None),
        Some(value) => token(value).ok_or(CredentialError::CookieNotAToken).map(Some),
    }
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn token(text: &str) -> Option<Token<'_>> {
    let body = text.trim_end_matches('=');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    (!body.is_empty() && body.bytes().all(fits)).then_some(Token(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    fn headers(list: &[(http::HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn found(list: &[(http::HeaderName, &str)]) -> Result<Option<String>, CredentialError> {
        let source = TokenSource::header().or_cookie("session");
        find_token(&headers(list), &source).map(|token| token.map(|token| token.as_str().to_owned()))
    }

    #[test]
    fn one_bearer_token_is_found_whatever_the_case_of_the_scheme() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c"] {
            assert_eq!(found(&[(AUTHORIZATION, value)]).unwrap().unwrap(), "a.b.c", "{value}");
        }
        assert_eq!(found(&[(COOKIE, "x=1; session=a.b.c")]).unwrap().unwrap(), "a.b.c");
        assert_eq!(found(&[(COOKIE, "session=\"a.b.c\"")]).unwrap().unwrap(), "a.b.c");
    }

    #[test]
    fn no_token_is_no_error() {
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&[(AUTHORIZATION, "Basic abc")]), Ok(None));
        assert_eq!(found(&[(COOKIE, "session=; other=x")]), Ok(None));
    }

    #[test]
    fn nothing_is_ever_guessed() {
        use CredentialError as E;
        let bearer = (AUTHORIZATION, "Bearer a.b.c");
        let cookie = (COOKIE, "session=a.b.c");
        assert_eq!(found(&[bearer.clone(), bearer.clone()]), Err(E::TwoHeaders));
        assert_eq!(found(&[bearer.clone(), (AUTHORIZATION, "Basic x")]), Err(E::TwoHeaders));
        assert_eq!(found(&[bearer, cookie.clone()]), Err(E::TwoPlaces));
        assert_eq!(found(&[cookie.clone(), cookie]), Err(E::TwoCookies));
        assert_eq!(found(&[(COOKIE, "session=a; session=b")]), Err(E::TwoCookies));
        for value in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer =",
            "Bearer a\tb",
            "Bearer a.b.c ",
        ] {
            assert_eq!(found(&[(AUTHORIZATION, value)]), Err(E::NotAToken), "{value:?}");
        }
        assert_eq!(found(&[(AUTHORIZATION, "Bearer ä")]), Err(E::NotAscii));
        assert_eq!(found(&[(COOKIE, "session=a b")]), Err(E::CookieNotAToken));
    }

    #[test]
    fn debug_tells_no_token() {
        assert_eq!(format!("{:?}", Token("secret.token.x")), "Token(14 bytes)");
    }
}
