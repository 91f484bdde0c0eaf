//! What no other program can see or do: the machinery of the observer, and what is broken inside of a node on purpose. What an
//! observer finds is in `tests/observer`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authmesh_proto::crypto::{KeyRing, Namer, ScopeKind};
use authmesh_proto::observe::{Question, Reply};
use authmesh_proto::statement::{Mark, MarkKey, Note};
use authmesh_proto::time::{Moment, Now};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::sample::reservoir;
use super::{Inconsistency, Observation, ObserveError, Report, Watch, answer as answer_to};
use crate::Namespace;
use crate::memory::{Cluster, FixedKeys, Hub, Limits};
use crate::mesh::AuthMesh;
use crate::policy::Rules;
use crate::ports::{Asked, Clock, Gossip, GossipPeer, MAX_LARGE};

const ISSUER: &str = "https://issuer.test";
const START: u64 = 1_800_000_000;
const FAR: u64 = START + 40 * 3600;

/// Goes by the runtime's clock.
#[derive(Debug)]
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        let elapsed = self.0.elapsed();
        Now {
            boot: Moment::ORIGIN.plus(Duration::from_secs(5000) + elapsed),
            wall: START + elapsed.as_secs(),
        }
    }
}

/// A cluster and a hub in virtual time. The test kit's cannot be used in here: its nodes are those of another build of this crate.
struct World {
    cluster: Cluster,
    hub: Hub,
    clock: Arc<dyn Clock>,
    pair: Ed25519KeyPair,
    addresses: Mutex<Vec<SocketAddr>>,
}

impl World {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock(Instant::now()));
        Self {
            cluster: Cluster::with(Limits::default(), Arc::clone(&clock)),
            hub: Hub::new(),
            clock,
            pair: Ed25519KeyPair::generate().unwrap(),
            addresses: Mutex::default(),
        }
    }

    async fn node(&self, name: &str) -> AuthMesh {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": x}]});
        let gossip = Arc::new(self.hub.node());
        let node = AuthMesh::builder()
            .name(name)
            .key_ring(ring())
            .clock(Arc::clone(&self.clock))
            .issuer(
                ISSUER,
                Arc::new(FixedKeys::new(keys.to_string())),
                Rules::for_audiences(["api"]),
            )
            .join(Arc::new(self.cluster.clone()))
            .gossip(Arc::clone(&gossip) as _)
            .start()
            .await
            .unwrap();
        self.addresses.lock().unwrap().push(gossip.address().unwrap());
        eventually("it is coherent", || node.health().coherent).await;
        node
    }

    async fn pair(&self) -> [AuthMesh; 2] {
        let nodes = [self.node("a").await, self.node("b").await];
        eventually("they are members for each other", || {
            let mut gossip = nodes.iter().map(|node| node.health().gossip.unwrap());
            gossip.all(|gossip| gossip.members == 1 && gossip.coherent_by_gossip)
        })
        .await;
        nodes
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.lock().unwrap().clone()
    }

    /// A good token of alice.
    fn token(&self) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let now = self.clock.now().wall;
        let claims = json!({"iss": ISSUER, "aud": "api", "sub": "alice", "iat": now, "exp": now + 600});
        let input = format!("{}.{}", part(json!({"alg": "EdDSA", "kid": "k1"})), part(claims));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(input.as_bytes())))
    }
}

fn ring() -> KeyRing {
    KeyRing::new([1; 32], [[2; 32]]).unwrap()
}

fn namer() -> Namer {
    Namer::new(&ring(), "authmesh")
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let looked = tokio::time::timeout(Duration::from_secs(30), looking).await;
    assert!(looked.is_ok(), "not in time: {what}");
}

async fn load(mesh: &AuthMesh, key: &str, value: &str) {
    let (cache, value) = (mesh.cache::<String>(Namespace::new("users")).unwrap(), value.to_owned());
    cache
        .get_or_load(key, move || async { Ok::<_, ()>(value) })
        .await
        .unwrap();
}

/// Everything is looked at.
fn whole() -> Observation {
    Observation::default().sample(1000).peers(16).channels(64)
}

async fn observe(mesh: &AuthMesh) -> Report {
    mesh.observe(whole()).await.unwrap()
}

fn is_sound(report: &Report) -> bool {
    report.inconsistent == 0 && report.found.is_empty() && report.oldest_seconds.is_none()
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
    found.first.clone()
}

