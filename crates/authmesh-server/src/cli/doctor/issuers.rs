//! Discovery, keys and clocks of the issuers.

use std::time::{SystemTime, UNIX_EPOCH};

use authmesh::jose::{KeySet, KeySetLimits};
use authmesh::ports::{FetchedBody, KeyFetch, KeySource as _, TokenState, UpstreamFault};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::task::JoinSet;

use super::report::Report;
use crate::cli::text::count;
use crate::config::{Config, Issuer, IssuerUpstream};
use crate::serve::{key_source, token_source};

const TOPIC: &str = "issuers";
/// Issuers asked at the same time.
const AT_ONCE: usize = 16;
/// A `Date` header counts whole seconds.
const DATE_UNCERTAINTY_MILLIS: u64 = 1_000;

/// Asks every issuer for its keys, or about a token, as a node does.
pub(super) async fn check(config: &Config, report: &mut Report) {
    for some in config.issuers.chunks(AT_ONCE) {
        let mut asked = JoinSet::new();
        for (index, issuer) in some.iter().enumerate() {
            let (issuer, allow_http) = (issuer.clone(), config.danger.allow_http);
            asked.spawn(async move {
                let mut report = Report::default();
                match &issuer.upstream {
                    Some(upstream) => about_tokens(&issuer, upstream, allow_http, &mut report).await,
                    None => say(&issuer, ask(&issuer, allow_http).await, &mut report),
                }
                (index, report)
            });
        }
        let mut reports = asked.join_all().await;
        reports.sort_by_key(|(index, _)| *index);
        for (_, of_one) in reports {
            report.append(of_one);
        }
    }
}

/// Asks about a token that nobody can have: an issuer that knows us calls it inactive.
async fn about_tokens(issuer: &Issuer, upstream: &IssuerUpstream, allow_http: bool, report: &mut Report) {
    let url = &issuer.url;
    let source = match token_source(issuer, upstream, allow_http) {
        Ok(source) => source,
        Err(error) => {
            report.fail(TOPIC, error.to_string(), "");
            return;
        }
    };
    let mut random = [0; 32];
    if getrandom::fill(&mut random).is_err() {
        report.unknown(TOPIC, format!("issuer {url}: the system gives no random numbers"), "");
        return;
    }
    let token = URL_SAFE_NO_PAD.encode(random);
    let how = if upstream.userinfo { "userinfo" } else { "introspection" };
    let asked = tokio::time::timeout(upstream.rules.hard_timeout, source.ask(&token)).await;
    match asked {
        Ok(Ok(TokenState::Inactive)) => report.ok(TOPIC, format!("issuer {url}: {how} answers")),
        Ok(Ok(TokenState::Active(_))) => report.fail(
            TOPIC,
            format!("issuer {url}: {how} calls a random text an active token"),
            "Everybody would be let in. Check upstream.endpoint.",
        ),
        Ok(Err(error)) if error.fault == UpstreamFault::Configuration => report.fail(
            TOPIC,
            format!("issuer {url}: {error}"),
            "It is not asked with success before that is mended: check upstream.client_id and its secret or key.",
        ),
        Ok(Err(error)) => report.fail(
            TOPIC,
            format!("issuer {url}: {error}"),
            "Until it answers, its unknown tokens get 503.",
        ),
        Err(_) => report.fail(
            TOPIC,
            format!("issuer {url}: {how} gave no answer within upstream.hard_timeout"),
            "Until it answers, its unknown tokens get 503.",
        ),
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
