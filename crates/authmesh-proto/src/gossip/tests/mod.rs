use core::time::Duration;
use std::vec::Vec;

use net::{Net, config, peer};

use super::message::{Answer, Ask, Request};
use super::*;

mod found;
mod net;
mod vouch;

fn beside_a_log() -> GossipConfig {
    GossipConfig {
        has_log: true,
        ..config()
    }
}

#[test]
fn nodes_that_find_each_other_are_a_cluster() {
    let mut net = Net::of(3, &GossipConfig { expect: 3, ..config() });
    net.secs(2);
    for number in 1..=3 {
        assert!(net.coherent(number), "node {number}");
        assert!(net.node(number).events.contains(&Event::TakenIn));
    }
}

#[test]
fn too_few_nodes_are_no_cluster() {
    let mut net = Net::of(2, &GossipConfig { expect: 3, ..config() });
    net.secs(10);
    assert!(!net.coherent(1) && !net.coherent(2));
}

#[test]
fn a_statement_reaches_everybody_and_everybody_confirms_it() {
    let mut net = Net::of(5, &config());
    net.secs(2);
    let name = net.revoke(2, "alice");
    net.run(Duration::from_millis(10));
    for number in 1..=5 {
        assert!(net.has(number, "alice"), "node {number}");
    }
    assert!(net.node(2).whole.contains(&name));
    let confirmations = net.node(2).gossip.confirmations(&name).unwrap();
    assert_eq!((confirmations.confirmed.len(), confirmations.missing.len()), (4, 0));
}

#[test]
fn questions_alone_carry_every_statement() {
    let mut net = Net::of(8, &GossipConfig { push_to: 0, ..config() });
    net.secs(3);
    net.broadcasts = false;
    let mark = net.revoke(1, "alice");
    let drop = net.drop_entry(3, 9);
    net.node_mut(1).gossip.unawait_all();
    net.node_mut(3).gossip.unawait_all();
    net.secs(3);
    for number in 1..=8 {
        assert!(net.has(number, "alice"), "node {number}");
        assert!(net.node(number).applied.contains(&mark) && net.node(number).applied.contains(&drop));
    }
}

#[test]
fn half_of_all_datagrams_lost_lose_no_statement() {
    let mut net = Net::of(6, &config());
    net.secs(3);
    net.loss = 50;
    let names: Vec<_> = (0..40)
        .map(|at| net.revoke(1 + at % 6, &std::format!("user {at}")))
        .collect();
    net.secs(5);
    for number in 1..=6 {
        let missing = names
            .iter()
            .filter(|name| !net.node(number).applied.contains(name))
            .count();
        assert_eq!(missing, 0, "node {number}");
    }
}

#[test]
fn a_cut_off_node_is_blind_within_the_lease_and_so_are_the_others() {
    let mut net = Net::of(4, &config());
    net.secs(3);
    net.partition(&[4], &[1, 2, 3]);
    net.run(Duration::from_millis(3500));
    assert!(!net.coherent(4), "who hears nobody");
    assert!(
        !net.coherent(1),
        "a member is missing, and may hold a lease by what others do not know"
    );
    let name = net.revoke(1, "alice");
    net.secs(2);
    assert!(!net.node(1).whole.contains(&name));
    assert_eq!(net.node(1).gossip.confirmations(&name).unwrap().missing, [peer(4)]);
    net.heal();
    net.secs(2);
    assert!((1..=4).all(|number| net.coherent(number) && net.has(number, "alice")));
    assert!(net.node(1).whole.contains(&name));
}

#[test]
fn evidence_is_relayed_around_a_cut() {
    let mut net = Net::of(3, &config());
    net.secs(3);
    net.cut.extend([(1, 3), (3, 1)]);
    net.secs(20);
    assert!((1..=3).all(|number| net.coherent(number)), "2 bridges");
    net.revoke(1, "alice");
    net.secs(1);
    assert!(net.has(3, "alice"));
}

#[test]
fn blindness_ends_when_the_missing_member_is_forgotten() {
    let mut net = Net::of(3, &config());
    net.secs(3);
    net.partition(&[3], &[1, 2]);
    net.secs(4);
    assert!(!net.coherent(1));
    net.input(1, Input::Gone(peer(3).origin));
    net.secs(2);
    assert!(net.coherent(1) && net.coherent(2), "who forgets is told to everybody");
    net.heal();
    net.secs(3);
    assert!(net.node(3).gossip.forgotten(), "who is gone learns it");
    assert!(!net.coherent(3));
    assert!(net.coherent(1) && net.coherent(2));
}

