//! What every benchmark shares: how it is called, what a figure says, and how figures are printed and written.
//!
//! A benchmark is a `[[bench]]` target with `harness = false` whose `main` is [`run`]. What is measured and its reference
//! take turns inside one run, so that a machine that slows down slows both.

pub mod issuer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

/// How a benchmark was called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Where the figures go, beside the terminal.
    pub json: Option<PathBuf>,
    /// A short run: rough figures, and no goal is judged.
    pub quick: bool,
    /// The one part that is measured. Default: all.
    pub part: Option<String>,
}

impl Options {
    /// Whether a part is to be measured.
    #[must_use]
    pub fn wants(&self, part: &str) -> bool {
        self.part.as_deref().is_none_or(|wanted| wanted == part)
    }

    fn from(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--quick") => options.quick = true,
                Some("--json") => options.json = Some(arguments.next().ok_or("--json needs a file")?.into()),
                Some("--part") => options.part = arguments.next().and_then(|part| part.into_string().ok()),
                // cargo says so to every benchmark.
                Some("--bench") => {}
                _ => return Err(format!("{} is not known", argument.to_string_lossy())),
            }
        }
        Ok(options)
    }
}

/// One measured figure, as `cargo xtask bench` reads it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    reference: Option<&'static str>,
    reference_value: Option<f64>,
    ratio: Option<f64>,
    goal: Option<String>,
    met: Option<bool>,
    plot: Option<Plot>,
}

/// Where a figure is drawn by `cargo xtask bench --plots DIR`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Plot {
    chart: &'static str,
    label: String,
    series: &'static str,
}

impl Figure {
    /// A value that stands alone. `name` is used once in all benchmarks.
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            reference: None,
            reference_value: None,
            ratio: None,
            goal: None,
            met: None,
            plot: None,
        }
    }

    /// Draws it: a bar of a chart, under a label, in a series. Figures of one chart have one unit. A label that begins with
    /// `authmesh` stands out.
    #[must_use]
    pub fn drawn(mut self, chart: &'static str, label: impl Into<String>, series: &'static str) -> Self {
        self.plot = Some(Plot {
            chart,
            label: label.into(),
            series,
        });
        self
    }

    /// Sets it beside a reference in the same unit; the ratio says how many times *more* than the reference it is.
    #[must_use]
    pub fn beside(mut self, reference: &'static str, value: f64) -> Self {
        self.reference = Some(reference);
        self.reference_value = Some(value);
        self.ratio = Some(self.value / value);
        self
    }

    /// Sets it beside a reference in the same unit; the ratio says how many times *less* than the reference it is: how many
    /// times faster, where both are times.
    #[must_use]
    pub fn faster_than(self, reference: &'static str, value: f64) -> Self {
        let mut figure = self.beside(reference, value);
        figure.ratio = Some(value / figure.value);
        figure
    }

    /// As [`Figure::beside`], with a ratio that was measured in another way than by dividing the two: a median of ratios, say.
    #[must_use]
    pub fn share_of(self, reference: &'static str, value: f64, ratio: f64) -> Self {
        let mut figure = self.beside(reference, value);
        figure.ratio = Some(ratio);
        figure
    }

    /// States a goal for the ratio: at least so much.
    #[must_use]
    pub fn at_least_times(self, times: f64) -> Self {
        let met = self.ratio.is_some_and(|ratio| ratio >= times);
        self.goal(format!(">= {times} times"), met)
    }

    /// States a goal for the ratio: at most so much.
    #[must_use]
    pub fn at_most_times(self, times: f64) -> Self {
        let met = self.ratio.is_some_and(|ratio| ratio <= times);
        self.goal(format!("<= {times} times"), met)
    }

    /// States a goal for the value itself: at most so much, in its unit.
    #[must_use]
    pub fn at_most(self, most: f64) -> Self {
        let goal = format!("<= {most} {}", self.unit);
        let met = self.value <= most;
        self.goal(goal, met)
    }

    /// States a goal for the value itself: at least so much, in its unit.
    #[must_use]
    pub fn at_least(self, least: f64) -> Self {
        let goal = format!(">= {least} {}", self.unit);
        let met = self.value >= least;
        self.goal(goal, met)
    }

    fn goal(mut self, goal: String, met: bool) -> Self {
        self.goal = Some(goal);
        self.met = Some(met);
        self
    }

    fn line(&self) -> String {
        let mut line = format!("{:<64} {:>12.1} {:<9}", self.name, self.value, self.unit);
        if let (Some(reference), Some(value), Some(ratio)) = (self.reference, self.reference_value, self.ratio) {
            line += &format!(" {reference}: {value:.1}; ratio {ratio:.2}");
        }
        if let Some(goal) = &self.goal {
            let met = match self.met {
                Some(true) => ", met",
                Some(false) => ", MISSED",
                None => "",
            };
            line += &format!(" (goal {goal}{met})");
        }
        line
    }
}

