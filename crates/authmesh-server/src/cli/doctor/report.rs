//! What was found, and how it is shown.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cli::io::Exit;
use crate::cli::text::plain;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Ok,
    Info,
    Warn,
    Fail,
    /// Could not be checked.
    Unknown,
}

impl Level {
    /// The word for people, and the stable word for programs.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Ok => ("ok", "ok"),
            Self::Info => ("info", "info"),
            Self::Warn => ("warn", "warn"),
            Self::Fail => ("FAIL", "fail"),
            Self::Unknown => ("????", "unknown"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    level: Level,
    topic: &'static str,
    what: String,
    advice: String,
}

/// Findings in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn ok(&mut self, topic: &'static str, what: impl Into<String>) {
        self.push(Level::Ok, topic, what.into(), "");
    }

    pub(super) fn info(&mut self, topic: &'static str, what: impl Into<String>) {
        self.push(Level::Info, topic, what.into(), "");
    }

    pub(super) fn warn(&mut self, topic: &'static str, what: impl Into<String>, advice: impl AsRef<str>) {
        self.push(Level::Warn, topic, what.into(), advice.as_ref());
    }

    pub(super) fn fail(&mut self, topic: &'static str, what: impl Into<String>, advice: impl AsRef<str>) {
        self.push(Level::Fail, topic, what.into(), advice.as_ref());
    }

    pub(super) fn unknown(&mut self, topic: &'static str, what: impl Into<String>, advice: impl AsRef<str>) {
        self.push(Level::Unknown, topic, what.into(), advice.as_ref());
    }

    fn push(&mut self, level: Level, topic: &'static str, what: String, advice: &str) {
        self.findings.push(Finding {
            level,
            topic,
            what: plain(&what),
            advice: plain(advice),
        });
    }

    /// Takes over what was found elsewhere.
    pub(super) fn append(&mut self, mut other: Self) {
        self.findings.append(&mut other.findings);
    }

    /// Takes over what was found of several servers: once where it holds for every one of them, else with their names.
    pub(super) fn add_parts(&mut self, parts: Vec<(String, Self)>) {
        let everywhere = |finding: &Finding| parts.iter().all(|(_, part)| part.findings.contains(finding));
        for (at, (name, part)) in parts.iter().enumerate() {
            for finding in &part.findings {
                let mut finding = finding.clone();
                if everywhere(&finding) {
                    if at > 0 {
                        continue;
                    }
                } else {
                    finding.what = format!("{}: {}", plain(name), finding.what);
                }
                self.findings.push(finding);
            }
        }
    }

    fn has(&self, level: Level) -> bool {
        self.findings.iter().any(|finding| finding.level == level)
    }

    /// Whether something of this topic failed.
    pub(super) fn failed(&self, topic: &str) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.topic == topic && finding.level == Level::Fail)
    }

    /// A failure outweighs what could not be checked.
    pub(super) fn exit(&self) -> Exit {
        if self.has(Level::Fail) {
            Exit::No
        } else if self.has(Level::Unknown) {
            Exit::Unknown
        } else {
            Exit::Yes
        }
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            let (word, _) = finding.level.words();
            let Finding { what, advice, .. } = finding;
            let stop = if advice.is_empty() || what.ends_with('.') {
                ""
            } else {
                "."
            };
            writeln!(out, "{}", format!("{word:<5} {what}{stop}   {advice}").trim_end())?;
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let result = match self.exit() {
            Exit::Yes => "ok",
            Exit::No => "fail",
            Exit::Unknown => "unknown",
        };
        let checks: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "level": finding.level.words().1,
                    "topic": finding.topic,
                    "what": finding.what,
                    "advice": finding.advice,
                })
            })
            .collect();
        json!({ "result": result, "checks": checks })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn findings_are_printed_one_per_line() {
        let mut report = Report::default();
        report.ok("redis", "redis 7.2.4, cluster, 3 primaries, 3 replicas");
        report.fail(
            "redis",
            "maxmemory-policy allkeys-lru may evict revocations",
            "Set it to volatile-lru or noeviction.",
        );
        report.warn("issuers", "two\nlines", "");
        let mut out = Vec::new();
        report.print(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ok    redis 7.2.4, cluster, 3 primaries, 3 replicas");
        assert_eq!(
            lines[1],
            "FAIL  maxmemory-policy allkeys-lru may evict revocations.   Set it to volatile-lru or noeviction."
        );
        assert_eq!(lines.len(), 3, "{text}");
    }

    #[test]
    fn what_holds_for_every_server_is_said_once() {
        let part = |port: u16, policy: &str| {
            let mut part = Report::default();
            part.ok("redis", "clock agrees");
            part.ok("redis", format!("policy {policy}"));
            (format!("r:{port}"), part)
        };
        let said = |parts: Vec<(String, Report)>| -> Vec<String> {
            let mut report = Report::default();
            report.add_parts(parts);
            report.findings.into_iter().map(|finding| finding.what).collect()
        };
        assert_eq!(said(vec![part(1, "a")]), ["clock agrees", "policy a"]);
        assert_eq!(said(vec![part(1, "a"), part(2, "a")]), ["clock agrees", "policy a"]);
        assert_eq!(
            said(vec![part(1, "a"), part(2, "b")]),
            ["clock agrees", "r:1: policy a", "r:2: policy b"]
        );
    }

    #[test]
    fn a_failure_outweighs_what_is_unknown() {
        let mut report = Report::default();
        assert_eq!(report.exit(), Exit::Yes);
        report.warn("x", "w", "");
        report.info("x", "i");
        assert_eq!(
            (report.exit(), report.json()["result"].as_str()),
            (Exit::Yes, Some("ok"))
        );
        report.unknown("x", "u", "");
        assert_eq!(report.exit(), Exit::Unknown);
        report.fail("y", "f", "");
        assert_eq!(
            (report.exit(), report.failed("y"), report.failed("x")),
            (Exit::No, true, false)
        );
    }
}
