//! For every setting: which of file, environment and default counts, and the checked value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::env::Environment;
use super::kind::{Given, Kind};
use super::preset::Preset;
use super::problem::{Location, Report};
use super::schema::{self, Fallback, Setting, Surroundings};
use super::sections::GROUPS;
use super::source::{self, Document};
use super::table::SETTINGS;
use super::value::Value;

/// What file and environment give, by the paths of settings with numbers (`issuers[3].url`). No `Debug`: a
/// variable may hold a secret.
#[derive(Default)]
pub(super) struct AllGiven {
    pub(super) values: BTreeMap<String, Given>,
    /// Where each section of a group begins.
    pub(super) items: BTreeMap<&'static str, Vec<Location>>,
    /// Groups that stand there in a wrong form: that they lack sections needs no second word.
    pub(super) malformed: BTreeSet<&'static str>,
}

/// Where the value of a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The default, fixed or computed; also where nothing is set.
    Default,
    /// The configuration file.
    File {
        /// Path of the file as it was given.
        path: Arc<str>,
        /// Line, counted from 1.
        line: u32,
    },
    /// An environment variable, by its name.
    Env(String),
    /// A preset, by its name.
    Preset(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "from {path}:{line}"),
            Self::Env(var) => write!(f, "from {var}"),
            Self::Preset(name) => write!(f, "preset {name}"),
        }
    }
}

/// A setting in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Path of the setting, such as `issuers[0].url`.
    pub setting: String,
    /// The value as TOML. `None` where nothing is set. A secret is `"(redacted)"`.
    pub value: Option<String>,
    /// Whether the value is a secret, and so not shown.
    pub secret: bool,
    /// Where the value came from.
    pub source: Source,
}

/// A setting with its value.
#[derive(Debug)]
pub(super) struct Entry {
    setting: &'static Setting,
    /// `None` where nothing is set, or where there was a problem.
    value: Option<Value>,
    /// Whether the value was refused.
    refused: bool,
    /// Where it was given; for a default, where its section begins.
    location: Location,
    given: bool,
    /// The preset that it is from.
    preset: Option<&'static str>,
}

/// All settings, checked one by one.
#[derive(Debug)]
pub(super) struct Resolved {
    entries: BTreeMap<String, Entry>,
    counts: BTreeMap<&'static str, usize>,
}

/// Checks every setting. Each problem goes to the report.
pub(super) fn resolve(
    given: &AllGiven,
    env: &Environment,
    document: Option<&Document>,
    report: &mut Report,
) -> Resolved {
    let host_name = env.host_name();
    let mut resolver = Resolver {
        given,
        document,
        report,
        host_name: &host_name,
        resolved: Resolved {
            entries: BTreeMap::new(),
            counts: BTreeMap::new(),
        },
    };
    // Settings outside of groups come first: `danger` decides what groups demand.
    for setting in schema::settings_of(None) {
        resolver.setting(setting, 0, &Location::Missing, None);
    }
    for group in GROUPS {
        let items = given.items.get(group.name).map_or(&[][..], Vec::as_slice);
        if items.len() < group.min && !given.malformed.contains(group.name) {
            let location = document.map_or(Location::Missing, |document| Location::File {
                path: Arc::clone(&document.name),
                line: None,
                column: None,
            });
            resolver.report.push(location, group.name, group.advice);
        }
        resolver.resolved.counts.insert(group.name, items.len());
        for (index, anchor) in items.iter().enumerate() {
            let preset = match group.name {
                "issuers" => Preset::of(index, given, resolver.report),
                _ => None,
            };
            for setting in schema::settings_of(Some(group.name)) {
                resolver.setting(setting, index, anchor, preset.as_ref());
            }
        }
    }
    resolver.resolved
}

struct Resolver<'a> {
    given: &'a AllGiven,
    document: Option<&'a Document>,
    report: &'a mut Report,
    host_name: &'a str,
    resolved: Resolved,
}