/// Node 3 dies, which the others cannot go on without, and comes back at its name and address.
fn dies_and_starts_again(net: &mut Net) {
    net.nodes.remove(&3);
    net.secs(4);
    assert!(!net.coherent(1));
    let again = Peer {
        origin: Origin([33; 16]),
        ..peer(3)
    };
    net.start_as(3, again, config());
    net.secs(2);
}

#[test]
fn a_new_start_at_the_same_name_and_address_has_the_place_of_the_former() {
    let mut net = Net::of(3, &config());
    net.secs(3);
    net.revoke(1, "alice");
    net.secs(1);
    dies_and_starts_again(&mut net);
    assert!((1..=3).all(|number| net.coherent(number)));
    assert!(net.has(3, "alice"), "it takes over what the others have");
}

#[test]
fn a_node_that_leaves_is_not_waited_for() {
    let mut net = Net::of(3, &config());
    net.secs(3);
    let now = net.now.boot;
    net.node_mut(3).gossip.leave(now);
    // Its good-bye reaches one of them only.
    net.input(1, Input::Gone(peer(3).origin));
    net.secs(4);
    assert!(net.coherent(1) && net.coherent(2));
}

#[test]
fn a_joiner_takes_over_what_is_older_than_any_ring() {
    let short = GossipConfig {
        ring_life: Duration::from_secs(10),
        ..config()
    };
    let mut net = Net::of(3, &short);
    net.secs(3);
    net.revoke(1, "alice");
    net.drop_entry(2, 77);
    net.secs(60);
    net.start(4, short);
    net.secs(3);
    assert!(net.has(4, "alice"));
    assert!((1..=4).all(|number| net.coherent(number)));
    assert!(
        net.node(4)
            .events
            .iter()
            .any(|event| matches!(event, Event::TakenOver(_)))
    );
    assert!(
        (1..=3).all(|number| net.node(number).bumped.is_empty()),
        "a joiner costs nobody a channel"
    );
}

#[test]
fn who_was_away_for_longer_than_the_ring_voids_what_it_missed() {
    let short = GossipConfig {
        ring_life: Duration::from_secs(10),
        ..config()
    };
    let mut net = Net::of(3, &short);
    net.secs(3);
    net.partition(&[3], &[1, 2]);
    let drop = net.drop_entry(1, 77);
    net.secs(60);
    net.heal();
    net.secs(8);
    assert!(net.node(3).gossip.has_applied(&drop) && !net.node(3).applied.contains(&drop));
    assert!(net.node(3).bumped.contains(&drop.channel));
    assert!((1..=3).all(|number| net.coherent(number)));
}

#[test]
fn marks_beside_all_statements_reach_everybody() {
    let mut net = Net::of(4, &config());
    net.secs(3);
    let mark = net.mark("bob");
    net.merge(2, mark);
    net.secs(2);
    assert!((1..=4).all(|number| net.has(number, "bob")));
}

#[test]
fn a_voided_channel_is_voided_once_on_everybody() {
    let mut net = Net::of(4, &config());
    net.secs(3);
    let channel = ChannelId::new(5).unwrap();
    net.input(1, Input::Voided(channel, VoidId([9; 16])));
    net.secs(5);
    for number in 2..=4 {
        assert_eq!(net.node(number).bumped, [channel], "node {number}");
    }
    assert!(net.node(1).bumped.is_empty(), "it did so itself");
}

#[test]
fn a_statement_that_nobody_has_voids_its_channel() {
    let mut net = Net::of(3, &config());
    net.secs(3);
    // The first one dies with its maker's memory: only the second one gets out.
    net.broadcasts = false;
    net.partition(&[3], &[1, 2]);
    let lost = net.drop_entry(3, 50);
    let origin = peer(3).origin;
    let second = Statement {
        name: StatementName { counter: 2, ..lost },
        body: crate::statement::Body::Drop(crate::ident::EntryName([50; 32])),
    };
    net.nodes.remove(&3);
    net.input(
        1,
        Input::Item(
            message::Item {
                statements: std::vec![second.encode()],
            }
            .encode(),
        ),
    );
    net.input(1, Input::Gone(origin));
    net.secs(8);
    for number in 1..=2 {
        assert!(
            net.node(number).events.contains(&Event::LostStatement(lost)),
            "node {number}"
        );
        assert!(net.node(number).soiled.contains(&lost.channel));
    }
    assert!(net.coherent(1) && net.coherent(2));
}

