//! Running other programs.
//!
//! None of them gets our standard input: everything must run where nobody can answer.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::{Error, Result};

/// What a program printed.
#[derive(Debug)]
pub(crate) struct Captured {
    /// Whether it ended with code 0.
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A call of the cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` describes this package to us by variables. A build script that watches one of them would run again
    // after every change between `cargo build` and `cargo xtask`.
    for (name, _) in env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_BIN_NAME"
        });
        if ours {
            command.env_remove(name);
        }
    }
    command
}

/// A program by name or path.
pub(crate) fn program(name: impl Into<OsString>) -> Command {
    Command::new(name.into())
}

/// Shows a call as a user would type it, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        line.push(' ');
        if argument.is_empty() || argument.contains(|c: char| c.is_whitespace() || c == '"') {
            line.push_str(&format!("{argument:?}"));
        } else {
            line.push_str(&argument);
        }
    }
    line
}

fn not_started(command: &Command, error: &std::io::Error) -> Error {
    Error(format!("`{}` did not start: {error}", shown(command)))
}

/// Prints and runs a call; its output is the user's. Fails if it does not end with code 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("    $ {}", shown(command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|e| not_started(command, &e))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error(format!("`{}` ended with {status}", shown(command))))
    }
}

/// Runs a call quietly and keeps what it printed. Fails only if it cannot be started.
pub(crate) fn capture(command: &mut Command) -> Result<Captured> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| not_started(command, &e))?;
    Ok(Captured {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Like [`run`], but ends the program when it is not done after `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    println!("    $ {}", shown(command));
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| not_started(command, &e))?;
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(Error(format!("`{}` ended with {status}", shown(command)))),
            Ok(None) if started.elapsed() < limit => thread::sleep(Duration::from_millis(50)),
            Ok(None) => {
                // It may have ended by itself in this moment; either way it is gone after `wait`.
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error(format!(
                    "`{}` was not done after {} s",
                    shown(command),
                    limit.as_secs()
                )));
            }
            Err(e) => return Err(Error(format!("`{}` could not be waited for: {e}", shown(command)))),
        }
    }
}

/// Whether a quiet call, such as `nginx -v`, ends well.
pub(crate) fn works(command: &mut Command) -> bool {
    capture(command).is_ok_and(|captured| captured.ok)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_call_is_shown_as_it_would_be_typed() {
        let mut command = program("/usr/bin/cargo");
        command.args(["test", "--", "two words", ""]);
        assert_eq!(shown(&command), r#"cargo test -- "two words" """#);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut program("authmesh-no-such-program")).unwrap_err();
        assert!(error.to_string().contains("authmesh-no-such-program"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_hangs_is_ended() {
        let mut command = program("sleep");
        command.arg("600");
        let started = Instant::now();
        let error = run_within(&mut command, Duration::from_millis(100)).unwrap_err();
        assert!(error.to_string().contains("not done"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(300), "it was waited for");
    }

    #[cfg(unix)]
    #[test]
    fn a_failure_is_an_error_in_both_ways_of_running() {
        assert!(run(&mut program("false")).is_err());
        assert!(run_within(&mut program("false"), Duration::from_secs(60)).is_err());
        assert!(run(&mut program("true")).is_ok());
        assert!(run_within(&mut program("true"), Duration::from_secs(60)).is_ok());
    }
}
