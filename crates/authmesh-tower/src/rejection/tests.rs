#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use authmesh::proto::crypto::ScopeKind;
use proptest::prelude::*;

use super::*;

const WAIT: Duration = Duration::from_millis(1500);

/// One of each. The enum is `non_exhaustive`, so the compiler does not tell when one is missing here; an error without a
/// type of its own gets the one of its fault, see `an_error_without_a_type_still_gets_a_documented_one`.
fn every_verify_error() -> Vec<VerifyError> {
    vec![
        VerifyError::TooLarge { bytes: 2, limit: 1 },
        VerifyError::Malformed("x"),
        VerifyError::Unsupported("x \"quoted\" \\"),
        VerifyError::BadSignature,
        VerifyError::UnknownKey,
        VerifyError::Expired { ago: WAIT },
        VerifyError::NotYetValid {
            claim: "nbf",
            ahead: WAIT,
        },
        VerifyError::WrongIssuer,
        VerifyError::WrongAudience,
        VerifyError::WrongType,
        VerifyError::MissingClaim("exp".into()),
        VerifyError::InvalidClaim("exp"),
        VerifyError::WrongClaim("token_use".into()),
        VerifyError::Bound,
        VerifyError::UnsupportedBinding("x"),
        VerifyError::NotBound,
        VerifyError::CertificateMismatch("the connection has none"),
        VerifyError::InvalidDpopProof(ProofError::Missing),
        VerifyError::UseDpopNonce { nonce: "n".into() },
        VerifyError::TooManyProofs { retry_after: WAIT },
        VerifyError::Inactive,
        VerifyError::LifetimeTooLong { limit: WAIT },
        VerifyError::Revoked(ScopeKind::Subject),
        VerifyError::CouldNotAsk {
            what: "https://idp.internal refused".into(),
            retry_after: WAIT,
        },
        VerifyError::Blind { blind_for: Some(WAIT) },
    ]
}

fn every_other_rejection() -> Vec<Rejection> {
    vec![
        Rejection::no_credential(),
        Rejection::bad_request("x"),
        Rejection::insufficient_scope(["read"]),
        Rejection::insufficient_role(),
        Rejection::unfit_claims(),
        Rejection::not_protected(),
        Rejection::unavailable(WAIT),
        Rejection::timed_out(),
        Rejection::not_found(),
    ]
}

fn parsed(body: &str) -> serde_json::Value {
    serde_json::from_str(body).unwrap()
}

#[test]
fn an_outage_is_never_a_verdict_and_every_error_has_a_type_of_its_own() {
    for error in every_verify_error() {
        let (fault, name) = (error.fault(), error.code().replace('_', "-"));
        let rejection = Rejection::from(error);
        assert_eq!(rejection.problem(), name);
        let expected = match fault {
            Fault::Token => StatusCode::UNAUTHORIZED,
            Fault::Service => StatusCode::SERVICE_UNAVAILABLE,
        };
        assert_eq!(rejection.status(), expected, "{name}");
        let is_token = fault == Fault::Token;
        assert_eq!(rejection.challenge().is_some(), is_token, "{name}");
        if let Some(challenge) = rejection.challenge() {
            let (scheme, error) = match &*name {
                "invalid-dpop-proof" => ("DPoP", "invalid_dpop_proof"),
                "use-dpop-nonce" => ("DPoP", "use_dpop_nonce"),
                "bound" | "not-bound" => ("DPoP", "invalid_token"),
                _ => ("Bearer", "invalid_token"),
            };
            let begin = format!("{scheme} realm=\"authmesh\", error=\"{error}\", error_description=\"");
            assert!(challenge.starts_with(&begin), "{challenge}");
            assert_eq!(challenge.contains("algs=\""), scheme == "DPoP", "{challenge}");
        }
        assert_eq!(rejection.retry_after().is_some(), !is_token, "{name}");
    }
}

#[test]
fn every_problem_type_is_documented_and_every_documented_one_is_in_use() {
    let used: Vec<ProblemType> = every_verify_error()
        .into_iter()
        .map(Rejection::from)
        .chain(every_other_rejection())
        .map(|rejection| *rejection.problem_type())
        // For errors that this crate does not know yet.
        .chain([*problems::INVALID_TOKEN])
        .collect();
    assert!(used.iter().all(|problem| problem_types().contains(problem)));
    let names = |types: &[ProblemType]| types.iter().map(|problem| problem.name).collect::<BTreeSet<_>>();
    assert_eq!(names(&used), names(problem_types()));
    assert_eq!(names(problem_types()).len(), problem_types().len(), "names are unique");
    for problem in problem_types() {
        assert!(
            problem.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
            "{}",
            problem.name
        );
        assert!(
            !problem.title.is_empty() && !problem.title.ends_with('.'),
            "{}",
            problem.name
        );
        assert!(problem.meaning.ends_with('.'), "{}", problem.name);
        assert_eq!(problem.uri(), format!("https://authmesh.dev/problems/{}", problem.name));
    }
}

