//! What the environment gives: `AUTHMESH_` variables matched with the table of settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::problem::{Location, Report, shown};
use super::resolve::AllGiven;
use super::rules;
use super::schema::{self, Group};
use super::sections::GROUPS;
use super::suggest;
use super::table::SETTINGS;

const PREFIX: &str = "AUTHMESH_";

/// The variable that names the configuration file.
const CONFIG: &str = "AUTHMESH_CONFIG";

/// Variables with our prefix that are not settings: the file, and what client commands and the log take.
const RESERVED: [&str; 4] = [CONFIG, "AUTHMESH_URL", "AUTHMESH_ADMIN_URL", "AUTHMESH_LOG"];

/// The greatest length of a variable's value, in bytes.
const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The variables that matter. No `Debug`: they may hold a secret.
pub(super) struct Environment {
    vars: BTreeMap<String, String>,
    host_name: Option<String>,
}

impl Environment {
    pub(super) fn new(vars: impl Iterator<Item = (String, String)>) -> Self {
        let mut ours = BTreeMap::new();
        let mut host_name = None;
        for (name, value) in vars {
            if name.starts_with(PREFIX) {
                ours.insert(name, value);
            } else if name == "HOSTNAME" {
                host_name = Some(value);
            }
        }
        Self { vars: ours, host_name }
    }

    /// The configuration file that the environment names.
    pub(super) fn file(&self) -> Option<&Path> {
        self.vars.get(CONFIG).filter(|path| !path.is_empty()).map(Path::new)
    }

    /// The default of `cluster.node`: the name of this host, made to fit its rule.
    pub(super) fn host_name(&self) -> String {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        node_name(kernel.as_deref().or(self.host_name.as_deref()).unwrap_or(""))
    }
}

/// Makes a node name of a host name: other characters become `-`, the rest after 64 is cut, nothing becomes `node`.
fn node_name(host_name: &str) -> String {
    let name: String = host_name
        .trim()
        .bytes()
        .take(64)
        .map(|b| if rules::is_node_byte(b) { char::from(b) } else { '-' })
        .collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// The `AUTHMESH_` variables of this process and `HOSTNAME`, for [`Config::load`](super::Config::load).
///
/// Unlike `std::env::vars` it does not panic where a variable is not Unicode: bad bytes turn into U+FFFD, which the
/// rules for credentials and names refuse.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    })
}

/// Lays the variables over what the file gave. Variables that are not settings go to the report.
pub(super) fn collect(env: &Environment, given: &mut AllGiven, report: &mut Report) {
    let mut numbers: BTreeMap<&'static str, BTreeMap<usize, Location>> = BTreeMap::new();
    for (name, value) in &env.vars {
        let location = Location::Env { var: shown(name) };
        let (setting, index) = match find(name) {
            Found::Setting(setting, index) => (setting, index),
            Found::Ignored => continue,
            Found::TooMany(group) => {
                let message = format!(
                    "has a number that is too large: at most {} are allowed, numbered from 0",
                    group.max
                );
                report.push(location, group.name, message);
                continue;
            }
            Found::Unknown => {
                report.push(location, "", unknown_variable(name));
                continue;
            }
        };
        let path = setting.numbered(index);
        if value.len() > MAX_VALUE_BYTES {
            let message = format!("is longer than {MAX_VALUE_BYTES} bytes");
            report.push(location, path, message);
            continue;
        }
        if let Some(group) = setting.group() {
            numbers
                .entry(group)
                .or_default()
                .entry(index)
                .or_insert(location.clone());
        }
        given.values.insert(path, setting.kind.read(value, location));
    }
    for (group, numbers) in numbers {
        add_items(group, &numbers, given, report);
    }
}

/// Sections that the environment adds must go on where those of the file end.
fn add_items(group: &'static str, numbers: &BTreeMap<usize, Location>, given: &mut AllGiven, report: &mut Report) {
    let items = given.items.entry(group).or_default();
    for (number, location) in numbers {
        if *number > items.len() {
            let message = format!(
                "is set, but there is no {group}[{}]: number them from 0 without a gap",
                items.len()
            );
            report.push(location.clone(), format!("{group}[{number}]"), message);
            return;
        }
        if *number == items.len() {
            items.push(location.clone());
        }
    }
}

