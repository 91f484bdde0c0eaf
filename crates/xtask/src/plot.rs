//! Bar charts of a report's figures, as SVG that is readable on a light and on a dark page.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::report::{Figure, number};
use crate::tools::make_dir;
use crate::{Error, Result};

/// Where a figure is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plot {
    /// The chart's title. Figures of one chart have one unit.
    chart: String,
    /// What the bar stands for. One that begins with [`OURS`] stands out.
    label: String,
    /// Which of several bars under one label it is; may be empty.
    series: String,
}

/// A label that begins so is ours.
const OURS: &str = "authmesh";

/// Lengths in the SVG's own unit.
const WIDTH: f64 = 860.0;
const LABELS: f64 = 300.0;
const VALUES: f64 = 110.0;
const TOP: f64 = 62.0;
const BAR: f64 = 15.0;
const GAP: f64 = 9.0;
const BOTTOM: f64 = 28.0;

/// Bars that differ by more than this are drawn on a logarithmic scale, or the short ones would not be seen.
const LINEAR_UP_TO: f64 = 30.0;

/// Colours: one set for light pages, one for dark ones. The page behind stays as it is.
const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:12.5px;fill:#1f2937}\
.title{font-size:15.5px;font-weight:600}.note{font-size:11.5px;fill:#5b6472}.value{font-variant-numeric:tabular-nums}\
.grid{stroke:#d5dae1;stroke-width:1}.b0{fill:#8d99ab}.b1{fill:#bcc5d2}.o0{fill:#0f766e}.o1{fill:#4fb3a9}\
.own{font-weight:600}\
@media (prefers-color-scheme:dark){text{fill:#e5e9f0}.note{fill:#a3adbd}.grid{stroke:#3b4454}\
.b0{fill:#7d8899}.b1{fill:#586273}.o0{fill:#2dd4bf}.o1{fill:#178a7d}}";

/// One chart: its bars, by label and series, in the order in which they were measured.
#[derive(Debug)]
struct Chart<'a> {
    title: &'a str,
    unit: &'a str,
    series: Vec<&'a str>,
    labels: Vec<(&'a str, Vec<Option<f64>>)>,
}

/// Draws every chart of a report into a directory, and returns the files.
pub(crate) fn draw(figures: &[Figure], machine: &str, dir: &Path) -> Result<Vec<PathBuf>> {
    make_dir(dir)?;
    let mut files = Vec::new();
    for chart in charts(figures)? {
        let path = dir.join(format!("{}.svg", slug(chart.title)));
        fs::write(&path, chart.svg(machine))
            .map_err(|e| Error(format!("{} could not be written: {e}", path.display())))?;
        files.push(path);
    }
    Ok(files)
}

fn charts(figures: &[Figure]) -> Result<Vec<Chart<'_>>> {
    let mut charts: Vec<Chart<'_>> = Vec::new();
    for (figure, plot) in figures.iter().filter_map(|figure| Some((figure, figure.plot()?))) {
        let at = match charts.iter().position(|chart| chart.title == plot.chart) {
            Some(at) => at,
            None => {
                charts.push(Chart {
                    title: &plot.chart,
                    unit: figure.unit(),
                    series: Vec::new(),
                    labels: Vec::new(),
                });
                charts.len() - 1
            }
        };
        let chart = &mut charts[at];
        if chart.unit != figure.unit() {
            return Err(Error(format!(
                "the chart `{}` has figures in {} and in {}: draw one unit only",
                plot.chart,
                chart.unit,
                figure.unit()
            )));
        }
        chart.add(&plot.label, &plot.series, figure.value());
    }
    Ok(charts)
}

impl<'a> Chart<'a> {
    fn add(&mut self, label: &'a str, series: &'a str, value: f64) {
        let series = place(&mut self.series, |known| *known == series, || series);
        let label = place(&mut self.labels, |(known, _)| *known == label, || (label, Vec::new()));
        let bars = &mut self.labels[label].1;
        bars.resize(bars.len().max(series + 1), None);
        bars[series] = Some(value);
    }

    fn svg(&self, machine: &str) -> String {
        let values = || self.labels.iter().flat_map(|(_, bars)| bars).flatten().copied();
        let scale = Scale::over(values());
        let thickness = BAR * self.series.len() as f64;
        let height = TOP + (thickness + GAP) * self.labels.len() as f64 + BOTTOM;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
             <text class=\"title\" x=\"12\" y=\"24\">{title}</text>\n<text class=\"note\" x=\"12\" y=\"43\">{note}</text>\n",
            title = escape(self.title),
            note = escape(&self.note(&scale)),
        );
        self.legend(&mut svg);
        let end = height - BOTTOM;
        for mark in scale.marks() {
            let x = LABELS + scale.length(mark);
            line(
                &mut svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{end:.1}\"/>\
                 <text class=\"note\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    TOP - 4.0,
                    end + 16.0,
                    number(mark)
                ),
            );
        }
        for (n, (label, bars)) in self.labels.iter().enumerate() {
            let (own, kind) = match label.starts_with(OURS) {
                true => (" class=\"own\"", 'o'),
                false => ("", 'b'),
            };
            let top = TOP + (thickness + GAP) * n as f64;
            line(
                &mut svg,
                format_args!(
                    "<text{own} x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    LABELS - 10.0,
                    top + thickness / 2.0 + 4.0,
                    escape(label)
                ),
            );
            for (series, value) in bars.iter().enumerate().filter_map(|(n, value)| Some((n, (*value)?))) {
                let (y, length) = (top + BAR * series as f64, scale.length(value).max(1.0));
                line(
                    &mut svg,
                    format_args!(
                        "<rect class=\"{kind}{}\" x=\"{LABELS}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{:.1}\" rx=\"2\"/>\
                     <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{} {}</text>",
                        series % 2,
                        BAR - 2.0,
                        LABELS + length + 6.0,
                        y + 11.0,
                        number(value),
                        escape(self.unit)
                    ),
                );
            }
        }
        line(
            &mut svg,
            format_args!("<desc>{}</desc>\n</svg>", escape(machine.trim())),
        );
        svg
    }

    fn note(&self, scale: &Scale) -> String {
        let better = if self.unit.ends_with("/s") || self.unit.starts_with('%') {
            "more is better"
        } else {
            "less is better"
        };
        let scale = if scale.from > 0.0 { ", logarithmic scale" } else { "" };
        format!("{}, {better}{scale}", self.unit)
    }

    fn legend(&self, svg: &mut String) {
        if self.series.len() < 2 {
            return;
        }
        for (n, series) in self.series.iter().enumerate() {
            let x = WIDTH - 110.0 * (self.series.len() - n) as f64;
            line(
                svg,
                format_args!(
                    "<rect class=\"o{0}\" x=\"{x}\" y=\"14\" width=\"8\" height=\"12\"/><rect class=\"b{0}\" x=\"{1}\" y=\"14\" \
                 width=\"8\" height=\"12\"/><text class=\"note\" x=\"{2}\" y=\"24\">{3}</text>",
                    n % 2,
                    x + 9.0,
                    x + 22.0,
                    escape(series)
                ),
            );
        }
    }
}

/// From values to lengths: linear from zero, or logarithmic from the power of ten below the least.
#[derive(Debug)]
struct Scale {
    /// Zero on a linear scale.
    from: f64,
    to: f64,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let most = values.clone().fold(0.0, f64::max);
        let least = values.filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        let logarithmic = least.is_finite() && most / least > LINEAR_UP_TO;
        Self {
            from: if logarithmic { power_below(least) } else { 0.0 },
            to: if most > 0.0 { most } else { 1.0 },
        }
    }

    fn length(&self, value: f64) -> f64 {
        let share = if self.from > 0.0 {
            (value / self.from).max(1.0).log10() / (self.to / self.from).log10()
        } else {
            value / self.to
        };
        share * (WIDTH - LABELS - VALUES)
    }

    fn marks(&self) -> Vec<f64> {
        if self.from > 0.0 {
            let mut marks = vec![self.from];
            while let Some(next) = marks.last().map(|mark| mark * 10.0).filter(|next| *next <= self.to) {
                marks.push(next);
            }
            return marks;
        }
        // 1, 2 or 5 of a power of ten, at most five of them.
        let power = power_below(self.to);
        let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0].map(|step| step * power);
        let step = steps
            .into_iter()
            .find(|step| self.to / step <= 5.0)
            .unwrap_or(power * 5.0);
        (0..=5)
            .map(|n| f64::from(n) * step)
            .filter(|mark| *mark <= self.to)
            .collect()
    }
}

