//! Presets: what the common providers need, with nothing but the tenant to fill in.
//!
//! ```
//! use authmesh_oidc::{HttpClient, presets};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let http = HttpClient::new()?;
//! let provider = presets::auth0("acme.eu.auth0.com")?.audience("https://orders.example.com").build()?;
//! assert_eq!(provider.issuer, "https://acme.eu.auth0.com/");
//! let keys = provider.key_source(&http)?;
//! // AuthMesh::builder().issuer(provider.issuer, Arc::new(keys), provider.rules)
//! # Ok(())
//! # }
//! ```
//!
//! A preset is a data file that was checked against the provider's documentation, which it names. By name, as a configuration has
//! it:
//!
//! ```
//! use authmesh_oidc::presets::Preset;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let preset = Preset::named("cognito")?;
//! for parameter in preset.parameters() {
//!     println!("{}: {} (such as {})", parameter.name, parameter.about, parameter.example);
//! }
//! let provider = preset
//!     .with("region", "eu-central-1")?
//!     .with("pool", "eu-central-1_AbCdEf123")?
//!     .audience("3n4b5urk1ft4fl3mg5e62d9ado")
//!     .build()?;
//! # Ok(())
//! # }
//! ```

mod data;
mod error;
mod parameter;
mod provider;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use authmesh::Rules;
use authmesh::jose::AlgorithmSet;

pub use error::PresetError;
pub use provider::{IssuerTemplate, Provider};

use data::{Data, FILES};
use provider::Place;

/// The names of all presets.
#[must_use]
pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name)
}

/// A provider, half filled in.
#[derive(Debug, Clone)]
#[must_use = "a preset does nothing until it is built"]
pub struct Preset {
    name: &'static str,
    data: Data,
    values: BTreeMap<String, String>,
    audiences: Vec<String>,
    any_audience: bool,
}

/// Something to fill in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParameterInfo<'a> {
    /// Its name, for [`Preset::with`].
    pub name: &'a str,
    /// What it is.
    pub about: &'a str,
    /// A value that would be accepted.
    pub example: &'a str,
}

impl Preset {
    /// The preset of that name; see [`names`].
    ///
    /// # Errors
    /// [`PresetError::Unknown`].
    pub fn named(name: &str) -> Result<Self, PresetError> {
        let Some((name, file)) = FILES.iter().find(|(known, _)| *known == name) else {
            return Err(PresetError::Unknown { name: name.to_owned() });
        };
        let data: Data = toml::from_str(file).map_err(|error| PresetError::Data {
            preset: name,
            what: error.to_string(),
        })?;
        let preset = Self {
            name,
            data,
            values: BTreeMap::new(),
            audiences: Vec::new(),
            any_audience: false,
        };
        preset.check()?;
        Ok(preset)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The provider's name, for people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.data.title
    }

