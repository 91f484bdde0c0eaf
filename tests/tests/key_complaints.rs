//! What users of other libraries complain about, made to happen over real HTTP to one node: each test names the complaint.
//!
//! The identity provider is [the double](authmesh_tests::idp_double). What needs many nodes is in `key_fleet`, what needs hours
//! is in the virtual time of `authmesh-proto`. The whole list is in `docs/invariant-tests.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use authmesh::{AuthMesh, KeyPolicy, KeyRing, Rules, VerifyError};
use authmesh_oidc::{HttpClient, HttpKeySource};
use authmesh_tests::forge;
use authmesh_tests::idp_double::{AUDIENCE, Edge, IdpDouble, Manner, Page};
use serde_json::json;

/// No wait takes longer, however busy the machine.
const DEADLINE: Duration = Duration::from_secs(40);
/// Who gets an answer within this time did not wait for the provider, whose requests are given up after 5 s.
const AT_ONCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// A node of these issuers, and each with its own connections.
async fn node(issuers: &[&IdpDouble], policy: KeyPolicy) -> AuthMesh {
    let mut builder = AuthMesh::builder().key_ring(KeyRing::new([1; 32], [[2; 32]]).unwrap());
    for idp in issuers {
        let http = HttpClient::builder().danger_allow_http(true).build().unwrap();
        let source = HttpKeySource::discover(&idp.issuer(), &http).unwrap();
        let rules = Rules::for_audiences([AUDIENCE]);
        builder = builder.issuer_with(idp.issuer(), Arc::new(source), policy, rules);
    }
    builder.start().await.unwrap()
}

/// A node of one issuer, with its keys.
async fn started(idp: &IdpDouble) -> AuthMesh {
    let mesh = node(&[idp], KeyPolicy::default()).await;
    mesh.verifier().verify(idp.token("first")).await.unwrap();
    mesh
}

async fn verify(mesh: &AuthMesh, token: &str) -> Result<(), VerifyError> {
    mesh.verifier().verify(token).await.map(drop)
}

fn could_not_ask(answer: &Result<(), VerifyError>) -> bool {
    matches!(answer, Err(VerifyError::CouldNotAsk { .. }))
}

/// Waits until a token is accepted, and looks at each answer on the way.
async fn accepted(mesh: &AuthMesh, token: &str, on_the_way: impl Fn(&VerifyError) -> bool) -> Duration {
    let begin = Instant::now();
    while let Err(error) = verify(mesh, token).await {
        assert!(on_the_way(&error), "{error:?}");
        assert!(begin.elapsed() < DEADLINE, "not within {DEADLINE:?}: {error:?}");
        tokio::time::sleep(PAUSE).await;
    }
    begin.elapsed()
}

/// camunda#60337: while the key set was fetched, all threads stood still for 15 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_hangs_holds_up_nobody() {
    for manner in [Manner::Silent, Manner::Dripping(Duration::from_secs(1))] {
        let idp = IdpDouble::start().await;
        let mesh = Arc::new(started(&idp).await);
        let before = idp.key_sets();
        // A new set: an unchanged one would be told by its tag, without a body that could drip.
        idp.rotate(true);
        idp.behave(manner);
        let refresh = tokio::spawn({
            let (mesh, issuer) = (Arc::clone(&mesh), idp.issuer());
            async move { mesh.refresh_keys(&issuer).await.unwrap() }
        });
        idp.asked_for_keys(before + 1, DEADLINE).await;
        let begin = Instant::now();
        for n in 0..200 {
            // Each is new: none is answered from memory.
            let token = idp.token_of_kid(&format!("user-{n}"), "key-1");
            verify(&mesh, &token).await.unwrap();
        }
        assert!(
            begin.elapsed() < AT_ONCE,
            "{manner:?}: 200 checks took {:?}",
            begin.elapsed()
        );
        assert!(
            !refresh.is_finished(),
            "{manner:?}: the refresh is over already, so nothing was shown"
        );
        refresh.abort();
    }
}

