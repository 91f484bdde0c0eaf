//! The `authmesh` binary: forward auth, the admin API, development mode, and the operator's commands.
#![forbid(unsafe_code)]

mod cli;
pub mod config;
pub mod dev;
mod gossip;
mod redis;
pub mod serve;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
