//! Identity headers: who it is, for a service behind a proxy.
//!
//! # How a value is written
//!
//! A header value must say one thing only. So each value is written as the bytes of its UTF-8, and
//!
//! - visible ASCII (0x21 to 0x7E) except `%` stands as it is;
//! - a space stands as it is, except as the first or last byte, and except in a scope;
//! - every other byte (`%`, controls, 0x7F, all of non-ASCII) is percent-encoded with upper-case digits (RFC 3986 section 2.1).
//!
//! Percent-decoding gives the value back. So no two values look alike, and none can bring its own line into a header. A
//! value grows to at most three times its length; the policy's `max_token_bytes` bounds it.
//!
//! An absent claim is written as an empty value, and so is an empty one.
//!
//! Values are marked sensitive: `Debug` of the headers hides them, and HTTP/2 compression does not remember them (RFC 7541
//! section 7.1.3).

use authmesh::Verdict;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

/// The names of the identity headers; `None` turns one off. Give each its own name: under a name that two share, the later
/// one of the list below is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// `sub`. Default: `x-auth-subject`.
    pub subject: Option<HeaderName>,
    /// `iss`. Default: `x-auth-issuer`.
    pub issuer: Option<HeaderName>,
    /// `client_id`, else `azp`. Default: `x-auth-client`.
    pub client: Option<HeaderName>,
    /// Scopes, separated by single spaces; a space inside of a scope is percent-encoded. Default: `x-auth-scopes`.
    pub scopes: Option<HeaderName>,
    /// `sid`. Default: `x-auth-session`.
    pub session: Option<HeaderName>,
    /// `email`, where it is a string (OpenID Connect Core 1.0 section 5.1). Default: `x-auth-email`.
    ///
    /// `email_verified` is not looked at, and issuers give an address away again: who somebody is, issuer and subject say.
    pub email: Option<HeaderName>,
    /// `exp`, in seconds since the Unix epoch. Default: `x-auth-expires`.
    pub expires: Option<HeaderName>,
}

impl Default for IdentityHeaders {
    fn default() -> Self {
        let name = |name| Some(HeaderName::from_static(name));
        Self {
            subject: name("x-auth-subject"),
            issuer: name("x-auth-issuer"),
            client: name("x-auth-client"),
            scopes: name("x-auth-scopes"),
            session: name("x-auth-session"),
            email: name("x-auth-email"),
            expires: name("x-auth-expires"),
        }
    }
}

#[derive(Deserialize)]
struct Email {
    email: Option<serde_json::Value>,
}

impl IdentityHeaders {
    /// Writes every header; those of which the token says nothing are empty. Replaces what stands there.
    ///
    /// Does not replace a name that only looks like one of these: on a request, [`IdentityHeaders::strip`] first.
    pub fn write(&self, verdict: &Verdict, headers: &mut HeaderMap) {
        // The claims are parsed for it, so only where it is asked for.
        let email = self.email.as_ref().and_then(|_| verdict.claims::<Email>().ok()?.email);
        let email = email.as_ref().and_then(serde_json::Value::as_str);
        let text = |value: Option<&str>| value.map(encode).unwrap_or_default();
        let rows = [
            (&self.subject, text(verdict.subject())),
            (&self.issuer, encode(verdict.issuer())),
            (&self.client, text(verdict.client())),
            (&self.scopes, list(verdict.scopes())),
            (&self.session, text(verdict.session())),
            (&self.email, text(email)),
            (&self.expires, verdict.expires_at().to_string()),
        ];
        for (name, value) in rows {
            if let Some(name) = name {
                // What `encode` writes is always a header value.
                let mut value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""));
                value.set_sensitive(true);
                headers.insert(name.clone(), value);
            }
        }
    }

    /// Writes every header empty: a request that needs no identity must not bring its own.
    pub fn write_empty(&self, headers: &mut HeaderMap) {
        for name in self.names() {
            headers.insert(name.clone(), HeaderValue::from_static(""));
        }
    }

    /// Removes what a client sent under these names, and under every name that a server could take for one of them.
    ///
    /// CGI and what came after it write `_` for `-`, some for every character but letters and digits (RFC 3875 section
    /// 4.1.18 leaves it open): `x_auth_subject` and `x.auth.subject` go with `x-auth-subject`.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let spoofed: Vec<HeaderName> = headers
            .keys()
            .filter(|sent| self.names().any(|own| look_alike(own, sent)))
            .cloned()
            .collect();
        for name in spoofed {
            headers.remove(name);
        }
    }

    fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [
            &self.subject,
            &self.issuer,
            &self.client,
            &self.scopes,
            &self.session,
            &self.email,
            &self.expires,
        ]
        .into_iter()
        .flatten()
    }
}

fn look_alike(one: &HeaderName, other: &HeaderName) -> bool {
    folded(one).eq(folded(other))
}

/// Letters are in lower case already: `HeaderName` sees to it.
fn folded(name: &HeaderName) -> impl Iterator<Item = u8> {
    let fold = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    name.as_str().bytes().map(fold)
}

fn encode(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    // A parser takes spaces away at the ends of a header value (RFC 9110 section 5.5).
    escaped(value, |at| at != 0 && at != last)
}

fn list<'a>(scopes: impl Iterator<Item = &'a str>) -> String {
    // A space between two scopes must not be one inside of a scope: `scp` may be a list of any strings.
    let scopes: Vec<String> = scopes
        .filter(|scope| !scope.is_empty())
        .map(|scope| escaped(scope, |_| false))
        .collect();
    scopes.join(" ")
}

fn escaped(value: &str, space_stands: impl Fn(usize) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    let mut out = String::with_capacity(value.len());
    for (at, byte) in value.bytes().enumerate() {
        if (byte == b' ' && space_stands(at)) || (byte.is_ascii_graphic() && byte != b'%') {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte)]);
        }
    }
    out
}

#[cfg(test)]
mod tests;