/// Invariant 1, broken on purpose: the map changes, and the epoch does not.
#[tokio::test(start_paused = true)]
async fn a_mark_beside_the_epoch_is_found() {
    let world = World::new();
    let site = world.node("a").await;
    let token = world.token();
    site.verifier().verify(&token).await.unwrap();
    assert!(is_sound(&observe(&site).await));

    let node = site.node();
    let now = node.now();
    let mark = Mark {
        key: MarkKey {
            scope: namer().scope(ScopeKind::Subject, ISSUER, b"alice"),
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
    assert!(site.verifier().verify(&token).await.is_ok(), "it is served, and void");

    let report = site.observe(whole().channels(0)).await.unwrap();
    let first = the_only(&report, Inconsistency::Marks);
    assert_eq!(report.checked.verdicts, 1);
    assert!(first.age_seconds >= 30 && first.what.contains("subject"));
    assert_eq!(first.name.len(), 32);
    let said = serde_json::to_string(&report).unwrap();
    for secret in ["alice", "somebody", "something", token.as_str()] {
        assert!(!said.contains(secret), "{said}");
    }
    assert_eq!(site.stats().counts.inconsistent_marks, 1);
    assert_eq!(node.observer.oldest_seconds(), report.oldest_seconds.unwrap());

    // The next mark of anybody makes hits look again.
    node.epoch.bump();
    assert!(is_sound(&site.observe(whole().channels(0)).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn one_round_and_one_answer_at_a_time() {
    let world = World::new();
    let [a, _b] = world.pair().await;
    let turn = a.node().observer.rounds.clone().try_acquire_owned().unwrap();
    assert_eq!(a.observe(whole()).await, Err(ObserveError::Busy));
    drop(turn);
    assert!(is_sound(&observe(&a).await));

    let node = a.node();
    let turn = node.observer.answers.clone().try_acquire_owned().unwrap();
    let (answer, answered) = tokio::sync::oneshot::channel();
    let asked = Asked {
        from: GossipPeer {
            origin: node.origin,
            address: ([10, 0, 0, 9], 7946).into(),
            name: "flood".into(),
        },
        request: Question::default().encode(),
        limit: MAX_LARGE,
        answer,
    };
    answer_to(node, asked);
    assert!(answered.await.is_err(), "it is as if it had been lost");
    drop(turn);
}

#[tokio::test(start_paused = true)]
async fn limits_are_kept_and_no_difference_counts_before_its_bound() {
    let world = World::new();
    let a = world.node("a").await;
    let node = a.node();
    let greedy = Observation::default()
        .sample(usize::MAX)
        .peers(usize::MAX)
        .channels(usize::MAX)
        .settle(Duration::ZERO)
        .bounded(node);
    assert_eq!((greedy.sample, greedy.peers, greedy.channels), (1000, 16, 64));
    assert!(greedy.settle >= node.follower().config().lease);
    for key in 0..50 {
        load(&a, &format!("k{key}"), "value").await;
    }
    let report = a.observe(Observation::default().sample(10)).await.unwrap();
    assert_eq!((report.checked.entries, report.checked.channels), (10, 8));
}

#[test]
fn the_first_of_each_kind_is_told_and_no_other() {
    let watch = Watch::new(&namer());
    for kind in Inconsistency::ALL {
        assert!(watch.is_first(kind));
        assert!(!watch.is_first(kind));
    }
}

#[test]
fn equal_values_of_two_names_have_other_digests() {
    let watch = Watch::new(&namer());
    let [a, b] = ["a", "b"].map(|key| namer().entry("users", key.as_bytes()));
    assert_eq!(watch.digest(&a, b"value"), watch.digest(&a, b"value"));
    assert_ne!(watch.digest(&a, b"value"), watch.digest(&b, b"value"));
    assert_ne!(watch.digest(&a, b"value"), watch.digest(&a, b"other"));
    let other = KeyRing::new([9; 32], [[2; 32]]).unwrap();
    let other = Watch::new(&Namer::new(&other, "authmesh"));
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

#[tokio::test(start_paused = true)]
async fn whoever_is_blind_says_so() {
    let world = World::new();
    let [a, b] = world.pair().await;
    let question = Question {
        entries: vec![namer().entry("users", b"alice")],
        ..Default::default()
    };
    for is_blind in [false, true] {
        if is_blind {
            world.cluster.set_up(false);
            world.hub.cut(world.addresses()[0], world.addresses()[1], true);
            eventually("b is blind", || !b.health().coherent).await;
        }
        let (answer, answered) = tokio::sync::oneshot::channel();
        let asked = Asked {
            from: GossipPeer {
                origin: a.node().origin,
                address: ([10, 0, 0, 1], 7946).into(),
                name: "a".into(),
            },
            request: question.encode(),
            limit: MAX_LARGE,
            answer,
        };
        answer_to(b.node(), asked);
        let reply = Reply::decode(&answered.await.unwrap(), &question).unwrap();
        assert_eq!(reply.coherent, !is_blind);
    }
}
