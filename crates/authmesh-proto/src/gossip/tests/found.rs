//! What the virtual-time cluster of `authmesh-sim` and reviewers have found.

use core::time::Duration;

use super::net::{Net, config, peer};
use super::{GossipConfig, Input, Moment, Peer, beside_a_log};
use crate::gossip::message::Request;
use crate::gossip::{Event, Registered};
use crate::ident::Origin;

fn registered(peer: Peer, still_for: Duration, moves: bool) -> Registered {
    Registered {
        peer,
        still_for,
        moves,
        knows_me: false,
    }
}

fn announce_and_list(net: &mut Net, number: u8, list: std::vec::Vec<Registered>) {
    let at = net.now.boot;
    net.input(number, Input::Announced(at));
    net.input(number, Input::Registered(at, list));
}

#[test]
fn a_record_that_stands_still_does_not_bring_back_whom_a_joiner_dropped() {
    let mut net = Net::new();
    let config = GossipConfig {
        seed: 1,
        ..beside_a_log()
    };
    for number in [1, 2] {
        net.start(number, config.clone());
    }
    net.redis(&[1, 2], 2);
    assert!(net.coherent(1) && net.coherent(2));
    // A member that died is not in their view any more, yet its record still stands.
    net.start(3, config);
    net.prove(3, net.now.boot);
    let dead = registered(peer(9), Duration::from_millis(100), false);
    announce_and_list(&mut net, 3, std::vec![dead.clone()]);
    net.redis(&[1, 2], 2);
    let names = |net: &Net| -> std::vec::Vec<Origin> {
        let members = net.node(3).gossip.members();
        members.map(|(peer, ..)| peer.origin).collect()
    };
    assert!(!names(&net).contains(&peer(9).origin), "the others do not have it");
    announce_and_list(&mut net, 3, std::vec![dead]);
    assert!(!names(&net).contains(&peer(9).origin));
    let moves = registered(peer(9), Duration::from_millis(100), true);
    announce_and_list(&mut net, 3, std::vec![moves]);
    assert!(names(&net).contains(&peer(9).origin), "what moves is there");
}

#[test]
fn a_node_that_starts_anew_does_not_wait_for_its_former_start() {
    let mut net = Net::new();
    net.start(1, beside_a_log());
    let former = Peer {
        origin: Origin([77; 16]),
        ..peer(1)
    };
    let record = registered(former, Duration::from_millis(100), false);
    let at = net.now.boot;
    announce_and_list(&mut net, 1, std::vec![record]);
    net.input(1, Input::Proven(at));
    assert!(net.node(1).gossip.joined() && net.node(1).gossip.members().count() == 0);
    assert!(net.node(1).gossip.coherent_until(at, at.plus(Duration::from_secs(3))) > Moment::ORIGIN);
}

#[test]
fn a_joiner_is_not_taken_in_before_it_has_what_members_had_confirmed_without_it() {
    let mut net = Net::of(2, &beside_a_log());
    net.redis(&[1, 2], 5);
    // Confirmed by the whole view, and not in the log.
    let names: std::vec::Vec<_> = (0..100).map(|first| net.drop_entry(1, first)).collect();
    let name = names[50];
    net.secs(2);
    assert!(net.node(1).whole.contains(&name));
    net.node_mut(1).gossip.unawait_all();
    // Questions are answered, and no statement gets through with the answers: everything has to come by stream.
    net.start(3, beside_a_log());
    net.streams = false;
    net.redis(&[1, 2, 3], 5);
    assert!(!net.node(3).applied.contains(&name));
    assert!(
        !net.coherent(3),
        "by Redis it would be, without what the others have confirmed"
    );
    net.streams = true;
    net.redis(&[1, 2, 3], 5);
    assert!(net.coherent(3) && net.node(3).applied.contains(&name));
}

#[test]
fn who_does_not_hold_a_node_for_a_member_confirms_nothing_for_it() {
    let mut net = Net::of(3, &super::config());
    net.secs(2);
    for number in [2, 3] {
        net.input(number, Input::Gone(peer(1).origin));
    }
    let name = net.revoke(1, "alice");
    net.run(Duration::from_millis(20));
    assert!(net.has(2, "alice") && net.has(3, "alice"), "they apply it all the same");
    assert!(!net.node(1).whole.contains(&name));
}

