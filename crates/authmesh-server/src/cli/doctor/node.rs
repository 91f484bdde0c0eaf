//! What the running node, if there is one, says of its issuers.

use super::report::Report;
use crate::cli::client::Admin;
use crate::cli::io::{Failure, Io};
use crate::cli::status::{Health, IssuerHealth, UpstreamHealth};
use crate::cli::text::span;
use crate::config::Config;

const TOPIC: &str = "node";

/// Asks the node that the configuration describes, on its admin API.
pub(super) fn check(config: &Config, io: &mut Io<'_>, report: &mut Report) -> Result<(), Failure> {
    let Some(admin) = Admin::of(config, io)? else {
        return Ok(());
    };
    let answer = match admin.get("v1/health") {
        Ok(answer) => answer,
        Err(Failure::Said(_)) => {
            report.info(
                TOPIC,
                "no node answers at the admin API, so only the configuration was checked",
            );
            return Ok(());
        }
        Err(output) => return Err(output),
    };
    if !matches!(answer.status, 200 | 503) {
        report.warn(
            TOPIC,
            answer.problem(&[]),
            "Check that the node runs with this configuration.",
        );
        return Ok(());
    }
    let health: Health = match answer.read() {
        Ok(health) => health,
        Err(Failure::Said(what)) => {
            report.warn(TOPIC, what, "");
            return Ok(());
        }
        Err(output) => return Err(output),
    };
    for issuer in &health.issuers {
        keys(config, issuer, report);
    }
    for upstream in &health.upstreams {
        asked(upstream, report);
    }
    Ok(())
}

/// The keys of an issuer: whether they are trusted, and for how much longer.
fn keys(config: &Config, issuer: &IssuerHealth, report: &mut Report) {
    let name = &issuer.issuer;
    let trouble = issuer
        .trouble
        .as_ref()
        .map_or_else(String::new, |trouble| format!(" ({trouble})"));
    if !issuer.trusted {
        report.fail(
            TOPIC,
            format!("issuer {name}: the node has no keys that it trusts{trouble}"),
            "Tokens of this issuer get 503 until its keys can be fetched. Mend the way to it.",
        );
        return;
    }
    // A quarter of the trust age is time to wake somebody.
    let configured = config.issuers.iter().find(|known| known.url == *name);
    let soon = configured.map(|issuer| issuer.keys.max_trust_age.as_secs() / 4);
    match (issuer.trusted_seconds, soon) {
        (Some(left), Some(soon)) if left < soon => report.warn(
            TOPIC,
            format!("issuer {name}: its keys are trusted for {} more{trouble}", span(left)),
            "After that its tokens get 503. Mend the way to the issuer, or raise keys.max_trust_age.",
        ),
        _ if issuer.circuit_open => report.warn(
            TOPIC,
            format!(
                "issuer {name}: {} fetches of its keys failed in a row, so it is only probed{trouble}",
                issuer.failures
            ),
            "The keys at hand go on serving. Tokens signed by a new key get 503.",
        ),
        _ => report.ok(TOPIC, format!("issuer {name}: the node has keys that it trusts")),
    }
}

fn asked(upstream: &UpstreamHealth, report: &mut Report) {
    let name = &upstream.issuer;
    if upstream.open {
        let trouble = upstream.trouble.as_deref().unwrap_or("no reason is known");
        report.warn(
            TOPIC,
            format!(
                "issuer {name}: {} questions about tokens failed in a row, so it is left alone: {trouble}",
                upstream.failures
            ),
            "Its known tokens go on for upstream.stale_for, all others get 503.",
        );
    } else {
        report.ok(TOPIC, format!("issuer {name}: it answers about tokens"));
    }
}
