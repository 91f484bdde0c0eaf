//! What can be wrong with a preset, in words that name what to fill in.

use super::names;

/// A preset that cannot be used as it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresetError {
    /// There is no preset of that name.
    #[error("there is no preset {name:?}. There are: {}", names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The preset has no such parameter.
    #[error("the preset {preset} has no parameter {parameter:?}. It has: {known}")]
    NoSuchParameter {
        /// The preset.
        preset: &'static str,
        /// The parameter.
        parameter: String,
        /// Those that there are.
        known: String,
    },
    /// A value does not have the pattern of its parameter.
    #[error("{parameter} of the preset {preset} must be {pattern}, such as {example}")]
    Value {
        /// The preset.
        preset: &'static str,
        /// The parameter.
        parameter: String,
        /// What it must look like.
        pattern: String,
        /// A value that would be accepted.
        example: String,
    },
    /// A parameter was not filled in.
    #[error("the preset {preset} needs {parameter}: {about}, such as {example}")]
    Missing {
        /// The preset.
        preset: &'static str,
        /// The parameter.
        parameter: String,
        /// What it is.
        about: String,
        /// A value that would be accepted.
        example: String,
    },
    /// No audience was named.
    #[error(
        "the preset {preset} needs an audience, or tokens for any service would be accepted. Name {audience}; or use danger_any_audience"
    )]
    NoAudience {
        /// The preset.
        preset: &'static str,
        /// What an audience is at this provider.
        audience: String,
    },
    /// The provider's issuers have no tenants that could be left open.
    #[error("the preset {preset} stands for one issuer, not for many tenants: build a provider for each")]
    NotMultiTenant {
        /// The preset.
        preset: &'static str,
    },
    /// The data file of the preset is wrong: a mistake in this crate.
    #[error("the data file of the preset {preset} is wrong: {what}")]
    Data {
        /// The preset.
        preset: &'static str,
        /// What is wrong.
        what: String,
    },
}
