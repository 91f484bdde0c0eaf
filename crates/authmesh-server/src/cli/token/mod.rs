//! `authmesh token`: questions about one token, which is read from standard input.

mod explain;
mod offline;
mod verify;

use std::io;

use authmesh::offline::Offline;
use authmesh::proto::time::Unix;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;

use super::io::{Exit, Failure, Io, Refusal};
use super::text::{plain, row};

/// `authmesh token ...`
#[derive(Subcommand)]
pub(super) enum TokenCommand {
    Verify(verify::VerifyArgs),
    Explain(explain::ExplainArgs),
}

pub(super) fn run(command: &TokenCommand, io: &mut Io<'_>) -> Result<Exit, Failure> {
    match command {
        TokenCommand::Verify(args) => verify::run(args, io),
        TokenCommand::Explain(args) => explain::run(args, io),
    }
}

/// `refused: expired`, and the sentence.
fn print_refusal(out: &mut dyn io::Write, refusal: &Refusal) -> io::Result<()> {
    writeln!(out, "refused: {}", refusal.code)?;
    row(out, "reason", &plain(&refusal.reason))
}

/// `kid 2026-11-a RS256`.
fn key_name(kid: Option<&str>, algorithm: &str) -> String {
    let kid = kid.map_or_else(|| "without kid,".to_owned(), |kid| format!("kid {}", plain(kid)));
    format!("{kid} {}", plain(algorithm))
}

/// What the sender of a bound token has to prove.
fn bound_words(jkt: Option<&str>, certificate: Option<&str>) -> String {
    let key = jkt.map(|jkt| format!("to key {} (every request needs a DPoP proof)", plain(jkt)));
    let certificate = certificate.map(|sha256| format!("to client certificate {} (mutual TLS)", plain(sha256)));
    [key, certificate]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", and ")
}

/// Who and what an accepted token is for.
fn print_holder(out: &mut dyn io::Write, accepted: &Offline, now: Unix) -> io::Result<()> {
    let shown = |text: Option<&str>| text.map_or_else(|| "(none)".to_owned(), plain);
    row(out, "issuer", &shown(accepted.issuer.as_deref()))?;
    row(out, "subject", &shown(accepted.subject.as_deref()))?;
    row(out, "audience", &plain(&accepted.audiences.join(", ")))?;
    row(
        out,
        "key",
        &key_name(accepted.kid.as_deref(), accepted.algorithm.name()),
    )?;
    row(
        out,
        "time",
        &super::text::window(accepted.issued_at, Some(accepted.expires_at), now),
    )?;
    match &accepted.binding {
        Some(binding) => {
            let text = |thumbprint: &[u8; 32]| URL_SAFE_NO_PAD.encode(thumbprint);
            let (jkt, certificate) = (binding.jkt().map(text), binding.x5t_s256().map(text));
            row(out, "bound", &bound_words(jkt.as_deref(), certificate.as_deref()))
        }
        None => Ok(()),
    }
}
