//! authmesh.
pub mod config;
pub mod dev;
pub mod serve;
use clap::Parser;
#[derive(Parser)]
enum Cli { Serve(serve::ServeArgs) }
fn main() -> std::process::ExitCode { let Cli::Serve(a) = Cli::parse(); serve::run(&a) }
