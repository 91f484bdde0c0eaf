//! Issuers: the settings of their keys, and of what they are asked about tokens. Both belong to the SDK, which knows what
//! contradicts itself.

use std::path::Path;

use authmesh::{KeyPolicy, Rules, UpstreamRules};
use authmesh_oidc::SigningKey;

use super::problem::{Problem, Report};
use super::resolve::Resolved;
use super::schema::{self, Fallback};
use super::secret::Secret;
use super::source;
use super::value::{FromValue, Value};

/// The longest private key file, in bytes: RSA of 16,384 bits in PEM, and words around it.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Stands for the name of an issuer.
const ISSUER: &str = "issuer";

/// Checked settings of one section, by the last part of their paths.
pub(super) trait Section {
    /// The value of a setting.
    ///
    /// # Errors
    /// Where there is none of this type.
    fn value<T: FromValue>(&mut self, key: &str) -> Result<T, Problem>;
}

/// The policy that the settings under `keys` make. No field can be left out.
pub(super) fn key_policy(keys: &mut impl Section) -> Result<KeyPolicy, Problem> {
    Ok(KeyPolicy {
        soft_lifetime: keys.value("soft_lifetime")?,
        lifetime_floor: keys.value("lifetime_floor")?,
        lifetime_ceiling: keys.value("lifetime_ceiling")?,
        refresh_ahead_percent: keys.value("refresh_ahead_percent")?,
        max_trust_age: keys.value("max_trust_age")?,
        confirm_within: keys.value("confirm_within")?,
        min_interval: keys.value("min_interval")?,
        unknown_kid_burst: keys.value("unknown_kid_burst")?,
        unknown_kid_period: keys.value("unknown_kid_period")?,
        reserve: keys.value("reserve")?,
        absent_lifetime: keys.value("absent_lifetime")?,
        absent_cap: keys.value("absent_cap")?,
        attempts: keys.value("attempts")?,
        deadline: keys.value("deadline")?,
        backoff_floor: keys.value("backoff_floor")?,
        backoff_ceiling: keys.value("backoff_ceiling")?,
        open_after: keys.value("open_after")?,
        refuse_changed_keys: keys.value("refuse_changed_keys")?,
    })
}

/// The rules that the settings under `upstream` make. What they demand of tokens accepts none, until somebody sets it.
pub(super) fn upstream_rules(upstream: &mut impl Section) -> Result<UpstreamRules, Problem> {
    let mut rules = UpstreamRules::new(Rules::for_audiences([""]));
    rules.lifetime = upstream.value("lifetime")?;
    rules.l2 = upstream.value("l2")?;
    rules.inactive_lifetime = upstream.value("inactive_lifetime")?;
    rules.inactive_cap = upstream.value("inactive_cap")?;
    rules.stale_for = upstream.value("stale_for")?;
    rules.soft_timeout = upstream.value("soft_timeout")?;
    rules.hard_timeout = upstream.value("hard_timeout")?;
    rules.calls = upstream.value("calls")?;
    rules.queue = upstream.value("queue")?;
    rules.reserved_calls = upstream.value("reserved_calls")?;
    rules.failures = upstream.value("failures")?;
    rules.backoff_floor = upstream.value("backoff_floor")?;
    rules.backoff_ceiling = upstream.value("backoff_ceiling")?;
    Ok(rules)
}

/// One section of what was resolved.
struct Resolving<'a> {
    settings: &'a Resolved,
    section: String,
}

impl Section for Resolving<'_> {
    fn value<T: FromValue>(&mut self, key: &str) -> Result<T, Problem> {
        let path = format!("{}.{key}", self.section);
        T::from_value(self.settings.any(&path).cloned()).ok_or_else(|| Problem::defect(&path))
    }
}

