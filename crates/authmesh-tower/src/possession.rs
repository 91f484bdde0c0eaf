//! What a request shows beside its token: the proof that a bound token needs (DPoP, RFC 9449; mutual TLS, RFC 8705).
//!
//! A token that is bound to a key comes with the scheme `DPoP` and a proof in the header `DPoP`, which names the URI that the client asked
//! for. Behind a proxy nobody but you knows what that is, and a `Host` header is whatever the sender wrote. So a service is told its
//! [origins](crate::Guard::origins); without them every such token is refused.
//!
//! ```no_run
//! use authmesh_tower::Protect as _;
//! # fn doc(mesh: authmesh::AuthMesh) -> Result<(), authmesh_tower::PolicyError> {
//! let layer = mesh.layer().origins(["https://api.example.com"])?;
//! # let _ = layer; Ok(()) }
//! ```
//!
//! A token that is bound to a client certificate needs the one of the connection: whoever ends TLS puts a [`CertificateThumbprint`] into
//! the request's extensions, or, where a proxy does, it is read from [a header](crate::Guard::client_cert_header).

use authmesh::possession::{Presentation, RequestProof, RequestUri, Scheme, certificate_sha256};
use http::header::HOST;
use http::{HeaderName, HeaderValue};

use crate::bearer::Place;
use crate::head::RequestHead;
use crate::policy::PolicyError;

/// The header of a DPoP proof (RFC 9449 section 4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The header of a nonce that the client's next proofs must hold (RFC 9449 section 8.1).
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// SHA-256 of the certificate with which the client has authenticated the connection.
///
/// Whoever ends TLS puts it into the extensions of the connection's requests, and only after TLS has verified that the client has
/// the certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificateThumbprint(pub [u8; 32]);

impl CertificateThumbprint {
    /// Of a certificate in DER: the first one of what the client has sent.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        Self(certificate_sha256(der))
    }
}

/// What a guard knows of how clients reach its service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached {
    origins: Vec<Origin>,
    client_cert: Option<HeaderName>,
}

/// One address of a service: `https://api.example.com`, and a path where a proxy or a router takes one away.
#[derive(Debug, Clone)]
struct Origin {
    scheme: &'static str,
    authority: String,
    path: String,
}

impl Origin {
    fn parse(url: &str) -> Result<Self, PolicyError> {
        let refuse = || PolicyError::NotAnOrigin(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| refuse())?;
        let scheme = match uri.scheme_str() {
            Some("https") => "https",
            Some("http") => "http",
            _ => return Err(refuse()),
        };
        let authority = uri.authority().ok_or_else(refuse)?.as_str();
        if uri.query().is_some() || authority.contains('@') || url.contains('#') {
            return Err(refuse());
        }
        Ok(Self {
            scheme,
            authority: authority.to_ascii_lowercase(),
            path: uri.path().to_owned(),
        })
    }
}

impl Reached {
    pub(crate) fn set_origins<S: AsRef<str>>(&mut self, urls: impl IntoIterator<Item = S>) -> Result<(), PolicyError> {
        self.origins = urls
            .into_iter()
            .map(|url| Origin::parse(url.as_ref()))
            .collect::<Result<_, _>>()?;
        if self.origins.is_empty() {
            return Err(PolicyError::NotAnOrigin(String::new()));
        }
        Ok(())
    }

    pub(crate) fn set_client_cert(&mut self, header: HeaderName) {
        self.client_cert = Some(header);
    }

    /// The header that tells the client's certificate.
    pub(crate) const fn client_cert(&self) -> Option<&HeaderName> {
        self.client_cert.as_ref()
    }

    /// A token as a request presents it.
    pub(crate) fn presentation<'a>(
        &'a self,
        head: &RequestHead<'a>,
        token: &'a [u8],
        place: Place,
        request: &'a RequestProof,
    ) -> Presentation<'a> {
        let scheme = match place {
            Place::Dpop => Scheme::Dpop,
            // What stands after the word `bearer`, or where RFC 6750 puts it.
            Place::Header | Place::WebSocket | Place::Query => Scheme::Bearer,
            Place::Cookie => Scheme::Unnamed,
        };
        let mut presentation = Presentation::new(token, scheme).within(request);
        // No proof makes a bearer token of one that is bound to a key: nothing is looked for.
        if scheme != Scheme::Bearer {
            presentation = presentation.proofs(head.headers.get_all(DPOP));
            if let Some(origin) = self.origin(head) {
                let uri = RequestUri::from_parts(origin.scheme, &origin.authority, head.uri.path());
                presentation = presentation.request(head.method.as_str(), uri.below(&origin.path));
            }
        }
        if let Some(CertificateThumbprint(sha256)) = head.extensions.get() {
            presentation = presentation.certificate(*sha256);
        } else if let Some(name) = &self.client_cert {
            presentation = presentation.certificate_header(head.headers.get_all(name));
        }
        presentation
    }

    /// The one that the request names as its host, else the first: what it names counts only if it is one of them.
    fn origin(&self, head: &RequestHead<'_>) -> Option<&Origin> {
        let first = self.origins.first()?;
        let host = || head.headers.get(HOST).map(HeaderValue::as_bytes);
        let named = head
            .uri
            .authority()
            .map(|authority| authority.as_str().as_bytes())
            .or_else(host);
        let is_named =
            |origin: &&Origin| named.is_some_and(|named| named.eq_ignore_ascii_case(origin.authority.as_bytes()));
        Some(self.origins.iter().find(is_named).unwrap_or(first))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        let mut reached = Reached::default();
        reached
            .set_origins(["https://API.example.com", "http://[::1]:8080/v1/"])
            .unwrap();
        assert_eq!(reached.origins[0].authority, "api.example.com");
        assert_eq!((&*reached.origins[0].path, &*reached.origins[1].path), ("/", "/v1/"));
        for odd in [
            "",
            "api.example.com",
            "/v1",
            "ftp://h",
            "https://u@h",
            "https://h/?q",
            "https://h/#f",
            "https://",
        ] {
            let refused = reached.set_origins([odd]).unwrap_err();
            assert_eq!(refused, PolicyError::NotAnOrigin(odd.to_owned()));
        }
        assert!(reached.set_origins([] as [&str; 0]).is_err());
    }
}
