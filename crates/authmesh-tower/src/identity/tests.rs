#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

/// What a service does with a value.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let pair = [*high, *low];
                bytes.push(u8::from_str_radix(str::from_utf8(&pair).unwrap(), 16).unwrap());
                after
            }
            (byte, after) => {
                bytes.push(*byte);
                after
            }
        };
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn no_two_identities_look_alike_and_none_breaks_out_of_its_header() {
    for (value, written) in [
        ("alice", "alice"),
        ("auth0|5f 7", "auth0|5f 7"),
        ("a%20b", "a%2520b"),
        (" a\r\nX-Admin: 1", "%20a%0D%0AX-Admin: 1"),
        ("jürgen", "j%C3%BCrgen"),
        (" ", "%20"),
        ("  ", "%20%20"),
        ("a ", "a%20"),
        ("\0\t\u{7f}", "%00%09%7F"),
        ("", ""),
    ] {
        assert_eq!(encode(value), written);
    }
}

#[test]
fn scopes_are_as_many_as_they_were() {
    let written = |scopes: &[&str]| list(scopes.iter().copied());
    assert_eq!(written(&["read", "write"]), "read write");
    assert_eq!(written(&["read admin"]), "read%20admin");
    assert_eq!(written(&["", "read", ""]), "read");
    assert_eq!(written(&[]), "");
}

#[test]
fn what_a_client_sends_under_our_names_is_removed() {
    let mut headers = HeaderMap::new();
    for name in [
        "x-auth-subject",
        "x_auth_subject",
        "x-auth_email",
        "x.auth.scopes",
        "x~auth-client",
        "x-other",
        "x-auth-subjects",
        "xauth-subject",
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("spoofed"));
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("spoofed again"));
    }
    IdentityHeaders::default().strip(&mut headers);
    let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["x-auth-subjects", "x-other", "xauth-subject"]);
}

#[test]
fn a_name_of_ours_with_underscores_is_removed_too() {
    let names = IdentityHeaders {
        subject: Some(HeaderName::from_static("remote_user")),
        email: None,
        ..IdentityHeaders::default()
    };
    let mut headers = HeaderMap::new();
    for name in ["remote_user", "remote-user", "x-auth-email"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("sent"));
    }
    names.strip(&mut headers);
    let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["x-auth-email"], "a header that is off is the client's own");
}

#[test]
fn a_public_route_passes_every_header_empty() {
    let mut headers = HeaderMap::new();
    headers.insert("x-auth-subject", HeaderValue::from_static("spoofed"));
    IdentityHeaders::default().write_empty(&mut headers);
    assert_eq!(headers.len(), 7);
    assert!(headers.values().all(HeaderValue::is_empty));
}

proptest! {
    #[test]
    fn every_value_comes_back_from_its_header(value in any::<String>()) {
        let written = encode(&value);
        prop_assert!(HeaderValue::from_str(&written).unwrap().to_str().is_ok(), "visible ASCII only");
        prop_assert_eq!(written.trim(), &written, "nothing that a parser takes away");
        prop_assert!(written.len() <= value.len() * 3);
        prop_assert_eq!(decoded(&written), value);
    }

    #[test]
    fn every_list_of_scopes_comes_back_from_its_header(scopes in proptest::collection::vec("[ -~\\PC]{1,8}", 0..5)) {
        let written = list(scopes.iter().map(String::as_str));
        prop_assert!(HeaderValue::from_str(&written).unwrap().to_str().is_ok(), "visible ASCII only");
        let back: Vec<String> = written.split(' ').filter(|scope| !scope.is_empty()).map(decoded).collect();
        prop_assert_eq!(back, scopes);
    }
}
