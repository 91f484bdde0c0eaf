//! The claims: what RFC 7519 and the policy ask of them.

use std::time::Duration;

use authmesh_proto::time::Unix;
use serde_json::{Map, Value};

use crate::error::VerifyError;
use crate::policy::{AUDIENCE, Rules};
use crate::possession::Binding;

/// The `typ` of a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4).
pub(crate) const LOGOUT_TYPE: &str = "logout+jwt";

/// No time beyond this is taken for one: the year 9999.
const LATEST: f64 = 253_402_300_799.0;

/// The registered claims of a token, checked.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) subject: Option<Box<str>>,
    pub(crate) audiences: Box<[Box<str>]>,
    pub(crate) client: Option<Box<str>>,
    pub(crate) session: Option<Box<str>>,
    pub(crate) jwt_id: Option<Box<str>>,
    pub(crate) scopes: Box<[Box<str>]>,
    pub(crate) issued_at: Option<Unix>,
    pub(crate) expires_at: Unix,
    /// The time window, leeway included.
    pub(crate) from: Unix,
    pub(crate) until: Unix,
    /// What the token is bound to. The proof is no matter of the claims: it is checked on every call.
    pub(crate) binding: Option<Binding>,
}

/// `iss`: it says which keys to look in, so it is read before the signature is checked, and believed after.
pub(crate) fn issuer(claims: &Map<String, Value>) -> Result<&str, VerifyError> {
    match claims.get("iss") {
        Some(Value::String(issuer)) => Ok(issuer),
        Some(_) => Err(VerifyError::InvalidClaim("iss")),
        None => Err(VerifyError::MissingClaim("iss".into())),
    }
}

/// `sub` of a token that was checked.
pub(crate) fn subject(claims: &Map<String, Value>) -> Result<Option<Box<str>>, VerifyError> {
    text(claims, "sub")
}

/// `iat` of a token that was checked.
pub(crate) fn issued_at(claims: &Map<String, Value>) -> Result<Option<Unix>, VerifyError> {
    Ok(time(claims, "iat")?.map(|iat| iat.floor() as Unix))
}

/// Checks the claims of a token whose signature holds.
pub(crate) fn check(
    rules: &Rules,
    typ: Option<&str>,
    now: Unix,
    claims: &Map<String, Value>,
) -> Result<Claims, VerifyError> {
    let type_accepted = match typ {
        Some(typ) if rules.types.is_empty() => ["JWT", "at+jwt"].iter().any(|accepted| same_type(typ, accepted)),
        Some(typ) => rules.types.iter().any(|accepted| same_type(typ, accepted)),
        None => rules.types.is_empty(),
    };
    // Whatever the policy names: a logout token, or any other security event (RFC 8417 section 2.2), gives access to nothing.
    let is_event =
        typ.is_some_and(|typ| same_type(typ, LOGOUT_TYPE)) || claims.get("events").is_some_and(Value::is_object);
    if !type_accepted || is_event {
        return Err(VerifyError::WrongType);
    }
    let binding = match Binding::of(claims) {
        // Somebody else checks it, and may know more ways than are known here.
        Err(_) if rules.bound_as_bearer => None,
        binding => binding?,
    };
    if rules.require_bound && binding.is_none() {
        return Err(VerifyError::NotBound);
    }
    let leeway = rules.leeway.as_secs();
    let expires_at = time(claims, "exp")?
        .map(|exp| exp.floor() as Unix)
        .ok_or_else(|| VerifyError::MissingClaim("exp".into()))?;
    let not_before = time(claims, "nbf")?.map(|nbf| nbf.ceil() as Unix);
    let issued_at = time(claims, "iat")?.map(|iat| iat.floor() as Unix);

    let until = expires_at.saturating_add(leeway);
    if now >= until {
        return Err(VerifyError::Expired {
            ago: Duration::from_secs(now - expires_at),
        });
    }
    for (claim, at) in [("nbf", not_before), ("iat", issued_at)] {
        if let Some(at) = at.filter(|at| *at > now.saturating_add(leeway)) {
            return Err(VerifyError::NotYetValid {
                claim,
                ahead: Duration::from_secs(at - now),
            });
        }
    }
    let limit = rules.max_token_lifetime;
    match issued_at {
        // How long a revocation has to be kept is known only if the token's age is.
        None if !rules.without_issued_at => return Err(VerifyError::MissingClaim("iat".into())),
        issued_at => {
            let since = issued_at.unwrap_or(now);
            if expires_at.saturating_sub(since) > limit.as_secs() {
                return Err(VerifyError::LifetimeTooLong { limit });
            }
        }
    }

    let audiences = audiences(rules, claims)?;
    if let Some(accepted) = &rules.audiences {
        let audiences = audiences
            .as_ref()
            .ok_or_else(|| VerifyError::MissingClaim(rules.audience_claim.clone()))?;
        if !audiences
            .iter()
            .any(|audience| accepted.iter().any(|own| **own == **audience))
        {
            return Err(VerifyError::WrongAudience);
        }
    }
    if let Some(missing) = rules
        .required_claims
        .iter()
        .find(|name| claims.get(name.as_str()).is_none_or(Value::is_null))
    {
        return Err(VerifyError::MissingClaim(missing.clone()));
    }
    for (name, accepted) in &rules.exact_claims {
        match claims.get(name) {
            Some(Value::String(value)) if accepted.contains(value) => {}
            Some(_) => return Err(VerifyError::WrongClaim(name.clone())),
            None => return Err(VerifyError::MissingClaim(name.clone())),
        }
    }
    let client = match text(claims, "client_id")? {
        None => text(claims, "azp")?,
        client => client,
    };
    Ok(Claims {
        subject: text(claims, "sub")?,
        audiences: audiences.unwrap_or_default(),
        client,
        session: text(claims, "sid")?,
        jwt_id: text(claims, "jti")?,
        scopes: scopes(claims)?,
        issued_at,
        expires_at,
        from: not_before.unwrap_or(0).saturating_sub(leeway),
        until,
        binding,
    })
}

