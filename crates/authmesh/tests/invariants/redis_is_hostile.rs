//! Invariant 8: whoever can read or write Redis can neither read claims nor mint, alter, move or revive anything.

use std::sync::Arc;
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::ports::{Log as _, Store, StoredMark};
use authmesh::proto::crypto::ScopeKind;
use authmesh::proto::ident::{ChannelId, Digest, EntryName};
use authmesh::{AuthMesh, Cache, KeyRing, Load, Namespace, Outcome, Session, Subject, Token, VerifyError};
use authmesh_testkit::{Call, Op};
use serde_json::json;

use crate::support::{
    TestIssuer, builder, cluster_with, entry, eventually, manual_clock, node, node_through, subject, wired,
};

const SPACE: &str = "users";

fn cache(mesh: &AuthMesh) -> Cache<String> {
    mesh.cache(Namespace::new(SPACE)).unwrap()
}

async fn load(mesh: &AuthMesh, key: &str, value: &str) -> String {
    let value = value.to_owned();
    cache(mesh)
        .get_or_load(key, move || async { Ok::<_, ()>(value) })
        .await
        .unwrap()
        .to_string()
}

async fn raw(cluster: &Cluster, name: EntryName) -> Vec<u8> {
    eventually("a record stands in L2", || async {
        // A lease has 42 bytes; a record has more.
        Store::read(cluster, name)
            .await
            .unwrap()
            .value
            .is_some_and(|bytes| bytes.len() > 42)
    })
    .await;
    Store::read(cluster, name).await.unwrap().value.unwrap()
}

/// The value under `key` was replaced by `bytes`: `reader`, which has nothing in memory, must not take it for one.
async fn assert_miss(cluster: &Cluster, issuer: &TestIssuer, key: &str, bytes: Vec<u8>, counted: bool) {
    cluster.tamper(entry(SPACE, key), bytes);
    let reader = node("reader", cluster, issuer).await;
    let before = reader.stats().counts.unopened;
    assert_eq!(cache(&reader).get(key).await, None);
    assert_eq!(reader.stats().counts.unopened - before, u64::from(counted));
    assert_eq!(load(&reader, key, "truth").await, "truth");
    reader.shutdown().await;
}

#[tokio::test]
async fn an_altered_or_truncated_value_is_a_miss_and_counted() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &cluster, &issuer).await;
    load(&a, "key", "value").await;
    let good = raw(&cluster, entry(SPACE, "key")).await;
    // The clear part up to the generation tells an outdated value: a miss of the ordinary kind.
    const CLEAR: usize = 2 + 16 + 8;
    for at in (0..good.len()).step_by(3).chain([good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_miss(&cluster, &issuer, "key", bad, !(2..CLEAR).contains(&at)).await;
    }
    for length in [0, 1, CLEAR, CLEAR + 8, good.len() - 1] {
        assert_miss(&cluster, &issuer, "key", good[..length].to_vec(), true).await;
    }
    let mut longer = good.clone();
    longer.push(0);
    assert_miss(&cluster, &issuer, "key", longer, true).await;

    cluster.tamper(entry(SPACE, "key"), good);
    let reader = node("reader", &cluster, &issuer).await;
    assert_eq!(
        cache(&reader).get("key").await.unwrap().as_str(),
        "value",
        "put back, it is what it was"
    );
}

#[tokio::test]
async fn a_moved_value_is_a_miss_and_counted() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &cluster, &issuer).await;
    let home = entry(SPACE, "key").slot().channel;
    // In the same channel: nothing but the seal tells them apart.
    let neighbour = (0..)
        .map(|n| format!("key-{n}"))
        .find(|key| entry(SPACE, key).slot().channel == home)
        .unwrap();
    let stranger = (0..)
        .map(|n| format!("key-{n}"))
        .find(|key| entry(SPACE, key).slot().channel != home)
        .unwrap();
    load(&a, "key", "admin").await;
    let good = raw(&cluster, entry(SPACE, "key")).await;
    assert_miss(&cluster, &issuer, &neighbour, good.clone(), true).await;
    assert_miss(&cluster, &issuer, &stranger, good, false).await;
}

