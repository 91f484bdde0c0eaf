//! `authmesh revoke`: voids tokens on every node.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use authmesh::proto::time::Unix;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::args::{deadline, only_stdin};
use super::client::{Admin, Answer, ClientArgs};
use super::io::{Exit, Failure, Io, MAX_INPUT_BYTES, read};
use super::target::{Target, TargetArgs, token_from};
use super::text::{clock, count, plain, row};

const AFTER_HELP: &str = "\
Exit codes: 0 committed, and with --confirm all-live confirmed by every live member; 1 refused, or you did not confirm;
2 unconfirmed, wrong usage, or the node could not be asked. After 2 it is safe to run the same command again.

Revoking a client, a signing key or a whole issuer says how far it reaches and asks before it does so; --yes skips the
question. Several values are revoked all or none. The credential is read from AUTHMESH_ADMIN_TOKEN or --token-file.

Examples:
  authmesh revoke --subject alice --why \"password changed\"
  authmesh revoke --subject alice --except-session 08a5019c --why \"signed out elsewhere\"
  authmesh revoke --subject alice --subject bob --why \"left the company\"
  authmesh revoke --subject mallory --confirm all-live --deadline 10s
  authmesh revoke --token - --why \"found in a log\" < token.txt
  authmesh revoke --whole-issuer --issuer https://login.example.com --why \"key stolen\"";

/// How long a node waits that is not told.
const DEADLINE: Duration = Duration::from_secs(2);

/// Revoke tokens on every node of the cluster
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Issuer that the tokens are from [default: the only issuer of the node]
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new(), conflicts_with = "token")]
    issuer: Option<String>,
    /// Reason, for those who look later; at most 256 bytes. It is not secret
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    why: Option<String>,
    /// Spare the tokens of this session (`sid`)
    #[arg(long, value_name = "SID", value_parser = NonEmptyStringValueParser::new(),
          conflicts_with_all = ["session", "jti", "token"])]
    except_session: Option<String>,
    /// Spare the one token that this file holds, where tokens carry no `sid`; it must be valid
    #[arg(long, value_name = "FILE", conflicts_with_all = ["except_session", "jti", "token"])]
    except_token_file: Option<PathBuf>,
    /// What to wait for: that no coherent node can go on without it, or that every live member has confirmed it as well
    #[arg(long, value_name = "WHAT", value_parser = ["committed", "all-live"], default_value = "committed")]
    confirm: String,
    /// How long to wait for it, at most 60s. Later it goes on by itself
    #[arg(long, value_name = "TIME", value_parser = deadline, default_value = "2s")]
    deadline: Duration,
    /// Do not ask; needed where standard input is no terminal
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: &RevokeArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    if let Some(given) = &args.target.token {
        only_stdin(given)?;
    }
    let targets = args.target.all()?;
    let spared = args.except_token_file.as_deref().map(token_in).transpose()?;
    let admin = Admin::new(&args.client, io)?;
    if let Some(wide) = targets.iter().find(|target| target.is_wide())
        && !args.yes
        && !io.interactive
    {
        return Err(Failure::said(format!(
            "{} Nothing was revoked: add --yes, since standard input is no terminal to ask at",
            args.reach(wide)
        )));
    }

    let mut bodies: Vec<Map<String, Value>> = targets.iter().map(|target| args.body(target)).collect();
    let mut secret = spared.unwrap_or_default();
    if !secret.is_empty() {
        for body in &mut bodies {
            body.insert("except_token".into(), secret.clone().into());
        }
    }
    if args.target.token.is_some() {
        match token_from(io)? {
            Ok(token) => {
                secret.clone_from(&token);
                let mut body = args.words();
                body.insert("token".into(), token.into());
                bodies.push(body);
            }
            Err(reason) => {
                writeln!(io.stdout, "refused")?;
                row(io.stdout, "reason", reason)?;
                return Ok(Exit::No);
            }
        }
    }

    let Some(answer) = args.send(&admin, io, &targets, &mut bodies)? else {
        io.note("nothing was revoked")?;
        return Ok(Exit::No);
    };
    let all_live = args.confirm == "all-live";
    match answer.status {
        200 if bodies.len() == 1 => answer.read::<Receipt>()?.print(io, None, all_live),
        200 => {
            let mut exit = Exit::Yes;
            for (receipt, target) in answer.read::<Receipts>()?.receipts.iter().zip(&targets) {
                if receipt.print(io, Some(target), all_live)? != Exit::Yes {
                    exit = Exit::Unknown;
                }
            }
            Ok(exit)
        }
        _ if answer.is_refusal() => {
            writeln!(io.stdout, "refused: nothing was revoked")?;
            row(io.stdout, "reason", &answer.problem(&[&secret]))?;
            Ok(Exit::No)
        }
        _ => Err(Failure::said(answer.problem(&[&secret]))),
    }
}

