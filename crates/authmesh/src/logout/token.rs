//! The claims of a logout token (OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6).

use std::time::Duration;

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::time::Unix;
use serde_json::{Map, Value};

use super::rules::{LogoutRules, WITHOUT_EXPIRY};
use super::{LogoutError, MAX_VALUE};
use crate::error::VerifyError;
use crate::policy::Rules;
use crate::verify::claims::{self, LOGOUT_TYPE};

/// The member of `events` that makes a token a logout token.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// What a logout token asks for.
#[derive(Debug)]
pub(super) struct Logout {
    pub(super) kind: ScopeKind,
    pub(super) value: Box<str>,
    pub(super) issued_at: Unix,
}

/// Checks the claims of a logout token whose signature holds.
pub(super) fn check(
    logout: &LogoutRules,
    rules: &Rules,
    typ: Option<&str>,
    now: Unix,
    claims: &Map<String, Value>,
) -> Result<Logout, LogoutError> {
    let typed = typ.is_some_and(|typ| claims::same_type(typ, LOGOUT_TYPE));
    let untyped = typ.is_none_or(|typ| claims::same_type(typ, "JWT"));
    if !typed && (logout.require_type || !untyped) {
        return Err(VerifyError::WrongType.into());
    }
    let event = claims.get("events").and_then(|events| events.get(LOGOUT_EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(LogoutError::NoLogoutEvent);
    }
    if claims.contains_key("nonce") {
        return Err(LogoutError::HasNonce);
    }
    check_audience(logout, claims)?;
    let issued_at = check_times(logout, rules, now, claims)?;
    let missing = |name: &str| VerifyError::MissingClaim(name.to_owned());
    // Nothing is done with it: a replay changes nothing. A token without it is not what the specification describes.
    if claims::text(claims, "jti")?.ok_or_else(|| missing("jti"))?.is_empty() {
        return Err(VerifyError::InvalidClaim("jti").into());
    }
    let (session, subject) = (value(claims, "sid")?, value(claims, "sub")?);
    // A token with both ends this session and no other one of the subject.
    let (kind, value) = match (session, subject) {
        (Some(session), _) => (ScopeKind::Session, session),
        (None, Some(subject)) => (ScopeKind::Subject, subject),
        (None, None) => return Err(LogoutError::NobodyNamed),
    };
    Ok(Logout { kind, value, issued_at })
}

fn check_audience(logout: &LogoutRules, claims: &Map<String, Value>) -> Result<(), VerifyError> {
    let audiences = claims::strings(claims, "aud")?.ok_or_else(|| VerifyError::MissingClaim("aud".into()))?;
    let is_own = |audience: &str| logout.client_ids.iter().any(|own| own == audience);
    if audiences.iter().any(|audience| is_own(audience)) {
        Ok(())
    } else {
        Err(VerifyError::WrongAudience)
    }
}

/// The times, as those of any token are checked. Returns `iat`.
fn check_times(
    logout: &LogoutRules,
    rules: &Rules,
    now: Unix,
    claims: &Map<String, Value>,
) -> Result<Unix, VerifyError> {
    let leeway = rules.leeway.as_secs();
    let issued_at = claims::time(claims, "iat")?
        .ok_or_else(|| VerifyError::MissingClaim("iat".into()))?
        .floor() as Unix;
    let expires_at = match claims::time(claims, "exp")? {
        Some(exp) => exp.floor() as Unix,
        None if logout.require_expiry => return Err(VerifyError::MissingClaim("exp".into())),
        None => issued_at.saturating_add(WITHOUT_EXPIRY.as_secs()),
    };
    if now >= expires_at.saturating_add(leeway) {
        return Err(VerifyError::Expired {
            ago: Duration::from_secs(now - expires_at),
        });
    }
    let not_before = claims::time(claims, "nbf")?.map(|nbf| nbf.ceil() as Unix);
    for (claim, at) in [("nbf", not_before), ("iat", Some(issued_at))] {
        if let Some(at) = at.filter(|at| *at > now.saturating_add(leeway)) {
            return Err(VerifyError::NotYetValid {
                claim,
                ahead: Duration::from_secs(at - now),
            });
        }
    }
    // So the mark is never past when the token is accepted: it outlives `iat` by more than this.
    let limit = rules.max_token_lifetime;
    if expires_at.saturating_sub(issued_at) > limit.as_secs() {
        return Err(VerifyError::LifetimeTooLong { limit });
    }
    Ok(issued_at)
}

/// What can name a scope.
fn value(claims: &Map<String, Value>, name: &'static str) -> Result<Option<Box<str>>, VerifyError> {
    match claims::text(claims, name)? {
        Some(text) if text.is_empty() || text.len() > MAX_VALUE => Err(VerifyError::InvalidClaim(name)),
        text => Ok(text),
    }
}
