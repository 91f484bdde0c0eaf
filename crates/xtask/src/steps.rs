//! Steps with headings, times, and a summary at the end.

use std::time::{Duration, Instant};

use crate::Error;
use crate::table::{Align, Table};

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// Not proven, but no fault of this checkout: the reason is shown and the command may still pass.
    Warned(String),
    Failed(String),
    Skipped(String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Warned(_) => "warn",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "skipped",
        }
    }

    fn note(&self) -> &str {
        match self {
            Self::Passed => "",
            Self::Warned(note) | Self::Failed(note) | Self::Skipped(note) => note,
        }
    }
}

impl From<Result<(), Error>> for Outcome {
    fn from(result: Result<(), Error>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// The steps that were run so far.
#[derive(Debug, Default)]
pub(crate) struct Steps(Vec<Step>);

impl Steps {
    /// Runs a step under its heading, and says whether it did not fail.
    pub(crate) fn run(&mut self, name: &'static str, what: &str, work: impl FnOnce() -> Outcome) -> bool {
        println!("\n==> {name}: {what}");
        let started = Instant::now();
        let outcome = work();
        let took = started.elapsed();
        println!("<== {name}: {} in {}", outcome.word(), elapsed(took));
        if !outcome.note().is_empty() {
            println!("    {}", outcome.note());
        }
        let passed = !matches!(outcome, Outcome::Failed(_));
        self.0.push(Step { name, outcome, took });
        passed
    }

    /// Notes that a step was not run, and why.
    pub(crate) fn skip(&mut self, name: &'static str, why: &str) {
        println!("\n==> {name}: skipped, {why}");
        self.0.push(Step {
            name,
            outcome: Outcome::Skipped(why.to_owned()),
            took: Duration::ZERO,
        });
    }

    pub(crate) fn any_failed(&self) -> bool {
        self.0.iter().any(|step| matches!(step.outcome, Outcome::Failed(_)))
    }

    /// One line for each step, and one for all.
    pub(crate) fn summary(&self, command: &str) -> String {
        let mut table = Table::new([
            ("step", Align::Left),
            ("result", Align::Left),
            ("time", Align::Right),
            ("note", Align::Left),
        ]);
        for step in &self.0 {
            // A note may quote a program's own words; the table keeps their first line.
            let note = step.outcome.note().lines().next().unwrap_or_default();
            table.row([
                step.name.into(),
                step.outcome.word().into(),
                elapsed(step.took),
                note.into(),
            ]);
        }
        let total = elapsed(self.0.iter().map(|step| step.took).sum());
        let verdict = if self.any_failed() { "FAILED" } else { "passed" };
        format!("{}\n{command}: {verdict} in {total}", table.render())
    }
}

/// A duration for people: `0.4 s`, `12.0 s`, `3 min 07 s`.
pub(crate) fn elapsed(took: Duration) -> String {
    // Rounded once, so that 59.96 s is not shown as 60.0 s.
    let tenths = (took.as_millis() + 50) / 100;
    if tenths < 600 {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        let seconds = (took.as_millis() + 500) / 1000;
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_fails_the_whole_and_the_others_still_run() {
        let mut steps = Steps::default();
        assert!(!steps.run("fmt", "check", || {
            Err(Error("`cargo fmt` ended with 1\ndetails".into())).into()
        }));
        assert!(steps.run("clippy", "lint", || Ok(()).into()));
        steps.skip("tests", "the build failed");
        assert!(steps.any_failed());
        let summary = steps.summary("cargo xtask test");
        assert!(summary.contains("fmt     FAILED"), "{summary}");
        assert!(summary.contains("clippy  ok"), "{summary}");
        assert!(summary.contains("tests   skipped"), "{summary}");
        assert!(summary.contains("the build failed"), "{summary}");
        assert!(!summary.contains("details"), "{summary}");
        assert!(
            summary
                .lines()
                .last()
                .is_some_and(|l| l.starts_with("cargo xtask test: FAILED in ")),
            "{summary}"
        );
    }

    #[test]
    fn a_warning_is_shown_and_does_not_fail() {
        let mut steps = Steps::default();
        assert!(steps.run("advisories", "check", || Outcome::Warned("out of reach".into())));
        assert!(!steps.any_failed());
        let summary = steps.summary("x");
        assert!(summary.contains("warn") && summary.contains("out of reach") && summary.contains("x: passed in "));
    }

    #[test]
    fn times_are_for_people() {
        let ms = Duration::from_millis;
        assert_eq!(elapsed(ms(0)), "0.0 s");
        assert_eq!(elapsed(ms(449)), "0.4 s");
        assert_eq!(elapsed(ms(59_940)), "59.9 s");
        assert_eq!(elapsed(ms(59_960)), "1 min 00 s");
        assert_eq!(elapsed(ms(187_000)), "3 min 07 s");
    }
}