#[test]
fn an_error_without_a_type_still_gets_a_documented_one() {
    assert_eq!(ProblemType::of_code("not_yet_valid").unwrap().name, "not-yet-valid");
    assert_eq!(ProblemType::of_code("of_the_future"), None);
    for fallback in [problems::INVALID_TOKEN, problems::UNAVAILABLE] {
        assert!(problem_types().contains(fallback));
    }
}

#[test]
fn every_answer_is_a_problem_that_nobody_may_keep() {
    let rejections = every_verify_error()
        .into_iter()
        .map(Rejection::from)
        .chain(every_other_rejection());
    for rejection in rejections {
        let name = rejection.problem();
        let (status, challenge, retry_after) = (rejection.status(), rejection.challenge(), rejection.retry_after());
        let response = rejection.clone().into_response();
        let headers = response.headers();
        assert_eq!(response.status(), status, "{name}");
        assert_eq!(headers[CACHE_CONTROL], "no-store", "{name}");
        assert_eq!(headers[CONTENT_TYPE], "application/problem+json", "{name}");
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text(WWW_AUTHENTICATE), challenge, "{name}");
        assert_eq!(
            text(RETRY_AFTER),
            retry_after.map(|seconds| seconds.to_string()),
            "{name}"
        );
        assert_eq!(response.body(), &rejection.body());
        let body = parsed(response.body());
        assert_eq!(body["type"], format!("https://authmesh.dev/problems/{name}"));
        assert_eq!(body["title"], rejection.problem_type().title, "{name}");
        assert_eq!(body["status"], status.as_u16(), "{name}");
        assert_eq!(body["detail"], rejection.detail(), "{name}");
        assert!(
            !response.body().contains("idp.internal"),
            "upstream detail is for the operator"
        );
    }
}

#[test]
fn challenges_follow_rfc_6750() {
    assert_eq!(
        Rejection::no_credential().challenge().unwrap(),
        "Bearer realm=\"authmesh\""
    );
    assert_eq!(
        Rejection::from(VerifyError::BadSignature).challenge().unwrap(),
        "Bearer realm=\"authmesh\", error=\"invalid_token\", error_description=\"the signature does not match\""
    );
    let quoted = Rejection::from(VerifyError::Unsupported("a \"b\" \\ ü\r\n"));
    assert!(
        quoted
            .challenge()
            .unwrap()
            .ends_with(", error_description=\"the token is not supported: a b  \"")
    );
    assert_eq!(
        parsed(&quoted.body())["detail"],
        "the token is not supported: a \"b\" \\ ü\r\n"
    );
}

#[test]
fn challenges_of_dpop_follow_rfc_9449() {
    let allowed = AlgorithmSet::of(&[Algorithm::ES256, Algorithm::PS256]);
    let rejection = |error: VerifyError| Rejection::from(error).with_dpop_algorithms(allowed);
    let wrong_key = rejection(VerifyError::InvalidDpopProof(ProofError::WrongKey));
    let challenge = wrong_key.challenge().unwrap();
    assert!(
        challenge.starts_with("DPoP realm=\"authmesh\", error=\"invalid_token\", "),
        "{challenge}"
    );
    assert!(challenge.ends_with(", algs=\"PS256 ES256\""), "{challenge}");
    let nonce = rejection(VerifyError::UseDpopNonce { nonce: "abc".into() }).into_response();
    assert_eq!(nonce.headers()["dpop-nonce"], "abc");
    let bearer = rejection(VerifyError::BadSignature);
    assert!(bearer.dpop_nonce().is_none() && !bearer.challenge().unwrap().contains("algs"));
}

