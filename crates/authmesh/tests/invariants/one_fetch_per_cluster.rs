//! One fetch per cluster: what one node brings from the issuer all others take, and nothing old comes back.

use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::Store as _;
use authmesh::{AuthMesh, KeyPolicy, Outcome, VerifyError};
use serde_json::json;

use crate::support::{Place, Site, TestIssuer, eager_keys, eventually, namer, pass, ring};

const NODES: usize = 8;
const CALLERS: usize = 16;

/// A cluster of nodes that share an L2, and nothing else.
async fn nodes(place: &Place, many: usize) -> Vec<AuthMesh> {
    let mut meshes = Vec::new();
    for number in 0..many {
        meshes.push(start(place, &format!("n{number}")).await);
    }
    meshes
}

async fn start(place: &Place, name: &str) -> AuthMesh {
    start_with(place, name, eager_keys()).await
}

async fn start_with(place: &Place, name: &str, keys: KeyPolicy) -> AuthMesh {
    let issuer = &place.issuer;
    AuthMesh::builder()
        .name(name)
        .key_ring(ring())
        .clock(issuer.clock())
        .issuer_with(issuer.url(), issuer.source(), keys, issuer.rules())
        .join(Arc::new(place.cluster.clone()))
        .start()
        .await
        .unwrap()
}

/// Everything in minutes that is in hours otherwise.
fn quick_keys() -> KeyPolicy {
    KeyPolicy {
        soft_lifetime: Duration::from_secs(60),
        lifetime_ceiling: Duration::from_secs(120),
        max_trust_age: Duration::from_secs(600),
        ..eager_keys()
    }
}

/// Every caller at every node asks at once.
async fn everybody_asks(meshes: &[&AuthMesh], token: &str) {
    let asks: Vec<_> = meshes
        .iter()
        .flat_map(|mesh| (0..CALLERS).map(|_| mesh.verifier()))
        .map(|verifier| {
            let token = token.to_owned();
            tokio::spawn(async move { verifier.verify(token).await })
        })
        .collect();
    for ask in asks {
        ask.await.unwrap().unwrap();
    }
}

fn refs(meshes: &[AuthMesh]) -> Vec<&AuthMesh> {
    meshes.iter().collect()
}

