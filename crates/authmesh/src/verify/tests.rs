//! The claims of RFC 7519, one rule at a time. The claims are as a parser hands them over; the signature is not the matter
//! here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use serde_json::{Value, json};

use super::claims::{self, Claims};
use crate::error::VerifyError;
use crate::jose::json::parse_object;
use crate::policy::Rules;

const NOW: u64 = 1_800_000_000;
const LEEWAY: u64 = 30;

fn rules() -> Rules {
    Rules::for_audiences(["api", "api-2"])
}

/// Good claims with `more` laid over them; `null` removes one.
fn good(more: Value) -> Value {
    let mut claims = json!({"iss": "https://issuer.test", "aud": "api", "sub": "alice", "iat": NOW, "exp": NOW + 600});
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn check_with(rules: &Rules, typ: Option<&str>, claims: Value) -> Result<Claims, VerifyError> {
    claims::check(rules, typ, NOW, claims.as_object().unwrap())
}

fn check(more: Value) -> Result<Claims, VerifyError> {
    check_with(&rules(), Some("JWT"), good(more))
}

fn missing(claim: &str) -> VerifyError {
    VerifyError::MissingClaim(claim.into())
}

#[test]
fn good_claims_pass_and_are_what_they_say() {
    let claims =
        check(json!({"sid": "s1", "jti": "j1", "azp": "app", "scope": "read  write", "nbf": NOW - 5})).unwrap();
    assert_eq!(claims.subject.as_deref(), Some("alice"));
    assert_eq!(
        (claims.session.as_deref(), claims.jwt_id.as_deref()),
        (Some("s1"), Some("j1"))
    );
    assert_eq!(claims.client.as_deref(), Some("app"));
    assert_eq!(
        claims.scopes.iter().map(|scope| &**scope).collect::<Vec<_>>(),
        ["read", "write"]
    );
    assert_eq!((claims.issued_at, claims.expires_at), (Some(NOW), NOW + 600));
    assert_eq!((claims.from, claims.until), (NOW - 5 - LEEWAY, NOW + 600 + LEEWAY));
    let both = check(json!({"azp": "app", "client_id": "first"})).unwrap();
    assert_eq!(both.client.as_deref(), Some("first"));
    let listed = check(json!({"scp": ["read it", "write"]})).unwrap();
    assert_eq!(
        listed.scopes.iter().map(|scope| &**scope).collect::<Vec<_>>(),
        ["read it", "write"]
    );
}

#[test]
fn an_expiry_is_demanded_and_ends_at_its_second_and_the_leeway() {
    assert_eq!(check(json!({"exp": null})).unwrap_err(), missing("exp"));
    let exp = |exp: u64| check(json!({"iat": NOW - 100, "exp": exp}));
    exp(NOW - LEEWAY + 1).unwrap();
    for ago in [LEEWAY, LEEWAY + 1, 3600] {
        let refused = VerifyError::Expired {
            ago: Duration::from_secs(ago),
        };
        assert_eq!(exp(NOW - ago).unwrap_err(), refused);
    }
    // Rounded to the safe side: down.
    assert!(check(json!({"iat": NOW - 100, "exp": (NOW - LEEWAY) as f64 + 0.9})).is_err());
}

#[test]
fn nbf_and_iat_may_lie_ahead_by_the_leeway_and_no_more() {
    for claim in ["nbf", "iat"] {
        check(json!({claim: NOW + LEEWAY})).unwrap();
        let refused = VerifyError::NotYetValid {
            claim,
            ahead: Duration::from_secs(LEEWAY + 1),
        };
        assert_eq!(check(json!({claim: NOW + LEEWAY + 1})).unwrap_err(), refused);
    }
    // Rounded to the safe side: up for `nbf`; and down for `iat`, which is what a mark compares.
    assert!(check(json!({"nbf": (NOW + LEEWAY) as f64 + 0.1})).is_err());
    assert_eq!(check(json!({"iat": NOW as f64 + 0.9})).unwrap().issued_at, Some(NOW));
}

#[test]
fn times_are_numbers_of_this_era() {
    for claim in ["exp", "nbf", "iat"] {
        let bad = [
            json!("1800000300"),
            json!(-1),
            json!(-0.5),
            json!(1e300),
            json!(253_402_300_800_u64),
            json!([NOW]),
            json!({"seconds": NOW}),
            json!(true),
        ];
        for value in bad {
            let refused = check(json!({claim: value})).unwrap_err();
            assert_eq!(refused, VerifyError::InvalidClaim(claim), "{claim}: {value}");
        }
        // `null` is a value of the wrong type, not an absence.
        let mut claims = good(json!({}));
        claims[claim] = Value::Null;
        assert_eq!(
            check_with(&rules(), None, claims).unwrap_err(),
            VerifyError::InvalidClaim(claim)
        );
    }
    // RFC 7519 section 2 allows a fraction.
    check(json!({"iat": NOW as f64 - 0.5, "exp": NOW as f64 + 60.5, "nbf": NOW as f64 - 1.5})).unwrap();
}

#[test]
fn the_lifetime_is_bounded_since_marks_are_kept_no_longer() {
    let limit = Duration::from_secs(86_400);
    let refused = VerifyError::LifetimeTooLong { limit };
    check(json!({"exp": NOW + 86_400})).unwrap();
    assert_eq!(check(json!({"exp": NOW + 86_401})).unwrap_err(), refused);
    // Counted from its issue, not from now.
    assert_eq!(
        check(json!({"iat": NOW - 3600, "exp": NOW + 86_400})).unwrap_err(),
        refused
    );
    assert_eq!(check(json!({"exp": 253_402_300_799_u64})).unwrap_err(), refused);
}

#[test]
fn a_missing_iat_is_accepted_by_danger_alone() {
    assert_eq!(check(json!({"iat": null})).unwrap_err(), missing("iat"));
    let danger = rules().danger_without_issued_at();
    let without = |exp: u64| check_with(&danger, None, good(json!({"iat": null, "exp": exp})));
    assert_eq!(without(NOW + 600).unwrap().issued_at, None);
    assert!(matches!(
        without(NOW + 86_401),
        Err(VerifyError::LifetimeTooLong { .. })
    ));
    // It does not excuse a bad one.
    assert!(check_with(&danger, None, good(json!({"iat": "now"}))).is_err());
}

#[test]
fn the_audience_is_a_string_or_a_list_and_names_one_of_ours() {
    for aud in [json!("api"), json!("api-2"), json!(["api"]), json!(["other", "api-2"])] {
        check(json!({"aud": aud})).unwrap();
    }
    for aud in [
        json!("other"),
        json!("API"),
        json!("api "),
        json!(""),
        json!([]),
        json!(["other", "apis"]),
    ] {
        assert_eq!(
            check(json!({"aud": aud})).unwrap_err(),
            VerifyError::WrongAudience,
            "{aud}"
        );
    }
    for aud in [json!(1), json!({"api": true}), json!(["api", 1]), json!([["api"]])] {
        assert_eq!(
            check(json!({"aud": aud})).unwrap_err(),
            VerifyError::InvalidClaim("aud"),
            "{aud}"
        );
    }
    assert_eq!(check(json!({"aud": null})).unwrap_err(), missing("aud"));

    let any = Rules::danger_any_audience();
    check_with(&any, None, good(json!({"aud": null}))).unwrap();
    check_with(&any, None, good(json!({"aud": "other"}))).unwrap();
    assert!(check_with(&any, None, good(json!({"aud": 1}))).is_err());
}

#[test]
fn the_issuer_is_a_string() {
    let issuer = |more| claims::issuer(good(more).as_object().unwrap()).map(str::to_owned);
    assert_eq!(issuer(json!({})).unwrap(), "https://issuer.test");
    assert_eq!(issuer(json!({"iss": null})).unwrap_err(), missing("iss"));
    for iss in [json!(["https://issuer.test"]), json!(1), json!({}), json!(false)] {
        assert_eq!(
            issuer(json!({"iss": iss})).unwrap_err(),
            VerifyError::InvalidClaim("iss")
        );
    }
}

#[test]
fn names_are_strings() {
    for claim in ["sub", "sid", "jti", "azp", "client_id"] {
        for value in [json!(1), json!(["alice"]), json!({}), json!(true)] {
            assert_eq!(
                check(json!({claim: value})).unwrap_err(),
                VerifyError::InvalidClaim(claim),
                "{claim}: {value}"
            );
        }
    }
    for (claim, value) in [("scope", json!(1)), ("scope", json!(["a", 1])), ("scp", json!({}))] {
        let refused = if claim == "scope" {
            VerifyError::InvalidClaim("scope")
        } else {
            VerifyError::InvalidClaim("scp")
        };
        assert_eq!(check(json!({claim: value})).unwrap_err(), refused);
    }
    check(json!({"sub": null})).unwrap();
}

#[test]
fn required_claims_are_there_and_not_null() {
    let mut rules = rules();
    rules.required_claims = vec!["sub".into(), "tenant".into()];
    let with = |more| check_with(&rules, None, good(more)).map(|_| ());
    assert_eq!(with(json!({})).unwrap_err(), missing("tenant"));
    with(json!({"tenant": "t1"})).unwrap();
    with(json!({"tenant": false})).unwrap();
    assert_eq!(with(json!({"tenant": "t1", "sub": null})).unwrap_err(), missing("sub"));
    let mut null = good(json!({}));
    null["tenant"] = Value::Null;
    assert_eq!(
        check_with(&rules, None, null).map(|_| ()).unwrap_err(),
        missing("tenant")
    );
}

#[test]
fn typ_compares_as_a_media_type() {
    let mut rules = rules();
    rules.types = vec!["at+jwt".into()];
    let with = |typ| check_with(&rules, typ, good(json!({}))).map(|_| ());
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        with(Some(typ)).unwrap();
    }
    for typ in [
        None,
        Some("JWT"),
        Some("logout+jwt"),
        Some(""),
        Some("text/at+jwt"),
        Some("application/application/at+jwt"),
    ] {
        assert_eq!(with(typ).unwrap_err(), VerifyError::WrongType, "{typ:?}");
    }
}

