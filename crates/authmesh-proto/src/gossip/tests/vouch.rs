//! What counts as "you are a member" after a registration has lapsed. Found by the model check of both roads.

use core::time::Duration;
use std::vec::Vec;

use super::beside_a_log;
use super::net::{Net, peer};
use crate::gossip::message::{Answer, State, Tell};
use crate::gossip::{Action, Input, Registered, Speaks};
use crate::time::Moment;

/// Two members; then the first one is without Redis and without the other, for longer than its registration lives.
fn lapsed() -> Net {
    let mut net = Net::of(2, &beside_a_log());
    net.redis(&[1, 2], 2);
    assert!(net.coherent(1) && net.coherent(2));
    net.partition(&[1], &[2]);
    net.secs(60);
    net
}

fn list(net: &mut Net, still_for: Duration) {
    let record = Registered {
        peer: peer(2),
        still_for,
        moves: true,
        knows_me: true,
    };
    let at = net.now.boot;
    net.input(1, Input::Registered(at, Vec::from([record])));
}

fn announce(net: &mut Net) -> Moment {
    let at = net.now.boot;
    net.input(1, Input::Announced(at));
    at
}

fn vouched(net: &Net) -> bool {
    net.node(1).gossip.vouched(net.now.boot)
}

#[test]
fn a_record_from_before_a_lapsed_node_came_back_does_not_vouch_for_it() {
    let mut net = lapsed();
    announce(&mut net);
    net.secs(1);
    // Its writer may have dropped this node since.
    list(&mut net, Duration::ZERO);
    assert!(!vouched(&net));
    net.secs(1);
    list(&mut net, Duration::from_secs(1));
    assert!(!vouched(&net), "the same record");
    for _ in 0..11 {
        net.secs(1);
        announce(&mut net);
        list(&mut net, Duration::ZERO);
    }
    assert!(
        vouched(&net),
        "written after a list that was read since this node is registered again"
    );
}

#[test]
fn an_answer_to_a_question_from_before_a_lapsed_node_came_back_does_not_vouch_for_it() {
    let mut net = lapsed();
    let view = net.node(1).gossip.view.digest();
    let ask = |net: &mut Net| {
        let now = net.now;
        let node = net.node_mut(1);
        node.gossip.handle(now, Input::Up(peer(2)), &node.marks);
        let mut exchanges = Vec::new();
        for _ in 0..20 {
            let at = crate::time::Now {
                boot: now.boot.plus(Duration::from_millis(200)),
                ..now
            };
            node.gossip.tick(at);
            while let Some(action) = node.gossip.poll() {
                if let Action::Ask { exchange, .. } = action {
                    exchanges.push(exchange);
                }
            }
        }
        *exchanges.last().expect("a question")
    };
    let knows = |exchange| Input::Answered {
        exchange,
        answer: Some(
            Answer::Tell(Tell {
                state: State {
                    origin: peer(2).origin,
                    version: 0,
                    said: 0,
                    yours: 0,
                    knows_you: true,
                    coherent: false,
                    joined: false,
                    view,
                    redis_age: None,
                    evidence: Vec::new(),
                    speaks: Speaks::default(),
                },
                changes: Some(Vec::new()),
                statements: Vec::new(),
                confirmed: 0,
            })
            .encode(),
        ),
    };
    let waits = |net: &Net| net.node(1).gossip.waits_for().count();
    let early = ask(&mut net);
    net.now.boot = net.now.boot.plus(Duration::from_millis(500));
    announce(&mut net);
    net.input(1, knows(early));
    assert_eq!(waits(&net), 1, "asked before");
    net.now.boot = net.now.boot.plus(Duration::from_millis(500));
    let late = ask(&mut net);
    net.input(1, knows(late));
    assert_eq!(waits(&net), 0, "asked since");
}

#[test]
fn a_member_that_asks_is_not_dropped_by_a_list_from_before() {
    let mut net = lapsed();
    // The second node reads the registrations; before they come, the first one is back, asks, and is told that it is a member.
    let asked = net.now.boot;
    net.cut.clear();
    net.run(Duration::from_secs(2));
    net.input(2, Input::Proven(net.now.boot));
    let still = Registered {
        peer: peer(1),
        still_for: Duration::from_secs(60),
        moves: true,
        knows_me: false,
    };
    net.input(2, Input::Down(peer(1).origin));
    net.input(2, Input::Registered(asked, Vec::from([still])));
    assert_eq!(net.node(2).gossip.members().count(), 1);
}
