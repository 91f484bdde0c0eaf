//! Invariant 7 for issuers that anybody can name: what was not verified evicts nothing that was, and causes no more than a
//! budgeted number of calls.

use std::time::Duration;

use authmesh::{AuthMesh, IssuerTemplate, Outcome, Status, VerifyError};
use serde_json::json;

use crate::provider::{PATTERN, Provider, forged, url};
use crate::support::{Place, pass};

/// Asks again after so long, by the answer's own word.
fn could_not_ask(result: Result<impl Sized, VerifyError>) -> Duration {
    match result {
        Err(VerifyError::CouldNotAsk { retry_after, .. }) => {
            assert!(retry_after >= Duration::from_secs(1));
            retry_after
        }
        Err(error) => panic!("a verdict, or something else: {error:?}"),
        Ok(_) => panic!("accepted"),
    }
}

fn learned(mesh: &AuthMesh, on_trial: bool) -> Vec<String> {
    let issuers = mesh.health().issuers.into_iter();
    issuers
        .filter(|issuer| issuer.on_trial == on_trial)
        .map(|issuer| issuer.issuer)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_names_that_do_not_exist_costs_the_budget_and_no_more() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let acme = provider.tenant("acme");
    let mesh = provider.node(&place, PATTERN.into()).await;
    let good = acme.token_with(json!({}));
    mesh.verifier().verify(&good).await.unwrap();
    let before = provider.fetches();
    let token = provider.token_of_nobody("x");
    let (header, rest) = token.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    for n in 0..5_000 {
        let claims = json!({"iss": url(&format!("x{n}")), "aud": "api", "iat": acme.now(), "exp": acme.now() + 600});
        let claims = acme.sign(json!({}), claims);
        let claims = claims.split('.').nth(1).unwrap().to_owned();
        could_not_ask(mesh.verifier().verify(format!("{header}.{claims}.{signature}")).await);
    }
    assert_eq!(provider.fetches() - before, 10, "404s are not asked twice");
    assert!(mesh.stats().counts.issuers_refused >= 4_900);
    assert_eq!((mesh.stats().marks, learned(&mesh, true).len()), (0, 0));
    assert_eq!(mesh.health().status, Status::Ok, "garbage says nothing about this node");
    // What is known is not concerned.
    assert_eq!(mesh.verifier().answer(&good).await.unwrap().outcome, Outcome::Hit);
    mesh.verifier()
        .verify(acme.token_with(json!({"sub": "bob"})))
        .await
        .unwrap();
    // A tenant that comes now waits for the budget, and is told how long.
    let late = provider.tenant("late").token_with(json!({}));
    let wait = could_not_ask(mesh.verifier().verify(&late).await);
    assert!(wait <= Duration::from_secs(10));
    pass(wait).await;
    mesh.verifier().verify(&late).await.unwrap();
}

/// The first fetch succeeds: whoever knows the names of other tenants can do that.
#[tokio::test(start_paused = true)]
async fn tenants_that_verified_nothing_never_push_out_one_that_did() {
    let place = Place::new();
    let provider = Provider::new(&place);
    // Room for seven that have verified a token, and one on trial; garbage as fast as it likes.
    let template = IssuerTemplate::new(PATTERN)
        .most(8)
        .first_fetches(100, Duration::from_millis(10));
    let mesh = provider.node(&place, template).await;
    let mut good = Vec::new();
    for n in 0..7 {
        let token = provider.tenant(&format!("good-{n}")).token_with(json!({}));
        mesh.verifier().verify(&token).await.unwrap();
        good.push(token);
    }
    let names = learned(&mesh, false);
    assert_eq!(names.len(), 7);
    let made = provider.made();
    for n in 0..500 {
        let bad = forged(&provider.tenant(&format!("bad-{n}")).token_with(json!({})));
        let refused = mesh.verifier().verify(bad).await.unwrap_err();
        assert_eq!(refused, VerifyError::BadSignature, "{n}");
        assert_eq!(learned(&mesh, false), names, "{n}");
        assert!(learned(&mesh, true).len() <= 1);
        pass(Duration::from_millis(20)).await;
    }
    assert_eq!(provider.made() - made, 500);
    for token in &good {
        assert_eq!(mesh.verifier().answer(token).await.unwrap().outcome, Outcome::Hit);
    }
    assert_eq!(provider.made() - made, 500, "none was learned again");
}