/// A value from before a loss was kept by whoever reads Redis, and is put back afterwards.
#[tokio::test]
async fn a_replayed_value_of_an_earlier_incarnation_is_a_miss() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &cluster, &issuer).await;
    load(&a, "key", "old").await;
    let old = raw(&cluster, entry(SPACE, "key")).await;
    cache(&a).remove("key").await.unwrap();
    cluster.wipe();
    eventually("a follows the new log", || async { a.stats().counts.adoptions >= 64 }).await;
    assert_miss(&cluster, &issuer, "key", old, false).await;
}

/// A value that a tag voided is put back: the position that it was filled at gives it away.
#[tokio::test]
async fn a_replayed_value_that_a_tag_voided_is_a_miss() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &cluster, &issuer).await;
    let load = || async { Ok::<_, ()>(Load::new("old".to_owned()).tag("team")) };
    cache(&a).get_or_load("key", load).await.unwrap();
    let old = raw(&cluster, entry(SPACE, "key")).await;
    cache(&a).invalidate_tag("team").await.unwrap();
    assert_miss(&cluster, &issuer, "key", old, false).await;
}

/// Another ring: other names, other seals. And the same names under other seals.
#[tokio::test]
async fn a_node_with_another_key_ring_reads_nothing() {
    for naming in [[1; 32], [8; 32]] {
        let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
        let a = node("a", &cluster, &issuer).await;
        load(&a, "key", "value").await;
        let name = entry(SPACE, "key");
        raw(&cluster, name).await;

        let other = KeyRing::new(naming, [[9; 32]]).unwrap();
        let foreign = builder("foreign", &issuer)
            .key_ring(other)
            .join(Arc::new(cluster.clone()))
            .start()
            .await
            .unwrap();
        let same_names = naming == [1; 32];
        assert_eq!(cache(&foreign).get("key").await, None);
        if same_names {
            eventually("it was seen, and did not open", || async {
                cache(&foreign).get("key").await;
                foreign.stats().counts.unopened > 0
            })
            .await;
        }
        assert_eq!(load(&foreign, "key", "its own").await, "its own");
        assert!(
            foreign.members().await.unwrap().iter().all(|member| member.this),
            "nor who else is there"
        );
        assert_eq!(cache(&a).get("key").await.unwrap().as_str(), "value");
    }
}

/// A statement that does not open is not a miss, and one forgery must not blind a cluster for good: the channel is voided
/// everywhere, and goes on once a whole table of marks shows that none is missing.
#[tokio::test]
async fn forged_statements_void_their_channel_and_no_more() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    wire.faults().record();
    let a = node_through("a", &wire, &issuer).await;
    let b = node("b", &cluster, &issuer).await;
    let (alice, bob) = (issuer.token_with(json!({})), issuer.token_with(json!({"sub": "bob"})));
    a.verifier().verify(&alice).await.unwrap();
    a.revoke(Subject::new(issuer.url(), "bob")).await.unwrap();
    let said = wire.faults().recorded();
    let genuine = said.into_iter().find_map(|call| match call {
        Call::Commit(commit) => Some(commit.statement),
        _ => None,
    });
    let genuine = genuine.unwrap();
    let channel = entry(SPACE, "key").slot().channel;
    load(&b, "key", "old").await;
    raw(&cluster, entry(SPACE, "key")).await;
    let mut altered = genuine.clone();
    *altered.last_mut().unwrap() ^= 1;

    // Random bytes, an altered one, and a good one in a channel that is not its own.
    assert_ne!(channel, subject(&issuer, "bob").slot().channel);
    for (n, forged) in [vec![0xa5; 120], altered, genuine, vec![0]].into_iter().enumerate() {
        let head = async || cluster.heads().await.unwrap()[channel.index()].unwrap();
        let before = head().await;
        // Whoever sees it first.
        let counted = || a.stats().counts.unopened + b.stats().counts.unopened;
        let counted_before = counted();
        match n % 2 {
            0 => cluster.forge(channel, forged),
            _ => cluster.forge_bare(channel, forged),
        }
        eventually("the forgery is counted", || async { counted() > counted_before }).await;
        eventually("another incarnation voids what it may have been about", || async {
            head().await.incarnation != before.incarnation
        })
        .await;
        eventually("the channel is shared again", || async {
            load(&b, "key", "new").await;
            cache(&a).get("key").await.is_some()
        })
        .await;
    }
    assert_eq!(*cache(&a).get("key").await.unwrap(), "new");
    let late = node("late", &cluster, &issuer).await;
    eventually("nor is a new node kept out", || async { late.health().coherent }).await;
    for mesh in [&a, &b, &late] {
        assert!(mesh.health().coherent && mesh.is_ready());
        let deny = mesh.verifier().sensitive();
        deny.verify(&alice).await.unwrap();
        assert_eq!(
            deny.verify(&bob).await.unwrap_err(),
            VerifyError::Revoked(ScopeKind::Subject)
        );
    }
}

