//! `authmesh members`: who belongs to the cluster, and forgetting one that died.

use std::io::{self, Write};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Admin, ClientArgs};
use super::io::{Exit, Failure, Io};
use super::text::{Table, or_dash, plain, row, span, yes_or_no};

/// How much of an incarnation a table shows: enough to tell two starts apart.
const SHOWN_OF_INCARNATION: usize = 12;
/// The digits of an incarnation.
const INCARNATION: usize = 32;

const LIST_HELP: &str = "\
A member is live where its registration moves or gossip finds it. The node asked holds a lease by gossip only with evidence of
every member in its view; it waits for those that have not taken it in yet.

Exit codes: 0 listed; 2 wrong usage, or the node could not be asked.

Examples:
  authmesh members list
  authmesh members list --json | jq '.members[] | select(.live | not)'";

const FORGET_HELP: &str = "\
While Redis is away, nodes are coherent only with evidence of every member of their view, so one that died without a good-bye
blinds them all. Forgetting it ends that. It is for good: should the process still run, it turns blind and has to be started
anew (`authmesh serve` ends by itself then, with exit code 3). A member that is stopped in good order says good-bye, and needs
no command.

Exit codes: 0 forgotten; 1 refused, or you did not confirm; 2 wrong usage, or the node could not be asked.

Examples:
  authmesh members forget orders-5d
  authmesh members forget 92b9f0c1fd054b10d259c6cecbabb12e --yes";

/// `authmesh members ...`
#[derive(Subcommand)]
pub(super) enum MembersCommand {
    List(ListArgs),
    Forget(ForgetArgs),
}

/// List the members of the cluster, as one node sees them
#[derive(Args)]
#[command(after_help = LIST_HELP)]
pub(super) struct ListArgs {
    /// Print one JSON object: members, with everything that the node knows of each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Forget a member that died without a good-bye, on every node and for good
#[derive(Args)]
#[command(after_help = FORGET_HELP)]
pub(super) struct ForgetArgs {
    /// Its name, or its incarnation where several starts have the same name
    #[arg(value_name = "MEMBER", value_parser = NonEmptyStringValueParser::new())]
    member: String,
    /// Forget it although it is live
    #[arg(long)]
    force: bool,
    /// Do not ask; needed where standard input is no terminal
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// The answer of `GET /v1/members`.
#[derive(Deserialize)]
pub(super) struct Members {
    pub(super) members: Vec<Member>,
}

/// A member. What a node of another version lacks counts as nothing.
#[derive(Deserialize)]
pub(super) struct Member {
    pub(super) node: String,
    #[serde(default)]
    pub(super) incarnation: String,
    pub(super) address: Option<String>,
    pub(super) version: Option<String>,
    pub(super) age_seconds: Option<u64>,
    #[serde(default)]
    pub(super) live: bool,
    #[serde(default)]
    pub(super) this: bool,
    #[serde(default = "yes")]
    pub(super) registered: bool,
    #[serde(default)]
    pub(super) gossip: String,
    pub(super) found: Option<bool>,
    #[serde(default)]
    pub(super) in_view: bool,
    pub(super) evidence_age_ms: Option<u64>,
    #[serde(default)]
    pub(super) waited_for: bool,
}

/// Versions without gossip list the registered ones, and do not say so.
const fn yes() -> bool {
    true
}

impl Member {
    /// When it was seen last, by its registration.
    pub(super) fn seen(&self) -> String {
        match self.age_seconds {
            _ if self.this => "this node".to_owned(),
            Some(age) if self.registered => format!("{} ago", span(age)),
            _ => "-".to_owned(),
        }
    }

    fn words(&self) -> String {
        format!("{} ({})", plain(&self.node), plain(&self.incarnation))
    }
}

pub(super) fn run(command: &MembersCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        MembersCommand::List(args) => list(args, io),
        MembersCommand::Forget(args) => forget(args, io),
    }
}

fn list(args: &ListArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.client, io)?;
    let answer = admin.get("v1/members")?;
    if answer.status != 200 {
        return Err(Failure::said(answer.problem(&[])));
    }
    if args.json {
        let members = answer.read::<Value>()?.get("members").cloned();
        writeln!(io.stdout, "{}", json!({ "members": members }))?;
    } else {
        table(io.stdout, &answer.read::<Members>()?.members)?;
    }
    Ok(Exit::Yes)
}

