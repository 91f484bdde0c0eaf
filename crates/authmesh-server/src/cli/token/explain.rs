//! `authmesh token explain`: what becomes of a token, and why, in words.

use std::path::PathBuf;

use authmesh::proto::time::Unix;
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{bound_words, key_name, offline, print_refusal};
use crate::cli::args::FromStdin;
use crate::cli::client::{Admin, ClientArgs};
use crate::cli::io::{Exit, Failure, Io, Token};
use crate::cli::jwks;
use crate::cli::rules::RuleArgs;
use crate::cli::text::{clock, plain, row, span, window};

const AFTER_HELP: &str = "\
Asks a node, which knows the issuers, their keys and every revocation. With --jwks nobody is asked; then the options about
issuer, audience and so on say what is demanded.

Exit codes: 0 accepted; 1 refused; 2 could not tell, wrong usage, or the node could not be asked.

The credential is read from AUTHMESH_ADMIN_TOKEN or --token-file.

Examples:
  authmesh token explain < token.txt
  authmesh token explain --url https://authmesh-0.prod.example:8500 < token.txt
  authmesh token explain --jwks keys.json --audience orders-api < token.txt";

/// Say in words what becomes of one token, and why
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct ExplainArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Ask nobody: check against the JWK set in this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin_url", "config", "token_file"])]
    jwks: Option<PathBuf>,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    source: FromStdin,
}

pub(super) fn run(args: &ExplainArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    args.source.check(true)?;
    if let Some(path) = &args.jwks {
        let keys = jwks::load(path, io)?;
        return match io.read_token()? {
            Ok(token) => offline::explain(&args.rules, &token, &keys, io),
            Err(refusal) => {
                print_refusal(io.stdout, &refusal)?;
                Ok(Exit::No)
            }
        };
    }
    let admin = Admin::new(&args.client, io)?;
    let token = match io.read_token()? {
        Ok(token) => token,
        Err(refusal) => {
            print_refusal(io.stdout, &refusal)?;
            return Ok(Exit::No);
        }
    };
    let explanation = ask(&admin, &token)?;
    explanation.print(io)
}

fn ask(admin: &Admin, token: &Token) -> Result<Explanation, Failure> {
    // JSON is UTF-8. What is not ASCII is no token, and its exact bytes do not matter.
    let text = token.as_text().unwrap_or("\u{fffd}");
    let answer = admin.post("v1/explain", &json!({ "token": text }))?;
    if answer.status == 200 {
        return answer.read();
    }
    Err(Failure::said(answer.problem(&[text])))
}

