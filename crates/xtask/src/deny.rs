//! Dependency rules, licences, sources and advisories, by cargo-deny.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::shell::{self, capture, run, run_within};
use crate::steps::Outcome;
use crate::tools::Tools;
use crate::workspace::Workspace;

/// Installed where none of this series is at hand.
const VERSION: &str = "0.20.2";

/// Another series may read deny.toml in another way.
const SERIES: &str = "0.20.";

/// How long the advisory database may take before it counts as out of reach.
const FETCH_LIMIT: Duration = Duration::from_secs(120);

/// cargo-deny, installed if need be.
#[derive(Debug)]
pub(crate) struct Deny {
    program: PathBuf,
}

impl Deny {
    /// Finds cargo-deny on `PATH` or among our own tools. Installs it there, never for the whole machine.
    pub(crate) fn find(workspace: &Workspace, tools: &Tools) -> Result<Self> {
        let own = workspace
            .tools()
            .join("bin")
            .join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
        for program in [PathBuf::from("cargo-deny"), own.clone()] {
            let answer = capture(tools.program(workspace, &program).arg("--version"));
            if answer.is_ok_and(|answer| answer.ok && is_usable(&answer.stdout)) {
                return Ok(Self { program });
            }
        }
        println!(
            "    cargo-deny {SERIES}x is not here: installing {VERSION} into the target directory (about 2 minutes)"
        );
        let mut install = tools.cargo(workspace);
        install
            .args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"])
            .arg(workspace.tools());
        // It runs for a second. Its own profile (all of it optimised as one, in one piece) costs more than that saves.
        install.envs([
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
        ]);
        run(&mut install)?;
        Ok(Self { program: own })
    }

    fn command(&self, workspace: &Workspace, tools: &Tools) -> Command {
        let mut command = tools.program(workspace, &self.program);
        // It asks cargo for the graph, and must ask the one that runs us.
        if let Some(cargo) = std::env::var_os("CARGO") {
            command.env("CARGO", cargo);
        }
        command
    }

    /// Everything that needs no network of its own: import rules, licences, sources.
    pub(crate) fn rules(&self, workspace: &Workspace, tools: &Tools) -> Outcome {
        run(self
            .command(workspace, tools)
            .args(["check", "bans", "licenses", "sources"]))
        .into()
    }

    /// Known vulnerabilities. A database out of reach is a warning: never a pass, and no fault of the checkout.
    pub(crate) fn advisories(&self, workspace: &Workspace, tools: &Tools) -> Outcome {
        // Two calls: only a failed fetch is a warning. The check after it reads what was fetched.
        if let Err(error) = run_within(self.command(workspace, tools).args(["fetch", "db"]), FETCH_LIMIT) {
            return Outcome::Warned(format!(
                "the advisory database is out of reach, so nothing is known: {error}"
            ));
        }
        run(self
            .command(workspace, tools)
            .args(["--offline", "check", "advisories"]))
        .into()
    }
}

/// Reads `cargo-deny 0.20.2`.
fn is_usable(version: &str) -> bool {
    version
        .trim()
        .strip_prefix("cargo-deny ")
        .is_some_and(|number| number.starts_with(SERIES))
}

/// Whether cargo-nextest is at hand.
pub(crate) fn has_nextest(workspace: &Workspace, tools: &Tools) -> bool {
    shell::works(tools.cargo(workspace).args(["nextest", "--version"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_series_that_reads_our_rules_is_used() {
        assert!(is_usable("cargo-deny 0.20.2\n"));
        assert!(is_usable("cargo-deny 0.20.9"));
        assert!(!is_usable("cargo-deny 0.2.0"));
        assert!(!is_usable("cargo-deny 0.19.4"));
        assert!(!is_usable("cargo 1.95.0"));
        assert!(VERSION.starts_with(SERIES));
    }
}
