//! Many nodes: one fetch per event, whatever the seed.

use std::format;

use super::idp::Mood;
use super::world::{Said, World};
use super::{ms, secs};
use crate::keys::KeyPolicy;

pub(super) const P: KeyPolicy = KeyPolicy::DEFAULT;
pub(super) const NODES: usize = 64;
const CALLERS: usize = 64;

/// How many seeds: a share of what is asked for.
pub(super) fn seeds(share: u64) -> core::ops::Range<u64> {
    let asked = std::env::var("AUTHMESH_KEY_SEEDS").ok();
    let seeds = asked.and_then(|seeds| seeds.parse().ok()).unwrap_or(200);
    0..(seeds / share).max(1)
}

/// A cluster in which everybody has the issuer's first set.
pub(super) fn warm(seed: u64) -> World {
    let mut world = World::new(seed, NODES, P);
    world.start();
    world.run(secs(5));
    assert_eq!(world.idp.requests(), 1, "seed {seed}");
    world.assert_all_hold("k1");
    world
}

#[test]
fn a_cold_start_is_one_fetch() {
    for seed in seeds(4) {
        let mut world = World::new(seed, NODES, P);
        world.start();
        world.call_everywhere(CALLERS, "k1");
        world.run(secs(3));
        assert_eq!(world.idp.requests(), 1, "seed {seed}");
        assert_eq!(world.said(Said::Served), NODES * CALLERS, "seed {seed}");
        let longest = world.outcomes.iter().map(super::world::Outcome::waited).max();
        assert!(longest < Some(ms(300)), "seed {seed}: {longest:?}");
        // For an hour everybody goes on with one fetch for each lifetime.
        world.run(secs(3_600));
        let asked = world.idp.requests();
        assert!((6..=8).contains(&asked), "seed {seed}: {asked} requests in an hour");
        world.assert_sound();
    }
}

#[test]
fn a_long_lifetime_is_one_fetch_too() {
    for seed in seeds(10) {
        let mut world = World::new(seed, NODES, P);
        world.idp.max_age = Some(secs(3_600));
        world.start();
        world.run(secs(4 * 3_600 + 1_800));
        let asked = world.idp.requests();
        assert!((5..=6).contains(&asked), "seed {seed}: {asked} requests in 4.5 h");
    }
}

#[test]
fn a_rotation_with_overlap_is_one_fetch_and_holds_up_nobody_of_the_old_key() {
    for seed in seeds(4) {
        let mut world = warm(seed);
        world.publish("k2");
        let before = world.now;
        world.call_everywhere(CALLERS / 2, "k1");
        world.call_everywhere(CALLERS, "k2");
        world.call_everywhere(CALLERS / 2, "k1");
        world.run(secs(5));
        assert_eq!(world.idp.requests_since(before), 1, "seed {seed}");
        for outcome in &world.outcomes {
            assert_eq!(outcome.said, Said::Served, "seed {seed}: {outcome:?}");
            let longest = if outcome.kid == "k1" { ms(0) } else { ms(350) };
            assert!(outcome.waited() <= longest, "seed {seed}: {outcome:?}");
        }
        world.assert_all_hold("k2");
        world.assert_sound();
    }
}

#[test]
fn a_holder_that_dies_while_it_fetches_costs_one_more_after_the_lease() {
    for seed in seeds(4) {
        let mut world = warm(seed);
        world.publish("k2");
        let before = world.now;
        world.call_everywhere(CALLERS, "k2");
        let until = before.plus(secs(5));
        assert!(
            world.run_while(until, |world| world.idp.requests_since(before) == 0),
            "seed {seed}"
        );
        let (holder, died) = (world.idp.seen.last().unwrap().node, world.now);
        assert_eq!(world.holder(), Some(holder), "seed {seed}");
        world.kill(holder);
        world.run(secs(5));
        assert_eq!(world.idp.requests_since(before), 2, "seed {seed}");
        let gap = world.idp.seen.last().unwrap().at.since(died);
        assert!(gap > ms(300) && gap < ms(1_200), "seed {seed}: {gap:?}");
        for outcome in &world.outcomes {
            assert_eq!(outcome.said, Said::Served, "seed {seed}: {outcome:?}");
            assert!(outcome.waited() < ms(1_500), "seed {seed}: {outcome:?}");
        }
        world.assert_all_hold("k2");
    }
}

