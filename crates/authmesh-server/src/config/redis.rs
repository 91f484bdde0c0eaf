//! Rules and checks of the section `[redis]`.

use std::net::IpAddr;
use std::path::Path;

use http::Uri;

use super::problem::Report;
use super::resolve::Resolved;
use super::rules::{MAX_URL_BYTES, Verdict, is_visible_ascii, length};
use super::schema::{self, Fallback};
use super::source;
use super::value::Value;

/// The longest password, in bytes.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Settings that are of use with TLS only.
const TLS_FILES: [&str; 3] = ["redis.ca_file", "redis.client_cert_file", "redis.client_key_file"];

/// Where a Redis is: a scheme, a host, a port.
pub(super) fn url(text: &str) -> Verdict {
    length(text, MAX_URL_BYTES)?;
    if text.trim() != text {
        return Err("begins or ends with a space".into());
    }
    let rest = text
        .strip_prefix("redis://")
        .or_else(|| text.strip_prefix("rediss://"))
        .ok_or("does not begin with \"redis://\" or, for TLS, \"rediss://\" (in lower case)")?;
    if rest.contains('@') {
        return Err(
            "has a user name or password: remove everything before the \"@\", and use redis.username and \
             redis.password_file instead"
                .into(),
        );
    }
    if rest.contains(['?', '#']) {
        return Err("has a query or fragment: only a host and a port may stand there".into());
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !matches!(path, "" | "0") {
        return Err(
            "names a database: a Redis Cluster has none but 0. Remove the path, and set redis.prefix where one Redis \
             serves several purposes"
                .into(),
        );
    }
    let uri: Uri = format!("redis://{authority}")
        .parse()
        .map_err(|_| "is not a URL: write it as in \"rediss://redis.example.com:6379\"".to_owned())?;
    if uri.host().is_none_or(str::is_empty) {
        return Err("has no host".into());
    }
    let host_and_port = authority.rsplit(']').next().unwrap_or("");
    if host_and_port.contains(':') && uri.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is not a number from 1 to 65535".into());
    }
    Ok(())
}

pub(super) fn username(text: &str) -> Verdict {
    length(text, 256)?;
    if is_visible_ascii(text) {
        return Ok(());
    }
    Err("has a space, a control character or a character beyond ASCII: write it as in the ACL of Redis".into())
}

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::rules::tests::table;
    use super::*;

    #[test]
    fn redis_urls() {
        table(
            url,
            &[
                "redis://127.0.0.1",
                "redis://127.0.0.1:6379",
                "rediss://redis.example.com:6380/",
                "rediss://redis.example.com/0",
                "redis://[::1]:6379",
            ],
            &[
                ("", "is empty"),
                ("127.0.0.1:6379", "does not begin with"),
                ("http://h", "does not begin with"),
                ("Redis://h", "in lower case"),
                ("unix:///run/redis.sock", "does not begin with"),
                ("redis://u:p@h", "redis.password_file"),
                ("redis://h/1", "names a database"),
                ("redis://h?protocol=3", "query or fragment"),
                ("rediss://h#insecure", "query or fragment"),
                ("redis://", "is not a URL"),
                ("redis://:6379", "host"),
                ("redis://h:0", "port"),
                ("redis://h:x", "port"),
                (" redis://h", "begins or ends with a space"),
            ],
        );
        table(
            username,
            &["authmesh", "a@b"],
            &[("", "is empty"), ("a b", "has a space")],
        );
    }
}