/// A token that stands in a file. Never names the file: somebody may have given the token itself.
fn token_in(path: &Path) -> Result<String, Failure> {
    let bytes = File::open(path)
        .and_then(|file| read(file, MAX_INPUT_BYTES + 1))
        .map_err(|error| {
            Failure::said(format!(
                "--except-token-file: the file cannot be read: {}. Name a file that holds the token to spare",
                plain(&error.to_string())
            ))
        })?;
    let text = std::str::from_utf8(bytes.trim_ascii()).unwrap_or_default();
    if text.is_empty() || !text.is_ascii() || bytes.len() as u64 > MAX_INPUT_BYTES {
        return Err(Failure::said(format!(
            "--except-token-file: the file must hold one token and nothing else, at most {MAX_INPUT_BYTES} bytes"
        )));
    }
    Ok(text.to_owned())
}

/// What a node says when something has to be confirmed.
#[derive(Deserialize)]
struct Unconfirmed {
    confirm: String,
    verdicts: u64,
    #[serde(default)]
    at: usize,
}

impl RevokeArgs {
    /// Sends the revocation, and asks for each part that the node wants confirmed. `None`: the person said no.
    fn send(
        &self,
        admin: &Admin,
        io: &mut Io<'_>,
        targets: &[Target<'_>],
        bodies: &mut [Map<String, Value>],
    ) -> Result<Option<Answer>, Failure> {
        if self.yes {
            for (body, target) in bodies.iter_mut().zip(targets) {
                let name = target.name(self.issuer.as_deref()).filter(|_| target.is_wide());
                if let Some(name) = name {
                    body.insert("confirm".into(), name.into());
                }
            }
        }
        let mut asked = 0;
        loop {
            let request = match &*bodies {
                [one] => Value::Object(one.clone()),
                several => Value::Array(several.iter().cloned().map(Value::Object).collect()),
            };
            let answer = admin.post_within("v1/revocations", &request, self.deadline)?;
            // A node that wants more confirmations than there are targets is not content with any.
            if answer.status != 409 || asked >= bodies.len() {
                return Ok(Some(answer));
            }
            let Ok(wanted) = answer.read::<Unconfirmed>() else {
                return Ok(Some(answer));
            };
            let (Some(body), Some(target)) = (bodies.get_mut(wanted.at), targets.get(wanted.at)) else {
                return Ok(Some(answer));
            };
            asked += 1;
            let question = format!(
                "{} The node that is asked holds {} of it in its memory; others hold more.",
                self.reach(target),
                count(wanted.verdicts, "verdict", "verdicts"),
            );
            if !self.yes && !io.confirm(&question)? {
                return Ok(None);
            }
            body.insert("confirm".into(), wanted.confirm.into());
        }
    }

    /// What becomes void, where that concerns many people.
    fn reach(&self, target: &Target<'_>) -> String {
        let issuer = match &self.issuer {
            Some(issuer) => format!("the issuer {}", plain(issuer)),
            None => "the node's issuer".to_owned(),
        };
        if target.what == "whole_issuer" {
            return format!("This voids every token of {issuer}, on every node: everybody has to sign in again.");
        }
        format!(
            "This voids every token of the {} from {issuer}, on every node.",
            target.words()
        )
    }

    fn body(&self, target: &Target<'_>) -> Map<String, Value> {
        let mut body = self.words();
        body.extend(target.body());
        body
    }

    /// What is the same for every target.
    fn words(&self) -> Map<String, Value> {
        [
            ("issuer", &self.issuer),
            ("why", &self.why),
            ("except_session", &self.except_session),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?.into())))
        .chain(self.wait())
        .collect()
    }

    /// What to wait for, where that is not what nodes do anyway; those of versions without gossip know no other.
    fn wait(&self) -> impl Iterator<Item = (String, Value)> {
        let all_live = (self.confirm == "all-live").then(|| ("wait_for".to_owned(), "all_live".into()));
        let other =
            (self.deadline != DEADLINE).then(|| ("deadline_seconds".to_owned(), self.deadline.as_secs().into()));
        all_live.into_iter().chain(other)
    }
}