/// Checks the settings of one issuer against each other.
pub(super) fn check(index: usize, settings: &Resolved, problems: &mut Report, warnings: &mut Report) {
    let section = |name: &str| Resolving {
        settings,
        section: format!("issuers[{index}].{name}"),
    };
    // Where a value was refused, nothing can be said about the whole.
    if let Ok(policy) = key_policy(&mut section("keys"))
        && let Err(conflict) = policy.check()
    {
        contradiction(&section("keys"), conflict.setting, conflict.problem, problems);
    }
    if let Ok(rules) = upstream_rules(&mut section("upstream"))
        && let Err(conflict) = rules.check(ISSUER)
    {
        // The setting tells the issuer.
        let problem = conflict.problem.strip_prefix(ISSUER).unwrap_or(&conflict.problem);
        let problem = problem.trim_start_matches(": ");
        contradiction(&section("upstream"), conflict.setting, problem, problems);
    }
    let path = |key: &str| format!("issuers[{index}].{key}");
    match settings.text(&path("validate")) {
        Some("signature") => unused(&section("upstream"), settings, warnings),
        Some("introspection") => credentials(&path, settings, problems, warnings),
        Some("userinfo") => userinfo(&path, settings, problems, warnings),
        _ => {}
    }
}

/// At the setting that somebody wrote: the one named, else one that the words are about.
fn contradiction(section: &Resolving<'_>, named: &str, problem: &str, problems: &mut Report) {
    let settings = section.settings;
    let path = |key: &str| format!("{}.{key}", section.section);
    let keys = schema::settings_of(Some("issuers")).filter(|setting| {
        let name = section.section.rsplit('.').next().unwrap_or_default();
        setting.section().rsplit('.').next() == Some(name)
    });
    let given: Vec<&str> = keys
        .map(schema::Setting::key)
        .filter(|key| settings.is_given(&path(key)))
        .collect();
    let at = given
        .iter()
        .find(|key| **key == named)
        .or_else(|| given.iter().find(|key| problem.contains(**key)))
        .or_else(|| given.first())
        .map_or(named, |key| *key);
    problems.push(settings.location(&path(at)), path(named), problem);
}

/// Settings that say nothing, since the issuer is not asked.
fn unused(section: &Resolving<'_>, settings: &Resolved, warnings: &mut Report) {
    let all = schema::settings_of(Some("issuers")).filter(|setting| setting.section() == "issuers[].upstream");
    for setting in all.filter(|setting| matches!(setting.fallback, Fallback::Unset { .. })) {
        let path = format!("{}.{}", section.section, setting.key());
        if settings.is_given(&path) {
            let message =
                "is set, but the issuer's tokens are checked by their signature: set validate = \"introspection\".";
            warnings.push(settings.location(&path), path, message);
        }
    }
}

fn credentials(path: &impl Fn(&str) -> String, settings: &Resolved, problems: &mut Report, warnings: &mut Report) {
    let (client, key) = (path("upstream.client_id"), path("upstream.private_key_file"));
    let (secret, file) = (path("upstream.client_secret"), path("upstream.client_secret_file"));
    if !settings.is_given(&client) {
        problems.push(
            settings.location(&path("validate")),
            client,
            "is missing: an introspection endpoint wants to know who asks. Name the client that you have registered there.",
        );
    }
    let (has_secret, has_file, has_key) = (
        settings.is_given(&secret),
        settings.is_given(&file),
        settings.is_given(&key),
    );
    if has_secret && has_file {
        warnings.push(
            settings.location(&file),
            file.as_str(),
            "is not read: the variable with the secret itself wins. Remove one of the two.",
        );
    }
    if has_key && (has_secret || has_file) {
        problems.push(
            settings.location(&key),
            key.as_str(),
            "and a client secret are both set: the client proves itself by one of them. Remove the other.",
        );
    } else if !(has_key || has_secret || has_file) {
        problems.push(
            settings.location(&path("validate")),
            file.as_str(),
            "is missing, and so is private_key_file: the client has to prove who it is. Set one of them, or the variable with \
             the secret itself.",
        );
    }
    if let (false, Some(Value::File(name))) = (has_secret, settings.any(&file))
        && let Err(message) = read_secret(name)
    {
        problems.push(settings.location(&file), file.as_str(), message);
    }
    if let Some(Value::File(name)) = settings.any(&key)
        && let Err(message) = read_key(name)
    {
        problems.push(settings.location(&key), key.as_str(), message);
    }
    let (endpoint, audience) = (path("upstream.endpoint"), path("upstream.assertion_audience"));
    if has_key && settings.is_given(&endpoint) && !settings.is_given(&audience) {
        problems.push(
            settings.location(&key),
            audience,
            "is missing: where the endpoint is given, write out whom the proof is meant for, most often the issuer.",
        );
    }
}

