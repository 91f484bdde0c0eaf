//! Many nodes, and an issuer that is down, slow, or flooded with what does not exist.

use std::format;

use super::cluster::{NODES, P, seeds, warm};
use super::idp::Mood;
use super::world::{Said, World};
use super::{ms, secs};

/// Requests of one node alone whose issuer is down for so many seconds from when its set is due.
fn one_node_makes(seed: u64, seconds: u64) -> usize {
    let mut world = World::alone(seed, P);
    world.start();
    world.run(secs(5));
    world.idp.mood = Mood::Down;
    world.run(secs(seconds));
    world.idp.requests()
}

#[test]
fn an_issuer_that_is_down_is_asked_no_more_by_all_than_by_one() {
    for seed in seeds(10) {
        let one = (0..10)
            .map(|other| one_node_makes(seed * 10 + other, 3_600))
            .max()
            .unwrap_or(0);
        let mut world = warm(seed);
        world.idp.mood = Mood::Down;
        for second in 0..3_600 {
            world.call_in(secs(second), second as usize % NODES, "k1");
        }
        world.run(secs(3_600));
        let all = world.idp.requests();
        assert!(all <= one + one / 2, "seed {seed}: {all} of all, {one} of one");
        assert_eq!(
            world.said(Said::Served),
            3_600,
            "seed {seed}: all go on with the set that they have"
        );
        assert!(
            world.outcomes.iter().all(|outcome| outcome.waited() == ms(0)),
            "seed {seed}"
        );
        world.idp.mood = Mood::Well;
        world.publish("k2");
        world.run(secs(35));
        world.assert_all_hold("k2");
    }
}

#[test]
fn without_redis_an_issuer_that_is_down_is_asked_by_its_owners() {
    for seed in seeds(25) {
        let one = (0..10)
            .map(|other| one_node_makes(seed * 10 + other, 3_600))
            .max()
            .unwrap_or(0);
        let mut world = World::new(seed, NODES, P);
        world.l2.exists = false;
        world.start();
        world.run(secs(5));
        world.idp.mood = Mood::Down;
        world.run(secs(3_600));
        let all = world.idp.requests();
        assert!(all <= 3 * one, "seed {seed}: {all} of all, {one} of one");
        world.assert_all_hold("k1");
        world.idp.mood = Mood::Well;
        world.publish("k2");
        world.run(secs(90));
        world.assert_all_hold("k2");
    }
}

#[test]
fn an_owner_that_alone_cannot_reach_the_issuer_stops_nobody() {
    for seed in seeds(10) {
        let mut world = World::new(seed, NODES, P);
        world.l2.exists = false;
        world.start();
        world.run(secs(5));
        let first = world.owner();
        world.nodes[first].reaches_idp = false;
        world.publish("k2");
        let before = world.now;
        for node in (0..NODES).filter(|node| *node != first) {
            world.call_in(ms(3), node, "k2");
        }
        world.run(secs(15));
        let served = world
            .outcomes
            .iter()
            .filter(|outcome| outcome.said == Said::Served)
            .count();
        assert_eq!(served, NODES - 1, "seed {seed}");
        let requests = world.idp.requests_since(before);
        assert!(requests <= 3, "seed {seed}: {requests}");
    }
}

#[test]
fn a_start_while_the_issuer_is_down_is_no_stampede_when_it_comes_back() {
    for seed in seeds(10) {
        let mut world = World::new(seed, NODES, P);
        world.idp.mood = Mood::Down;
        world.start();
        for second in 0..120 {
            world.call_everywhere(1, "k1");
            world.run(secs(1));
            let _ = second;
        }
        assert_eq!(world.said(Said::CouldNotAsk), world.outcomes.len(), "seed {seed}");
        let tried = world.idp.requests();
        assert!(tried <= 40, "seed {seed}: {tried}");
        world.idp.mood = Mood::Well;
        // Whoever read the last ticket late waits for an eighth of it.
        world.run(P.backoff_ceiling / 8 * 9 + secs(2));
        world.assert_all_hold("k1");
        let good = world.idp.requests() - tried;
        assert_eq!(good, 1, "seed {seed}");
    }
}

#[test]
fn an_issuer_that_is_slow_holds_up_new_keys_alone() {
    for seed in seeds(25) {
        let mut world = warm(seed);
        world.idp.mood = Mood::Slow;
        world.publish("k2");
        world.call_everywhere(4, "k2");
        for n in 0..600 {
            world.call_in(ms(100 * n), n as usize % NODES, "k1");
        }
        world.run(secs(60));
        let old = world.outcomes.iter().filter(|outcome| outcome.kid == "k1");
        assert!(
            old.clone()
                .all(|outcome| outcome.said == Said::Served && outcome.waited() == ms(0))
        );
        let new = world.outcomes.iter().filter(|outcome| outcome.kid == "k2");
        for outcome in new {
            assert_eq!(outcome.said, Said::CouldNotAsk, "seed {seed}: {outcome:?}");
            assert!(outcome.waited() <= P.deadline + secs(2), "seed {seed}: {outcome:?}");
        }
        let asked = world.idp.requests();
        assert!(asked <= 1 + 8, "seed {seed}: {asked} requests");
    }
}

