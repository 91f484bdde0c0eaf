//! What an answer is, and how long it counts.

use std::time::Duration;

use authmesh::ports::{UpstreamError, UpstreamFault};
use authmesh::{Level, Policy, Rules, VerifyError, VouchedBy};
use serde_json::json;

use crate::provider::{
    ISSUER, LIFETIME, S, Says, World, active, active_with, answer, outcome, pass, refused, rules, with,
};
use crate::support::START;

#[tokio::test(start_paused = true)]
async fn an_opaque_token_is_asked_about_once_and_then_answered_from_memory() {
    let world = World::new();
    let mesh = world.node("a").await;
    let first = answer(&mesh, "good").await;
    assert_eq!(
        (first.outcome.as_str(), first.level, first.age),
        ("verified", Level::Source, Duration::ZERO)
    );
    pass(2 * S).await;
    let second = answer(&mesh, "good").await;
    assert_eq!(
        (second.outcome.as_str(), second.level, second.age),
        ("hit", Level::L1, 2 * S)
    );
    assert!(mesh.verifier().try_hit("good").unwrap().is_ok());
    assert_eq!(world.provider.calls(), 1);

    let verdict = second.verdict;
    assert_eq!(
        (verdict.issuer(), verdict.subject(), verdict.client()),
        (ISSUER, Some("alice"), Some("app"))
    );
    assert_eq!((verdict.session(), verdict.jwt_id()), (Some("s1"), Some("j1")));
    assert_eq!(verdict.scopes().collect::<Vec<_>>(), ["read", "write"]);
    assert_eq!(
        (verdict.issued_at(), verdict.expires_at()),
        (Some(START - 10), START + 3600)
    );
    assert_eq!(
        (verdict.vouched_by(), verdict.key(), verdict.key_generation()),
        (VouchedBy::Provider, None, None)
    );
    let claims: serde_json::Value = verdict.claims().unwrap();
    assert_eq!((&claims["active"], &claims["sub"]), (&json!(true), &json!("alice")));
    let counts = mesh.stats().counts;
    assert_eq!((counts.verified, counts.hits, counts.upstream_active), (1, 2, 1));
}