fn userinfo(path: &impl Fn(&str) -> String, settings: &Resolved, problems: &mut Report, warnings: &mut Report) {
    let only = [
        "client_id",
        "client_secret_file",
        "client_secret",
        "private_key_file",
        "assertion_audience",
    ];
    for key in only.map(|key| path(&format!("upstream.{key}"))) {
        if settings.is_given(&key) {
            let message =
                "is set, but userinfo is asked with the token itself: remove it, or set validate = \"introspection\".";
            warnings.push(settings.location(&key), key.as_str(), message);
        }
    }
    if settings.flag(&path("upstream.signed")) {
        let signed = path("upstream.signed");
        let message = "is on, but answers of a userinfo endpoint are taken as they are: turn it off.";
        problems.push(settings.location(&signed), signed.as_str(), message);
    }
    // An answer names neither audience nor iat: only what the token says of itself could.
    let opaque = settings.flag(&path("upstream.opaque"));
    if opaque && !(settings.flag("danger.any_audience") && settings.flag("danger.without_issued_at")) {
        warnings.push(
            settings.location(&path("validate")),
            path("validate"),
            "is \"userinfo\", which tells neither for whom an opaque token was made nor when: all of them are refused. Use \
             introspection, or set danger.any_audience and danger.without_issued_at, and leave the audience out.",
        );
    }
}

/// At most one issuer can have the tokens that do not say whose they are.
pub(super) fn check_opaque(settings: &Resolved, problems: &mut Report) {
    let mut first = None;
    for index in 0..settings.count("issuers") {
        let path = |key: &str| format!("issuers[{index}].{key}");
        let asked = settings.text(&path("validate")).is_some_and(|how| how != "signature");
        if !asked || !settings.flag(&path("upstream.opaque")) {
            continue;
        }
        let Some(first) = first else {
            first = Some(index);
            continue;
        };
        let at = match settings.is_given(&path("upstream.opaque")) {
            true => path("upstream.opaque"),
            false => path("validate"),
        };
        let message = format!(
            "is on for issuers[{first}] too: a token that is no JWT does not say whose it is, and is handed to one issuer only. \
             Turn it off for the others."
        );
        problems.push(settings.location(&at), path("upstream.opaque"), message);
    }
}

/// A client secret from its file.
pub(super) fn read_secret(path: &Path) -> Result<Secret, String> {
    // Room for white space around the longest one.
    let limit = Secret::MAX_BYTES as u64 + 64;
    let bytes = source::read_regular(path, limit).map_err(|error| format!("names a file that {error}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "names a file that is not text".to_owned())?;
    Secret::of_length(text.trim(), 1).map_err(|error| format!("names a file whose content {error}"))
}

/// A private key from its file: PEM, or a JWK.
pub(crate) fn read_key(path: &Path) -> Result<SigningKey, String> {
    let bytes = source::read_regular(path, MAX_KEY_BYTES).map_err(|error| format!("names a file that {error}"))?;
    let key = match bytes.trim_ascii_start().first() {
        Some(b'{') => SigningKey::from_jwk(&bytes),
        _ => SigningKey::from_pem(&bytes),
    };
    key.map_err(|error| format!("names a file that cannot be used: {error}"))
}
