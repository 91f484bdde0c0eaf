//! Holes that other token caches had, each with where it was seen. What is cached is a verdict on one token, under one policy,
//! for one time: nothing less decides whether it answers.

use std::sync::Arc;
use std::time::Duration;

use authmesh::jose::{Algorithm, AlgorithmSet};
use authmesh::memory::Cluster;
use authmesh::{AuthMesh, KeyPolicy, Outcome, Policy, Rules, VerifyError};
use serde_json::{Value, json};

use crate::support::{TestIssuer, builder, cluster_with, eventually, manual_clock, node, ring};

/// Room for a few hundred verdicts.
const ROOM: u64 = 1 << 20;
/// Many more than there is room for.
const MANY: usize = 6_000;

async fn hit(mesh: &AuthMesh, token: &str) {
    eventually("the token is in memory", || async {
        mesh.verifier().answer(token).await.unwrap().outcome == Outcome::Hit
    })
    .await;
}

fn policy(issuer: &TestIssuer, rules: Rules) -> Policy {
    Policy {
        issuers: [(issuer.url().to_owned(), rules)].into(),
        ..Policy::default()
    }
}

/// lua-resty-openidc#399, PostgREST#4014: what one route had accepted was accepted by another that asks for more.
#[tokio::test]
async fn a_hit_answers_for_no_other_policy() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({}));
    mesh.verifier().verify(&token).await.unwrap();
    hit(&mesh, &token).await;

    let other_audience = policy(&issuer, Rules::for_audiences(["billing"]));
    let other = mesh.verifier_for(other_audience).unwrap();
    let mut more_claims = issuer.rules();
    more_claims.required_claims = vec!["tenant".into()];
    let stricter = mesh.verifier_for(policy(&issuer, more_claims)).unwrap();
    let mut other_types = issuer.rules();
    other_types.types = vec!["at+jwt".into()];
    let typed = mesh.verifier_for(policy(&issuer, other_types)).unwrap();
    for _ in 0..2 {
        assert_eq!(other.verify(&token).await.unwrap_err(), VerifyError::WrongAudience);
        let lacking = VerifyError::MissingClaim("tenant".into());
        assert_eq!(stricter.verify(&token).await.unwrap_err(), lacking);
        assert_eq!(typed.verify(&token).await.unwrap_err(), VerifyError::WrongType);
        // What one of them refuses takes nothing from the other.
        hit(&mesh, &token).await;
    }
    // The same demands, made a second time, are the same policy.
    let same = mesh.verifier_for(policy(&issuer, issuer.rules())).unwrap();
    assert_eq!(same.answer(&token).await.unwrap().outcome, Outcome::Hit);
}

/// fast-jwt CVE-2026-35039: the key of the cache was made of claims, so that two tokens shared an entry.
#[tokio::test]
async fn the_whole_token_is_the_key_of_its_verdict() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let claims = json!({"sub": "alice", "jti": "1", "role": "reader"});
    let reader = issuer.token_with(claims);
    mesh.verifier().verify(&reader).await.unwrap();
    hit(&mesh, &reader).await;

    // The same names and another role: a verdict of its own.
    let admin = issuer.token_with(json!({"sub": "alice", "jti": "1", "role": "admin"}));
    let role = async |token: &str| {
        let verdict = mesh.verifier().verify(token).await.unwrap();
        verdict.claims::<Value>().unwrap()["role"].clone()
    };
    for _ in 0..3 {
        assert_eq!([role(&reader).await, role(&admin).await], ["reader", "admin"]);
    }

    // Every part of the one with a part of the other, and the same token with any byte of it changed: none is a hit.
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (of_reader, of_admin) = (parts(&reader), parts(&admin));
    let mixed = format!("{}.{}.{}", of_reader[0], of_admin[1], of_reader[2]);
    assert_eq!(
        mesh.verifier().verify(&mixed).await.unwrap_err(),
        VerifyError::BadSignature
    );
    for at in 0..reader.len() {
        let mut bytes = reader.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(mesh.verifier().verify(&bytes).await.is_err(), "byte {at}");
    }
    for other in [format!("{reader} "), format!(" {reader}"), format!("{reader}=")] {
        assert!(mesh.verifier().verify(&other).await.is_err(), "{other:?}");
    }
    hit(&mesh, &reader).await;
}