#[test]
fn a_flood_at_every_node_stays_inside_the_cluster_s_budget_and_a_real_key_comes_through() {
    for seed in seeds(10) {
        let mut world = warm(seed);
        let begin = world.now;
        for n in 0..12_000_u64 {
            let node = world.rng.below(NODES);
            let kid = format!("{:016x}", world.rng.next());
            world.call_in(ms(n * 10), node, &kid);
        }
        let rotation = world.rng.between(secs(30), secs(60));
        world.run(rotation);
        world.publish("real");
        let published = world.now;
        let mut node = 0;
        loop {
            let outcome = world.ask(node, "real");
            assert!(
                !matches!(outcome.said, Said::Unknown { .. }),
                "seed {seed}: {outcome:?}"
            );
            if outcome.said == Said::Served {
                break;
            }
            node = (node + 1) % NODES;
            world.run(ms(100));
        }
        let took = world.now.since(published);
        assert!(took <= P.unknown_kid_period + secs(2), "seed {seed}: {took:?}");
        world.run(secs(120).saturating_sub(world.now.since(begin)));
        let asked = world.idp.requests_since(begin);
        let budget = 2 * (P.unknown_kid_burst as usize) + 12;
        assert!(asked <= budget, "seed {seed}: {asked} requests in two minutes");
        world.assert_all_hold("real");
        world.assert_sound();
    }
}

#[test]
fn a_flood_without_redis_stays_inside_the_owners_budgets() {
    for seed in seeds(25) {
        let mut world = World::new(seed, NODES, P);
        world.l2.exists = false;
        world.start();
        world.run(secs(5));
        let begin = world.now;
        for n in 0..6_000_u64 {
            let node = world.rng.below(NODES);
            let kid = format!("{:016x}", world.rng.next());
            world.call_in(ms(n * 10), node, &kid);
        }
        world.run(secs(60));
        let asked = world.idp.requests_since(begin);
        let each = (P.unknown_kid_burst - P.reserve) as usize + 6;
        assert!(asked <= 3 * each, "seed {seed}: {asked} requests in a minute");
        world.assert_sound();
    }
}

#[test]
fn an_edge_that_is_behind_proves_nothing_to_anybody() {
    for seed in seeds(4) {
        let mut world = World::new(seed, NODES, P);
        world.start();
        world.run(secs(5));
        let until = world.now.plus(secs(3_600));
        world.idp.freeze_edge(until);
        world.publish("k2");
        // New tokens come while refreshes of the old set go on.
        let due = world.rng.between(secs(530), secs(600));
        world.run(due);
        for node in 0..NODES {
            let wait = world.rng.between(ms(0), secs(2));
            world.call_in(wait, node, "k2");
            world.call_in(wait, node, &format!("garbage-{node}"));
        }
        world.run(secs(30));
        let wrong = world
            .outcomes
            .iter()
            .find(|outcome| outcome.kid == "k2" && outcome.said != Said::Served);
        assert!(wrong.is_none(), "seed {seed}: {wrong:?}");
        world.assert_sound();
    }
}

#[test]
fn a_refresh_through_an_edge_that_is_behind_proves_nothing_to_who_came_a_moment_before() {
    let behind = |seed| {
        let mut world = warm(seed);
        world.idp.freeze_edge(crate::time::Moment::NEVER);
        world.publish("k2");
        world
    };
    for seed in seeds(4) {
        // When the refresh is sent, in a run without callers; up to the first of them the other run is the same.
        let mut world = behind(seed);
        let until = world.now.plus(P.soft_lifetime);
        assert!(world.run_while(until, |world| world.idp.requests() < 2), "seed {seed}");
        let sent = world.now;
        let refreshing = world.idp.seen[1].node;
        let mut world = behind(seed);
        let mut rng = world.rng_of_callers();
        let node = (refreshing + 1 + rng.below(NODES - 1)) % NODES;
        // It looks before the other has its lease, and asks for one after.
        let wait = sent.since(world.now).saturating_sub(rng.between(ms(1), ms(5)));
        world.call_in(wait, node, "k2");
        world.run(P.soft_lifetime);
        let wrong = world.outcomes.iter().find(|outcome| outcome.said != Said::Served);
        assert!(wrong.is_none(), "seed {seed}: {wrong:?}");
    }
}
