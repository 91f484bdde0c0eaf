//! Rules switched off, one at a time: the tests of the cluster must see it.

use super::cluster::{NODES, P, seeds, warm};
use super::idp::Mood;
use super::world::{Rules, Said, World};
use super::{ms, secs};

fn without(seed: u64, change: fn(&mut Rules)) -> World {
    let mut world = warm(seed);
    change(&mut world.rules);
    world
}

#[test]
fn control_without_the_lease_everybody_fetches() {
    for seed in seeds(25) {
        let mut world = without(seed, |rules| rules.lease = false);
        world.publish("k2");
        let before = world.now;
        world.call_everywhere(1, "k2");
        world.run(secs(5));
        assert!(world.idp.requests_since(before) > NODES / 2, "seed {seed}");
    }
}

#[test]
fn control_without_the_ticket_an_issuer_that_is_down_is_asked_by_everybody() {
    for seed in seeds(50) {
        let mut world = without(seed, |rules| rules.ticket = false);
        world.idp.mood = Mood::Down;
        world.run(secs(3_600));
        let all = world.idp.requests();
        assert!(all > 1_000, "seed {seed}: {all}");
    }
}

#[test]
fn control_without_the_rule_of_proof_a_new_key_is_called_unknown() {
    let refused = seeds(4).any(|seed| {
        let mut world = without(seed, |rules| rules.proof = false);
        // A garbage kid's fetch is under way, and has passed the issuer, when the new key comes.
        world.idp.latency = (ms(100), ms(100));
        world.call_in(ms(0), 0, "garbage");
        world.run(ms(60));
        world.publish("k2");
        let outcome = world.ask(0, "k2");
        matches!(outcome.said, Said::Unknown { .. })
    });
    assert!(refused, "the rule is needed for nothing that is tried here");
}

#[test]
fn control_without_the_second_look_one_forgetful_server_takes_a_key_away() {
    let lost = seeds(25).any(|seed| {
        let mut world = without(seed, |rules| rules.second_look = false);
        world.publish("k2");
        world.ask(0, "k2");
        world.run(secs(5));
        world.idp.confuse(&["k1"], 1);
        world.run(P.soft_lifetime);
        world.nodes.iter().any(|node| !node.trusts(world.now, "k2"))
    });
    assert!(lost);
}

#[test]
fn control_without_the_generation_an_old_set_comes_back() {
    let back = seeds(25).any(|seed| {
        let mut world = without(seed, |rules| rules.generation = false);
        let old = world.shared();
        world.publish("k2");
        world.idp.withdraw("k1");
        world.ask(3, "k2");
        world.run(secs(5));
        world.l2.put(old);
        for node in 0..NODES {
            world.restart(node);
        }
        world.run(ms(100));
        world.nodes.iter().any(|node| node.trusts(world.now, "k1"))
    });
    assert!(back);
}
