//! From the configuration of an issuer to what asks it, and to what is demanded of its tokens.

use std::fmt::Display;
use std::sync::Arc;

use authmesh::jose::{Algorithm, AlgorithmSet};
use authmesh::ports::TokenSource;
use authmesh::{Rules, UpstreamRules};
use authmesh_oidc::presets::Provider;
use authmesh_oidc::{
    AssertionAudience, ClientAuth, HttpClient, HttpKeySource, Introspection, PrivateKeyJwt, SignedAnswers, UserInfo,
};

use super::ServeError;
use crate::config::{AuthMethod, Danger, Issuer, IssuerUpstream, Secret, read_key};

/// Where an issuer's keys come from.
pub(crate) fn key_source(issuer: &Issuer, allow_http: bool) -> Result<HttpKeySource, ServeError> {
    let http = client(issuer, allow_http)?;
    keys(issuer, &http)
}

fn keys(issuer: &Issuer, http: &HttpClient) -> Result<HttpKeySource, ServeError> {
    match (&issuer.jwks_url, provider(issuer)?) {
        (Some(url), _) => HttpKeySource::jwks_url(url, http),
        (None, Some(provider)) => provider.key_source(http),
        (None, None) => HttpKeySource::discover(&issuer.url, http),
    }
    .map_err(|error| refuse(issuer, &error))
}

/// What is asked about an issuer's tokens.
pub(crate) fn token_source(
    issuer: &Issuer,
    upstream: &IssuerUpstream,
    allow_http: bool,
) -> Result<Arc<dyn TokenSource>, ServeError> {
    let http = client(issuer, allow_http)?;
    if upstream.userinfo {
        let source = match (&upstream.endpoint, provider(issuer)?) {
            (Some(url), _) => UserInfo::at(url, &http),
            (None, Some(provider)) => provider.userinfo(&http),
            (None, None) => UserInfo::discover(&issuer.url, &http),
        };
        return Ok(Arc::new(source.map_err(|error| refuse(issuer, &error))?));
    }
    let auth = client_auth(issuer, upstream)?;
    let source = match (&upstream.endpoint, provider(issuer)?) {
        (Some(url), _) => Introspection::at(url, auth, &http),
        (None, Some(provider)) => provider.introspection(auth, &http),
        (None, None) => Introspection::discover(&issuer.url, auth, &http),
    };
    let mut source = source
        .map_err(|error| refuse(issuer, &error))?
        .honour_no_store(upstream.honour_no_store);
    if upstream.signed {
        let answers = SignedAnswers::new(&issuer.url, Arc::new(keys(issuer, &http)?)).algorithms(algorithms(issuer)?);
        source = source.signed(answers).map_err(|error| refuse(issuer, &error))?;
    }
    Ok(Arc::new(source))
}

/// As whom an introspection endpoint is asked.
fn client_auth(issuer: &Issuer, upstream: &IssuerUpstream) -> Result<ClientAuth, ServeError> {
    let client = upstream.client_id.as_deref().unwrap_or_default();
    let auth = match (&upstream.private_key_file, &upstream.client_secret) {
        (Some(path), _) => {
            let key = read_key(path).map_err(|error| refuse(issuer, &format!("upstream.private_key_file {error}")))?;
            PrivateKeyJwt::new(client, key).map(|assertion| {
                ClientAuth::private_key_jwt(match &upstream.assertion_audience {
                    Some(audience) => assertion.audience(AssertionAudience::Exactly(audience.clone())),
                    None => assertion,
                })
            })
        }
        (None, secret) => {
            let secret = secret.as_ref().map_or("", Secret::expose);
            match upstream.auth_method {
                AuthMethod::Basic => ClientAuth::client_secret_basic(client, secret),
                AuthMethod::Post => ClientAuth::client_secret_post(client, secret),
            }
        }
    };
    auth.map_err(|error| refuse(issuer, &error))
}

/// How answers about an issuer's tokens are kept, and what is demanded of them.
pub(super) fn upstream_rules(
    issuer: &Issuer,
    upstream: &IssuerUpstream,
    danger: &Danger,
) -> Result<UpstreamRules, ServeError> {
    let mut tokens = rules(issuer)?.opaque(upstream.opaque);
    if danger.without_issued_at {
        tokens = tokens.danger_without_issued_at();
    }
    let mut rules = upstream.rules.clone();
    rules.tokens = tokens;
    Ok(rules)
}

/// What is demanded of an issuer's tokens. What a preset demands beside its settings stays.
pub(super) fn rules(issuer: &Issuer) -> Result<Rules, ServeError> {
    let mut rules = match provider(issuer)? {
        Some(provider) => provider.rules,
        None if issuer.audience.is_empty() => Rules::danger_any_audience(),
        None => Rules::for_audiences(&issuer.audience),
    };
    rules.algorithms = algorithms(issuer)?;
    rules.types.clone_from(&issuer.typ);
    rules.leeway = issuer.leeway;
    rules.max_token_lifetime = issuer.max_token_lifetime;
    rules.required_claims.clone_from(&issuer.required_claims);
    if issuer.require_bound {
        rules = rules.require_bound();
    }
    Ok(rules)
}

/// The provider that it is, if a preset names one.
fn provider(issuer: &Issuer) -> Result<Option<Provider>, ServeError> {
    let preset = issuer.preset.as_ref();
    let provider = preset.map(|preset| preset.provider(&issuer.audience));
    provider.transpose().map_err(|error| refuse(issuer, &error))
}

fn algorithms(issuer: &Issuer) -> Result<AlgorithmSet, ServeError> {
    let algorithms: Result<Vec<Algorithm>, _> = issuer.algorithms.iter().map(|name| name.parse()).collect();
    let algorithms = algorithms.map_err(|_| refuse(issuer, &"an algorithm is not supported"))?;
    Ok(AlgorithmSet::of(&algorithms))
}

/// How an issuer is asked.
fn client(issuer: &Issuer, allow_http: bool) -> Result<HttpClient, ServeError> {
    let mut http = HttpClient::builder()
        .connect_timeout(issuer.http.connect_timeout)
        .request_timeout(issuer.http.total_timeout)
        .danger_allow_http(allow_http);
    if let Some(path) = &issuer.http.ca_file {
        let pem = std::fs::read(path).map_err(|error| refuse(issuer, &format!("{}: {error}", path.display())))?;
        http = http.extra_roots_pem(pem);
    }
    http.build().map_err(|error| refuse(issuer, &error))
}

fn refuse(issuer: &Issuer, error: &dyn Display) -> ServeError {
    ServeError::new(format!("issuer {}: {error}", issuer.url))
}
