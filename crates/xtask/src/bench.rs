//! Builds, runs and merges the benchmarks.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::machine::Machine;
use crate::report::Report;
use crate::shell;
use crate::tools::make_dir;
use crate::workspace::{Bench, Workspace};
use crate::{Error, Exit, Result};

/// The most that one benchmark may write.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// How `cargo xtask bench` is called.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Measure for a short time: rough figures, to see that everything runs.
    #[arg(long)]
    quick: bool,
    /// Run only the benchmarks whose name contains NAME.
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Draw the charts into DIR, as SVG.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Measure nothing: show, and draw, reports that were written before. Figures of a later one replace those of an earlier one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "filter"])]
    from: Vec<PathBuf>,
}

/// Runs the benchmarks one after another, so that none disturbs another.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Exit> {
    if let Some((first, others)) = options.from.split_first() {
        let mut report = Report::from_json(&read(first)?)?;
        for file in others {
            report.replace(Report::from_json(&read(file)?)?);
        }
        println!("{}", report.text());
        draw(&report, options)?;
        return Ok(Exit::Passed);
    }
    let all = workspace.benches();
    let benches = chosen(&all, options.filter.as_deref());
    if benches.is_empty() {
        let names: Vec<&str> = all.iter().map(|bench| bench.name.as_str()).collect();
        let (list, exit) = match names.is_empty() {
            true => ("the workspace has none".to_owned(), Exit::Failed),
            false => (format!("there are: {}", names.join(", ")), Exit::Unusable),
        };
        eprintln!("cargo xtask bench: no benchmark to run; {list}");
        return Ok(exit);
    }

    let dir = workspace.target().join("bench");
    make_dir(&dir)?;
    // Built before the first is run: a measurement beside a compiler is worth nothing.
    let built: Vec<bool> = benches.iter().map(|bench| succeeded(build(workspace, bench))).collect();

    let mut report = Report::new(Machine::here(workspace.root()), options.quick);
    for (bench, built) in benches.into_iter().zip(built) {
        let file = dir.join(format!("{}.{}.json", bench.package, bench.name));
        let ran = built
            && succeeded(
                measure(workspace, bench, &file, options.quick)
                    .and_then(|()| read(&file))
                    .and_then(|json| report.add(&bench.name, &json)),
            );
        if !ran {
            report.add_failure(&bench.name);
        }
    }

    let path = dir.join("report.json");
    fs::write(&path, report.json()?).map_err(|e| Error(format!("{} could not be written: {e}", path.display())))?;
    println!("\n{}\n\nreport: {}", report.text(), path.display());
    draw(&report, options)?;
    Ok(if report.any_failed() {
        Exit::Failed
    } else {
        Exit::Passed
    })
}

fn draw(report: &Report, options: &Options) -> Result<()> {
    if let Some(dir) = &options.plots {
        for file in report.draw(dir)? {
            println!("drawn: {}", file.display());
        }
    }
    Ok(())
}

fn chosen<'a>(all: &'a [Bench], filter: Option<&str>) -> Vec<&'a Bench> {
    all.iter()
        .filter(|bench| filter.is_none_or(|filter| bench.name.contains(filter)))
        .collect()
}

/// Prints why something failed: one bad benchmark does not stop the others.
fn succeeded(result: Result<()>) -> bool {
    if let Err(error) = &result {
        eprintln!("cargo xtask bench: {error}");
    }
    result.is_ok()
}

fn cargo_bench(workspace: &Workspace, bench: &Bench) -> std::process::Command {
    let mut command = shell::cargo();
    command.current_dir(workspace.root());
    command.args(["bench", "--package", &bench.package, "--bench", &bench.name]);
    command
}

fn build(workspace: &Workspace, bench: &Bench) -> Result<()> {
    println!("\n==> build {}", bench.name);
    shell::run(cargo_bench(workspace, bench).arg("--no-run"))
}

fn measure(workspace: &Workspace, bench: &Bench, file: &Path, quick: bool) -> Result<()> {
    println!("\n==> measure {}", bench.name);
    // The figures of an earlier run must not pass for this one's.
    match fs::remove_file(file) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(Error(format!("{} could not be removed: {e}", file.display())));
        }
        _ => {}
    }
    let mut command = cargo_bench(workspace, bench);
    command.args(["--", "--json"]).arg(file);
    if quick {
        command.arg("--quick");
    }
    shell::run(&mut command)
}

fn read(file: &Path) -> Result<String> {
    let failed = |e: std::io::Error| {
        Error(format!(
            "{} could not be read: {e}. A benchmark must write it (`--json FILE`)",
            file.display()
        ))
    };
    let mut json = String::new();
    let length = File::open(file)
        .map_err(failed)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut json)
        .map_err(failed)?;
    if length as u64 > MAX_BYTES {
        return Err(Error(format!("{} is larger than {MAX_BYTES} bytes", file.display())));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn bench(name: &str) -> Bench {
        Bench {
            package: "authmesh".into(),
            name: name.into(),
        }
    }

    #[test]
    fn a_filter_is_a_part_of_a_name() {
        let all = [bench("digest"), bench("hit"), bench("hit_uniform")];
        let names = |filter| {
            chosen(&all, filter)
                .into_iter()
                .map(|b| b.name.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(None), ["digest", "hit", "hit_uniform"]);
        assert_eq!(names(Some("hit")), ["hit", "hit_uniform"]);
        assert_eq!(names(Some("authmesh")), [""; 0]);
    }

    #[test]
    fn a_benchmark_that_wrote_nothing_is_told_what_to_do() {
        let error = read(Path::new("no/such/figures.json")).unwrap_err().to_string();
        assert!(
            error.contains("no/such/figures.json") && error.contains("--json FILE"),
            "{error}"
        );
    }

    #[test]
    fn a_file_without_end_is_not_read_to_it() {
        let endless = Path::new("/dev/zero");
        if endless.exists() {
            assert!(read(endless).unwrap_err().to_string().contains("larger"));
        }
    }
}
