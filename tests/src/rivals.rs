//! The programs of `tests/rivals`: other crates for the same work, in a workspace of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::tools;

/// Builds one of the programs in a release build, and says where it is. `None` where it does not build, such as without a
/// network; what cargo said stands above then.
#[must_use]
pub fn build(program: &str) -> Option<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals/Cargo.toml");
    let target = tools::target_dir().join("rivals");
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--bin", program, "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target);
    succeeded(build).then(|| target.join("release").join(program))
}

/// The whole `main` of a benchmark that lies there: builds the program and runs it with the arguments of this one.
pub fn run(program: &str, environment: &[(&str, PathBuf)]) -> ExitCode {
    let Some(path) = build(program) else {
        eprintln!("{program} does not build, see above");
        return ExitCode::FAILURE;
    };
    let mut run = Command::new(path);
    run.args(std::env::args_os().skip(1));
    run.envs(environment.iter().map(|(name, value)| (name, value)));
    match run.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("{program} ended with {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{program} did not start: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds `authmesh` itself in a release build, as it is shipped.
#[must_use]
pub fn build_server() -> Option<PathBuf> {
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--package", "authmesh-server"])
        .arg("--target-dir")
        .arg(tools::target_dir());
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    succeeded(build).then(|| tools::target_dir().join("release/authmesh"))
}

fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // What cargo tells a benchmark about its own package is no concern of another one, whose build scripts would run again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    build
}

fn succeeded(mut build: Command) -> bool {
    build.status().is_ok_and(|status| status.success())
}
