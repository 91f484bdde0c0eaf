//! `authmesh warm`: a node that has what it needs before somebody waits for it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::client::{Admin, ClientArgs};
use super::io::{Exit, Failure, Io, read};
use super::text::{count, plain, row};

/// How much longer than other answers these may take: a trip to an issuer has a minute at most.
const LONGER: Duration = Duration::from_secs(70);

/// The most that is read of tokens, in bytes.
const MAX_BYTES: u64 = 256 << 20;
/// The longest line, in bytes: the longest token that any node looks at.
const MAX_LINE: usize = 1 << 20;
/// The most tokens in one request, and their bytes: the node takes twice as much.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

const AFTER_HELP: &str = "\
The node fetches the key sets of all its issuers. With --tokens it verifies the tokens as well, so that their verdicts are in its
memory, and what an issuer says of them is shared with the other nodes. Tokens are read from a file or from standard input, one on
a line, never from an argument. Those that are refused are counted, not shown.

Exit codes: 0 done, whether tokens were refused or not; 1 the keys of an issuer could not be fetched, or a token could not be judged;
2 wrong usage, or the node could not be asked.

Examples:
  authmesh warm
  authmesh warm --tokens hot-tokens.txt
  hot-tokens | authmesh warm --tokens -";

/// Have a node fetch all key sets now, and verify tokens so that their verdicts are in memory
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct WarmArgs {
    /// File with tokens, one on a line; `-`: standard input
    #[arg(long, value_name = "FILE")]
    tokens: Option<OsString>,
    /// Verify the tokens only: leave the key sets as they are
    #[arg(long, requires = "tokens")]
    no_keys: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// The answer of `POST /v1/keys/refresh`.
#[derive(Deserialize)]
struct Refreshed {
    issuers: Vec<RefreshedIssuer>,
}

#[derive(Deserialize)]
struct RefreshedIssuer {
    issuer: String,
    refreshed: bool,
    problem: Option<String>,
}

/// The answer of `POST /v1/warm`, and the sum of several.
#[derive(Deserialize, Default)]
struct Warmed {
    accepted: u64,
    refused: BTreeMap<String, u64>,
    unanswered: BTreeMap<String, u64>,
}

impl Warmed {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        for (sum, more) in [
            (&mut self.refused, other.refused),
            (&mut self.unanswered, other.unanswered),
        ] {
            for (code, number) in more {
                *sum.entry(code).or_default() += number;
            }
        }
    }
}

pub(super) fn run(args: &WarmArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.client, io)?;
    // Before anything is sent: half of a list would look like all of it.
    let tokens = args.tokens.as_ref().map(|from| lines(from, io)).transpose()?;
    let keys = args.no_keys || fetch_keys(&admin, io)?;
    let tokens = match tokens {
        Some(tokens) => verify(&admin, &tokens, io)?,
        None => true,
    };
    Ok(if keys && tokens { Exit::Yes } else { Exit::No })
}

/// Whether every issuer's keys came.
fn fetch_keys(admin: &Admin, io: &mut Io<'_>) -> Result<bool, Failure> {
    let answer = admin.post_within("v1/keys/refresh", &json!({}), LONGER)?;
    if answer.status != 200 {
        return Err(Failure::said(answer.problem(&[])));
    }
    let Refreshed { issuers } = answer.read()?;
    let fetched = issuers.iter().filter(|issuer| issuer.refreshed).count();
    writeln!(
        io.stdout,
        "keys     {fetched} of {} fetched",
        count(issuers.len() as u64, "key set", "key sets")
    )?;
    for failed in issuers.iter().filter(|issuer| !issuer.refreshed) {
        let why = failed.problem.as_deref().unwrap_or("no reason was given");
        row(
            io.stdout,
            "failed",
            &format!("{}: {}", plain(&failed.issuer), plain(why)),
        )?;
    }
    Ok(fetched == issuers.len())
}

/// Whether every token could be judged.
fn verify(admin: &Admin, tokens: &[String], io: &mut Io<'_>) -> Result<bool, Failure> {
    let mut sum = Warmed::default();
    let mut done = 0;
    for batch in batches(tokens) {
        let answer = admin.post_within("v1/warm", &json!({ "tokens": batch }), LONGER)?;
        if answer.status != 200 {
            let hide: Vec<&str> = batch.iter().map(String::as_str).collect();
            return Err(Failure::said(answer.problem(&hide)));
        }
        sum.add(answer.read()?);
        done += batch.len();
        if done < tokens.len() {
            io.note(&format!("{done} of {} tokens", tokens.len()))?;
        }
    }
    writeln!(
        io.stdout,
        "tokens   {} of {} accepted",
        sum.accepted,
        count(tokens.len() as u64, "token", "tokens")
    )?;
    for (word, counts) in [("refused", &sum.refused), ("lacking", &sum.unanswered)] {
        for (code, number) in counts {
            row(io.stdout, word, &format!("{number} {}", plain(code)))?;
        }
    }
    Ok(sum.unanswered.is_empty())
}

/// Parts that fit into one request.
fn batches(tokens: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = tokens;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(BATCH).take_while(|token| {
            let first = bytes == 0;
            bytes += token.len();
            first || bytes <= BATCH_BYTES
        });
        let (batch, after) = rest.split_at(fitting.count());
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

/// The tokens, one on a line. No error repeats any of what was given: a file's name may be a token that was put in its place.
fn lines(from: &OsString, io: &mut Io<'_>) -> Result<Vec<String>, Failure> {
    let bytes = if from == "-" {
        read(&mut *io.stdin, MAX_BYTES + 1)
    } else {
        File::open(from).and_then(|file| read(file, MAX_BYTES + 1))
    };
    let bytes = bytes.map_err(|error| {
        Failure::said(format!(
            "--tokens: what it names cannot be read: {}. Name a file with one token on a line, or `-`; a token itself is never an \
             argument",
            plain(&error.to_string())
        ))
    })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::said(format!(
            "--tokens: there are more than {} MiB: give them in several commands",
            MAX_BYTES >> 20
        )));
    }
    let mut tokens = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let fits = line.len() <= MAX_LINE && line.iter().all(u8::is_ascii_graphic);
        match std::str::from_utf8(line) {
            Ok(token) if fits => tokens.push(token.to_owned()),
            _ => {
                return Err(Failure::said(format!(
                    "--tokens: line {} holds something that no token can be: write one token on a line, and nothing else",
                    at + 1
                )));
            }
        }
    }
    Ok(tokens)
}
