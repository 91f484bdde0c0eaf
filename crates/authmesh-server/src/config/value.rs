//! A checked value, its TOML form, and its way into the typed configuration.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;
use super::typed::WhenBlind;
use super::units;

/// A value that its kind has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Bool(bool),
    Count(u64),
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// `None` where the listener is turned off.
    Address(Option<SocketAddr>),
    File(PathBuf),
    Text(String),
    List(Vec<String>),
    WhenBlind(WhenBlind),
    Secret(Secret),
}

impl Value {
    /// The value as it may stand in a TOML file. `None` for a secret.
    pub(super) fn to_toml(&self) -> Option<String> {
        Some(match self {
            Self::Bool(value) => value.to_string(),
            Self::Count(value) => value.to_string(),
            Self::Duration(value) => quoted(&units::show_duration(*value)),
            Self::Size(value) => quoted(&units::show_size(*value)),
            Self::Address(Some(value)) => quoted(&value.to_string()),
            Self::Address(None) => quoted(""),
            Self::File(value) => quoted(&value.to_string_lossy()),
            Self::Text(value) => quoted(value),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::WhenBlind(WhenBlind::Deny) => quoted("deny"),
            Self::WhenBlind(WhenBlind::Serve(limit)) => quoted(&format!("serve {}", units::show_duration(*limit))),
            Self::Secret(_) => return None,
        })
    }
}

/// A TOML basic string (TOML 1.0, section "String").
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A type of the configuration that a value can become. `None` where the kinds do not fit.
pub(super) trait FromValue: Sized {
    fn from_value(value: Option<Value>) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty: $pattern:pat => $out:expr;)+) => {
        $(impl FromValue for $type {
            fn from_value(value: Option<Value>) -> Option<Self> {
                match value? {
                    $pattern => $out,
                    _ => None,
                }
            }
        })+
    };
}

from_value! {
    bool: Value::Bool(value) => Some(value);
    u64: Value::Count(value) | Value::Size(value) => Some(value);
    u8: Value::Count(value) => u8::try_from(value).ok();
    u32: Value::Count(value) => u32::try_from(value).ok();
    usize: Value::Count(value) | Value::Size(value) => usize::try_from(value).ok();
    Duration: Value::Duration(value) => Some(value);
    SocketAddr: Value::Address(value) => value;
    String: Value::Text(value) => Some(value);
    Vec<String>: Value::List(value) => Some(value);
    WhenBlind: Value::WhenBlind(value) => Some(value);
}

/// Empty text means "none", and so does nothing at all.
impl FromValue for Option<SocketAddr> {
    fn from_value(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(Value::Address(value)) => Some(value),
            Some(_) => None,
        }
    }
}

impl FromValue for Option<usize> {
    fn from_value(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(Value::Count(value)) => usize::try_from(value).ok().map(Some),
            Some(_) => None,
        }
    }
}

impl FromValue for Option<Duration> {
    fn from_value(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(Value::Duration(value)) => Some(Some(value)),
            Some(_) => None,
        }
    }
}

impl FromValue for Option<Vec<String>> {
    fn from_value(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(Value::List(value)) => Some(Some(value)),
            Some(_) => None,
        }
    }
}

impl FromValue for Option<PathBuf> {
    fn from_value(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(Value::File(value)) => Some(Some(value)),
            Some(_) => None,
        }
    }
}

impl FromValue for Option<Secret> {
    fn from_value(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(Value::Secret(value)) => Some(Some(value)),
            Some(_) => None,
        }
    }
}

/// Empty text means "none".
impl FromValue for Option<String> {
    fn from_value(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(None),
            Some(Value::Text(value)) => Some(Some(value).filter(|text| !text.is_empty())),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn quoted_text_is_read_back_by_the_toml_parser() {
        for text in [
            "",
            "plain",
            "a \"quote\"",
            "back\\slash",
            "tab\tnewline\n",
            "\u{7f}\u{1}",
            "héé",
        ] {
            let document = format!("key = {}", quoted(text));
            let table = toml::de::DeTable::parse(&document).unwrap();
            assert_eq!(table.get_ref()["key"].get_ref().as_str(), Some(text));
        }
    }

    #[test]
    fn a_secret_has_no_toml_form() {
        let secret = Secret::new("0123456789abcdef").unwrap();
        assert_eq!(Value::Secret(secret).to_toml(), None);
    }
}
