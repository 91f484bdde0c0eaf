#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use authmesh_proto::crypto::ScopeKind;
use serde_json::{Value, json};

use super::token::{Logout, check};
use super::*;
use crate::Fault;

const NOW: Unix = 1_800_000_000;
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn rules() -> Rules {
    Rules::for_audiences(["orders-api"])
}

fn logout_rules() -> LogoutRules {
    LogoutRules::for_clients(["web", "app"])
}

/// The claims of a good logout token, with `more` laid over them; `null` removes one.
fn claims(more: Value) -> Value {
    let mut claims = json!({
        "iss": "https://login.example.com", "aud": "web", "iat": NOW, "exp": NOW + 120, "jti": "j1",
        "sub": "alice", "sid": "s1", "events": { EVENT: {} },
    });
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn check_typed(typ: Option<&str>, more: Value) -> Result<Logout, LogoutError> {
    let claims = claims(more);
    check(&logout_rules(), &rules(), typ, NOW, claims.as_object().unwrap())
}

fn checked(more: Value) -> Result<Logout, LogoutError> {
    check_typed(Some("logout+jwt"), more)
}

fn refused(more: Value) -> LogoutError {
    let shown = more.to_string();
    let error = checked(more).expect_err(&shown);
    assert_eq!(error.fault(), Fault::Token, "{shown}");
    error
}

fn missing(name: &str) -> LogoutError {
    VerifyError::MissingClaim(name.into()).into()
}

fn invalid(name: &'static str) -> LogoutError {
    VerifyError::InvalidClaim(name).into()
}

#[test]
fn a_session_is_ended_alone_and_a_subject_only_without_one() {
    for (more, kind, value) in [
        (json!({}), ScopeKind::Session, "s1"),
        (json!({ "sub": null }), ScopeKind::Session, "s1"),
        (json!({ "sid": null }), ScopeKind::Subject, "alice"),
    ] {
        let logout = checked(more).unwrap();
        assert_eq!((logout.kind, &*logout.value, logout.issued_at), (kind, value, NOW));
    }
}

#[test]
fn a_token_that_names_nobody_is_refused() {
    assert_eq!(refused(json!({ "sid": null, "sub": null })), LogoutError::NobodyNamed);
    for name in ["sid", "sub"] {
        for value in [json!(""), json!(7), json!(["s1"]), json!("x".repeat(MAX_VALUE + 1))] {
            let name: &'static str = name;
            assert_eq!(refused(json!({ name: value })), invalid(name));
        }
        assert!(checked(json!({ name: "x".repeat(MAX_VALUE) })).is_ok());
    }
}

#[test]
fn the_event_must_be_there_and_be_an_object() {
    for events in [
        Value::Null,
        json!({}),
        json!([EVENT]),
        json!(EVENT),
        json!({ EVENT: true }),
        json!({ EVENT: null }),
        json!({ EVENT: [] }),
        json!({ "http://schemas.openid.net/event/backchannel-logout/": {} }),
        json!({ "https://schemas.openid.net/event/backchannel-logout": {} }),
    ] {
        assert_eq!(refused(json!({ "events": events })), LogoutError::NoLogoutEvent);
    }
    // Others beside it, and members in it, are ignored.
    assert!(checked(json!({ "events": { EVENT: { "x": 1 }, "urn:other": 7 }, "trace_id": "t" })).is_ok());
}

#[test]
fn a_nonce_of_any_kind_is_refused() {
    for nonce in [json!("n"), json!(""), json!(0), json!({})] {
        assert_eq!(refused(json!({ "nonce": nonce })), LogoutError::HasNonce);
    }
    // `null` is a nonce too. `claims` would remove it.
    let mut with = claims(json!({}));
    with["nonce"] = Value::Null;
    let found = check(&logout_rules(), &rules(), None, NOW, with.as_object().unwrap());
    assert_eq!(found.unwrap_err(), LogoutError::HasNonce);
}

#[test]
fn the_audience_is_one_of_the_clients() {
    for audience in [json!("web"), json!("app"), json!(["other", "app"])] {
        assert!(checked(json!({ "aud": audience })).is_ok());
    }
    // The audience of access tokens is none of them.
    for audience in [
        json!("orders-api"),
        json!("Web"),
        json!(["other"]),
        json!([]),
        json!(""),
    ] {
        assert_eq!(refused(json!({ "aud": audience })), VerifyError::WrongAudience.into());
    }
    assert_eq!(refused(json!({ "aud": null })), missing("aud"));
    assert_eq!(refused(json!({ "aud": 7 })), invalid("aud"));
    assert_eq!(refused(json!({ "aud": ["web", 7] })), invalid("aud"));
}

#[test]
fn the_token_id_must_be_there() {
    assert_eq!(refused(json!({ "jti": null })), missing("jti"));
    for jti in [json!(""), json!(7)] {
        assert_eq!(refused(json!({ "jti": jti })), invalid("jti"));
    }
}

#[test]
fn times_are_checked_as_those_of_access_tokens() {
    assert_eq!(refused(json!({ "iat": null })), missing("iat"));
    assert_eq!(refused(json!({ "exp": null })), missing("exp"));
    for name in ["iat", "exp", "nbf"] {
        for value in [json!("1800000000"), json!(-1), json!(1e15)] {
            let name: &'static str = name;
            assert_eq!(refused(json!({ name: value })), invalid(name));
        }
    }
    // 30 s of leeway.
    let ago = |seconds: u64| json!({ "iat": NOW - 200, "exp": NOW - seconds });
    assert!(checked(ago(29)).is_ok());
    assert_eq!(refused(ago(30)).code(), "expired");
    for name in ["iat", "nbf"] {
        assert!(checked(json!({ name: NOW + 30 })).is_ok());
        let name: &'static str = name;
        assert_eq!(
            refused(json!({ name: NOW + 31, "exp": NOW + 120 })).code(),
            "not_yet_valid"
        );
    }
    let day = 86_400;
    assert!(checked(json!({ "exp": NOW + day })).is_ok());
    assert_eq!(refused(json!({ "exp": NOW + day + 1 })).code(), "lifetime_too_long");
    // However long ago it was issued: its mark would be past.
    assert_eq!(refused(json!({ "iat": NOW - 2 * day })).code(), "lifetime_too_long");
}

#[test]
fn without_expiry_it_counts_for_two_minutes_where_that_is_allowed() {
    let mut lax = logout_rules();
    lax.require_expiry = false;
    let at = |iat: Unix| {
        let claims = claims(json!({ "exp": null, "iat": iat }));
        check(&lax, &rules(), None, NOW, claims.as_object().unwrap())
    };
    assert!(at(NOW).is_ok() && at(NOW - 149).is_ok());
    assert_eq!(at(NOW - 150).unwrap_err().code(), "expired");
}

#[test]
fn the_type_tells_it_from_other_tokens() {
    for typ in [
        Some("logout+jwt"),
        Some("application/LOGOUT+JWT"),
        Some("JWT"),
        Some("jwt"),
        None,
    ] {
        assert!(check_typed(typ, json!({})).is_ok(), "{typ:?}");
    }
    for typ in ["at+jwt", "secevent+jwt", "", "logout", "logout+jwt;x=1"] {
        let error = check_typed(Some(typ), json!({})).unwrap_err();
        assert_eq!(error, VerifyError::WrongType.into(), "{typ}");
    }
    let mut strict = logout_rules();
    strict.require_type = true;
    let claims = claims(json!({}));
    let with = |typ| check(&strict, &rules(), typ, NOW, claims.as_object().unwrap());
    assert!(with(Some("logout+jwt")).is_ok());
    for typ in [Some("JWT"), None] {
        assert_eq!(with(typ).unwrap_err(), VerifyError::WrongType.into());
    }
}

#[test]
fn an_accepted_token_has_a_mark_that_is_not_past() {
    // The oldest `iat` that can be accepted, with the longest leeway.
    let mut rules = rules();
    rules.leeway = std::time::Duration::from_secs(300);
    let lifetime = rules.max_token_lifetime.as_secs();
    let iat = NOW - lifetime - 299;
    let claims = claims(json!({ "iat": iat, "exp": NOW - 299 }));
    let logout = check(&logout_rules(), &rules, None, NOW, claims.as_object().unwrap()).unwrap();
    let kept = lifetime + FURTHEST_AHEAD.as_secs();
    assert!(to_full_hour(logout.issued_at + kept) > NOW);
}

#[test]
fn an_empty_list_of_clients_is_no_rule() {
    for clients in [&[] as &[&str], &["web", ""], &["x"; 65]] {
        let rules = LogoutRules::for_clients(clients.iter().copied());
        assert_eq!(rules.check("https://login.example.com").unwrap_err().setting, "logout");
    }
    assert!(logout_rules().check("").is_ok());
}