/// Trap 30: a token that was made for something else is no access token, whatever its claims.
#[test]
fn a_typ_of_another_kind_of_token_is_refused_by_default() {
    let with = |typ| check_with(&rules(), typ, good(json!({}))).map(|_| ());
    for typ in [
        None,
        Some("JWT"),
        Some("jwt"),
        Some("at+jwt"),
        Some("application/at+jwt"),
    ] {
        with(typ).unwrap();
    }
    for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt", "token-introspection+jwt", ""] {
        assert_eq!(with(Some(typ)).unwrap_err(), VerifyError::WrongType, "{typ}");
    }
}

#[test]
fn a_claim_that_stands_twice_is_refused_at_any_depth() {
    for claims in [
        r#"{"sub":"alice","sub":"bob"}"#,
        r#"{"sub":"alice","\u0073ub":"bob"}"#,
        r#"{"act":{"sub":"alice","sub":"bob"}}"#,
        r#"{"list":[{"a":1,"a":1}]}"#,
    ] {
        assert!(parse_object(claims.as_bytes()).is_err(), "{claims}");
    }
    parse_object(br#"{"sub":"alice","act":{"sub":"alice"}}"#).unwrap();
}

/// Cognito says `token_use: access`; an id token says `id` and is signed by the same keys.
#[test]
fn a_claim_equals_the_string_that_the_rules_name_and_nothing_like_it() {
    let rules = rules().claim_equals("token_use", "access");
    let with = |more| check_with(&rules, None, good(more)).map(|_| ());
    with(json!({"token_use": "access"})).unwrap();
    assert_eq!(with(json!({})).unwrap_err(), missing("token_use"));
    for value in [
        json!("id"),
        json!("Access"),
        json!("access "),
        json!(""),
        json!(["access"]),
        json!({"access": true}),
        json!(true),
    ] {
        assert_eq!(
            with(json!({"token_use": value})).unwrap_err(),
            VerifyError::WrongClaim("token_use".into()),
            "{value}"
        );
    }
    let either = rules.claim_one_of("type", ["userToken", "tenantToken"]);
    let with = |kind: &str| check_with(&either, None, good(json!({"token_use": "access", "type": kind}))).map(|_| ());
    with("userToken").unwrap();
    with("tenantToken").unwrap();
    assert_eq!(with("other").unwrap_err(), VerifyError::WrongClaim("type".into()));
}

/// Trap 34: who may use it is no matter of the claims. What they say of it is told, or the token is refused.
#[test]
fn what_a_token_is_bound_to_is_told_or_it_is_refused() {
    let jkt = json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
    let with = |rules: &Rules, cnf: Value| check_with(rules, None, good(json!({ "cnf": cnf })));
    assert!(with(&rules(), jkt.clone()).unwrap().binding.unwrap().jkt().is_some());
    assert!(
        with(&rules(), json!({"x5t#S256": jkt["jkt"]}))
            .unwrap()
            .binding
            .is_some()
    );
    for odd in [json!({}), json!("of another shape"), json!({"kid": "k"})] {
        assert_eq!(with(&rules(), odd.clone()).unwrap_err().code(), "unsupported_binding");
        let elsewhere = with(&rules().danger_bound_as_bearer(), odd).unwrap();
        assert_eq!(elsewhere.binding, None);
    }
    assert!(check_with(&rules(), None, good(json!({}))).unwrap().binding.is_none());
    let bound = rules().require_bound();
    with(&bound, jkt).unwrap();
    for unbound in [good(json!({})), good(json!({"cnf": null}))] {
        assert_eq!(check_with(&bound, None, unbound).unwrap_err(), VerifyError::NotBound);
    }
}

#[test]
fn another_claim_may_stand_for_the_audience() {
    let rules = rules().audience_claim("client_id");
    let with = |more| check_with(&rules, None, good(more));
    let claims = with(json!({"aud": null, "client_id": "api"})).unwrap();
    assert_eq!(claims.audiences.iter().map(|a| &**a).collect::<Vec<_>>(), ["api"]);
    // `aud` names us, and that is not enough.
    assert_eq!(
        with(json!({"client_id": "other"})).unwrap_err(),
        VerifyError::WrongAudience
    );
    assert_eq!(with(json!({})).unwrap_err(), missing("client_id"));
    let refused = check_with(&rules, None, good(json!({"client_id": 7}))).unwrap_err();
    assert_eq!(refused, VerifyError::WrongClaim("client_id".into()));
}