/// The answer to a batch.
#[derive(Deserialize)]
struct Receipts {
    receipts: Vec<Receipt>,
}

/// The answer of `POST /v1/revocations`.
#[derive(Deserialize)]
struct Receipt {
    state: State,
    #[serde(default)]
    single_copy: bool,
    #[serde(default)]
    collapsed: bool,
    not_before: Option<Unix>,
    expires: Option<Unix>,
    scope: String,
    #[serde(default)]
    confirmed_by: Vec<Confirmer>,
    #[serde(default)]
    missing: Vec<Confirmer>,
}

/// A member that confirmed, or did not.
#[derive(Deserialize)]
struct Confirmer {
    node: String,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    Committed,
    Unconfirmed,
}

impl Receipt {
    /// `all_live`: it is not done before every member has confirmed it.
    fn print(&self, io: &mut Io<'_>, of: Option<&Target<'_>>, all_live: bool) -> Result<Exit, Failure> {
        let scope = of.map_or_else(|| plain(&self.scope), Target::words);
        let (head, state) = match (self.state, self.single_copy) {
            (State::Committed, false) => ("revoked", "committed"),
            (State::Committed, true) => (
                "revoked",
                "committed, in a single copy: no second node or replica has confirmed that it holds it",
            ),
            (State::Unconfirmed, _) => (
                "unconfirmed",
                "the node has the revocation and goes on spreading it, but cannot prove yet that every node has it. It is \
                 not taken back. See `authmesh status`, or run this command again",
            ),
        };
        let covers = match self.not_before {
            Some(until) => format!("tokens issued up to {} UTC", clock(until, io.now)),
            None => "whatever the time of issue".to_owned(),
        };
        writeln!(io.stdout, "{head}: {scope}")?;
        row(io.stdout, "covers", &covers)?;
        if self.collapsed {
            row(
                io.stdout,
                "as",
                "a mark of the subject: more than 64 live marks name tokens of it",
            )?;
        }
        if let Some(expires) = self.expires {
            row(io.stdout, "kept", &format!("until {} UTC", clock(expires, io.now)))?;
        }
        row(io.stdout, "state", state)?;
        for (label, members) in [("has it", &self.confirmed_by), ("missing", &self.missing)] {
            if !members.is_empty() {
                row(io.stdout, label, &names(members))?;
            }
        }
        Ok(match self.state {
            State::Committed if !all_live || self.missing.is_empty() => Exit::Yes,
            _ => Exit::Unknown,
        })
    }
}

/// The most names on one line.
const MAX_NAMES: usize = 32;

fn names(members: &[Confirmer]) -> String {
    let shown: Vec<String> = members
        .iter()
        .take(MAX_NAMES)
        .map(|member| plain(&member.node))
        .collect();
    let shown = shown.join(", ");
    match members.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}
