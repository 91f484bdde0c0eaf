//! `authmesh observe`: does what a node would serve agree with its marks, with L2 and with its members?

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::{Admin, ClientArgs};
use super::io::{Exit, Failure, Io};
use super::text::{count, plain, row, span};

/// How much longer than other answers this one may take: a difference has to stand before it counts.
const LONGER: Duration = Duration::from_secs(30);

const AFTER_HELP: &str = "\
The node takes a random sample of its memory and compares it with its marks, with L2 and with a few members, and its marks with
Redis and with those of the members. What differs has to stand for the coherence lease and some repair before it counts, so the
command takes some 5 to 10 s where anything is on its way. It changes nothing, and prints keyed names only.

Exit codes: 0 everything that was compared agrees; 1 an inconsistency was found, or the node is blind; 2 wrong usage, or the node
could not be asked.

Examples:
  authmesh observe
  authmesh observe --sample 1000 --peers 16 --channels 64
  authmesh observe --json | jq .found";

/// Look for contradictions between a node's memory, its marks, L2, Redis and its members
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ObserveArgs {
    /// Take so many verdicts and so many cache entries, at most 1000 [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    sample: Option<u16>,
    /// Ask so many members, at most 16 [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=16))]
    peers: Option<u16>,
    /// Compare the marks of so many of the 64 channels with Redis [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=64))]
    channels: Option<u16>,
    /// Print the node's report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// The answer of `POST /v1/observations`. What a node of another version lacks counts as nothing.
#[derive(Deserialize)]
struct Report {
    node: String,
    coherent: bool,
    #[serde(default)]
    took_ms: u64,
    checked: Checked,
    #[serde(default)]
    in_flight: u64,
    #[serde(default)]
    could_not_ask: u64,
    inconsistent: u64,
    #[serde(default)]
    found: Vec<Findings>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Checked {
    verdicts: u64,
    entries: u64,
    in_l2: u64,
    channels: u64,
    peers: u64,
    at_peers: u64,
}

#[derive(Deserialize)]
struct Findings {
    kind: String,
    count: u64,
    #[serde(default)]
    oldest_seconds: u64,
    first: Explained,
}

#[derive(Deserialize)]
struct Explained {
    what: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    channel: u64,
    peer: Option<String>,
}

pub(super) fn run(args: &ObserveArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.client, io)?;
    let given = [
        ("sample", args.sample),
        ("peers", args.peers),
        ("channels", args.channels),
    ];
    let order: Map<String, Value> = given
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
        .collect();
    let answer = admin.post_within("v1/observations", &Value::Object(order), LONGER)?;
    if answer.status != 200 {
        return Err(Failure::said(answer.problem(&[])));
    }
    let report: Report = answer.read()?;
    if args.json {
        writeln!(io.stdout, "{}", answer.read::<Value>()?)?;
    } else {
        print(io.stdout, &report)?;
    }
    Ok(if report.inconsistent == 0 && report.coherent {
        Exit::Yes
    } else {
        Exit::No
    })
}

fn print(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let checked = &report.checked;
    let verdict = match (report.inconsistent, report.coherent) {
        (0, true) => "consistent".to_owned(),
        (0, false) => "blind: only its memory and its marks were compared".to_owned(),
        (found, _) => count(found, "inconsistency", "inconsistencies"),
    };
    writeln!(out, "{}   {verdict}", plain(&report.node))?;
    row(
        out,
        "memory",
        &format!(
            "{} against the marks, {} of the cache ({} of them in L2)",
            count(checked.verdicts, "verdict", "verdicts"),
            count(checked.entries, "entry", "entries"),
            checked.in_l2
        ),
    )?;
    row(
        out,
        "redis",
        &format!("{} of 64", count(checked.channels, "channel", "channels")),
    )?;
    row(
        out,
        "members",
        &format!(
            "{}, {}",
            count(checked.peers, "member", "members"),
            count(checked.at_peers, "value", "values")
        ),
    )?;
    row(
        out,
        "flight",
        &count(
            report.in_flight,
            "difference that went away",
            "differences that went away",
        ),
    )?;
    if report.could_not_ask > 0 {
        row(
            out,
            "lacking",
            &count(report.could_not_ask, "answer did not come", "answers did not come"),
        )?;
    }
    row(
        out,
        "took",
        &format!("{}.{} s", report.took_ms / 1000, report.took_ms % 1000 / 100),
    )?;
    for found in &report.found {
        let first = &found.first;
        writeln!(out)?;
        writeln!(
            out,
            "{}   {}, the oldest for {}",
            plain(&found.kind),
            count(found.count, "time", "times"),
            span(found.oldest_seconds)
        )?;
        row(out, "first", &first.what)?;
        row(
            out,
            "name",
            &format!("{} (keyed), channel {}", first.name, first.channel),
        )?;
        if let Some(peer) = &first.peer {
            row(out, "member", peer)?;
        }
    }
    Ok(())
}
