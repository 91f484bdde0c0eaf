//! What a token says of itself, what a key set makes of it, and which check fails.

use authmesh::jose::{CompactJws, JwsError, KeySet, json, verify_jws};
use authmesh::proto::time::Unix;
use serde_json::{Map, Value};

use super::{key_name, print_refusal};
use crate::cli::io::{Exit, Failure, Io, Token};
use crate::cli::rules::RuleArgs;
use crate::cli::text::{plain, row, window};

/// Explains a token without a node.
pub(super) fn explain(rules: &RuleArgs, token: &Token, keys: &KeySet, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let refusal = rules.check(token, keys, io)?.err();
    let now = rules.now(io);
    match &refusal {
        None => writeln!(io.stdout, "accepted")?,
        Some(refusal) => print_refusal(io.stdout, refusal)?,
    }
    if let Ok(jws) = CompactJws::parse(token.as_bytes()) {
        let claims = json::parse_object(jws.payload()).unwrap_or_default();
        if let Some(issuer) = issuer(rules, &claims) {
            row(io.stdout, "issuer", &issuer)?;
        }
        row(io.stdout, "key", &key(&jws, keys))?;
        row(
            io.stdout,
            "time",
            &window(seconds(&claims, "iat"), seconds(&claims, "exp"), now),
        )?;
        if verify_jws(token.as_bytes(), keys, rules.algorithms()).is_err() {
            row(io.stdout, "note", "the token says so itself; no signature proves it")?;
        }
    }
    row(io.stdout, "revoked", "not asked: revocations are known to nodes only")?;
    Ok(if refusal.is_none() { Exit::Yes } else { Exit::No })
}

fn issuer(rules: &RuleArgs, claims: &Map<String, Value>) -> Option<String> {
    let issuer = claims.get("iss")?.as_str()?;
    let compared = match rules.issuers() {
        None => "not compared",
        Some(accepted) if accepted.iter().any(|own| own == issuer) => "accepted",
        Some(_) => "not one of --issuer",
    };
    Some(format!("{} ({compared})", plain(issuer)))
}

fn key(jws: &CompactJws<'_>, keys: &KeySet) -> String {
    let header = jws.header();
    let name = key_name(header.kid().map(|kid| &**kid), header.algorithm().name());
    let found = match keys.candidates(header) {
        Ok(candidates) if header.kid().is_none() => match candidates.count() {
            1 => "one key of the set fits".to_owned(),
            several => format!("{several} keys of the set fit"),
        },
        Ok(_) => "in the set".to_owned(),
        Err(JwsError::KeyMismatch) => "in the set, but not for this algorithm".to_owned(),
        Err(JwsError::AmbiguousKey) => "too many keys of the set fit".to_owned(),
        Err(_) => "not in the set".to_owned(),
    };
    format!("{name}, {found}")
}

/// A time as the token gives it. Whether it is a fit one, the check says.
fn seconds(claims: &Map<String, Value>, name: &str) -> Option<Unix> {
    // Beyond the range of the integer the cast saturates, which shows as "beyond the year 9999".
    let seconds = claims.get(name)?.as_f64().filter(|seconds| *seconds >= 0.0)?;
    Some(seconds as Unix)
}
