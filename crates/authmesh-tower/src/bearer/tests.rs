#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use http::header::{COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;

use super::*;

const NAME: &str = "token";

fn headers<V: AsRef<[u8]>>(list: &[(HeaderName, V)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in list {
        map.append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    }
    map
}

fn found<V: AsRef<[u8]>>(list: &[(HeaderName, V)]) -> Result<Option<String>, CredentialError> {
    let source = TokenSource::header().or_cookie(NAME);
    find_token(&headers(list), &source).map(|token| token.map(|token| token.as_str().to_owned()))
}

fn authorization(value: &str) -> Result<Option<String>, CredentialError> {
    found(&[(AUTHORIZATION, value)])
}

fn cookie(value: &str) -> Result<Option<String>, CredentialError> {
    found(&[(COOKIE, value)])
}

#[test]
fn one_bearer_token_is_found_whatever_the_case_of_the_scheme() {
    for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c"] {
        assert_eq!(authorization(value).unwrap().unwrap(), "a.b.c", "{value}");
    }
    for token in ["a", "-._~+/", "YQ==", "0=", "a.b.c="] {
        assert_eq!(authorization(&format!("Bearer {token}")).unwrap().unwrap(), token);
    }
}

#[test]
fn the_cookie_is_found_among_others() {
    for value in [
        "token=a.b.c",
        "x=1; token=a.b.c",
        "token=a.b.c; x=1",
        "x=1;token=a.b.c;",
        "token=\"a.b.c\"",
        "x; token=a.b.c",
        "TOKEN=x; xtoken=y; token2=z; token=a.b.c",
        "city=köln; token=a.b.c",
        "=x; token=a.b.c",
    ] {
        assert_eq!(cookie(value).unwrap().unwrap(), "a.b.c", "{value}");
    }
    assert_eq!(
        cookie("token=YQ==").unwrap().unwrap(),
        "YQ==",
        "a value may hold equals signs"
    );
    let two_lines = [(COOKIE, "x=1"), (COOKIE, "token=a.b.c")];
    assert_eq!(found(&two_lines).unwrap().unwrap(), "a.b.c");
}

#[test]
fn the_cookie_counts_only_where_it_is_configured() {
    let both = headers(&[(AUTHORIZATION, "Bearer a.b.c"), (COOKIE, "token=d.e.f")]);
    let token = find_token(&both, &TokenSource::header()).unwrap().unwrap();
    assert_eq!(token.as_bytes(), b"a.b.c");
    let nameless = headers(&[(COOKIE, "=a.b.c")]);
    assert_eq!(find_token(&nameless, &TokenSource::header().or_cookie("")), Ok(None));
}

#[test]
fn no_token_is_no_error() {
    assert_eq!(found::<&str>(&[]), Ok(None));
    for value in [
        "",
        "Basic abc",
        "Bearerx a.b.c",
        "DPoP a.b.c",
        "a.b.c",
        "Basic x, Bearer a.b.c",
    ] {
        assert_eq!(authorization(value), Ok(None), "{value:?}");
    }
    for value in ["", "token", "token=; other=x", "token=\"\"", "TOKEN=a.b.c"] {
        assert_eq!(cookie(value), Ok(None), "{value:?}");
    }
}

/// Whoever asks for a bearer token must not get one that is none; and it is a credential all the same.
#[test]
fn a_token_with_the_scheme_dpop_is_found_as_such() {
    let request = |value: &str| Request::get("/").header(AUTHORIZATION, value).body(()).unwrap();
    let presented = |value: &str| {
        let request = request(value);
        let found = find_presented(&RequestHead::of(&request), &TokenSource::header())?;
        Ok(found.map(|(token, place)| (token.as_str().to_owned(), place)))
    };
    for value in ["DPoP a.b.c", "dpop a.b.c", "DPOP  a.b.c"] {
        assert_eq!(presented(value), Ok(Some(("a.b.c".to_owned(), Place::Dpop))), "{value}");
        assert_eq!(authorization(value), Ok(None), "{value}");
    }
    for value in ["DPoP", "DPoP ", "DPoP a b", "DPoP\ta.b.c", "dpop,a.b.c"] {
        assert_eq!(presented(value), Err(CredentialError::NotAToken), "{value:?}");
    }
    assert_eq!(presented("DPoPx a.b.c"), Ok(None));
    let both = [(AUTHORIZATION, "DPoP a.b.c"), (COOKIE, "token=a.b.c")];
    assert_eq!(found(&both), Err(CredentialError::TwoPlaces));
}

