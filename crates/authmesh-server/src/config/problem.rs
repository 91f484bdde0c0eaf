//! Problems: what was wrong, where, and what to do.

use std::fmt;
use std::sync::Arc;

/// Where a problem lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In the configuration file.
    File {
        /// Path of the file as it was given.
        path: Arc<str>,
        /// Line, counted from 1. `None` where the file as a whole is meant.
        line: Option<u32>,
        /// Column in characters, counted from 1. Known for syntax errors only.
        column: Option<u32>,
    },
    /// In an environment variable.
    Env {
        /// Name of the variable.
        var: String,
    },
    /// Nowhere: the setting is in neither the file nor the environment.
    Missing,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                f.write_str(path)?;
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                    if let Some(column) = column {
                        write!(f, ":{column}")?;
                    }
                }
                Ok(())
            }
            Self::Env { var } => f.write_str(var),
            Self::Missing => f.write_str("configuration"),
        }
    }
}

/// One problem. Its text holds no value of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it lies.
    pub location: Location,
    /// The setting concerned, such as `issuers[1].audience`. Empty where no single setting is meant.
    pub setting: String,
    /// What is wrong and what to do. Goes on after the name of the setting: "is empty: ...".
    pub message: String,
}

impl Problem {
    /// A message without an end gets its full stop here, so that rules can return parts of sentences.
    pub(super) fn new(location: Location, setting: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if !message.ends_with(['.', '?']) {
            message.push('.');
        }
        Self {
            location,
            setting: setting.into(),
            message,
        }
    }

    /// A disagreement between the table of settings and the code. The tests load every setting, so that nobody sees it.
    pub(super) fn defect(setting: &str) -> Self {
        Self::new(
            Location::Missing,
            setting,
            "is not handled by this build of authmesh. This is a defect of authmesh: please report it.",
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.location)?;
        if !self.setting.is_empty() {
            write!(f, "{} ", self.setting)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a configuration was refused: one problem or more. `Display` writes one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    /// The most problems that are kept; the rest are counted.
    pub const MAX: usize = 200;

    pub(super) fn one(problem: Problem) -> Self {
        Self {
            list: vec![problem],
            left_out: 0,
        }
    }

    /// The problems: those of the file first, by line, then those of the environment. Never empty.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        if self.left_out > 0 {
            write!(f, "\n(and {} more problems)", self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems while the configuration is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    list: Vec<Problem>,
    left_out: usize,
}

impl Report {
    pub(super) fn push(&mut self, location: Location, setting: impl Into<String>, message: impl Into<String>) {
        if self.list.len() < Problems::MAX {
            self.list.push(Problem::new(location, setting, message));
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn into_list(self) -> Vec<Problem> {
        let mut list = self.list;
        list.sort_by_key(|problem| match &problem.location {
            Location::File { line, column, .. } => (0, line.unwrap_or(0), column.unwrap_or(0)),
            Location::Env { .. } => (1, 0, 0),
            Location::Missing => (2, 0, 0),
        });
        list
    }

    /// `Ok` where nothing was reported.
    pub(super) fn into_result(self) -> Result<(), Problems> {
        if self.list.is_empty() {
            return Ok(());
        }
        let left_out = self.left_out;
        Err(Problems {
            list: self.into_list(),
            left_out,
        })
    }
}

/// Text that came from outside, made fit for a terminal: no control characters, at most 64 characters.
///
/// For names only (keys, variables, paths), never for values.
pub(super) fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 64;
    let mut out: String = text
        .chars()
        .take(MAX_CHARS)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        out.push_str("...");
    }
    out
}