/// The answer of `POST /v1/explain`. Members that an older node lacks are absent.
#[derive(Deserialize)]
struct Explanation {
    decision: Decision,
    code: Option<String>,
    #[serde(default)]
    reason: String,
    outcome: Option<String>,
    level: Option<String>,
    age_seconds: Option<u64>,
    blind_for_seconds: Option<u64>,
    issuer: Option<Issuer>,
    key: Option<Key>,
    time: Option<Time>,
    binding: Option<Binding>,
    provider: Option<Provider>,
    revoked: Option<Revoked>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Decision {
    Accepted,
    Refused,
    CouldNotTell,
}

#[derive(Deserialize)]
struct Issuer {
    url: String,
    known: bool,
    keys_age_seconds: Option<u64>,
    generation: Option<u64>,
}

#[derive(Deserialize)]
struct Key {
    kid: Option<String>,
    alg: String,
    in_current_set: Option<bool>,
}

#[derive(Deserialize)]
struct Time {
    issued_at: Option<Unix>,
    expires_at: Option<Unix>,
    now: Unix,
}

#[derive(Deserialize)]
struct Binding {
    jkt: Option<String>,
    #[serde(rename = "x5t#S256")]
    x5t_s256: Option<String>,
}

#[derive(Deserialize)]
struct Provider {
    asked_seconds_ago: Option<u64>,
    failures: u64,
    trouble: Option<String>,
}

#[derive(Deserialize)]
struct Revoked {
    scope: String,
    at: Option<Unix>,
    by: Option<String>,
    why: Option<String>,
    not_before: Option<Unix>,
}

impl Explanation {
    fn print(&self, io: &mut Io<'_>) -> Result<Exit, Failure> {
        let (word, exit) = match self.decision {
            Decision::Accepted => ("accepted", Exit::Yes),
            Decision::Refused => ("refused", Exit::No),
            Decision::CouldNotTell => ("could not tell", Exit::Unknown),
        };
        match self.code.as_ref().or(self.outcome.as_ref()) {
            Some(detail) => writeln!(io.stdout, "{word}: {}", plain(detail))?,
            None => writeln!(io.stdout, "{word}")?,
        }
        // The node's clock: that is the one it decided by.
        let now = self.time.as_ref().map_or(io.now, |time| time.now);
        if let Some(how) = self.how() {
            row(io.stdout, "how", &how)?;
        }
        if let Some(issuer) = &self.issuer {
            row(io.stdout, "issuer", &issuer.words(self.provider.is_some()))?;
        }
        if let Some(key) = &self.key {
            row(io.stdout, "key", &key.words())?;
        }
        if let Some(binding) = &self.binding {
            row(
                io.stdout,
                "bound",
                &bound_words(binding.jkt.as_deref(), binding.x5t_s256.as_deref()),
            )?;
        }
        if let Some(provider) = &self.provider {
            row(io.stdout, "provider", &provider.words())?;
        }
        if let Some(time) = &self.time {
            row(io.stdout, "time", &window(time.issued_at, time.expires_at, now))?;
        }
        if let Some(revoked) = &self.revoked {
            row(io.stdout, "revoked", &revoked.words(now))?;
        } else if exit != Exit::Yes && !self.reason.is_empty() {
            row(io.stdout, "reason", &plain(&self.reason))?;
        }
        Ok(exit)
    }

    /// How the answer was reached: `from l1, verified 12 s ago, while the node was blind for 5 s`.
    fn how(&self) -> Option<String> {
        let mut parts = Vec::new();
        parts.extend(self.level.as_ref().map(|level| format!("from {}", plain(level))));
        parts.extend(self.age_seconds.map(|age| format!("verified {} ago", span(age))));
        let blind = self.blind_for_seconds;
        parts.extend(blind.map(|seconds| format!("while the node was blind for {}", span(seconds))));
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

impl Issuer {
    /// `asked`: its provider is asked about each token.
    fn words(&self, asked: bool) -> String {
        let url = plain(&self.url);
        if !self.known {
            return format!("{url} (not one of the node's issuers)");
        }
        let keys = match (self.keys_age_seconds, asked) {
            (Some(age), _) => format!("keys fetched {} ago", span(age)),
            (None, true) => "its provider is asked".to_owned(),
            (None, false) => "keys never fetched".to_owned(),
        };
        let generation = self.generation.map(|number| format!(", generation {number}"));
        format!("{url} (known, {keys}{})", generation.unwrap_or_default())
    }
}

impl Provider {
    fn words(&self) -> String {
        let mut words = match self.asked_seconds_ago {
            Some(ago) => format!("asked {} ago", span(ago)),
            None => "not asked yet".to_owned(),
        };
        if self.failures > 0 {
            words.push_str(&format!(", {} calls failed since the last good one", self.failures));
        }
        if let Some(trouble) = &self.trouble {
            words.push_str(&format!(": {}", plain(trouble)));
        }
        words
    }
}

impl Key {
    fn words(&self) -> String {
        let name = key_name(self.kid.as_deref(), &self.alg);
        match self.in_current_set {
            Some(true) => format!("{name}, in the current set"),
            Some(false) => format!("{name}, not in the current set"),
            None => name,
        }
    }
}

impl Revoked {
    fn words(&self, now: Unix) -> String {
        let mut words = format!("{} mark", plain(&self.scope));
        if let Some(at) = self.at {
            words.push_str(&format!(" set {} UTC", clock(at, now)));
        }
        if let Some(by) = &self.by {
            words.push_str(&format!(" by {}", plain(by)));
        }
        if let Some(why) = &self.why {
            words.push_str(&format!(", why: \"{}\"", plain(why)));
        }
        if let Some(until) = self.not_before {
            words.push_str(&format!(", covers tokens issued up to {} UTC", clock(until, now)));
        }
        words
    }
}
