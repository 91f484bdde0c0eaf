//! Values of options that several commands take.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::io::Failure;

const UNITS: [(&str, u64); 3] = [("h", 3_600), ("m", 60), ("s", 1)];

/// The word that stands for standard input.
const STDIN: &str = "-";

const NOT_AN_ARGUMENT: &str = "the token is read from standard input, never from an argument: it would be visible in the process list. \
     Write `-` and give the token like this: `... - < token.txt`";

/// `-`, and nothing else. Takes whatever stands there, so that the parser does not repeat it in an error.
#[derive(Args)]
pub(super) struct FromStdin {
    /// `-`: read the token from standard input
    #[arg(value_name = "-", num_args = 0..)]
    source: Vec<OsString>,
}

impl FromStdin {
    /// Refuses everything but `-`. `optional`: nothing means standard input as well.
    pub(super) fn check(&self, optional: bool) -> Result<(), Failure> {
        match self.source.as_slice() {
            [] if optional => Ok(()),
            [] => Err(Failure::said(
                "write `-` as the last argument: the token is read from standard input, as in `... - < token.txt`",
            )),
            [one] => only_stdin(one),
            _ => Err(Failure::said(NOT_AN_ARGUMENT)),
        }
    }
}

/// Refuses everything but `-`, without repeating it.
pub(super) fn only_stdin(given: &OsString) -> Result<(), Failure> {
    if given == STDIN {
        Ok(())
    } else {
        Err(Failure::said(NOT_AN_ARGUMENT))
    }
}

/// `iat` and `exp` may be off by so much. The limit is that of a policy.
pub(super) fn leeway(text: &str) -> Result<Duration, String> {
    between(text, Duration::ZERO, Duration::from_secs(300), "at most 5m")
}

/// The longest time from `iat` to `exp`. The limits are those of a policy.
pub(super) fn token_lifetime(text: &str) -> Result<Duration, String> {
    between(
        text,
        Duration::from_secs(60),
        Duration::from_secs(7 * 86_400),
        "1m to 168h",
    )
}

/// How long a revocation may be waited for. The limit is that of the admin API.
pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    between(text, Duration::ZERO, Duration::from_secs(60), "at most 60s")
}

fn between(text: &str, least: Duration, most: Duration, limits: &str) -> Result<Duration, String> {
    match duration(text) {
        Some(duration) if (least..=most).contains(&duration) => Ok(duration),
        Some(_) => Err(format!("it must be {limits}")),
        None => Err(format!(
            "write one whole number and one of the units s, m, h, such as 30s; {limits}"
        )),
    }
}

/// `30s`, `5m`, `2h`: the words of the configuration, in whole seconds as token times are.
fn duration(text: &str) -> Option<Duration> {
    let (unit, seconds) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?;
    // `parse` takes a sign.
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u64>().ok()?.checked_mul(*seconds)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn durations_have_one_number_and_one_unit() {
        for (text, seconds) in [("0s", 0), ("30s", 30), ("5m", 300), ("2h", 7_200)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "30",
            "+1s",
            "-1s",
            "1.5h",
            "1h30m",
            "5 s",
            "5S",
            "99999999999999999999s",
            "9999999999999999999h",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn limits_are_those_of_a_policy() {
        assert!(leeway("0s").is_ok() && leeway("5m").is_ok());
        assert!(leeway("301s").unwrap_err().contains("5m"));
        assert!(token_lifetime("1m").is_ok() && token_lifetime("168h").is_ok());
        assert!(token_lifetime("59s").is_err() && token_lifetime("169h").unwrap_err().contains("168h"));
    }
}
