//! One node over a virtual issuer: what an issuer can do to it.

use std::format;

use super::idp::Mood;
use super::world::{Rng, Said, World};
use super::{at, ms, secs};
use crate::keys::KeyPolicy;
use crate::time::Moment;

const P: KeyPolicy = KeyPolicy::DEFAULT;
const SEEDS: u64 = 20;

/// A node with the issuer's first set, for each seed.
fn each(test: impl Fn(&mut World)) {
    for seed in 0..SEEDS {
        let mut world = World::alone(seed, P);
        world.start();
        world.run(secs(5));
        assert_eq!(world.idp.requests(), 1, "seed {seed}");
        assert_eq!(world.ask(0, "k1").waited(), ms(0), "seed {seed}");
        test(&mut world);
        world.assert_sound();
    }
}

#[test]
fn a_rotation_with_overlap_costs_one_request_and_holds_nobody_of_the_old_key_up() {
    each(|world| {
        world.publish("k2");
        let before = world.now;
        for n in 0..64 {
            world.call_in(ms(n), 0, "k2");
            world.call_in(ms(n), 0, "k1");
        }
        world.run(secs(20));
        let new = world.outcomes.iter().filter(|outcome| outcome.since >= before);
        for outcome in new {
            assert_eq!(outcome.said, Said::Served, "seed {}: {outcome:?}", world.seed);
            let longest = if outcome.kid == "k1" { ms(0) } else { ms(125) };
            assert!(outcome.waited() <= longest, "seed {}: {outcome:?}", world.seed);
        }
        assert_eq!(world.idp.requests_since(before), 1, "seed {}", world.seed);
    });
}

#[test]
fn a_rotation_without_overlap_is_looked_at_twice_and_then_the_old_key_is_void() {
    each(|world| {
        world.publish("k2");
        world.idp.withdraw("k1");
        let before = world.now;
        let outcome = world.ask(0, "k2");
        assert_eq!(outcome.said, Said::Served);
        assert!(outcome.waited() <= ms(250), "{outcome:?}");
        assert_eq!(world.idp.requests_since(before), 2);
        assert!(!world.nodes[0].trusts(world.now, "k1"));
        // The old key is asked for like any other that is not there.
        world.run(secs(2));
        assert_eq!(world.ask(0, "k1").said, Said::Unknown { remembered: false });
        assert_eq!(world.ask(0, "k1").said, Said::Unknown { remembered: true });
    });
}

#[test]
fn in_an_emergency_the_old_key_goes_with_the_first_token_of_the_new_one_or_the_soft_lifetime() {
    each(|world| {
        world.idp.withdraw("k1");
        world.publish("k2");
        // Nobody comes with a new token: the timer finds it.
        world.run(P.soft_lifetime);
        assert!(!world.nodes[0].trusts(world.now, "k1"), "seed {}", world.seed);
        assert!(world.nodes[0].trusts(world.now, "k2"), "seed {}", world.seed);
        assert_eq!(world.idp.requests(), 1 + 2);
    });
}

#[test]
fn a_server_that_forgets_a_key_for_one_answer_takes_it_from_nobody() {
    each(|world| {
        world.publish("k2");
        assert_eq!(world.ask(0, "k2").said, Said::Served);
        world.idp.confuse(&["k1"], 1);
        world.run(P.soft_lifetime);
        assert!(world.idp.requests() >= 4, "it was asked");
        assert!(world.nodes[0].trusts(world.now, "k2"), "seed {}", world.seed);
        world.idp.confuse(&["k1"], 2);
        world.run(P.soft_lifetime);
        assert!(!world.nodes[0].trusts(world.now, "k2"), "twice in a row is its word");
    });
}

#[test]
fn an_edge_that_serves_an_old_set_hides_no_new_key() {
    each(|world| {
        world.idp.freeze_edge(Moment::NEVER);
        world.publish("k2");
        assert_eq!(world.ask(0, "k2").said, Said::Served, "seed {}", world.seed);
        // The timer asks the edge again, and the edge has not got it.
        world.run(P.soft_lifetime);
        assert!(world.nodes[0].trusts(world.now, "k2"), "seed {}", world.seed);
    });
}

