//! Fill leases: who may store.

use std::time::Instant;

use authmesh::ports::LeaseOutcome;
use authmesh_proto::ident::{EntryName, Nonce};
use authmesh_proto::record::{Content, Stored};

use super::fixture::{LONG, SHORT, channel, dropping, entry, nonce, record};
use super::{Factory, Peer, Scene, checks};

pub(super) async fn suite(factory: &dyn Factory) {
    checks!(
        "store",
        factory,
        [
            no_lease_is_given_in_a_channel_without_a_log,
            a_lease_says_for_which_incarnation_and_generation_to_store,
            a_lease_keeps_others_out_and_its_holder_may_take_it_again,
            of_lease_requests_at_the_same_time_one_wins,
            only_the_holder_of_the_lease_can_store_and_only_once,
            a_live_value_gives_no_lease,
            a_live_value_gives_way_to_whoever_found_it_void,
            an_outdated_value_gives_way_to_a_lease,
            bytes_that_are_no_value_give_way_to_a_lease,
            no_stale_fill_a_drop_destroys_the_lease_and_the_late_store_fails,
            no_stale_fill_a_lease_of_another_incarnation_does_not_count,
            a_lease_runs_out,
            a_renewed_lease_lives_on,
            only_an_own_lease_can_be_renewed,
            a_lease_that_is_given_back_is_free,
            giving_back_what_is_not_ones_own_changes_nothing,
        ]
    );
}

async fn renews(peer: &Peer, name: EntryName, nonce: Nonce) -> bool {
    peer.store.renew(name, nonce, LONG).await.expect("the store answers")
}

async fn gives_back(peer: &Peer, name: EntryName, nonce: Nonce) {
    peer.store.release(name, nonce).await.expect("the store answers");
}

async fn no_lease_is_given_in_a_channel_without_a_log(scene: Scene) {
    let name = entry(channel(0), 1);
    assert_eq!(scene.a.asks(name, nonce(), LONG).await, LeaseOutcome::Unborn);
    assert_eq!(scene.b.value(name).await, None);
    scene.a.bears(channel(0)).await;
    scene.b.takes(name).await;
}

async fn a_live_value_gives_way_to_whoever_found_it_void(scene: Scene) {
    let c = channel(30);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    scene.a.fills(name, "void").await;
    let found = scene.b.value(name).await;
    let lease = async |over| {
        let asked = scene.b.store.lease(name, nonce(), over, LONG).await;
        asked.expect("a lease can be asked for")
    };
    assert_eq!(
        lease(Some(record(&head, "something else"))).await,
        LeaseOutcome::Present
    );
    let taken = LeaseOutcome::Taken(head.incarnation, head.generation);
    assert_eq!(lease(found.clone()).await, taken);
    let again = lease(found).await;
    assert!(
        matches!(again, LeaseOutcome::Held(_)),
        "the void value is gone: {again:?}"
    );
}

async fn a_lease_says_for_which_incarnation_and_generation_to_store(scene: Scene) {
    let c = channel(1);
    scene.a.bears(c).await;
    for n in 0..3 {
        let (name, nonce) = (entry(c, n), nonce());
        let head = scene.a.head(c).await;
        let outcome = scene.a.asks(name, nonce, LONG).await;
        assert_eq!(outcome, LeaseOutcome::Taken(head.incarnation, head.generation));
        let bytes = scene
            .b
            .value(name)
            .await
            .expect("the lease stands where the value will");
        let lease = Stored {
            incarnation: head.incarnation,
            generation: head.generation,
            content: Content::Lease(nonce),
        };
        assert_eq!(Stored::decode(&bytes), Ok(lease));
        scene.a.renames(c).await;
    }
}

async fn a_lease_keeps_others_out_and_its_holder_may_take_it_again(scene: Scene) {
    let c = channel(2);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    let holder = scene.a.takes(name).await;
    assert_eq!(scene.b.asks(name, nonce(), LONG).await, LeaseOutcome::Held(holder));
    // Trap 22: a request that was sent twice must not wait for itself.
    let again = scene.b.asks(name, holder, LONG).await;
    assert_eq!(again, LeaseOutcome::Taken(head.incarnation, head.generation));
    assert!(scene.a.stores(name, holder, record(&head, "v")).await);
    scene.b.takes(entry(c, 2)).await;
}