    /// What it stands for.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.data.about
    }

    /// What an audience is at this provider.
    #[must_use]
    pub fn audience_is(&self) -> &str {
        &self.data.audience
    }

    /// Why it demands what it demands.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.data.tokens.why
    }

    /// Its issuer, parameters in braces.
    #[must_use]
    pub fn issuer_template(&self) -> &str {
        &self.data.issuer
    }

    /// Whether it can stand for all tenants: see [`template`](Self::template).
    #[must_use]
    pub fn is_multi_tenant(&self) -> bool {
        self.data.multi_tenant
    }

    /// The pages of the provider that it was made by.
    pub fn docs(&self) -> impl ExactSizeIterator<Item = &str> {
        self.data.docs.iter().map(String::as_str)
    }

    /// What is to be filled in.
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = ParameterInfo<'_>> {
        self.data.parameters.iter().map(|(name, parameter)| ParameterInfo {
            name,
            about: &parameter.about,
            example: &parameter.example,
        })
    }

    /// Fills in a parameter. A second value for it replaces the first.
    ///
    /// # Errors
    /// [`PresetError::NoSuchParameter`], [`PresetError::Value`].
    pub fn with(mut self, parameter: &str, value: impl Into<String>) -> Result<Self, PresetError> {
        let Some(known) = self.data.parameters.get(parameter) else {
            return Err(PresetError::NoSuchParameter {
                preset: self.name,
                parameter: parameter.to_owned(),
                known: match self.data.parameters.len() {
                    0 => "none".to_owned(),
                    _ => self.data.parameters.keys().cloned().collect::<Vec<_>>().join(", "),
                },
            });
        };
        let value = value.into();
        if !known.kind.accepts(&value) {
            return Err(self.refused(parameter, known.kind.to_string(), &known.example));
        }
        self.values.insert(parameter.to_owned(), value);
        Ok(self)
    }

    /// Accepts tokens meant for this audience. May be called several times; one of them must be in the token. What an audience is, is
    /// told by [`audience_is`](Self::audience_is).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts tokens meant for **any** service of the provider: whoever holds a token for another service can use it here.
    pub fn danger_any_audience(mut self) -> Self {
        self.any_audience = true;
        self
    }

    /// The provider, filled in.
    ///
    /// # Errors
    /// [`PresetError`]: a parameter or the audience is missing, or two values do not belong together.
    pub fn build(&self) -> Result<Provider, PresetError> {
        if let Some((name, parameter)) = self
            .data
            .parameters
            .iter()
            .find(|(name, _)| !self.values.contains_key(*name))
        {
            return Err(PresetError::Missing {
                preset: self.name,
                parameter: name.clone(),
                about: parameter.about.clone(),
                example: parameter.example.clone(),
            });
        }
        for (name, parameter) in &self.data.parameters {
            let Some(prefix) = &parameter.starts_with else {
                continue;
            };
            let prefix = self.fill(prefix)?;
            if !self.values[name].starts_with(&prefix) {
                return Err(self.refused(name, format!("text that begins with {prefix}"), &parameter.example));
            }
        }
        let keys = &self.data.keys;
        let place = match (&keys.url, &keys.metadata) {
            (Some(url), _) => Place::KeySet(self.fill(url)?),
            (None, Some(metadata)) => Place::Metadata(self.fill(metadata)?),
            (None, None) => Place::Discovery,
        };
        Ok(Provider::new(self.fill(&self.data.issuer)?, self.rules()?, place))
    }

    /// All tenants of the provider at once: a template that issuers are matched with. What is filled in already stays as it is.
    ///
    /// # Errors
    /// [`PresetError::NotMultiTenant`], [`PresetError::NoAudience`].
    pub fn template(self) -> Result<IssuerTemplate, PresetError> {
        if !self.data.multi_tenant {
            return Err(PresetError::NotMultiTenant { preset: self.name });
        }
        self.some_audience()?;
        Ok(IssuerTemplate::new(self))
    }

    /// The provider of an issuer that fits. The values are judged as those that an operator fills in.
    fn for_issuer(&self, issuer: &str) -> Option<Provider> {
        let mut filled = self.clone();
        for (name, value) in template::read(&self.data.issuer, issuer)? {
            if self.values.get(&name).is_some_and(|fixed| *fixed != value) {
                return None;
            }
            filled = filled.with(&name, value).ok()?;
        }
        let provider = filled.build().ok()?;
        (provider.issuer == issuer).then_some(provider)
    }

    fn rules(&self) -> Result<Rules, PresetError> {
        self.some_audience()?;
        let tokens = &self.data.tokens;
        let mut rules = match self.any_audience {
            true => Rules::danger_any_audience(),
            false => Rules::for_audiences(self.audiences.iter()),
        };
        if !tokens.algorithms.is_empty() {
            let algorithms: Result<Vec<_>, _> = tokens.algorithms.iter().map(|name| name.parse()).collect();
            rules.algorithms = AlgorithmSet::of(&algorithms.map_err(|_| self.wrong("an algorithm is not supported"))?);
        }
        rules.types.clone_from(&tokens.types);
        rules.required_claims.clone_from(&tokens.required);
        if let Some(name) = &tokens.audience_claim {
            rules = rules.audience_claim(name);
        }
        for (name, values) in &tokens.exact {
            let values: Result<Vec<_>, _> = values.iter().map(|value| self.fill(value)).collect();
            rules = rules.claim_one_of(name, values?);
        }
        if let Some(seconds) = tokens.leeway_seconds {
            rules.leeway = Duration::from_secs(seconds);
        }
        if let Some(seconds) = tokens.max_lifetime_seconds {
            rules.max_token_lifetime = Duration::from_secs(seconds);
        }
        Ok(rules)
    }

    fn some_audience(&self) -> Result<(), PresetError> {
        if self.any_audience || self.audiences.iter().any(|audience| !audience.is_empty()) {
            return Ok(());
        }
        Err(PresetError::NoAudience {
            preset: self.name,
            audience: self.data.audience.clone(),
        })
    }

    fn fill(&self, text: &str) -> Result<String, PresetError> {
        template::fill(text, &self.values).ok_or_else(|| self.wrong("a template names a parameter that there is not"))
    }

    /// What the parser cannot see: that the parts of the file belong together.
    fn check(&self) -> Result<(), PresetError> {
        let data = &self.data;
        if data.keys.url.is_some() && data.keys.metadata.is_some() {
            return Err(self.wrong("keys has both url and metadata"));
        }
        let prefixes = data
            .parameters
            .values()
            .filter_map(|parameter| parameter.starts_with.as_ref());
        let templates = [Some(&data.issuer), data.keys.url.as_ref(), data.keys.metadata.as_ref()];
        let templates = templates.into_iter().flatten();
        for text in templates.chain(data.tokens.exact.values().flatten()).chain(prefixes) {
            let names = template::names(text).ok_or_else(|| self.wrong("a template has a stray brace"))?;
            if names.iter().any(|name| !data.parameters.contains_key(*name)) {
                return Err(self.wrong("a template names a parameter that there is not"));
            }
        }
        Ok(())
    }

    fn refused(&self, parameter: &str, pattern: String, example: &str) -> PresetError {
        PresetError::Value {
            preset: self.name,
            parameter: parameter.to_owned(),
            pattern,
            example: example.to_owned(),
        }
    }

    fn wrong(&self, what: &str) -> PresetError {
        PresetError::Data {
            preset: self.name,
            what: what.to_owned(),
        }
    }
}