#[test]
fn an_issuer_that_is_down_at_the_start_is_asked_seldom_and_taken_up_when_it_comes() {
    for seed in 0..SEEDS {
        let mut world = World::alone(seed, P);
        world.idp.mood = Mood::Down;
        world.start();
        for second in 0..300 {
            world.call_in(secs(second), 0, "k1");
        }
        world.run(secs(300));
        assert_eq!(
            world.said(Said::CouldNotAsk),
            300,
            "seed {seed}: an outage is never a verdict"
        );
        let asked = world.idp.requests();
        assert!((10..=100).contains(&asked), "seed {seed}: {asked} requests in 5 min");
        assert!(world.nodes[0].machine.is_open());
        world.idp.mood = Mood::Well;
        let until = world.now.plus(P.backoff_ceiling + secs(1));
        let came = world.run_while(until, |world| !world.nodes[0].trusts(world.now, "k1"));
        assert!(came, "seed {seed}");
        world.assert_sound();
    }
}

#[test]
fn an_issuer_that_is_down_for_the_whole_trust_age_is_trusted_exactly_so_long() {
    for seed in 0..3 {
        let mut world = World::alone(seed, P);
        world.start();
        world.run(secs(5));
        let asked = world.idp.seen[0].at;
        world.idp.mood = Mood::Down;
        let end = asked.plus(P.max_trust_age);
        while world.now.plus(secs(600)) < end {
            world.run(secs(600));
            let outcome = world.ask(0, "k1");
            assert_eq!((outcome.said, outcome.waited()), (Said::Served, ms(0)), "seed {seed}");
        }
        // The node counts from the moment before it sent the request.
        world.run(end.since(world.now).saturating_sub(ms(2)));
        assert_eq!(world.ask(0, "k1").said, Said::Served, "seed {seed}: until the end");
        world.run(ms(2));
        let outcome = world.ask(0, "k1");
        assert_eq!(
            outcome.said,
            Said::CouldNotAsk,
            "seed {seed}: not a moment longer, and no verdict"
        );
        let asked = world.idp.requests();
        assert!(asked < 86_400 / 10, "seed {seed}: {asked} requests in a day");
        world.idp.mood = Mood::Well;
        world.run(P.backoff_ceiling);
        assert_eq!(world.ask(0, "k1").said, Said::Served, "seed {seed}: it comes back");
        world.assert_sound();
    }
}

#[test]
fn an_issuer_that_flaps_costs_nobody_of_a_known_key_anything() {
    each(|world| {
        world.idp.mood = Mood::Flapping(secs(7));
        for second in 0..1_800 {
            world.call_in(secs(second), 0, "k1");
        }
        world.run(secs(900));
        world.publish("k2");
        let since = world.now;
        while world.ask(0, "k2").said != Said::Served {
            world.run(secs(1));
        }
        let took = world.now.since(since);
        assert!(took <= secs(60), "seed {}: {took:?}", world.seed);
        world.run(secs(900));
        let old = world.outcomes.iter().filter(|outcome| outcome.kid == "k1");
        assert!(old.clone().count() > 1_800);
        assert!(
            old.clone()
                .all(|outcome| outcome.said == Said::Served && outcome.waited() == ms(0))
        );
    });
}

#[test]
fn an_issuer_at_a_byte_a_second_holds_up_new_keys_alone_and_until_the_deadline() {
    each(|world| {
        world.idp.mood = Mood::Slow;
        world.publish("k2");
        for n in 0..300 {
            world.call_in(ms(100 * n), 0, "k1");
        }
        let outcome = world.ask(0, "k2");
        assert_eq!(outcome.said, Said::CouldNotAsk);
        assert!(outcome.waited() <= P.deadline + ms(5), "{outcome:?}");
        world.run(secs(40));
        let old = world.outcomes.iter().filter(|outcome| outcome.kid == "k1");
        assert!(
            old.clone()
                .all(|outcome| outcome.said == Said::Served && outcome.waited() == ms(0))
        );
        world.idp.mood = Mood::Well;
        world.run(secs(10));
        assert_eq!(world.ask(0, "k2").said, Said::Served, "seed {}", world.seed);
    });
}

