//! Waiting for a lease to go, whatever makes it go.

use std::time::Duration;

use authmesh::ports::{LeaseOutcome, PortError};
use authmesh_proto::ident::{EntryName, Nonce};
use tokio::task::JoinHandle;

use super::fixture::{LONG, SHORT, channel, dropping, entry, nonce, record};
use super::{Factory, Peer, Scene, checks};

pub(super) async fn suite(factory: &dyn Factory) {
    checks!(
        "store",
        factory,
        [
            a_lease_that_is_not_there_is_gone,
            a_waiter_wakes_when_the_value_is_stored,
            a_waiter_wakes_when_the_lease_is_given_back,
            a_waiter_wakes_when_the_name_is_dropped,
            a_waiter_wakes_when_a_value_is_inserted,
            a_waiter_wakes_when_the_lease_runs_out,
            a_waiter_of_an_outdated_lease_does_not_wait,
            every_waiter_wakes_and_one_that_left_disturbs_none,
            a_waiter_waits_for_its_lease_and_no_other,
        ]
    );
}

/// How long a waiter must go on waiting to count as one. Only ever too short: then a check is kinder, never wrong.
const A_WHILE: Duration = Duration::from_millis(40);

type Waiter = JoinHandle<Result<(), PortError>>;

fn waiter(peer: &Peer, name: EntryName, nonce: Nonce) -> Waiter {
    let peer = peer.clone();
    tokio::spawn(async move { peer.store.gone(name, nonce).await })
}

async fn assert_waits(waiter: &mut Waiter) {
    let early = tokio::time::timeout(A_WHILE, waiter).await;
    assert!(early.is_err(), "the lease is held, and the waiter woke: {early:?}");
}

async fn assert_wakes(scene: &Scene, why: &str, waiter: Waiter) {
    let woke = scene.soon(why, waiter).await.expect("the waiter ends");
    assert_eq!(woke, Ok(()), "{why}");
}

/// A held lease and somebody at the other peer who waits for it.
async fn held(scene: &Scene, name: EntryName) -> (Nonce, Waiter) {
    scene.a.bears(name.slot().channel).await;
    let nonce = scene.a.takes(name).await;
    let mut waiter = waiter(&scene.b, name, nonce);
    assert_waits(&mut waiter).await;
    (nonce, waiter)
}

async fn a_lease_that_is_not_there_is_gone(scene: Scene) {
    let (unborn, c) = (channel(15), channel(16));
    scene.a.bears(c).await;
    let (held, filled) = (entry(c, 1), entry(c, 2));
    scene.a.takes(held).await;
    scene.a.fills(filled, "v").await;
    for name in [entry(unborn, 1), entry(c, 3), held, filled] {
        let waiter = waiter(&scene.b, name, nonce());
        assert_wakes(&scene, "no such lease", waiter).await;
    }
}

async fn a_waiter_wakes_when_the_value_is_stored(scene: Scene) {
    let name = entry(channel(17), 1);
    let (nonce, waiter) = held(&scene, name).await;
    let value = record(&scene.a.head(channel(17)).await, "v");
    assert!(scene.a.stores(name, nonce, value.clone()).await);
    assert_wakes(&scene, "stored over", waiter).await;
    assert_eq!(scene.b.value(name).await, Some(value), "what it waited for is there");
}

async fn a_waiter_wakes_when_the_lease_is_given_back(scene: Scene) {
    let name = entry(channel(18), 1);
    let (nonce, waiter) = held(&scene, name).await;
    scene.a.store.release(name, nonce).await.expect("the store answers");
    assert_wakes(&scene, "given back", waiter).await;
}

async fn a_waiter_wakes_when_the_name_is_dropped(scene: Scene) {
    let name = entry(channel(19), 1);
    let (_, waiter) = held(&scene, name).await;
    scene.a.commits(dropping(name)).await;
    assert_wakes(&scene, "destroyed by a drop", waiter).await;
}

async fn a_waiter_wakes_when_a_value_is_inserted(scene: Scene) {
    let name = entry(channel(20), 1);
    let (_, waiter) = held(&scene, name).await;
    let value = record(&scene.a.head(channel(20)).await, "v");
    assert_eq!(scene.a.store.insert_if_absent(name, value, None, LONG).await, Ok(true));
    assert_wakes(&scene, "inserted over", waiter).await;
}

async fn a_waiter_wakes_when_the_lease_runs_out(scene: Scene) {
    let c = channel(21);
    scene.a.bears(c).await;
    let (name, nonce) = (entry(c, 1), nonce());
    assert!(matches!(
        scene.a.asks(name, nonce, SHORT).await,
        LeaseOutcome::Taken(..)
    ));
    assert_wakes(&scene, "run out", waiter(&scene.b, name, nonce)).await;
    scene.b.takes(name).await;
}

async fn a_waiter_of_an_outdated_lease_does_not_wait(scene: Scene) {
    let c = channel(22);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    let nonce = scene.a.takes(name).await;
    scene.a.renames(c).await;
    // It can never be stored over: whoever asks now may take it.
    assert_wakes(&scene, "outdated", waiter(&scene.b, name, nonce)).await;
}

async fn every_waiter_wakes_and_one_that_left_disturbs_none(scene: Scene) {
    let name = entry(channel(23), 1);
    let (nonce, left) = held(&scene, name).await;
    let mut waiters: Vec<Waiter> = (0..32)
        .map(|n| waiter(if n % 2 == 0 { &scene.a } else { &scene.b }, name, nonce))
        .collect();
    for waiter in &mut waiters[..2] {
        assert_waits(waiter).await;
    }
    left.abort();
    let value = record(&scene.a.head(channel(23)).await, "v");
    assert!(
        scene.a.stores(name, nonce, value).await,
        "waiters take nothing from the holder"
    );
    for waiter in waiters {
        assert_wakes(&scene, "stored over", waiter).await;
    }
}

async fn a_waiter_waits_for_its_lease_and_no_other(scene: Scene) {
    let c = channel(24);
    let (nonce, mut waiter) = held(&scene, entry(c, 1)).await;
    scene.a.fills(entry(c, 2), "v").await;
    scene.a.commits(dropping(entry(c, 3))).await;
    assert_eq!(scene.a.store.renew(entry(c, 1), nonce, LONG).await, Ok(true));
    assert_waits(&mut waiter).await;
    scene
        .a
        .store
        .release(entry(c, 1), nonce)
        .await
        .expect("the store answers");
    assert_wakes(&scene, "given back", waiter).await;
}