#[test]
fn who_knows_others_confirms_nothing_before_they_are_asked_too() {
    let mut net = Net::of(2, &super::config());
    net.secs(2);
    net.input(2, Input::Up(peer(9)));
    let name = net.revoke(1, "alice");
    net.secs(2);
    assert!(net.has(2, "alice"));
    assert!(
        !net.node(1).whole.contains(&name),
        "9 is a member, and has not heard it"
    );
    net.input(1, Input::Gone(peer(9).origin));
    net.secs(2);
    assert!(net.node(1).whole.contains(&name));
}

#[test]
fn a_view_that_redis_proved_too_long_ago_confirms_nothing() {
    let config = GossipConfig {
        redis_limit: Duration::from_secs(20),
        ..beside_a_log()
    };
    let mut net = Net::of(2, &config);
    net.redis(&[1, 2], 3);
    let name = net.revoke(1, "alice");
    net.secs(1);
    assert!(net.node(1).whole.contains(&name));
    net.secs(30);
    let name = net.revoke(1, "bob");
    net.secs(2);
    assert!(net.has(2, "bob"));
    assert!(!net.node(1).whole.contains(&name), "others may have dropped them both");
}

#[test]
fn a_node_that_comes_hears_every_member_of_a_large_cluster_within_seconds() {
    let mut net = Net::of(
        40,
        &GossipConfig {
            expect: 40,
            ..super::config()
        },
    );
    net.run(Duration::from_millis(1500));
    assert!((1..=40).all(|number| net.coherent(number)));
}

#[test]
fn whoever_comes_to_a_cluster_need_not_find_as_many_as_found_one() {
    let config = GossipConfig {
        expect: 3,
        ..super::config()
    };
    let mut net = Net::of(3, &config);
    net.secs(2);
    for number in [2, 3] {
        net.nodes.remove(&number);
        net.input(1, Input::Gone(peer(number).origin));
    }
    net.start_as(
        2,
        Peer {
            origin: Origin([99; 16]),
            ..peer(2)
        },
        config,
    );
    net.secs(3);
    assert!(net.coherent(1) && net.coherent(2));
}

/// Sixteen real processes found it: whoever asks while SWIM has given it up comes without its name.
#[test]
fn a_member_that_asks_without_its_name_keeps_it_and_so_its_place_for_a_new_start() {
    let mut net = Net::of(3, &config());
    net.secs(3);
    for number in [1, 2] {
        let from = Peer {
            name: Default::default(),
            ..peer(3)
        };
        let asked = Input::Asked {
            token: 3 << 48 | 999_999,
            from,
            request: Request::View.encode(),
            limit: 1200,
        };
        net.input(number, asked);
        let names = net.node(number).gossip.members().map(|(peer, ..)| peer.name);
        assert!(
            names.into_iter().all(|name| !name.is_empty()),
            "node {number} knows its name"
        );
    }
    super::dies_and_starts_again(&mut net);
    assert!(
        (1..=3).all(|number| net.coherent(number)),
        "it has the place of the former"
    );
}

/// The one member that hears of an order is the one that it concerns; whoever took it is gone before the others hear.
#[test]
fn whoever_finds_itself_forgotten_says_so() {
    let mut net = Net::of(3, &config());
    net.secs(3);
    net.partition(&[2], &[1, 3]);
    net.input(1, Input::Gone(peer(3).origin));
    net.secs(1);
    assert!(net.node(3).gossip.forgotten());
    net.nodes.remove(&1);
    net.input(2, Input::Gone(peer(1).origin));
    net.heal();
    net.secs(1);
    assert!(
        net.node(2).events.contains(&Event::Left(peer(3).origin)),
        "an operator was told that 3 is forgotten"
    );
    net.nodes.remove(&3);
    net.secs(5);
    assert!(net.coherent(2), "it does not wait for who is gone");
}