async fn of_lease_requests_at_the_same_time_one_wins(scene: Scene) {
    let c = channel(3);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..32 {
        let peer = if n % 2 == 0 { scene.a.clone() } else { scene.b.clone() };
        let nonce = nonce();
        tasks.spawn(async move { (nonce, peer.asks(name, nonce, LONG).await) });
    }
    let all = scene.soon("32 lease requests", tasks.join_all()).await;
    let taken = |outcome: &LeaseOutcome| matches!(outcome, LeaseOutcome::Taken(..));
    let winners: Vec<Nonce> = all
        .iter()
        .filter(|(_, outcome)| taken(outcome))
        .map(|(nonce, _)| *nonce)
        .collect();
    assert_eq!(winners.len(), 1, "one request wins");
    for (_, outcome) in all.iter().filter(|(_, outcome)| !taken(outcome)) {
        assert_eq!(*outcome, LeaseOutcome::Held(winners[0]));
    }
}

async fn only_the_holder_of_the_lease_can_store_and_only_once(scene: Scene) {
    let c = channel(4);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    assert!(!scene.a.stores(name, nonce(), record(&head, "nobody's")).await);
    assert_eq!(scene.a.value(name).await, None);
    let holder = scene.a.takes(name).await;
    assert!(!scene.b.stores(name, nonce(), record(&head, "another's")).await);
    assert!(
        !scene.b.stores(entry(c, 2), holder, record(&head, "elsewhere")).await,
        "a lease is for one name"
    );
    let value = record(&head, "the holder's");
    assert!(scene.a.stores(name, holder, value.clone()).await);
    assert!(
        !scene.a.stores(name, holder, record(&head, "again")).await,
        "the store used the lease up"
    );
    assert_eq!(scene.b.value(name).await, Some(value));
    assert_eq!(scene.b.value(entry(c, 2)).await, None);
}

async fn a_live_value_gives_no_lease(scene: Scene) {
    let c = channel(5);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    let value = scene.a.fills(name, "v").await;
    assert_eq!(scene.b.asks(name, nonce(), LONG).await, LeaseOutcome::Present);
    // Commits that do not touch it leave it alive.
    scene.a.commits(dropping(entry(c, 2))).await;
    assert_eq!(scene.b.asks(name, nonce(), LONG).await, LeaseOutcome::Present);
    assert_eq!(scene.b.value(name).await, Some(value));
}

async fn an_outdated_value_gives_way_to_a_lease(scene: Scene) {
    // Trap 43: after a mint a dead value must not make its key unfillable.
    let c = channel(6);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    scene.a.fills(name, "of the old incarnation").await;
    let head = scene.a.renames(c).await;
    let new = nonce();
    let outcome = scene.b.asks(name, new, LONG).await;
    assert_eq!(outcome, LeaseOutcome::Taken(head.incarnation, head.generation));
    let value = record(&head, "of the new one");
    assert!(scene.b.stores(name, new, value.clone()).await);
    assert_eq!(scene.a.value(name).await, Some(value));
}

async fn bytes_that_are_no_value_give_way_to_a_lease(scene: Scene) {
    // Whoever can write to the second level could put them there; here the holder of a lease does.
    let c = channel(7);
    scene.a.bears(c).await;
    for (n, garbage) in [
        &b""[..],
        b"\x00",
        b"\x01\x02",
        b"not a value at all, and longer than a lease is",
    ]
    .iter()
    .enumerate()
    {
        let name = entry(c, n as u8);
        let nonce = scene.a.takes(name).await;
        assert!(scene.a.stores(name, nonce, garbage.to_vec()).await);
        assert_eq!(
            scene.b.value(name).await.as_deref(),
            Some(*garbage),
            "as it is: the reader judges"
        );
        scene.b.takes(name).await;
    }
}

