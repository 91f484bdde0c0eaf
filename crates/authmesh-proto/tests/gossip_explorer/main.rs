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

use scenarios::SCENARIOS;
use search::{Report, explore};

const LIMIT: usize = 3_000_000;

fn say(line: &str) {
    // Past the capture of the harness: figures are part of the run.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn print(name: &str, report: &Report) {
    say(&format!(
        "gossip explorer: {name}: {} ticks, {} states, {} steps; somebody answers in {}, nobody in {}; a receipt is given in {}, and unknown to somebody in {}{}",
        report.ticks,
        report.states,
        report.steps,
        report.coherent,
        report.blind,
        report.confirmed,
        report.unaware,
        if report.cut { " CUT" } else { "" },
    ));
}

#[test]
fn bounded_blindness_holds_in_every_state() {
    let only = std::env::var("ONLY").ok();
    for scenario in SCENARIOS {
        if only.as_ref().is_some_and(|only| !scenario.name.contains(only.as_str())) {
            continue;
        }
        let report = explore(scenario, std::env::var("LIMIT").map_or(LIMIT, |limit| limit.parse().unwrap()));
        print(scenario.name, &report);
        if let Some(wrong) = &report.wrong {
            say(&format!("{}: {}\n    {}", scenario.name, wrong.what, wrong.trace.join("\n    ")));
        }
    }
}

#[test]
fn every_control_is_found() {
    let only = std::env::var("ONLY").ok();
    for (control, scenario) in scenarios::CONTROLS {
        if only.as_ref().is_some_and(|only| !format!("{control:?}").contains(only.as_str())) {
            continue;
        }
        let report = explore(&scenarios::Scenario { control: Some(*control), ..*scenario }, LIMIT);
        print(&format!("{control:?}"), &report);
        if let Some(wrong) = &report.wrong {
            say(&format!("{control:?}: {}\n    {}", wrong.what, wrong.trace.join("\n    ")));
        }
    }
}