/// Whom the token is meant for, by the claim that the rules name.
fn audiences(rules: &Rules, claims: &Map<String, Value>) -> Result<Option<Box<[Box<str>]>>, VerifyError> {
    if rules.audience_claim == AUDIENCE {
        return strings(claims, AUDIENCE);
    }
    listed(claims.get(&rules.audience_claim)).ok_or_else(|| VerifyError::WrongClaim(rules.audience_claim.clone()))
}

/// `typ` compares without case, and `application/` may be left out (RFC 7515 section 4.1.9).
pub(crate) fn same_type(typ: &str, accepted: &str) -> bool {
    let short = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.strip_prefix("application/").map_or(name.clone(), str::to_owned)
    };
    short(typ) == short(accepted)
}

/// A `NumericDate` (RFC 7519 section 2): a JSON number, never a string.
pub(crate) fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, VerifyError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => number
            .as_f64()
            .filter(|seconds| (0.0..=LATEST).contains(seconds))
            .map(Some)
            .ok_or(VerifyError::InvalidClaim(name)),
        Some(_) => Err(VerifyError::InvalidClaim(name)),
    }
}

pub(crate) fn text(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Box<str>>, VerifyError> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str().into())),
        Some(_) => Err(VerifyError::InvalidClaim(name)),
    }
}

/// A string, or a list of strings.
pub(crate) fn strings(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Box<[Box<str>]>>, VerifyError> {
    listed(claims.get(name)).ok_or(VerifyError::InvalidClaim(name))
}

/// The strings of a string, or of a list of strings. `None` for anything else.
fn listed(value: Option<&Value>) -> Option<Option<Box<[Box<str>]>>> {
    match value {
        None => Some(None),
        Some(Value::String(one)) => Some(Some(Box::new([one.as_str().into()]))),
        Some(Value::Array(list)) => list
            .iter()
            .map(|item| item.as_str().map(Into::into))
            .collect::<Option<_>>()
            .map(Some),
        Some(_) => None,
    }
}

fn scopes(claims: &Map<String, Value>) -> Result<Box<[Box<str>]>, VerifyError> {
    let name = if claims.contains_key("scope") { "scope" } else { "scp" };
    let list = strings(claims, name)?.unwrap_or_default();
    Ok(match &*list {
        [one] => one
            .split(' ')
            .filter(|scope| !scope.is_empty())
            .map(Into::into)
            .collect(),
        _ => list,
    })
}