/// jwkset#26, engram#1641: an attacker drained the budget for unknown keys, and a real rotation starved behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_starves_no_rotation_and_costs_the_budget_alone() {
    let idp = IdpDouble::start().await;
    let policy = KeyPolicy {
        unknown_kid_burst: 5,
        unknown_kid_period: Duration::from_secs(3),
        // Short, so that it is the budget that holds the flood back.
        min_interval: Duration::from_millis(50),
        ..KeyPolicy::default()
    };
    let mesh = Arc::new(node(&[&idp], policy).await);
    verify(&mesh, &idp.token("first")).await.unwrap();
    let (before, begin) = (idp.key_sets(), Instant::now());
    let flood = tokio::spawn({
        let (mesh, template) = (Arc::clone(&mesh), idp.token("mallory"));
        async move {
            for n in 0_u64.. {
                let garbage = forge::with_kid(&template, &format!("nobody-{n}"));
                let answer = verify(&mesh, &garbage).await;
                assert!(answer.is_err());
                if n % 50 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    });
    // The budget is spent by now: the flood has had its whole burst, or more.
    tokio::time::sleep(policy.unknown_kid_period).await;
    idp.rotate(true);
    let rotated = idp.token("alice");
    let took = accepted(&mesh, &rotated, |error| {
        matches!(error, VerifyError::CouldNotAsk { .. })
    })
    .await;
    let bound = policy.unknown_kid_period * 2 + AT_ONCE;
    assert!(took <= bound, "the rotation was noticed after {took:?}");
    flood.abort();
    // Its whole burst, what came back meanwhile, and one on the edge of a period.
    let periods = begin.elapsed().as_secs() / policy.unknown_kid_period.as_secs();
    let budget = u64::from(policy.unknown_kid_burst) + periods + 1;
    let seen = idp.key_sets() - before;
    assert!(
        (1..=budget).contains(&seen),
        "{seen} requests where {budget} are allowed"
    );
}

/// cosmo#2216: whoever came after the limit was reached waited for 25 minutes.
#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_budget_the_answer_comes_at_once_and_says_when_to_come_back() {
    let idp = IdpDouble::start().await;
    let mesh = started(&idp).await;
    let mut refused_at_once = 0;
    for n in 0..60 {
        let begin = Instant::now();
        let answer = verify(&mesh, &idp.token_of_unknown_kid(&format!("nobody-{n}"))).await;
        if could_not_ask(&answer) {
            refused_at_once += 1;
            assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
            let again = answer.unwrap_err().retry_after().unwrap();
            assert!(again <= KeyPolicy::default().unknown_kid_period, "{again:?}");
        }
    }
    assert!(refused_at_once > 20, "only {refused_at_once} were beyond the budget");
    // Who has a key that is known notices nothing.
    verify(&mesh, &idp.token("alice")).await.unwrap();
}

/// go-oidc#485: an edge cache answered with the set from before the rotation.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_asked_for_past_an_edge_that_is_out_of_date() {
    let idp = IdpDouble::start().await;
    let mesh = started(&idp).await;
    idp.edge(Edge::Stale);
    idp.rotate(true);
    accepted(&mesh, &idp.token("alice"), |_| false).await;
    assert!(idp.asked().pop().unwrap().no_cache);
}

/// Two edges that take turns, one of them out of date: each second refresh came without the new key.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_flaps_takes_no_key_away() {
    let idp = IdpDouble::start().await;
    let policy = KeyPolicy {
        soft_lifetime: Duration::from_secs(1),
        lifetime_floor: Duration::from_secs(1),
        min_interval: Duration::from_millis(100),
        ..KeyPolicy::default()
    };
    let mesh = node(&[&idp], policy).await;
    verify(&mesh, &idp.token("first")).await.unwrap();
    idp.edge(Edge::Flapping);
    idp.rotate(true);
    accepted(&mesh, &idp.token("alice"), |_| false).await;
    let begin = Instant::now();
    let refreshed = || {
        idp.asked()
            .iter()
            .filter(|asked| asked.page == Page::KeySet && !asked.no_cache)
            .count()
    };
    let before = refreshed();
    let mut checks = 0;
    while refreshed() < before + 4 {
        assert!(begin.elapsed() < DEADLINE, "it is refreshed every second");
        checks += 1;
        let answer = verify(&mesh, &idp.token(&format!("user-{checks}"))).await;
        assert_eq!(answer, Ok(()), "after {:?}", begin.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    // Two of four refreshes came from the edge that is out of date, and each was looked at a second time.
    let second_looks = idp
        .asked()
        .iter()
        .filter(|asked| asked.page == Page::KeySet && asked.no_cache)
        .count();
    assert!(
        second_looks >= 2,
        "{second_looks} second looks: the stale edge was never seen"
    );
}

/// windmill#10954: during an outage the answer was "no such key", and was remembered.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_no_unknown_key_and_is_not_remembered_as_one() {
    let idp = IdpDouble::start().await;
    let mesh = started(&idp).await;
    idp.rotate(true);
    let (old, new) = (idp.token_of_kid("bob", "key-1"), idp.token("alice"));
    idp.down().await;
    for _ in 0..3 {
        let answer = verify(&mesh, &new).await;
        assert!(could_not_ask(&answer), "{answer:?}");
    }
    // panva/jose: without any tolerance an outage of the provider is one of everybody.
    verify(&mesh, &old).await.unwrap();
    idp.up().await;
    accepted(&mesh, &new, |error| matches!(error, VerifyError::CouldNotAsk { .. })).await;
}