#[test]
fn another_scheme_leaves_the_cookie_alone() {
    let list = [(AUTHORIZATION, "Basic abc"), (COOKIE, "token=a.b.c")];
    assert_eq!(found(&list).unwrap().unwrap(), "a.b.c");
}

#[test]
fn nothing_is_ever_guessed() {
    use CredentialError as E;
    let bearer = (AUTHORIZATION, "Bearer a.b.c");
    let in_cookie = (COOKIE, "token=a.b.c");
    assert_eq!(
        found(&[bearer.clone(), bearer.clone()]),
        Err(E::TwoHeaders),
        "also if they are equal"
    );
    assert_eq!(found(&[bearer.clone(), (AUTHORIZATION, "Basic x")]), Err(E::TwoHeaders));
    assert_eq!(found(&[(AUTHORIZATION, "Basic x"), bearer.clone()]), Err(E::TwoHeaders));
    assert_eq!(found(&[bearer, in_cookie.clone()]), Err(E::TwoPlaces));
    assert_eq!(found(&[in_cookie.clone(), in_cookie]), Err(E::TwoCookies));
    for value in ["token=a; token=b", "token=; token=a", "token=a; token="] {
        assert_eq!(cookie(value), Err(E::TwoCookies), "{value}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    use CredentialError as E;
    for value in [
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a,b",
        "Bearer a, Basic b",
        "Bearer =",
        "Bearer =a",
        "Bearer a=b",
        "Bearer a\tb",
        "Bearer\ta.b.c",
        "Bearer \ta.b.c",
        "Bearer,a.b.c",
        "Bearer=a.b.c",
        "Bearer \"a.b.c\"",
        "Bearer a.b.c ",
    ] {
        assert_eq!(authorization(value), Err(E::NotAToken), "{value:?}");
    }
    for value in ["Bearer ä", "Basic ä"] {
        assert_eq!(authorization(value), Err(E::NotAscii));
    }
    let latin_1: &[u8] = b"Bearer \xe4";
    assert_eq!(found(&[(AUTHORIZATION, latin_1)]), Err(E::NotAscii));
    for value in [
        "token=a b",
        "token=ä",
        "token=\"a",
        "token=a\"",
        "token=\"",
        "token==",
        "token=\"\"a\"\"",
    ] {
        assert_eq!(cookie(value), Err(E::CookieNotAToken), "{value:?}");
    }
}

fn protocols(lines: &[&str]) -> Result<Option<String>, CredentialError> {
    let lines: Vec<_> = lines.iter().map(|line| (SEC_WEBSOCKET_PROTOCOL, *line)).collect();
    let source = TokenSource::header().or_websocket();
    find_token(&headers(&lines), &source).map(|token| token.map(|token| token.as_str().to_owned()))
}

#[test]
fn a_websocket_offers_its_token_after_the_word_bearer() {
    use CredentialError as E;
    for lines in [
        &["bearer, a.b.c"][..],
        &["feed.v1, Bearer,a.b.c , feed.v2"],
        &["feed.v1", "bearer", "a.b.c, feed.v2"],
    ] {
        assert_eq!(protocols(lines).unwrap().unwrap(), "a.b.c", "{lines:?}");
    }
    for lines in [&[][..], &["feed.v1"], &["bearer.v1, a.b.c"]] {
        assert_eq!(protocols(lines), Ok(None), "{lines:?}");
    }
    for lines in [&["bearer"][..], &["bearer,"], &["bearer, , a.b.c"], &["bearer, a b"]] {
        assert_eq!(protocols(lines), Err(E::ProtocolNotAToken), "{lines:?}");
    }
    for lines in [
        &["bearer, a.b.c, bearer, d.e.f"][..],
        &["bearer, a.b.c", "bearer, a.b.c"],
        &["bearer, bearer"],
    ] {
        assert_eq!(protocols(lines), Err(E::TwoProtocols), "{lines:?}");
    }
    let unasked = headers(&[(SEC_WEBSOCKET_PROTOCOL, "bearer, a.b.c")]);
    assert_eq!(find_token(&unasked, &TokenSource::header()), Ok(None));
}

#[test]
fn a_token_in_the_query_is_found_under_danger_only() {
    use CredentialError as E;
    let in_query = |query: &str, source: &TokenSource| {
        let request = Request::builder().uri(format!("/feed?{query}")).body(()).unwrap();
        find_presented(&RequestHead::of(&request), source)
            .map(|found| found.map(|(token, place)| (token.as_str().to_owned(), place)))
    };
    let danger = TokenSource::header().danger_or_query("access_token");
    let found = Ok(Some(("a.b.c".to_owned(), Place::Query)));
    for query in ["access_token=a.b.c", "x=1&access_token=a.b.c&y=2"] {
        assert_eq!(in_query(query, &danger), found, "{query}");
        assert_eq!(in_query(query, &TokenSource::header()), Ok(None));
    }
    for query in ["", "x=1", "xaccess_token=a", "ACCESS_TOKEN=a"] {
        assert_eq!(in_query(query, &danger), Ok(None), "{query}");
    }
    for query in [
        "access_token",
        "access_token=",
        "access_token=a+b",
        "access_token=a%2Eb",
        "access_token==a",
    ] {
        assert_eq!(in_query(query, &danger), Err(E::ParameterNotAToken), "{query}");
    }
    assert_eq!(
        in_query("access_token=a&access_token=a", &danger),
        Err(E::TwoParameters)
    );
    assert_eq!(in_query("=a", &TokenSource::header().danger_or_query("")), Ok(None));
}

#[test]
fn of_two_places_none_is_chosen() {
    let request = Request::builder()
        .uri("/?access_token=a.b.c")
        .header(AUTHORIZATION, "Bearer a.b.c")
        .header(COOKIE, "token=a.b.c")
        .header(SEC_WEBSOCKET_PROTOCOL, "bearer, a.b.c")
        .body(())
        .unwrap();
    let header = TokenSource::header;
    for source in [
        header().or_cookie(NAME),
        header().or_websocket(),
        header().danger_or_query("access_token"),
        header().or_cookie(NAME).or_websocket().danger_or_query("access_token"),
    ] {
        let found = find_presented(&RequestHead::of(&request), &source);
        assert_eq!(found, Err(CredentialError::TwoPlaces), "{source:?}");
    }
    assert!(find_presented(&RequestHead::of(&request), &header()).unwrap().is_some());
}

#[test]
fn debug_tells_no_token() {
    assert_eq!(format!("{:?}", Token("secret.token.x")), "Token(14 bytes)");
}

proptest! {
    #[test]
    fn every_b64token_is_found_in_both_places(
        text in "[A-Za-z0-9._~+/-]{1,64}={0,2}",
        scheme in "[Bb][Ee][Aa][Rr][Ee][Rr]",
        spaces in 1_usize..5,
    ) {
        let value = format!("{scheme}{}{text}", " ".repeat(spaces));
        prop_assert_eq!(authorization(&value), Ok(Some(text.clone())));
        prop_assert_eq!(cookie(&format!("a=b; {NAME}={text}; c=d")), Ok(Some(text)));
    }

    #[test]
    fn whatever_is_sent_only_a_b64token_is_found(bytes in proptest::collection::vec(any::<u8>(), 0..48)) {
        for (name, prefix) in [(AUTHORIZATION, &b"Bearer "[..]), (AUTHORIZATION, b""), (COOKIE, b"token="), (COOKIE, b"")] {
            let value = [prefix, &bytes].concat();
            if HeaderValue::from_bytes(&value).is_err() {
                continue;
            }
            if let Ok(Some(token)) = found(&[(name, value)]) {
                let body = token.trim_end_matches('=');
                prop_assert!(!body.is_empty());
                prop_assert!(body.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c)));
            }
        }
    }
}
