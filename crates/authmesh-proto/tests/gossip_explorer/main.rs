//! An exhaustive search of the gossip road: the real machine, every way of links, Redis, statements and members within bounds.
//!
//! `docs/model-check.md` tells what is modelled, how far it goes and what each control finds.

mod canon;
mod check;
mod event;
mod redis;
mod scenarios;
mod search;
mod tamper;
mod world;

use std::io::Write as _;

use scenarios::{CONTROLS, FULL, SCENARIOS, Scenario};
use search::{Report, explore};

/// The most states of one search.
const LIMIT: usize = 1_500_000;

fn is_full() -> bool {
    std::env::var("AUTHMESH_EXPLORE").is_ok_and(|how| how == "full")
}

fn say(line: &str) {
    // Past the capture of the harness: figures are part of the run.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn print(name: &str, report: &Report) {
    say(&format!(
        "gossip explorer: {name}: {} ticks, {} states, {} steps; somebody answers in {}, nobody in {}; a receipt is given in {}, \
         and unknown to somebody in {}{}",
        report.ticks,
        report.states,
        report.steps,
        report.coherent,
        report.blind,
        report.confirmed,
        report.unaware,
        if report.cut { "; ended at its limit" } else { "" },
    ));
}

#[test]
fn bounded_blindness_holds_in_every_state() {
    let more = if is_full() { FULL } else { &[] };
    for (number, scenario) in SCENARIOS.iter().chain(more).enumerate() {
        let report = explore(scenario, LIMIT);
        print(scenario.name, &report);
        if let Some(wrong) = &report.wrong {
            panic!("{}: {}\n    {}", scenario.name, wrong.what, wrong.trace.join("\n    "));
        }
        assert!(
            !report.cut || number >= SCENARIOS.len(),
            "{}: too many states",
            scenario.name
        );
        assert!(
            report.coherent > 0 && report.confirmed > 0,
            "{}: a search that proves nothing",
            scenario.name
        );
    }
}

#[test]
fn every_rule_that_is_off_is_found() {
    for (control, scenario) in CONTROLS {
        let scenario = Scenario {
            control: Some(*control),
            ..*scenario
        };
        let report = explore(&scenario, LIMIT);
        print(&format!("{control:?} in {}", scenario.name), &report);
        let Some(wrong) = &report.wrong else {
            panic!("{control:?} is not found in {}", scenario.name);
        };
        say(&format!("{control:?}: {} steps: {}", wrong.trace.len(), wrong.what));
        if is_full() {
            say(&format!("    {}", wrong.trace.join("\n    ")));
        }
    }
}
