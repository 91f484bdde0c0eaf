//! `authmesh doctor`: a configuration against the Redis, the seeds and the issuers that it names.

mod gossip;
mod issuers;
mod keyring;
mod node;
mod redis;
mod report;

use std::path::PathBuf;

use clap::Args;

use self::report::Report;
use super::config::FILE_VARIABLE;
use super::io::{Exit, Failure, Io};
use crate::config::Config;

const AFTER_HELP: &str = "\
Exit codes: 0 nothing failed; 1 something did; 2 the configuration could not be read, or something could not be checked.

Nothing is changed. Where the Redis user may neither ask for its permissions nor begin a transaction, a few keys of the
doctor's own are written and deleted.

Examples:
  authmesh doctor --config authmesh.toml
  authmesh doctor --config authmesh.toml --json | jq '.checks[] | select(.level == \"fail\")'";

/// From here on a clock that differs is worth a warning, in seconds.
const SKEW_WARNS: u64 = 5;
/// From here on bounds do not hold any more, in seconds.
const SKEW_FAILS: u64 = 30;

/// Check a configuration against the live Redis, the seeds of gossip and the issuers, and say what to change
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DoctorArgs {
    /// The configuration file [env: AUTHMESH_CONFIG] [default: none, the variables alone]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object: {"result": "ok" | "fail" | "unknown", "checks": [{"level", "topic", "what", "advice"}]}
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DoctorArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let named = args.config.clone().or_else(|| io.var(FILE_VARIABLE).map(PathBuf::from));
    let loaded = Config::load(named.as_deref(), io.env.iter().cloned())
        .map_err(|problems| Failure::said(format!("the configuration has problems:\n{problems}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::said(format!("the runtime could not be started: {error}")))?;

    let mut report = Report::default();
    for warning in &loaded.warnings {
        report.warn("configuration", warning.to_string(), "");
    }
    runtime.block_on(async {
        let ring = keyring::check(&loaded.config, &mut report);
        redis::check(&loaded.config, ring.as_ref(), io.now, &mut report).await;
        gossip::check(&loaded.config, &mut report).await;
        issuers::check(&loaded.config, &mut report).await;
    });
    node::check(&loaded.config, io, &mut report)?;
    if args.json {
        writeln!(io.stdout, "{}", report.json())?;
    } else {
        report.print(io.stdout)?;
    }
    Ok(report.exit())
}

/// Judges a clock that is `ahead` milliseconds ahead, give or take `uncertainty` milliseconds.
fn clock(topic: &'static str, whose: &str, ahead: i64, uncertainty: u64, report: &mut Report) {
    let least = ahead.unsigned_abs().saturating_sub(uncertainty) / 1000;
    let shown = (ahead.unsigned_abs() + 500) / 1000;
    let direction = if ahead < 0 { "behind" } else { "ahead" };
    let what = format!("clock of {whose} is {shown} s {direction} of this machine's (limit {SKEW_FAILS} s)");
    let advice = "Set both clocks by NTP.";
    if least > SKEW_FAILS {
        report.fail(topic, what, advice);
    } else if least >= SKEW_WARNS {
        report.warn(topic, what, advice);
    } else {
        report.ok(topic, format!("clock of {whose} agrees with this machine's"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_judged_by_what_is_certain() {
        for (ahead, uncertainty, level) in [
            (0, 0, "ok"),
            (4_999, 0, "ok"),
            (-4_999, 0, "ok"),
            (5_000, 0, "warn"),
            (-6_000, 500, "warn"),
            (5_400, 500, "ok"),
            (30_999, 0, "warn"),
            (31_000, 0, "fail"),
            (-3_600_000, 1_000, "fail"),
            (i64::MIN, 0, "fail"),
        ] {
            let mut report = Report::default();
            clock("redis", "r", ahead, uncertainty, &mut report);
            assert_eq!(report.json()["checks"][0]["level"], level, "{ahead} {uncertainty}");
        }
    }
}