enum Found {
    Setting(&'static schema::Setting, usize),
    TooMany(&'static Group),
    Ignored,
    Unknown,
}

fn find(name: &str) -> Found {
    if RESERVED.contains(&name) {
        return Found::Ignored;
    }
    if let Some(setting) = schema::settings_of(None).find(|setting| setting.variable(0) == name) {
        return Found::Setting(setting, 0);
    }
    if let Some((group, number, _)) = numbered(name) {
        match number.parse::<usize>() {
            Ok(index) if index < group.max => {
                let found = schema::settings_of(Some(group.name)).find(|setting| setting.variable(index) == name);
                return found.map_or(Found::Unknown, |setting| Found::Setting(setting, index));
            }
            _ => return Found::TooMany(group),
        }
    }
    if is_service_link(name) {
        Found::Ignored
    } else {
        Found::Unknown
    }
}

/// Splits `AUTHMESH_ISSUERS_3_URL` into the group, `3` and `URL`.
fn numbered(name: &str) -> Option<(&'static Group, &str, &str)> {
    let rest = name.strip_prefix(PREFIX)?;
    GROUPS.iter().find_map(|group| {
        let rest = rest
            .strip_prefix(group.name.to_ascii_uppercase().as_str())?
            .strip_prefix('_')?;
        let (number, key) = rest.split_once('_')?;
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        digits.then_some((group, number, key))
    })
}

/// Whether Kubernetes made this variable: it describes every Service of the namespace to every container, and a Service
/// named `authmesh` or `authmesh-admin` brings variables with our prefix that nobody wrote.
fn is_service_link(name: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    let Some((_, port)) = name.split_once("_PORT") else {
        return false;
    };
    // AUTHMESH_PORT, AUTHMESH_PORT_8400_TCP, AUTHMESH_PORT_8400_TCP_PROTO, _PORT, _ADDR
    let mut parts = port.split('_');
    if port.is_empty() {
        return true;
    }
    parts.next() == Some("")
        && parts
            .next()
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        && parts.next().is_some_and(|p| ["TCP", "UDP", "SCTP"].contains(&p))
        && parts.next().is_none_or(|p| ["PROTO", "PORT", "ADDR"].contains(&p))
        && parts.next().is_none()
}

fn unknown_variable(name: &str) -> String {
    // Where the variable has a number, the suggestion keeps it.
    let index = numbered(name)
        .and_then(|(_, number, _)| number.parse().ok())
        .unwrap_or(0);
    let known: BTreeSet<String> = SETTINGS
        .iter()
        .map(|setting| setting.variable(index))
        .chain(RESERVED.map(str::to_owned))
        .collect();
    match suggest::nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("is not a variable of authmesh: did you mean {near}?"),
        None => "is not a variable of authmesh: remove it, or see `authmesh config default` for the names.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn host_names_become_node_names() {
        assert_eq!(node_name("web-1.example.com\n"), "web-1.example.com");
        assert_eq!(node_name("jo's box"), "jo-s-box");
        assert_eq!(node_name(" \n"), "node");
        assert_eq!(node_name(&"x".repeat(200)).len(), 64);
        for name in ["é", "a\0b", ""] {
            assert_eq!(rules::node_name(&node_name(name)), Ok(()));
        }
    }

    #[test]
    fn service_links_of_kubernetes_are_told_from_slips() {
        for name in [
            "AUTHMESH_SERVICE_HOST",
            "AUTHMESH_SERVICE_PORT",
            "AUTHMESH_SERVICE_PORT_HTTP",
            "AUTHMESH_PORT",
            "AUTHMESH_PORT_8400_TCP",
            "AUTHMESH_PORT_8400_TCP_PROTO",
            "AUTHMESH_PORT_8400_TCP_PORT",
            "AUTHMESH_PORT_8400_TCP_ADDR",
            "AUTHMESH_ADMIN_PORT_8500_TCP_ADDR",
            "AUTHMESH_ADMIN_SERVICE_HOST",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in [
            "AUTHMESH_SERVER_LISTEN",
            "AUTHMESH_PORTS",
            "AUTHMESH_PORT_X",
            "AUTHMESH_PORT_1_TCP_X",
            "AUTHMESH_REPORT_1",
        ] {
            assert!(!is_service_link(name), "{name}");
        }
    }

    #[test]
    fn no_setting_looks_like_a_service_link_or_a_reserved_variable() {
        for setting in SETTINGS {
            let name = setting.variable(0);
            assert!(!is_service_link(&name) && !RESERVED.contains(&name.as_str()), "{name}");
        }
    }
}
