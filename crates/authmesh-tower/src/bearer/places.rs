//! The places beside the `Authorization` header.

use http::HeaderMap;
use http::header::{COOKIE, SEC_WEBSOCKET_PROTOCOL};

use super::{CredentialError, Token, token};

/// The sub-protocol that says that the next one is a token.
const MARKER: &str = "bearer";

/// Splits bytes, not text: another site's cookie on the same line need not be ASCII, and no byte of a longer UTF-8
/// character is a `;` or a `=`.
pub(super) fn from_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<Token<'a>>, CredentialError> {
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

/// The element after `bearer`, of all lines together: several are one list (RFC 9110 section 5.3).
pub(super) fn from_protocols(headers: &HeaderMap) -> Result<Option<Token<'_>>, CredentialError> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let mut elements = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
    let is_marker = |element: &[u8]| element.eq_ignore_ascii_case(MARKER.as_bytes());
    if !elements.any(is_marker) {
        return Ok(None);
    }
    let found = elements.next().unwrap_or_default();
    if is_marker(found) || elements.any(is_marker) {
        return Err(CredentialError::TwoProtocols);
    }
    token(found).ok_or(CredentialError::ProtocolNotAToken).map(Some)
}

/// Splits the query as it stands: what is encoded means one thing here and another thing elsewhere.
pub(super) fn from_query<'a>(query: Option<&'a str>, name: &str) -> Result<Option<Token<'a>>, CredentialError> {
    let mut found = None;
    for pair in query.unwrap_or_default().split('&') {
        let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !name.is_empty() && own == name && found.replace(value).is_some() {
            return Err(CredentialError::TwoParameters);
        }
    }
    match found {
        None => Ok(None),
        // In a form `+` is a space, elsewhere it is itself.
        Some(value) if value.contains('+') => Err(CredentialError::ParameterNotAToken),
        Some(value) => token(value.as_bytes())
            .ok_or(CredentialError::ParameterNotAToken)
            .map(Some),
    }
}
