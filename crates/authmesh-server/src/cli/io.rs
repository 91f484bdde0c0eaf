//! What a command reads and writes, and how it ends.

use std::io::{self, IsTerminal as _, Read, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use authmesh::VerifyError;
use authmesh::proto::time::Unix;

use super::text::plain;
use crate::config::process_environment;

/// The most that is read from standard input, in bytes.
pub(super) const MAX_INPUT_BYTES: u64 = 1024 * 1024;

/// The longest answer to a question, in bytes.
const MAX_ANSWER_BYTES: u64 = 64;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Yes: accepted, committed, fine. 0.
    Yes,
    /// No: refused, problems, not well. 1.
    No,
    /// Could not tell, or wrong usage. 2.
    Unknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Yes => Self::SUCCESS,
            Exit::No => Self::from(1),
            Exit::Unknown => Self::from(2),
        }
    }
}

/// Why a command ended without an answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// What was wrong, where, and what to do. Fit for a terminal.
    Said(String),
    /// The output could not be written: its reader went away, or a disk is full.
    Output(io::Error),
}

impl Failure {
    pub(super) fn said(what: impl Into<String>) -> Self {
        Self::Said(what.into())
    }
}

/// Only writing turns into a failure by `?`; every read is matched where it happens.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// What a command gets to see of its process. No `Debug`: the environment holds the credential.
pub(super) struct Io<'a> {
    pub(super) stdin: &'a mut dyn Read,
    pub(super) stdout: &'a mut dyn Write,
    pub(super) stderr: &'a mut dyn Write,
    /// Whether a person types into standard input.
    pub(super) interactive: bool,
    /// Variables, as [`process_environment`] gives them.
    pub(super) env: Vec<(String, String)>,
    /// The time at which the command began, in seconds since the Unix epoch.
    pub(super) now: Unix,
}

impl Io<'_> {
    /// Runs `f` with the streams of this process.
    pub(super) fn with_process<T>(f: impl FnOnce(&mut Io<'_>) -> T) -> T {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        f(&mut Io {
            stdin: &mut io::stdin().lock(),
            stdout: &mut io::stdout().lock(),
            stderr: &mut io::stderr().lock(),
            interactive: io::stdin().is_terminal(),
            env: process_environment().collect(),
            now: now.map_or(0, |since| since.as_secs()),
        })
    }

    /// A variable; one that is empty counts as not set.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        let found = self.env.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Says something to the person that is no part of the answer.
    pub(super) fn note(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.stderr, "authmesh: {what}")
    }

    /// Ends a command: what is wrong goes to standard error.
    pub(super) fn finish(&mut self, ended: Result<Exit, Failure>) -> Exit {
        let ended = ended.and_then(|exit| {
            self.stdout.flush()?;
            Ok(exit)
        });
        // Where standard error is gone too, the exit code is all that can be said.
        let said = match ended {
            Ok(exit) => return exit,
            Err(Failure::Said(what)) => self.note(&what),
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(Failure::Output(error)) => self.note(&format!(
                "the output could not be written: {}",
                plain(&error.to_string())
            )),
        };
        drop(said);
        Exit::Unknown
    }

    /// Reads one token: all of standard input, without the white space around it.
    pub(super) fn read_token(&mut self) -> Result<Result<Token, Refusal>, Failure> {
        if self.interactive {
            // The line discipline of a terminal drops what goes beyond 4,095 bytes, and the token would look malformed.
            self.note(
                "type or paste the token, then press Enter and Ctrl-D. Use a file for more than 4,000 characters.",
            )?;
        }
        let bytes = match read(&mut *self.stdin, MAX_INPUT_BYTES + 1) {
            Ok(bytes) => bytes,
            Err(error) => {
                return Err(Failure::said(format!(
                    "standard input cannot be read: {}",
                    plain(&error.to_string())
                )));
            }
        };
        if bytes.len() as u64 > MAX_INPUT_BYTES {
            return Ok(Err(Refusal {
                code: "too_large",
                reason: format!("standard input holds more than {MAX_INPUT_BYTES} bytes; no token is that long"),
            }));
        }
        Ok(Ok(Token(bytes.trim_ascii().to_vec())))
    }

    /// Asks a question that only `yes` answers with yes.
    pub(super) fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        write!(self.stderr, "{question} Type yes to go on: ")?;
        self.stderr.flush()?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while answer.len() as u64 <= MAX_ANSWER_BYTES {
            match self.stdin.read(&mut byte) {
                Ok(0) => break,
                Ok(_) if byte == *b"\n" => break,
                Ok(_) => answer.extend_from_slice(&byte),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(false),
            }
        }
        Ok(answer.trim_ascii() == b"yes")
    }
}

/// Reads to the end, but at most `limit` bytes.
pub(super) fn read(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A token as it came in. No `Debug`, no `Display`.
pub(super) struct Token(Vec<u8>);

impl Token {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The token as text: `None` for one that is not ASCII, and so is no token.
    pub(super) fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok().filter(|text| text.is_ascii())
    }
}

/// Why a token is refused: a stable word and a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) reason: String,
}

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        Self {
            code: error.code(),
            reason: error.to_string(),
        }
    }
}
