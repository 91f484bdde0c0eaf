//! What a receipt says of who has confirmed a revocation, and when that is enough.

use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::Members as _;
use authmesh::proto::crypto::{Context, Kind, NONCE_BYTES, Sealer};
use authmesh::proto::member::MemberRecord;
use authmesh::proto::wire;
use authmesh::{CommitState, Confirm, Confirmer, Receipt, RevokeError, Subject};
use tokio::time::Instant;

use crate::support::{Place, Site, builder, eventually, pass, ring};

fn names(confirmers: &[Confirmer]) -> Vec<&str> {
    confirmers.iter().map(|confirmer| confirmer.node.as_str()).collect()
}

async fn revoke(place: &Place, site: &Site, confirm: Confirm) -> Receipt {
    site.mesh
        .revoke(Subject::new(place.issuer.url(), "alice"))
        .confirm(confirm)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_receipt_names_who_has_confirmed_it() {
    let place = Place::new();
    let [a, b, c] = place.sites().await;
    let receipt = revoke(&place, &a, Confirm::AllLive).await;
    assert_eq!(receipt.state, CommitState::Committed);
    assert!(!receipt.single_copy);
    assert_eq!(names(&receipt.confirmed_by), ["b", "c"]);
    assert!(receipt.missing.is_empty());
    let confirmer = &receipt.confirmed_by[0];
    assert_eq!(confirmer.incarnation, a.sees("b").await.unwrap().incarnation);
    assert_eq!(confirmer.address, a.sees("b").await.unwrap().gossip);

    place.cut(&a, &c, true);
    let began = Instant::now();
    let receipt = a
        .mesh
        .revoke(Subject::new(place.issuer.url(), "bob"))
        .confirm(Confirm::AllLive)
        .deadline(Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(
        began.elapsed(),
        Duration::from_secs(1),
        "it waited for the one that is missing"
    );
    assert_eq!(receipt.state, CommitState::Committed, "by Redis");
    assert_eq!(names(&receipt.confirmed_by), ["b"]);
    assert_eq!(names(&receipt.missing), ["c"]);

    let began = Instant::now();
    let receipt = revoke(&place, &b, Confirm::Committed).await;
    assert_eq!(receipt.state, CommitState::Committed);
    assert!(began.elapsed() < Duration::from_secs(1), "it waited for nobody else");
}

/// Trap 37: the one that is missing may renew its lease by Redis for ever.
#[tokio::test(start_paused = true)]
async fn without_redis_a_revocation_is_unconfirmed_while_one_member_is_missing() {
    let place = Place::new();
    let [a, b, c] = place.sites().await;
    a.wire.faults().cut();
    b.wire.faults().cut();
    place.split(&[&a, &b], &[&c], true);
    let receipt = revoke(&place, &a, Confirm::Committed).await;
    assert_eq!(receipt.state, CommitState::Unconfirmed, "a majority is not enough");
    assert!(!receipt.single_copy);
    assert_eq!(names(&receipt.confirmed_by), ["b"]);
    assert_eq!(names(&receipt.missing), ["c"]);

    place.split(&[&a, &b], &[&c], false);
    let receipt = a
        .mesh
        .revoke_all([Subject::new(place.issuer.url(), "bob")])
        .await
        .unwrap()
        .remove(0);
    assert_eq!(receipt.state, CommitState::Committed, "every member has it");
    assert_eq!(names(&receipt.confirmed_by), ["b", "c"]);
}

/// Whoever is not registered any more may be gone for the others, who need not hear what it says to a Redis of its own.
#[tokio::test(start_paused = true)]
async fn a_node_that_others_may_hold_to_be_gone_commits_nothing_by_redis_alone() {
    let place = Place::new();
    let (wire, gossip) = (crate::support::wired(&place.cluster), Arc::new(place.hub.node()));
    let cluster = Arc::new(place.cluster.clone());
    let mesh = builder("a", &place.issuer)
        .join_through(
            Arc::clone(&cluster) as _,
            Arc::clone(&cluster) as _,
            cluster as _,
            Arc::clone(&wire) as _,
        )
        .gossip(Arc::clone(&gossip) as _)
        .start()
        .await
        .unwrap();
    let a = Site { mesh, wire, gossip };
    let b = place.site("b").await;
    let sites = [a, b];
    Place::settled(&sites).await;
    let [a, b] = sites;
    place.cut(&a, &b, true);
    // Only its registration fails.
    a.wire.faults().cut();
    assert_eq!(
        revoke(&place, &a, Confirm::Committed).await.state,
        CommitState::Committed
    );
    pass(Duration::from_secs(31)).await;
    assert!(!a.is_coherent());
    assert_eq!(
        revoke(&place, &a, Confirm::Committed).await.state,
        CommitState::Unconfirmed
    );

    a.wire.faults().clear();
    place.cut(&a, &b, false);
    eventually("it is vouched for again", || async {
        a.mesh.health().gossip.unwrap().vouched
    })
    .await;
    assert_eq!(
        revoke(&place, &a, Confirm::Committed).await.state,
        CommitState::Committed
    );
}

/// A member that met a kind of statement which it does not know would turn blind.
#[tokio::test(start_paused = true)]
async fn a_kind_of_statement_that_a_member_does_not_know_is_not_said() {
    const DROP: u16 = 1;
    const MARK: u16 = 2;
    const NEW: u16 = 4;
    let place = Place::new();
    let [a, _b] = place.sites().await;
    assert!(a.mesh.may_send(DROP) && a.mesh.may_send(MARK) && !a.mesh.may_send(NEW));

    let id = [9; 16];
    let record = MemberRecord {
        name: "old".into(),
        address: String::new(),
        version: "0.0.9".into(),
        wire_versions: vec![1],
        statement_kinds: vec![DROP],
        sequence: 1,
        gossip: String::new(),
        view: Vec::new(),
    };
    let sealed = Sealer::new(&ring(), "authmesh").seal(
        Kind::Member,
        &Context::new().name(&id),
        [7; NONCE_BYTES],
        &wire::encode(&record),
    );
    place.cluster.announce(id.to_vec(), sealed).await.unwrap();
    eventually("its record is read", || async { a.sees("old").await.is_some() }).await;
    assert!(a.mesh.may_send(DROP) && !a.mesh.may_send(MARK));
    let refused = a.mesh.revoke(Subject::new(place.issuer.url(), "alice")).await;
    assert_eq!(refused.unwrap_err(), RevokeError::UnknownKind { kind: MARK });
    assert_eq!(a.mesh.stats().marks, 0, "nothing was voided");

    pass(Duration::from_secs(40)).await;
    a.mesh.members().await.unwrap();
    assert!(a.mesh.may_send(MARK), "its record stands still: it is not live");
}
