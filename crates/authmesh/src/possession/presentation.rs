//! How a token came: what a request shows beside it.

use std::fmt;
use std::sync::OnceLock;

use super::certificate::certificate_sha256_of_header;

/// A token as a request presents it, with everything that can prove that the sender may use it.
///
/// Cheap: borrows all of it, and nothing is read before a token turns out to be bound.
#[derive(Clone, Copy)]
pub struct Presentation<'a> {
    pub(super) token: &'a [u8],
    pub(super) scheme: Scheme,
    pub(super) proofs: Proofs<'a>,
    pub(super) request: Option<(&'a str, RequestUri<'a>)>,
    certificate: Certificate<'a>,
    pub(super) within: Option<&'a RequestProof>,
}

/// The authorization scheme that a token came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `Bearer` (RFC 6750). A token that is bound to a key is refused; one that is bound to a certificate comes so.
    Bearer,
    /// `DPoP` (RFC 9449 section 7.1). A token that is not bound to a key is refused.
    Dpop,
    /// None: in a cookie, in a message. What the token is bound to decides what has to be proven.
    Unnamed,
}

/// What tells the client's certificate.
#[derive(Clone, Copy)]
enum Certificate<'a> {
    None,
    Sha256([u8; 32]),
    /// Read only of a token that is bound to one.
    Header(&'a [u8]),
    Several,
}

/// The values of the `DPoP` header.
#[derive(Clone, Copy)]
pub(super) enum Proofs<'a> {
    None,
    One(&'a [u8]),
    Several,
}

/// The URI of a request, as its sender wrote it.
///
/// It has to be what the *client* asked for: behind a proxy not what the proxy asks for. Query and fragment do not matter.
#[derive(Clone, Copy)]
pub struct RequestUri<'a>(pub(super) Parts<'a>);

#[derive(Clone, Copy)]
pub(super) enum Parts<'a> {
    Whole(&'a str),
    Split {
        scheme: &'a str,
        authority: &'a str,
        prefix: &'a str,
        path: &'a str,
    },
}

impl<'a> RequestUri<'a> {
    /// From an absolute URI: `https://api.example.com/orders`.
    #[must_use]
    pub const fn absolute(uri: &'a str) -> Self {
        Self(Parts::Whole(uri))
    }

    /// From its parts: `https`, what the `Host` header says, and the path, with or without its query.
    #[must_use]
    pub const fn from_parts(scheme: &'a str, authority: &'a str, path: &'a str) -> Self {
        Self(Parts::Split {
            scheme,
            authority,
            prefix: "",
            path,
        })
    }

    /// The same below a path that a proxy or a router took away: `/v1`, with or without a slash at its end. An absolute URI
    /// stays as it is.
    #[must_use]
    pub const fn below(mut self, path: &'a str) -> Self {
        if let Parts::Split { prefix, .. } = &mut self.0 {
            *prefix = path;
        }
        self
    }
}

impl fmt::Debug for RequestUri<'_> {
    // A path can hold what nobody should read in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestUri(..)")
    }
}

impl<'a> Presentation<'a> {
    /// A token that came with this scheme.
    #[must_use]
    pub fn new<T: AsRef<[u8]> + ?Sized>(token: &'a T, scheme: Scheme) -> Self {
        Self {
            token: token.as_ref(),
            scheme,
            proofs: Proofs::None,
            request: None,
            certificate: Certificate::None,
            within: None,
        }
    }

    /// A bearer token, and nothing else.
    #[must_use]
    pub fn bearer<T: AsRef<[u8]> + ?Sized>(token: &'a T) -> Self {
        Self::new(token, Scheme::Bearer)
    }

