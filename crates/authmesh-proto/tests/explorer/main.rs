//! An exhaustive search through what two nodes, one key and a log may do, the controls that show that it can find something,
//! and the comparison of its follower with the real one. `docs/model-check.md` is the guide.
//!
//! `AUTHMESH_EXPLORE=full` explores more; build it optimized then.

#![forbid(unsafe_code)]
// All of it is a test.
#![allow(clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::Write as _;

use event::Event;
use rules::{Rule, Rules};
use scenarios::{CONTROLS, FULL, NO_FINDING, ORDINARY, WITHOUT, WITHOUT_FULL};
use search::{Report, canonical_forms, explore};
use state::{Body, Calls, Scenario, State};

mod canon;
mod check;
mod event;
mod fill;
mod follow;
mod real;
mod rules;
mod scenarios;
mod search;
mod state;
mod step;

/// More states than any scenario has: a search that ends here is no proof.
const LIMIT: usize = 60_000_000;

fn is_full() -> bool {
    match std::env::var("AUTHMESH_EXPLORE") {
        Ok(size) if size == "full" => true,
        Ok(size) => panic!("AUTHMESH_EXPLORE is \"{size}\"; it may be \"full\", or not set"),
        Err(_) => false,
    }
}

/// Straight to the terminal: what was covered belongs to the result, also where the test passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn explored(scenario: &Scenario) -> Report {
    let report = explore(scenario, LIMIT);
    let Report {
        states,
        steps,
        depth,
        quiet,
        mints,
        ..
    } = report;
    assert!(!report.cut, "{}: more than {LIMIT} states", scenario.name);
    say(&format!(
        "explorer: {states:>9} states, {steps:>10} steps, depth {depth:>2}, {quiet:>6} quiet, {mints} mints: {}",
        scenario.name
    ));
    report
}

fn assert_clean(scenario: &Scenario, report: Report) {
    if let Some(wrong) = report.wrong {
        panic!("{}: {}\n{}", scenario.name, wrong.what, wrong.trace.join("\n"));
    }
    assert!(report.quiet > 0, "{}: nothing ever comes to rest", scenario.name);
}

#[test]
fn every_interleaving_keeps_what_was_applied() {
    let size = if is_full() { "full" } else { "ordinary" };
    say(&format!("explorer: size {size} (AUTHMESH_EXPLORE=full explores more)"));
    let more = if is_full() { FULL } else { &[] };
    for scenario in ORDINARY.iter().chain(more) {
        assert_clean(scenario, explored(scenario));
    }
}

#[test]
fn each_rule_that_is_off_is_found() {
    let mut clean = BTreeSet::new();
    for control in CONTROLS {
        if clean.insert(control.scenario.name) {
            assert_clean(&control.scenario, explored(&control.scenario));
        }
        let rules = control.off.iter().fold(Rules::ALL, |rules, rule| rules.without(*rule));
        let scenario = Scenario {
            rules,
            ..control.scenario
        };
        let report = explore(&scenario, LIMIT);
        let Some(wrong) = report.wrong else {
            panic!(
                "{:?} off, {}: nothing is found in {} states",
                control.off, scenario.name, report.states
            );
        };
        assert!(
            wrong.what.contains(control.finding),
            "{:?} off, {}: expected \"{}\", found \"{}\"\n{}",
            control.off,
            scenario.name,
            control.finding,
            wrong.what,
            wrong.trace.join("\n")
        );
        say(&format!(
            "explorer: {:?} off: found after {} states, {} steps long: {}",
            control.off,
            report.states,
            wrong.trace.len(),
            scenario.name
        ));
        println!("{}\n    {}\n", wrong.what, wrong.trace.join("\n    "));
    }
}

#[test]
fn the_canonical_form_hides_nothing() {
    for scenario in WITHOUT {
        let plain = canonical_forms(scenario, false);
        assert_eq!(plain, canonical_forms(scenario, true), "{}", scenario.name);
        assert_eq!(plain.len(), explore(scenario, LIMIT).states, "{}", scenario.name);
    }
}

#[test]
fn what_is_found_by_no_control_is_known() {
    for rule in Rule::ALL {
        let controlled = CONTROLS.iter().any(|control| control.off == [rule]);
        assert_ne!(
            controlled,
            NO_FINDING.contains(&rule),
            "{rule:?} has a control of its own, or stands in the list of those that have none"
        );
    }
    let more = if is_full() { WITHOUT_FULL } else { &[] };
    for rule in NO_FINDING {
        for scenario in WITHOUT.iter().chain(more) {
            let without = Scenario {
                rules: Rules::ALL.without(*rule),
                ..*scenario
            };
            let report = explore(&without, LIMIT);
            assert!(!report.cut);
            if let Some(wrong) = report.wrong {
                panic!(
                    "{rule:?} off is found now: make it a control ({}): {}\n{}",
                    scenario.name,
                    wrong.what,
                    wrong.trace.join("\n")
                );
            }
        }
    }
}

