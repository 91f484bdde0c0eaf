//! What every [`Store`](authmesh::ports::Store) promises.
//!
//! Leases are checked in `leases.rs`, waiting for them in `waiting.rs`; values and counters here.

use authmesh::ports::{LeaseOutcome, PortError};
use authmesh_proto::ident::EntryName;

use super::fixture::{LONG, SHORT, channel, dropping, entry, record};
use super::{Factory, Peer, Scene, checks, holds, leases, waiting};

/// Runs every check of the port.
pub async fn suite(factory: &dyn Factory) {
    checks!(
        "store",
        factory,
        [
            a_name_without_a_value_shows_the_head_alone,
            a_value_comes_back_byte_for_byte_with_the_head_of_its_channel,
            a_value_lives_for_its_time,
            a_value_is_inserted_only_where_none_is,
            a_lease_does_not_keep_a_value_from_being_inserted,
            an_outdated_value_is_replaced_by_an_insertion,
            an_inserted_value_lives_for_its_time,
            of_insertions_at_the_same_time_one_wins,
            a_value_found_void_is_replaced_by_an_insertion,
            nothing_is_inserted_in_a_channel_without_a_log,
            a_counter_adds_up_and_goes_down,
            a_counter_saturates,
            increments_at_the_same_time_are_all_counted,
            counters_live_apart_from_values,
            a_counters_time_counts_from_its_first_increment,
        ]
    );
    holds::suite(factory).await;
    leases::suite(factory).await;
    waiting::suite(factory).await;
}

async fn inserts(peer: &Peer, name: EntryName, value: &[u8]) -> bool {
    let inserted = peer.store.insert_if_absent(name, value.to_vec(), None, LONG).await;
    inserted.expect("the store answers")
}

async fn adds(peer: &Peer, name: EntryName, by: i64) -> i64 {
    peer.store.increment(name, by, LONG).await.expect("the store answers")
}

async fn a_name_without_a_value_shows_the_head_alone(scene: Scene) {
    let name = entry(channel(40), 1);
    let unborn = scene.a.store.read(name).await.expect("a name can be read");
    assert_eq!((unborn.head, unborn.value), (None, None));
    let head = scene.a.bears(channel(40)).await;
    let born = scene.b.store.read(name).await.expect("a name can be read");
    assert_eq!((born.head, born.value), (Some(head), None));
}

async fn a_value_comes_back_byte_for_byte_with_the_head_of_its_channel(scene: Scene) {
    let c = channel(41);
    let head = scene.a.bears(c).await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let long: Vec<u8> = every_byte.iter().copied().cycle().take(100_000).collect();
    for (n, content) in [vec![], every_byte, long].into_iter().enumerate() {
        let name = entry(c, n as u8);
        let value = record(&head, content);
        let nonce = scene.a.takes(name).await;
        assert!(scene.a.stores(name, nonce, value.clone()).await);
        let read = scene.b.store.read(name).await.expect("a name can be read");
        assert_eq!(read.value, Some(value));
        assert_eq!(read.head, Some(head));
    }
    let moved = scene.a.commits(dropping(entry(c, 9))).await.entry.head;
    let read = scene.b.store.read(entry(c, 0)).await.expect("a name can be read");
    assert_eq!(read.head, Some(moved), "the head is the present one, not the value's");
    assert!(read.value.is_some());
}

async fn a_value_lives_for_its_time(scene: Scene) {
    let c = channel(42);
    let head = scene.a.bears(c).await;
    let (short, long) = (entry(c, 1), entry(c, 2));
    let value = record(&head, "v");
    let nonce = scene.a.takes(short).await;
    assert_eq!(scene.a.store.store(short, nonce, value.clone(), SHORT).await, Ok(true));
    scene.a.fills(long, "v").await;
    scene
        .until("the end of a value", async || scene.b.value(short).await.is_none())
        .await;
    assert!(scene.b.value(long).await.is_some(), "another one's time is its own");
    scene.a.takes(short).await;
}

async fn a_value_is_inserted_only_where_none_is(scene: Scene) {
    let c = channel(43);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    let (first, second) = (record(&head, "first"), record(&head, "second"));
    assert!(inserts(&scene.a, name, &first).await);
    assert!(!inserts(&scene.b, name, &second).await);
    assert_eq!(scene.b.value(name).await, Some(first));
    let outcome = scene.b.asks(name, super::fixture::nonce(), LONG).await;
    assert_eq!(outcome, LeaseOutcome::Present, "an inserted value is a value");
    scene.a.commits(dropping(name)).await;
    assert!(inserts(&scene.b, name, &second).await, "a dropped value is none");
    assert_eq!(scene.a.value(name).await, Some(second));
}

async fn a_lease_does_not_keep_a_value_from_being_inserted(scene: Scene) {
    let c = channel(44);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    let nonce = scene.a.takes(name).await;
    let inserted = record(&head, "inserted");
    assert!(inserts(&scene.b, name, &inserted).await);
    assert!(
        !scene.a.stores(name, nonce, record(&head, "late")).await,
        "the lease is gone"
    );
    assert_eq!(scene.a.value(name).await, Some(inserted));
}

async fn an_outdated_value_is_replaced_by_an_insertion(scene: Scene) {
    let c = channel(45);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    scene.a.fills(name, "of the old incarnation").await;
    let head = scene.a.renames(c).await;
    let value = record(&head, "of the new one");
    assert!(inserts(&scene.b, name, &value).await);
    assert_eq!(scene.a.value(name).await, Some(value.clone()));
    assert!(!inserts(&scene.a, name, &value).await);
}

