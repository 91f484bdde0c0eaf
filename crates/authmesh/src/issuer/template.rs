//! Issuers by a pattern: which strings fit, and which patterns can meet.
//!
//! A pattern is taken apart once, into the labels of its host and the segments of its path. A parameter stands for exactly
//! one of them. Nothing is normalised, decoded or folded: a string fits byte by byte, or it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::BuildError;

/// The most issuers that one template can learn.
const MOST_LEARNED: usize = 4096;
/// The fewest: less leaves no room beside those on trial.
const FEWEST_LEARNED: usize = 8;
/// The longest segment, and the longest label (RFC 1035 section 2.3.4), that a parameter stands for.
const LONGEST_SEGMENT: usize = 128;
const LONGEST_LABEL: usize = 63;

/// A pattern of issuers that are not known beforehand: the tenants of a provider. See
/// [`Builder::issuer_template`](crate::Builder::issuer_template).
///
/// `https://login.example.com/{tenant}/v2.0`: each parameter in braces stands for one whole segment of the path
/// (`[A-Za-z0-9._-]`, 1 to 128 bytes, neither `.` nor `..`), or for one whole label of the host (`[a-z0-9-]`, 1 to 63 bytes, no
/// hyphen at either end). The scheme is `https`, or `http` for `localhost` and `127.0.0.1`; the last two labels of the host, and
/// its port, are fixed. An `iss` fits byte by byte: nothing is decoded, and no case is folded.
///
/// ```
/// use authmesh::IssuerTemplate;
///
/// let customers = IssuerTemplate::new("https://login.example.com/{tenant}/v2.0").allow("tenant", ["acme", "globex"]);
/// assert_eq!(customers.pattern(), "https://login.example.com/{tenant}/v2.0");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerTemplate {
    pattern: String,
    allowed: BTreeMap<String, BTreeSet<String>>,
    pub(super) most: usize,
    pub(super) burst: u32,
    pub(super) period: Duration,
    pub(super) failed_for: Duration,
}

