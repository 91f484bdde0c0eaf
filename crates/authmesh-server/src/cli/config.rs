//! `authmesh config`: what a configuration says, before a node starts with it.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::io::{Exit, Failure, Io};
use crate::config::{Config, Loaded, default_file};

/// Names the file where no argument does.
pub(super) const FILE_VARIABLE: &str = "AUTHMESH_CONFIG";

const EXIT_CODES: &str = "\
Exit codes: 0 no problems; 1 problems; 2 wrong usage, or the file could not be read.

The variables of this process count as they do for `authmesh serve`. Values are not shown in problems, secrets nowhere.

Examples:
  authmesh config check authmesh.toml
  authmesh config print authmesh.toml
  authmesh config default > authmesh.toml";

/// `authmesh config ...`
#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Report every problem of a configuration at once
    Check(FileArgs),
    /// Print the configuration in effect, and where every value came from
    Print(FileArgs),
    /// Print a commented file with every setting and its default
    #[command(after_help = EXIT_CODES)]
    Default,
}

#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct FileArgs {
    /// The configuration file [env: AUTHMESH_CONFIG] [default: none, the variables alone]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(command: &ConfigCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Check(args) => load(args, io, |loaded, io| {
            let settings = loaded
                .effective
                .iter()
                .filter(|setting| setting.value.is_some())
                .count();
            writeln!(io.stdout, "no problems: {settings} settings are in effect")
        }),
        ConfigCommand::Print(args) => load(args, io, |loaded, io| io.stdout.write_all(loaded.print().as_bytes())),
        ConfigCommand::Default => {
            io.stdout.write_all(default_file().as_bytes())?;
            Ok(Exit::Yes)
        }
    }
}

fn load(
    args: &FileArgs,
    io: &mut Io<'_>,
    show: impl FnOnce(&Loaded, &mut Io<'_>) -> std::io::Result<()>,
) -> Result<Exit, Failure> {
    let named = io.var(FILE_VARIABLE).map(PathBuf::from);
    let file = args.file.clone().or(named);
    match Config::load(file.as_deref(), io.env.iter().cloned()) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                io.note(&format!("warning: {warning}"))?;
            }
            show(&loaded, io)?;
            Ok(Exit::Yes)
        }
        Err(problems) if file.as_deref().is_some_and(is_unreadable) => Err(Failure::said(problems.to_string())),
        Err(problems) => {
            // One per line and nothing before it: editors jump to `file:line`.
            writeln!(io.stderr, "{problems}")?;
            io.note(&match problems.iter().len() {
                1 => "1 problem".to_owned(),
                several => format!("{several} problems"),
            })?;
            Ok(Exit::No)
        }
    }
}

/// Whether the problem is that there is no file to have problems.
fn is_unreadable(path: &Path) -> bool {
    !fs::metadata(path).is_ok_and(|file| file.is_file()) || fs::File::open(path).is_err()
}
