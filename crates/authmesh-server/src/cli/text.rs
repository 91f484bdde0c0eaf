//! Words for people: text that a terminal may see, times, spans, rows and tables.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use authmesh::proto::time::Unix;

/// The longest text from outside that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 512;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// No time beyond this is shown as one: the end of the year 9999.
const LATEST: Unix = 253_402_300_799;

/// Text from outside, made fit for a terminal: a control character could drive it, and one that changes the direction of
/// writing could make one claim look like another. Such characters become `?`; what is too long is cut.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() || is_invisible(c) { '?' } else { c };
    let mut out: String = text.chars().take(MAX_SHOWN_CHARS).map(shown).collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        out.push_str("...");
    }
    out
}

/// What stands in place of an argument that might be a secret.
pub(super) const HIDDEN: &str = "(not shown)";

/// Whether text could be a token: the base64url of `{"` is the beginning of every header.
pub(super) fn looks_like_token(text: &str) -> bool {
    text.contains("eyJ")
}

/// The path of a file, for a message; but not a token that was given where a path belongs.
pub(super) fn path_name(path: &Path) -> String {
    let name = path.display().to_string();
    if looks_like_token(&name) {
        HIDDEN.to_owned()
    } else {
        plain(&name)
    }
}

/// Line and paragraph separators, zero-width characters, and the controls of the bidirectional algorithm.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// A time of day in UTC, with the date where it is not the day of `now`: `12:01:40`, `2026-11-21 12:01:40`.
pub(super) fn clock(at: Unix, now: Unix) -> String {
    if at > LATEST {
        return "beyond the year 9999".to_owned();
    }
    let (hour, minute, second) = (at % DAY / HOUR, at % HOUR / MINUTE, at % MINUTE);
    let time = format!("{hour:02}:{minute:02}:{second:02}");
    if at / DAY == now / DAY {
        return time;
    }
    let (year, month, day) = civil(at / DAY);
    format!("{year:04}-{month:02}-{day:02} {time}")
}

/// The date of a day counted from 1970-01-01. Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`: years begin in March, so that the leap day is their last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days + 719_468;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// A span in its largest fitting unit, rounded down: `11 s`, `31 min`, `5 h`, `3 days`.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        // Up to two days in hours: "1 day" could be nearly two.
        HOUR..172_800 => format!("{} h", seconds / HOUR),
        _ => format!("{} days", thousands(seconds / DAY)),
    }
}

/// `in 31 min`, `4 min ago`, `now`.
pub(super) fn relative(at: Unix, now: Unix) -> String {
    match at.abs_diff(now) {
        0 => "now".to_owned(),
        ahead if at > now => format!("in {}", span(ahead)),
        behind => format!("{} ago", span(behind)),
    }
}

/// The window of a token: `issued 12:01:40, valid until 13:01:40 UTC (in 31 min)`.
pub(super) fn window(issued_at: Option<Unix>, expires_at: Option<Unix>, now: Unix) -> String {
    let issued = issued_at.map_or_else(
        || "issued at an unknown time".to_owned(),
        |at| format!("issued {}", clock(at, now)),
    );
    match expires_at {
        Some(at) if at > now => format!("{issued}, valid until {} UTC ({})", clock(at, now), relative(at, now)),
        Some(at) => format!(
            "{issued}, was valid until {} UTC ({})",
            clock(at, now),
            relative(at, now)
        ),
        None => format!("{issued} UTC, without an end"),
    }
}

/// `1,204`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `4 keys`, `1 key`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// `64 B`, `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_024 => return format!("{bytes} B"),
        1_024..1_048_576 => (1_024, "KiB"),
        1_048_576..1_073_741_824 => (1_048_576, "MiB"),
        _ => (1_073_741_824, "GiB"),
    };
    let tenths = bytes % unit * 10 / unit;
    format!("{}.{tenths} {name}", thousands(bytes / unit))
}

pub(super) fn yes_or_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

pub(super) fn or_dash(text: Option<&String>) -> String {
    text.filter(|text| !text.is_empty())
        .map_or_else(|| "-".to_owned(), Clone::clone)
}

/// One line of an answer: a label, and what there is to say.
pub(super) fn row(out: &mut dyn io::Write, label: &str, what: &str) -> io::Result<()> {
    writeln!(out, "  {label:<8} {what}")
}

/// Rows in columns, each as wide as its widest cell.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(head: [&str; N]) -> Self {
        Self {
            rows: vec![head.map(str::to_owned)],
        }
    }

    /// Adds a row. Cells are made fit for a terminal.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| plain(&cell)));
    }

    pub(super) fn print(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                // Writing into a string cannot fail.
                let _ = write!(line, "{cell:<width$}   ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn text_from_outside_cannot_drive_a_terminal() {
        assert_eq!(plain("a\x1b[31m\nb\u{9b}c\u{202e}d\u{200b}"), "a?[31m?b?c?d?");
        assert_eq!(plain("Jürgen 東"), "Jürgen 東");
        assert_eq!(plain(&"x".repeat(600)).len(), MAX_SHOWN_CHARS + 3);
    }

    #[test]
    fn times_carry_a_date_on_other_days_only() {
        // 2026-11-21 12:01:40 UTC, as `date -u -d @1795262500` has it.
        let noon = 1_795_262_500;
        assert_eq!(clock(noon, noon + 60), "12:01:40");
        assert_eq!(clock(noon, noon + DAY), "2026-11-21 12:01:40");
        for (at, shown) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (1_709_251_200, "2024-03-01 00:00:00"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (LATEST, "9999-12-31 23:59:59"),
            (LATEST + 1, "beyond the year 9999"),
            (u64::MAX, "beyond the year 9999"),
        ] {
            assert_eq!(clock(at, noon), shown);
        }
    }

    #[test]
    fn spans_and_windows_are_said_in_words() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min"),
            (3_600, "1 h"),
            (172_799, "47 h"),
            (172_800, "2 days"),
            (u64::MAX, "213,503,982,334,601 days"),
        ] {
            assert_eq!(span(seconds), words);
        }
        let now = 1_795_264_240;
        assert_eq!(
            window(Some(now - 1_740), Some(now + 1_860), now),
            "issued 12:01:40, valid until 13:01:40 UTC (in 31 min)"
        );
        assert_eq!(
            window(None, Some(now - 5), now),
            "issued at an unknown time, was valid until 12:30:35 UTC (5 s ago)"
        );
        assert_eq!(window(Some(now), None, now), "issued 12:30:40 UTC, without an end");
        assert_eq!(relative(now, now), "now");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, words) in [(0, "0"), (999, "999"), (1_204, "1,204"), (1_000_000, "1,000,000")] {
            assert_eq!(thousands(number), words);
        }
        assert_eq!(
            (count(1, "key", "keys"), count(0, "key", "keys")),
            ("1 key".into(), "0 keys".into())
        );
        for (bytes, words) in [
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "17,179,869,183.9 GiB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let mut table = Table::new(["node", "live"]);
        table.row(["a-long-name".into(), "yes".into()]);
        table.row(["b\n".into(), "no".into()]);
        let mut out = Vec::new();
        table.print(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "node          live\na-long-name   yes\nb?            no\n"
        );
    }
}
