//! The commands as a whole: from the command line to the exit code, with streams and an environment of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod config;
mod doctor;
mod explain;
mod forge;
mod keyring;
mod marks;
mod members;
mod observe;
mod revoke;
mod status;
mod stub;
mod usage;
mod verify;
mod warm;

use std::ffi::OsString;
use std::io::{self, Read};

use super::io::{Exit, Io};
use super::{Command, run};

/// The time of every test: 2026-11-21 12:30:40 UTC.
const NOW: u64 = 1_795_264_240;

const CREDENTIAL: &str = "test-admin-credential";

/// One run of a command.
#[derive(Default)]
struct Cmd {
    args: Vec<String>,
    stdin: Vec<u8>,
    interactive: bool,
    env: Vec<(String, String)>,
}

/// What it did.
#[derive(Debug)]
struct Ran {
    exit: Exit,
    stdout: String,
    stderr: String,
}

fn authmesh(args: &[&str]) -> Cmd {
    Cmd {
        args: args.iter().map(ToString::to_string).collect(),
        ..Cmd::default()
    }
}

impl Cmd {
    fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    fn typed(self, text: &str) -> Self {
        Self {
            interactive: true,
            ..self.stdin(text)
        }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Points a client command at a stub, with the credential.
    fn at(self, url: &str) -> Self {
        self.env("AUTHMESH_ADMIN_URL", url)
            .env("AUTHMESH_ADMIN_TOKEN", CREDENTIAL)
    }

    fn run(&self) -> Ran {
        self.run_with_stdin(&mut self.stdin.as_slice())
    }

    fn run_with_stdin(&self, stdin: &mut dyn Read) -> Ran {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let line = std::iter::once("authmesh")
            .chain(self.args.iter().map(String::as_str))
            .map(OsString::from);
        let exit = match super::usage::parse(line) {
            Ok(Command::Tool(tool)) => run(
                tool,
                &mut Io {
                    stdin,
                    stdout: &mut stdout,
                    stderr: &mut stderr,
                    interactive: self.interactive,
                    env: self.env.clone(),
                    now: NOW,
                },
            ),
            Ok(Command::Serve(_)) => panic!("serve does not end by itself"),
            Err(answer) => {
                let out = if answer.exit == Exit::Yes {
                    &mut stdout
                } else {
                    &mut stderr
                };
                out.extend_from_slice(answer.text.as_bytes());
                answer.exit
            }
        };
        Ran {
            exit,
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Checks the exit code, and that standard output has these lines.
    #[track_caller]
    fn says(&self, exit: Exit, stdout: &str) -> &Self {
        assert_eq!((self.exit, self.stdout.as_str()), (exit, stdout), "{self:#?}");
        self
    }

    /// Checks that it could not tell, and said nothing but this on standard error.
    #[track_caller]
    fn fails(&self, stderr: &str) -> &Self {
        assert_eq!((self.exit, self.stdout.as_str()), (Exit::Unknown, ""), "{self:#?}");
        assert!(self.stderr.contains(stderr), "{self:#?}");
        self
    }

    /// Checks that neither stream repeats this.
    #[track_caller]
    fn hides(&self, secret: &str) -> &Self {
        assert!(
            !self.stdout.contains(secret) && !self.stderr.contains(secret),
            "{self:#?}"
        );
        self
    }
}

/// A stream that fails.
struct Broken(io::ErrorKind);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
}

impl io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