impl IssuerTemplate {
    /// A template of this pattern.
    #[must_use]
    pub fn new(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            allowed: BTreeMap::new(),
            most: 256,
            burst: 10,
            period: Duration::from_secs(10),
            failed_for: Duration::from_secs(30),
        }
    }

    /// Names the values that a parameter may have. An issuer with any other is not accepted, and costs nothing. Default:
    /// any.
    #[must_use]
    pub fn allow<S: Into<String>>(mut self, parameter: impl Into<String>, values: impl IntoIterator<Item = S>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.allowed.insert(parameter.into(), values);
        self
    }

    /// How many issuers are learned at most, 8 to 4,096. A sixteenth of them, and at least one, is kept for issuers that have
    /// not verified a token yet. Default: 256.
    #[must_use]
    pub fn most(mut self, issuers: usize) -> Self {
        self.most = issuers;
        self
    }

    /// How many trips to issuers that have verified no token yet may begin at once, and how long until one more may. An
    /// issuer that verifies a token gives its first one back. Default: 10, and 10 s.
    #[must_use]
    pub fn first_fetches(mut self, burst: u32, period: Duration) -> Self {
        self.burst = burst;
        self.period = period;
        self
    }

    /// How long an issuer whose first fetch failed is not asked again. Default: 30 s.
    #[must_use]
    pub fn failed_for(mut self, time: Duration) -> Self {
        self.failed_for = time;
        self
    }

    /// The pattern: the name of the template in policies.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Takes the pattern apart.
    pub(super) fn compile(&self) -> Result<Pattern, BuildError> {
        let refuse = |problem: &str| {
            Err(BuildError::new(
                "issuer_template",
                format!("{}: {problem}", self.pattern),
            ))
        };
        if !(FEWEST_LEARNED..=MOST_LEARNED).contains(&self.most) {
            return refuse("learns 8 to 4,096 issuers");
        }
        if self.burst == 0 || self.period.is_zero() {
            return refuse("a budget of nothing lets no issuer be learned");
        }
        let (scheme, rest) = match self.pattern.split_once("://") {
            Some((scheme @ ("https" | "http"), rest)) => (scheme, rest),
            _ => return refuse("begins with https://"),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit())) {
            return refuse("its port is no number");
        }
        let local = ["localhost", "127.0.0.1"].contains(&host);
        if scheme == "http" && !local {
            return refuse("is plain http: whoever sits in between could choose the keys. Use https");
        }
        let host: Vec<_> = host.split('.').map(|label| self.part(label, Place::Label)).collect();
        let path: Option<Vec<_>> =
            path.map(|path| path.split('/').map(|part| self.part(part, Place::Segment)).collect());
        let parts = || host.iter().chain(path.iter().flatten());
        if parts().any(Option::is_none) {
            return refuse(
                "a parameter stands for one whole label of the host or segment of the path, as {name}, and nothing in a \
                 pattern is empty, escaped, or a query",
            );
        }
        let host: Vec<Part> = host.into_iter().flatten().collect();
        let path: Option<Vec<Part>> = path.map(|path| path.into_iter().flatten().collect());
        let fixed = host.iter().rev().take(2);
        if !local && (host.len() < 2 || fixed.into_iter().any(Part::is_parameter)) {
            return refuse("the last two labels of its host are fixed: else whoever owns a domain is an issuer");
        }
        let pattern = Pattern {
            scheme: scheme.to_owned(),
            host,
            port: port.map(str::to_owned),
            path,
        };
        let names: Vec<_> = pattern.parts().filter_map(Part::name).collect();
        if names.is_empty() {
            return refuse("has no parameter: add it as an issuer");
        }
        if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
            return refuse("names a parameter twice");
        }
        for (name, values) in &self.allowed {
            if !names.contains(&name.as_str()) {
                return refuse(&format!("has no parameter {name}"));
            }
            let fits = |value: &String| {
                pattern
                    .parts()
                    .any(|part| part.name() == Some(name) && part.fits(value))
            };
            if values.is_empty() || !values.iter().all(fits) {
                return refuse(&format!(
                    "a value that {name} is allowed to have is none that it can have, or there is none"
                ));
            }
        }
        Ok(pattern)
    }

    fn part(&self, text: &str, place: Place) -> Option<Part> {
        let name = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        if let Some(name) = name {
            let good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            return good.then(|| Part::Parameter {
                name: name.to_owned(),
                allowed: self.allowed.get(name).cloned(),
                place,
            });
        }
        let good = match place {
            Place::Label => is_label(text),
            // A last segment may be empty: the pattern ends with a slash.
            Place::Segment => {
                text != "."
                    && text != ".."
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte))
            }
        };
        good.then(|| Part::Fixed(text.to_owned()))
    }
}

impl From<&str> for IssuerTemplate {
    fn from(pattern: &str) -> Self {
        Self::new(pattern)
    }
}

impl From<String> for IssuerTemplate {
    fn from(pattern: String) -> Self {
        Self::new(pattern)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Label,
    Segment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Parameter {
        name: String,
        allowed: Option<BTreeSet<String>>,
        place: Place,
    },
}

/// A template, taken apart.
#[derive(Debug)]
pub(super) struct Pattern {
    scheme: String,
    host: Vec<Part>,
    port: Option<String>,
    path: Option<Vec<Part>>,
}

impl Pattern {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.host.iter().chain(self.path.iter().flatten())
    }

    /// Whether a string fits, from its first byte to its last.
    pub(super) fn fits(&self, issuer: &str) -> bool {
        let Some(rest) = issuer
            .strip_prefix(self.scheme.as_str())
            .and_then(|rest| rest.strip_prefix("://"))
        else {
            return false;
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let path_fits = match (&self.path, path) {
            (Some(parts), Some(path)) => all_fit(parts, path.split('/')),
            (None, None) => true,
            _ => false,
        };
        port == self.port.as_deref() && path_fits && all_fit(&self.host, host.split('.'))
    }

    /// Whether there is a string that fits both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let all = |own: &[Part], others: &[Part]| {
            own.len() == others.len() && own.iter().zip(others).all(|(own, other)| own.meets(other))
        };
        let paths = match (&self.path, &other.path) {
            (Some(own), Some(others)) => all(own, others),
            (None, None) => true,
            _ => false,
        };
        self.scheme == other.scheme && self.port == other.port && paths && all(&self.host, &other.host)
    }
}