/// What is sealed under a key that this node lacks may well be a revocation: it stays blind, since the table does not open
/// either. A drop under such a key is made up for.
#[tokio::test]
async fn a_revocation_under_an_unknown_key_ends_the_lease() {
    let clock = manual_clock();
    let (cluster, issuer) = (cluster_with(&clock), TestIssuer::at(clock.clone()));
    let wire = wired(&cluster);
    let a = node_through("a", &wire, &issuer).await;
    // The same names under another seal: it opens what `a` says, not the other way round.
    let newer = KeyRing::new([1; 32], [[9; 32], [2; 32]]).unwrap();
    let b = builder("b", &issuer).key_ring(newer).join(Arc::new(cluster.clone()));
    let b = b.start().await.unwrap();
    let alice = issuer.token_with(json!({}));
    let deny = a.verifier().sensitive();
    deny.verify(&alice).await.unwrap();

    // A node mints a channel at most once in a while, and it gave birth to this one.
    clock.advance(Duration::from_secs(1));
    b.cache::<String>(Namespace::new(SPACE))
        .unwrap()
        .remove("key")
        .await
        .unwrap();
    eventually("a drop is made up for", || async {
        a.stats().counts.adoptions > 0 && a.health().coherent
    })
    .await;
    for _ in 0..8 {
        clock.advance(Duration::from_millis(500));
        wire.faults().next_end(Op::Heads).await;
    }
    deny.verify(&alice).await.unwrap();

    b.revoke(Subject::new(issuer.url(), "bob")).await.unwrap();
    eventually("the revocation is seen", || async { a.stats().counts.unopened > 1 }).await;
    for _ in 0..8 {
        // The heads are read again and again meanwhile; none of it renews the lease.
        clock.advance(Duration::from_millis(500));
        wire.faults().next_end(Op::Heads).await;
    }
    assert!(matches!(
        deny.verify(&alice).await,
        Err(VerifyError::Blind { blind_for: Some(_) })
    ));
    assert_eq!(a.verifier().answer(&alice).await.unwrap().outcome, Outcome::Blind);
    assert!(a.is_ready());
}