#[tokio::test(start_paused = true)]
async fn of_those_that_verified_a_token_the_one_longest_unused_makes_room_for_another() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let mesh = provider.node(&place, IssuerTemplate::new(PATTERN).most(8)).await;
    let tokens: Vec<_> = (0..8)
        .map(|n| provider.tenant(&format!("t{n}")).token_with(json!({})))
        .collect();
    for token in &tokens {
        mesh.verifier().verify(token).await.unwrap();
        pass(Duration::from_secs(1)).await;
    }
    let names: Vec<_> = (1..8).map(|n| url(&format!("t{n}"))).collect();
    assert_eq!(learned(&mesh, false), names);
    assert_eq!(mesh.stats().counts.issuers_evicted, 1);
    // Nobody would notice if its key were taken away: its verdict is void with it, and it is learned again.
    let made = provider.made();
    assert_eq!(
        mesh.verifier().answer(&tokens[0]).await.unwrap().outcome,
        Outcome::Verified
    );
    assert_eq!(provider.made(), made + 1);
    assert!(learned(&mesh, false).contains(&url("t0")) && learned(&mesh, false).len() == 7);
}

#[tokio::test(start_paused = true)]
async fn a_failed_first_fetch_is_remembered_for_a_while_and_never_a_verdict() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let mesh = provider.node(&place, PATTERN.into()).await;
    let token = provider.token_of_nobody("acme");
    for _ in 0..50 {
        could_not_ask(mesh.verifier().verify(&token).await);
        pass(Duration::from_millis(500)).await;
    }
    assert_eq!((provider.made(), provider.fetches()), (1, 1));
    let token = provider.tenant("acme").token_with(json!({}));
    let wait = could_not_ask(mesh.verifier().verify(&token).await);
    assert!(wait <= Duration::from_secs(5));
    pass(wait).await;
    mesh.verifier().verify(&token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_verifies_nothing_is_forgotten_before_it_is_asked_again() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let mesh = provider.node(&place, PATTERN.into()).await;
    let token = provider.tenant("acme").token_with(json!({}));
    mesh.verifier().verify(forged(&token)).await.unwrap_err();
    assert_eq!(learned(&mesh, true), [url("acme")]);
    pass(Duration::from_secs(11)).await;
    assert_eq!(learned(&mesh, true), [""; 0]);
    pass(Duration::from_secs(7200)).await;
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn random_kids_of_issuers_on_trial_draw_on_the_same_budget() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let mesh = provider.node(&place, PATTERN.into()).await;
    let mut began = 0;
    for n in 0..20 {
        let tenant = provider.tenant(&format!("t{n}"));
        for kid in 0..20 {
            let token = tenant.sign(json!({"kid": format!("{n}-{kid}")}), tenant.claims(json!({})));
            let error = mesh.verifier().verify(token).await.unwrap_err();
            assert!(
                matches!(error, VerifyError::UnknownKey | VerifyError::CouldNotAsk { .. }),
                "{error:?}"
            );
        }
        began += 1;
    }
    // Waiting for the least time between two fetches earns a bit.
    assert!(
        provider.fetches() <= 12,
        "{} fetches, {began} tenants",
        provider.fetches()
    );
    assert!(provider.fetches() >= 10);
}

#[tokio::test(start_paused = true)]
async fn real_tenants_give_their_turn_back_so_that_all_of_them_get_through() {
    let place = Place::new();
    let provider = Provider::new(&place);
    let mesh = provider.node(&place, PATTERN.into()).await;
    for n in 0..200 {
        let token = provider.tenant(&format!("t{n}")).token_with(json!({}));
        mesh.verifier().verify(&token).await.unwrap();
    }
    assert_eq!(learned(&mesh, false).len(), 200);
    assert_eq!((provider.made(), provider.fetches()), (200, 200));
}