#[tokio::test(start_paused = true)]
async fn at_a_cold_start_and_at_a_rotation() {
    let place = Place::new();
    let meshes = nodes(&place, NODES).await;
    everybody_asks(&refs(&meshes), &place.issuer.token_with(json!({}))).await;
    assert_eq!(place.issuer.requests(), 1, "cold start");

    pass(Duration::from_secs(5)).await;
    place.issuer.new_key();
    place.issuer.publish();
    everybody_asks(&refs(&meshes), &place.issuer.token_with(json!({"sub": "bob"}))).await;
    assert_eq!(place.issuer.requests(), 2, "rotation");
    for mesh in &meshes {
        assert_eq!(mesh.health().issuers[0].generation, 2, "{}", mesh.stats().node);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_who_holds_a_usable_set_waits_while_it_is_refreshed() {
    let place = Place::new();
    let mesh = AuthMesh::builder()
        .key_ring(ring())
        .clock(place.issuer.clock())
        .issuer(place.issuer.url(), place.issuer.source(), place.issuer.rules())
        .join(Arc::new(place.cluster.clone()))
        .start()
        .await
        .unwrap();
    mesh.verifier()
        .verify(place.issuer.token_with(json!({})))
        .await
        .unwrap();
    place.issuer.hang();
    pass(Duration::from_secs(700)).await;
    let before = tokio::time::Instant::now();
    let token = place.issuer.token_with(json!({"sub": "during"}));
    assert_eq!(mesh.verifier().answer(token).await.unwrap().outcome, Outcome::Verified);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn without_an_l2_the_owner_asks_and_the_others_ask_the_owner() {
    let place = Place::new();
    let mut sites: Vec<Site> = Vec::new();
    for name in ["a", "b", "c", "d"] {
        sites.push(place.without_redis(name, 4).await);
    }
    Place::settled(&sites).await;
    pass(Duration::from_secs(30)).await;
    let meshes: Vec<_> = sites.iter().map(|site| &site.mesh).collect();
    everybody_asks(&meshes, &place.issuer.token_with(json!({}))).await;
    let before = place.issuer.requests();

    place.issuer.new_key();
    place.issuer.publish();
    everybody_asks(&meshes, &place.issuer.token_with(json!({"sub": "bob"}))).await;
    let fetches = place.issuer.requests() - before;
    assert!((1..=3).contains(&fetches), "{fetches} fetches");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_fleet_starts_without_the_issuer_and_trusts_no_longer_for_it() {
    let place = Place::new();
    let first = start_with(&place, "first", quick_keys()).await;
    first
        .verifier()
        .verify(place.issuer.token_with(json!({})))
        .await
        .unwrap();
    first.shutdown().await;
    place.issuer.fail();
    pass(Duration::from_secs(500)).await;

    let second = start_with(&place, "second", quick_keys()).await;
    let token = place.issuer.token_with(json!({"exp": place.issuer.now() + 3600}));
    second.verifier().verify(&token).await.unwrap();
    let status = second.health().issuers[0].clone();
    assert_eq!(status.source, Some("l2"));
    assert!(status.trusted && status.age_seconds >= Some(500), "{status:?}");

    // So long after the fetch, not after the restart.
    pass(Duration::from_secs(101)).await;
    let later = place.issuer.token_with(json!({"sub": "later"}));
    assert!(matches!(
        second.verifier().verify(&later).await,
        Err(VerifyError::CouldNotAsk { .. })
    ));
    assert!(!second.health().issuers[0].trusted);
}

#[tokio::test(start_paused = true)]
async fn a_set_from_elsewhere_is_confirmed_once_within_a_minute() {
    let place = Place::new();
    let first = start(&place, "first").await;
    first
        .verifier()
        .verify(place.issuer.token_with(json!({})))
        .await
        .unwrap();
    first.shutdown().await;
    pass(Duration::from_secs(300)).await;
    let meshes = nodes(&place, NODES).await;
    everybody_asks(&refs(&meshes), &place.issuer.token_with(json!({}))).await;
    assert_eq!(place.issuer.requests(), 1, "the set of the first fleet is used at once");
    pass(Duration::from_secs(61)).await;
    assert_eq!(place.issuer.requests(), 2, "and confirmed by one fetch");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_left_is_void_on_every_node() {
    let place = Place::new();
    let meshes = nodes(&place, 3).await;
    let old = place.issuer.token_with(json!({}));
    everybody_asks(&refs(&meshes), &old).await;
    pass(Duration::from_secs(5)).await;
    place.issuer.new_key();
    place.issuer.retire_old_keys();
    meshes[0].refresh_keys(place.issuer.url()).await.unwrap().unwrap();
    // Two: that it is gone was asked again, past all caches.
    assert_eq!(place.issuer.requests(), 3);
    for mesh in &meshes {
        eventually("the old key is void", || async {
            matches!(
                mesh.verifier().verify(&old).await,
                Err(VerifyError::UnknownKey | VerifyError::CouldNotAsk { .. })
            )
        })
        .await;
    }
}

/// Whoever can write Redis puts a set back that was validly sealed once.
#[tokio::test(start_paused = true)]
async fn a_set_that_was_replaced_does_not_come_back() {
    let place = Place::new();
    let first = start(&place, "first").await;
    let stolen = place.issuer.token_with(json!({"exp": place.issuer.now() + 3600}));
    first.verifier().verify(&stolen).await.unwrap();
    let name = namer().entry("authmesh/keys", place.issuer.url().as_bytes());
    eventually("the set is shared", || async {
        place.cluster.read(name).await.unwrap().value.is_some()
    })
    .await;
    let old = place.cluster.read(name).await.unwrap().value.unwrap();

    pass(Duration::from_secs(5)).await;
    place.issuer.new_key();
    place.issuer.retire_old_keys();
    first.refresh_keys(place.issuer.url()).await.unwrap().unwrap();
    eventually("the new set is shared", || async {
        place
            .cluster
            .read(name)
            .await
            .unwrap()
            .value
            .is_some_and(|now| now != old)
    })
    .await;
    let new = place.cluster.read(name).await.unwrap().value.unwrap();
    let replayed = place
        .cluster
        .insert_if_absent(name, old, Some(new), Duration::from_secs(3600))
        .await;
    assert_eq!(replayed, Ok(true));

    let second = start(&place, "second").await;
    assert!(matches!(
        second.verifier().verify(&stolen).await,
        Err(VerifyError::UnknownKey | VerifyError::CouldNotAsk { .. })
    ));
    assert_ne!(second.health().issuers[0].source, Some("l2"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_as_a_set_is() {
    let place = Place::new();
    let mut meshes = Vec::new();
    for number in 0..NODES {
        meshes.push(start_with(&place, &format!("n{number}"), quick_keys()).await);
    }
    everybody_asks(&refs(&meshes), &place.issuer.token_with(json!({}))).await;
    place.issuer.fail();
    let before = place.issuer.requests();
    pass(Duration::from_secs(300)).await;
    let attempts = place.issuer.requests() - before;
    // One node by itself makes at most three a trip until its circuit is open, and then a trip every 3.75 s at the least.
    assert!(
        (1..=90).contains(&attempts),
        "{attempts} attempts of {NODES} nodes in 4 min"
    );
    let still = place.issuer.token_with(json!({"sub": "still"}));
    everybody_asks(&refs(&meshes), &still).await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_contradict_each_other_are_refused_with_the_reason() {
    let issuer = TestIssuer::new();
    let policy = KeyPolicy {
        max_trust_age: Duration::from_secs(600),
        ..KeyPolicy::default()
    };
    let error = AuthMesh::builder()
        .issuer_with(issuer.url(), issuer.source(), policy, issuer.rules())
        .start()
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("max_trust_age") && text.contains("lifetime_ceiling"),
        "{text}"
    );
}

/// Some issuers reuse the name of a key. Whether that is a change or an attack, only their owner knows.
#[tokio::test(start_paused = true)]
async fn another_key_under_a_known_name_is_taken_or_refused_as_the_policy_says() {
    for refuse in [false, true] {
        let place = Place::new();
        let keys = KeyPolicy {
            refuse_changed_keys: refuse,
            ..eager_keys()
        };
        let mesh = start_with(&place, "n", keys).await;
        let old = place.issuer.token_with(json!({}));
        mesh.verifier().verify(&old).await.unwrap();
        pass(Duration::from_secs(5)).await;
        // The same URL and the same name, `k1`: another key.
        let other = TestIssuer::at(place.issuer.clock());
        place.issuer.published().set(other.document());
        mesh.refresh_keys(place.issuer.url()).await.unwrap().unwrap();
        let new = other.token_with(json!({}));
        assert_eq!(mesh.verifier().verify(&old).await.is_ok(), refuse);
        assert_eq!(mesh.verifier().verify(&new).await.is_ok(), !refuse);
        let counts = mesh.stats().counts;
        assert_eq!(
            (counts.keys_refused, counts.keys_removed),
            (u64::from(refuse), u64::from(!refuse))
        );
    }
}