impl Resolver<'_> {
    fn setting(&mut self, setting: &'static Setting, index: usize, anchor: &Location, preset: Option<&Preset>) {
        let path = setting.numbered(index);
        let from_preset = preset.and_then(|preset| preset.says(setting));
        // Where something is wrong with the preset, that has been said.
        let fills = preset.is_some() && setting.path == "issuers[].url";
        let given = self.given.values.get(&path);
        let location = given.map_or(anchor, |given| &given.location).clone();

        let lacking = match &setting.fallback {
            Fallback::Required { .. } if given.is_none() && fills => None,
            Fallback::Required { why, unless, .. } if given.is_none_or(Given::is_empty) => {
                // A switch that was refused itself would only make a second problem of one.
                let lifted = unless.is_some_and(|path| self.resolved.flag(path) || self.resolved.is_refused(path));
                (!lifted).then_some(why)
            }
            _ => None,
        };
        let value = if let Some(why) = lacking {
            let state = if given.is_some() { "empty" } else { "missing" };
            self.report
                .push(location.clone(), path.as_str(), format!("is {state}: {why}"));
            None
        } else if let Some(given) = given {
            let value = setting.kind.check(&path, given, self.report);
            value.and_then(|value| self.file(&path, value, &location))
        } else if let Some(text) = &from_preset {
            let given = setting.kind.read(text, location.clone());
            setting.kind.check(&path, &given, self.report)
        } else if fills {
            None
        } else {
            self.fallback(setting, index, &path)
        };

        let refused = value.is_none() && (given.is_some() || lacking.is_some());
        let entry = Entry {
            setting,
            value,
            refused,
            location,
            given: given.is_some(),
            preset: match (given, from_preset) {
                (None, Some(_)) => preset.map(|preset| preset.name),
                _ => None,
            },
        };
        self.resolved.entries.insert(path, entry);
    }

    fn fallback(&mut self, setting: &'static Setting, index: usize, path: &str) -> Option<Value> {
        let text = match &setting.fallback {
            Fallback::Is(text) => (*text).to_owned(),
            Fallback::Sdk(default) => default(),
            Fallback::Computed { value, .. } => {
                let sensitive = setting
                    .group()
                    .is_some_and(|group| self.resolved.flag(&format!("{group}[{index}].sensitive")));
                value(&Surroundings {
                    host_name: self.host_name,
                    sensitive,
                })
            }
            Fallback::Unset { .. } => return None,
            // The demand was lifted.
            Fallback::Required { .. } => String::new(),
        };
        let given = setting.kind.read(&text, Location::Missing);
        setting.kind.check(path, &given, self.report)
    }

    /// For a file: where it is, and whether it can be read. Other values pass.
    fn file(&mut self, setting: &str, value: Value, location: &Location) -> Option<Value> {
        let Value::File(path) = value else {
            return Some(value);
        };
        let path = match (location, self.document) {
            (Location::File { .. }, Some(document)) => document.folder.join(path),
            _ => path,
        };
        match source::open_regular(&path) {
            Ok(_) => Some(Value::File(path)),
            Err(error) => {
                // The path is not repeated: it might be the secret itself, put where its file's name belongs.
                let message = format!("names a file that {error}");
                self.report.push(location.clone(), setting, message);
                None
            }
        }
    }
}

impl Resolved {
    /// How many sections a group has.
    pub(super) fn count(&self, group: &str) -> usize {
        self.counts.get(group).copied().unwrap_or(0)
    }

    fn value(&self, path: &str) -> Option<&Value> {
        self.entries.get(path).and_then(|entry| entry.value.as_ref())
    }

    /// Whether a switch is on.
    pub(super) fn flag(&self, path: &str) -> bool {
        matches!(self.value(path), Some(Value::Bool(true)))
    }

    /// Whether a value was given and refused, so that nothing can be said about it.
    pub(super) fn is_refused(&self, path: &str) -> bool {
        self.entries.get(path).is_some_and(|entry| entry.refused)
    }

    /// Whether file or environment gave it.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.entries.get(path).is_some_and(|entry| entry.given)
    }

    pub(super) fn duration(&self, path: &str) -> Option<Duration> {
        match self.value(path)? {
            Value::Duration(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        match self.value(path)? {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The words of a list; none where it was refused.
    pub(super) fn words(&self, path: &str) -> &[String] {
        match self.value(path) {
            Some(Value::List(words)) => words,
            _ => &[],
        }
    }

    pub(super) fn any(&self, path: &str) -> Option<&Value> {
        self.value(path)
    }

    /// Where it was given; for a default, where its section begins.
    pub(super) fn location(&self, path: &str) -> Location {
        self.entries
            .get(path)
            .map_or(Location::Missing, |entry| entry.location.clone())
    }

    /// Every value, by path. For the typed configuration.
    pub(super) fn into_values(self) -> BTreeMap<String, Option<Value>> {
        self.entries
            .into_iter()
            .map(|(path, entry)| (path, entry.value))
            .collect()
    }

    /// Every setting with its source, in the order of the table.
    pub(super) fn effective(&self) -> Vec<Effective> {
        let mut out = Vec::with_capacity(self.entries.len());
        let mut done: Option<&str> = None;
        for setting in SETTINGS {
            match setting.group() {
                None => out.extend(self.effective_one(setting, 0)),
                Some(group) if done != Some(group) => {
                    for index in 0..self.count(group) {
                        out.extend(schema::settings_of(Some(group)).filter_map(|s| self.effective_one(s, index)));
                    }
                    done = Some(group);
                }
                Some(_) => {}
            }
        }
        out
    }

    fn effective_one(&self, setting: &'static Setting, index: usize) -> Option<Effective> {
        let path = setting.numbered(index);
        let entry = self.entries.get(&path)?;
        let secret = matches!(entry.setting.kind, Kind::Secret { .. });
        let source = match &entry.location {
            Location::File {
                path, line: Some(line), ..
            } if entry.given => Source::File {
                path: Arc::clone(path),
                line: *line,
            },
            Location::Env { var } if entry.given => Source::Env(var.clone()),
            _ => match entry.preset {
                Some(name) => Source::Preset(name.to_owned()),
                None => Source::Default,
            },
        };
        let value = entry.value.as_ref().map(|value| match value.to_toml() {
            Some(toml) => toml,
            None => "\"(redacted)\"".to_owned(),
        });
        Some(Effective {
            setting: path,
            value,
            secret,
            source,
        })
    }
}