#[test]
fn a_refused_credential_is_an_invalid_request() {
    use CredentialError as E;
    for error in [
        E::TwoHeaders,
        E::TwoPlaces,
        E::TwoCookies,
        E::NotAscii,
        E::NotAToken,
        E::CookieNotAToken,
        E::TwoProtocols,
        E::ProtocolNotAToken,
        E::TwoParameters,
        E::ParameterNotAToken,
    ] {
        let rejection = Rejection::from(error);
        assert_eq!(rejection.status(), StatusCode::BAD_REQUEST);
        assert_eq!(rejection.detail(), error.to_string());
        let challenge = rejection.challenge().unwrap();
        assert!(challenge.contains("error=\"invalid_request\", "), "{challenge}");
        assert!(
            challenge.ends_with(&format!("error_description=\"{error}\"")),
            "nothing had to be left out"
        );
    }
}

#[test]
fn needed_scopes_are_named() {
    let scope = Rejection::insufficient_scope(["read", "", "bad\"scope", "two words", "write"]);
    assert_eq!(scope.status(), StatusCode::FORBIDDEN);
    let challenge = scope.challenge().unwrap();
    assert!(challenge.starts_with("Bearer realm=\"authmesh\", error=\"insufficient_scope\", error_description=\""));
    assert!(challenge.ends_with("\", scope=\"read write\""));
    for none in [&[][..], &[""], &["\\"]] {
        let challenge = Rejection::insufficient_scope(none.iter().copied()).challenge().unwrap();
        assert!(
            !challenge.contains("scope=\""),
            "an empty list is none (RFC 6749): {challenge}"
        );
    }
}

#[test]
fn a_realm_cannot_leave_its_quotes() {
    let challenge = |realm| Rejection::no_credential().with_realm(realm).challenge().unwrap();
    assert_eq!(challenge("orders api"), "Bearer realm=\"orders api\"");
    assert_eq!(challenge("a\", error=\"x\\\r\nü"), "Bearer realm=\"a, error=x\"");
    let refused = Rejection::from(VerifyError::Revoked(ScopeKind::Token)).with_realm("orders");
    assert!(
        refused
            .challenge()
            .unwrap()
            .starts_with("Bearer realm=\"orders\", error=\"invalid_token\"")
    );
}

#[test]
fn retry_after_is_whole_seconds_rounded_up() {
    let of = |retry_after| {
        let what = String::new();
        let asked = Rejection::from(VerifyError::CouldNotAsk { what, retry_after })
            .retry_after()
            .unwrap();
        assert_eq!(Rejection::unavailable(retry_after).retry_after(), Some(asked));
        asked
    };
    assert_eq!(of(Duration::ZERO), 1);
    assert_eq!(of(Duration::from_nanos(1)), 1);
    assert_eq!(of(Duration::from_millis(1001)), 2);
    assert_eq!(of(Duration::from_secs(7)), 7);
    assert_eq!(of(MAX_RETRY_AFTER + Duration::from_nanos(1)), 3600);
    assert_eq!(of(Duration::MAX), 3600);
}

#[test]
fn what_is_too_long_is_cut() {
    let long = Rejection::bad_request(&"ü".repeat(MAX_DETAIL));
    assert_eq!(long.detail(), "ü".repeat(MAX_DETAIL / 2));
    let odd = Rejection::bad_request(&format!("x{}", "ü".repeat(MAX_DETAIL)));
    assert_eq!(odd.detail().len(), MAX_DETAIL - 1, "cut between two characters");
    let scopes: Vec<String> = (0..1000).map(|n| format!("scope-{n:04}")).collect();
    let challenge = Rejection::insufficient_scope(scopes.iter().map(String::as_str))
        .challenge()
        .unwrap();
    let (_, list) = challenge.trim_end_matches('"').rsplit_once('"').unwrap();
    assert!(list.starts_with("scope-0000 scope-0001 ") && list.len() <= MAX_SCOPES);
    assert!(list.split(' ').all(|scope| scope.len() == 10), "whole scopes only");
}

proptest! {
    #[test]
    fn whatever_the_words_the_answer_is_well_formed(why in any::<String>(), realm in any::<String>(), scope in any::<String>()) {
        let description = Rejection::bad_request(&why).with_realm(&realm);
        let scoped = Rejection::insufficient_scope([scope.as_str(), "read"]).with_realm(&realm);
        for (rejection, quotes) in [(description, 6), (scoped, 8)] {
            let response = rejection.into_response();
            let challenge = response.headers()[WWW_AUTHENTICATE].to_str().unwrap();
            prop_assert_eq!(challenge.matches('"').count(), quotes, "{}", challenge);
            prop_assert!(!challenge.contains('\\') && challenge.is_ascii());
            prop_assert_eq!(parsed(response.body())["status"].as_u64(), Some(u64::from(response.status().as_u16())));
        }
    }
}
