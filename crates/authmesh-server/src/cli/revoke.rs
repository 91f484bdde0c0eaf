//! `authmesh revoke`: voids tokens on every node.

use std::ffi::OsString;

use authmesh::proto::time::Unix;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::args::only_stdin;
use super::client::{Admin, ClientArgs};
use super::io::{Exit, Failure, Io};
use super::text::{clock, plain, row};

const AFTER_HELP: &str = "\
Exit codes: 0 committed; 1 refused, or you did not confirm; 2 unconfirmed, wrong usage, or the node could not be asked. After
2 it is safe to run the same command again.

Revoking a client or a whole issuer asks before it does so; --yes skips the question. The credential is read from
AUTHMESH_ADMIN_TOKEN or --token-file.

Examples:
  authmesh revoke --subject alice --why \"password changed\"
  authmesh revoke --subject alice --except-session 08a5019c --why \"signed out elsewhere\"
  authmesh revoke --token - --why \"found in a log\" < token.txt
  authmesh revoke --whole-issuer --issuer https://login.example.com --why \"key stolen\"";

/// Revoke tokens on every node of the cluster
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    scope: Scope,
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
    /// Do not ask; needed where standard input is no terminal
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// What is revoked.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Scope {
    /// Every token of this subject (`sub`)
    #[arg(long, value_name = "SUB", value_parser = NonEmptyStringValueParser::new())]
    subject: Option<String>,
    /// Every token of this session (`sid`)
    #[arg(long, value_name = "SID", value_parser = NonEmptyStringValueParser::new())]
    session: Option<String>,
    /// The token with this ID (`jti`)
    #[arg(long, value_name = "JTI", value_parser = NonEmptyStringValueParser::new())]
    jti: Option<String>,
    /// Every token of this client (`client_id`, else `azp`)
    #[arg(long, value_name = "CLIENT", value_parser = NonEmptyStringValueParser::new())]
    client: Option<String>,
    /// Every token of the issuer
    #[arg(long)]
    whole_issuer: bool,
    /// `-`: the one token on standard input
    #[arg(long, value_name = "-")]
    token: Option<OsString>,
}

pub(super) fn run(args: &RevokeArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    if let Some(given) = &args.scope.token {
        only_stdin(given)?;
    }
    let admin = Admin::new(&args.client, io)?;
    if let Some(question) = args.question()
        && !args.yes
    {
        if !io.interactive {
            return Err(Failure::said(format!(
                "{question} Nothing was revoked: add --yes, since standard input is no terminal to ask at"
            )));
        }
        if !io.confirm(&question)? {
            io.note("nothing was revoked")?;
            return Ok(Exit::No);
        }
    }

    let mut body = args.body();
    let mut secret = String::new();
    if args.scope.token.is_some() {
        let text = io
            .read_token()?
            .ok()
            .and_then(|token| token.as_text().map(str::to_owned));
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            writeln!(io.stdout, "refused")?;
            row(io.stdout, "reason", "standard input holds no token")?;
            return Ok(Exit::No);
        };
        secret.clone_from(&text);
        body.insert("token".into(), text.into());
    }

    let answer = admin.post("v1/revocations", &Value::Object(body))?;
    match answer.status {
        200 => answer.read::<Receipt>()?.print(io),
        _ if answer.is_refusal() => {
            writeln!(io.stdout, "refused: nothing was revoked")?;
            row(io.stdout, "reason", &answer.problem(&[&secret]))?;
            Ok(Exit::No)
        }
        _ => Err(Failure::said(answer.problem(&[&secret]))),
    }
}

impl RevokeArgs {
    /// What to ask before tokens of many people are voided.
    fn question(&self) -> Option<String> {
        let issuer = match &self.issuer {
            Some(issuer) => format!("the issuer {}", plain(issuer)),
            None => "the node's issuer".to_owned(),
        };
        if self.scope.whole_issuer {
            return Some(format!(
                "This voids every token of {issuer}, on every node: everybody has to sign in again."
            ));
        }
        let client = plain(self.scope.client.as_deref()?);
        Some(format!(
            "This voids every token of the client {client} from {issuer}, on every node."
        ))
    }

    fn body(&self) -> Map<String, Value> {
        let scope = &self.scope;
        let mut body: Map<String, Value> = [
            ("subject", &scope.subject),
            ("session", &scope.session),
            ("jti", &scope.jti),
            ("client", &scope.client),
            ("issuer", &self.issuer),
            ("why", &self.why),
            ("except_session", &self.except_session),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?.into())))
        .collect();
        if scope.whole_issuer {
            body.insert("whole_issuer".into(), true.into());
        }
        body
    }
}

/// The answer of `POST /v1/revocations`.
#[derive(Deserialize)]
struct Receipt {
    state: State,
    #[serde(default)]
    single_copy: bool,
    not_before: Option<Unix>,
    expires: Option<Unix>,
    scope: String,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    Committed,
    Unconfirmed,
}

impl Receipt {
    fn print(&self, io: &mut Io<'_>) -> Result<Exit, Failure> {
        let scope = plain(&self.scope);
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
        if let Some(expires) = self.expires {
            row(io.stdout, "kept", &format!("until {} UTC", clock(expires, io.now)))?;
        }
        row(io.stdout, "state", state)?;
        Ok(match self.state {
            State::Committed => Exit::Yes,
            State::Unconfirmed => Exit::Unknown,
        })
    }
}
