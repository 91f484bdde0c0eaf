//! The command line itself: parsing, and answers that repeat no secret.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Parser as _;
use clap::error::ErrorKind;

use super::io::Exit;
use super::text::{HIDDEN, looks_like_token};
use super::{Cli, Command};

/// Longer arguments are hidden: names of options and commands, where a typing error is worth showing, are shorter.
const MAX_SHOWN_BYTES: usize = 48;

/// The answer to a command line that starts no command: help, the version, or what is wrong with it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) exit: Exit,
}

impl Answer {
    /// Prints it: help to standard output, an error to standard error.
    pub(super) fn print(&self) -> Exit {
        let printed = match self.exit {
            Exit::Yes => io::stdout().write_all(self.text.as_bytes()),
            _ => io::stderr().write_all(self.text.as_bytes()),
        };
        // A reader that went away has seen what it wanted.
        drop(printed);
        self.exit
    }
}

/// Parses the command line, the name of the program included.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Answer> {
    let args: Vec<OsString> = args.into_iter().collect();
    let error = match Cli::try_parse_from(&args) {
        Ok(cli) => return Ok(cli.command),
        Err(error) => error,
    };
    let text = error.render().to_string();
    Err(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Answer { text, exit: Exit::Yes },
        _ => Answer {
            text: hide(text, &args),
            exit: Exit::Unknown,
        },
    })
}

/// Takes out of `text` every argument that might be a token or a credential. The parser repeats what it does not
/// understand, and standard error ends up in logs.
fn hide(mut text: String, args: &[OsString]) -> String {
    for arg in args.iter().skip(1) {
        let arg = arg.to_string_lossy();
        let value = arg.split_once('=').map(|(_, value)| value);
        for part in [Some(&*arg), value].into_iter().flatten() {
            if part.len() > MAX_SHOWN_BYTES || looks_like_token(part) {
                text = text.replace(part, HIDDEN);
            }
        }
    }
    text
}