async fn an_inserted_value_lives_for_its_time(scene: Scene) {
    let c = channel(46);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    let value = record(&head, "v");
    assert_eq!(
        scene.a.store.insert_if_absent(name, value.clone(), None, SHORT).await,
        Ok(true)
    );
    scene
        .until("the end of a value", async || scene.b.value(name).await.is_none())
        .await;
    assert!(inserts(&scene.b, name, &value).await);
}

async fn a_value_found_void_is_replaced_by_an_insertion(scene: Scene) {
    let c = channel(39);
    let head = scene.a.bears(c).await;
    let (name, value, new) = (entry(c, 1), record(&head, "void"), record(&head, "new"));
    assert!(inserts(&scene.a, name, &value).await);
    let store = &scene.b.store;
    let other = store
        .insert_if_absent(name, new.clone(), Some(record(&head, "other")), LONG)
        .await;
    assert_eq!(other, Ok(false), "another value than the one found void");
    assert_eq!(
        store
            .insert_if_absent(name, new.clone(), Some(value.clone()), LONG)
            .await,
        Ok(true)
    );
    assert_eq!(scene.a.value(name).await, Some(new.clone()));
    assert_eq!(
        store.insert_if_absent(name, value.clone(), Some(value), LONG).await,
        Ok(false),
        "only once"
    );
}

async fn nothing_is_inserted_in_a_channel_without_a_log(scene: Scene) {
    let name = entry(channel(38), 1);
    let inserted = scene.a.store.insert_if_absent(name, b"v".to_vec(), None, LONG).await;
    assert!(matches!(inserted, Err(PortError::Refused(_))), "{inserted:?}");
    assert_eq!(scene.b.value(name).await, None);
}

async fn of_insertions_at_the_same_time_one_wins(scene: Scene) {
    let c = channel(47);
    let head = scene.a.bears(c).await;
    let name = entry(c, 1);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..32_u8 {
        let peer = if n % 2 == 0 { scene.a.clone() } else { scene.b.clone() };
        let value = record(&head, [n]);
        tasks.spawn(async move { (inserts(&peer, name, &value).await, value) });
    }
    let all = scene.soon("32 insertions", tasks.join_all()).await;
    let won: Vec<Vec<u8>> = all
        .into_iter()
        .filter(|(won, _)| *won)
        .map(|(_, value)| value)
        .collect();
    assert_eq!(won.len(), 1, "one insertion wins");
    assert_eq!(scene.b.value(name).await.as_ref(), won.first());
}

async fn a_counter_adds_up_and_goes_down(scene: Scene) {
    // Without a log: counters need none.
    let (name, other) = (entry(channel(48), 1), entry(channel(48), 2));
    assert_eq!(adds(&scene.a, name, 5).await, 5);
    assert_eq!(adds(&scene.b, name, 7).await, 12);
    assert_eq!(adds(&scene.a, name, -20).await, -8);
    assert_eq!(adds(&scene.a, name, 0).await, -8);
    assert_eq!(adds(&scene.a, other, 1).await, 1, "each name counts for itself");
}

async fn a_counter_saturates(scene: Scene) {
    let (up, down) = (entry(channel(49), 1), entry(channel(49), 2));
    assert_eq!(adds(&scene.a, up, i64::MAX).await, i64::MAX);
    assert_eq!(adds(&scene.a, up, 1).await, i64::MAX);
    assert_eq!(adds(&scene.a, up, -1).await, i64::MAX - 1, "and goes on counting");
    assert_eq!(adds(&scene.a, down, i64::MIN).await, i64::MIN);
    assert_eq!(adds(&scene.a, down, -1).await, i64::MIN);
}

async fn increments_at_the_same_time_are_all_counted(scene: Scene) {
    let name = entry(channel(50), 1);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 1..=64 {
        let peer = if n % 2 == 0 { scene.a.clone() } else { scene.b.clone() };
        tasks.spawn(async move { adds(&peer, name, n).await });
    }
    let mut seen = scene.soon("64 increments", tasks.join_all()).await;
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 64, "each increment sees a sum of its own");
    assert_eq!(adds(&scene.a, name, 0).await, (1..=64).sum::<i64>());
}

async fn counters_live_apart_from_values(scene: Scene) {
    let c = channel(51);
    scene.a.bears(c).await;
    let name = entry(c, 1);
    assert_eq!(adds(&scene.a, name, 1).await, 1);
    assert_eq!(scene.a.value(name).await, None, "a counter is no value");
    let value = scene.a.fills(name, "v").await;
    assert_eq!(adds(&scene.b, name, 1).await, 2);
    assert_eq!(scene.b.value(name).await, Some(value));
}

async fn a_counters_time_counts_from_its_first_increment(scene: Scene) {
    let name = entry(channel(52), 1);
    // Counting on does not prolong it: if it did, the sum would never fall back, for it is asked far more often than it
    // runs out.
    let mut last = 0;
    scene
        .until("the end of a counter", async || {
            let sum = scene
                .a
                .store
                .increment(name, 1, SHORT)
                .await
                .expect("the store answers");
            let fell_back = sum == 1 && last > 1;
            last = sum;
            fell_back
        })
        .await;
}
