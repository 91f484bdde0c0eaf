//! The table, and the figures with goals.

use authmesh_tests::bench::{Figure, quantile};

use crate::Effort;
use crate::load::Outcome;
use crate::scenes::{Calls, NODES, Seen};

/// One table of all subjects, for people: Markdown.
pub(crate) fn table(seen: &[Seen], effort: Effort) -> String {
    let columns = [
        "subject",
        "calls of the start: key set + discovery",
        "refused at the start",
        "calls of one refresh",
        "waited during slow refreshes, of so many",
        "longest wait",
        "first success after a rotation: median; last node",
        "refused meanwhile",
        "calls of the rotation",
        "calls an hour",
        "calls in a flood",
        "rotation in the flood: last node",
    ];
    let mut text = format!("\n| {} |\n|{}\n", columns.join(" | "), " --- |".repeat(columns.len()));
    for one in seen {
        let cells = [
            one.subject.name().to_owned(),
            calls(one.start_calls),
            one.start.refused.to_string(),
            one.refresh_calls
                .map_or("none was made".into(), |calls| format!("{calls:.1}")),
            format!("{} of {}", one.refresh.slow, one.refresh.calls),
            time(one.refresh.worst),
            format!("{}; {}", share(&one.rotation, 0.5), share(&one.rotation, 1.0)),
            format!("{} of {}", one.rotation.refused, one.rotation.calls),
            calls(one.rotation_calls),
            format!("{:.0}", one.calls_an_hour()),
            calls(one.flood_calls),
            share(&one.flood_rotation, 1.0),
        ];
        text += &format!("| {} |\n", cells.join(" | "));
    }
    let whys: Vec<String> = seen
        .iter()
        .flat_map(|one| scenes(one).map(|of| (one, of)))
        .filter_map(|(one, (scene, outcome))| {
            let why = outcome.why.as_ref()?;
            Some(format!(
                "{}, {scene}: {} refused, such as: {why}\n",
                one.subject.name(),
                outcome.refused
            ))
        })
        .collect();
    text + &format!(
        "\n{NODES} nodes each; slow refreshes were watched for {} s, the rotation for at most {} s, the flood for {} s.\n{}",
        effort.refresh.as_secs(),
        effort.rotation.as_secs(),
        effort.flood.as_secs(),
        whys.concat()
    )
}

/// Figures for the report of all benchmarks.
pub(crate) fn figures(seen: &[Seen]) -> Vec<Figure> {
    let ours = &seen[0];
    let mut figures = vec![
        Figure::new(
            "keys: calls of the IdP at the start of 64 nodes, discovery included",
            ours.start_calls.all() as f64,
            "calls",
        )
        .at_most(2.0),
        Figure::new(
            "keys: requests that wait during slow refreshes",
            ours.refresh.slow as f64,
            "requests",
        )
        .at_most(0.0),
        Figure::new(
            "keys: fetches of the key set for one rotation, 64 nodes",
            ours.rotation_calls.key_sets as f64,
            "calls",
        )
        .at_most(1.0),
        Figure::new(
            "keys: calls of the IdP in the flood",
            ours.flood_calls.all() as f64,
            "calls",
        ),
    ];
    for one in seen {
        let name = format!(
            "keys: rotation to the last node's first success, {}",
            one.subject.name()
        );
        // Where a node never accepted, the whole time that was watched is too little: no figure is better than a wrong one.
        if let Some(last) = times(&one.rotation).map(|times| quantile(&times, 1.0)) {
            figures.push(Figure::new(name, last, "ms"));
        }
    }
    for one in &seen[1..] {
        let name = format!("keys: calls an hour beside {}", one.subject.name());
        let reference: &'static str = one.subject.name();
        if one.calls_an_hour() > 0.0 {
            figures.push(Figure::new(name, ours.calls_an_hour(), "calls/h").beside(reference, one.calls_an_hour()));
        }
    }
    figures
}

/// For the key set and for discovery, which each node that fetches needs once an hour.
fn calls(calls: Calls) -> String {
    format!("{} + {}", calls.key_sets, calls.discoveries)
}

fn scenes(one: &Seen) -> [(&'static str, &Outcome); 4] {
    [
        ("start", &one.start),
        ("refresh", &one.refresh),
        ("rotation", &one.rotation),
        ("flood", &one.flood),
    ]
}

/// Of every node; nothing where one never accepted.
fn times(outcome: &Outcome) -> Option<Vec<f64>> {
    outcome.first.iter().copied().collect()
}

fn share(outcome: &Outcome, share: f64) -> String {
    let never = f64::INFINITY;
    let all: Vec<f64> = outcome.first.iter().map(|first| first.unwrap_or(never)).collect();
    time(quantile(&all, share))
}

fn time(millis: f64) -> String {
    match millis {
        _ if millis.is_infinite() => "never".into(),
        _ if millis >= 9_950.0 => format!("{:.0} s", millis / 1e3),
        _ => format!("{millis:.0} ms"),
    }
}
