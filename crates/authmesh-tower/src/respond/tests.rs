#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use authmesh::VerifyError;
use http::Request;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};

use super::*;

fn answered(content_type: Option<&str>, rejection: &Rejection) -> Response<Bytes> {
    let mut request = Request::new(());
    if let Some(value) = content_type {
        request.headers_mut().insert(CONTENT_TYPE, value.parse().unwrap());
    }
    respond(&Standard, rejection, &RequestHead::of(&request))
}

#[test]
fn the_request_chooses_between_http_and_grpc() {
    let expired = Rejection::from(VerifyError::BadSignature);
    for plain in [
        None,
        Some("application/json"),
        Some("application/grpcx"),
        Some("text/plain; application/grpc"),
    ] {
        let response = answered(plain, &expired);
        assert_eq!(response.status(), 401, "{plain:?}");
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
    }
    for grpc in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc; x=y",
        "application/grpc-web+proto",
        "application/grpc-web-text",
    ] {
        let response = answered(Some(grpc), &expired);
        assert_eq!(response.status(), 200, "{grpc}");
        assert_eq!(response.headers()[CONTENT_TYPE], grpc);
        assert_eq!(response.headers()["grpc-status"], "16");
        assert!(response.body().is_empty());
    }
}

#[test]
fn grpc_says_what_http_would() {
    let rows = [
        (Rejection::no_credential(), "16"),
        (Rejection::bad_request("x"), "16"),
        (VerifyError::BadSignature.into(), "16"),
        (Rejection::insufficient_scope(["a"]), "7"),
        (Rejection::insufficient_role(), "7"),
        (Rejection::timed_out(), "14"),
        (VerifyError::Blind { blind_for: None }.into(), "14"),
        (Rejection::not_found(), "12"),
        (Rejection::not_protected(), "13"),
    ];
    for (rejection, code) in rows {
        let response = answered(Some("application/grpc"), &rejection);
        let headers = response.headers();
        assert_eq!(headers["grpc-status"], code, "{rejection}");
        assert_eq!(headers["authmesh-problem"], rejection.problem());
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        let pushback = headers
            .get("grpc-retry-pushback-ms")
            .map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(
            pushback,
            rejection.retry_after().map(|seconds| (seconds * 1000).to_string())
        );
    }
}

#[test]
fn a_grpc_message_is_percent_encoded() {
    let response = answered(Some("application/grpc"), &Rejection::bad_request("100 % ü\r\nx: y"));
    assert_eq!(response.headers()["grpc-message"], "100 %25 %C3%BC%0D%0Ax: y");
}

#[test]
fn an_outage_says_when_to_ask_again() {
    let away = Rejection::unavailable(Duration::from_secs(7));
    let response = answered(None, &away);
    assert_eq!(
        (response.status(), &response.headers()[RETRY_AFTER]),
        (StatusCode::SERVICE_UNAVAILABLE, &"7".parse().unwrap())
    );
}

#[test]
fn a_map_of_the_users_own_is_never_cached_unless_it_says_so() {
    let request = Request::new(());
    let head = RequestHead::of(&request);
    let teapot = |_: &Rejection, _: &RequestHead<'_>| Response::builder().status(418).body(Bytes::new()).unwrap();
    let response = respond(&teapot, &Rejection::no_credential(), &head);
    assert_eq!(
        (response.status(), &response.headers()[CACHE_CONTROL]),
        (StatusCode::IM_A_TEAPOT, &"no-store".parse().unwrap())
    );
    let own = |_: &Rejection, _: &RequestHead<'_>| {
        Response::builder()
            .header(CACHE_CONTROL, "private, no-store")
            .body(Bytes::new())
            .unwrap()
    };
    assert_eq!(
        respond(&own, &Rejection::no_credential(), &head).headers()[CACHE_CONTROL],
        "private, no-store"
    );
}
