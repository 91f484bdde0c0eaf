//! What the file gives: its keys matched with the table of settings.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::{Given, Kind, Raw};
use super::problem::{Location, Problems, Report, shown};
use super::resolve::AllGiven;
use super::schema;
use super::source::Document;
use super::suggest;
use super::table::SETTINGS;

/// Collects what a document gives. Keys that are not settings go to the report.
///
/// Fails where the document is not TOML: then nothing else is worth reporting.
pub(super) fn collect(document: &Document, report: &mut Report) -> Result<AllGiven, Problems> {
    let (root, errors) = DeTable::parse_recoverable(&document.text);
    let mut syntax = Report::default();
    for error in errors {
        // Only the parser's description: its `Display` shows the line, which may hold a secret.
        let message = format!("is not valid TOML: {}.", error.message());
        let location = match error.span() {
            Some(span) => document.exact_location(span.start),
            None => document.location(0),
        };
        syntax.push(location, "", message);
    }
    syntax.into_result()?;

    let mut walk = Walk {
        document,
        report,
        given: AllGiven::default(),
    };
    walk.table(root.get_ref(), "", "");
    Ok(walk.given)
}

struct Walk<'a> {
    document: &'a Document,
    report: &'a mut Report,
    given: AllGiven,
}

impl Walk<'_> {
    /// `numbered` is the path of the table with numbers (`issuers[3].keys`), `path` the one of the table of settings.
    ///
    /// Recursion is as deep as the table of settings: below a setting nothing is walked.
    fn table(&mut self, table: &DeTable<'_>, numbered: &str, path: &str) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            let at = self.document.location(key.span().start);
            let numbered_child = join(numbered, &shown(name));
            let child = join(path, name);
            // A quoted key may hold a dot, and would look like a path.
            let plain = !name.contains(['.', '[', ']']);

            if plain && let Some(setting) = schema::setting(&child) {
                if matches!(setting.kind, Kind::Secret { .. }) {
                    let message = format!(
                        "must not stand in the file, where backups and repositories would carry it. Name a file in \
                         {numbered_child}_file, or set {}.",
                        setting.variable(self.index(numbered))
                    );
                    self.report.push(at, numbered_child, message);
                } else {
                    let given = self.given(value);
                    self.given.values.insert(numbered_child, given);
                }
            } else if plain && let Some(group) = schema::group(&child) {
                self.group(value, at, group);
            } else if plain && schema::is_section(&child) {
                match value.get_ref() {
                    DeValue::Table(table) => self.table(table, &numbered_child, &child),
                    other => {
                        let message = format!("is {}, but [{child}] is a section", article(other));
                        self.report.push(at, numbered_child, message);
                    }
                }
            } else {
                self.report.push(at, numbered_child, unknown_key(name, path));
            }
        }
    }

    /// The number of the section of a group that a path is in, 0 outside of all.
    fn index(&self, numbered: &str) -> usize {
        let number = numbered.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        number.and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
    }

    fn group(&mut self, value: &Spanned<DeValue<'_>>, at: Location, group: &'static schema::Group) {
        let name = group.name;
        let DeValue::Array(items) = value.get_ref() else {
            let message = match value.get_ref() {
                DeValue::Table(_) => format!("may stand several times: write [[{name}]] with two brackets"),
                other => format!("is {}: write a section [[{name}]] for each", article(other)),
            };
            self.report.push(at, name, message);
            self.given.malformed.insert(name);
            return;
        };
        if items.len() > group.max {
            let message = format!("has {} entries: at most {} are allowed", items.len(), group.max);
            self.report.push(at.clone(), name, message);
        }
        for (index, item) in items.iter().take(group.max).enumerate() {
            let anchor = self.document.location(item.span().start);
            let numbered = format!("{name}[{index}]");
            self.given.items.entry(name).or_default().push(anchor.clone());
            match item.get_ref() {
                DeValue::Table(table) => self.table(table, &numbered, &format!("{name}[]")),
                other => {
                    let message = format!("is {}: write a section [[{name}]]", article(other));
                    self.report.push(anchor, numbered, message);
                }
            }
        }
    }

    fn given(&self, value: &Spanned<DeValue<'_>>) -> Given {
        let raw = match value.get_ref() {
            DeValue::String(text) => Raw::Text(text.to_string()),
            DeValue::Integer(number) => Raw::Int(u64::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::Boolean(value) => Raw::Bool(*value),
            DeValue::Array(items) => Raw::List(items.iter().map(|item| self.item(item)).collect()),
            other => Raw::Other(article(other)),
        };
        Given {
            location: self.document.location(value.span().start),
            raw,
        }
    }

    /// An item of a list. No setting takes a list of lists, so it goes no deeper.
    fn item(&self, item: &Spanned<DeValue<'_>>) -> Given {
        match item.get_ref() {
            DeValue::Array(_) => Given {
                location: self.document.location(item.span().start),
                raw: Raw::Other("a list"),
            },
            _ => self.given(item),
        }
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// The message for a key that is no setting of `section`.
fn unknown_key(name: &str, section: &str) -> String {
    let here = schema::names_in(section);
    if let Some(near) = suggest::nearest(name, here.iter().copied()) {
        return format!("is not a setting: did you mean \"{near}\"?");
    }
    // The right key in the wrong section is the next most likely slip.
    if let Some(elsewhere) = SETTINGS.iter().find(|setting| setting.key() == name) {
        return format!("is not a setting: did you mean {}?", elsewhere.path);
    }
    let place = if section.is_empty() {
        "at the top".to_owned()
    } else {
        format!("in [{section}]")
    };
    format!("is not a setting. Known {place}: {}.", here.join(", "))
}