    /// The values of the request's `DPoP` headers, each as it stands. More than one are refused where one is needed (RFC 9449
    /// section 4.3). Default: none.
    #[must_use]
    pub fn proofs<T: AsRef<[u8]> + ?Sized + 'a>(mut self, values: impl IntoIterator<Item = &'a T>) -> Self {
        let mut values = values.into_iter();
        self.proofs = match (values.next(), values.next()) {
            (None, _) => Proofs::None,
            (Some(one), None) => Proofs::One(one.as_ref()),
            (Some(_), Some(_)) => Proofs::Several,
        };
        self
    }

    /// The request's method, as it was sent, and its URI. A proof that names others is refused, and so is every proof where
    /// they are not known. Default: not known.
    #[must_use]
    pub const fn request(mut self, method: &'a str, uri: RequestUri<'a>) -> Self {
        self.request = Some((method, uri));
        self
    }

    /// SHA-256 of the client's certificate (DER), which TLS has verified to be the sender's. Default: it has none.
    #[must_use]
    pub const fn certificate(mut self, sha256: [u8; 32]) -> Self {
        self.certificate = Certificate::Sha256(sha256);
        self
    }

    /// The values of a header in which a proxy tells the client's certificate
    /// ([`certificate_sha256_of_header`](super::certificate_sha256_of_header)); more than one are none that counts.
    ///
    /// Only behind a proxy that takes such a header away from what clients send. Whoever can send it owns every token that is
    /// bound to a certificate.
    #[must_use]
    pub fn certificate_header<T: AsRef<[u8]> + ?Sized + 'a>(mut self, values: impl IntoIterator<Item = &'a T>) -> Self {
        let mut values = values.into_iter();
        self.certificate = match (values.next(), values.next()) {
            (None, _) => Certificate::None,
            (Some(one), None) => Certificate::Header(one.as_ref()),
            (Some(_), Some(_)) => Certificate::Several,
        };
        self
    }

    /// Whether the client's certificate is this one; if not, why.
    pub(super) fn has_certificate(&self, wanted: &[u8; 32]) -> Result<(), &'static str> {
        let sha256 = match self.certificate {
            Certificate::None => return Err("the connection has none"),
            Certificate::Several => return Err("more than one are told"),
            Certificate::Sha256(sha256) => sha256,
            Certificate::Header([]) => return Err("the connection has none"),
            Certificate::Header(value) => {
                certificate_sha256_of_header(value).ok_or("what is told of the connection's is none")?
            }
        };
        if sha256 == *wanted {
            Ok(())
        } else {
            Err("the connection has another one")
        }
    }

    /// The request that it belongs to, where more than one look at it. Default: none, the proof counts once.
    #[must_use]
    pub const fn within(mut self, request: &'a RequestProof) -> Self {
        self.within = Some(request);
        self
    }

    /// The token.
    #[must_use]
    pub const fn token(&self) -> &'a [u8] {
        self.token
    }

    /// The scheme that it came with.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }
}

impl fmt::Debug for Presentation<'_> {
    // Neither the token nor a proof belongs into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proofs = match self.proofs {
            Proofs::None => "none",
            Proofs::One(_) => "one",
            Proofs::Several => "several",
        };
        f.debug_struct("Presentation")
            .field("scheme", &self.scheme)
            .field("proofs", &proofs)
            .field("method", &self.request.map(|(method, _)| method))
            .field("certificate", &!matches!(self.certificate, Certificate::None))
            .finish_non_exhaustive()
    }
}

/// One request, of which the same proof may be shown again: by a second layer, or to validate the token once more.
///
/// Make one per request, and give it to every [`Presentation`] of it ([`Presentation::within`]). A proof that was taken for
/// this request is taken again, all of its checks included, and is a replay everywhere else.
#[derive(Default)]
pub struct RequestProof(OnceLock<[u8; 16]>);

impl RequestProof {
    /// A request that has shown nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn took(&self, proof: [u8; 16]) {
        // A request has one proof. If it had two, the second would count once.
        let _ = self.0.set(proof);
    }

    pub(super) fn has_taken(&self, proof: &[u8; 16]) -> bool {
        self.0.get() == Some(proof)
    }
}

impl fmt::Debug for RequestProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestProof").field(&self.0.get().is_some()).finish()
    }
}
