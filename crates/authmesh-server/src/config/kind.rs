//! Kinds of settings: how a given value is read, checked and described.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::problem::{Location, Report};
use super::rules::Verdict;
use super::secret::Secret;
use super::suggest;
use super::typed::WhenBlind;
use super::units::{self, show_duration, show_size};
use super::value::Value;

/// What a setting takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Bool,
    Count {
        min: u64,
        max: u64,
    },
    Duration {
        min: Duration,
        max: Duration,
    },
    /// In bytes.
    Size {
        min: u64,
        max: u64,
    },
    /// `off`: empty text turns the listener off.
    Address {
        off: bool,
    },
    /// A file that is there and can be read.
    File,
    /// One word. `what` names it for people.
    Word {
        what: &'static str,
        rule: fn(&str) -> Verdict,
    },
    OneOf(&'static [&'static str]),
    /// A list of different words; one word may stand without brackets.
    Words {
        what: &'static str,
        min: usize,
        max: usize,
        rule: fn(&str) -> Verdict,
    },
    WhenBlind,
    /// From the environment only. At least so many bytes.
    Secret {
        least: usize,
    },
}

/// What a file or a variable gave, not yet checked. No `Debug`: it may hold a secret.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) location: Location,
    pub(super) raw: Raw,
}

/// The form of what was given. No `Debug`: it may hold a secret.
#[derive(Clone)]
pub(super) enum Raw {
    Text(String),
    /// `None` where the number is negative or beyond 64 bits.
    Int(Option<u64>),
    Bool(bool),
    List(Vec<Given>),
    /// Something that no setting takes; the word names it.
    Other(&'static str),
}

impl Given {
    /// Whether nothing is in it: `""` or `[]`.
    pub(super) fn is_empty(&self) -> bool {
        match &self.raw {
            Raw::Text(text) => text.is_empty(),
            Raw::List(items) => items.is_empty(),
            _ => false,
        }
    }
}

/// The limits of the time that a blind node may go on serving.
const SERVE_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

impl Kind {
    /// Reads the text of a variable, or of a default in the table, which has the same form.
    pub(super) fn read(self, text: &str, location: Location) -> Given {
        let raw = match self {
            Self::Bool => match text {
                "true" => Raw::Bool(true),
                "false" => Raw::Bool(false),
                _ => Raw::Text(text.to_owned()),
            },
            Self::Count { .. } if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                Raw::Int(text.parse().ok())
            }
            Self::Words { .. } if text.trim().is_empty() => Raw::List(Vec::new()),
            Self::Words { .. } => Raw::List(
                text.split(',')
                    .map(|item| Given {
                        location: location.clone(),
                        raw: Raw::Text(item.trim().to_owned()),
                    })
                    .collect(),
            ),
            _ => Raw::Text(text.to_owned()),
        };
        Given { location, raw }
    }

    /// Checks what was given. Each problem goes to the report; `None` means that there was one.
    pub(super) fn check(self, setting: &str, given: &Given, report: &mut Report) -> Option<Value> {
        if let (Self::Words { min, max, rule, what }, raw) = (self, &given.raw) {
            let one;
            let items = match raw {
                Raw::List(items) => items,
                Raw::Text(_) => {
                    one = [given.clone()];
                    &one[..]
                }
                _ => {
                    report.push(given.location.clone(), setting, self.mismatch(raw));
                    return None;
                }
            };
            if items.len() < min || items.len() > max {
                let message = format!("has {} entries: {min} to {max} are allowed", items.len());
                report.push(given.location.clone(), setting, message);
                return None;
            }
            return check_words(setting, items, what, rule, report);
        }
        match self.check_one(&given.raw) {
            Ok(value) => Some(value),
            Err(message) => {
                report.push(given.location.clone(), setting, message);
                None
            }
        }
    }

    fn check_one(self, raw: &Raw) -> Result<Value, String> {
        match (self, raw) {
            (Self::Bool, Raw::Bool(value)) => Ok(Value::Bool(*value)),
            (Self::Bool, Raw::Text(_)) => Err("must be true or false (in the file without quotes)".into()),
            (Self::Count { min, max }, Raw::Int(number)) => match number {
                Some(number) if (min..=max).contains(number) => Ok(Value::Count(*number)),
                _ => Err(format!("is out of range: write a whole number from {min} to {max}")),
            },
            (Self::Duration { min, max }, Raw::Text(text)) => duration_within(text, min, max).map(Value::Duration),
            (Self::Duration { .. }, Raw::Int(number)) => Err(units::bare_duration(&digits(*number))),
            (Self::Size { min, max }, Raw::Text(text)) => match units::parse_size(text)? {
                bytes if bytes < min => Err(format!("is below the least value, {}", show_size(min))),
                bytes if bytes > max => Err(format!("is above the greatest value, {}", show_size(max))),
                bytes => Ok(Value::Size(bytes)),
            },
            (Self::Size { .. }, Raw::Int(number)) => Err(units::bare_size(&digits(*number))),
            (Self::Address { off }, Raw::Text(text)) => address(text, off).map(Value::Address),
            (Self::File, Raw::Text(text)) if text.is_empty() => {
                Err("is empty: name a file, or remove the setting".into())
            }
            (Self::File, Raw::Text(text)) => Ok(Value::File(PathBuf::from(text))),
            (Self::Word { rule, .. }, Raw::Text(text)) => rule(text).map(|()| Value::Text(text.clone())),
            (Self::OneOf(words), Raw::Text(text)) => one_of(words, text),
            (Self::WhenBlind, Raw::Text(text)) => when_blind(text).map(Value::WhenBlind),
            (Self::Secret { least }, Raw::Text(text)) => Secret::of_length(text, least).map(Value::Secret),
            (kind, raw) => Err(kind.mismatch(raw)),
        }
    }