fn all_fit<'a>(parts: &[Part], values: impl Iterator<Item = &'a str>) -> bool {
    let mut parts = parts.iter();
    for value in values {
        if !parts.next().is_some_and(|part| part.fits(value)) {
            return false;
        }
    }
    parts.next().is_none()
}

impl Part {
    const fn is_parameter(&self) -> bool {
        matches!(self, Self::Parameter { .. })
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Fixed(_) => None,
            Self::Parameter { name, .. } => Some(name),
        }
    }

    fn fits(&self, value: &str) -> bool {
        match self {
            Self::Fixed(text) => text == value,
            Self::Parameter { allowed, place, .. } => {
                let good = match place {
                    Place::Label => is_label(value) && !value.bytes().any(|byte| byte.is_ascii_uppercase()),
                    Place::Segment => is_segment(value),
                };
                good && allowed.as_ref().is_none_or(|allowed| allowed.contains(value))
            }
        }
    }

    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(text), part) | (part, Self::Fixed(text)) => part.fits(text),
            // What is allowed was checked to fit.
            (Self::Parameter { allowed: own, .. }, Self::Parameter { allowed: others, .. }) => match (own, others) {
                (Some(own), Some(others)) => !own.is_disjoint(others),
                _ => true,
            },
        }
    }
}

fn is_label(value: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !value.starts_with('-')
        && !value.ends_with('-')
}