/// fast-jwt: a token without `iat` was served from the cache after its `exp`.
#[tokio::test]
async fn a_hit_ends_with_its_token_whether_it_has_an_iat_or_not() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mut rules = issuer.rules().danger_without_issued_at();
    rules.leeway = Duration::ZERO;
    let mesh = AuthMesh::builder()
        .key_ring(ring())
        .clock(issuer.clock())
        .issuer(issuer.url(), issuer.source(), rules)
        .join(Arc::new(cluster))
        .start()
        .await
        .unwrap();
    eventually("coherent", || async { mesh.health().coherent }).await;
    let expiry = issuer.now() + 100;
    let with = issuer.token_with(json!({ "exp": expiry }));
    let without = issuer.token_with(json!({ "exp": expiry, "iat": null }));
    for token in [&with, &without] {
        mesh.verifier().verify(token).await.unwrap();
        hit(&mesh, token).await;
    }
    clock.advance(Duration::from_secs(99));
    eventually("coherent again", || async { mesh.health().coherent }).await;
    for token in [&with, &without] {
        hit(&mesh, token).await;
    }
    clock.advance(Duration::from_secs(1));
    for token in [&with, &without] {
        let ended = mesh.verifier().verify(token).await.unwrap_err();
        assert!(matches!(ended, VerifyError::Expired { .. }), "{ended:?}");
    }
}

/// fast-jwt: the cached object was handed out by reference, and what one caller wrote into it all others read.
#[tokio::test]
async fn what_a_caller_does_with_its_claims_changes_nobody_elses() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({"role": "reader"}));
    mesh.verifier().verify(&token).await.unwrap();
    let first = mesh.verifier().verify(&token).await.unwrap();
    let mut claims: Value = first.claims().unwrap();
    claims["role"] = "admin".into();
    // The verdict itself has nothing that could be written: callers share it behind an `Arc`.
    let again = mesh.verifier().verify(&token).await.unwrap();
    assert_eq!(again.claims::<Value>().unwrap()["role"], "reader");
    assert_eq!(first.claims_json(), again.claims_json());
}

/// PostgREST#4003: the cache of verified tokens grew with every token that was ever seen.
#[tokio::test]
async fn memory_is_bounded_by_its_setting_and_not_by_callers() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let started = builder("a", &issuer)
        .verdict_bytes(ROOM)
        .join(Arc::new(cluster))
        .start();
    let mesh = started.await.unwrap();
    let mut most = 0;
    for n in 0..MANY {
        let token = issuer.token_with(json!({"sub": format!("user-{n}"), "pad": "x".repeat(200)}));
        mesh.verifier().verify(&token).await.unwrap();
        most = most.max(mesh.stats().verdict_bytes);
    }
    // It was full, or the bound was never touched.
    assert!(most > ROOM / 2, "{most} bytes");
    // Evicted entries are freed a little later, in batches.
    assert!(most <= ROOM + ROOM / 2, "{most} bytes where {ROOM} were allowed");
    eventually("what is evicted is freed", || async {
        mesh.stats().verdict_bytes <= ROOM
    })
    .await;
}

/// CVE-2026-22817: a key that names no `alg` was used with whatever the token's header said.
#[tokio::test]
async fn a_key_without_an_alg_leaves_the_choice_to_the_policy_and_not_to_the_header() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let mut keys: serde_json::Value = serde_json::from_slice(&issuer.document()).unwrap();
    assert!(keys["keys"][0].as_object_mut().unwrap().remove("alg").is_some());
    issuer.published().set(keys.to_string());
    let mesh = node("a", &cluster, &issuer).await;
    let token = issuer.token_with(json!({}));
    mesh.verifier().verify(&token).await.unwrap();

    let mut rules = issuer.rules();
    rules.algorithms = AlgorithmSet::of(&[Algorithm::ES256, Algorithm::RS256]);
    let other = mesh.verifier_for(policy(&issuer, rules)).unwrap();
    let refused = other.verify(&token).await.unwrap_err();
    assert!(matches!(refused, VerifyError::Unsupported(_)), "{refused:?}");
    for alg in [
        "none", "HS256", "HS512", "ES256", "RS256", "PS256", "ed25519", "EDDSA", "",
    ] {
        let claimed = issuer.sign(json!({ "alg": alg }), issuer.claims(json!({})));
        assert!(mesh.verifier().verify(&claimed).await.is_err(), "{alg}");
    }
}

/// Envoy goes on with its keys for ever while the provider is away; others do not outlast a minute of it.
#[tokio::test]
async fn an_outage_is_outlasted_to_the_trust_age_and_no_further() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let mesh = node("a", &cluster, &issuer).await;
    mesh.verifier().verify(issuer.token_with(json!({}))).await.unwrap();
    issuer.fail();

    let age = KeyPolicy::default().max_trust_age;
    clock.advance(age - Duration::from_secs(60));
    eventually("coherent again", || async { mesh.health().coherent }).await;
    let late = issuer.token_with(json!({"sub": "late"}));
    mesh.verifier().verify(&late).await.unwrap();
    hit(&mesh, &late).await;

    clock.advance(Duration::from_secs(61));
    eventually("coherent again", || async { mesh.health().coherent }).await;
    for token in [late, issuer.token_with(json!({"sub": "too-late"}))] {
        let answer = mesh.verifier().verify(&token).await;
        assert!(matches!(answer, Err(VerifyError::CouldNotAsk { .. })), "{answer:?}");
    }
}
