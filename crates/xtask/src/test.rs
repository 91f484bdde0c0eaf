//! The test command: which steps run, and in which order.

use std::path::PathBuf;
use std::process::Stdio;

use clap::Args;
use serde::Deserialize;

use crate::deny::{Deny, has_nextest};
use crate::shell::{self, capture, run as call};
use crate::steps::{Outcome, Steps};
use crate::tools::{Missing, Tools};
use crate::workspace::Workspace;
use crate::{Error, Exit, Result, instructions, probe, rules};

/// How `cargo xtask test` is called.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The inner loop: leave out dependency rules, advisories, purity, documentation and doc tests.
    #[arg(long)]
    fast: bool,
    /// Build, then run only the tests whose name contains EXPR. All other checks are left out.
    #[arg(long, value_name = "EXPR")]
    filter: Option<String>,
}

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Tests,
    Fast,
    Full,
}

impl Options {
    fn scope(&self) -> Scope {
        match (&self.filter, self.fast) {
            (Some(_), _) => Scope::Tests,
            (None, true) => Scope::Fast,
            (None, false) => Scope::Full,
        }
    }
}

/// Runs the steps. Fails only where not even a summary makes sense.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<Exit> {
    let mut steps = Steps::default();
    let mut tools = Tools::none();
    let mut unusable = false;
    steps.run("tools", "what the tests need is installed", || {
        match Tools::prepare(workspace) {
            Ok(found) => {
                print!("{}", found.describe());
                tools = found;
                Outcome::Passed
            }
            Err(Missing::Advice(advice)) => {
                unusable = true;
                Outcome::Failed(advice)
            }
            Err(Missing::Failed(error)) => {
                unusable = true;
                Outcome::Failed(error.to_string())
            }
        }
    });
    if unusable {
        return Ok(Exit::Unusable);
    }

    let scope = options.scope();
    if scope >= Scope::Fast {
        steps.run("format", "the code is formatted", || format(workspace, &tools).into());
        steps.run("clippy", "no lint fires", || {
            let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            call(tools.cargo(workspace).args(lint)).into()
        });
    }
    if scope == Scope::Full {
        dependencies(workspace, &tools, &mut steps);
        steps.run("purity", "authmesh-proto needs no std", || {
            probe::run(workspace, &tools)
        });
        steps.run("docs", "the documentation builds without a warning", || {
            docs(workspace, &tools).into()
        });
    }

    if scope == Scope::Full {
        // The build below gives every crate the features that any of the workspace asks for. Alone, as it is installed, the
        // server has those only that its own manifest names.
        steps.run("alone", "the server needs no feature that only a test asks for", || {
            call(tools.cargo(workspace).args(["check", "--package", "authmesh-server"])).into()
        });
    }
    let mut built = None;
    steps.run("build", "the server and the tests", || match build(workspace, &tools) {
        Ok(programs) => {
            println!("    {}", programs.server.display());
            built = Some(programs);
            Outcome::Passed
        }
        Err(error) => Outcome::Failed(error.to_string()),
    });
    match &built {
        Some(Built { server, .. }) => {
            let filter = options.filter.as_deref();
            steps.run("tests", "unit, integration and end-to-end tests", || {
                tests(workspace, &tools, server, filter).into()
            });
        }
        None => steps.skip("tests", "the server did not build"),
    }
    if scope == Scope::Full {
        match &built {
            Some(Built { probe, .. }) => {
                steps.run("instructions", "what a hit costs", || {
                    instructions::run(workspace, &tools, probe)
                });
            }
            None => steps.skip("instructions", "the tests did not build"),
        }
        steps.run("doctests", "the examples in the documentation", || {
            call(
                tools
                    .cargo(workspace)
                    .args(["test", "--doc", "--workspace", "--no-fail-fast"]),
            )
            .into()
        });
    }
    if scope >= Scope::Fast {
        steps.run("rules", "the repository's own files", || rules::run(workspace));
    }

    println!("\n{}", steps.summary("cargo xtask test"));
    Ok(if steps.any_failed() { Exit::Failed } else { Exit::Passed })
}

fn format(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let members = call(tools.cargo(workspace).args(["fmt", "--all", "--check"]));
    // These are no members of the workspace, so that `cargo fmt` does not see them.
    let others = [
        "crates/authmesh-proto/probe/src/lib.rs",
        "tests/rivals/src/main.rs",
        "tests/rivals/src/memory.rs",
        "tests/rivals/src/peers/main.rs",
    ];
    let others = call(
        tools
            .program(workspace, "rustfmt")
            .args(["--check", "--edition", "2024"])
            .args(others),
    );
    members.and(others)
}

fn dependencies(workspace: &Workspace, tools: &Tools, steps: &mut Steps) {
    let mut deny = None;
    steps.run("dependencies", "import rules, licences, sources", || {
        match Deny::find(workspace, tools) {
            Ok(found) => {
                let outcome = found.rules(workspace, tools);
                deny = Some(found);
                outcome
            }
            Err(error) => Outcome::Failed(error.to_string()),
        }
    });
    match deny {
        Some(deny) => {
            steps.run("advisories", "no known vulnerability", || {
                deny.advisories(workspace, tools)
            });
        }
        None => steps.skip("advisories", "cargo-deny could not be installed"),
    }
}