#[derive(Serialize)]
struct Report {
    figures: Vec<Figure>,
}

/// The whole `main` of a benchmark: reads the arguments, measures, prints, and writes the file that was asked for.
pub fn run(name: &str, measure: impl FnOnce(&Options) -> Vec<Figure>) -> ExitCode {
    let options = match Options::from(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{name}: {wrong}. Usage: {name} [--json FILE] [--quick] [--part NAME]");
            return ExitCode::from(2);
        }
    };
    let mut figures = measure(&options);
    for figure in &mut figures {
        if options.quick {
            // A short run cannot tell.
            figure.met = None;
        }
        println!("{}", figure.line());
    }
    if let Some(path) = options.json {
        let text = serde_json::to_string_pretty(&Report { figures }).expect("figures are JSON");
        if let Err(error) = std::fs::write(&path, text + "\n") {
            eprintln!("{name}: {} could not be written: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The value that a share of all values lie below. `share` is 0 to 1.
///
/// # Panics
///
/// When there are no values.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1).expect("something was measured");
    sorted[((sorted.len() as f64 * share) as usize).min(last)]
}

/// The value in the middle.
///
/// # Panics
///
/// When there are no values.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Nanoseconds per item of one batch.
pub fn per_item<T>(items: &[T], mut work: impl FnMut(&T)) -> f64 {
    let begin = Instant::now();
    items.iter().for_each(&mut work);
    begin.elapsed().as_nanos() as f64 / items.len() as f64
}

/// Numbers in no order, the same in every run: xorshift64*.
#[derive(Debug, Clone)]
pub struct Scatter(u64);

impl Scatter {
    /// `seed` is not zero.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, evenly.
    pub const fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        Options::from(arguments.iter().map(std::ffi::OsString::from))
    }

    #[test]
    fn what_cargo_says_is_passed_over_and_what_nobody_knows_is_refused() {
        let quick = options(&["--bench", "--quick", "--json", "f.json"]).unwrap();
        assert!(quick.quick);
        assert_eq!(quick.json, Some(PathBuf::from("f.json")));
        assert!(options(&["--json"]).unwrap_err().contains("needs a file"));
        assert!(options(&["--fast"]).unwrap_err().contains("--fast"));
    }

    #[test]
    fn a_goal_is_judged_in_the_direction_in_which_it_is_stated() {
        let met = |figure: Figure| figure.met.unwrap();
        let ten = || Figure::new("a", 10.0, "ns");
        assert!(met(ten().at_most(10.0)) && !met(ten().at_most(9.9)));
        assert!(met(ten().at_least(10.0)) && !met(ten().at_least(10.1)));
        assert!(met(ten().beside("b", 5.0).at_most_times(2.0)));
        assert!(!met(ten().beside("b", 4.9).at_most_times(2.0)));
        assert!(met(ten().faster_than("b", 20.0).at_least_times(2.0)));
        assert!(!met(ten().faster_than("b", 19.9).at_least_times(2.0)));
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = [3.0, 1.0, 2.0];
        assert_eq!(median(&values), 2.0);
        assert_eq!(quantile(&values, 0.99), 3.0);
        assert_eq!(quantile(&values, 1.0), 3.0);
    }
}
