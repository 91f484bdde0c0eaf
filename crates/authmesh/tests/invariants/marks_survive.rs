//! Invariant 5: losing all of Redis loses no live mark while one coherent node lives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use authmesh::memory::Cluster;
use authmesh::ports::Log as _;
use authmesh::proto::crypto::{Context, Kind, Sealer};
use authmesh::proto::ident::{ChannelId, Nonce, Position, StatementName, StreamId};
use authmesh::proto::log::Payload;
use authmesh::proto::statement::Statement;
use authmesh::{AuthMesh, CommitState, JwtId, Session, Subject, VerifyError};
use authmesh_testkit::Op;
use serde_json::json;

use crate::support::{TestIssuer, eventually, node, node_through, poll_once, ring, wired};

const COUNT: usize = 40;

fn user(n: usize) -> String {
    format!("user-{n}")
}

async fn is_revoked(mesh: &AuthMesh, token: &str) -> bool {
    matches!(mesh.verifier().verify(token).await, Err(VerifyError::Revoked(_)))
}

async fn revoke_some(mesh: &AuthMesh, issuer: &TestIssuer) -> Vec<String> {
    let mut tokens = Vec::new();
    for n in 0..COUNT {
        tokens.push(issuer.token_with(json!({"sub": user(n), "sid": "s1"})));
        let receipt = mesh.revoke(Subject::new(issuer.url(), user(n))).await.unwrap();
        assert_eq!(receipt.state, CommitState::Committed);
    }
    tokens
}

/// Whoever joins afterwards knows every mark, even when every node from before is gone by then.
async fn all_are_back(survivor: AuthMesh, cluster: &Cluster, issuer: &TestIssuer, tokens: &[String]) {
    let joiner = node("joiner", cluster, issuer).await;
    for token in tokens {
        eventually("the joiner has the mark", || is_revoked(&joiner, token)).await;
        assert!(is_revoked(&survivor, token).await);
    }
    survivor.shutdown().await;
    joiner.shutdown().await;
    let heir = node("heir", cluster, issuer).await;
    for token in tokens {
        assert!(is_revoked(&heir, token).await, "it stands in the table again");
    }
}

#[tokio::test]
async fn everything_is_emptied_while_one_node_lives() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let (a, b) = (node("a", &cluster, &issuer).await, node("b", &cluster, &issuer).await);
    let tokens = revoke_some(&a, &issuer).await;
    for token in &tokens {
        eventually("b has the mark", || is_revoked(&b, token)).await;
    }
    // The one that made them is gone; the one that heard of them lives.
    a.shutdown().await;
    cluster.wipe();
    all_are_back(b, &cluster, &issuer, &tokens).await;
}

#[tokio::test]
async fn exceptions_and_kinds_come_back_as_they_were() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &cluster, &issuer).await;
    a.revoke(Subject::new(issuer.url(), "alice"))
        .except_session("s1")
        .await
        .unwrap();
    a.revoke(Session::new(issuer.url(), "s2")).await.unwrap();
    a.revoke(JwtId::new(issuer.url(), "j3")).await.unwrap();
    let void = [
        json!({"sid": "s9"}),
        json!({"sub": "bob", "sid": "s2"}),
        json!({"sub": "bob", "jti": "j3"}),
    ];
    let void = void.map(|claims| issuer.token_with(claims));
    let kept =
        [json!({"sid": "s1"}), json!({"sub": "bob", "sid": "s1", "jti": "j1"})].map(|claims| issuer.token_with(claims));
    cluster.wipe();

    let b = node("b", &cluster, &issuer).await;
    for token in &void {
        eventually("the joiner has the mark", || is_revoked(&b, token)).await;
    }
    for token in &kept {
        b.verifier().verify(token).await.unwrap();
    }
}

#[tokio::test]
async fn the_newest_writes_are_lost() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let a = node("a", &cluster, &issuer).await;
    let tokens = revoke_some(&a, &issuer).await;
    for channel in ChannelId::all() {
        cluster.lose_newest(channel, 1);
    }
    all_are_back(a, &cluster, &issuer, &tokens).await;
}

