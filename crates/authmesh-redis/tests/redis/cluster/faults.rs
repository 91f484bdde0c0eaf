//! What commits and reads do while nodes of the cluster die, change roles, stop, and pass slots on.

use std::time::{Duration, Instant};

use authmesh::ports::{Bus, BusEvent, Commit, LeaseOutcome, Log, Members, PortError, Store};
use authmesh_proto::ident::Incarnation;
use authmesh_proto::log::Payload;
use authmesh_redis::{ConnectError, RedisAdapter, RedisConfig};
use tokio_stream::StreamExt;

use super::{adapter, config, shared};
use crate::fixture::{
    LONG, SLOT, broken, channel, commits, dropping, entry, eventually, head, mark, marking, nonce, rings_again, soon,
    subscribe, table, unique,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_found_by_any_address_and_has_one_database() {
    let cluster = shared().await;
    let urls = cluster.urls();
    // A replica alone, and a dead address before it.
    let replica = cluster.replica_of(cluster.primary_of(SLOT).await).await;
    let alone = adapter(RedisConfig::new(&urls[replica]).unwrap()).await;
    soon("heads", alone.heads()).await.unwrap();
    let dead = RedisConfig::new("redis://127.0.0.1:1").unwrap();
    let second = adapter(dead.seeds([&urls[replica]]).unwrap()).await;
    soon("heads", second.heads()).await.unwrap();

    let database = RedisConfig::new(&format!("{}/3", urls[0])).unwrap();
    let refused = RedisAdapter::connect(database).await.unwrap_err();
    assert!(
        matches!(&refused, ConnectError::Refused(text) if text.contains("redis.url")),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_copy_is_confirmed_and_its_absence_is_told_in_time() {
    let cluster = shared().await;
    let adapter = adapter(config(&cluster)).await;
    let done = adapter.commit(dropping(1)).await.unwrap();
    assert_eq!(done.replicas, 1);

    let replica = cluster.replica_of(cluster.primary_of(SLOT).await).await;
    cluster.pause(replica);
    let began = Instant::now();
    let done = adapter.commit(dropping(1)).await.unwrap();
    assert_eq!(done.replicas, 0, "the replica stands still");
    assert!(began.elapsed() >= Duration::from_millis(90), "it was given its time");
    // Twenty that wait for the replica at once, and reads beside them: those go over another connection.
    let commits: Vec<_> = (0..20)
        .map(|n| {
            let adapter = adapter.clone();
            tokio::spawn(async move { adapter.commit(dropping(n)).await })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !commits.iter().all(tokio::task::JoinHandle::is_finished) {
        let began = Instant::now();
        Store::read(&*adapter, entry(1)).await.unwrap();
        slowest = slowest.max(began.elapsed());
    }
    for commit in commits {
        assert_eq!(commit.await.unwrap().unwrap().replicas, 0);
    }
    println!("slowest read beside waiting commits: {slowest:?}");
    assert!(
        slowest < Duration::from_millis(95),
        "a read waited for a replica: {slowest:?}"
    );
    cluster.resume(replica);
    eventually("the replica confirms again", async || {
        adapter.commit(dropping(1)).await.is_ok_and(|done| done.replicas == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_stands_still_fails_the_heads_in_time_and_is_replaced() {
    let cluster = shared().await;
    let adapter = adapter(config(&cluster)).await;
    commits(&adapter, dropping(1)).await;
    let primary = cluster.primary_of(SLOT).await;
    cluster.pause(primary);
    let began = Instant::now();
    let answer = soon("an answer", adapter.heads()).await;
    assert!(
        matches!(answer, Err(PortError::Unavailable(_) | PortError::Unknown(_))),
        "{answer:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(4), "1 s and a busy machine");
    eventually("the replica has taken over", async || adapter.heads().await.is_ok()).await;
    eventually("commits go on", async || adapter.commit(dropping(2)).await.is_ok()).await;
    cluster.resume(primary);
    eventually("the old primary follows", async || {
        adapter.commit(dropping(2)).await.is_ok_and(|done| done.replicas == 1)
    })
    .await;
}

/// Nothing is sent twice that may have been done, and a promotion in good order loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_under_load_appends_every_commit_once() {
    let cluster = shared().await;
    let adapter = adapter(config(&cluster).log_entries(100_000)).await;
    commits(&adapter, dropping(1)).await;
    let replica = cluster.replica_of(cluster.primary_of(SLOT).await).await;
    let load = {
        let adapter = adapter.clone();
        tokio::spawn(async move {
            let (mut done, until) = (Vec::new(), Instant::now() + Duration::from_secs(3));
            let mut unsure = 0;
            while Instant::now() < until {
                match adapter.commit(dropping(3)).await {
                    Ok(committed) => done.push(committed.entry.head.position),
                    Err(PortError::Unknown(_)) => unsure += 1,
                    Err(_) => {}
                }
            }
            (done, unsure)
        })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.failover(replica, false).await;
    let (done, unsure) = load.await.unwrap();
    let first = head(&adapter).await.unwrap();
    let mut from = authmesh_proto::ident::Position {
        id: authmesh_proto::ident::StreamId { millis: 0, sequence: 0 },
        nonce: nonce(),
    };
    let mut found = Vec::new();
    loop {
        let slice = Log::read(&*adapter, channel(), from, 512).await.unwrap();
        let last = slice.entries.last().unwrap().head.position;
        found.extend(slice.entries.iter().map(|entry| entry.head.position));
        if last == first.position {
            break;
        }
        from = last;
    }
    found.sort_by_key(|position| position.id);
    found.dedup();
    for position in &done {
        assert!(found.contains(position), "an acknowledged commit was lost");
    }
    assert!(done.len() > 50, "{} commits", done.len());
    println!("{} commits, {unsure} unsure, {} in the log", done.len(), found.len());
    assert!(found.len() <= done.len() + 1 + unsure, "something was sent twice");
}

async fn statement_of(adapter: &RedisAdapter, commit: &Commit) -> Option<Payload> {
    let from = head(adapter).await?.position;
    let slice = Log::read(adapter, channel(), from, 10).await.ok()?;
    let entry = slice
        .entries
        .into_iter()
        .find(|entry| entry.head.position.nonce == commit.nonce)?;
    Some(entry.payload)
}

/// Trap 13, trap 44: in every state of a slot on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_on_its_way_takes_revocations_and_loses_none() {
    let cluster = shared().await;
    let name = crate::server::new_cluster();
    let adapter = adapter(config(&cluster).cluster(name.clone())).await;
    let key = |what: &str| format!("authmesh:1:{name}:{{14}}:{what}");
    let kept = mark(1);
    let born = commits(&adapter, marking(&kept)).await.head;
    let taken = adapter.lease(entry(1), nonce(), None, LONG).await.unwrap();
    assert!(matches!(taken, LeaseOutcome::Taken(..)));
    let mut bells = subscribe(&adapter).await;
    let from = cluster.primary_of(SLOT).await;
    let to = cluster.primaries().await.into_iter().find(|n| *n != from).unwrap();

    cluster.begin_move(SLOT, from, to).await;
    for (at, step) in [
        "everything at the source",
        "the log at the target",
        "all keys at the target",
    ]
    .into_iter()
    .enumerate()
    {
        match at {
            1 => cluster.move_keys(SLOT, from, to, Some(&key("log"))).await,
            2 => cluster.move_keys(SLOT, from, to, None).await,
            _ => {}
        }
        println!("{step}");
        let before = head(&adapter).await.unwrap();
        // A drop of what is not there: one of the keys is in neither place. It is whole all the same.
        let drop = dropping(9);
        let dropped = adapter.commit(drop.clone()).await.unwrap();
        assert_eq!(dropped.entry.head.previous, Some(before.position), "{step}");
        assert!(
            matches!(&dropped.entry.payload, Payload::Bare(statement) if *statement == drop.statement),
            "{step}: {:?}",
            dropped.entry.payload
        );
        assert_eq!(
            dropped.entry.head.generation,
            before.generation + 1,
            "the channel's L2 is void"
        );
        assert_eq!(dropped.entry.head.root, before.root);
        bell_of(&mut bells, &dropped.entry.encode(), step).await;

        // A mark for a bucket that is in neither place.
        let mut other = mark(u8::try_from(at + 2).unwrap());
        other.hour = 41;
        let marked = marking(&other);
        let answer = adapter.commit(marked.clone()).await;
        assert!(matches!(answer, Err(PortError::Partly(_))), "{step}: {answer:?}");
        let bare = head(&adapter).await.unwrap();
        assert_eq!(bare.position.nonce, marked.nonce, "{step}: it stands in the log");
        assert_eq!(
            statement_of(&adapter, &marked).await,
            Some(Payload::Bare(marked.statement.clone()))
        );
        let mut again = marked.clone();
        again.bare_done = true;
        let answer = adapter.commit(again).await;
        assert!(matches!(answer, Err(PortError::Unavailable(_))), "{step}: {answer:?}");
        assert_eq!(head(&adapter).await, Some(bare), "{step}: and not a second time");

        // Whoever comes now finds it beside the table.
        let loaded = adapter.load(channel(), None).await.unwrap();
        assert_eq!(loaded.marks, std::slice::from_ref(&kept), "{step}");
        assert_eq!(loaded.head, Some(bare));
        assert!(loaded.bare.iter().any(|entry| entry.head == bare), "{step}");

        // L2: what was filled before is void, and nothing breaks.
        let read = Store::read(&*adapter, entry(1)).await.unwrap();
        assert_eq!(read.head, Some(bare), "{step}");
        match adapter.lease(entry(2), nonce(), None, LONG).await {
            Ok(LeaseOutcome::Taken(incarnation, generation)) => {
                assert_eq!((incarnation, generation), (bare.incarnation, bare.generation));
            }
            Err(PortError::Unavailable(_)) => {}
            other => panic!("{step}: {other:?}"),
        }
        adapter.increment(entry(3), 1, LONG).await.unwrap();
        let minted = adapter
            .mint(channel(), Some(Incarnation(unique())), Incarnation(unique()), nonce())
            .await;
        assert_eq!(minted, Ok(false), "{step}");
    }
    let minted = adapter
        .mint(channel(), Some(born.incarnation), Incarnation(unique()), nonce())
        .await;
    assert_eq!(minted, Ok(true), "the log alone is enough");
    // Whoever minted may have loaded the table before they were appended.
    let bare = adapter.load(channel(), None).await.unwrap().bare;
    assert_eq!(
        bare.len(),
        6,
        "three drops and three marks, which the table lacks after the mint too"
    );

    cluster.end_move(SLOT, from, to).await;
    let late = mark(2);
    eventually("commits are whole again", async || {
        adapter.commit(marking(&late)).await.is_ok()
    })
    .await;
    let mut held = table(&adapter).await;
    held.sort_by_key(|mark| mark.field);
    assert_eq!(held, [kept, late]);
    assert_eq!(head(&adapter).await.unwrap().generation, born.generation + 7);
    rings_again(&adapter, &mut bells).await;
}

/// Whatever the bus says on the way.
async fn bell_of(bells: &mut authmesh::ports::BusStream, bell: &[u8], step: &str) {
    let heard = async {
        while let Some(event) = bells.next().await {
            if event == BusEvent::Bell(bell.to_vec()) {
                return;
            }
        }
    };
    soon(step, heard).await;
}

/// A log that cannot be born, since nobody can see the whole table, is born when the slot has arrived.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unborn_log_in_a_slot_on_its_way_waits() {
    let cluster = shared().await;
    let adapter = adapter(config(&cluster)).await;
    let from = cluster.primary_of(SLOT).await;
    let to = cluster.primaries().await.into_iter().find(|n| *n != from).unwrap();
    cluster.begin_move(SLOT, from, to).await;
    for commit in [dropping(1), marking(&mark(1))] {
        let answer = soon("an answer", adapter.commit(commit)).await;
        assert!(matches!(answer, Err(PortError::Unavailable(_))), "{answer:?}");
    }
    assert_eq!(head(&adapter).await, None);
    cluster.end_move(SLOT, from, to).await;
    eventually("the log is born", async || adapter.commit(dropping(1)).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_bells_outlive_a_dead_primary() {
    let cluster = shared().await;
    let adapter = adapter(config(&cluster)).await;
    commits(&adapter, dropping(1)).await;
    let mut bells = adapter.subscribe().await.unwrap();
    adapter.announce(b"m".to_vec(), b"r".to_vec()).await.unwrap();
    cluster.kill(cluster.primary_of(SLOT).await);
    broken(&mut bells).await;
    rings_again(&adapter, &mut bells).await;
    eventually("members can be listed", async || {
        adapter.list().await.is_ok_and(|members| members.len() == 1)
    })
    .await;
}
