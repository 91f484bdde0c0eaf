//! Identity headers: who it is, for a service behind a proxy.
//!
//! A header value must say one thing only. Visible ASCII stands as it is, `%` apart; everything else, `%` included, is written
//! as the percent-encoding of its UTF-8 bytes (RFC 3986 section 2.1). So two identities never look alike, and none can bring
//! its own line into a header. A space stands as it is inside a value and is encoded at its ends.

use authmesh::Verdict;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

/// The names of the identity headers; `None` turns one off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// `sub`. Default: `x-auth-subject`.
    pub subject: Option<HeaderName>,
    /// `iss`. Default: `x-auth-issuer`.
    pub issuer: Option<HeaderName>,
    /// `client_id`, else `azp`. Default: `x-auth-client`.
    pub client: Option<HeaderName>,
    /// Scopes, separated by spaces. Default: `x-auth-scopes`.
    pub scopes: Option<HeaderName>,
    /// `sid`. Default: `x-auth-session`.
    pub session: Option<HeaderName>,
    /// `email`. Default: `x-auth-email`.
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
    pub fn write(&self, verdict: &Verdict, headers: &mut HeaderMap) {
        let scopes: Vec<String> = verdict.scopes().map(encode).collect();
        let email = self.email.as_ref().and_then(|_| {
            let claims: Email = verdict.claims().ok()?;
            claims.email?.as_str().map(encode)
        });
        let text = |value: Option<&str>| value.map(encode).unwrap_or_default();
        let rows = [
            (&self.subject, text(verdict.subject())),
            (&self.issuer, text(Some(verdict.issuer()))),
            (&self.client, text(verdict.client())),
            (&self.scopes, scopes.join(" ")),
            (&self.session, text(verdict.session())),
            (&self.email, email.unwrap_or_default()),
            (&self.expires, verdict.expires_at().to_string()),
        ];
        for (name, value) in rows {
            if let Some(name) = name {
                // What `encode` writes is always a header value.
                let value = HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static(""));
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

    /// Removes what a client sent under these names, also where it wrote underscores for hyphens, which many servers take
    /// for the same name.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let spoofed: Vec<HeaderName> = headers
            .keys()
            .filter(|sent| self.names().any(|own| own.as_str() == sent.as_str().replace('_', "-")))
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

fn encode(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (at, byte) in value.bytes().enumerate() {
        let inner_space = byte == b' ' && at != 0 && at != last;
        if inner_space || (byte.is_ascii_graphic() && byte != b'%') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_identities_look_alike_and_none_breaks_out_of_its_header() {
        assert_eq!(encode("alice"), "alice");
        assert_eq!(encode("auth0|5f 7"), "auth0|5f 7");
        assert_eq!(encode("a%20b"), "a%2520b");
        assert_eq!(encode(" a\r\nX-Admin: 1"), "%20a%0D%0AX-Admin: 1");
        assert_eq!(encode("jürgen"), "j%C3%BCrgen");
        assert_eq!(encode(" "), "%20");
        assert_eq!(encode(""), "");
    }

    #[test]
    fn what_a_client_sends_under_our_names_is_removed() {
        let mut headers = HeaderMap::new();
        for name in ["x-auth-subject", "x_auth_subject", "x-auth_email", "x-other"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("spoofed"));
        }
        IdentityHeaders::default().strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-other"]);
    }

    #[test]
    fn a_public_route_passes_every_header_empty() {
        let mut headers = HeaderMap::new();
        IdentityHeaders::default().write_empty(&mut headers);
        assert_eq!(headers.len(), 7);
        assert!(headers.values().all(HeaderValue::is_empty));
    }
}
