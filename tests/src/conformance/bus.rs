//! What every [`Bus`](authmesh::ports::Bus) promises.
//!
//! Bells may be lost when a connection breaks, and the bus then says [`BusEvent::Broken`]. A check that sees that begins
//! again; on a peer that works it never has to.

use authmesh::ports::{BusEvent, BusStream};
use authmesh_proto::ident::{ChannelId, Nonce};
use authmesh_proto::log::{LogEntry, Payload};
use authmesh_proto::record::Stored;
use tokio_stream::StreamExt;

use super::fixture::{channel, commit, dropping, entry, incarnation, mark, marking, nonce};
use super::log::{table, whole};
use super::{Factory, Peer, Scene, checks};

/// Runs every check of the port.
pub async fn suite(factory: &dyn Factory) {
    checks!(
        "bus",
        factory,
        [
            a_commit_rings_with_the_bytes_of_its_entry,
            a_mint_rings,
            every_channel_rings_on_one_stream,
            a_subscription_is_in_force_when_it_resolves,
            every_subscriber_hears_and_none_depends_on_another,
            what_was_not_carried_out_does_not_ring,
            a_bell_rings_after_the_effect_and_the_entry,
        ]
    );
}

/// How often a check begins again after a broken connection.
const ATTEMPTS: usize = 5;

async fn subscribe(peer: &Peer) -> BusStream {
    peer.bus.subscribe().await.expect("a subscription can be made")
}

/// The next bell; `None` when the bus says that some may be missing.
async fn next(scene: &Scene, bells: &mut BusStream) -> Option<LogEntry> {
    match scene.soon("a bell", bells.next()).await.expect("the stream goes on") {
        BusEvent::Bell(bytes) => Some(LogEntry::decode(&bytes).expect("a bell is a log entry")),
        BusEvent::Broken => None,
    }
}

/// Listens until the bell with this nonce, past others: bells may come twice and in any order.
async fn bell_of(scene: &Scene, bells: &mut BusStream, nonce: Nonce) -> Option<LogEntry> {
    loop {
        let entry = next(scene, bells).await?;
        if entry.head.position.nonce == nonce {
            return Some(entry);
        }
    }
}

/// Does something, and expects its bell on a stream that was there before.
async fn rings<T>(scene: &Scene, bells: &mut BusStream, mut act: impl AsyncFnMut() -> (Nonce, T)) -> (LogEntry, T) {
    for _ in 0..ATTEMPTS {
        let (nonce, made) = act().await;
        if let Some(bell) = bell_of(scene, bells, nonce).await {
            return (bell, made);
        }
    }
    panic!("the bus broke {ATTEMPTS} times in a row");
}

async fn a_commit_rings_with_the_bytes_of_its_entry(scene: Scene) {
    let c = channel(30);
    let mut bells = subscribe(&scene.b).await;
    for n in 0..4 {
        let said = || match n % 2 {
            0 => dropping(entry(c, n)),
            _ => marking(c, &mark(1, n, 1)),
        };
        let (bell, committed) = rings(&scene, &mut bells, async || {
            let said = said();
            (said.nonce, scene.a.commits(said).await.entry)
        })
        .await;
        assert_eq!(bell, committed);
    }
}

async fn a_mint_rings(scene: Scene) {
    let c = channel(31);
    let mut bells = subscribe(&scene.b).await;
    let mut expected = None;
    for _ in 0..2 {
        let (bell, new) = rings(&scene, &mut bells, async || {
            let (new, nonce) = (incarnation(), nonce());
            // After a broken connection the mint before has happened all the same.
            expected = scene.a.heads().await[c.index()].map(|head| head.incarnation);
            assert_eq!(scene.a.log.mint(c, expected, new, nonce).await, Ok(true));
            (nonce, new)
        })
        .await;
        assert_eq!((bell.channel, bell.head.incarnation), (c, new));
        assert_eq!(bell.payload, Payload::Mint);
        assert_eq!(whole(&scene.a, c).await.last(), Some(&bell));
    }
}

