//! Each kind of inconsistency made to happen on purpose, and found; and a healthy mesh under load, of which nothing is said.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod healthy;
mod lies;
#[allow(dead_code, unused_imports, reason = "it serves the tests of the invariants, too")]
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use authmesh::ports::Store as _;
use authmesh::proto::ident::{Digest, EntryName};
use authmesh::proto::observe::Element;
use authmesh::{
    AuthMesh, Cache, CommitState, Explained, Inconsistency, Namespace, Observation, ObserveError, Report, Subject,
};
use authmesh_testkit::{Faulty, Op};

use lies::Lie;
use support::{Place, Site, builder, entry, eventually, pass, subject, wired};

const KEY: &str = "alice";
const FAR: u64 = support::START + 40 * 3600;

fn cache(mesh: &AuthMesh) -> Cache<String> {
    mesh.cache(Namespace::new("users")).unwrap()
}

async fn load(mesh: &AuthMesh, key: &str, value: &str) -> String {
    let value = value.to_owned();
    let loaded = cache(mesh).get_or_load(key, move || async { Ok::<_, ()>(value) }).await;
    loaded.unwrap().to_string()
}

/// The only node of its cluster.
async fn alone(place: &Place) -> Site {
    let site = place.site("a").await;
    eventually("it is coherent", async || site.is_coherent()).await;
    site
}

/// Everything is looked at.
fn whole() -> Observation {
    Observation::default().sample(1000).peers(16).channels(64)
}

async fn observe(mesh: &AuthMesh) -> Report {
    mesh.observe(whole()).await.unwrap()
}