#[test]
fn a_web_page_instead_of_a_set_changes_nothing_and_is_not_asked_for_again_at_once() {
    each(|world| {
        world.idp.mood = Mood::WrongType;
        let before = world.now;
        assert_eq!(world.ask(0, "k2").said, Said::CouldNotAsk);
        assert_eq!(world.idp.requests_since(before), 1, "it means it: no retry");
        assert_eq!(world.ask(0, "k1").said, Said::Served);
        assert_eq!(world.ask(0, "k2").waited(), ms(0), "answered at once");
    });
}

#[test]
fn not_modified_for_ever_is_the_issuer_s_word_and_never_a_set() {
    each(|world| {
        world.idp.mood = Mood::NotModified;
        world.run(P.max_trust_age * 2);
        let outcome = world.ask(0, "k1");
        assert_eq!(
            (outcome.said, outcome.waited()),
            (Said::Served, ms(0)),
            "it says that the set still holds"
        );
    });
    let mut world = World::alone(1, P);
    world.idp.mood = Mood::NotModified;
    world.start();
    world.run(secs(60));
    assert_eq!(world.ask(0, "k1").said, Said::CouldNotAsk, "there is nothing to keep");
    assert!(world.idp.requests() < 20);
}

#[test]
fn too_many_requests_are_not_answered_with_more() {
    each(|world| {
        world.idp.mood = Mood::TooMany(secs(20));
        let before = world.now;
        assert_eq!(world.ask(0, "k2").said, Said::CouldNotAsk);
        for n in 0..200 {
            world.call_in(ms(95 * n), 0, &format!("k{}", 100 + n));
        }
        world.run(secs(19));
        assert_eq!(world.idp.requests_since(before), 1, "seed {}", world.seed);
        world.idp.mood = Mood::Well;
        world.publish("k2");
        world.run(secs(2));
        assert_eq!(world.ask(0, "k2").said, Said::Served);
    });
}

#[test]
fn a_wall_clock_that_jumps_moves_neither_trust_nor_refresh() {
    for jump in [-86_400 * 365, -3_600, 3_600, 86_400 * 365] {
        each(|world| {
            world.nodes[0].wall_off = jump;
            let (trusted, due) = (
                world.nodes[0].machine.trusted_until(),
                world.nodes[0].machine.poll_timeout(),
            );
            world.run(secs(500));
            assert_eq!(world.nodes[0].machine.trusted_until(), trusted);
            assert_eq!(world.nodes[0].machine.poll_timeout(), due);
            assert_eq!(world.ask(0, "k1").waited(), ms(0));
            world.publish("k2");
            assert_eq!(world.ask(0, "k2").said, Said::Served);
        });
    }
}

#[test]
fn a_flood_of_unknown_kids_delays_a_real_one_by_no_more_than_a_period_and_a_fetch() {
    for seed in 0..5 {
        let mut world = World::alone(seed, P);
        world.start();
        world.run(secs(5));
        let begin = world.now;
        let mut rng = Rng(seed);
        for n in 0..100_000_u64 {
            let kid = format!("{:016x}", rng.next());
            world.call_in(ms(n) * 6 / 10, 0, &kid);
        }
        let rotation = rng.between(secs(15), secs(30));
        world.run(rotation);
        world.publish("real");
        let published = world.now;
        let waited = loop {
            let outcome = world.ask(0, "real");
            assert_ne!(outcome.said, Said::Unknown { remembered: false }, "seed {seed}");
            assert_ne!(outcome.said, Said::Unknown { remembered: true }, "seed {seed}");
            if outcome.said == Said::Served {
                break world.now.since(published);
            }
            world.run(ms(100));
        };
        assert!(waited <= P.unknown_kid_period + ms(350), "seed {seed}: {waited:?}");
        world.run(secs(60).saturating_sub(world.now.since(begin)));
        let asked = world.idp.requests_since(begin);
        let budget = P.unknown_kid_burst - P.reserve + 6;
        assert!(asked <= budget as usize, "seed {seed}: {asked} requests in a minute");
        let outcome = world.ask(0, "k1");
        assert_eq!((outcome.said, outcome.waited()), (Said::Served, ms(0)));
        world.assert_sound();
    }
}

#[test]
fn a_clock_that_began_a_moment_ago_is_as_good_as_an_old_one() {
    let mut world = World::alone(1, P);
    world.now = at(100_000);
    world.restart(0);
    world.run(secs(5));
    assert!(world.nodes[0].machine.trusted_until() > Moment::ORIGIN.plus(P.max_trust_age - secs(5)));
}
