//! Each kind of inconsistency made to happen on purpose, and found; and a healthy mesh under load, of which nothing is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod healthy;
mod lying;
#[allow(dead_code, unused_imports, reason = "it serves the tests of the invariants, too")]
#[path = "../../../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::Duration;

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::{Digest, EntryName};
use authmesh_proto::observe::Element;
use authmesh_proto::statement::{Mark, MarkKey, Note};
use serde_json::json;

use self::lying::{Lie, Lying};
use self::support::{Place, Site, Wire, builder, entry, eventually, pass, subject};
use super::sample::reservoir;
use super::{Inconsistency, Observation, ObserveError, Report};
use crate::mesh::AuthMesh;
use crate::ports::Store as _;
use crate::{Cache, CommitState, Namespace, Subject};

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
fn the_only(report: &Report, kind: Inconsistency) -> super::Explained {
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

/// Invariant 1, broken on purpose: the map changes, and the epoch does not.
#[tokio::test(start_paused = true)]
async fn a_mark_beside_the_epoch_is_found() {
    let place = Place::new();
    let site = alone(&place).await;
    let token = place.issuer.token(json!({"exp": place.issuer.now() + 600}));
    site.mesh.verifier().verify(&token).await.unwrap();
    assert!(is_sound(&observe(&site.mesh).await));

    let node = site.mesh.node();
    let now = node.now();
    let mark = Mark {
        key: MarkKey {
            scope: subject(&place.issuer, "alice"),
            except: None,
        },
        kind: ScopeKind::Subject,
        not_before: now.wall,
        expires: FAR,
        note: Note {
            at: now.wall - 30,
            by: "somebody".into(),
            why: "something".into(),
        },
    };
    node.marks_mut().apply(now, mark, None, &node.codec.namer);
    assert!(
        site.mesh.verifier().verify(&token).await.is_ok(),
        "it is served, and void"
    );

    let report = site.mesh.observe(whole().channels(0)).await.unwrap();
    let first = the_only(&report, Inconsistency::Marks);
    assert_eq!(report.checked.verdicts, 1);
    assert!(first.age_seconds >= 30 && first.what.contains("subject"));
    assert_eq!(first.name.len(), 32);
    let said = serde_json::to_string(&report).unwrap();
    for secret in ["alice", "somebody", "something", token.as_str()] {
        assert!(!said.contains(secret), "{said}");
    }
    assert_eq!(site.mesh.stats().counts.inconsistent_marks, 1);

    // The next mark of anybody makes hits look again.
    node.epoch.bump();
    assert!(is_sound(&site.mesh.observe(whole().channels(0)).await.unwrap()));
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
    assert_eq!(a.mesh.node().observer.oldest_seconds(), report.oldest_seconds.unwrap());

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

    a.wire.refuse_commits(true);
    let receipt = a.mesh.revoke(Subject::new(place.issuer.url(), "alice")).await.unwrap();
    assert_eq!(receipt.state, CommitState::Unconfirmed);
    let report = observe(&a.mesh).await;
    let first = the_only(&report, Inconsistency::Table);
    assert!(first.what.contains("lacks a mark that this node holds"), "{first:?}");
    let scope = subject(&place.issuer, "alice");
    assert_eq!(first.channel, scope.slot().channel.number());
    assert!(first.age_seconds >= 8, "others have had their time to commit it");

    a.wire.refuse_commits(false);
    eventually("it is committed", async || a.mesh.stats().outbox == 0).await;
    assert!(is_sound(&observe(&a.mesh).await));
}

/// A node whose member answers its observer with a lie.
async fn lied_to(place: &Place, lie: Lie) -> (Site, AuthMesh) {
    let honest = place.site("honest").await;
    let lied = builder("lied-to", &place.issuer)
        .join(Wire::new(&place.cluster))
        .gossip(Arc::new(Lying::new(place.hub.node(), lie)))
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
    assert_eq!(first.name, crate::node::hex(scope.as_bytes()));
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
    assert_eq!(first.name, crate::node::hex(entry("users", KEY).as_bytes()));

    cache(&a.mesh).remove(KEY).await.unwrap();
    eventually("b has heard it", async || cache(&b.mesh).get(KEY).await.is_none()).await;
    assert!(is_sound(&observe(&a.mesh).await));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_blind_is_not_compared() {
    let place = Place::new();
    let [a, b] = place.sites().await;
    load(&a.mesh, KEY, "one").await;
    // b has lost Redis and a, and has another value by the time that it is asked again.
    b.wire.cut(true);
    place.cut(&a, &b, true);
    eventually("b is blind", async || !b.is_coherent()).await;
    load(&b.mesh, KEY, "two").await;
    let report = observe(&b.mesh).await;
    assert!(!report.coherent && is_sound(&report), "{report:#?}");
    assert_eq!((report.checked.peers, report.checked.channels), (0, 0));

    // It hears a question, and says that it is blind.
    let question = authmesh_proto::observe::Question {
        entries: vec![entry("users", KEY)],
        ..Default::default()
    };
    let (answer, answered) = tokio::sync::oneshot::channel();
    let asked = crate::ports::Asked {
        from: crate::ports::GossipPeer {
            origin: a.mesh.node().origin,
            address: ([10, 0, 0, 1], 7946).into(),
            name: "a".into(),
        },
        request: question.encode(),
        limit: crate::ports::MAX_LARGE,
        answer,
    };
    super::answer(b.mesh.node(), asked);
    let reply = authmesh_proto::observe::Reply::decode(&answered.await.unwrap(), &question).unwrap();
    assert!(!reply.coherent);
}

#[tokio::test(start_paused = true)]
async fn one_round_and_one_answer_at_a_time() {
    let place = Place::new();
    let [a, _b] = place.sites().await;
    let turn = a.mesh.node().observer.rounds.clone().try_acquire_owned().unwrap();
    assert_eq!(a.mesh.observe(whole()).await, Err(ObserveError::Busy));
    drop(turn);
    assert!(is_sound(&observe(&a.mesh).await));

    let node = a.mesh.node();
    let turn = node.observer.answers.clone().try_acquire_owned().unwrap();
    let (answer, answered) = tokio::sync::oneshot::channel();
    let asked = crate::ports::Asked {
        from: crate::ports::GossipPeer {
            origin: node.origin,
            address: ([10, 0, 0, 9], 7946).into(),
            name: "flood".into(),
        },
        request: authmesh_proto::observe::Question::default().encode(),
        limit: crate::ports::MAX_LARGE,
        answer,
    };
    super::answer(node, asked);
    assert!(answered.await.is_err(), "it is as if it had been lost");
    drop(turn);
}

#[tokio::test(start_paused = true)]
async fn limits_are_kept_and_no_difference_counts_before_its_bound() {
    let place = Place::new();
    let a = alone(&place).await;
    let node = a.mesh.node();
    let greedy = Observation::default()
        .sample(usize::MAX)
        .peers(usize::MAX)
        .channels(usize::MAX)
        .settle(Duration::ZERO)
        .bounded(node);
    assert_eq!((greedy.sample, greedy.peers, greedy.channels), (1000, 16, 64));
    assert!(greedy.settle >= node.follower().config().lease);
    for key in 0..50 {
        load(&a.mesh, &format!("k{key}"), "value").await;
    }
    let report = a.mesh.observe(Observation::default().sample(10)).await.unwrap();
    assert_eq!((report.checked.entries, report.checked.channels), (10, 8));
}

#[tokio::test(start_paused = true)]
async fn a_node_observes_by_itself_where_it_is_told_to_and_only_there() {
    let place = Place::new();
    let quiet = alone(&place).await;
    let watching = builder("watching", &place.issuer)
        .join(Wire::new(&place.cluster))
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

#[test]
fn the_first_of_each_kind_is_told_and_no_other() {
    let watch = super::Watch::new(&support::namer());
    for kind in Inconsistency::ALL {
        assert!(watch.is_first(kind));
        assert!(!watch.is_first(kind));
    }
}

#[test]
fn equal_values_of_two_names_have_other_digests() {
    let watch = super::Watch::new(&support::namer());
    let [a, b] = ["a", "b"].map(|key| entry("users", key));
    assert_eq!(watch.digest(&a, b"value"), watch.digest(&a, b"value"));
    assert_ne!(watch.digest(&a, b"value"), watch.digest(&b, b"value"));
    assert_ne!(watch.digest(&a, b"value"), watch.digest(&a, b"other"));
    let other = crate::KeyRing::new([9; 32], [[2; 32]]).unwrap();
    let other = super::Watch::new(&authmesh_proto::crypto::Namer::new(&other, "authmesh"));
    assert_ne!(watch.digest(&a, b"value"), other.digest(&a, b"value"), "it is keyed");
}

/// The oldest is as likely as the newest.
#[test]
fn a_sample_is_fair() {
    let mut taken = [0_u32; 100];
    for seed in 0..2000 {
        let sample = reservoir(10, seed * 7919, 0..100_usize);
        assert_eq!(sample.len(), 10);
        for item in sample {
            taken[item] += 1;
        }
    }
    // 200 each on average, with a deviation of 13.
    assert!(taken.iter().all(|count| (130..=270).contains(count)), "{taken:?}");
    assert_eq!(reservoir(10, 1, 0..3), [0, 1, 2]);
    assert!(reservoir(0, 1, 0..3).is_empty());
}