/// Exactly one inconsistency, of this kind.
fn the_only(report: &Report, kind: Inconsistency) -> Explained {
    let [found] = &*report.found else {
        panic!("{report:#?}");
    };
    assert_eq!(
        (found.kind, found.count, report.inconsistent),
        (kind, 1, 1),
        "{report:#?}"
    );
    assert!(found.first.age_seconds <= found.oldest_seconds);
    assert_eq!(report.oldest_seconds, Some(found.oldest_seconds));
    found.first.clone()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_sound(report: &Report) -> bool {
    report.inconsistent == 0 && report.found.is_empty() && report.oldest_seconds.is_none()
}

async fn value_of(place: &Place, name: EntryName) -> Option<Vec<u8>> {
    place.cluster.read(name).await.unwrap().value
}

/// Waits until L2 holds a value under a name, other than this one.
async fn stored(place: &Place, name: EntryName, but: Option<&[u8]>) -> Vec<u8> {
    // A fill lease is shorter than any record.
    let is_it = |value: &Vec<u8>| value.len() > 64 && but != Some(&**value);
    eventually("the value stands in L2", async || {
        value_of(place, name).await.as_ref().is_some_and(is_it)
    })
    .await;
    value_of(place, name).await.filter(is_it).unwrap()
}

/// Puts an old value of L2 back, as a Redis that was restored from a backup would.
async fn put_back(place: &Place, name: EntryName, old: &[u8], over: &[u8]) {
    let life = Duration::from_secs(300);
    let put = place
        .cluster
        .insert_if_absent(name, old.to_vec(), Some(over.to_vec()), life)
        .await;
    assert!(put.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_old_value_that_came_back_in_l2_is_found() {
    let place = Place::new();
    let [a, b] = place.sites().await;
    let name = entry("users", KEY);
    load(&a.mesh, KEY, "old").await;
    let old = stored(&place, name, None).await;
    cache(&a.mesh).remove(KEY).await.unwrap();
    eventually("it is gone", async || value_of(&place, name).await.is_none()).await;
    load(&a.mesh, KEY, "new").await;
    let new = stored(&place, name, Some(&old)).await;
    assert!(is_sound(&observe(&a.mesh).await));

    put_back(&place, name, &old, &new).await;
    let report = observe(&a.mesh).await;
    let first = the_only(&report, Inconsistency::Level2);
    assert_eq!((report.checked.entries, report.checked.in_l2), (1, 1));
    assert_eq!(first.name.len(), 64);
    assert!(first.age_seconds >= 3, "it has stood for the bound");
    assert!(report.took_ms >= 3000 && report.settle_ms >= 3000);
    let said = serde_json::to_string(&report).unwrap();
    assert!(!said.contains(KEY) && !said.contains("new"), "{said}");
    assert_eq!(a.mesh.stats().counts.inconsistent_level2, 1);

    // Whoever reads it from L2 serves the old one; its members say so.
    assert_eq!(*cache(&b.mesh).get(KEY).await.unwrap(), "old");
    let report = observe(&b.mesh).await;
    let first = the_only(&report, Inconsistency::PeerValue);
    assert_eq!(first.peer.as_deref(), Some("a"));
    assert_eq!((report.checked.peers, report.checked.at_peers), (1, 1));
}

/// Found by this observer: the loser of two inserts at once kept its own value in memory, while L2 had the winner's.
#[tokio::test(start_paused = true)]
async fn two_inserts_at_once_leave_one_value() {
    let place = Place::new();
    let [a, b] = place.sites().await;
    for round in 0..20 {
        let key = format!("k{round}");
        let (of_a, of_b) = (cache(&a.mesh), cache(&b.mesh));
        let (one, other) = tokio::join!(
            of_a.insert(&key, "one".to_owned()),
            of_b.insert(&key, "other".to_owned())
        );
        assert!(one.is_ok() && other.is_ok());
    }
    for site in [&a, &b] {
        let report = observe(&site.mesh).await;
        assert!(is_sound(&report), "{report:#?}");
    }
}

/// Polaris' rule: what is gone within the bound was on its way.
#[tokio::test(start_paused = true)]
async fn a_difference_that_is_gone_within_the_bound_is_not_counted() {
    let place = Place::new();
    let a = alone(&place).await;
    let name = entry("users", KEY);
    load(&a.mesh, KEY, "old").await;
    let old = stored(&place, name, None).await;
    cache(&a.mesh).remove(KEY).await.unwrap();
    load(&a.mesh, KEY, "new").await;
    let new = stored(&place, name, Some(&old)).await;
    put_back(&place, name, &old, &new).await;

    let observing = tokio::spawn({
        let mesh = a.mesh.clone();
        async move { observe(&mesh).await }
    });
    pass(Duration::from_millis(2500)).await;
    assert!(!observing.is_finished(), "it waits for the bound");
    // The drop comes late, and comes.
    cache(&a.mesh).remove(KEY).await.unwrap();
    let report = observing.await.unwrap();
    assert!(is_sound(&report), "{report:#?}");
    assert_eq!((report.in_flight, report.checked.in_l2), (1, 1));
    assert_eq!(a.mesh.stats().counts.observed_in_flight, 1);
    assert_eq!(a.mesh.stats().counts.inconsistent_level2, 0);
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_the_table_lacks_is_found() {
    let place = Place::new();
    let a = alone(&place).await;
    a.mesh.revoke(Subject::new(place.issuer.url(), "bob")).await.unwrap();
    let report = observe(&a.mesh).await;
    assert!(is_sound(&report) && report.checked.channels == 64, "{report:#?}");

    let refused = a.wire.faults().on(Op::Commit).fail();
    let receipt = a.mesh.revoke(Subject::new(place.issuer.url(), "alice")).await.unwrap();
    assert_eq!(receipt.state, CommitState::Unconfirmed);
    let report = observe(&a.mesh).await;
    let first = the_only(&report, Inconsistency::Table);
    assert!(first.what.contains("lacks a mark that this node holds"), "{first:?}");
    let scope = subject(&place.issuer, "alice");
    assert_eq!(first.channel, scope.slot().channel.number());
    assert!(first.age_seconds >= 8, "others have had their time to commit it");

    refused.lift();
    eventually("it is committed", async || a.mesh.stats().outbox == 0).await;
    assert!(is_sound(&observe(&a.mesh).await));
}

/// A node whose member answers its observer with a lie.
async fn lied_to(place: &Place, lie: Lie) -> (Site, AuthMesh) {
    let honest = place.site("honest").await;
    let gossip = Faulty::new(std::sync::Arc::new(place.hub.node()));
    gossip.faults().on(Op::Pull).alter(lie.told());
    let lied = builder("lied-to", &place.issuer)
        .join(wired(&place.cluster))
        .gossip(gossip)
        .start()
        .await
        .unwrap();
    eventually("they are members for each other", async || {
        let both = [honest.mesh.health(), lied.health()];
        both.iter()
            .all(|health| health.coherent && health.gossip.as_ref().is_some_and(|gossip| gossip.members == 1))
    })
    .await;
    honest
        .mesh
        .revoke(Subject::new(place.issuer.url(), "alice"))
        .await
        .unwrap();
    (honest, lied)
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_a_member_lacks_is_found() {
    let place = Place::new();
    let (honest, lied) = lied_to(&place, Lie::LacksAll).await;
    let report = observe(&lied).await;
    let first = the_only(&report, Inconsistency::PeerMarks);
    assert_eq!(first.peer.as_deref(), Some("honest"));
    assert!(first.what.contains("a member lacks"), "{first:?}");
    // It names what it is about: the scope.
    let scope = subject(&place.issuer, "alice");
    assert_eq!(first.name, hex(scope.as_bytes()));
    assert!(is_sound(&observe(&honest.mesh).await), "nobody lies to this one");
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_only_a_member_holds_is_found() {
    let place = Place::new();
    let element = Element {
        digest: Digest([9; 16]),
        expires: FAR,
    };
    let (_honest, lied) = lied_to(&place, Lie::Holds(element)).await;
    let report = observe(&lied).await;
    let first = the_only(&report, Inconsistency::PeerMarks);
    assert!(first.what.contains("this node lacks"), "{first:?}");

    let past = Element {
        digest: Digest([9; 16]),
        expires: place.issuer.now() + 10,
    };
    let other = Place::new();
    let (_honest, lied) = lied_to(&other, Lie::Holds(past)).await;
    assert!(
        is_sound(&observe(&lied).await),
        "each node forgets what is past by its own clocks"
    );
}

/// While marks come and go there is always one on its way, in the same bucket.
#[tokio::test(start_paused = true)]
async fn marks_that_are_on_their_way_are_never_counted() {
    let place = Place::new();
    let (_honest, lied) = lied_to(&place, Lie::HoldsAnother(FAR)).await;
    let report = observe(&lied).await;
    assert!(is_sound(&report), "{report:#?}");
    assert_eq!((report.in_flight, report.checked.peers), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_serves_another_value_is_found() {
    let place = Place::new();
    let a = place.without_redis("a", 2).await;
    let b = place.without_redis("b", 2).await;
    Place::settled_pair(&a, &b).await;
    // Nothing is shared but statements: each loads for itself.
    load(&a.mesh, "bob", "same").await;
    load(&b.mesh, "bob", "same").await;
    let report = observe(&a.mesh).await;
    assert!(is_sound(&report) && report.checked.at_peers == 1, "{report:#?}");
    assert_eq!(report.checked.channels, 0, "there is no table");

    load(&a.mesh, KEY, "one").await;
    pass(Duration::from_secs(5)).await;
    load(&b.mesh, KEY, "two").await;
    let report = observe(&a.mesh).await;
    let first = the_only(&report, Inconsistency::PeerValue);
    assert_eq!(first.peer.as_deref(), Some("b"));
    assert_eq!(first.name, hex(entry("users", KEY).as_bytes()));

    cache(&a.mesh).remove(KEY).await.unwrap();
    eventually("b has heard it", async || cache(&b.mesh).get(KEY).await.is_none()).await;
    assert!(is_sound(&observe(&a.mesh).await));
}

#[tokio::test(start_paused = true)]
async fn a_node_observes_by_itself_where_it_is_told_to_and_only_there() {
    let place = Place::new();
    let quiet = alone(&place).await;
    let watching = builder("watching", &place.issuer)
        .join(wired(&place.cluster))
        .observe_every(Duration::from_secs(10))
        .start()
        .await
        .unwrap();
    pass(Duration::from_secs(100)).await;
    let rounds = watching.stats().counts.observations;
    assert!((8..=13).contains(&rounds), "{rounds}");
    assert_eq!(quiet.mesh.stats().counts.observations, 0);
    watching.shutdown().await;
    assert_eq!(watching.observe(whole()).await, Err(ObserveError::ShutDown));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_blind_is_not_compared() {
    let place = Place::new();
    let [a, b] = place.sites().await;
    load(&a.mesh, KEY, "one").await;
    // b has lost Redis and a, and has another value by the time that it is asked again.
    b.wire.faults().cut();
    place.cut(&a, &b, true);
    eventually("b is blind", async || !b.is_coherent()).await;
    load(&b.mesh, KEY, "two").await;
    let report = observe(&b.mesh).await;
    assert!(!report.coherent && is_sound(&report), "{report:#?}");
    assert_eq!((report.checked.peers, report.checked.channels), (0, 0));
}
