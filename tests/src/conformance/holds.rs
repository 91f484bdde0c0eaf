//! Holds: nobody stores while a source is being written.

use authmesh::ports::{HoldOutcome, LeaseOutcome};
use authmesh_proto::ident::{EntryName, Nonce};
use authmesh_proto::record::MAX_HOLDERS;

use super::fixture::{LONG, SHORT, channel, dropping, entry, nonce, record};
use super::{Factory, Peer, Scene, checks};

pub(super) async fn suite(factory: &dyn Factory) {
    checks!(
        "store",
        factory,
        [
            nothing_is_held_in_a_channel_without_a_log,
            a_hold_takes_the_place_of_a_value_and_of_a_lease,
            under_a_hold_nobody_leases_stores_or_inserts,
            a_hold_outlasts_a_drop,
            a_hold_runs_out,
            a_hold_is_renewed_and_shortened_by_its_holder,
            several_hold_a_name_and_the_last_one_ends_it,
            one_who_runs_out_does_not_end_the_hold_of_another,
            as_many_hold_a_name_as_can_and_no_more,
            ending_what_is_not_held_changes_nothing,
            a_hold_of_another_incarnation_does_not_count,
        ]
    );
}

async fn holds(peer: &Peer, name: EntryName, nonce: Nonce) -> HoldOutcome {
    peer.store.hold(name, nonce, LONG).await.expect("the store answers")
}

async fn ends(peer: &Peer, name: EntryName, nonce: Nonce) {
    peer.store.unhold(name, nonce).await.expect("the store answers");
}

async fn is_on_hold(peer: &Peer, name: EntryName) -> bool {
    // What it takes, a hold takes away again.
    peer.asks(name, nonce(), SHORT).await == LeaseOutcome::OnHold
}

async fn nothing_is_held_in_a_channel_without_a_log(scene: Scene) {
    let name = entry(channel(20), 1);
    assert_eq!(holds(&scene.a, name, nonce()).await, HoldOutcome::Unborn);
    ends(&scene.a, name, nonce()).await;
    assert_eq!(scene.a.value(name).await, None);
}

async fn a_hold_takes_the_place_of_a_value_and_of_a_lease(scene: Scene) {
    let c = channel(21);
    let head = scene.a.bears(c).await;
    let (filled, leased) = (entry(c, 1), entry(c, 2));
    let value = scene.b.fills(filled, "v").await;
    let lease = scene.b.takes(leased).await;
    for name in [filled, leased] {
        assert_eq!(holds(&scene.a, name, nonce()).await, HoldOutcome::Taken);
        assert!(is_on_hold(&scene.b, name).await);
    }
    assert_ne!(scene.b.value(filled).await, Some(value));
    assert!(
        !scene.b.stores(leased, lease, record(&head, "late")).await,
        "its lease is gone"
    );
}

async fn under_a_hold_nobody_leases_stores_or_inserts(scene: Scene) {
    let c = channel(22);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    let own = nonce();
    holds(&scene.a, name, own).await;
    for asking in [own, nonce()] {
        assert_eq!(scene.a.asks(name, asking, LONG).await, LeaseOutcome::OnHold);
        assert!(!scene.a.stores(name, asking, record(&head, "stored")).await);
        assert!(
            !scene
                .a
                .store
                .renew(name, asking, LONG)
                .await
                .expect("the store answers")
        );
    }
    let held = scene.b.value(name).await.expect("the hold stands there");
    // Not even over the bytes of the hold.
    for over in [None, Some(held.clone())] {
        let inserted = scene
            .b
            .store
            .insert_if_absent(name, record(&head, "new"), over.clone(), LONG);
        assert!(!inserted.await.expect("the store answers"));
        let leased = scene.b.store.lease(name, nonce(), over, LONG).await;
        assert_eq!(leased.expect("the store answers"), LeaseOutcome::OnHold);
    }
    scene.b.store.release(name, own).await.expect("the store answers");
    assert_eq!(scene.b.value(name).await, Some(held), "nothing has changed");
    ends(&scene.a, name, own).await;
    assert_eq!(scene.b.value(name).await, None);
    scene.b.takes(name).await;
}

async fn a_hold_outlasts_a_drop(scene: Scene) {
    let c = channel(23);
    scene.a.bears(c).await;
    let (name, other) = (entry(c, 1), entry(c, 2));
    let own = nonce();
    holds(&scene.a, name, own).await;
    scene.b.fills(other, "v").await;
    for dropped in [name, other] {
        scene.b.commits(dropping(dropped)).await;
    }
    assert!(is_on_hold(&scene.b, name).await);
    assert_eq!(holds(&scene.a, name, own).await, HoldOutcome::Renewed);
    assert_eq!(scene.b.value(other).await, None, "what is not held is dropped");
}