/// Two statements, a fill, a failover and a log in three steps are too many states to visit; this is one way through them.
/// Returns what is wrong at its end.
fn drop_that_a_load_passes_over(rules: Rules) -> Option<String> {
    let scenario = Scenario {
        name: "drop that a load passes over",
        bodies: &[Body::Other(0), Body::Drop],
        fills: 1,
        early: false,
        failover: true,
        expiry: false,
        log_calls: Calls::ThreeSteps,
        l2_calls: Calls::OneStep,
        rules,
    };
    let c = 0;
    let suspects = |n| {
        [
            Event::Heads { n, c },
            Event::HeadsFixed { n, c },
            Event::HeadsAnswered { n, c },
            Event::Repair { n, c },
        ]
    };
    let call = |n| [Event::Fix { n, c }, Event::Answer { n, c }];
    let said = |s, n| [Event::Make { s, n }, Event::Commit { s, n }, Event::Committed { s, n }];
    let mut way = Vec::new();
    // Writes are lost, and node 1 mints: a read, a load, the mint, a read, a load.
    way.extend(said(0, 1));
    way.push(Event::Failover { heads: [0, 0] });
    way.extend(suspects(1));
    way.extend(call(1));
    way.extend(call(1));
    way.push(Event::Mint { n: 1, c });
    way.extend(call(1));
    way.extend(call(1));
    // Node 0 begins to adopt, and its load is sent. A fill reads the source; then comes the drop, then the load is carried out.
    way.extend(suspects(0));
    way.extend(call(0));
    way.push(Event::Begin { f: 0, n: 0 });
    way.extend(said(1, 1));
    way.push(Event::Fix { n: 0, c });
    way.push(Event::Land { f: 0 });
    way.push(Event::Answer { n: 0, c });
    let mut state = State::first(true);
    let mut events = Vec::new();
    for (at, event) in way.iter().enumerate() {
        state.events(&scenario, &mut events);
        assert!(
            events.contains(event),
            "step {at}, {event:?}, cannot happen here: {events:?}"
        );
        state = match state.step(&scenario, *event, &mut Vec::new()) {
            Ok(next) => next,
            Err(what) => return Some(what),
        };
        if let Some(what) = state.wrong(&scenario) {
            return Some(what);
        }
    }
    assert!(state.is_quiet(&scenario), "the way ends before all is quiet: {state:?}");
    None
}

#[test]
fn the_bump_after_a_load_voids_what_was_filled_meanwhile() {
    assert_eq!(drop_that_a_load_passes_over(Rules::ALL), None);
    let wrong = drop_that_a_load_passes_over(Rules::ALL.without(Rule::BumpAfterLoad));
    assert!(
        wrong
            .as_ref()
            .is_some_and(|what| what.contains("memory holds version 0 for good")),
        "found: {wrong:?}"
    );
}

/// Two statements each, since a walk meets what a search of the same size would not.
fn walks(rules: Rules, each: u64) -> real::Compared {
    let walk = |bodies: &'static [Body], log_calls| Scenario {
        name: "walk",
        bodies,
        fills: 2,
        early: true,
        failover: true,
        expiry: true,
        log_calls,
        l2_calls: Calls::ThreeSteps,
        rules,
    };
    let mut compared = real::Compared::default();
    for scenario in [
        walk(&[Body::Drop, Body::Drop], Calls::OneStep),
        walk(&[Body::Drop, Body::Drop], Calls::TwoSteps),
        walk(&[Body::Drop, Body::Drop], Calls::ThreeSteps),
        walk(&[Body::Tag(1), Body::Mark(0)], Calls::TwoSteps),
        walk(&[Body::Mark(0), Body::Mark(0)], Calls::ThreeSteps),
    ] {
        for seed in 1..=each {
            real::walk(&scenario, seed, 80, &mut compared);
        }
    }
    compared
}

#[test]
fn the_mirror_does_what_the_follower_does() {
    let each = if is_full() { 5_000 } else { 100 };
    let compared = walks(Rules::ALL, each);
    say(&format!("explorer: mirror and follower compared: {compared:?}"));
    assert!(compared.steps > 5_000 && compared.applied > 100, "{compared:?}");
    assert!(compared.adoptions > 50 && compared.mints > 50, "{compared:?}");
}

#[test]
#[should_panic(expected = "proves for F")]
fn a_mirror_that_believes_old_heads_is_found() {
    walks(Rules::ALL.without(Rule::HeadAsked), 100);
}

#[test]
#[should_panic(expected = "the real follower does something else")]
fn a_mirror_that_applies_any_bell_is_found() {
    walks(Rules::ALL.without(Rule::Link), 100);
}
