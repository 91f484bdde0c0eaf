//! Where a token stands in a request (RFC 6750 section 2).
//!
//! One request carries one token, in one place. Where two answers are possible the request is refused: a proxy, a service
//! and this crate could each take another one.
//!
//! | the request has | answer |
//! | --- | --- |
//! | `Authorization: Bearer TOKEN`, any case of `Bearer`, one space or more | the token |
//! | `Authorization: DPoP TOKEN`, likewise | the token; it has to be bound to the key of the proof that comes with it ([`possession`](crate::possession)) |
//! | the cookie, where one is configured, with or without quotes | the token |
//! | `Sec-WebSocket-Protocol: bearer, TOKEN`, where it is configured | the token |
//! | the query parameter, where one is configured under `danger` | the token |
//! | none of them, another scheme, an empty cookie | `None`: 401 without an error |
//! | two `Authorization` headers, a cookie twice, a token in two places | [`CredentialError`]: 400 |
//! | `Bearer` or `DPoP` and no token, or something that is no token | [`CredentialError`]: 400 |
//!
//! An `Authorization` header of another scheme beside a token in the cookie is not two tokens: the cookie's is taken.
//!
//! # WebSockets
//!
//! A browser cannot set `Authorization` for a WebSocket. It can offer sub-protocols (RFC 6455 section 1.9), so a client offers the word
//! `bearer`, then the token, then the protocols that it really speaks:
//!
//! ```js
//! new WebSocket("wss://api.example.com/feed", ["bearer", token, "feed.v1"])
//! ```
//!
//! A token with `/` or `=` cannot stand there; a JWT has neither. The server answers with one of its own protocols, never with the
//! token: a browser closes a socket that it offered protocols to and that chose none. The layer of this crate takes an
//! answer away that names the token.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;

mod places;

use crate::head::RequestHead;

/// Where to look for a token. The `Authorization` header is always looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenSource {
    cookie: Option<String>,
    websocket: bool,
    query: Option<String>,
}

impl TokenSource {
    /// Only the `Authorization` header.
    #[must_use]
    pub const fn header() -> Self {
        Self {
            cookie: None,
            websocket: false,
            query: None,
        }
    }

    /// Also a cookie of this name, letter for letter (RFC 6265). Default: none.
    ///
    /// A name that no cookie can have (RFC 6265 section 4.1.1), as the empty one, is never found.
    #[must_use]
    pub fn or_cookie(mut self, name: impl Into<String>) -> Self {
        self.cookie = Some(name.into());
        self
    }

    /// Also the WebSocket sub-protocol after the word `bearer`; see the [module](self). Default: not.
    #[must_use]
    pub const fn or_websocket(mut self) -> Self {
        self.websocket = true;
        self
    }

    pub(crate) const fn has_cookie(&self) -> bool {
        self.cookie.is_some()
    }

    pub(crate) const fn has_websocket(&self) -> bool {
        self.websocket
    }

    /// Also a parameter of the query; RFC 6750 section 2.3 calls it `access_token`. Default: none.
    ///
    /// The token then stands in the logs of every proxy on the way, in the browser's history, and in `Referer` of what the page
    /// links to; RFC 9700 section 4.3.2 forbids it. The parameter's name is compared letter for letter, and a token that would have to
    /// be percent-encoded, or has a `+`, is refused: what it means there depends on who reads it. Answers to such requests say
    /// `Cache-Control: no-store`.
    #[must_use]
    pub fn danger_or_query(mut self, name: impl Into<String>) -> Self {
        self.query = Some(name.into());
        self
    }
}