#[test]
fn beside_a_log_nobody_is_coherent_before_redis_was_read() {
    let mut net = Net::of(3, &beside_a_log());
    net.secs(30);
    assert!((1..=3).all(|number| !net.coherent(number)));
}

#[test]
fn nodes_stay_coherent_without_redis_for_an_hour_and_no_longer() {
    let mut net = Net::of(3, &beside_a_log());
    net.redis(&[1, 2, 3], 5);
    assert!((1..=3).all(|number| net.coherent(number)));
    for _ in 0..59 {
        net.secs(60);
        assert!((1..=3).all(|number| net.coherent(number)), "at {:?}", net.now.boot);
    }
    net.secs(120);
    assert!((1..=3).all(|number| !net.coherent(number)));
}

#[test]
fn a_joiner_beside_a_log_is_blind_until_every_member_knows_it() {
    let mut net = Net::of(2, &beside_a_log());
    net.redis(&[1, 2], 5);
    net.start(3, beside_a_log());
    net.partition(&[3], &[2]);
    net.redis(&[1, 2, 3], 10);
    assert!(!net.coherent(3), "2 may renew without it");
    assert!(net.node(3).gossip.waits_for().any(|waited| waited == peer(2)));
    net.heal();
    net.redis(&[1, 2, 3], 2);
    assert!(net.coherent(3));
}

#[test]
fn a_majority_without_redis_is_no_evidence_and_with_it_is() {
    let mut net = Net::of(5, &beside_a_log());
    net.redis(&[1, 2, 3, 4, 5], 5);
    net.partition(&[4, 5], &[1, 2, 3]);
    net.secs(5);
    assert!(
        (1..=5).all(|number| !net.coherent(number)),
        "no side knows the other, and Redis is away"
    );
    net.redis(&[1, 4, 5], 5);
    assert!(net.coherent(1) && net.coherent(4), "by Redis");
    assert!(net.coherent(2) && net.coherent(3), "a majority, and 1 has Redis");
}

#[test]
fn a_crashed_member_is_dropped_when_its_registration_lapsed() {
    let mut net = Net::of(3, &beside_a_log());
    net.redis(&[1, 2, 3], 5);
    net.nodes.remove(&3);
    net.input(1, Input::Down(peer(3).origin));
    net.input(2, Input::Down(peer(3).origin));
    let list = |net: &mut Net, still: u64| {
        let asked = net.now.boot;
        let registered = |number: u8, still| Registered {
            peer: peer(number),
            still_for: Duration::from_secs(still),
            moves: true,
            knows_me: true,
        };
        for number in [1, 2] {
            let list = std::vec![registered(1, 0), registered(2, 0), registered(3, still)];
            net.input(number, Input::Announced(asked));
            net.input(number, Input::Registered(asked, list));
            net.input(number, Input::Proven(asked));
        }
        net.secs(1);
    };
    for still in 1..36 {
        list(&mut net, still);
        assert_eq!(net.node(1).gossip.members().count(), 2, "after {still} s");
    }
    for still in 36..42 {
        list(&mut net, still);
    }
    assert_eq!(net.node(1).gossip.members().count(), 1);
    net.secs(30);
    assert!(net.coherent(1) && net.coherent(2), "the two need nobody else");
}

#[test]
fn a_node_whose_registration_lapsed_has_no_lease_by_redis() {
    let mut net = Net::of(2, &beside_a_log());
    net.redis(&[1, 2], 5);
    net.partition(&[1], &[2]);
    // It reads Redis, and cannot write to it.
    for _ in 0..40 {
        let asked = net.now.boot;
        net.input(1, Input::Proven(asked));
        net.prove(1, asked);
        net.secs(1);
    }
    assert!(!net.coherent(1), "2 may have dropped it by now");
}

#[test]
fn an_absurd_expiry_is_refused() {
    let mut net = Net::of(2, &config());
    net.secs(2);
    let mut mark = net.mark("alice");
    mark.expires += 400 * 24 * net::HOUR;
    let name = StatementName {
        origin: Origin([8; 16]),
        channel: mark.key.scope.slot().channel,
        counter: 1,
    };
    let statement = Statement {
        name,
        body: crate::statement::Body::Mark(mark),
    };
    net.input(
        1,
        Input::Item(
            message::Item {
                statements: std::vec![statement.encode()],
            }
            .encode(),
        ),
    );
    assert!(!net.has(1, "alice"));
    assert!(net.node(1).events.contains(&Event::Absurd(name)));
}

