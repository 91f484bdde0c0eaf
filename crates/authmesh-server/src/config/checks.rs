//! Checks that compare settings with each other, and warnings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::asked;
use super::gossip;
use super::preset;
use super::problem::Report;
use super::redis;
use super::resolve::Resolved;
use super::routes;
use super::schema;
use super::secret::Secret;
use super::source;
use super::units::show_duration;
use super::value::Value;

/// Runs all checks. Returns the admin credential, wherever it came from.
pub(super) fn run(settings: &Resolved, problems: &mut Report, warnings: &mut Report) -> Option<Secret> {
    let token = admin_token(settings, problems, warnings);
    listeners(settings, token.is_some(), problems, warnings);
    logout(settings, token.is_some(), problems, warnings);
    headers(settings, problems);
    marks(settings, problems);
    issuers(settings, problems, warnings);
    redis::check(settings, problems, warnings);
    gossip::check(settings, problems, warnings);
    routes::check(settings, problems, warnings);
    dangers(settings, warnings);
    token
}

fn admin_token(settings: &Resolved, problems: &mut Report, warnings: &mut Report) -> Option<Secret> {
    let file = match settings.any("admin.token_file") {
        Some(Value::File(path)) => Some(path),
        _ => None,
    };
    if let Some(Value::Secret(secret)) = settings.any("admin.token") {
        if file.is_some() {
            warnings.push(
                settings.location("admin.token_file"),
                "admin.token_file",
                "is not read: AUTHMESH_ADMIN_TOKEN wins. Remove one of the two.",
            );
        }
        return Some(secret.clone());
    }
    match read_token(file?) {
        Ok(secret) => Some(secret),
        Err(message) => {
            let location = settings.location("admin.token_file");
            problems.push(location, "admin.token_file", message);
            None
        }
    }
}

fn read_token(path: &Path) -> Result<Secret, String> {
    // Room for white space around the longest credential.
    let limit = Secret::MAX_BYTES as u64 + 64;
    let bytes = source::read_regular(path, limit).map_err(|error| format!("names a file that {error}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "names a file that is not text".to_owned())?;
    Secret::new(text.trim()).map_err(|error| format!("names a file whose content {error}"))
}

fn address(settings: &Resolved, path: &str) -> Option<SocketAddr> {
    match settings.any(path) {
        Some(Value::Address(address)) => *address,
        _ => None,
    }
}

fn listeners(settings: &Resolved, has_token: bool, problems: &mut Report, warnings: &mut Report) {
    let Some(admin) = address(settings, "admin.listen") else {
        return;
    };
    let location = settings.location("admin.listen");
    if !has_token {
        if settings.is_given("admin.listen")
            && !settings.is_refused("admin.token")
            && !settings.is_refused("admin.token_file")
        {
            warnings.push(
                location,
                "admin.listen",
                "is set, but the admin API is off, since it has no credential: set admin.token_file or AUTHMESH_ADMIN_TOKEN.",
            );
        }
        return;
    }
    if address(settings, "server.listen").is_some_and(|server| collide(server, admin)) {
        problems.push(
            location.clone(),
            "admin.listen",
            "is the same port as server.listen: give the admin API a port of its own.",
        );
    }
    if !admin.ip().is_loopback() {
        warnings.push(
            location,
            "admin.listen",
            "can be reached from other machines over plain HTTP: let only operators in, and put TLS in front.",
        );
    }
}

/// Whether two listeners cannot be bound together.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_ip
}

fn logout(settings: &Resolved, has_token: bool, problems: &mut Report, warnings: &mut Report) {
    let clients = (0..settings.count("issuers")).map(|index| format!("issuers[{index}].logout.client_ids"));
    let clients: Vec<String> = clients.collect();
    let refused = clients.iter().any(|path| settings.is_refused(path));
    let taken = clients.iter().find(|path| !settings.words(path).is_empty());
    let location = settings.location("logout.listen");
    let Some(listen) = address(settings, "logout.listen") else {
        if let Some(path) = taken.filter(|_| !settings.is_refused("logout.listen")) {
            warnings.push(
                settings.location(path),
                path.as_str(),
                "is set, but logout tokens are not taken, since there is no listener for them: set logout.listen.",
            );
        }
        return;
    };
    if taken.is_none() && !refused {
        problems.push(
            location.clone(),
            "logout.listen",
            "is set, but no issuer has logout.client_ids: no logout token could be accepted. Set it in a section \
             [issuers.logout].",
        );
    }
    let others = [("server.listen", true), ("admin.listen", has_token)];
    for (other, _) in others.into_iter().filter(|(_, on)| *on) {
        if address(settings, other).is_some_and(|other| collide(other, listen)) {
            let message = format!("is the same port as {other}: give logout tokens a port of their own.");
            problems.push(location.clone(), "logout.listen", message);
        }
    }
}

fn marks(settings: &Resolved, problems: &mut Report) {
    if settings.is_given("marks.snapshot") && !settings.is_given("cluster.key_ring_file") {
        problems.push(
            settings.location("marks.snapshot"),
            "cluster.key_ring_file",
            "is missing: the snapshot is sealed, and must open after the next start. Make a key ring with `authmesh \
             keyring generate FILE`, and name it here.",
        );
    }
}

fn headers(settings: &Resolved, problems: &mut Report) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for setting in schema::settings_of(None).filter(|setting| setting.section() == "server.headers") {
        let Some(name) = settings.text(setting.path).filter(|name| !name.is_empty()) else {
            continue;
        };
        // Many servers take `_`, `-` and `.` in a header's name for the same character.
        let alike = name.to_ascii_lowercase().replace(['_', '.'], "-");
        if let Some(other) = seen.insert(alike, setting.path) {
            // Point at the one that somebody wrote.
            let (at, other) = if settings.is_given(setting.path) {
                (setting.path, other)
            } else {
                (other, setting.path)
            };
            let message = format!(
                "is the same header as {other}: header names must differ in more than the case of letters and `-`, `_`, `.`."
            );
            problems.push(settings.location(at), at, message);
        }
    }
}