/// tower-oauth2-resource-server: one key that it could not read, and the whole set was dropped.
#[tokio::test(flavor = "multi_thread")]
async fn one_bad_key_does_not_spoil_the_set() {
    let idp = IdpDouble::start().await;
    idp.publish_also(&[
        json!(null),
        json!("key"),
        json!({}),
        json!({"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}),
        json!({"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "nowhere", "x": "AAAA", "y": "AAAA"}),
        json!({"kty": "OKP", "crv": "Ed448", "kid": "unknown", "x": "AAAA"}),
        json!({"kty": "LATTICE", "kid": "from-the-future"}),
    ]);
    let mesh = started(&idp).await;
    let issuers = mesh.health().issuers;
    assert_eq!((issuers[0].keys, issuers[0].skipped.len()), (1, 8), "{issuers:?}");
    verify(&mesh, &idp.token("alice")).await.unwrap();
}

/// Istio CVE-2026-31837: where the fetch failed, keys that were built in took its place.
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_fails_leaves_nothing_to_fall_back_to() {
    let failures = [
        Manner::Failing(500),
        Manner::Failing(404),
        Manner::NotModified,
        Manner::OfType("text/html"),
        Manner::TooMany { retry_after: 1 },
    ];
    for manner in failures {
        let idp = IdpDouble::start().await;
        idp.behave(manner);
        let mesh = node(&[&idp], KeyPolicy::default()).await;
        let good = idp.token("alice");
        for token in [
            good.clone(),
            forge::unsigned(&good, "none"),
            forge::hs256(&good, b""),
            forge::with_kid(&good, ""),
            forge::with_broken_signature(&good),
        ] {
            assert!(verify(&mesh, &token).await.is_err(), "{manner:?}");
        }
        assert!(could_not_ask(&verify(&mesh, &good).await), "{manner:?}");
        idp.behave(Manner::Prompt);
        accepted(&mesh, &good, |error| matches!(error, VerifyError::CouldNotAsk { .. })).await;
    }
}

/// jwks-rsa-java#69: a key that was taken out of the set went on being trusted from the cache.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_taken_away_is_trusted_no_longer() {
    let idp = IdpDouble::start().await;
    let mesh = started(&idp).await;
    let old = idp.token("alice");
    verify(&mesh, &old).await.unwrap();
    idp.rotate(false);
    // Its first use is what tells the node.
    accepted(&mesh, &idp.token("bob"), |_| false).await;
    assert_eq!(verify(&mesh, &old).await, Err(VerifyError::UnknownKey));
}

/// A slow or dead provider of one issuer was that of all.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_costs_the_tokens_of_another_nothing() {
    let (slow, dead, good) = (
        IdpDouble::start().await,
        IdpDouble::start().await,
        IdpDouble::start().await,
    );
    slow.behave(Manner::Silent);
    dead.down().await;
    let mesh = Arc::new(node(&[&slow, &dead, &good], KeyPolicy::default()).await);
    verify(&mesh, &good.token("first")).await.unwrap();
    let waiting: Vec<_> = (0..50)
        .map(|n| {
            let token = [&slow, &dead][n % 2].token(&format!("user-{n}"));
            let mesh = Arc::clone(&mesh);
            tokio::spawn(async move { verify(&mesh, &token).await })
        })
        .collect();
    let begin = Instant::now();
    for n in 0..200 {
        verify(&mesh, &good.token(&format!("user-{n}"))).await.unwrap();
    }
    good.rotate(true);
    verify(&mesh, &good.token("rotated")).await.unwrap();
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    for caller in waiting {
        let answer = caller.await.unwrap();
        assert!(could_not_ask(&answer), "{answer:?}");
    }
}

/// envoy#39643, istio#10547, istio#49044: after a rotation good tokens were refused for minutes, up to an hour.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_of_a_new_key_is_accepted_and_everybody_elses_with_it() {
    let idp = IdpDouble::start().await;
    let mesh = Arc::new(started(&idp).await);
    for keep_old in [true, false, true] {
        // The least time between two fetches has gone by, as it has between two rotations of anybody.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let before = idp.key_sets();
        idp.behave(Manner::Late(Duration::from_millis(200)));
        idp.rotate(keep_old);
        let callers: Vec<_> = (0..100)
            .map(|n| {
                let (mesh, token) = (Arc::clone(&mesh), idp.token(&format!("user-{n}")));
                tokio::spawn(async move { verify(&mesh, &token).await })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(()));
        }
        let seen = idp.key_sets() - before;
        // vault#9201: each of them asked for itself. Where a key is gone, one more look confirms it.
        let most = if keep_old { 1 } else { 2 };
        assert!((1..=most).contains(&seen), "{seen} requests for 100 callers");
        idp.behave(Manner::Prompt);
    }
}
