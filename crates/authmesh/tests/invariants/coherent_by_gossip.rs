//! Invariant 2, with gossip: who may go on trusting its memory without Redis, and who may not.

use std::net::SocketAddr;
use std::time::Duration;

use authmesh::ports::Gossip as _;
use authmesh::{CommitState, Status, Subject, VerifyError, WhenBlind};
use serde_json::json;

use crate::support::{Place, Site, eventually, pass};

const LEASE: Duration = Duration::from_secs(3);
/// A lease, and the rounds around it.
const PAST_LEASE: Duration = Duration::from_millis(3500);

async fn is_revoked(site: &Site, token: &str) -> bool {
    matches!(site.mesh.verifier().verify(token).await, Err(VerifyError::Revoked(_)))
}

#[tokio::test(start_paused = true)]
async fn without_redis_nodes_stay_coherent_and_a_revocation_reaches_all() {
    let place = Place::new();
    let sites: [Site; 3] = place.sites().await;
    let token = place.issuer.token_with(json!({}));
    for site in &sites {
        site.mesh.verifier().verify(&token).await.unwrap();
    }

    place.cluster.set_up(false);
    for _ in 0..40 {
        pass(LEASE / 4).await;
        for site in &sites {
            assert!(site.is_coherent(), "not for one moment blind");
        }
    }
    for site in &sites {
        let gossip = site.mesh.health().gossip.unwrap();
        assert!(gossip.coherent_by_gossip && !gossip.coherent_by_redis);
        site.mesh.verifier().sensitive().verify(&token).await.unwrap();
    }

    let receipt = sites[0]
        .mesh
        .revoke(Subject::new(place.issuer.url(), "alice"))
        .await
        .unwrap();
    assert_eq!(receipt.state, CommitState::Committed);
    for site in &sites {
        assert!(is_revoked(site, &token).await, "whoever confirmed it has applied it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_goes_blind_within_the_lease_and_says_so() {
    let place = Place::new();
    let [a, b, c] = place.sites().await;
    let token = place.issuer.token_with(json!({}));
    c.mesh.verifier().verify(&token).await.unwrap();
    c.wire.faults().cut();
    place.split(&[&a, &b], &[&c], true);

    pass(LEASE + Duration::from_millis(10)).await;
    let health = c.mesh.health();
    assert!(!health.coherent && health.status == Status::Blind);
    let gossip = health.gossip.unwrap();
    assert!(!gossip.coherent_by_gossip && !gossip.coherent_by_redis);
    assert!(gossip.evidence_age_ms.unwrap() >= 3000);
    let deny = c.mesh.verifier().when_blind(WhenBlind::Deny);
    assert!(matches!(
        deny.verify(&token).await,
        Err(VerifyError::Blind { blind_for: Some(_) })
    ));

    a.mesh.revoke(Subject::new(place.issuer.url(), "alice")).await.unwrap();
    for site in [&a, &b] {
        assert!(site.is_coherent(), "by Redis");
    }
    let seen = a.sees("c").await.unwrap();
    assert!(seen.in_view && seen.found == Some(false) && seen.evidence_age_ms.unwrap() >= 3000);

    c.wire.faults().clear();
    place.split(&[&a, &b], &[&c], false);
    eventually("it is coherent again", || async {
        let revoked = is_revoked(&c, &token).await;
        assert!(revoked || !c.is_coherent(), "coherent again, and it does not know");
        c.is_coherent()
    })
    .await;
}

/// Trap 2: nodes that have neither Redis nor those who have it renew each other for ever.
#[tokio::test(start_paused = true)]
async fn a_majority_without_a_proof_of_redis_gives_no_lease() {
    let place = Place::new();
    let [r, a, b, c, d] = place.sites().await;
    for site in [&b, &c, &d] {
        site.wire.faults().cut();
    }
    // The control: with one that has Redis among them, three others are enough.
    place.split(&[&r], &[&b, &c, &d], true);
    pass(PAST_LEASE).await;
    for site in [&r, &a, &b, &c, &d] {
        assert!(site.is_coherent());
    }

    place.split(&[&a], &[&b, &c, &d], true);
    pass(PAST_LEASE).await;
    for site in [&b, &c, &d] {
        assert!(!site.is_coherent(), "a majority, and nobody has heard what Redis holds");
    }
    for site in [&r, &a] {
        assert!(site.is_coherent(), "by Redis");
    }
}

/// A proof of Redis that is relayed is worth what its bringer had applied of the log when it was made.
#[tokio::test(start_paused = true)]
async fn what_redis_holds_goes_along_with_its_proof() {
    let place = Place::new();
    let [r, a, c] = place.sites().await;
    let token = place.issuer.token_with(json!({}));
    c.mesh.verifier().verify(&token).await.unwrap();
    c.wire.faults().cut();
    place.split(&[&r], &[&a, &c], true);
    pass(PAST_LEASE).await;
    assert!(c.is_coherent(), "a majority, and a proof of Redis by way of a");

    let receipt = r.mesh.revoke(Subject::new(place.issuer.url(), "alice")).await.unwrap();
    assert_eq!(receipt.state, CommitState::Committed);
    pass(LEASE).await;
    assert!(c.is_coherent());
    assert!(
        is_revoked(&c, &token).await,
        "coherent a lease later, and it does not know"
    );
}

/// Trap 38.
#[tokio::test(start_paused = true)]
async fn a_joiner_holds_no_lease_before_every_member_knows_it() {
    let place = Place::new();
    let [a, b] = place.sites().await;
    b.wire.faults().cut();
    place.cut(&a, &b, true);
    // It reaches Redis and `a`; `b` hears of nobody new. The next place on the hub is its own.
    let address = SocketAddr::from(([10, 0, 0, 3], 7946));
    place.hub.cut(address, b.gossip.address().unwrap(), true);
    let joiner = place.site("j").await;
    assert_eq!(joiner.gossip.address(), Some(address));
    for _ in 0..20 {
        pass(Duration::from_secs(1)).await;
        let health = joiner.mesh.health();
        let gossip = health.gossip.unwrap();
        assert!(!health.coherent && !gossip.joined);
        assert!(health.ready, "its marks are loaded");
        assert_eq!(gossip.waits_for, ["b"]);
    }
    assert!(joiner.sees("b").await.unwrap().waited_for);

    place.split(&[&a, &joiner], &[&b], false);
    eventually("b knows it", || async { joiner.is_coherent() }).await;
    assert!(joiner.mesh.health().gossip.unwrap().joined);
}

/// Trap 24: an operator may forget a member, and whoever is forgotten cannot come back as if nothing had happened.
#[tokio::test(start_paused = true)]
async fn a_forgotten_member_stays_blind_until_it_is_started_anew() {
    let place = Place::new();
    let [a, b, c] = place.sites().await;
    place.cluster.set_up(false);
    place.split(&[&a, &b], &[&c], true);
    pass(PAST_LEASE).await;
    assert!(!a.is_coherent() && !b.is_coherent(), "c may know what they do not");

    let incarnation = a.sees("c").await.unwrap().incarnation;
    assert!(!a.mesh.forget_member("00112233445566778899aabbccddeeff").await.unwrap());
    assert!(!a.mesh.forget_member("c").await.unwrap());
    assert!(a.mesh.forget_member(&incarnation).await.unwrap());
    eventually("those that are left are enough", || async {
        a.is_coherent() && b.is_coherent()
    })
    .await;

    place.cluster.set_up(true);
    place.split(&[&a, &b], &[&c], false);
    eventually("it finds out", || async { c.mesh.health().gossip.unwrap().forgotten }).await;
    for _ in 0..20 {
        pass(Duration::from_secs(1)).await;
        assert!(!c.is_coherent() && a.is_coherent() && b.is_coherent());
    }
    assert_eq!(c.mesh.health().status, Status::Blind);

    c.mesh.shutdown().await;
    let again = place.site("c").await;
    eventually("started anew it is a member", || async { again.is_coherent() }).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_is_not_waited_for() {
    let place = Place::new();
    let [a, b, c] = place.sites().await;
    place.cluster.set_up(false);
    pass(PAST_LEASE).await;
    c.mesh.shutdown().await;
    for _ in 0..20 {
        pass(LEASE / 4).await;
        assert!(a.is_coherent() && b.is_coherent());
    }
    assert_eq!(a.mesh.health().gossip.unwrap().members, 1);
}

/// No Redis at all.
#[tokio::test(start_paused = true)]
async fn nodes_without_any_log_are_coherent_by_each_other() {
    let place = Place::new();
    let a = place.without_redis("a", 2).await;
    assert!(
        !a.is_coherent() && !a.mesh.is_ready(),
        "the log of its own proves nothing"
    );
    let b = place.without_redis("b", 2).await;
    Place::settled_pair(&a, &b).await;
    let token = place.issuer.token_with(json!({}));
    for site in [&a, &b] {
        site.mesh.verifier().verify(&token).await.unwrap();
    }

    let receipt = a.mesh.revoke(Subject::new(place.issuer.url(), "alice")).await.unwrap();
    assert_eq!(receipt.state, CommitState::Committed);
    assert!(!receipt.single_copy);
    assert!(is_revoked(&b, &token).await);

    let c = place.without_redis("c", 2).await;
    eventually("the third is taken in", || async {
        let revoked = is_revoked(&c, &token).await;
        assert!(revoked || !c.is_coherent(), "coherent, and it does not know");
        c.is_coherent()
    })
    .await;

    place.split(&[&a, &b], &[&c], true);
    pass(PAST_LEASE).await;
    for site in [&a, &b, &c] {
        assert!(!site.is_coherent(), "nobody can tell a cut from an end");
    }
}
