//! Everything a contributor runs: `cargo xtask test`, `cargo xtask bench` and `cargo xtask simulate`.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`mod@test`] | the test command: which steps run, in which order |
//! | [`tools`] | what a fresh machine needs, and its installation |
//! | [`deny`] | dependency rules, licences, advisories |
//! | [`probe`] | the proof that `authmesh-proto` needs no std |
//! | [`rules`] | rules about the repository's own files |
//! | [`mod@bench`] | builds, runs and merges the benchmarks |
//! | [`mod@simulate`] | runs seeds of the virtual-time cluster |
//! | [`plot`] | its figures as pictures |
//! | [`report`] | what a benchmark says, and how it is printed |
//! | [`instructions`] | what a hit costs, under callgrind |
//! | [`machine`] | what a measurement must say about its machine |
//! | [`steps`], [`table`], [`shell`], [`workspace`] | small parts that the others share |
#![forbid(unsafe_code)]

mod bench;
mod deny;
mod instructions;
mod machine;
mod plot;
mod probe;
mod report;
mod rules;
mod shell;
mod simulate;
mod steps;
mod table;
mod test;
mod tools;
mod workspace;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// What a contributor to authmesh runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check and test everything, as CI does. Installs what is missing, where it can.
    ///
    /// Steps: tools, formatting, clippy, dependency rules, advisories, purity of authmesh-proto, documentation, the
    /// server's build, tests, instructions of a hit, doc tests, repository rules. A failed step does not stop the others.
    ///
    /// Exit codes: 0 all passed, 1 a step failed, 2 a tool is missing and must be installed by hand.
    Test(test::Options),
    /// Build and run the benchmarks, and compare each figure with its goal.
    ///
    /// The merged figures are written to bench/report.json in the target directory.
    ///
    /// Exit codes: 0 all benchmarks ran (a missed goal is in the table), 1 one failed to run, 2 the filter names none.
    Bench(bench::Options),
    /// Run seeds of the virtual-time cluster: the protocol under faults, with a checker that holds the true history.
    ///
    /// The same seed gives the same trace. A seed in which something does not hold prints what led to it.
    ///
    /// Exit codes: 0 everything held in every seed, 1 something did not, 2 the arguments are wrong.
    Simulate(simulate::Options),
}

/// Why a command of ours could not do its work.
///
/// The text says what was wrong, where, and what to do.
#[derive(Debug)]
struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Result<T> = std::result::Result<T, Error>;

/// How a command of ours ended, as the caller's shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Passed,
    Failed,
    /// The caller must do something first: install a tool, or correct an argument.
    Unusable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Passed => ExitCode::SUCCESS,
            Exit::Failed => ExitCode::from(1),
            Exit::Unusable => ExitCode::from(2),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = Workspace::find().and_then(|workspace| match cli.command {
        Command::Test(options) => test::run(&workspace, &options),
        Command::Bench(options) => bench::run(&workspace, &options),
        Command::Simulate(options) => simulate::run(&workspace, &options),
    });
    match done {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("cargo xtask: {error}");
            Exit::Failed.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
