//! `authmesh marks`: what is revoked, by whom and why.

use std::io::{self, Write};

use authmesh::proto::crypto::ScopeKind;
use authmesh::proto::time::Unix;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::args::only_stdin;
use super::client::{Admin, Answer, ClientArgs};
use super::io::{Exit, Failure, Io};
use super::target::{TargetArgs, token_from};
use super::text::{Table, clock, row};

/// The most marks that one command lists.
const MAX_LISTED: u64 = 100_000;
/// The most on one page of the admin API.
const PAGE: u64 = 1000;
/// How much of a keyed name a table shows: enough to tell two apart.
const SHOWN_OF_NAME: usize = 12;

const LIST_HELP: &str = "\
Marks keep keyed names and no clear values: nobody reads a subject from them. Ask about one with `authmesh marks explain`.

Exit codes: 0 listed; 2 wrong usage, or the node could not be asked.

Examples:
  authmesh marks list
  authmesh marks list --kind issuer
  authmesh marks list --limit 100000 --json | jq '.marks[] | select(.by == \"jo\")'";

const EXPLAIN_HELP: &str = "\
Exit codes: 0 marks stand against it; 1 none does, or the question was refused; 2 wrong usage, or the node could not be asked.

Examples:
  authmesh marks explain --subject alice
  authmesh marks explain --client old-app --issuer https://login.example.com --json
  authmesh marks explain --token - < token.txt";

/// `authmesh marks ...`
#[derive(Subcommand)]
pub(super) enum MarksCommand {
    List(ListArgs),
    Explain(ExplainArgs),
}

/// List the revocations that a node holds
#[derive(Args)]
#[command(after_help = LIST_HELP)]
pub(super) struct ListArgs {
    /// Only of this kind [default: all but tag, which is about the cache]
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(ScopeKind::ALL.map(ScopeKind::as_str)))]
    kind: Option<String>,
    /// At most so many, 1 to 100000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=MAX_LISTED))]
    limit: u64,
    /// Print one JSON object: marks, and whether more follow
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Show what stands against a subject, session, token, client, key or issuer
#[derive(Args)]
#[command(after_help = EXPLAIN_HELP)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Issuer that it belongs to [default: the only issuer of the node]
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new(), conflicts_with = "token")]
    issuer: Option<String>,
    /// Print one JSON object: marks
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// A page of marks, and all of them.
#[derive(Deserialize)]
struct Marks {
    marks: Vec<Mark>,
    next: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Mark {
    kind: String,
    scope: String,
    except: Option<String>,
    not_before: Option<Unix>,
    expires: Unix,
    at: Unix,
    #[serde(default)]
    by: String,
    #[serde(default)]
    why: String,
}

pub(super) fn run(command: &MarksCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        MarksCommand::List(args) => list(args, io),
        MarksCommand::Explain(args) => explain(args, io),
    }
}

fn list(args: &ListArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.client, io)?;
    let kind = args
        .kind
        .as_ref()
        .map_or_else(String::new, |kind| format!("&kind={kind}"));
    let (mut marks, mut next) = (Vec::new(), None::<String>);
    loop {
        let lacking = args.limit - marks.len() as u64;
        let after = next.as_ref().map_or_else(String::new, |next| format!("&after={next}"));
        let answer = admin.get(&format!("v1/marks?limit={}{kind}{after}", lacking.min(PAGE)))?;
        if answer.status != 200 {
            return Err(Failure::said(answer.problem(&[])));
        }
        let page: Marks = answer.read()?;
        // A node that goes round in circles would keep this command for ever.
        let onward = page.next.is_none() || next.is_none() || page.next > next;
        let named = page
            .next
            .as_ref()
            .is_none_or(|next| next.parse::<authmesh::MarkId>().is_ok());
        if !onward || !named || page.marks.len() as u64 > lacking {
            return Err(Failure::said(
                "the node's pages do not follow on each other: check that this is the admin API of a node, and that node \
                 and command have the same version",
            ));
        }
        marks.extend(page.marks);
        next = page.next;
        if next.is_none() || marks.len() as u64 == args.limit {
            break;
        }
    }
    if args.json {
        writeln!(io.stdout, "{}", json!({ "marks": marks, "more": next.is_some() }))?;
        return Ok(Exit::Yes);
    }
    if marks.is_empty() {
        writeln!(io.stdout, "nothing is revoked")?;
        return Ok(Exit::Yes);
    }
    table(io.stdout, &marks, io.now)?;
    if next.is_some() {
        io.note("more follow: raise --limit")?;
    }
    Ok(Exit::Yes)
}

fn explain(args: &ExplainArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    if let Some(given) = &args.target.token {
        only_stdin(given)?;
    }
    let targets = args.target.all()?;
    let admin = Admin::new(&args.client, io)?;
    let mut secret = String::new();
    let mut body = match &*targets {
        [one] => one.body(),
        [] => match token_from(io)? {
            Ok(token) => {
                secret.clone_from(&token);
                [("token".to_owned(), Value::from(token))].into_iter().collect()
            }
            Err(reason) => return refused(io, reason),
        },
        _ => return Err(Failure::said("marks explain answers about one value at a time")),
    };
    if let Some(issuer) = &args.issuer {
        body.insert("issuer".into(), issuer.as_str().into());
    }
    let answer: Answer = admin.post("v1/marks/explain", &Value::Object(body))?;
    let marks = match answer.status {
        200 => answer.read::<Marks>()?.marks,
        _ if answer.is_refusal() => return refused(io, &answer.problem(&[&secret])),
        _ => return Err(Failure::said(answer.problem(&[&secret]))),
    };
    if args.json {
        writeln!(io.stdout, "{}", json!({ "marks": marks }))?;
    } else if marks.is_empty() {
        writeln!(io.stdout, "nothing stands against it")?;
    } else {
        table(io.stdout, &marks, io.now)?;
    }
    Ok(if marks.is_empty() { Exit::No } else { Exit::Yes })
}

fn refused(io: &mut Io<'_>, reason: &str) -> Result<Exit, Failure> {
    writeln!(io.stdout, "refused")?;
    row(io.stdout, "reason", reason)?;
    Ok(Exit::No)
}

fn table(out: &mut dyn Write, marks: &[Mark], now: Unix) -> io::Result<()> {
    let mut table = Table::new([
        "kind",
        "name",
        "spares",
        "issued up to",
        "kept until",
        "made",
        "by",
        "why",
    ]);
    let name = |name: &str| name.chars().take(SHOWN_OF_NAME).collect::<String>();
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    for mark in marks {
        table.row([
            mark.kind.clone(),
            name(&mark.scope),
            or_dash(&mark.except.as_deref().map(name).unwrap_or_default()),
            mark.not_before
                .map_or_else(|| "any time".to_owned(), |at| clock(at, now)),
            clock(mark.expires, now),
            clock(mark.at, now),
            or_dash(&mark.by),
            or_dash(&mark.why),
        ]);
    }
    table.print(out)
}