/// `.` and `..` name no segment: a client takes them out of a path before it asks (RFC 3986 section 5.2.4).
fn is_segment(value: &str) -> bool {
    (1..=LONGEST_SEGMENT).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && value != "."
        && value != ".."
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const ENTRA: &str = "https://login.microsoftonline.com/{tenantid}/v2.0";

    fn pattern(text: &str) -> Pattern {
        IssuerTemplate::new(text).compile().unwrap()
    }

    #[test]
    fn a_parameter_is_one_segment_byte_by_byte() {
        let entra = pattern(ENTRA);
        let with = |tenant: &str| entra.fits(&format!("https://login.microsoftonline.com/{tenant}/v2.0"));
        for good in [
            "9188040d-6c67-4c5b-b112-36a304b66dad",
            "acme",
            "A.b_c-9",
            "...",
            &"x".repeat(128),
        ] {
            assert!(with(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a%2fb",
            "%61cme",
            "a b",
            "a\0",
            "a\n",
            "ä",
            "a?b",
            "a#b",
            "a@b",
            "a:b",
            "a\\b",
            "{tenantid}",
            &"x".repeat(129),
        ] {
            assert!(!with(bad), "{bad:?}");
        }
        for other in [
            "https://login.microsoftonline.com/acme/v2.0/",
            "https://login.microsoftonline.com/acme/v2.0?x=1",
            "https://login.microsoftonline.com/acme/v2.0#x",
            "https://login.microsoftonline.com/acme/v1.0",
            "https://login.microsoftonline.com//acme/v2.0",
            "https://login.microsoftonline.com/acme",
            "https://login.microsoftonline.com:443/acme/v2.0",
            "https://login.microsoftonline.com./acme/v2.0",
            "https://LOGIN.microsoftonline.com/acme/v2.0",
            "https://user@login.microsoftonline.com/acme/v2.0",
            "https://login.microsoftonline.com.evil.test/acme/v2.0",
            "https://evil.test/https://login.microsoftonline.com/acme/v2.0",
            "http://login.microsoftonline.com/acme/v2.0",
            "HTTPS://login.microsoftonline.com/acme/v2.0",
            " https://login.microsoftonline.com/acme/v2.0",
            "https://login.microsoftonline.com/acme/v2.0 ",
            "https://login.microsoftonline.com/acme/v2.0\n",
            "",
        ] {
            assert!(!entra.fits(other), "{other:?}");
        }
    }

    #[test]
    fn a_parameter_is_one_label_of_the_host() {
        let hosts = pattern("https://{tenant}.eu.example.com/{pool}/");
        for good in ["https://acme.eu.example.com/p/", "https://a-1.eu.example.com/P_1/"] {
            assert!(hosts.fits(good), "{good}");
        }
        for bad in [
            "https://a.b.eu.example.com/p/",
            "https://.eu.example.com/p/",
            "https://ACME.eu.example.com/p/",
            "https://a_b.eu.example.com/p/",
            "https://-a.eu.example.com/p/",
            "https://a-.eu.example.com/p/",
            "https://evil.test/.eu.example.com/p/",
            "https://evil.test#.eu.example.com/p/",
            "https://acme.eu.example.com/p",
            "https://eu.example.com/p/",
        ] {
            assert!(!hosts.fits(bad), "{bad}");
        }
        let long = "x".repeat(64);
        assert!(!hosts.fits(&format!("https://{long}.eu.example.com/p/")));
    }

    #[test]
    fn only_what_is_allowed_fits() {
        let few = IssuerTemplate::new(ENTRA)
            .allow("tenantid", ["a", "b"])
            .compile()
            .unwrap();
        assert!(few.fits("https://login.microsoftonline.com/a/v2.0"));
        assert!(!few.fits("https://login.microsoftonline.com/c/v2.0"));
    }

    #[test]
    fn patterns_that_would_accept_too_much_or_nothing_are_refused() {
        for bad in [
            "https://login.example.com/v2.0",
            "http://login.example.com/{tenant}",
            "ftp://login.example.com/{tenant}",
            "//login.example.com/{tenant}",
            "https://{tenant}",
            "https://{tenant}.com/x",
            "https://{a}.{b}.com/x",
            "https://login.{tenant}.com/x",
            "https://x-{tenant}.example.com/x",
            "https://login.example.com/x-{tenant}",
            "https://login.example.com/{tenant}/{tenant}",
            "https://login.example.com/{}",
            "https://login.example.com/{a b}",
            "https://login.example.com/{tenant}?x",
            "https://login.example.com/{tenant}#x",
            "https://login.example.com/%41/{tenant}",
            "https://login.example.com/../{tenant}",
            "https://user@login.example.com/{tenant}",
            "https://login.example.com:/{tenant}",
            "https://login.example.com:{port}/{tenant}",
            "https://login..example.com/{tenant}",
        ] {
            assert!(IssuerTemplate::new(bad).compile().is_err(), "{bad}");
        }
        let good = || IssuerTemplate::new(ENTRA);
        for bad in [
            good().allow("tenant", ["a"]),
            good().allow("tenantid", [] as [&str; 0]),
            good().allow("tenantid", ["a", "a/b"]),
            good().most(7),
            good().most(4097),
            good().first_fetches(0, Duration::from_secs(1)),
            good().first_fetches(1, Duration::ZERO),
        ] {
            assert!(bad.compile().is_err(), "{bad:?}");
        }
        good().allow("tenantid", ["a"]).compile().unwrap();
        pattern("http://localhost:8600/{tenant}");
    }

    #[test]
    fn patterns_meet_if_one_string_fits_both() {
        let meet = |a: &str, b: &str| {
            let (a, b) = (pattern(a), pattern(b));
            assert_eq!(a.meets(&b), b.meets(&a));
            a.meets(&b)
        };
        assert!(meet(ENTRA, "https://login.microsoftonline.com/{other}/v2.0"));
        assert!(meet("https://a.example.com/{x}/b", "https://a.example.com/a/{y}"));
        assert!(meet("https://{x}.a.example.com/b", "https://b.{y}.example.com/b"));
        assert!(!meet("https://a.example.com/{x}/b", "https://a.example.com/{x}/c"));
        assert!(!meet("https://a.example.com/{x}", "https://a.example.com/{x}/"));
        assert!(!meet("https://a.example.com/{x}", "https://a.example.com:443/{x}"));
        assert!(!meet("https://a.example.com/{x}", "https://{x}.example.com/a~b"));
        let few = |values: [&str; 2]| IssuerTemplate::new(ENTRA).allow("tenantid", values).compile().unwrap();
        assert!(few(["a", "b"]).meets(&few(["b", "c"])));
        assert!(!few(["a", "b"]).meets(&few(["c", "d"])));
        assert!(few(["a", "b"]).meets(&pattern(ENTRA)));
    }
}
