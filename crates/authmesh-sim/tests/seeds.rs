//! Seeds of the virtual-time cluster, and the controls that show that its checker can fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use authmesh_sim::rules::{Control, Rules};
use authmesh_sim::scenario::{Roads, Scenario, Trap};
use authmesh_sim::simulate;
use authmesh_sim::trace::Seconds;
use authmesh_sim::world::{Outcome, Tally};

/// Seeds of the ordinary run.
const SEEDS: u64 = 200;
/// Seeds of each world that is made for one attack.
const TRAPPED: u64 = 10;
/// Seeds within which a rule that is left out must be noticed.
const NOTICED_WITHIN: u64 = 400;

fn must_hold(outcome: &Outcome) {
    if let Some(violation) = &outcome.violation {
        panic!(
            "seed {} violates {}\n  {}\n  {} {}",
            outcome.seed,
            violation.invariant,
            outcome.lines.join("\n  "),
            Seconds(violation.at),
            violation.what
        );
    }
}

/// Runs seeds on as many threads as the machine has cores.
fn in_parallel(
    seeds: std::ops::Range<u64>,
    rules: Rules,
    scenario: impl Fn(u64) -> Scenario + Copy + Send,
) -> Vec<Outcome> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|own| {
                let seeds = seeds.clone();
                scope.spawn(move || {
                    let own = seeds.filter(|seed| seed % threads == own);
                    own.map(|seed| simulate(&scenario(seed), rules)).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

#[test]
fn every_invariant_holds_in_every_seed() {
    let outcomes = in_parallel(0..SEEDS, Rules::default(), Scenario::of);
    let mut tally = Tally::default();
    for outcome in &outcomes {
        must_hold(outcome);
        tally.add(&outcome.tally);
    }
    // A run in which nothing happens proves nothing.
    let Tally {
        hits,
        from_l2,
        loads,
        accepted,
        revoked,
        blind,
        drops,
        marks,
        losses_found,
        entries_lost,
        ..
    } = tally;
    for often in [hits, from_l2, loads, accepted, revoked, drops, marks] {
        assert!(often > 10_000, "{tally:?}");
    }
    for sometimes in [blind, losses_found, entries_lost] {
        assert!(sometimes > 300, "{tally:?}");
    }
}

#[test]
fn every_invariant_holds_in_every_seed_with_both_roads() {
    let mut tally = Tally::default();
    for roads in [Roads::Both, Roads::Gossip] {
        let seeds = if roads == Roads::Both { SEEDS } else { SEEDS / 2 };
        for outcome in &in_parallel(0..seeds, Rules::default(), |seed| Scenario::on(seed, roads)) {
            must_hold(outcome);
            tally.add(&outcome.tally);
        }
    }
    let Tally {
        accepted,
        revoked,
        by_gossip,
        committed,
        whole,
        blind,
        ..
    } = tally;
    for often in [accepted, revoked, by_gossip, committed, whole] {
        assert!(often > 5_000, "{tally:?}");
    }
    assert!(blind > 300, "{tally:?}");
}

#[test]
fn no_trap_catches_a_node() {
    for trap in Trap::ALL {
        for outcome in &in_parallel(0..TRAPPED, Rules::default(), |seed| Scenario::trap(seed, trap)) {
            must_hold(outcome);
        }
    }
}

/// Where a rule of the road of gossip is needed, and what is expected to break without it.
const NEEDED: [(Control, Option<Trap>); 11] = [
    (Control::NoAntiEntropy, None),
    (Control::DedupAcrossRoads, None),
    (Control::PlainMajority, Some(Trap::BlindMajority)),
    (Control::MajorityConfirms, Some(Trap::RedisAlone)),
    (Control::JoinerAtOnce, Some(Trap::UnknownJoiner)),
    (Control::UnpositionedForgotten, None),
    (Control::ViewsNotCompared, Some(Trap::Chain)),
    (Control::RedisLeaseUnregistered, Some(Trap::Unregistered)),
    (Control::DroppedEarly, Some(Trap::LateRegistration)),
    (Control::AgesLost, Some(Trap::EndlessRelay)),
    (Control::ProvenBeforeApplied, Some(Trap::ProofBeforeStatement)),
];

#[test]
fn the_checker_notices_every_rule_of_gossip_that_is_left_out() {
    assert!(NEEDED.iter().map(|(control, _)| *control).eq(Control::OF_GOSSIP));
    let unnoticed: Vec<Control> = NEEDED
        .into_iter()
        .filter(|(control, trap)| {
            let rules = Rules { off: Some(*control) };
            (0..NOTICED_WITHIN).step_by(20).all(|first| {
                let outcomes = in_parallel(first..first + 20, rules, |seed| match trap {
                    Some(trap) => Scenario::trap(seed, *trap),
                    None => Scenario::on(seed, Roads::Both),
                });
                let unsafe_answer = |outcome: &&Outcome| {
                    let violation = outcome.violation.as_ref();
                    violation.is_some_and(|violation| violation.invariant.starts_with(|c: char| c.is_ascii_digit()))
                };
                let caught = outcomes.iter().find(unsafe_answer);
                if let Some(caught) = caught {
                    let violation = caught.violation.as_ref().unwrap();
                    println!("{control:?}: seed {} violates {}", caught.seed, violation.invariant);
                }
                caught.is_none()
            })
        })
        .map(|(control, _)| control)
        .collect();
    assert_eq!(unnoticed, [], "left out and not noticed within {NOTICED_WITHIN} seeds");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let outcome = simulate(&Scenario::mixed(seed), Rules::default());
        (outcome.hash, outcome.events, outcome.tally)
    };
    let hashes: Vec<_> = (1000..1010).map(run).collect();
    let again: Vec<_> = (1000..1010).map(run).collect();
    assert_eq!(hashes, again);
    assert!(hashes.windows(2).all(|two| two[0].0 != two[1].0), "seeds differ");
    assert!(hashes.iter().all(|(_, events, _)| *events > 500));
}

#[test]
fn a_statement_reaches_everybody_within_few_rounds() {
    for nodes in [16, 64, 256] {
        let spread = authmesh_sim::spread::measure(nodes, 50, 1);
        assert!(spread.rounds <= (nodes as f64).log2() + 4.0, "{spread:?}");
        assert!(spread.coherent, "{spread:?}");
    }
}

#[test]
fn a_thousand_nodes() {
    let mut scenario = Scenario::of_size(7, 1000);
    // What matters is the size; a second of a thousand nodes is as much work as a small world's whole life.
    scenario.pace = 5_000_000;
    must_hold(&simulate(&scenario, Rules::default()));
}

#[test]
fn the_checker_notices_every_rule_that_is_left_out() {
    let unnoticed: Vec<Control> = Control::ALL
        .into_iter()
        .filter(|control| !Control::RARELY_SEEN.contains(control))
        .filter(|control| {
            let rules = Rules { off: Some(*control) };
            (0..NOTICED_WITHIN).step_by(20).all(|first| {
                let outcomes = in_parallel(first..first + 20, rules, Scenario::of);
                let caught = outcomes.iter().find(|outcome| outcome.violation.is_some());
                if let Some(caught) = caught {
                    let violation = caught.violation.as_ref().unwrap();
                    assert!(!caught.lines.is_empty(), "a violation shows what led to it");
                    println!("{control:?}: seed {} violates {}", caught.seed, violation.invariant);
                }
                caught.is_none()
            })
        })
        .collect();
    assert_eq!(unnoticed, [], "left out and not noticed within {NOTICED_WITHIN} seeds");
}