async fn a_hold_runs_out(scene: Scene) {
    let c = channel(24);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    let held = scene.a.store.hold(name, nonce(), SHORT).await;
    assert_eq!(held.expect("the store answers"), HoldOutcome::Taken);
    let gone = async {
        while is_on_hold(&scene.b, name).await {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    scene.soon("the hold runs out", gone).await;
}

async fn a_hold_is_renewed_and_shortened_by_its_holder(scene: Scene) {
    let c = channel(25);
    scene.a.bears(c).await;
    let (kept, shortened) = (entry(c, 1), entry(c, 2));
    let own = nonce();
    let holding = |name, ttl| scene.a.store.hold(name, own, ttl);
    for (name, first, second) in [(kept, SHORT, LONG), (shortened, LONG, SHORT)] {
        assert_eq!(
            holding(name, first).await.expect("the store answers"),
            HoldOutcome::Taken
        );
        assert_eq!(
            holding(name, second).await.expect("the store answers"),
            HoldOutcome::Renewed
        );
    }
    let gone = async {
        while is_on_hold(&scene.b, shortened).await {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    scene.soon("the shortened hold runs out", gone).await;
    // As much time has passed for the other one.
    assert!(is_on_hold(&scene.b, kept).await);
}

async fn several_hold_a_name_and_the_last_one_ends_it(scene: Scene) {
    let c = channel(26);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    let (one, two) = (nonce(), nonce());
    assert_eq!(holds(&scene.a, name, one).await, HoldOutcome::Taken);
    assert_eq!(holds(&scene.b, name, two).await, HoldOutcome::Taken);
    assert_eq!(holds(&scene.a, name, one).await, HoldOutcome::Renewed);
    ends(&scene.a, name, one).await;
    assert!(is_on_hold(&scene.a, name).await);
    ends(&scene.b, name, two).await;
    assert!(!is_on_hold(&scene.a, name).await);
}

async fn one_who_runs_out_does_not_end_the_hold_of_another(scene: Scene) {
    let c = channel(27);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    let (long, short) = (nonce(), nonce());
    holds(&scene.a, name, long).await;
    scene.b.store.hold(name, short, SHORT).await.expect("the store answers");
    tokio::time::sleep(SHORT * 2).await;
    assert!(is_on_hold(&scene.b, name).await);
    assert_eq!(holds(&scene.a, name, long).await, HoldOutcome::Renewed);
    // The one that ran out is forgotten.
    assert_eq!(holds(&scene.b, name, short).await, HoldOutcome::Taken);
}

async fn as_many_hold_a_name_as_can_and_no_more(scene: Scene) {
    let c = channel(28);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    let first = nonce();
    assert_eq!(holds(&scene.a, name, first).await, HoldOutcome::Taken);
    for _ in 1..MAX_HOLDERS {
        assert_eq!(holds(&scene.a, name, nonce()).await, HoldOutcome::Taken);
    }
    assert_eq!(holds(&scene.b, name, nonce()).await, HoldOutcome::Crowded);
    assert_eq!(holds(&scene.b, name, first).await, HoldOutcome::Renewed);
    assert!(is_on_hold(&scene.b, name).await);
}

async fn ending_what_is_not_held_changes_nothing(scene: Scene) {
    let c = channel(29);
    scene.a.bears(c).await;
    let (filled, leased, held) = (entry(c, 1), entry(c, 2), entry(c, 3));
    let value = scene.a.fills(filled, "v").await;
    let lease = scene.a.takes(leased).await;
    holds(&scene.a, held, nonce()).await;
    for (name, nonce) in [
        (filled, nonce()),
        (leased, lease),
        (held, nonce()),
        (entry(c, 4), nonce()),
    ] {
        ends(&scene.b, name, nonce).await;
    }
    assert_eq!(scene.a.value(filled).await, Some(value));
    assert_eq!(scene.b.asks(leased, nonce(), LONG).await, LeaseOutcome::Held(lease));
    assert!(is_on_hold(&scene.b, held).await);
}

async fn a_hold_of_another_incarnation_does_not_count(scene: Scene) {
    let c = channel(30);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    let own = nonce();
    holds(&scene.a, name, own).await;
    scene.a.renames(c).await;
    assert!(!is_on_hold(&scene.b, name).await);
    assert_eq!(
        holds(&scene.a, name, own).await,
        HoldOutcome::Taken,
        "its holder learns that it was lost"
    );
}