fn docs(workspace: &Workspace, tools: &Tools) -> Result<()> {
    // Apart, because the program `authmesh` and the SDK write the same file. The SDK comes last: its pages are read.
    let document = |what: &str| {
        let mut doc = tools.cargo(workspace);
        doc.env("RUSTDOCFLAGS", "-D warnings")
            .args(["doc", "--workspace", "--no-deps", what]);
        call(&mut doc)
    };
    let programs = document("--bins");
    programs.and(document("--lib"))
}

/// What is built for the tests: all but benchmarks, which `cargo xtask bench` runs, and doc tests, which have a step of their own.
const TARGETS: [&str; 5] = ["--workspace", "--lib", "--bins", "--tests", "--examples"];

/// Programs that steps start.
struct Built {
    /// `authmesh`, for the end-to-end tests.
    server: PathBuf,
    /// `hit-probe`, for the count of instructions.
    probe: PathBuf,
}

/// Builds the server and the tests.
///
/// In one call: the server by itself asks for fewer features of some thirty crates, tokio among them, and all of them would
/// be compiled twice.
fn build(workspace: &Workspace, tools: &Tools) -> Result<Built> {
    let mut build = tools.cargo(workspace);
    build
        .arg("build")
        .args(TARGETS)
        .args(["--message-format", "json-render-diagnostics"]);
    println!("    $ {}", shell::shown(&build));
    // Progress and diagnostics are the user's; only the list of what was built is ours.
    build.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = build.output().map_err(|e| Error(format!("cargo did not start: {e}")))?;
    if !output.status.success() {
        return Err(Error(format!(
            "the server and the tests did not build: cargo ended with {}",
            output.status
        )));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = |name: &str, package: &str| {
        executable(&messages, name)
            .ok_or_else(|| Error(format!("cargo built no program named `{name}`: look at {package}")))
    };
    Ok(Built {
        server: program("authmesh", "[[bin]] of authmesh-server")?,
        probe: program("hit-probe", "tests/examples")?,
    })
}

#[derive(Deserialize)]
struct Artifact {
    target: ArtifactTarget,
    profile: ArtifactProfile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct ArtifactProfile {
    /// Whether it is the tests of a program rather than the program.
    test: bool,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    name: String,
}

/// Finds a program in what cargo says that it built, one JSON object per line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .filter(|artifact| artifact.target.name == name && !artifact.profile.test)
        .find_map(|artifact| artifact.executable)
}

/// Runs the tests; what they print reaches the user unchanged.
fn tests(workspace: &Workspace, tools: &Tools, server: &PathBuf, filter: Option<&str>) -> Result<()> {
    let mut test = tools.cargo(workspace);
    test.env("AUTHMESH_BIN", server);
    if has_nextest(workspace, tools) {
        // It fails by itself when the filter matches nothing.
        test.args(["nextest", "run", "--workspace", "--no-fail-fast"])
            .args(filter);
        return call(&mut test);
    }
    if let Some(filter) = filter {
        let listed = capture(
            tools
                .cargo(workspace)
                .arg("test")
                .args(TARGETS)
                .args(["--", "--list", filter]),
        )?;
        if !listed.ok {
            return Err(Error(format!("the tests did not build:\n{}", listed.stderr)));
        }
        if !listed.stdout.lines().any(|line| line.ends_with(": test")) {
            return Err(Error(format!("no test's name contains `{filter}`")));
        }
    }
    test.arg("test").args(TARGETS).arg("--no-fail-fast");
    if let Some(filter) = filter {
        test.args(["--", filter]);
    }
    call(&mut test)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_filter_asks_for_tests_alone() {
        let options = |fast, filter: Option<&str>| Options {
            fast,
            filter: filter.map(str::to_owned),
        };
        assert_eq!(options(false, None).scope(), Scope::Full);
        assert_eq!(options(true, None).scope(), Scope::Fast);
        assert_eq!(options(false, Some("x")).scope(), Scope::Tests);
        assert_eq!(options(true, Some("x")).scope(), Scope::Tests);
    }

    #[test]
    fn the_program_is_found_among_what_cargo_built() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"authmesh\",\"kind\":[\"lib\"]},\"profile\":{\"test\":false},\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"authmesh\"},\"profile\":{\"test\":true},\"executable\":\"/t/debug/deps/authmesh-1\"}\n",
            "{\"reason\":\"build-script-executed\",\"package_id\":\"x\"}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"other\"},\"profile\":{\"test\":false},\"executable\":\"/t/debug/other\"}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"authmesh\"},\"profile\":{\"test\":false},\"executable\":\"/t/debug/authmesh\"}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(
            executable(messages, "authmesh"),
            Some(PathBuf::from("/t/debug/authmesh"))
        );
        assert_eq!(executable(messages, "absent"), None);
        assert_eq!(executable("not JSON\n", "authmesh"), None);
    }
}
