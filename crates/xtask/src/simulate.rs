//! Runs seeds of the virtual-time cluster.

use clap::Args;

use crate::shell;
use crate::workspace::Workspace;
use crate::{Exit, Result};

/// How `cargo xtask simulate` is called.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many seeds to run.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// So many nodes in each world; otherwise the seed decides.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    nodes: Option<u64>,
    /// How many seeds run at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    /// Do not stop at the first violation.
    #[arg(long)]
    keep_going: bool,
}

/// Builds the simulation with optimization and runs it; its output is the user's.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Exit> {
    let mut command = shell::cargo();
    command.current_dir(workspace.root());
    command.args(["run", "--release", "--package", "authmesh-sim", "--"]);
    command.args(arguments(options));
    // The simulation says itself what did not hold.
    match shell::run(&mut command) {
        Ok(()) => Ok(Exit::Passed),
        Err(error) => {
            eprintln!("cargo xtask simulate: {error}");
            Ok(Exit::Failed)
        }
    }
}

fn arguments(options: &Options) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |name: &str, value: u64| arguments.extend([format!("--{name}"), value.to_string()]);
    add("seeds", options.seeds);
    add("from", options.from);
    add("threads", options.threads);
    if let Some(nodes) = options.nodes {
        add("nodes", nodes);
    }
    if options.keep_going {
        arguments.push("--keep-going".to_owned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_passed_on() {
        let options = Options {
            seeds: 5,
            from: 7,
            nodes: Some(3),
            threads: 2,
            keep_going: true,
        };
        let all = "--seeds 5 --from 7 --threads 2 --nodes 3 --keep-going";
        assert_eq!(arguments(&options).join(" "), all);
    }
}
