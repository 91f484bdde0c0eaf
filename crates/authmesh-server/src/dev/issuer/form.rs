//! The form of `POST /token`: which fields there are, and what they may hold.

use std::time::Duration;

use super::{DevAlg, DevClaims};

/// Longest lifetime that can be asked for, in seconds: one day.
const MAX_TTL: u64 = 86_400;

/// Reads the fields. The error is a sentence for the caller; it names the field and never repeats a value.
pub(super) fn read(fields: Vec<(String, String)>) -> Result<(DevClaims, DevAlg), String> {
    let mut claims = DevClaims::default();
    let mut alg = DevAlg::default();
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in fields {
        if value.is_empty() {
            return Err(format!("{} is empty: give it a value, or leave it out", shown(&name)));
        }
        if seen.contains(&name) {
            return Err(format!("{} is given twice", shown(&name)));
        }
        match name.as_str() {
            "sub" => claims.sub = value,
            "aud" => claims.aud = value,
            "alg" => alg = read_alg(&value)?,
            "ttl" => claims.ttl = read_ttl(&value)?,
            "scope" => claims.scope = value,
            "sid" => claims.sid = Some(value),
            "jti" => claims.jti = Some(value),
            "client_id" => claims.client_id = value,
            "email" => claims.email = Some(value),
            _ => {
                return Err(format!(
                    "{} is no field of this form: use sub, aud, alg, ttl, scope, sid, jti, client_id, email",
                    shown(&name)
                ));
            }
        }
        // Unknown names have returned by now, so this holds nine names at most.
        seen.push(name);
    }
    Ok((claims, alg))
}

fn read_alg(value: &str) -> Result<DevAlg, String> {
    DevAlg::ALL
        .into_iter()
        .find(|alg| alg.name() == value)
        .ok_or_else(|| "alg must be RS256, ES256 or EdDSA".to_owned())
}

fn read_ttl(value: &str) -> Result<Duration, String> {
    // Digits only: `u64::from_str` would take a plus sign, which a form turns into a space anyway.
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| value.parse().ok())
        .flatten()
        .filter(|seconds| (1..=MAX_TTL).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("ttl must be a whole number of seconds from 1 to {MAX_TTL}"))
}

/// A field name that may be anything: escaped, and cut to a bounded length.
fn shown(name: &str) -> String {
    name.chars().take(40).flat_map(char::escape_default).collect()
}
