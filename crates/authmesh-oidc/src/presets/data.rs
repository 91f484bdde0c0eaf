//! The data files: what is known of each provider.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::parameter::Kind;

/// Every preset: its name, and its file.
pub(super) const FILES: [(&str, &str); 11] = [
    ("oidc", include_str!("../../presets/oidc.toml")),
    ("auth0", include_str!("../../presets/auth0.toml")),
    ("okta", include_str!("../../presets/okta.toml")),
    ("keycloak", include_str!("../../presets/keycloak.toml")),
    ("entra", include_str!("../../presets/entra.toml")),
    ("entra-v1", include_str!("../../presets/entra-v1.toml")),
    ("google", include_str!("../../presets/google.toml")),
    ("cognito", include_str!("../../presets/cognito.toml")),
    ("clerk", include_str!("../../presets/clerk.toml")),
    ("frontegg", include_str!("../../presets/frontegg.toml")),
    ("hydra", include_str!("../../presets/hydra.toml")),
];

/// One file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    pub(super) title: String,
    pub(super) about: String,
    /// Where the provider says so.
    pub(super) docs: Vec<String>,
    /// `iss`, with parameters in braces.
    pub(super) issuer: String,
    /// What an audience is at this provider.
    pub(super) audience: String,
    /// Whether one configuration may stand for all tenants.
    #[serde(default)]
    pub(super) multi_tenant: bool,
    #[serde(default)]
    pub(super) parameters: BTreeMap<String, Parameter>,
    #[serde(default)]
    pub(super) keys: Keys,
    pub(super) tokens: Tokens,
}

/// What is to be filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameter {
    pub(super) kind: Kind,
    pub(super) about: String,
    pub(super) example: String,
    /// What the value begins with, other parameters in braces.
    pub(super) starts_with: Option<String>,
}

/// Where the keys are, if not where discovery by the issuer finds them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    /// The key set itself.
    pub(super) url: Option<String>,
    /// The discovery document.
    pub(super) metadata: Option<String>,
}

/// What is demanded of tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    /// Empty: every algorithm.
    #[serde(default)]
    pub(super) algorithms: Vec<String>,
    /// Empty: what [`Rules::types`](authmesh::Rules::types) accepts when it is.
    #[serde(default)]
    pub(super) types: Vec<String>,
    #[serde(default)]
    pub(super) required: Vec<String>,
    /// Claims with the values that they may have, parameters in braces.
    #[serde(default)]
    pub(super) exact: BTreeMap<String, Vec<String>>,
    pub(super) audience_claim: Option<String>,
    pub(super) leeway_seconds: Option<u64>,
    pub(super) max_lifetime_seconds: Option<u64>,
    /// Why just this.
    pub(super) why: String,
}