    fn mismatch(self, raw: &Raw) -> String {
        let found = match raw {
            Raw::Text(_) => "text",
            Raw::Int(_) => "a number",
            Raw::Bool(_) => "true or false",
            Raw::List(_) => "a list",
            Raw::Other(found) => found,
        };
        format!("is {found}: write {}", self.wanted())
    }

    /// What to write, for messages and documentation.
    pub(super) fn wanted(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Duration { min, max } => {
                format!(
                    "a duration in quotes from {} to {}",
                    show_duration(min),
                    show_duration(max)
                )
            }
            Self::Size { min, max } => format!("a size in quotes from {} to {}", show_size(min), show_size(max)),
            Self::Address { off: false } => "an address with a port in quotes, such as \"127.0.0.1:8400\"".to_owned(),
            Self::Address { off: true } => {
                "an address with a port in quotes, such as \"127.0.0.1:8500\", or \"\" to turn it off".to_owned()
            }
            Self::File => "the path of a file in quotes".to_owned(),
            Self::Word { what, .. } => format!("{what} in quotes"),
            Self::OneOf(words) => format!("one of {} in quotes", words.join(", ")),
            Self::Words { what, min, max, .. } => {
                let least = if min > 0 {
                    format!("{min} to ")
                } else {
                    "at most ".to_owned()
                };
                format!("a list of {what} ({least}{max})")
            }
            Self::WhenBlind => "\"deny\" or \"serve \" and a duration from 1s to 1h".to_owned(),
            Self::Secret { least: 0 | 1 } => "a secret".to_owned(),
            Self::Secret { least } => format!("a credential of at least {least} bytes"),
        }
    }
}

fn check_words(
    setting: &str,
    items: &[Given],
    what: &str,
    rule: fn(&str) -> Verdict,
    report: &mut Report,
) -> Option<Value> {
    let mut words: Vec<String> = Vec::with_capacity(items.len());
    let mut seen = std::collections::BTreeSet::new();
    let mut good = true;
    for (index, item) in items.iter().enumerate() {
        let verdict = match &item.raw {
            Raw::Text(text) => rule(text).and_then(|()| {
                if seen.insert(text.as_str()) {
                    words.push(text.clone());
                    Ok(())
                } else {
                    Err("stands there twice: remove one".to_owned())
                }
            }),
            _ => Err(format!("is not text: write {what}, each in quotes")),
        };
        if let Err(message) = verdict {
            report.push(item.location.clone(), format!("{setting}[{index}]"), message);
            good = false;
        }
    }
    good.then_some(Value::List(words))
}

fn digits(number: Option<u64>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

fn duration_within(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    match units::parse_duration(text)? {
        value if value < min => Err(format!("is below the least value, {}", show_duration(min))),
        value if value > max => Err(format!("is above the greatest value, {}", show_duration(max))),
        value => Ok(value),
    }
}

fn address(text: &str, off: bool) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() && off {
        return Ok(None);
    }
    if let Ok(address) = text.parse() {
        return Ok(Some(address));
    }
    Err(if text.is_empty() {
        "is empty: write an address and a port, as in \"127.0.0.1:8400\"".into()
    } else if text.contains("://") {
        "is a URL: write an address and a port only, as in \"127.0.0.1:8400\"".into()
    } else if text.parse::<std::net::IpAddr>().is_ok() {
        "has no port: write it as in \"127.0.0.1:8400\" or \"[::1]:8400\"".into()
    } else if text.starts_with(':') {
        "has no address: write \"0.0.0.0\" before the port for all interfaces, or \"127.0.0.1\" for this machine only"
            .into()
    } else {
        "is not an IP address with a port: write it as in \"127.0.0.1:8400\" or \"[::1]:8400\" (names such as \
         \"localhost\" are not looked up)"
            .to_owned()
    })
}

fn one_of(words: &'static [&'static str], text: &str) -> Result<Value, String> {
    if words.contains(&text) {
        return Ok(Value::Text(text.to_owned()));
    }
    let hint = suggest::nearest(text, words.iter().copied())
        .map_or_else(String::new, |word| format!(" Did you mean \"{word}\"?"));
    Err(format!("is not one of {}.{hint}", words.join(", ")))
}

fn when_blind(text: &str) -> Result<WhenBlind, String> {
    if text == "deny" {
        return Ok(WhenBlind::Deny);
    }
    match text.strip_prefix("serve ") {
        Some(limit) => duration_within(limit, SERVE_LIMITS.0, SERVE_LIMITS.1)
            .map(WhenBlind::Serve)
            .map_err(|error| format!("has a duration after \"serve\" that {error}")),
        None if text == "serve" => Err("has no limit: write how long, as in \"serve 5m\"".into()),
        None => Err("is neither \"deny\" nor \"serve \" with a duration, such as \"serve 5m\"".into()),
    }
}
