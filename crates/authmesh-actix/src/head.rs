//! The head of a request, in the types of `http` 1: actix-web has those of `http` 0.2.

use actix_web::{HttpMessage as _, HttpRequest};
use authmesh_tower::head::RequestHead;
use authmesh_tower::{CertificateThumbprint, Guard, Rejection, RequestScope};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri};

/// A converted head. Whoever wrote the request chose what stands in it; what cannot be converted is refused.
#[derive(Debug)]
pub(crate) struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
}

impl Head {
    /// With the headers that a guard looks at; with all of them where there is none, or an answer is to be made.
    pub(crate) fn of(request: &HttpRequest, guard: Option<&Guard>) -> Result<Self, Rejection> {
        let unusable = || Rejection::bad_request("the request line is not one of HTTP");
        let mut extensions = Extensions::new();
        {
            let own = request.extensions();
            if let Some(scope) = own.get::<RequestScope>() {
                extensions.insert(scope.clone());
            }
            let of_request = own.get::<CertificateThumbprint>();
            if let Some(certificate) = of_request.or_else(|| request.conn_data()) {
                extensions.insert(*certificate);
            }
        }
        Ok(Self {
            method: Method::from_bytes(request.method().as_str().as_bytes()).map_err(|_| unusable())?,
            uri: request.uri().to_string().parse().map_err(|_| unusable())?,
            headers: match guard {
                Some(guard) => some_headers(request, guard),
                None => all_headers(request),
            },
            extensions,
        })
    }

    pub(crate) fn as_ref(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            uri: &self.uri,
            headers: &self.headers,
            extensions: &self.extensions,
        }
    }
}

fn some_headers(request: &HttpRequest, guard: &Guard) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in guard.looks_at() {
        for value in request.headers().get_all(name.as_str()) {
            append(&mut headers, name.clone(), value.as_bytes());
        }
    }
    headers
}

fn all_headers(request: &HttpRequest) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers() {
        if let Ok(name) = HeaderName::from_bytes(name.as_str().as_bytes()) {
            append(&mut headers, name, value.as_bytes());
        }
    }
    headers
}

/// Both versions take the same bytes for a value, so none is lost.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(mut value) = HeaderValue::from_bytes(value) {
        // Some of them are tokens, and none is written into a log from here.
        value.set_sensitive(true);
        headers.append(name, value);
    }
}