async fn no_stale_fill_a_drop_destroys_the_lease_and_the_late_store_fails(scene: Scene) {
    let c = channel(8);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    let stale = scene.a.takes(name).await;
    scene.b.commits(dropping(name)).await;
    assert_eq!(scene.a.value(name).await, None, "a lease goes like a value");
    assert!(!renews(&scene.a, name, stale).await);
    assert!(!scene.a.stores(name, stale, record(&head, "from before the drop")).await);
    assert_eq!(scene.b.value(name).await, None);

    let fresh = scene.b.takes(name).await;
    assert!(
        !scene.a.stores(name, stale, record(&head, "from before the drop")).await,
        "nor over another's lease"
    );
    let value = record(&head, "from after it");
    assert!(scene.b.stores(name, fresh, value.clone()).await);
    assert_eq!(scene.a.value(name).await, Some(value));
}

async fn no_stale_fill_a_lease_of_another_incarnation_does_not_count(scene: Scene) {
    // Trap 3: a lease from before a loss must not pass its compare-and-set after it.
    let c = channel(9);
    let old = scene.a.bears(c).await;
    let (first, second) = (entry(c, 1), entry(c, 2));
    let (stale, other) = (scene.a.takes(first).await, scene.a.takes(second).await);
    scene.b.renames(c).await;
    assert!(
        !scene
            .a
            .stores(first, stale, record(&old, "of the old incarnation"))
            .await
    );
    assert!(!renews(&scene.a, second, other).await);
    scene.b.takes(first).await;
    scene.b.takes(second).await;
}

async fn a_lease_runs_out(scene: Scene) {
    let c = channel(10);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    let late = nonce();
    assert!(matches!(scene.a.asks(name, late, SHORT).await, LeaseOutcome::Taken(..)));
    let next = nonce();
    scene
        .until("the end of a lease", async || {
            matches!(scene.b.asks(name, next, LONG).await, LeaseOutcome::Taken(..))
        })
        .await;
    assert!(!renews(&scene.a, name, late).await);
    assert!(!scene.a.stores(name, late, record(&head, "too late")).await);
    assert!(scene.b.stores(name, next, record(&head, "v")).await);
}

async fn a_renewed_lease_lives_on(scene: Scene) {
    let c = channel(11);
    let head = scene.a.bears(c).await;
    for n in 0..10 {
        let (name, nonce) = (entry(c, n), nonce());
        let since = Instant::now();
        scene.a.asks(name, nonce, SHORT * 4).await;
        let renewed = renews(&scene.b, name, nonce).await;
        // A machine that stood still may have let it run out; then it says so, and that is no renewal.
        if !renewed && since.elapsed() >= SHORT * 4 {
            continue;
        }
        assert!(renewed, "an own lease can be renewed");
        tokio::time::sleep(SHORT * 5).await;
        assert!(
            scene.a.stores(name, nonce, record(&head, "v")).await,
            "it lives from the renewal on"
        );
        return;
    }
    panic!("ten leases ran out before they could be renewed");
}

async fn only_an_own_lease_can_be_renewed(scene: Scene) {
    let c = channel(12);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    assert!(!renews(&scene.a, name, nonce()).await, "there is none");
    assert_eq!(scene.a.value(name).await, None, "and renewing makes none");
    let holder = scene.a.takes(name).await;
    assert!(!renews(&scene.b, name, nonce()).await, "it is another's");
    assert!(renews(&scene.a, name, holder).await);
    assert!(scene.a.stores(name, holder, record(&head, "v")).await);
    assert!(!renews(&scene.a, name, holder).await, "it has become a value");
}

async fn a_lease_that_is_given_back_is_free(scene: Scene) {
    let c = channel(13);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    let holder = scene.a.takes(name).await;
    gives_back(&scene.a, name, holder).await;
    assert_eq!(scene.b.value(name).await, None);
    assert!(!scene.a.stores(name, holder, record(&head, "late")).await);
    scene.b.takes(name).await;
}

async fn giving_back_what_is_not_ones_own_changes_nothing(scene: Scene) {
    let c = channel(14);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    gives_back(&scene.a, name, nonce()).await;
    let holder = scene.a.takes(name).await;
    gives_back(&scene.b, name, nonce()).await;
    assert_eq!(scene.b.asks(name, nonce(), LONG).await, LeaseOutcome::Held(holder));
    let value = record(&head, "v");
    assert!(scene.a.stores(name, holder, value.clone()).await);
    gives_back(&scene.a, name, holder).await;
    assert_eq!(
        scene.b.value(name).await,
        Some(value),
        "a value is not a lease, even the holder's own"
    );
}
