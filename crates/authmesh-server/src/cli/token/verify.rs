//! `authmesh token verify`: a verdict from a key set in a file. Asks nobody.

use std::path::PathBuf;

use authmesh::VerifyError;
use authmesh::jose::{JwsError, KeySet, verify_jws};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde_json::json;

use super::{print_holder, print_refusal};
use crate::cli::args::FromStdin;
use crate::cli::io::{Exit, Failure, Io, Refusal, Token};
use crate::cli::jwks;
use crate::cli::rules::{ABOUT_CLAIMS, RuleArgs};

const AFTER_HELP: &str = "\
Exit codes: 0 accepted; 1 refused; 2 wrong usage, or the key set could not be read.

Revocations are not known here: `authmesh token explain` asks a node.

Examples:
  authmesh token verify --jwks keys.json --issuer https://login.example.com --audience orders-api - < token.txt
  authmesh token verify --jwks keys.json --json - < token.txt | jq .code
  authmesh token verify --jwks keys.json --jws-only - < signed.jws > payload";

/// Verify one token against a JWK set in a file, offline
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(in crate::cli) struct VerifyArgs {
    /// File with the issuer's JWK set (RFC 7517), at most 512 KiB
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
    #[command(flatten)]
    rules: RuleArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Check the signature alone, and print the payload unchanged (with --json: in base64url)
    #[arg(long, conflicts_with_all = ABOUT_CLAIMS)]
    jws_only: bool,
    #[command(flatten)]
    source: FromStdin,
}

pub(super) fn run(args: &VerifyArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    args.source.check(false)?;
    let keys = jwks::load(&args.jwks, io)?;
    let token = match io.read_token()? {
        Ok(token) => token,
        Err(refusal) => return refuse(args, io, &refusal),
    };
    if args.jws_only {
        return signature(args, io, &token, &keys);
    }
    let accepted = match args.rules.check(&token, &keys, io)? {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(args, io, &refusal),
    };
    if args.json {
        let answer = json!({
            "accepted": true,
            "algorithm": accepted.algorithm,
            "kid": accepted.kid.as_deref(),
            "claims": accepted.claims,
        });
        writeln!(io.stdout, "{answer}")?;
    } else {
        let now = args.rules.now(io);
        writeln!(io.stdout, "accepted")?;
        print_holder(io.stdout, &accepted, now)?;
    }
    Ok(Exit::Yes)
}

fn signature(args: &VerifyArgs, io: &mut Io<'_>, token: &Token, keys: &KeySet) -> Result<Exit, Failure> {
    let verified = match verify_jws(token.as_bytes(), keys, args.rules.algorithms()) {
        Ok(verified) => verified,
        Err(error) => return refuse(args, io, &refusal(error)),
    };
    if args.json {
        let identity = verified.key_identity();
        let answer = json!({
            "accepted": true,
            "algorithm": identity.alg,
            "kid": identity.kid.as_deref(),
            "payload": URL_SAFE_NO_PAD.encode(verified.payload()),
        });
        writeln!(io.stdout, "{answer}")?;
    } else {
        io.stdout.write_all(verified.payload())?;
    }
    Ok(Exit::Yes)
}

/// The word of the policy layer, the sentence of the signature layer, which knows more.
fn refusal(error: JwsError) -> Refusal {
    Refusal {
        code: VerifyError::from(error).code(),
        reason: error.to_string(),
    }
}

fn refuse(args: &VerifyArgs, io: &mut Io<'_>, refusal: &Refusal) -> Result<Exit, Failure> {
    if args.json {
        let answer = json!({ "accepted": false, "code": refusal.code, "reason": refusal.reason });
        writeln!(io.stdout, "{answer}")?;
    } else if args.jws_only {
        // Standard output is the payload's: what is piped from it must not take a refusal for one.
        print_refusal(io.stderr, refusal)?;
    } else {
        print_refusal(io.stdout, refusal)?;
    }
    Ok(Exit::No)
}