/// Marks that left Redis behind everybody's back, an altered one, and garbage: no new node takes such a table for whole, and
/// a node that knows better puts it right.
#[tokio::test]
async fn a_damaged_table_lets_nobody_in_and_is_mended() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &cluster, &issuer).await;
    let bob = issuer.token_with(json!({"sub": "bob"}));
    for n in 0..100 {
        a.revoke(Subject::new(issuer.url(), format!("user {n}"))).await.unwrap();
    }
    a.revoke(Subject::new(issuer.url(), "bob")).await.unwrap();
    let table = async |channel| cluster.load(channel, None).await.unwrap().marks;
    for channel in ChannelId::all() {
        let marks = table(channel).await;
        cluster.uproot(channel, &marks);
        if let Some(first) = marks.first() {
            let mut altered = first.clone();
            *altered.sealed.last_mut().unwrap() ^= 1;
            cluster.plant(channel, altered);
        }
        cluster.plant(
            channel,
            StoredMark {
                hour: 500_000,
                field: [7; 33],
                rank: u64::MAX,
                digest: Digest([9; 16]),
                sealed: vec![1; 90],
            },
        );
    }
    let b = node("b", &cluster, &issuer).await;
    assert!(
        b.verifier().verify(&bob).await.is_err(),
        "revoked, or blind until it knows"
    );
    // One channel after another.
    eventually("the table is whole again, and lets a new node in", || async {
        b.is_ready()
    })
    .await;
    eventually("and garbage is gone", || async {
        for channel in ChannelId::all() {
            if table(channel).await.iter().any(|mark| mark.rank == u64::MAX) {
                return false;
            }
        }
        true
    })
    .await;
    eventually("nothing is lost", || async {
        b.health().coherent && b.stats().marks == a.stats().marks
    })
    .await;
    assert_eq!(
        b.verifier().verify(&bob).await.unwrap_err(),
        VerifyError::Revoked(ScopeKind::Subject)
    );
}

#[tokio::test]
async fn no_claim_no_key_and_no_token_leaves_the_process_in_the_clear() {
    const SECRETS: [&str; 9] = [
        "alice-the-subject",
        "session-of-alice",
        "jti-of-alice",
        "client-of-alice",
        "secret-cache-key",
        "secret-cache-value",
        "secret-cache-tag",
        "secret-reason",
        "node-of-secrets",
    ];
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    wire.faults().record();
    let a = node_through("node-of-secrets", &wire, &issuer).await;
    let claims = json!({"sub": SECRETS[0], "sid": SECRETS[1], "jti": SECRETS[2], "client_id": SECRETS[3]});
    let token = issuer.token_with(claims);
    a.verifier().verify(&token).await.unwrap();
    a.revoke(Subject::new(issuer.url(), SECRETS[0]))
        .except_session(SECRETS[1])
        .why(SECRETS[7])
        .await
        .unwrap();
    a.revoke(Session::new(issuer.url(), SECRETS[1])).await.unwrap();
    a.revoke(authmesh::JwtId::new(issuer.url(), SECRETS[2])).await.unwrap();
    a.revoke(authmesh::Client::new(issuer.url(), SECRETS[3])).await.unwrap();
    a.revoke(Token::new(&*token)).await.unwrap();
    a.verifier().invalidate(&token).await.unwrap();
    let load = || async { Ok::<_, ()>(Load::new(SECRETS[5].to_owned()).tag(SECRETS[6])) };
    cache(&a).get_or_load(SECRETS[4], load).await.unwrap();
    raw(&cluster, entry(SPACE, SECRETS[4])).await;
    cache(&a)
        .insert_if_absent("another", SECRETS[5].to_owned())
        .await
        .unwrap();
    cache(&a).invalidate_tag(SECRETS[6]).await.unwrap();
    cache(&a).remove(SECRETS[4]).await.unwrap();
    a.members().await.unwrap();

    let said = wire.faults().recorded();
    let mut held: Vec<Vec<u8>> = said.iter().flat_map(Call::bytes).map(<[u8]>::to_vec).collect();
    for channel in authmesh::proto::ident::ChannelId::all() {
        held.extend(
            cluster
                .load(channel, None)
                .await
                .unwrap()
                .marks
                .into_iter()
                .map(|mark| mark.sealed),
        );
    }
    assert!(held.len() > 20, "this test sees what passes");
    let needles = SECRETS
        .iter()
        .copied()
        .chain(token.split('.'))
        .chain([issuer.url(), SPACE]);
    for needle in needles {
        let found = held
            .iter()
            .any(|bytes| bytes.windows(needle.len()).any(|window| window == needle.as_bytes()));
        assert!(!found, "{needle} stands in the clear");
    }
}
