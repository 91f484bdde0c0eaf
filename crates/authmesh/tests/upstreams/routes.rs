//! Which token goes where.

use std::sync::Arc;

use authmesh::{Subject, VerifyError};
use serde_json::json;

use crate::provider::{ISSUER, Provider, Says, World, active_with, answer, outcome, refused, rules, with};
use crate::support::{START, TestIssuer};

/// A JWS as somebody with a key of his own makes it.
fn jws(clock: &Arc<authmesh_testkit::TestClock>, header: serde_json::Value, claims: serde_json::Value) -> String {
    TestIssuer::at(Arc::clone(clock) as _).sign(header, claims)
}

#[tokio::test(start_paused = true)]
async fn a_jws_goes_to_the_provider_of_its_own_issuer_and_to_no_other() {
    let world = World::new();
    let signer = TestIssuer::at(Arc::clone(&world.clock) as _);
    let builder = world
        .builder("a")
        .upstream(ISSUER, Arc::clone(&world.provider) as _, rules());
    let mesh = builder
        .issuer(signer.url(), signer.source(), signer.rules())
        .start()
        .await
        .unwrap();
    let own = json!({"iss": ISSUER, "iat": START, "exp": START + 600});
    // Whatever its algorithm: no signature is checked here.
    for alg in ["EdDSA", "HS256", "none"] {
        let token = jws(&world.clock, json!({"alg": alg}), own.clone());
        world.provider.says(&token, Says::Active(active_with(json!({}))));
        assert_eq!(outcome(&mesh, &token).await, "verified", "{alg}");
    }
    let calls = world.provider.calls();
    assert_eq!(calls, 3);

    assert_eq!(
        outcome(&mesh, &signer.token_with(json!({}))).await,
        "verified",
        "by its signature"
    );
    world.provider.says_of_all(Says::Active(active_with(json!({}))));
    for claims in [
        json!({"iss": "https://other.test", "iat": START, "exp": START + 600}),
        json!({"sub": "x"}),
        json!([1]),
    ] {
        assert!(
            mesh.verifier()
                .verify(jws(&world.clock, json!({}), claims))
                .await
                .is_err()
        );
    }
    let broken = jws(&world.clock, json!({}), json!({"iss": "https://other.test"}));
    let (_, rest) = broken.split_once('.').unwrap();
    for header in ["{\"alg\":\"RS256\",\"alg\":\"none\"}", "{"] {
        use base64::Engine as _;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
        assert!(mesh.verifier().verify(format!("{header}.{rest}")).await.is_err());
    }
    for garbage in ["", "two words", "new\nline", "caf\u{e9}", "nul\0"] {
        assert!(
            matches!(refused(&mesh, garbage).await, VerifyError::Malformed(_)),
            "{garbage:?}"
        );
    }
    assert_eq!(world.provider.calls(), calls, "none of them was handed to the provider");
}

#[tokio::test(start_paused = true)]
async fn of_two_times_the_one_that_grants_less_counts() {
    let world = World::new();
    let mesh = world.node("a").await;
    let claims = json!({"iss": ISSUER, "iat": START - 50, "exp": START + 600, "sid": "of the token", "sub": "mallory", "tenant": 7});
    let token = jws(&world.clock, json!({}), claims);
    world
        .provider
        .says(&token, Says::Active(active_with(json!({"sid": null}))));
    let verdict = answer(&mesh, &token).await.verdict;
    assert_eq!(
        (verdict.issued_at(), verdict.expires_at()),
        (Some(START - 50), START + 600)
    );
    // What the answer says counts; what it does not say the token may.
    assert_eq!(
        (verdict.subject(), verdict.session()),
        (Some("alice"), Some("of the token"))
    );
    let all: serde_json::Value = verdict.claims().unwrap();
    assert_eq!((&all["tenant"], &all["sub"]), (&json!(7), &json!("alice")));
}

#[tokio::test(start_paused = true)]
async fn a_logout_token_is_no_access_token_whatever_the_provider_says() {
    let world = World::new();
    let mesh = world.node("a").await;
    let claims = |more: serde_json::Value| json!({"iss": ISSUER, "iat": START, "exp": START + 60, "events": more});
    for token in [
        jws(&world.clock, json!({"typ": "logout+jwt"}), claims(json!(null))),
        jws(
            &world.clock,
            json!({}),
            claims(json!({"http://schemas.openid.net/event/backchannel-logout": {}})),
        ),
    ] {
        world.provider.says(&token, Says::Active(active_with(json!({}))));
        assert_eq!(refused(&mesh, &token).await, VerifyError::WrongType);
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_issuer_that_takes_them_opaque_tokens_are_malformed() {
    let world = World::new();
    let mesh = world
        .node_with("a", with(|rules| rules.tokens = rules.tokens.clone().opaque(false)))
        .await;
    assert!(matches!(refused(&mesh, "good").await, VerifyError::Malformed(_)));
    assert_eq!(world.provider.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_providers_share_no_answer_and_no_subject() {
    let world = World::new();
    let other = Provider::named("userinfo of other.test");
    let mesh = world
        .builder("a")
        .upstream(ISSUER, Arc::clone(&world.provider) as _, rules())
        .upstream(
            "https://other.test",
            Arc::clone(&other) as _,
            with(|rules| rules.tokens = rules.tokens.clone().opaque(false)),
        )
        .start()
        .await
        .unwrap();
    let theirs = jws(
        &world.clock,
        json!({}),
        json!({"iss": "https://other.test", "iat": START, "exp": START + 600}),
    );
    other.says(&theirs, Says::Active(active_with(json!({}))));
    assert_eq!(outcome(&mesh, "good").await, "verified");
    assert_eq!(outcome(&mesh, &theirs).await, "verified");
    assert_eq!((world.provider.calls(), other.calls()), (1, 1));
    mesh.revoke(Subject::new("https://other.test", "alice")).await.unwrap();
    assert_eq!(outcome(&mesh, &theirs).await, "revoked");
    assert_eq!(outcome(&mesh, "good").await, "hit");

    // The same token, asked about elsewhere or as somebody else, is another question.
    let elsewhere = Provider::named("introspection of idp.test as billing");
    elsewhere.says("good", Says::Active(active_with(json!({"sub": "bob"}))));
    let builder = world
        .builder("b")
        .upstream(ISSUER, Arc::clone(&elsewhere) as _, rules());
    let b = builder.start().await.unwrap();
    assert_eq!(answer(&b, "good").await.verdict.subject(), Some("bob"));
}