#[test]
fn what_members_say_may_be_garbage() {
    let mut net = Net::of(2, &config());
    net.secs(2);
    let junk: [&[u8]; 5] = [
        b"",
        b"\x01",
        b"\xff\xff\xff",
        &[1, 0, 0xfd, 0xff, 0xff, 0xff],
        &[9, 9, 9],
    ];
    for request in junk {
        let asked = Input::Asked {
            token: 1 << 48 | 1,
            from: peer(2),
            request: request.to_vec(),
            limit: 1200,
        };
        net.input(1, asked);
        net.input(1, Input::Item(request.to_vec()));
    }
    assert!(net.node(1).events.contains(&Event::Malformed(peer(2).origin)));
    net.secs(1);
    assert!(net.coherent(1));
}

#[test]
fn a_question_of_the_future_is_malformed_and_takes_nothing() {
    let mut request = Request::Ask(Ask::default()).encode();
    request[0] = 2;
    assert!(Request::decode(&request).is_err());
    assert!(Answer::decode(&request).is_err());
}

#[test]
fn what_fits_no_page_comes_by_several() {
    let mut net = Net::of(2, &config());
    net.secs(2);
    net.partition(&[1], &[2]);
    let names: Vec<_> = (0..6000).map(|at| net.revoke(1, &std::format!("user {at}"))).collect();
    net.node_mut(1).gossip.unawait_all();
    // A third one comes that knows nothing, and whom its first question brings to compare everything.
    net.input(1, Input::Voided(ChannelId::new(1).unwrap(), VoidId([1; 16])));
    net.node_mut(1).gossip.restart_changes();
    net.broadcasts = false;
    net.start(3, config());
    net.secs(3);
    assert!(
        names.iter().all(|name| net.node(3).applied.contains(name)),
        "every statement came itself"
    );
    assert!(net.node(3).bumped.is_empty(), "so nothing had to be voided");
}

#[test]
fn a_joiner_believes_a_member_about_who_is_gone() {
    let mut net = Net::of(2, &beside_a_log());
    net.redis(&[1, 2], 5);
    net.start(3, beside_a_log());
    // 9 crashed long ago: the members have dropped it, its registration is still there.
    let asked = net.now.boot;
    for still in 0..3 {
        let list = [1, 2, 3, 9].map(|number| Registered {
            peer: peer(number),
            still_for: Duration::from_secs(if number == 9 { still } else { 0 }),
            moves: number != 9,
            knows_me: false,
        });
        net.input(3, Input::Announced(asked));
        net.input(3, Input::Registered(net.now.boot, list.to_vec()));
        net.input(3, Input::Proven(net.now.boot));
        net.redis(&[1, 2], 1);
    }
    assert!(net.node(3).gossip.joined());
    assert!(net.node(3).gossip.members().all(|(member, ..)| member != peer(9)));
}

#[test]
fn a_confirmation_counts_when_the_members_of_whoever_gives_it_are_known() {
    let mut net = Net::of(2, &config());
    net.secs(3);
    // 1 sleeps while 2 takes 3 in, of which 1 hears nothing.
    let sleeper = net.nodes.remove(&1).unwrap();
    net.start(3, config());
    net.secs(1);
    net.nodes.insert(1, sleeper);
    net.cut.extend([(1, 3), (3, 1)]);
    let name = net.revoke(1, "alice");
    net.secs(2);
    assert!(net.has(2, "alice"));
    assert!(
        !net.node(1).whole.contains(&name),
        "3 has confirmed nothing, and may be coherent"
    );
    net.heal();
    net.secs(2);
    assert!(net.node(1).whole.contains(&name));
}

#[test]
fn a_flood_is_confirmed_by_everybody_and_sent_to_each_but_once() {
    let mut net = Net::of(8, &config());
    net.secs(3);
    let names: Vec<_> = (0..5000).map(|at| net.revoke(1, &std::format!("user {at}"))).collect();
    net.bytes = 0;
    net.secs(6);
    assert!(names.iter().all(|name| net.node(1).whole.contains(name)));
    assert!((1..=8).all(|number| net.coherent(number)));
    // A mark takes about 90 bytes. Broadcasts bring each one once; questions name what is not there.
    let all = 5000 * 90 * 7;
    assert!(net.bytes < 6 * all, "{} of {all}", net.bytes);
}
