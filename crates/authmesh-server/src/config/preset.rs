//! Presets: what an issuer's settings are where nobody says, by a provider that is known.

use std::collections::BTreeMap;

use authmesh_oidc::presets::{self, PresetError, Provider};

use super::kind::{Given, Raw};
use super::problem::Report;
use super::resolve::{AllGiven, Resolved};
use super::schema::{self, Setting};
use super::units::show_duration;

/// The section of presets, and the setting in it that is no parameter.
const SECTION: &str = "issuers[].preset";
const NAME: &str = "name";

/// What a preset, filled in, says of an issuer.
#[derive(Debug)]
pub(super) struct Preset {
    pub(super) name: &'static str,
    /// By the paths of settings, in the form of variables. Empty where something was wrong with it.
    values: BTreeMap<&'static str, String>,
}

/// A preset as the server uses it: its name, and what was filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerPreset {
    /// Its name, one of [`presets::names`].
    pub name: String,
    /// Its parameters, by name.
    pub parameters: BTreeMap<String, String>,
}

impl IssuerPreset {
    /// The provider, for tokens meant for one of `audiences`; none: for any.
    ///
    /// # Errors
    /// [`PresetError`]; not after a configuration was loaded.
    pub fn provider(&self, audiences: &[String]) -> Result<Provider, PresetError> {
        let mut preset = presets::Preset::named(&self.name)?;
        for (parameter, value) in &self.parameters {
            preset = preset.with(parameter, value)?;
        }
        if audiences.is_empty() {
            preset = preset.danger_any_audience();
        }
        audiences.iter().fold(preset, presets::Preset::audience).build()
    }
}

/// The names of the parameters that presets have, as the table of settings has them.
pub(super) fn parameters() -> impl Iterator<Item = &'static str> {
    let inside = schema::settings_of(Some("issuers")).filter(|setting| setting.section() == SECTION);
    inside.map(Setting::key).filter(|key| *key != NAME)
}

impl Preset {
    /// The preset of an issuer. `None` where none is named; what is wrong with it goes to the report.
    pub(super) fn of(index: usize, given: &AllGiven, report: &mut Report) -> Option<Self> {
        let path = |key: &str| format!("issuers[{index}].preset.{key}");
        let text = |given: &Given| match &given.raw {
            Raw::Text(text) if !text.is_empty() => Some(text.clone()),
            // The check of its kind says what is wrong with it.
            _ => None,
        };
        let filled = parameters().filter_map(|name| given.values.get(&path(name)).map(|given| (name, given)));
        let filled: Vec<(&'static str, &Given)> = filled.collect();
        let Some(named) = given.values.get(&path(NAME)) else {
            for (name, given) in filled {
                let message = "is a parameter of a preset, and none is named: set preset.name";
                report.push(given.location.clone(), path(name), message);
            }
            return None;
        };
        let wanted = text(named)?;
        let Some(name) = presets::names().find(|name| *name == wanted) else {
            let known = presets::names().collect::<Vec<_>>().join(", ");
            let message = format!("is not a preset. There are: {known}. `authmesh presets` describes them");
            report.push(named.location.clone(), path(NAME), message);
            return Some(Self::wrong(NAME));
        };
        let mut parameters = BTreeMap::new();
        for (parameter, given) in &filled {
            let Some(value) = text(given) else {
                return Some(Self::wrong(name));
            };
            parameters.insert((*parameter).to_owned(), value);
        }
        let preset = IssuerPreset {
            name: name.to_owned(),
            parameters,
        };
        match preset.provider(&[]) {
            Ok(provider) => Some(Self {
                name,
                values: values(&provider),
            }),
            Err(error) => {
                let (key, message) = words(&error);
                let at = given.values.get(&path(&key)).unwrap_or(named);
                report.push(at.location.clone(), path(&key), message);
                Some(Self::wrong(name))
            }
        }
    }

    /// What it says of a setting.
    pub(super) fn says(&self, setting: &Setting) -> Option<String> {
        self.values.get(setting.path).cloned()
    }

    fn wrong(name: &'static str) -> Self {
        Self {
            name,
            values: BTreeMap::new(),
        }
    }
}

/// What a provider says, by the paths of settings.
fn values(provider: &Provider) -> BTreeMap<&'static str, String> {
    let rules = &provider.rules;
    let algorithms: Vec<&str> = rules.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    BTreeMap::from([
        ("issuers[].url", provider.issuer.clone()),
        ("issuers[].algorithms", algorithms.join(",")),
        ("issuers[].typ", rules.types.join(",")),
        ("issuers[].required_claims", rules.required_claims.join(",")),
        ("issuers[].leeway", show_duration(rules.leeway)),
        ("issuers[].max_token_lifetime", show_duration(rules.max_token_lifetime)),
    ])
}

/// The setting concerned, and what is wrong with it. No value is repeated.
fn words(error: &PresetError) -> (String, String) {
    match error {
        PresetError::NoSuchParameter {
            preset,
            parameter,
            known,
        } => (
            parameter.clone(),
            format!("is not a parameter of the preset {preset}. It has: {known}"),
        ),
        PresetError::Value {
            preset,
            parameter,
            pattern,
            example,
        } => (
            parameter.clone(),
            format!("must be {pattern}, such as \"{example}\", for the preset {preset}"),
        ),
        PresetError::Missing {
            preset,
            parameter,
            about,
            example,
        } => (
            parameter.clone(),
            format!("is missing: the preset {preset} needs it. {about}, such as \"{example}\""),
        ),
        // Of the rest nothing can come about here: the name is known, and no audience is asked for.
        other => (NAME.to_owned(), format!("cannot be used: {other}")),
    }
}

/// Refuses a URL beside a preset that makes another.
pub(super) fn check(index: usize, settings: &Resolved, problems: &mut Report) {
    let path = |key: &str| format!("issuers[{index}].{key}");
    let Some(preset) = of(index, settings) else { return };
    let (Some(url), Ok(provider)) = (settings.text(&path("url")), preset.provider(&[])) else {
        return;
    };
    if url != provider.issuer {
        let message = format!(
            "is another than the preset makes: \"{}\". Remove the setting, or the preset",
            provider.issuer
        );
        problems.push(settings.location(&path("url")), path("url"), message);
    }
}

/// The preset of an issuer, of checked settings.
pub(super) fn of(index: usize, settings: &Resolved) -> Option<IssuerPreset> {
    let text = |key: &str| {
        settings
            .text(&format!("issuers[{index}].preset.{key}"))
            .map(str::to_owned)
    };
    let parameters = parameters().filter_map(|key| Some((key.to_owned(), text(key)?)));
    Some(IssuerPreset {
        name: text(NAME)?,
        parameters: parameters.collect(),
    })
}
