//! What a benchmark says, and how it is printed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::plot::{self, Plot};
use crate::table::{Align, Table};
use crate::{Error, Result};

/// The most figures that one benchmark may report.
const MAX_FIGURES: usize = 1_000;

/// The file that one benchmark writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    figures: Vec<Figure>,
}

/// One measured figure, beside the reference that was measured in the same run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Figure {
    /// Unique in the whole report.
    name: String,
    /// In `unit`.
    value: f64,
    unit: String,
    /// What was measured beside it, in words.
    #[serde(default)]
    reference: Option<String>,
    /// In `unit`.
    #[serde(default)]
    reference_value: Option<f64>,
    /// Between `value` and `reference_value`, in the direction in which the goal is stated.
    #[serde(default)]
    ratio: Option<f64>,
    /// For people, such as `>= 80`.
    #[serde(default)]
    goal: Option<String>,
    /// Judged by the benchmark itself; nothing where there is no goal, or where a short run cannot tell.
    #[serde(default)]
    met: Option<bool>,
    /// Where it is drawn, if anywhere.
    #[serde(default)]
    plot: Option<Plot>,
}

impl Figure {
    pub(crate) fn value(&self) -> f64 {
        self.value
    }

    pub(crate) fn unit(&self) -> &str {
        &self.unit
    }

    pub(crate) fn plot(&self) -> Option<&Plot> {
        self.plot.as_ref()
    }
}

/// All figures of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    machine: Machine,
    /// Whether the run was a short one, whose figures are rough.
    quick: bool,
    /// Benchmarks whose figures are absent, because they did not run.
    failed: Vec<String>,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(machine: Machine, quick: bool) -> Self {
        Self {
            machine,
            quick,
            failed: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Adds what a benchmark wrote. Adds all of it or nothing.
    pub(crate) fn add(&mut self, bench: &str, json: &str) -> Result<()> {
        let wrong = |what: String| Error(format!("the figures of `{bench}` cannot be used: {what}"));
        let part: Part = serde_json::from_str(json).map_err(|e| wrong(e.to_string()))?;
        if part.figures.is_empty() {
            return Err(wrong("there are none".into()));
        }
        if part.figures.len() > MAX_FIGURES {
            return Err(wrong(format!(
                "there are {}, the limit is {MAX_FIGURES}",
                part.figures.len()
            )));
        }
        let mut names: BTreeSet<&str> = self.figures.iter().map(|figure| figure.name.as_str()).collect();
        if let Some(twice) = part.figures.iter().find(|figure| !names.insert(&figure.name)) {
            return Err(wrong(format!("`{}` is there twice: give it another name", twice.name)));
        }
        self.figures.extend(part.figures);
        Ok(())
    }

    /// Notes a benchmark that did not run.
    pub(crate) fn add_failure(&mut self, bench: &str) {
        self.failed.push(bench.to_owned());
    }

    pub(crate) fn any_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// A report that was written before.
    pub(crate) fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|e| Error(format!("this is no report of ours: {e}")))
    }

    /// Takes over what another report says: its figures replace those of the same names, and it names the machine.
    pub(crate) fn replace(&mut self, later: Self) {
        let known = |figure: &Figure| later.figures.iter().any(|other| other.name == figure.name);
        self.figures.retain(|figure| !known(figure));
        self.figures.extend(later.figures);
        self.failed.extend(later.failed);
        self.quick |= later.quick;
        self.machine = later.machine;
    }

    /// Draws every chart into a directory.
    pub(crate) fn draw(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        plot::draw(&self.figures, &self.machine.to_string(), dir)
    }

    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|e| Error(format!("the report could not be written as JSON: {e}")))
    }

    /// The machine, the figures, and how many goals were met.
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new([
            ("figure", Align::Left),
            ("value", Align::Right),
            ("unit", Align::Left),
            ("reference", Align::Left),
            ("value", Align::Right),
            ("ratio", Align::Right),
            ("goal", Align::Left),
            ("met", Align::Left),
        ]);
        for figure in &self.figures {
            let met = match figure.met {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            table.row([
                figure.name.clone(),
                number(figure.value),
                figure.unit.clone(),
                figure.reference.clone().unwrap_or_default(),
                figure.reference_value.map(number).unwrap_or_default(),
                figure.ratio.map(number).unwrap_or_default(),
                figure.goal.clone().unwrap_or_default(),
                met.to_owned(),
            ]);
        }
        let mut text = format!("{}\n{}\n{}", self.machine, table.render(), self.verdict());
        if self.quick {
            text.push_str("\nA quick run: the figures are rough.");
        }
        if self.any_failed() {
            text.push_str(&format!("\nDid not run: {}.", self.failed.join(", ")));
        }
        text
    }

    fn verdict(&self) -> String {
        let judged = self.figures.iter().filter(|figure| figure.met.is_some()).count();
        let missed: Vec<&str> = self
            .figures
            .iter()
            .filter(|figure| figure.met == Some(false))
            .map(|figure| figure.name.as_str())
            .collect();
        match (judged, missed.len()) {
            (0, _) => "No goal was judged.".into(),
            (_, 0) => format!("All {judged} goals are met."),
            (_, n) => format!("{n} of {judged} goals are missed: {}.", missed.join(", ")),
        }
    }
}