async fn every_channel_rings_on_one_stream(scene: Scene) {
    let mut bells = subscribe(&scene.b).await;
    for id in ChannelId::all() {
        let (bell, head) = rings(&scene, &mut bells, async || {
            let head = scene.a.bears(id).await;
            (head.position.nonce, head)
        })
        .await;
        assert_eq!((bell.channel, bell.head), (id, head));
    }
}

async fn a_subscription_is_in_force_when_it_resolves(scene: Scene) {
    // Often, and at once: a subscription that is not yet in force would miss one of them.
    for n in 0..32 {
        let mut bells = subscribe(&scene.b).await;
        rings(&scene, &mut bells, async || {
            let head = scene.a.bears(channel(n)).await;
            (head.position.nonce, ())
        })
        .await;
    }
}

async fn every_subscriber_hears_and_none_depends_on_another(scene: Scene) {
    let c = channel(32);
    let mut leaves = subscribe(&scene.a).await;
    let mut stays = subscribe(&scene.a).await;
    let mut elsewhere = subscribe(&scene.b).await;
    let unread = subscribe(&scene.b).await;
    let act = async || {
        let head = scene.a.bears(c).await;
        (head.position.nonce, ())
    };
    for bells in [&mut leaves, &mut stays, &mut elsewhere] {
        rings(&scene, bells, act).await;
    }
    drop(leaves);
    for bells in [&mut stays, &mut elsewhere] {
        rings(&scene, bells, act).await;
    }
    drop(unread);
}

async fn what_was_not_carried_out_does_not_ring(scene: Scene) {
    let c = channel(33);
    scene.a.bears(c).await;
    let mut bells = subscribe(&scene.b).await;
    let (lost, refused) = (nonce(), commit(c, authmesh::ports::Effect::Drop(entry(c, 1)), vec![]));
    assert_eq!(scene.a.log.mint(c, None, incarnation(), lost).await, Ok(false));
    assert!(scene.a.log.commit(refused.clone()).await.is_err());
    // What rings up to the bell of a later commit: if either had rung, it would have done so by then.
    let last = scene.a.bears(c).await.position.nonce;
    while let Some(bell) = next(&scene, &mut bells).await {
        let nonce = bell.head.position.nonce;
        assert!(
            nonce != lost && nonce != refused.nonce,
            "a bell of something that did not happen"
        );
        if nonce == last {
            break;
        }
    }
}

async fn a_bell_rings_after_the_effect_and_the_entry(scene: Scene) {
    let c = channel(34);
    scene.a.bears(c).await;
    let mut bells = subscribe(&scene.b).await;
    for n in 0..16 {
        let name = entry(c, n);
        scene.a.fills(name, "old").await;
        let said = dropping(name);
        let nonce = said.nonce;
        let peer = scene.a.clone();
        // Elsewhere, so that this task looks as soon as the bell rings, and not when the commit has answered.
        let commit = tokio::spawn(async move { peer.commits(said).await });
        if bell_of(&scene, &mut bells, nonce).await.is_some() {
            let left = scene.b.value(name).await.and_then(|bytes| Stored::decode(&bytes).ok());
            assert_eq!(left, None, "the value goes before the bell rings");
            let entries = whole(&scene.b, c).await;
            assert!(
                entries.iter().any(|entry| entry.head.position.nonce == nonce),
                "the entry is there"
            );
        }
        commit.await.expect("the commit ends");

        let mark = mark(2, n, 1);
        let said = marking(c, &mark);
        let nonce = said.nonce;
        let peer = scene.a.clone();
        let commit = tokio::spawn(async move { peer.commits(said).await });
        if bell_of(&scene, &mut bells, nonce).await.is_some() {
            assert!(
                table(&scene.b, c).await.marks.contains(&mark),
                "the mark is there before the bell rings"
            );
        }
        commit.await.expect("the commit ends");
    }
}
