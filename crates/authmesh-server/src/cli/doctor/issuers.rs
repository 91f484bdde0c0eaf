//! Discovery, keys and clocks of the issuers.

use std::time::{SystemTime, UNIX_EPOCH};

use authmesh::jose::{KeySet, KeySetLimits};
use authmesh::ports::{FetchedBody, KeyFetch, KeySource as _};
use tokio::task::JoinSet;

use super::report::Report;
use crate::cli::text::count;
use crate::config::{Config, Issuer};
use crate::serve::key_source;

const TOPIC: &str = "issuers";
/// Issuers asked at the same time.
const AT_ONCE: usize = 16;
/// A `Date` header counts whole seconds.
const DATE_UNCERTAINTY_MILLIS: u64 = 1_000;

/// Asks every issuer for its keys, as a node does.
pub(super) async fn check(config: &Config, report: &mut Report) {
    for some in config.issuers.chunks(AT_ONCE) {
        let mut asked = JoinSet::new();
        for (index, issuer) in some.iter().enumerate() {
            let (issuer, allow_http) = (issuer.clone(), config.danger.allow_http);
            asked.spawn(async move { (index, ask(&issuer, allow_http).await) });
        }
        let mut reports = asked.join_all().await;
        reports.sort_by_key(|(index, _)| *index);
        for ((_, asked), issuer) in reports.into_iter().zip(some) {
            say(issuer, asked, report);
        }
    }
}

struct Asked {
    keys: KeySet,
    /// How far the issuer's clock is ahead, in milliseconds, and how uncertain that is.
    clock: Option<(i64, u64)>,
}

async fn ask(issuer: &Issuer, allow_http: bool) -> Result<Asked, String> {
    let source = key_source(issuer, allow_http).map_err(|error| error.to_string())?;
    let began = now_millis();
    let fetched = source.fetch(KeyFetch::default()).await;
    let ended = now_millis();
    let fetched = fetched.map_err(|error| format!("issuer {}: {error}", issuer.url))?;
    let FetchedBody::Document(document) = fetched.body else {
        return Err(format!("issuer {}: it answered 304 to a first question", issuer.url));
    };
    let keys = KeySet::parse(&document, &KeySetLimits::default())
        .map_err(|error| format!("issuer {}: its key set cannot be used: {error}", issuer.url))?;
    let clock = fetched.date.and_then(|date| {
        // The header's second began up to a second before the answer was made, which was between the two readings.
        let theirs = i64::try_from(date.checked_mul(1000)?).ok()?;
        let half = (ended - began).unsigned_abs() / 2;
        let ahead = theirs.checked_sub(began + i64::try_from(half).ok()?)?;
        Some((ahead, half.saturating_add(DATE_UNCERTAINTY_MILLIS)))
    });
    Ok(Asked { keys, clock })
}

fn now_millis() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn say(issuer: &Issuer, asked: Result<Asked, String>, report: &mut Report) {
    let asked = match asked {
        Ok(asked) => asked,
        Err(what) => {
            report.fail(TOPIC, what, "Until its keys can be had, tokens of this issuer get 503.");
            return;
        }
    };
    let (usable, skipped) = (asked.keys.len(), asked.keys.skipped().len());
    if usable == 0 {
        report.fail(
            TOPIC,
            format!("issuer {}: no key of its set can be used", issuer.url),
            "No token of it can be accepted. `authmesh token verify --jwks` names what is wrong with each key.",
        );
    } else {
        let left_out = match skipped {
            0 => String::new(),
            several => format!(", {several} left out"),
        };
        let how = match issuer.jwks_url {
            Some(_) => "",
            None => ", found by discovery",
        };
        report.ok(
            TOPIC,
            format!(
                "issuer {}: {}{left_out}{how}",
                issuer.url,
                count(usable as u64, "key", "keys")
            ),
        );
    }
    match asked.clock {
        Some((ahead, uncertainty)) => super::clock(TOPIC, &issuer.url, ahead, uncertainty, report),
        None => report.info(
            TOPIC,
            format!(
                "issuer {}: it sends no Date header, so its clock could not be compared",
                issuer.url
            ),
        ),
    }
}