fn power_below(value: f64) -> f64 {
    10_f64.powf(value.log10().floor())
}

/// The index of what fits, which is made if need be.
fn place<T>(all: &mut Vec<T>, fits: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    all.iter().position(fits).unwrap_or_else(|| {
        all.push(make());
        all.len() - 1
    })
}

fn line(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "{text}");
}

/// A title as a file's name.
fn slug(title: &str) -> String {
    let words = title
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn figure(name: &str, value: f64, unit: &str, label: &str, series: &str) -> Figure {
        let json = serde_json::json!({"name": name, "value": value, "unit": unit,
            "plot": {"chart": "Hit & miss, 1,000 tokens", "label": label, "series": series}});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_figure_of_a_chart_becomes_a_bar_with_its_value() {
        let figures = [
            figure("a", 120.0, "ns", "authmesh", "1 thread"),
            figure("b", 130.0, "ns", "authmesh", "2 threads"),
            figure("c", 900.0, "ns", "by <hand>", "1 thread"),
        ];
        let charts = charts(&figures).unwrap();
        assert_eq!(charts.len(), 1);
        let svg = charts[0].svg("2 cores");
        assert_eq!(svg.matches("<rect class=\"o0\" x=\"300\"").count(), 1, "{svg}");
        assert_eq!(svg.matches("<rect class=\"o1\" x=\"300\"").count(), 1, "{svg}");
        assert_eq!(svg.matches("<rect class=\"b0\" x=\"300\"").count(), 1, "{svg}");
        for text in [
            ">120 ns<",
            ">130 ns<",
            ">900 ns<",
            "by &lt;hand&gt;",
            "Hit &amp; miss",
            "less is better<",
            "2 cores",
        ] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert_eq!(slug(charts[0].title), "hit-miss-1-000-tokens");
    }

    #[test]
    fn the_longest_bar_fills_the_room_and_short_ones_are_seen() {
        let room = WIDTH - LABELS - VALUES;
        let linear = Scale::over([10.0, 5.0].into_iter());
        assert_eq!((linear.length(10.0), linear.length(5.0)), (room, room / 2.0));
        assert_eq!(linear.marks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let far = Scale::over([200.0, 25_000.0].into_iter());
        assert_eq!((far.from, far.length(25_000.0)), (100.0, room));
        assert!(far.length(200.0) > room / 20.0);
        assert_eq!(far.marks(), [100.0, 1_000.0, 10_000.0]);
    }

    #[test]
    fn two_units_do_not_stand_in_one_chart() {
        let figures = [figure("a", 1.0, "ns", "x", ""), figure("b", 1.0, "us", "y", "")];
        assert!(charts(&figures).unwrap_err().to_string().contains("in ns and in us"));
    }
}
