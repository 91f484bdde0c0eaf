//! Mints: compare-and-set on the incarnation of a log.

use authmesh_proto::ident::{ChannelId, Digest, Incarnation, Nonce};
use authmesh_proto::log::Payload;

use super::fixture::{channel, dropping, entry, incarnation, mark, marking, nonce, root};
use super::log::{assert_chain, table, whole};
use super::{Factory, Peer, Scene, checks};

pub(super) async fn suite(factory: &dyn Factory) {
    checks!(
        "log",
        factory,
        [
            a_mint_gives_birth_to_a_log_that_is_not_there,
            a_mint_with_another_incarnation_than_the_logs_changes_nothing,
            a_mint_appends_and_truncates_nothing,
            of_mints_at_the_same_time_one_wins,
        ]
    );
}

async fn mint(peer: &Peer, channel: ChannelId, expected: Option<Incarnation>) -> (bool, Incarnation, Nonce) {
    let (incarnation, nonce) = (incarnation(), nonce());
    let minted = peer.log.mint(channel, expected, incarnation, nonce).await;
    (minted.expect("the log answers"), incarnation, nonce)
}

async fn a_mint_gives_birth_to_a_log_that_is_not_there(scene: Scene) {
    let c = channel(20);
    let (minted, ..) = mint(&scene.a, c, Some(incarnation())).await;
    assert!(!minted, "no log has the incarnation that was expected");
    assert_eq!(scene.a.heads().await[c.index()], None);

    let (minted, incarnation, nonce) = mint(&scene.a, c, None).await;
    assert!(minted);
    let entries = whole(&scene.b, c).await;
    assert_eq!(entries.len(), 1);
    let (head, payload) = (entries[0].head, &entries[0].payload);
    assert_eq!((head.incarnation, head.position.nonce), (incarnation, nonce));
    assert_eq!((head.previous, head.root), (None, Digest::EMPTY));
    assert_eq!(*payload, Payload::Mint);
    assert_eq!(scene.b.head(c).await, head);

    let next = scene.a.commits(dropping(entry(c, 1))).await.entry.head;
    assert_eq!(next.incarnation, incarnation, "a commit follows the log that is there");
    assert_eq!(next.previous, Some(head.position));
}

async fn a_mint_with_another_incarnation_than_the_logs_changes_nothing(scene: Scene) {
    let c = channel(21);
    let before = scene.a.bears(c).await;
    for expected in [None, Some(incarnation()), Some(Incarnation([0; 16]))] {
        let (minted, ..) = mint(&scene.b, c, expected).await;
        assert!(!minted, "{expected:?}");
        assert_eq!(scene.a.head(c).await, before);
    }
}

async fn a_mint_appends_and_truncates_nothing(scene: Scene) {
    let c = channel(22);
    let mark = mark(1, 1, 1);
    let old = [
        scene.a.commits(marking(c, &mark)).await.entry,
        scene.a.commits(dropping(entry(c, 1))).await.entry,
    ];
    let (minted, new, _) = mint(&scene.b, c, Some(old[0].head.incarnation)).await;
    assert!(minted);
    let after = scene.a.commits(dropping(entry(c, 2))).await.entry;

    let entries = whole(&scene.a, c).await;
    assert_eq!(entries.len(), 4);
    assert_eq!(entries[..2], old);
    assert_chain(&entries);
    let head = entries[2].head;
    assert_eq!((head.incarnation, &entries[2].payload), (new, &Payload::Mint));
    assert!(head.generation >= old[1].head.generation, "generations never go back");
    assert_eq!(head.root, root([&mark]), "marks stay");
    assert_eq!(entries[3], after);
    assert_eq!((after.head.incarnation, after.head.generation), (new, head.generation));
    assert_eq!(table(&scene.a, c).await.marks, [mark]);

    let (minted, ..) = mint(&scene.b, c, Some(old[0].head.incarnation)).await;
    assert!(!minted, "the incarnation of the past expects in vain");
}

async fn of_mints_at_the_same_time_one_wins(scene: Scene) {
    let (born, unborn) = (channel(23), channel(24));
    let expected = scene.a.bears(born).await.incarnation;
    for (c, expected, length) in [(born, Some(expected), 2), (unborn, None, 1)] {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..16 {
            let peer = if n % 2 == 0 { scene.a.clone() } else { scene.b.clone() };
            tasks.spawn(async move { mint(&peer, c, expected).await });
        }
        let all = scene.soon("16 mints", tasks.join_all()).await;
        let won: Vec<Incarnation> = all
            .into_iter()
            .filter(|(won, ..)| *won)
            .map(|(_, new, _)| new)
            .collect();
        assert_eq!(won.len(), 1, "one mint wins");
        assert_eq!(scene.a.head(c).await.incarnation, won[0]);
        assert_eq!(whole(&scene.b, c).await.len(), length);
    }
}
