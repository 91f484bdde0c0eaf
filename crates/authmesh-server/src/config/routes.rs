//! What a route covers, and checks between routes.

use super::problem::{Location, Report};
use super::resolve::Resolved;
use super::typed::{Route, WhenBlind};
use super::value::Value;

impl Route {
    /// Whether a decoded, normalized path lies under this route's prefix.
    ///
    /// The prefix counts by whole segments, as in a Kubernetes Ingress of type `Prefix`: `/admin` covers `/admin` and
    /// `/admin/users`, not `/administrator`. With a slash at its end, `/admin/` covers only what lies below.
    #[must_use]
    pub fn covers_path(&self, path: &str) -> bool {
        covers(&self.path, path)
    }
}

fn covers(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

/// Checks every route by itself and against the ones before it.
pub(super) fn check(settings: &Resolved, problems: &mut Report, warnings: &mut Report) {
    for index in 0..settings.count("routes") {
        public(settings, index, problems);
        blindness(settings, index, problems);
        audience(settings, index, problems);
        reachable(settings, index, problems);
        useful_age(settings, index, warnings);
    }
}

fn path(index: usize, key: &str) -> String {
    format!("routes[{index}].{key}")
}

/// A public route looks at no token, so it can demand nothing of one.
fn public(settings: &Resolved, index: usize, problems: &mut Report) {
    if settings.text(&path(index, "access")) != Some("public") {
        return;
    }
    for key in ["scopes", "any_scope", "sensitive", "when_blind", "max_age", "audience"].map(|key| path(index, key)) {
        let demands = match settings.any(&key) {
            Some(Value::List(words)) => !words.is_empty(),
            Some(Value::Bool(on)) => *on,
            Some(Value::WhenBlind(rule)) => *rule == WhenBlind::Deny && settings.is_given(&key),
            Some(_) => true,
            None => false,
        };
        if demands {
            problems.push(
                settings.location(&key),
                key,
                "has no meaning on a public route, which looks at no token. Remove it, or set access = \"authenticated\".",
            );
        }
    }
}

fn blindness(settings: &Resolved, index: usize, problems: &mut Report) {
    let when_blind = path(index, "when_blind");
    if settings.flag(&path(index, "sensitive"))
        && matches!(settings.any(&when_blind), Some(Value::WhenBlind(WhenBlind::Serve(_))))
    {
        problems.push(
            settings.location(&when_blind),
            when_blind,
            "contradicts sensitive = true, which means \"deny\". Remove one of the two.",
        );
    }
}

/// An audience that no issuer accepts would refuse every token.
fn audience(settings: &Resolved, index: usize, problems: &mut Report) {
    let issuers = 0..settings.count("issuers");
    let mut known = std::collections::BTreeSet::new();
    for issuer in issuers {
        let words = settings.words(&format!("issuers[{issuer}].audience"));
        if words.is_empty() {
            // Any audience is accepted there, or the list was refused and nothing can be said.
            return;
        }
        known.extend(words);
    }
    let key = path(index, "audience");
    for (number, word) in settings.words(&key).iter().enumerate() {
        if !known.is_empty() && !known.contains(word) {
            problems.push(
                settings.location(&key),
                format!("{key}[{number}]"),
                "is in no issuer's audience, so this route would refuse every token. Add it to issuers[].audience too.",
            );
        }
    }
}

/// A rule that can never apply protects nothing, and nobody would notice.
fn reachable(settings: &Resolved, index: usize, problems: &mut Report) {
    let Some(later) = settings.text(&path(index, "path")) else {
        return;
    };
    let shadow = (0..index).find(|earlier| {
        let Some(prefix) = settings.text(&path(*earlier, "path")) else {
            return false;
        };
        let host = path(*earlier, "host");
        let methods = path(*earlier, "methods");
        let (all, mine) = (settings.words(&methods), settings.words(&path(index, "methods")));
        let covers_host = settings
            .text(&host)
            .is_none_or(|host| settings.text(&path(index, "host")) == Some(host));
        let covers_methods = all.is_empty() || (!mine.is_empty() && mine.iter().all(|method| all.contains(method)));
        let known = [&host, &methods, &path(index, "methods"), &path(index, "host")]
            .iter()
            .all(|key| !settings.is_refused(key));
        known && covers_host && covers_methods && covers(prefix, later)
    });
    if let Some(earlier) = shadow {
        let at = path(index, "path");
        let line = match settings.location(&path(earlier, "path")) {
            Location::File { line: Some(line), .. } => format!(" (line {line})"),
            _ => String::new(),
        };
        let message = format!(
            "can never match: routes[{earlier}]{line} takes all of its requests first. Put this route before it, or \
             remove it."
        );
        problems.push(settings.location(&at), at, message);
    }
}

fn useful_age(settings: &Resolved, index: usize, warnings: &mut Report) {
    let key = path(index, "max_age");
    if let (Some(age), Some(limit)) = (settings.duration(&key), settings.duration("cache.max_verdict_age"))
        && age > limit
    {
        warnings.push(
            settings.location(&key),
            key,
            "has no effect: it is longer than cache.max_verdict_age, which holds for every route.",
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_prefix_counts_by_whole_segments() {
        for (prefix, path, expected) in [
            ("/", "/", true),
            ("/", "/x/y", true),
            ("/admin", "/admin", true),
            ("/admin", "/admin/", true),
            ("/admin", "/admin/users", true),
            ("/admin", "/administrator", false),
            ("/admin", "/adm", false),
            ("/admin/", "/admin", false),
            ("/admin/", "/admin/x", true),
        ] {
            assert_eq!(covers(prefix, path), expected, "{prefix} {path}");
        }
    }
}
