//! The commands of the `authmesh` binary.
//!
//! | command | exit code 0 | 1 | 2 |
//! | --- | --- | --- | --- |
//! | `serve` | ended in good order | - | did not start, or failed; 3: forgotten by the others |
//! | `token verify`, `token explain` | accepted | refused | could not tell |
//! | `revoke` | committed | refused | unconfirmed, or the node could not be asked |
//! | `marks list` | listed | - | the node could not be asked |
//! | `marks explain` | marks stand against it | none does, or refused | the node could not be asked |
//! | `members list` | listed | - | the node could not be asked |
//! | `members forget` | forgotten | refused | the node could not be asked |
//! | `status` | all is well | the node is degraded or blind | the node could not be asked |
//! | `observe` | nothing contradicts anything | an inconsistency was found, or the node is blind | the node could not be asked |
//! | `config` | fine | problems | no such file |
//! | `doctor` | nothing failed | something did | something could not be checked |
//! | `warm` | done | keys could not be fetched, or a token not be judged | the node could not be asked |
//! | `presets` | listed | no such preset | - |
//! | `keyring` | done; every key in Redis is in the file | one is not | not done, or Redis could not be asked |
//!
//! Wrong usage is 2 everywhere. Rules of the whole module:
//! - A token and a credential never come from an argument: the process list shows arguments to everybody.
//! - No output repeats a token, a credential, or an argument that might be one.
//! - Text that came from outside is made fit for a terminal before it is printed ([`text::plain`]).
//! - Every command takes its streams, its environment and the time from [`Io`], so that tests run it in their process.

mod args;
mod client;
mod config;
mod doctor;
mod io;
mod jwks;
mod keyring;
mod marks;
mod members;
mod observe;
mod presets;
mod revoke;
mod rules;
mod status;
mod target;
mod text;
mod token;
mod usage;
mod warm;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{ColorChoice, Parser, Subcommand};

use self::io::{Exit, Io};
use crate::serve::{self, ServeArgs};

const EXAMPLES: &str = "\
Examples:
  authmesh serve --dev --nodes 3
  authmesh token verify --jwks keys.json --audience orders-api - < token.txt
  authmesh token explain < token.txt
  authmesh revoke --subject alice --why \"password changed\"
  authmesh status

A token is read from standard input and a credential from AUTHMESH_ADMIN_TOKEN or a file, never from an argument.";

/// A cluster-aware auth cache: verify once, trust everywhere, revoke everywhere.
#[derive(Parser)]
#[command(name = "authmesh", version, color = ColorChoice::Never, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[allow(clippy::large_enum_variant, reason = "made once in the life of the process")]
#[derive(Subcommand)]
enum Command {
    /// Run a node: forward auth, and the admin API.
    Serve(ServeArgs),
    #[command(flatten)]
    Tool(Tool),
}

/// The commands that end by themselves.
#[derive(Subcommand)]
enum Tool {
    /// Check a token, or ask what becomes of it and why.
    #[command(subcommand)]
    Token(token::TokenCommand),
    Revoke(revoke::RevokeArgs),
    /// List what is revoked, or ask what stands against somebody.
    #[command(subcommand)]
    Marks(marks::MarksCommand),
    /// List the members of the cluster, or forget one that died.
    #[command(subcommand)]
    Members(members::MembersCommand),
    Status(status::StatusArgs),
    Observe(observe::ObserveArgs),
    /// Check, print or write a configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Doctor(doctor::DoctorArgs),
    Warm(warm::WarmArgs),
    Presets(presets::PresetsArgs),
    /// Make and change the key ring file that the nodes of a cluster share.
    #[command(subcommand)]
    Keyring(keyring::KeyringCommand),
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let command = match usage::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(answer) => return answer.print().into(),
    };
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Tool(tool) => Io::with_process(|io| run(tool, io)).into(),
    }
}

/// Runs one command to its end.
fn run(tool: Tool, io: &mut Io<'_>) -> Exit {
    let ended = match tool {
        Tool::Token(command) => token::run(&command, io),
        Tool::Revoke(args) => revoke::run(&args, io),
        Tool::Marks(command) => marks::run(&command, io),
        Tool::Members(command) => members::run(&command, io),
        Tool::Status(args) => status::run(&args, io),
        Tool::Observe(args) => observe::run(&args, io),
        Tool::Config(command) => config::run(&command, io),
        Tool::Doctor(args) => doctor::run(&args, io),
        Tool::Warm(args) => warm::run(&args, io),
        Tool::Presets(args) => presets::run(&args, io),
        Tool::Keyring(command) => keyring::run(&command, io),
    };
    io.finish(ended)
}