/// A figure for people: four significant digits, thousands apart, no needless zeros.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size >= 999.5 => 0,
        _ if size >= 99.95 => 1,
        _ if size >= 9.995 => 2,
        _ if size >= 0.1 => 3,
        _ => 6,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{grouped}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const HIT: &str = r#"{"figures":[
        {"name":"l1.hit.hot","value":231.4,"unit":"ns","reference":"jsonwebtoken RS256","reference_value":24950.0,
         "ratio":107.8,"goal":">= 80","met":true},
        {"name":"l1.hit.allocations","value":1,"unit":"","reference":null,"reference_value":null,"ratio":null,
         "goal":"= 0","met":false}]}"#;
    const DIGEST: &str = r#"{"figures":[{"name":"digest.870","value":150,"unit":"ns"}]}"#;

    fn report() -> Report {
        Report::new(Machine::example(), false)
    }

    #[test]
    fn figures_of_several_benchmarks_become_one_list() {
        let mut report = report();
        report.add("hit", HIT).unwrap();
        report.add("digest", DIGEST).unwrap();
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        let names: Vec<_> = json["figures"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["l1.hit.hot", "l1.hit.allocations", "digest.870"]);
        assert_eq!(json["figures"][0]["ratio"], 107.8);
        assert_eq!(json["figures"][0]["met"], true);
        assert!(json["figures"][2]["met"].is_null());
        assert_eq!(json["machine"]["cores"], 2);
    }

    #[test]
    fn a_missed_goal_stands_in_the_table_and_below_it() {
        let mut report = report();
        report.add("hit", HIT).unwrap();
        let text = report.text();
        let row = |name: &str| {
            text.lines()
                .find(|line| line.trim_start().starts_with(name))
                .unwrap()
                .to_owned()
        };
        assert!(row("l1.hit.hot").ends_with(">= 80  yes"), "{text}");
        assert!(row("l1.hit.hot").contains("24,950"), "{text}");
        assert!(row("l1.hit.allocations").ends_with("NO"), "{text}");
        assert!(text.ends_with("1 of 2 goals are missed: l1.hit.allocations."), "{text}");
        assert!(!report.any_failed(), "a missed goal is no failure to run");
    }

    #[test]
    fn a_benchmark_that_did_not_run_is_named() {
        let mut report = report();
        report.add("digest", DIGEST).unwrap();
        report.add_failure("hit");
        assert!(report.any_failed());
        assert!(
            report.text().ends_with("No goal was judged.\nDid not run: hit."),
            "{}",
            report.text()
        );
        assert!(report.json().unwrap().contains("\"failed\": [\n    \"hit\"\n  ]"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_whole() {
        let mut report = report();
        report.add("digest", DIGEST).unwrap();
        let many: Vec<String> = (0..=MAX_FIGURES)
            .map(|i| format!("{{\"name\":\"{i}\",\"value\":1,\"unit\":\"ns\"}}"))
            .collect();
        let cases = [
            ("", "EOF"),
            ("{}", "figures"),
            (r#"{"figures":[]}"#, "none"),
            (r#"{"figures":[{"name":"a","value":null,"unit":"ns"}]}"#, "null"),
            (r#"{"figures":[{"name":"a","value":1,"unit":"ns","rato":2}]}"#, "rato"),
            (
                r#"{"figures":[{"name":"a","value":1,"unit":""},{"name":"a","value":1,"unit":""}]}"#,
                "twice",
            ),
            (DIGEST, "`digest.870` is there twice"),
            (&format!("{{\"figures\":[{}]}}", many.join(",")), "limit"),
        ];
        for (json, why) in cases {
            let error = report.add("bad", json).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("`bad`"), "{error}");
        }
        assert_eq!(report.figures.len(), 1);
    }

    #[test]
    fn numbers_are_for_people() {
        let cases = [
            (0.0, "0"),
            (0.000_52, "0.00052"),
            (0.55, "0.55"),
            (1.3, "1.3"),
            (9.9999, "10"),
            (21.637, "21.64"),
            (231.44, "231.4"),
            (999.7, "1,000"),
            (24_950.4, "24,950"),
            (-1_234_567.0, "-1,234,567"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }
}
