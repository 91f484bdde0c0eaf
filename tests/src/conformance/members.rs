//! What every [`Members`](authmesh::ports::Members) promises.

use authmesh::ports::{MemberEntry, PortError};

use super::{Factory, Peer, Scene, checks};

/// Runs every check of the port.
pub async fn suite(factory: &dyn Factory) {
    checks!(
        "members",
        factory,
        [
            nobody_is_there_at_first,
            a_record_comes_back_byte_for_byte_and_is_replaced,
            records_come_in_the_order_of_their_ids,
            a_forgotten_member_is_gone_until_it_announces_itself_again,
            announcements_at_the_same_time_are_all_kept,
            members_know_nothing_of_logs_and_values,
            an_id_that_is_too_long_is_refused,
            a_full_registration_refuses_newcomers_only,
        ]
    );
}

async fn announce(peer: &Peer, id: &[u8], sealed: &[u8]) {
    let announced = peer.members.announce(id.to_vec(), sealed.to_vec()).await;
    announced.expect("the record is written");
}

async fn list(peer: &Peer) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = peer.members.list().await.expect("the records can be read");
    entries
        .into_iter()
        .map(|MemberEntry { id, sealed }| (id, sealed))
        .collect()
}

async fn an_id_that_is_too_long_is_refused(scene: Scene) {
    let announced = scene.a.members.announce(vec![7; 33], b"record".to_vec()).await;
    assert!(matches!(announced, Err(PortError::Refused(_))), "{announced:?}");
    assert_eq!(list(&scene.b).await, []);
}

async fn nobody_is_there_at_first(scene: Scene) {
    assert_eq!(list(&scene.a).await, []);
}

async fn a_record_comes_back_byte_for_byte_and_is_replaced(scene: Scene) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let id = [0x00, 0xff, b'\r', b'\n', 0x80];
    announce(&scene.a, &id, b"first").await;
    assert_eq!(list(&scene.b).await, [(id.to_vec(), b"first".to_vec())]);
    announce(&scene.b, &id, &every_byte).await;
    assert_eq!(list(&scene.a).await, [(id.to_vec(), every_byte)], "replaced, not added");
}

async fn records_come_in_the_order_of_their_ids(scene: Scene) {
    // As bytes: neither as text nor as signed numbers, a prefix before what it begins; up to the longest ID.
    let mut ids: Vec<Vec<u8>> = vec![
        vec![0x80],
        vec![0x7f, 0xff],
        vec![0x7f],
        b"b".to_vec(),
        b"B".to_vec(),
        b"ab".to_vec(),
        b"a".to_vec(),
        vec![0xff; 32],
        vec![0x00; 32],
        vec![0xff; 31],
    ];
    for id in &ids {
        announce(&scene.a, id, b"r").await;
    }
    ids.sort();
    let listed: Vec<Vec<u8>> = list(&scene.b).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(listed, ids);
}

async fn a_forgotten_member_is_gone_until_it_announces_itself_again(scene: Scene) {
    announce(&scene.a, b"one", b"1").await;
    announce(&scene.a, b"two", b"2").await;
    let forget = async |peer: &Peer, id: &[u8]| peer.members.forget(id.to_vec()).await.expect("it is forgotten");
    forget(&scene.b, b"one").await;
    assert_eq!(list(&scene.a).await, [(b"two".to_vec(), b"2".to_vec())]);
    forget(&scene.b, b"one").await;
    forget(&scene.b, b"never seen").await;
    assert_eq!(
        list(&scene.a).await.len(),
        1,
        "forgetting who is not there changes nothing"
    );
    announce(&scene.a, b"one", b"3").await;
    assert_eq!(list(&scene.b).await[0], (b"one".to_vec(), b"3".to_vec()));
}

async fn announcements_at_the_same_time_are_all_kept(scene: Scene) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64_u8 {
        let peer = if n % 2 == 0 { scene.a.clone() } else { scene.b.clone() };
        tasks.spawn(async move { announce(&peer, &[n], &[n, n]).await });
    }
    scene.soon("64 announcements", tasks.join_all()).await;
    let expected: Vec<_> = (0..64_u8).map(|n| (vec![n], vec![n, n])).collect();
    assert_eq!(list(&scene.a).await, expected);
}

async fn members_know_nothing_of_logs_and_values(scene: Scene) {
    announce(&scene.a, b"one", b"1").await;
    assert!(
        scene.b.heads().await.iter().all(Option::is_none),
        "a registration is no statement"
    );
}

async fn a_full_registration_refuses_newcomers_only(scene: Scene) {
    let Some(cap) = scene.abilities.member_cap else { return };
    let id = |n: usize| (n as u64).to_be_bytes();
    for n in 0..cap {
        announce(&scene.a, &id(n), b"r").await;
    }
    let one_more = scene.a.members.announce(b"one more".to_vec(), b"r".to_vec()).await;
    assert!(matches!(one_more, Err(PortError::Full(_))), "{one_more:?}");
    assert_eq!(list(&scene.b).await.len(), cap, "nothing was changed");
    announce(&scene.b, &id(0), b"moved").await;
    assert_eq!(list(&scene.a).await[0].1, b"moved", "who is there may go on announcing");
    scene.a.members.forget(id(1).to_vec()).await.expect("it is forgotten");
    announce(&scene.b, b"one more", b"r").await;
}