/// Where a token stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// In the `Authorization` header, with the scheme Bearer (RFC 6750 section 2.1).
    Header,
    /// In the `Authorization` header, with the scheme DPoP (RFC 9449 section 7.1).
    Dpop,
    /// In the cookie.
    Cookie,
    /// In `Sec-WebSocket-Protocol`.
    WebSocket,
    /// In the query.
    Query,
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
    /// A token in the header and one in the cookie, or in any other two places that are looked at.
    #[error("there is a token in more than one place (header, cookie, WebSocket protocol, query); send one of them")]
    TwoPlaces,
    /// The cookie is there more than once.
    #[error("the token cookie is there more than once; send it once")]
    TwoCookies,
    /// The header's value is not ASCII.
    #[error("the Authorization header holds bytes that are not ASCII")]
    NotAscii,
    /// `Bearer` or `DPoP` without a token, or with something that is no token (`b64token`, RFC 6750 section 2.1).
    #[error(
        "the Authorization header says Bearer or DPoP, and what follows is no token; send: the scheme, a space, the token"
    )]
    NotAToken,
    /// The cookie's value is no token.
    #[error("the token cookie holds no token")]
    CookieNotAToken,
    /// `Sec-WebSocket-Protocol` names `bearer` more than once.
    #[error("Sec-WebSocket-Protocol names bearer more than once; send it once, then the token")]
    TwoProtocols,
    /// `bearer` in `Sec-WebSocket-Protocol` without a token after it.
    #[error("Sec-WebSocket-Protocol names bearer, and what follows is no token; send: bearer, a comma, the token")]
    ProtocolNotAToken,
    /// The query parameter is there more than once.
    #[error("the token parameter is in the query more than once; send it once")]
    TwoParameters,
    /// The query parameter's value is no token that stands there as it is.
    #[error("the token parameter of the query holds no token that can stand there without encoding")]
    ParameterNotAToken,
}

/// The bearer token of a request; `None` where there is none, and where the `Authorization` header is of another scheme. Does not look at
/// the query: [`find_presented`] does.
///
/// # Errors
/// [`CredentialError`] where there could be more than one answer, or what should be a token is none.
pub fn find_token<'a>(headers: &'a HeaderMap, source: &TokenSource) -> Result<Option<Token<'a>>, CredentialError> {
    // Whoever asks for no more than the token does not know that a proof belongs to this one.
    let found = find(headers, None, source)?.filter(|(_, place)| *place != Place::Dpop);
    Ok(found.map(|(token, _)| token))
}

/// The token of a request and where it stood, as [`find_token`], the query included.
///
/// # Errors
/// As [`find_token`].
pub fn find_presented<'a>(
    head: &RequestHead<'a>,
    source: &TokenSource,
) -> Result<Option<(Token<'a>, Place)>, CredentialError> {
    find(head.headers, head.uri.query(), source)
}

fn find<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
    source: &TokenSource,
) -> Result<Option<(Token<'a>, Place)>, CredentialError> {
    let mut found = from_header(headers)?;
    let mut also = |token: Option<Token<'a>>, place| match (token, found) {
        (Some(_), Some(_)) => Err(CredentialError::TwoPlaces),
        (Some(token), None) => {
            found = Some((token, place));
            Ok(())
        }
        (None, _) => Ok(()),
    };
    if let Some(name) = &source.cookie {
        also(places::from_cookie(headers, name)?, Place::Cookie)?;
    }
    if source.websocket {
        also(places::from_protocols(headers)?, Place::WebSocket)?;
    }
    if let Some(name) = &source.query {
        also(places::from_query(query, name)?, Place::Query)?;
    }
    Ok(found)
}

fn from_header(headers: &HeaderMap) -> Result<Option<(Token<'_>, Place)>, CredentialError> {
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
    let place = match scheme {
        _ if scheme.eq_ignore_ascii_case("bearer") => Place::Header,
        _ if scheme.eq_ignore_ascii_case("dpop") => Place::Dpop,
        _ => return Ok(None),
    };
    // One space or more (RFC 9110 section 11.4), and nothing after the token.
    rest.strip_prefix(' ')
        .and_then(|rest| token(rest.trim_start_matches(' ').as_bytes()))
        .ok_or(CredentialError::NotAToken)
        .map(|token| Some((token, place)))
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
