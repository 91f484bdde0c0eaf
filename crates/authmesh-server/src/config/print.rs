//! The configuration as TOML: what is in effect, and what could be written.

use super::kind::Kind;
use super::problem::Location;
use super::resolve::{Effective, Source};
use super::schema::{Fallback, Setting};
use super::sections::{GROUPS, SECTIONS};
use super::table::SETTINGS;

/// The widest column at which the sources are lined up.
const MAX_ALIGN: usize = 56;

/// Width of the comments in the default file, in characters.
const WRAP: usize = 100;

/// The configuration in effect, with sources. See [`Loaded::print`](super::Loaded::print).
pub(super) fn effective(settings: &[Effective]) -> String {
    let mut out = String::from("# The configuration in effect. Each line says where its value came from.\n");
    for section in settings.chunk_by(|a, b| section_of(&a.setting) == section_of(&b.setting)) {
        let Some(first) = section.first() else { continue };
        out.push('\n');
        out.push_str(&header(section_of(&first.setting)));
        out.push('\n');
        let lines: Vec<(String, &Effective)> = section.iter().map(|setting| (assignment(setting), setting)).collect();
        let width = lines
            .iter()
            .map(|(line, _)| line.chars().count())
            .filter(|width| *width <= MAX_ALIGN)
            .max()
            .unwrap_or(0);
        for (line, setting) in lines {
            let source = match (&setting.value, &setting.source) {
                (None, Source::Default) => "not set".to_owned(),
                (_, source) => source.to_string(),
            };
            out.push_str(&format!("{line:width$}   # {source}\n"));
        }
    }
    out
}

fn assignment(setting: &Effective) -> String {
    let key = setting
        .setting
        .rsplit_once('.')
        .map_or(setting.setting.as_str(), |(_, key)| key);
    match &setting.value {
        Some(value) if !setting.secret => format!("{key} = {value}"),
        // A secret may not stand in the file, and the text has to load again.
        Some(_) => format!("#{key} = (redacted)"),
        None => format!("#{key} ="),
    }
}

fn section_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

/// The TOML header of a section: `issuers[0]` is `[[issuers]]`, `issuers[0].keys` is `[issuers.keys]`.
fn header(section: &str) -> String {
    match section.split_once('[') {
        None => format!("[{section}]"),
        Some((group, rest)) => match rest.split_once("].") {
            Some((_, below)) => format!("[{group}.{below}]"),
            None => format!("[[{group}]]"),
        },
    }
}

/// A commented configuration file with every setting, its meaning, its limits, its default and its variable.
///
/// Settings with a default are commented out (`#key = value`, without a space); text has a space after `#`. What has to
/// be filled in stands there with an empty value, so that the file says so until somebody did.
#[must_use]
pub fn default_file() -> String {
    let mut out = String::new();
    comment(
        &mut out,
        "authmesh.toml: every setting with its meaning and its default. Lines such as `#key = value` show what holds \
         anyway, or an example where there is no default: remove the `#` to set one. A variable wins over this file. \
         Check with `authmesh config check`, see what holds with `authmesh config print`.",
    );
    for section in SECTIONS {
        // A section that may be left out is commented out as a whole.
        let optional = GROUPS
            .iter()
            .any(|group| group.min == 0 && section.path.starts_with(group.name));
        out.push('\n');
        comment(&mut out, section.doc);
        if optional {
            out.push('#');
        }
        out.push_str(&header(section.path));
        out.push('\n');
        for setting in SETTINGS.iter().filter(|setting| setting.section() == section.path) {
            out.push('\n');
            describe(&mut out, setting, optional);
        }
    }
    out
}

fn describe(out: &mut String, setting: &Setting, optional: bool) {
    comment(out, setting.doc);
    let variable = setting.variable(0);
    if matches!(setting.kind, Kind::Secret { .. }) {
        comment(
            out,
            &format!("Only as a variable: {variable}, {}.", setting.kind.wanted()),
        );
        return;
    }
    let default = match &setting.fallback {
        Fallback::Is(_) | Fallback::Sdk(_) => String::new(),
        Fallback::Computed { words, .. } => format!(" Default: {words}."),
        Fallback::Unset { .. } => " Default: not set.".to_owned(),
        Fallback::Required { .. } => " Must be given.".to_owned(),
    };
    comment(out, &format!("Takes {}.{default}", setting.kind.wanted()));
    comment(out, &format!("Variable: {variable}"));

    let (text, live) = match &setting.fallback {
        Fallback::Is(text) => ((*text).to_owned(), false),
        Fallback::Sdk(default) => (default(), false),
        Fallback::Computed { example, .. } | Fallback::Unset { example } => ((*example).to_owned(), false),
        Fallback::Required { example, .. } if optional => ((*example).to_owned(), false),
        Fallback::Required { .. } => (String::new(), true),
    };
    let hash = if live { "" } else { "#" };
    out.push_str(&format!(
        "{hash}{} = {}\n",
        setting.key(),
        example(setting.kind, &text, live)
    ));
}

/// A value of the table as TOML.
fn example(kind: Kind, text: &str, empty: bool) -> String {
    if empty {
        return "\"\"".to_owned();
    }
    let mut report = super::problem::Report::default();
    let given = kind.read(text, Location::Missing);
    kind.check("", &given, &mut report)
        .and_then(|value| value.to_toml())
        .unwrap_or_default()
}

/// Text as comment lines.
fn comment(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        if width == 0 || width + word.len() > WRAP {
            if width > 0 {
                out.push('\n');
            }
            out.push('#');
            width = 1;
        }
        out.push(' ');
        out.push_str(word);
        width += word.len() + 1;
    }
    out.push('\n');
}
