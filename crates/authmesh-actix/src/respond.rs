//! Answers, from the types of `http` 1.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use authmesh_tower::guard::Finish;
use bytes::Bytes;

/// The response of a refusal.
pub(crate) fn response(of: &http::Response<Bytes>) -> HttpResponse<BoxBody> {
    let status = StatusCode::from_u16(of.status().as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::with_body(status, BoxBody::new(of.body().clone()));
    for (name, value) in of.headers() {
        if let Some((name, value)) = header(name, value) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Does what is left to do with the response of a request that passed.
pub(crate) fn finish(finish: Finish, headers: &mut HeaderMap) {
    if finish.is_nothing() {
        return;
    }
    let mut ours = http::HeaderMap::new();
    // A choice that a handler made is looked at, and stays or goes.
    for chosen in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        if let Ok(chosen) = http::HeaderValue::from_bytes(chosen.as_bytes()) {
            ours.append(http::header::SEC_WEBSOCKET_PROTOCOL, chosen);
        }
    }
    finish.write(&mut ours);
    headers.remove(SEC_WEBSOCKET_PROTOCOL);
    let mut written: Option<http::HeaderName> = None;
    for (name, value) in &ours {
        let Some((own, value)) = header(name, value) else {
            continue;
        };
        // The first of a name replaces what stood there.
        if written.as_ref() == Some(name) {
            headers.append(own, value);
        } else {
            headers.insert(own, value);
            written = Some(name.clone());
        }
    }
}

fn header(name: &http::HeaderName, value: &http::HeaderValue) -> Option<(HeaderName, HeaderValue)> {
    Some((
        HeaderName::from_bytes(name.as_str().as_bytes()).ok()?,
        HeaderValue::from_bytes(value.as_bytes()).ok()?,
    ))
}