/// Seconds from now on during which the token is a hit.
async fn hits_for(world: &World, token: &str, most: u64) -> u64 {
    let mesh = world.node("a").await;
    mesh.verifier().verify(token).await.unwrap();
    for second in 0..most {
        match mesh.verifier().try_hit(token) {
            Some(Ok(answer)) if answer.outcome.as_str() == "hit" => {}
            _ => return second,
        }
        pass(S).await;
    }
    most
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_for_five_minutes() {
    let world = World::new();
    // A refresh ahead would lengthen it.
    let mesh = world.node("a").await;
    mesh.verifier().verify("good").await.unwrap();
    pass(LIFETIME - S).await;
    world.provider.blocks();
    assert!(mesh.verifier().try_hit("good").is_some());
    pass(S).await;
    assert!(mesh.verifier().try_hit("good").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_counts_beyond_exp() {
    let world = World::new();
    world
        .provider
        .says("short", Says::Active(active_with(json!({"exp": START + 60}))));
    let passed = hits_for(&world, "short", 100).await;
    assert!((58..=60).contains(&passed), "{passed}");
    // Without leeway, from the provider itself as well.
    let mesh = world.node("b").await;
    assert!(matches!(refused(&mesh, "short").await, VerifyError::Expired { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_answer_never_counts_longer_than_the_provider_allows() {
    let world = World::new();
    let mut brief = active();
    brief.max_age = Some(40 * S);
    world.provider.says("brief", Says::Active(brief.clone()));
    brief.max_age = Some(Duration::ZERO);
    world.provider.says("never", Says::Active(brief));
    let mesh = world.node("a").await;
    answer(&mesh, "brief").await;
    world.provider.blocks();
    pass(39 * S).await;
    assert!(mesh.verifier().try_hit("brief").is_some());
    pass(S).await;
    assert!(mesh.verifier().try_hit("brief").is_none());
    world.provider.opens();

    // Not kept at all: neither here, nor in L2, nor to stand in.
    let other = world.node("b").await;
    for _ in 0..2 {
        for mesh in [&mesh, &other] {
            let calls = world.provider.calls();
            assert_eq!(outcome(mesh, "never").await, "verified");
            assert_eq!(world.provider.calls(), calls + 1);
        }
    }
    world.provider.goes_down();
    assert_eq!(outcome(&mesh, "never").await, "could_not_ask");
}

#[tokio::test(start_paused = true)]
async fn max_age_zero_asks_at_each_call_and_a_short_one_when_it_is_over() {
    let world = World::new();
    let mesh = world.node("a").await;
    let (always, minute) = (mesh.verifier().max_age(Duration::ZERO), mesh.verifier().max_age(60 * S));
    for calls in 1..=5 {
        assert_eq!(always.answer("good").await.unwrap().outcome.as_str(), "verified");
        assert_eq!(world.provider.calls(), calls);
    }
    assert_eq!(minute.answer("good").await.unwrap().outcome.as_str(), "hit");
    pass(60 * S).await;
    assert_eq!(outcome(&mesh, "good").await, "hit");
    assert_eq!(minute.answer("good").await.unwrap().outcome.as_str(), "verified");
    assert_eq!(world.provider.calls(), 6);
    // An answer of its own, which others have meanwhile: many callers at once each ask.
    world.provider.takes(S);
    let together = (0..5).map(|_| {
        let always = always.clone();
        tokio::spawn(async move { always.verify("good").await })
    });
    for call in together.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(world.provider.calls(), 11);
}

#[tokio::test(start_paused = true)]
async fn inactive_is_remembered_briefly_and_never_as_success() {
    let world = World::new();
    let mesh = world.node("a").await;
    for _ in 0..20 {
        assert_eq!(refused(&mesh, "ended").await, VerifyError::Inactive);
    }
    assert_eq!(world.provider.calls(), 1);
    assert_eq!((mesh.stats().verdicts, mesh.stats().counts.refused), (0, 20));
    assert_eq!(
        mesh.verifier()
            .max_age(Duration::ZERO)
            .verify("ended")
            .await
            .unwrap_err(),
        VerifyError::Inactive
    );
    assert_eq!(world.provider.calls(), 2, "asked at each call");
    pass(9 * S).await;
    assert_eq!(refused(&mesh, "ended").await, VerifyError::Inactive);
    assert_eq!(world.provider.calls(), 2);
    world.provider.says("ended", Says::Active(active()));
    pass(S).await;
    assert_eq!(outcome(&mesh, "ended").await, "verified");
}

#[tokio::test(start_paused = true)]
async fn each_policy_is_applied_to_what_was_said_once() {
    let world = World::new();
    let mesh = world.node("a").await;
    let under = |rules: Rules| {
        let issuers = [(ISSUER.to_owned(), rules.opaque(true))].into();
        mesh.verifier_for(Policy {
            issuers,
            ..Policy::default()
        })
        .unwrap()
    };
    let mut strict = Rules::for_audiences(["api"]);
    strict.required_claims = vec!["tenant".into()];
    answer(&mesh, "good").await;
    assert_eq!(
        under(Rules::for_audiences(["other"])).verify("good").await.unwrap_err(),
        VerifyError::WrongAudience
    );
    assert_eq!(
        under(strict).verify("good").await.unwrap_err(),
        VerifyError::MissingClaim("tenant".into())
    );
    let same = under(Rules::danger_any_audience()).answer("good").await.unwrap();
    assert_eq!((same.outcome.as_str(), same.level), ("hit", Level::L1));
    assert_eq!(world.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn bad_answers_are_refused() {
    let world = World::new();
    let mesh = world.node("a").await;
    let missing = |claim: &str| VerifyError::MissingClaim(claim.into());
    for (n, (more, error)) in [
        (json!({"iss": "https://other.test"}), VerifyError::WrongIssuer),
        (json!({"aud": "another"}), VerifyError::WrongAudience),
        (json!({"aud": null}), missing("aud")),
        (json!({"iat": null}), missing("iat")),
        (json!({"exp": START - 1}), VerifyError::Expired { ago: S }),
        (json!({"token_use": "refresh_token"}), VerifyError::WrongType),
        (json!({"typ": "Refresh"}), VerifyError::WrongType),
        (json!({"token_type": "id_token"}), VerifyError::WrongType),
        (json!({"events": {}}), VerifyError::WrongType),
        (
            json!({"exp": START + 90_000}),
            VerifyError::LifetimeTooLong {
                limit: Duration::from_secs(86_400),
            },
        ),
        (
            json!({"nbf": START + 31}),
            VerifyError::NotYetValid {
                claim: "nbf",
                ahead: 31 * S,
            },
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("token-{n}");
        world.provider.says(&token, Says::Active(active_with(more.clone())));
        assert_eq!(refused(&mesh, &token).await, error, "{more}");
    }
    let mut odd = active();
    for claims in [&b"[]"[..], b"{\"a\":1,\"a\":2}", b"{\"a\":\"\xff\"}", b""] {
        odd.claims = claims.to_vec();
        world.provider.says("odd", Says::Active(odd.clone()));
        assert_eq!(outcome(&mesh, "odd").await, "could_not_ask");
        world.provider.says("fine", Says::Active(active()));
        mesh.verifier().max_age(Duration::ZERO).verify("fine").await.unwrap();
    }
    assert_eq!(mesh.stats().verdicts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_without_an_end_counts_for_as_long_as_marks_are_kept() {
    let world = World::new();
    world
        .provider
        .says("endless", Says::Active(active_with(json!({"exp": null}))));
    world.provider.says(
        "old",
        Says::Active(active_with(json!({"exp": null, "iat": START - 86_401}))),
    );
    world
        .provider
        .says("ageless", Says::Active(active_with(json!({"exp": null, "iat": null}))));
    let mesh = world.node("a").await;
    assert_eq!(answer(&mesh, "endless").await.verdict.expires_at(), START - 10 + 86_400);
    assert!(matches!(refused(&mesh, "old").await, VerifyError::Expired { .. }));
    assert_eq!(refused(&mesh, "ageless").await, VerifyError::MissingClaim("iat".into()));
    let danger = Rules::for_audiences(["api"]).danger_without_issued_at().opaque(true);
    let lax = world.node_with("b", with(|rules| rules.tokens = danger)).await;
    assert_eq!(answer(&lax, "ageless").await.verdict.issued_at(), None);
}

#[tokio::test(start_paused = true)]
async fn invalidate_and_clear_ask_again() {
    let world = World::new();
    let (a, b) = (world.node("a").await, world.node("b").await);
    let warm = async || {
        for mesh in [&a, &b] {
            mesh.verifier().verify("good").await.unwrap();
            assert_eq!(outcome(mesh, "good").await, "hit");
        }
    };
    warm().await;
    let calls = world.provider.calls();
    assert!(b.verifier().invalidate("good").await.unwrap());
    pass(S).await;
    assert_eq!(outcome(&a, "good").await, "verified");
    assert_eq!(world.provider.calls(), calls + 1);
    warm().await;
    assert!(b.clear().await.unwrap());
    pass(S).await;
    assert_eq!(outcome(&a, "good").await, "verified");
    assert_eq!(world.provider.calls(), calls + 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_any_more_goes_on() {
    let world = World::new();
    world.provider.takes(2 * S);
    let mesh = world.node("a").await;
    let verifier = mesh.verifier();
    assert!(tokio::time::timeout(S, verifier.verify("good")).await.is_err());
    pass(2 * S).await;
    assert_eq!(outcome(&mesh, "good").await, "hit");
    assert_eq!(world.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_callers_path_never_asks_twice() {
    let world = World::new();
    let mesh = world.node_with("a", rules()).await;
    world
        .provider
        .says_of_all(Says::Fails(UpstreamError::new(UpstreamFault::Timeout, "slow")));
    for calls in 1..=4 {
        assert_eq!(outcome(&mesh, "good").await, "could_not_ask");
        assert_eq!(world.provider.calls(), calls);
    }
}
