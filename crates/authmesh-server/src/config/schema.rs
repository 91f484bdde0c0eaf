//! The shape of the table of settings, and questions to it.

use super::kind::Kind;
use super::sections::GROUPS;
use super::table::SETTINGS;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// Path with dots; `[]` after the name of a repeated section: `issuers[].keys.soft_lifetime`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) fallback: Fallback,
    /// What it means, for people. Limits, default and variable are added where it is shown.
    pub(super) doc: &'static str,
}

/// What counts where a setting is not given. Texts have the form of an environment variable.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fallback {
    /// A fixed default.
    Is(&'static str),
    /// The default that the SDK has: written down there, and nowhere else.
    Sdk(fn() -> String),
    /// A default that depends on the machine or on another setting; `words` says on what.
    Computed {
        words: &'static str,
        example: &'static str,
        value: fn(&Surroundings<'_>) -> String,
    },
    /// Nothing.
    Unset { example: &'static str },
    /// It must be given, and not be empty. `why` goes on after "is missing: ".
    Required {
        why: &'static str,
        /// A setting of kind [`Kind::Bool`] that lifts the demand.
        unless: Option<&'static str>,
        example: &'static str,
    },
}

/// What a computed default may depend on.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) host_name: &'a str,
    /// Value of `sensitive` in the same section.
    pub(super) sensitive: bool,
}

/// A table of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// Path, in the form of [`Setting::path`].
    pub(super) path: &'static str,
    pub(super) doc: &'static str,
}

/// A section that may stand several times.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) min: usize,
    pub(super) max: usize,
    /// What to do where there are too few.
    pub(super) advice: &'static str,
}

impl Setting {
    /// The section: `issuers[].keys` for `issuers[].keys.soft_lifetime`.
    pub(super) fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The last part of the path.
    pub(super) fn key(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, key)| key)
    }

    /// Name of the repeated section that it is in, if any.
    pub(super) fn group(&self) -> Option<&'static str> {
        self.path.split_once("[]").map(|(group, _)| group)
    }

    /// The path with a number: `issuers[3].url`.
    pub(super) fn numbered(&self, index: usize) -> String {
        self.path.replacen("[]", &format!("[{index}]"), 1)
    }

    /// Name of its environment variable; `index` is for settings of a repeated section.
    pub(super) fn variable(&self, index: usize) -> String {
        let path = self.path.replacen("[]", &format!(".{index}"), 1);
        format!("AUTHMESH_{}", path.replace('.', "_").to_ascii_uppercase())
    }
}

/// The setting with this path, in the form of [`Setting::path`].
pub(super) fn setting(path: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.path == path)
}

/// The settings of a repeated section, or those outside all of them.
pub(super) fn settings_of(group: Option<&str>) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.group() == group)
}

pub(super) fn group(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.name == name)
}

/// Whether something lies below this path.
pub(super) fn is_section(path: &str) -> bool {
    SETTINGS.iter().any(|setting| {
        setting
            .path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The names that may stand directly in a section (`""`: at the top), in the order of the table.
pub(super) fn names_in(section: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for setting in SETTINGS {
        let rest = if section.is_empty() {
            Some(setting.path)
        } else {
            setting
                .path
                .strip_prefix(section)
                .and_then(|rest| rest.strip_prefix('.'))
        };
        let name = rest
            .and_then(|rest| rest.split('.').next())
            .map(|name| name.trim_end_matches("[]"));
        // Settings of one section stand together, so a name that repeats is the last one.
        if let Some(name) = name
            && names.last() != Some(&name)
        {
            names.push(name);
        }
    }
    names
}