fn table(out: &mut dyn Write, members: &[Member]) -> io::Result<()> {
    let mut table = Table::new([
        "node",
        "incarnation",
        "live",
        "seen",
        "found",
        "in view",
        "evidence",
        "version",
        "address",
        "gossip",
    ]);
    for member in members {
        let evidence = match member.evidence_age_ms {
            _ if member.this => "-".to_owned(),
            _ if member.waited_for => "waited for".to_owned(),
            Some(age) => format!("{age} ms old"),
            None if member.in_view => "none".to_owned(),
            None => "-".to_owned(),
        };
        table.row([
            member.node.clone(),
            member.incarnation.chars().take(SHOWN_OF_INCARNATION).collect(),
            yes_or_no(member.live),
            member.seen(),
            member.found.map_or_else(|| "-".to_owned(), yes_or_no),
            yes_or_no(member.in_view),
            evidence,
            or_dash(member.version.as_ref()),
            or_dash(member.address.as_ref()),
            or_dash(Some(&member.gossip)),
        ]);
    }
    table.print(out)
}

fn forget(args: &ForgetArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.client, io)?;
    let answer = admin.get("v1/members")?;
    if answer.status != 200 {
        return Err(Failure::said(answer.problem(&[])));
    }
    let Members { members } = answer.read()?;
    let member = match named(&members, &args.member) {
        Ok(member) => member,
        Err(reason) => return refused(io, &reason),
    };
    // It becomes a part of the path.
    if member.incarnation.len() != INCARNATION || !member.incarnation.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::said(
            "the node names a member by something that is no incarnation: check that this is the admin API of a node, and \
             that node and command have the same version",
        ));
    }
    if member.this {
        let reason = format!(
            "{} is the node that was asked: stop it instead, and it says good-bye",
            member.words()
        );
        return refused(io, &reason);
    }
    if member.live && !args.force {
        let reason = format!(
            "{} is live: stop it instead, and it says good-bye. Once forgotten it would be blind until it is started anew. \
             --force forgets it all the same",
            member.words()
        );
        return refused(io, &reason);
    }
    let question = format!(
        "This forgets {}, {}, on every node and for good: nobody waits for it any more. Should it still run, it turns blind \
         and has to be started anew.",
        member.words(),
        if member.live {
            "which is live"
        } else {
            "which is not seen any more"
        },
    );
    if !args.yes {
        if !io.interactive {
            return Err(Failure::said(format!(
                "{question} Nothing was forgotten: add --yes, since standard input is no terminal to ask at"
            )));
        }
        if !io.confirm(&question)? {
            io.note("nothing was forgotten")?;
            return Ok(Exit::No);
        }
    }
    let force = if args.force { "?force=true" } else { "" };
    let answer = admin.delete(&format!("v1/members/{}{force}", member.incarnation))?;
    match answer.status {
        200 => {
            writeln!(io.stdout, "forgotten: {}", member.words())?;
            Ok(Exit::Yes)
        }
        404 | 409 => refused(io, &answer.problem(&[])),
        _ => Err(Failure::said(answer.problem(&[]))),
    }
}

/// The one member that goes by this name or incarnation.
fn named<'a>(members: &'a [Member], name: &str) -> Result<&'a Member, String> {
    let by_incarnation = members
        .iter()
        .find(|member| member.incarnation.eq_ignore_ascii_case(name));
    if let Some(member) = by_incarnation {
        return Ok(member);
    }
    let same: Vec<&Member> = members.iter().filter(|member| member.node == name).collect();
    match same[..] {
        [member] => Ok(member),
        [] => Err("no member has this name or incarnation: see `authmesh members list`".to_owned()),
        _ => {
            let words: Vec<String> = same
                .iter()
                .map(|member| {
                    let state = if member.live { "live" } else { "not live" };
                    format!("{} ({state})", plain(&member.incarnation))
                })
                .collect();
            Err(format!(
                "{} starts have this name: write the incarnation of the one that is meant: {}",
                same.len(),
                words.join(", ")
            ))
        }
    }
}

fn refused(io: &mut Io<'_>, reason: &str) -> Result<Exit, Failure> {
    writeln!(io.stdout, "refused: nothing was forgotten")?;
    row(io.stdout, "reason", reason)?;
    Ok(Exit::No)
}
