//! Checks of the section `[redis]`.

use std::net::IpAddr;
use std::path::Path;

use super::problem::Report;
use super::resolve::Resolved;
use super::schema::{self, Fallback};
use super::source;
use super::value::Value;

/// The longest password, in bytes.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Settings that are of use with TLS only.
const TLS_FILES: [&str; 3] = ["redis.ca_file", "redis.client_cert_file", "redis.client_key_file"];

/// Compares the settings of Redis with each other and with those of the cluster.
pub(super) fn check(settings: &Resolved, problems: &mut Report, warnings: &mut Report) {
    pairs(settings, problems);
    password(settings, problems);
    if settings.is_refused("redis.url") {
        return;
    }
    let urls = settings.words("redis.url");
    let Some(first) = urls.first() else {
        alone(settings, problems, warnings);
        return;
    };
    let tls = is_tls(first);
    if urls.iter().any(|url| is_tls(url) != tls) {
        problems.push(
            settings.location("redis.url"),
            "redis.url",
            "has URLs with TLS and URLs without: write rediss:// for all of them.",
        );
    } else if !tls {
        plain(settings, urls, problems, warnings);
    }
    if !settings.is_given("cluster.key_ring_file") {
        problems.push(
            settings.location("redis.url"),
            "cluster.key_ring_file",
            "is missing: nodes that share a Redis need the same key ring. Make one with `authmesh keyring generate \
             FILE`, give every node a copy, and name it here.",
        );
    }
    if settings.flag("danger.any_eviction_policy") {
        warnings.push(
            settings.location("danger.any_eviction_policy"),
            "danger.any_eviction_policy",
            "is on: Redis may evict revocations, and a node that starts later never hears of them.",
        );
    }
}

/// What stands there without a Redis does nothing, and whoever wrote it thinks that it does.
fn alone(settings: &Resolved, problems: &mut Report, warnings: &mut Report) {
    for setting in schema::settings_of(None).filter(|setting| setting.section() == "redis") {
        // A default that somebody wrote out, as `config print` does, misleads nobody.
        let speaks = matches!(setting.fallback, Fallback::Unset { .. });
        if speaks && setting.path != "redis.url" && settings.is_given(setting.path) {
            problems.push(
                settings.location(setting.path),
                setting.path,
                "is set, but redis.url is not: name the Redis, or remove this.",
            );
        }
    }
    if settings.flag("danger.any_eviction_policy") {
        warnings.push(
            settings.location("danger.any_eviction_policy"),
            "danger.any_eviction_policy",
            "is on, and there is no Redis: remove it.",
        );
    }
}

fn pairs(settings: &Resolved, problems: &mut Report) {
    let (cert, key) = ("redis.client_cert_file", "redis.client_key_file");
    for (here, other) in [(cert, key), (key, cert)] {
        if settings.is_given(here) && !settings.is_given(other) {
            problems.push(
                settings.location(here),
                here,
                format!("is set, but {other} is not: mutual TLS needs both."),
            );
        }
    }
}

fn password(settings: &Resolved, problems: &mut Report) {
    let Some(Value::File(path)) = settings.any("redis.password_file") else {
        return;
    };
    if let Err(message) = check_password(path) {
        let setting = "redis.password_file";
        problems.push(settings.location(setting), setting, message);
    }
}

fn check_password(path: &Path) -> Result<(), String> {
    let bytes = source::read_regular(path, MAX_PASSWORD_BYTES).map_err(|error| format!("names a file that {error}"))?;
    // As the adapter reads it: one line.
    let text = std::str::from_utf8(&bytes).map(|text| text.strip_suffix('\n').unwrap_or(text));
    match text.map(|text| text.strip_suffix('\r').unwrap_or(text)) {
        Err(_) => Err("names a file that is not text".into()),
        Ok("") => Err("names a file that is empty: write the password into it".into()),
        Ok(password) if password.contains(char::is_control) => {
            Err("names a file with more than one line: nothing but the password may be in it".into())
        }
        Ok(_) => Ok(()),
    }
}

fn plain(settings: &Resolved, urls: &[String], problems: &mut Report, warnings: &mut Report) {
    for setting in TLS_FILES {
        if settings.is_given(setting) {
            problems.push(
                settings.location(setting),
                setting,
                "is set, but redis.url asks for no TLS: write rediss://.",
            );
        }
    }
    if urls.iter().any(|url| !is_loopback(url)) {
        warnings.push(
            settings.location("redis.url"),
            "redis.url",
            "goes to another machine without TLS: whoever sits on the wire reads the password and can withhold \
             revocations. Use rediss://.",
        );
    }
}

fn is_tls(url: &str) -> bool {
    url.starts_with("rediss://")
}

fn is_loopback(url: &str) -> bool {
    let authority = url.split("//").nth(1).unwrap_or("").split('/').next().unwrap_or("");
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => authority.split(':').next().unwrap_or(""),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