#[test]
fn a_holder_that_stalls_and_wakes_late_changes_nothing() {
    for seed in seeds(4) {
        let mut world = warm(seed);
        world.publish("k2");
        let before = world.now;
        world.call_everywhere(8, "k2");
        let until = before.plus(secs(5));
        world.run_while(until, |world| world.idp.requests_since(before) == 0);
        let holder = world.idp.seen.last().unwrap().node;
        // It stalls at any moment from here to the end of its errand. Meanwhile the others rotate twice more.
        let wait = world.rng.between(ms(0), ms(150));
        world.run(wait);
        let stall = world.rng.between(ms(1_500), secs(20));
        world.nodes[holder].stalled_until = world.now.plus(stall);
        world.run(ms(1_400));
        world.publish("k3");
        let asked = world.now;
        for node in (0..NODES).filter(|node| *node != holder) {
            world.call_in(ms(1), node, "k3");
        }
        world.run(secs(25));
        let shared = world.shared().unwrap();
        assert!(
            core::str::from_utf8(&shared.document).unwrap().contains("k3"),
            "seed {seed}: {shared:?}"
        );
        world.assert_all_hold("k3");
        world.assert_all_hold("k2");
        let after = world
            .outcomes
            .iter()
            .filter(|outcome| outcome.since > asked && outcome.node != holder);
        assert!(after.clone().all(|outcome| outcome.said == Said::Served), "seed {seed}");
        let requests = world.idp.requests_since(before);
        assert!(requests <= 5, "seed {seed}: {requests}");
        world.assert_sound();
    }
}

#[test]
fn the_cut_of_redis_at_any_moment_costs_no_more_than_the_owners() {
    for seed in seeds(2) {
        let mut world = warm(seed);
        world.publish("k2");
        let before = world.now;
        world.call_everywhere(8, "k2");
        let moment = world.rng.between(ms(0), ms(200));
        world.run(moment);
        world.l2.up = false;
        world.run(secs(10));
        let requests = world.idp.requests_since(before);
        assert!(
            (1..=3).contains(&requests),
            "seed {seed}: {requests}, cut after {moment:?}"
        );
        for outcome in &world.outcomes {
            assert_eq!(outcome.said, Said::Served, "seed {seed}: {outcome:?}");
            assert!(outcome.waited() < secs(2), "seed {seed}: {outcome:?}");
        }
        world.assert_all_hold("k2");
    }
}

#[test]
fn without_redis_a_start_and_a_rotation_and_every_refresh_are_the_owners() {
    for seed in seeds(4) {
        let mut world = World::new(seed, NODES, P);
        world.l2.exists = false;
        world.start();
        world.run(secs(5));
        assert!(world.idp.requests() <= 3, "seed {seed}: {}", world.idp.requests());
        world.publish("k2");
        let before = world.now;
        world.call_everywhere(CALLERS, "k2");
        world.run(secs(10));
        let requests = world.idp.requests_since(before);
        assert!((1..=3).contains(&requests), "seed {seed}: {requests}");
        assert_eq!(world.said(Said::Served), NODES * CALLERS, "seed {seed}");
        let before = world.now;
        world.run(secs(3_600));
        let requests = world.idp.requests_since(before);
        assert!(requests <= 3 * 8, "seed {seed}: {requests} in an hour");
        world.assert_all_hold("k2");
    }
}