/// Any provider with a discovery document, by its issuer.
///
/// # Errors
/// [`PresetError::Value`], as of all these.
pub fn oidc(issuer: &str) -> Result<Preset, PresetError> {
    Preset::named("oidc")?.with("issuer", issuer)
}

/// A tenant of Auth0, by its domain: `acme.eu.auth0.com`, or a custom one.
///
/// # Errors
/// [`PresetError::Value`].
pub fn auth0(tenant: &str) -> Result<Preset, PresetError> {
    Preset::named("auth0")?.with("tenant", tenant)
}

/// A custom authorization server of Okta: the organisation's domain, and the server's id, such as `default`.
///
/// # Errors
/// [`PresetError::Value`].
pub fn okta(domain: &str, server: &str) -> Result<Preset, PresetError> {
    Preset::named("okta")?.with("domain", domain)?.with("server", server)
}

/// A realm of Keycloak: the server's host (and port, and path), and the realm.
///
/// # Errors
/// [`PresetError::Value`].
pub fn keycloak(server: &str, realm: &str) -> Result<Preset, PresetError> {
    Preset::named("keycloak")?.with("server", server)?.with("realm", realm)
}

/// A tenant of Microsoft Entra ID, by its id; tokens of version 2.0. For all tenants, see [`entra_any_tenant`].
///
/// # Errors
/// [`PresetError::Value`].
pub fn entra(tenant: &str) -> Result<Preset, PresetError> {
    Preset::named("entra")?.with("tenant", tenant)
}

/// Every tenant of Microsoft Entra ID; tokens of version 2.0. For [`Preset::template`].
///
/// Whoever has a tenant can get tokens for your API there, if its app registration allows other tenants: judge `tid` yourself.
///
/// # Errors
/// Never, unless the data file is wrong.
pub fn entra_any_tenant() -> Result<Preset, PresetError> {
    Preset::named("entra")
}

/// A tenant of Microsoft Entra ID, by its id; tokens of version 1.0.
///
/// # Errors
/// [`PresetError::Value`].
pub fn entra_v1(tenant: &str) -> Result<Preset, PresetError> {
    Preset::named("entra-v1")?.with("tenant", tenant)
}

/// Id tokens of Google.
///
/// # Errors
/// Never, unless the data file is wrong.
pub fn google() -> Result<Preset, PresetError> {
    Preset::named("google")
}

/// A user pool of Amazon Cognito: its region, and its id, which begins with it.
///
/// # Errors
/// [`PresetError::Value`].
pub fn cognito(region: &str, pool: &str) -> Result<Preset, PresetError> {
    Preset::named("cognito")?.with("region", region)?.with("pool", pool)
}

/// Session tokens of Clerk, by the host of the Frontend API URL.
///
/// # Errors
/// [`PresetError::Value`].
pub fn clerk(frontend_api: &str) -> Result<Preset, PresetError> {
    Preset::named("clerk")?.with("frontend_api", frontend_api)
}

/// An environment of Frontegg, by its domain.
///
/// # Errors
/// [`PresetError::Value`].
pub fn frontegg(domain: &str) -> Result<Preset, PresetError> {
    Preset::named("frontegg")?.with("domain", domain)
}

/// Ory Hydra or the Ory Network with JWT access tokens, by its issuer.
///
/// # Errors
/// [`PresetError::Value`].
pub fn hydra(issuer: &str) -> Result<Preset, PresetError> {
    Preset::named("hydra")?.with("issuer", issuer)
}

#[cfg(test)]
mod tests;
