//! What a learned issuer is: an issuer like all others, under the rules of its template.

use std::sync::Arc;
use std::time::Duration;

use authmesh::{
    AuthMesh, Decision, IssuerTemplate, KeyPolicy, LogoutRules, Outcome, Policy, RevokeError, Rules, SigningKey,
    Subject, VerifyError,
};
use serde_json::json;

use crate::provider::{PATTERN, Provider, forged, rules, url};
use crate::support::{Place, TestIssuer, eventually, pass, ring};

#[tokio::test(start_paused = true)]
async fn a_tenant_is_learned_from_its_first_token_and_verified_by_its_own_keys_alone() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let (acme, globex) = (provider.tenant("acme"), provider.tenant("globex"));
    let mesh = provider.node(&place, PATTERN.into()).await;
    assert_eq!((provider.made(), mesh.health().issuers.len()), (0, 0));

    let token = acme.token_with(json!({}));
    let verdict = mesh.verifier().verify(&token).await.unwrap();
    assert_eq!(verdict.issuer(), url("acme"));
    assert_eq!(mesh.verifier().answer(&token).await.unwrap().outcome, Outcome::Hit);
    let status = mesh.health().issuers;
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].template.as_deref(), Some(PATTERN));
    assert!(status[0].trusted && !status[0].on_trial && status[0].keys == 1);

    // Signed by another tenant.
    let crossed = globex.sign(json!({}), acme.claims(json!({})));
    assert_eq!(
        mesh.verifier().verify(crossed).await.unwrap_err(),
        VerifyError::BadSignature
    );
    mesh.verifier().verify(globex.token_with(json!({}))).await.unwrap();
    assert_eq!((provider.made(), provider.fetches()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_about_what_the_pattern_the_list_or_the_claims_refuse() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let mesh = provider
        .node(&place, IssuerTemplate::new(PATTERN).allow("tenant", ["acme"]))
        .await;
    let other = |iss: &str| TestIssuer::named(iss, place.issuer.clock()).token_with(json!({}));
    for iss in [
        &url("globex"),
        &url("acme/../globex"),
        &url("acme%2f"),
        &format!("{}/", url("acme")),
        PATTERN,
        "https://login.example.com.evil.test/acme/v2.0",
    ] {
        let refused = mesh.verifier().verify(other(iss)).await.unwrap_err();
        assert_eq!(refused, VerifyError::WrongIssuer, "{iss}");
    }
    let acme = provider.tenant("acme");
    let now = acme.now();
    for claims in [
        json!({"aud": "other"}),
        json!({"exp": now - 100, "iat": now - 700}),
        json!({"exp": null}),
        json!({"exp": now + 90_000}),
    ] {
        mesh.verifier().verify(acme.token_with(claims)).await.unwrap_err();
    }
    assert_eq!((provider.made(), provider.fetches()), (0, 0));
    mesh.verifier().verify(acme.token_with(json!({}))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn policies_name_a_template_as_they_name_an_issuer() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let acme = provider.tenant("acme");
    let builder = AuthMesh::builder().key_ring(ring()).clock(place.issuer.clock());
    let mesh = provider
        .add(builder, PATTERN.into())
        .issuer(place.issuer.url(), place.issuer.source(), rules())
        .start()
        .await
        .unwrap();
    let policy = |issuer: &str, rules| Policy {
        issuers: [(issuer.to_owned(), rules)].into(),
        ..Policy::default()
    };
    let other = mesh
        .verifier_for(policy(PATTERN, Rules::for_audiences(["billing"])))
        .unwrap();
    assert_eq!(
        other.verify(acme.token_with(json!({}))).await.unwrap_err(),
        VerifyError::WrongAudience
    );
    other.verify(acme.token_with(json!({"aud": "billing"}))).await.unwrap();
    assert_eq!(
        other.verify(place.issuer.token_with(json!({}))).await.unwrap_err(),
        VerifyError::WrongIssuer,
        "the policy does not name it"
    );
    let without = mesh.verifier_for(policy(place.issuer.url(), rules())).unwrap();
    assert_eq!(
        without.verify(acme.token_with(json!({}))).await.unwrap_err(),
        VerifyError::WrongIssuer
    );
    // A tenant has no rules of its own, however known it is.
    mesh.verifier_for(policy(&url("acme"), rules())).unwrap_err();
    mesh.verifier_for(policy(PATTERN, rules().opaque(true))).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_configured_issuer_is_no_templates() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let own = TestIssuer::named(&url("acme"), place.issuer.clock());
    let builder = AuthMesh::builder().key_ring(ring()).clock(place.issuer.clock());
    let mesh = provider
        .add(builder, PATTERN.into())
        .issuer(own.url(), own.source(), Rules::for_audiences(["own"]))
        .start()
        .await
        .unwrap();
    // The provider's tenant of this name has other keys, and the template other rules.
    let theirs = provider.tenant("acme");
    mesh.verifier()
        .verify(theirs.token_with(json!({"aud": "own"})))
        .await
        .unwrap_err();
    assert_eq!(
        mesh.verifier().verify(own.token_with(json!({}))).await.unwrap_err(),
        VerifyError::WrongAudience
    );
    mesh.verifier()
        .verify(own.token_with(json!({"aud": "own"})))
        .await
        .unwrap();
    let template_alone = Policy {
        issuers: [(PATTERN.to_owned(), rules())].into(),
        ..Policy::default()
    };
    let verifier = mesh.verifier_for(template_alone).unwrap();
    assert_eq!(
        verifier.verify(own.token_with(json!({}))).await.unwrap_err(),
        VerifyError::WrongIssuer
    );
    assert_eq!(provider.made(), 0);
}

#[tokio::test(start_paused = true)]
async fn templates_that_could_both_have_an_issuer_are_refused() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let both = |one: &str, other: &str| {
        let builder = provider.add(AuthMesh::builder(), one.into());
        provider.add(builder, other.into()).start()
    };
    let error = both(PATTERN, "https://login.example.com/acme/{version}")
        .await
        .unwrap_err();
    assert_eq!(error.setting, "issuer_template");
    both(PATTERN, PATTERN).await.unwrap_err();
    both(PATTERN, "https://login.example.com/{tenant}/v1.0").await.unwrap();
    let strict = KeyPolicy {
        attempts: 0,
        ..KeyPolicy::default()
    };
    let factory = |_: &str| {
        Err(authmesh::ports::UpstreamError::new(
            authmesh::ports::UpstreamFault::Configuration,
            "no",
        ))
    };
    let refused = AuthMesh::builder()
        .issuer_template(PATTERN, factory, strict, rules())
        .start()
        .await;
    assert_eq!(refused.unwrap_err().setting, "attempts");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_revoked_on_nodes_that_have_not_met_it_yet() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let acme = provider.tenant("acme");
    let (a, b) = (
        provider.node(&place, PATTERN.into()).await,
        provider.node(&place, PATTERN.into()).await,
    );
    let (alice, bob) = (acme.token_with(json!({})), acme.token_with(json!({"sub": "bob"})));
    b.verifier().verify(&alice).await.unwrap();
    // `a` has met nobody.
    assert!(matches!(
        a.revoke(SigningKey::kid(url("acme"), "k1")).await,
        Err(RevokeError::UnknownKey(_))
    ));
    a.revoke(Subject::new(url("acme"), "alice")).why("left").await.unwrap();
    for mesh in [&a, &b] {
        eventually("it is revoked", || async {
            matches!(mesh.verifier().verify(&alice).await, Err(VerifyError::Revoked(_)))
        })
        .await;
        mesh.verifier().verify(&bob).await.unwrap();
    }
    let explained = a.verifier().explain(&alice).await;
    assert_eq!(explained.decision, Decision::Refused);
    assert_eq!(explained.revoked.unwrap().why, "left");
    assert_eq!(explained.issuer.unwrap().url, url("acme"));
    // One tenant's subject is not another's.
    b.verifier()
        .verify(provider.tenant("globex").token_with(json!({})))
        .await
        .unwrap();
    assert_eq!(
        a.revoke(Subject::new("https://login.example.com/a/b/v2.0", "alice"))
            .await
            .unwrap_err(),
        RevokeError::UnknownIssuer
    );
    assert_eq!(a.refresh_keys(&url("acme")).await, Some(Ok(())));
    assert_eq!(a.refresh_keys(&url("nobody")).await, None);
    // Both nodes have met it, and one of them asked.
    a.revoke(SigningKey::kid(url("acme"), "k1")).await.unwrap();
    eventually("the key is revoked", || async {
        b.verifier().verify(&bob).await.is_err()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_logs_its_users_out_under_the_rules_of_the_template() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let acme = provider.tenant("acme");
    let builder = AuthMesh::builder().key_ring(ring()).clock(place.issuer.clock());
    let mesh = provider
        .add(builder, PATTERN.into())
        .logout(PATTERN, LogoutRules::for_clients(["web"]))
        .start()
        .await
        .unwrap();
    let logout = |aud: &str| {
        let event = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
        let claims = json!({"iss": acme.url(), "aud": aud, "sub": "alice", "iat": acme.now(), "exp": acme.now() + 60,
            "jti": "j", "events": event});
        acme.sign(json!({"typ": "logout+jwt"}), claims)
    };
    mesh.back_channel_logout(logout("other")).await.unwrap_err();
    assert_eq!(provider.made(), 0, "the claims alone refuse it");
    mesh.back_channel_logout(forged(&logout("web"))).await.unwrap_err();
    let token = acme.token_with(json!({}));
    mesh.verifier().verify(&token).await.unwrap();
    mesh.back_channel_logout(logout("web")).await.unwrap();
    assert!(matches!(
        mesh.verifier().verify(&token).await,
        Err(VerifyError::Revoked(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_learned_issuer_rotates_its_keys_and_survives_its_outage() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let acme = provider.tenant("acme");
    let mesh = provider.node(&place, PATTERN.into()).await;
    mesh.verifier().verify(acme.token_with(json!({}))).await.unwrap();
    pass(Duration::from_secs(60)).await;
    acme.new_key();
    acme.publish();
    mesh.verifier()
        .verify(acme.token_with(json!({"sub": "bob"})))
        .await
        .unwrap();
    // Refreshed like all others while nobody asks.
    let before = provider.fetches();
    pass(Duration::from_secs(3600)).await;
    assert!(provider.fetches() >= before + 5);
    acme.fail();
    pass(Duration::from_secs(3600)).await;
    mesh.verifier()
        .verify(acme.token_with(json!({"sub": "carol"})))
        .await
        .unwrap();
    let health = mesh.health();
    assert!(
        health.issuers[0].failures > 0 && health.issuers[0].trusted,
        "{health:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_tasks_of_learned_issuers_end_with_the_node() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let mesh = provider.node(&place, PATTERN.into()).await;
    for tenant in 0..20 {
        let tenant = provider.tenant(&format!("t{tenant}"));
        mesh.verifier().verify(tenant.token_with(json!({}))).await.unwrap();
    }
    mesh.shutdown().await;
    let weak = Arc::downgrade(&provider);
    drop((mesh, provider));
    assert!(weak.upgrade().is_none(), "nothing holds a source any more");
}
