//! Where a token stands in a request (RFC 6750 section 2.1).
//!
//! One request carries one token, in one place. Where two answers are possible the request is refused: a proxy, a service
//! and this crate could each take another one.
//!
//! | the request has | answer |
//! | --- | --- |
//! | `Authorization: Bearer TOKEN`, any case of `Bearer`, one space or more | the token |
//! | the cookie, where one is configured, with or without quotes | the token |
//! | neither, another scheme, an empty cookie | `None`: 401 without an error |
//! | two `Authorization` headers, the cookie twice, a token in both places | [`CredentialError`]: 400 |
//! | `Bearer` and no token, or something that is no token | [`CredentialError`]: 400 |
//!
//! An `Authorization` header of another scheme beside a token in the cookie is not two tokens: the cookie's is taken.

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

    /// Also a cookie of this name, letter for letter (RFC 6265). Default: none.
    ///
    /// A name that no cookie can have (RFC 6265 section 4.1.1), as the empty one, is never found.
    #[must_use]
    pub fn or_cookie(mut self, name: impl Into<String>) -> Self {
        self.cookie = Some(name.into());
        self
    }
}

/// A token as it stood in a request: one `b64token` (RFC 6750 section 2.1), not verified. `Debug` tells its length only.
///
/// Its length is bounded by the server's limit for headers, then by the policy's `max_token_bytes`.
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
///
/// Nothing of the credentials stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// More than one `Authorization` header.
    #[error("there is more than one Authorization header; send one")]
    TwoHeaders,
    /// A token in the header and one in the cookie.
    #[error("there is a token in the Authorization header and one in the cookie; send one of them")]
    TwoPlaces,
    /// The cookie is there more than once.
    #[error("the token cookie is there more than once; send it once")]
    TwoCookies,
    /// The header's value is not ASCII.
    #[error("the Authorization header holds bytes that are not ASCII")]
    NotAscii,
    /// `Bearer` without a token, or with something that is no token (`b64token`, RFC 6750 section 2.1).
    #[error("the Authorization header says Bearer, and what follows is no token; send: Bearer, a space, the token")]
    NotAToken,
    /// The cookie's value is no token.
    #[error("the token cookie holds no token")]
    CookieNotAToken,
}

/// The token of a request; `None` where there is none, and where the `Authorization` header is of another scheme.
///
/// # Errors
/// [`CredentialError`] where there could be more than one answer, or what should be a token is none.
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
    // The scheme ends where its characters end, not at the first space: `Bearer<TAB>x` is a broken Bearer header, not
    // a header of the unknown scheme `Bearer<TAB>x`.
    let (scheme, rest) = value.split_at(value.find(|c| !is_tchar(c)).unwrap_or(value.len()));
    // The scheme's case does not matter (RFC 9110 section 11.1).
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    // One space or more (RFC 9110 section 11.4), and nothing after the token.
    rest.strip_prefix(' ')
        .and_then(|rest| token(rest.trim_start_matches(' ').as_bytes()))
        .ok_or(CredentialError::NotAToken)
        .map(Some)
}

/// Splits bytes, not text: another site's cookie on the same line need not be ASCII, and no byte of a longer UTF-8
/// character is a `;` or a `=`.
fn from_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<Token<'a>>, CredentialError> {
    if name.is_empty() {
        return Ok(None);
    }
    let mut found = None;
    // HTTP/2 may bring several lines (RFC 9113 section 8.2.3).
    for line in headers.get_all(COOKIE) {
        for pair in line.as_bytes().split(|byte| *byte == b';') {
            // A value may hold `=`, a name may not.
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let (Some(own), Some(value)) = (halves.next(), halves.next()) else {
                continue;
            };
            if own.trim_ascii() == name.as_bytes() && found.replace(unquoted(value.trim_ascii())).is_some() {
                return Err(CredentialError::TwoCookies);
            }
        }
    }
    match found {
        // What a logout leaves behind is no credential.
        None | Some([]) => Ok(None),
        Some(value) => token(value).ok_or(CredentialError::CookieNotAToken).map(Some),
    }
}

/// The value between its quotes (RFC 6265 section 4.1.1). A lone quote stays, and is refused with what holds it.
const fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', bare @ .., b'"'] => bare,
        value => value,
    }
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`
fn token(bytes: &[u8]) -> Option<Token<'_>> {
    let text = str::from_utf8(bytes).ok()?;
    let body = text.trim_end_matches('=');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    (!body.is_empty() && body.bytes().all(fits)).then_some(Token(text))
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_tchar(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests;
