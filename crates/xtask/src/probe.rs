//! The proof that `authmesh-proto` needs no standard library: a static library links it without one.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shell::{Captured, capture, shown};
use crate::steps::Outcome;
use crate::tools::Tools;
use crate::workspace::Workspace;
use crate::{Error, Result};

const MANIFEST: &str = "crates/authmesh-proto/probe/Cargo.toml";

/// "found duplicate lang item": std has a panic handler, and so has the probe.
const TWO_PANIC_HANDLERS: &str = "error[E0152]";

pub(crate) fn run(workspace: &Workspace, tools: &Tools) -> Outcome {
    let built = || -> Result<()> {
        same_versions(workspace)?;
        let plain = build(workspace, tools, &[])?;
        judge(plain.ok, &plain.stderr)?;
        let control = build(workspace, tools, &["--features", "control"])?;
        judge_control(control.ok, &control.stderr)
    };
    built().into()
}

/// Gives the probe the workspace's lock file, so that it proves the versions that are shipped. Cargo drops from the
/// copy what the probe does not use.
fn same_versions(workspace: &Workspace) -> Result<()> {
    let from = workspace.root().join("Cargo.lock");
    let to = workspace.root().join(Path::new(MANIFEST).with_file_name("Cargo.lock"));
    fs::copy(&from, &to).map(|_| ()).map_err(|e| {
        Error(format!(
            "{} could not be copied to {}: {e}",
            from.display(),
            to.display()
        ))
    })
}

fn build(workspace: &Workspace, tools: &Tools, more: &[&str]) -> Result<Captured> {
    let mut command: Command = tools.cargo(workspace);
    command
        .args(["build", "--manifest-path", MANIFEST, "--target-dir"])
        .arg(workspace.target().join("probe"));
    command.args(more);
    println!("    $ {}", shown(&command));
    capture(&mut command)
}

fn judge(ok: bool, stderr: &str) -> Result<()> {
    if ok {
        return Ok(());
    }
    if !stderr.contains(TWO_PANIC_HANDLERS) {
        return Err(Error(format!(
            "the probe did not build, for another reason than std:\n{stderr}"
        )));
    }
    let by = importer(stderr).unwrap_or("one of its dependencies");
    Err(Error(format!(
        "std is in the graph of authmesh-proto, brought in by {by}\n    \
         Look for a lost `#![no_std]` or a missing `default-features = false`:\n    \
         cargo tree --package authmesh-proto --edges normal,features\n{stderr}"
    )))
}

fn judge_control(ok: bool, stderr: &str) -> Result<()> {
    if !ok && stderr.contains(TWO_PANIC_HANDLERS) {
        println!("    the control, which links std on purpose, was refused as it must be");
        return Ok(());
    }
    Err(Error(format!(
        "the control build links std and was not refused with E0152, so the probe proves nothing: has its panic handler \
         gone?\n{stderr}"
    )))
}

/// The crate that the compiler names: "first defined in crate `std` (which `bincode` depends on)".
fn importer(stderr: &str) -> Option<&str> {
    let (_, rest) = stderr.split_once("defined in crate `std` (which `")?;
    rest.split('`').next()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const STD: &str = "error[E0152]: found duplicate lang item `panic_impl`\n   = note: the lang item is first defined \
                       in crate `std` (which `bincode` depends on)\n";

    #[test]
    fn std_in_the_graph_names_the_crate_that_brought_it() {
        let error = judge(false, STD).unwrap_err().to_string();
        assert!(
            error.lines().next().unwrap().ends_with("brought in by bincode"),
            "{error}"
        );
        assert!(error.contains("default-features"), "{error}");
    }

    #[test]
    fn another_failure_is_not_blamed_on_std() {
        let error = judge(false, "error[E0433]: cannot find module")
            .unwrap_err()
            .to_string();
        assert!(error.contains("another reason") && error.contains("E0433"), "{error}");
    }

    #[test]
    fn the_control_must_fail_and_for_the_right_reason() {
        assert!(judge(true, "").is_ok());
        assert!(judge_control(false, STD).is_ok());
        assert!(judge_control(true, "").is_err());
        assert!(judge_control(false, "error: no such feature").is_err());
    }
}
