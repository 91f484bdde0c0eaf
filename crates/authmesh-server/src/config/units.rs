//! Durations and sizes in text: one whole number and one unit, never a bare number.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Parses `30s`, `5m`, `2h`, `500ms`. The error goes on after the name of the setting.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text, "a duration such as \"30s\"")?;
    if unit.is_empty() {
        return Err(bare_duration(number));
    }
    let millis = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, millis)| *millis)
        .ok_or_else(|| match unit {
            "d" | "day" | "days" => "counts days: write hours, such as \"24h\" for one day".to_owned(),
            _ => "is not one whole number with one of the units ms, s, m, h: write it as in \"500ms\", \"30s\", \
                  \"90m\" or \"2h\""
                .to_owned(),
        })?;
    multiply(number, millis).map(Duration::from_millis)
}

/// Parses `64MiB`, `16KiB`. The result is in bytes. The error goes on after the name of the setting.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text, "a size such as \"64MiB\"")?;
    if unit.is_empty() {
        return Err(bare_size(number));
    }
    let bytes = SIZE_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, bytes)| *bytes)
        .ok_or_else(|| {
            "is not one whole number with one of the units B, KiB, MiB, GiB (1 KiB is 1,024 bytes): write it as in \
             \"16KiB\" or \"64MiB\""
                .to_owned()
        })?;
    multiply(number, bytes)
}

/// The message for a duration without a unit.
pub(super) fn bare_duration(number: &str) -> String {
    let number = repeatable(number, "30");
    format!("has no unit: write \"{number}s\" if seconds are meant (units: ms, s, m, h)")
}

/// The message for a size without a unit.
pub(super) fn bare_size(number: &str) -> String {
    let number = repeatable(number, "64");
    format!("has no unit: write \"{number}MiB\" if mebibytes are meant (units: B, KiB, MiB, GiB)")
}

/// A short number may be repeated in a message; a long one could be a PIN or part of a key.
fn repeatable<'a>(number: &'a str, otherwise: &'a str) -> &'a str {
    if (1..=5).contains(&number.len()) {
        number
    } else {
        otherwise
    }
}

/// Shows a duration in the largest unit that keeps it whole. Parses back to the same value (whole milliseconds).
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    show(millis, &DURATION_UNITS)
}

/// Shows a size in the largest unit that keeps it whole. Parses back to the same value.
pub(super) fn show_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    show(u128::from(bytes), &SIZE_UNITS)
}

fn show(amount: u128, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, factor)| amount.is_multiple_of(u128::from(*factor)))
        .map_or_else(String::new, |(name, factor)| {
            format!("{}{name}", amount / u128::from(*factor))
        })
}

fn split<'a>(text: &'a str, wanted: &str) -> Result<(&'a str, &'a str), String> {
    if text.is_empty() {
        return Err(format!("is empty: write {wanted}"));
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 {
        return Err(format!("does not begin with a number: write {wanted}"));
    }
    Ok(text.split_at(digits))
}

fn multiply(number: &str, factor: u64) -> Result<u64, String> {
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| "is far too large".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn durations_parse_and_show_back() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("0s", 0),
        ] {
            let parsed = parse_duration(text).unwrap();
            assert_eq!(parsed, Duration::from_millis(millis), "{text}");
            assert_eq!(show_duration(parsed), text);
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_duration(Duration::from_secs(3600)), "1h");
    }

    #[test]
    fn sizes_parse_and_show_back() {
        for (text, bytes) in [
            ("1B", 1),
            ("16KiB", 16 << 10),
            ("64MiB", 64 << 20),
            ("3GiB", 3 << 30),
            ("0B", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        for (text, part) in [
            ("", "is empty"),
            ("30", "has no unit: write \"30s\""),
            ("123456", "write \"30s\""),
            ("1d", "24h"),
            ("1h30m", "one whole number"),
            ("1.5s", "one whole number"),
            ("-5s", "does not begin with a number"),
            ("5 s", "one whole number"),
            ("5S", "one whole number"),
            ("99999999999999999999s", "too large"),
            ("18446744073709551615h", "too large"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        for (text, part) in [
            ("", "is empty"),
            ("64", "write \"64MiB\""),
            ("64MB", "1 KiB is 1,024 bytes"),
            ("64mib", "KiB"),
            ("18446744073709551615KiB", "too large"),
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