#[test]
fn a_fleet_that_starts_again_takes_the_set_and_confirms_it_once_within_a_minute() {
    for seed in seeds(4) {
        let mut world = warm(seed);
        world.marks_last = seed % 2 == 0;
        world.run(secs(300));
        for node in 0..NODES {
            world.restart(node);
        }
        let again = world.now;
        world.call_everywhere(CALLERS, "k1");
        world.run(ms(500));
        assert_eq!(world.said(Said::Served), NODES * CALLERS, "seed {seed}");
        let early = world.idp.requests_since(again);
        assert!(early <= 1, "seed {seed}: {early}, while 64 nodes came up");
        world.run(secs(59));
        assert_eq!(world.idp.requests_since(again), 1, "seed {seed}");
        world.run(secs(60));
        assert_eq!(world.idp.requests_since(again), 1, "seed {seed}");
    }
}

#[test]
fn no_number_of_restarts_makes_a_set_trusted_for_longer() {
    for seed in seeds(150) {
        let mut world = warm(seed);
        let first = world.idp.seen[0].at;
        world.idp.mood = Mood::Down;
        for hour in 1..=24 {
            world.run(first.plus(secs(3_600 * hour - 60)).since(world.now));
            for node in 0..NODES {
                world.restart(node);
            }
            world.run(secs(2));
            for node in &world.nodes {
                assert!(node.trusts(world.now, "k1"), "seed {seed}: hour {hour}");
            }
        }
        world.run(first.plus(P.max_trust_age).since(world.now) + secs(2));
        for node in &world.nodes {
            assert!(!node.is_trusted(world.now), "seed {seed}: node {}", node.number);
        }
        assert_eq!(world.ask(0, "k1").said, Said::CouldNotAsk, "seed {seed}");
    }
}

#[test]
fn an_older_set_put_back_into_l2_is_taken_by_nobody_who_knows_the_generation() {
    for seed in seeds(4) {
        let mut world = warm(seed);
        let old = world.shared();
        world.publish("k2");
        world.idp.withdraw("k1");
        world.ask(3, "k2");
        world.run(secs(5));
        for node in &world.nodes {
            assert!(
                node.trusts(world.now, "k2") && !node.trusts(world.now, "k1"),
                "seed {seed}"
            );
        }
        world.l2.empty();
        world.l2.put(old);
        // Those that are there, and those that start again and know the marks.
        for node in 0..NODES / 2 {
            world.restart(node);
        }
        let before = world.now;
        for _ in 0..700 {
            world.run(secs(1));
            for node in &world.nodes {
                assert!(
                    !node.trusts(world.now, "k1"),
                    "seed {seed}: node {} took it",
                    node.number
                );
            }
        }
        world.assert_all_hold("k2");
        let requests = world.idp.requests_since(before);
        assert!(requests <= 3, "seed {seed}: {requests}");
    }
}

#[test]
fn a_removed_key_needs_the_second_look_and_then_goes_everywhere() {
    for seed in seeds(4) {
        let mut world = warm(seed);
        world.publish("k2");
        world.ask(0, "k2");
        world.run(secs(5));
        // One server has forgotten it.
        world.idp.confuse(&["k1"], 1);
        world.run(P.soft_lifetime);
        world.assert_all_hold("k2");
        // It is withdrawn.
        world.idp.withdraw("k2");
        let until = world.now.plus(P.soft_lifetime + secs(1));
        world.run_while(until, |world| {
            world.nodes.iter().all(|node| node.trusts(world.now, "k2"))
        });
        world.run(ms(1_000));
        for node in &world.nodes {
            assert!(!node.trusts(world.now, "k2"), "seed {seed}: node {}", node.number);
            assert!(node.trusts(world.now, "k1"), "seed {seed}: node {}", node.number);
        }
    }
}

#[test]
fn a_set_that_l2_cannot_hold_is_fetched_by_each_and_proves_nothing() {
    for seed in seeds(25) {
        let mut world = warm(seed);
        world.l2.has_room = false;
        world.publish("k2");
        for node in 0..NODES {
            world.call_in(ms(node as u64), node, "k2");
            world.call_in(ms(node as u64), node, &format!("garbage-{node}"));
        }
        world.run(secs(15));
        let wrong = world
            .outcomes
            .iter()
            .find(|outcome| outcome.kid == "k2" && matches!(outcome.said, Said::Unknown { .. }));
        assert!(wrong.is_none(), "seed {seed}: {wrong:?}");
        world.assert_sound();
    }
}