fn issuers(settings: &Resolved, problems: &mut Report, warnings: &mut Report) {
    let allow_http = settings.flag("danger.allow_http") || settings.is_refused("danger.allow_http");
    let mut urls: BTreeMap<&str, usize> = BTreeMap::new();
    for index in 0..settings.count("issuers") {
        let path = |key: &str| format!("issuers[{index}].{key}");
        for key in ["url", "jwks_url", "upstream.endpoint"].map(path) {
            if !allow_http && settings.text(&key).is_some_and(|url| url.starts_with("http://")) {
                problems.push(
                    settings.location(&key),
                    key.as_str(),
                    "is plain HTTP: whoever sits on the wire could forge tokens. Use https, or for a test set \
                     danger.allow_http = true.",
                );
            }
        }
        if let Some(url) = settings.text(&path("url")) {
            if let Some(first) = urls.get(url) {
                let message = format!("is the same as issuers[{first}].url: merge the two sections.");
                problems.push(settings.location(&path("url")), path("url"), message);
            } else {
                urls.insert(url, index);
            }
        }
        preset::check(index, settings, problems);
        asked::check(index, settings, problems, warnings);
        at_least(
            settings,
            problems,
            &path("http.total_timeout"),
            &path("http.connect_timeout"),
        );
        let client_ids = path("logout.client_ids");
        let asked = settings.text(&path("validate")).is_some_and(|how| how != "signature");
        if asked && !settings.words(&client_ids).is_empty() {
            problems.push(
                settings.location(&client_ids),
                client_ids.as_str(),
                "is set, but the issuer's keys are not fetched where it is asked about tokens: its logout tokens cannot be checked. \
                 Remove it, or validate by signature.",
            );
        }
    }
    asked::check_opaque(settings, problems);
}

/// Demands that a duration is not below another.
fn at_least(settings: &Resolved, problems: &mut Report, greater: &str, lesser: &str) {
    let (Some(a), Some(b)) = (settings.duration(greater), settings.duration(lesser)) else {
        return;
    };
    if a >= b {
        return;
    }
    // Point at the one that somebody wrote; where both were written, at the greater.
    let at = if settings.is_given(greater) || !settings.is_given(lesser) {
        greater
    } else {
        lesser
    };
    let (word, other, value) = if at == greater {
        ("more", lesser, b)
    } else {
        ("less", greater, a)
    };
    let message = format!(
        "must be {word} than {other} or the same, which is {}.",
        show_duration(value)
    );
    problems.push(settings.location(at), at, message);
}

fn dangers(settings: &Resolved, warnings: &mut Report) {
    if settings.flag("danger.without_issued_at") {
        warnings.push(
            settings.location("danger.without_issued_at"),
            "danger.without_issued_at",
            "is on: of issuers that are asked, tokens without iat are accepted, and such a token can outlive its revocation.",
        );
    }
    for index in 0..settings.count("issuers") {
        let audience = format!("issuers[{index}].audience");
        if settings.flag("danger.any_audience") && settings.words(&audience).is_empty() {
            warnings.push(
                settings.location(&audience),
                audience,
                "is empty, and danger.any_audience is on: tokens made for any service are accepted.",
            );
        }
        for key in ["url", "jwks_url", "upstream.endpoint"].map(|key| format!("issuers[{index}].{key}")) {
            if settings.flag("danger.allow_http") && settings.text(&key).is_some_and(|url| url.starts_with("http://")) {
                warnings.push(
                    settings.location(&key),
                    key,
                    "is plain HTTP, and danger.allow_http is on: whoever sits on the wire can forge tokens.",
                );
            }
        }
    }
}