/// The joiner was faster than the survivor: its log is the one that counts now, and the marks are brought to it.
#[tokio::test]
async fn another_node_has_begun_a_new_log_meanwhile() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = node_through("a", &wire, &issuer).await;
    let tokens = revoke_some(&a, &issuer).await;
    let cut = wire.faults().cut();
    cluster.wipe();
    let early = node("early", &cluster, &issuer).await;
    early.verifier().verify(&tokens[0]).await.unwrap();
    // The commits that would bring the marks back fail for a while; they are not given up.
    let refused = wire.faults().on(Op::Commit).fail();
    cut.lift();
    eventually("a follows the new log", || async { a.stats().counts.adoptions >= 64 }).await;
    assert!(!is_revoked(&early, &tokens[0]).await, "nothing can have come yet");
    refused.lift();
    for token in &tokens {
        eventually("the early one has the mark", || is_revoked(&early, token)).await;
    }
    all_are_back(a, &cluster, &issuer, &tokens).await;
}

/// Said again without being counted: a gap in an origin's counters means a statement that was missed, and nothing else.
#[tokio::test]
async fn what_is_brought_back_has_no_counter_of_its_own() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = node_through("a", &wire, &issuer).await;
    revoke_some(&a, &issuer).await;
    let before = counters(&cluster).await;
    let cut = wire.faults().cut();
    cluster.wipe();
    // Another node's log, so that restatements fail and are said once more.
    let _early = node("early", &cluster, &issuer).await;
    let refused = wire.faults().on(Op::Commit).fail();
    cut.lift();
    eventually("a follows the new log", || async { a.stats().counts.adoptions >= 64 }).await;
    refused.lift();
    eventually("every mark is back", || async {
        let restated = counters(&cluster).await;
        restated.values().map(Vec::len).sum::<usize>() >= COUNT
    })
    .await;
    let restated = counters(&cluster).await;
    assert!(
        restated
            .values()
            .flatten()
            .all(|counter| *counter == StatementName::RESTATED),
        "{restated:?}"
    );

    revoke_some(&a, &issuer).await;
    for (channel, all) in counters(&cluster).await {
        let said = all.into_iter().filter(|counter| *counter != StatementName::RESTATED);
        // As a set: a statement may be committed more than once.
        let said: BTreeSet<u64> = said.collect();
        let last = before.get(&channel).and_then(|counters| counters.iter().max());
        let next = (last.unwrap_or(&0) + 1..).take(said.len());
        assert_eq!(said, next.collect(), "{channel:?}: nothing between them");
    }
}

/// The counters of the statements in the logs, in their order.
async fn counters(cluster: &Cluster) -> BTreeMap<ChannelId, Vec<u64>> {
    let sealer = Sealer::new(&ring(), "authmesh");
    let start = Position {
        id: StreamId::default(),
        nonce: Nonce([0; 16]),
    };
    let mut counters = BTreeMap::<_, Vec<u64>>::new();
    for channel in ChannelId::all() {
        let slice = cluster.read(channel, start, 10_000).await.unwrap();
        for entry in slice.entries {
            if let Payload::Statement(sealed) = &entry.payload {
                let opened = sealer.open(Kind::Statement, &Context::new().channel(channel), sealed);
                let statement = Statement::decode(&opened.unwrap()).unwrap();
                counters.entry(channel).or_default().push(statement.name.counter);
            }
        }
    }
    counters
}

/// A mark that could never be committed before the loss.
#[tokio::test]
async fn one_that_was_on_its_way() {
    let (cluster, issuer) = (Cluster::new(), TestIssuer::new());
    let wire = wired(&cluster);
    let a = node_through("a", &wire, &issuer).await;
    let token = issuer.token_with(json!({}));
    let cut = wire.faults().cut();
    let revoking = a.revoke(Subject::new(issuer.url(), "alice"));
    assert!(
        poll_once(std::future::IntoFuture::into_future(revoking))
            .await
            .is_none()
    );
    cluster.wipe();
    cut.lift();
    let b = node("b", &cluster, &issuer).await;
    eventually("it is committed, though nobody waits for it", || is_revoked(&b, &token)).await;
    eventually("nothing waits any more", || async { a.stats().outbox == 0 }).await;
    assert!(is_revoked(&a, &token).await);
    b.verifier()
        .max_age(Duration::ZERO)
        .verify(issuer.token_with(json!({"sub": "bob"})))
        .await
        .unwrap();
}
