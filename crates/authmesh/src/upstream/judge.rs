//! A policy, applied to what a provider said.

use std::time::Duration;

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::marks::TokenScopes;
use authmesh_proto::time::{Now, Unix};
use serde_json::{Map, Value, json};

use super::route::Question;
use super::said::Said;
use crate::error::VerifyError;
use crate::jose::json::parse_object;
use crate::node::Node;
use crate::possession::Binding;
use crate::verify::claims::{self, Claims};

/// What the answer must not call the token: providers answer for refresh and ID tokens as well.
const NO_ACCESS: [&str; 5] = ["refresh_token", "refresh", "id_token", "id", "offline"];

/// What an accepted token says.
pub(super) struct Judged {
    pub(super) claims: Claims,
    /// A JSON object: what the provider said, over what a JWS says of itself.
    pub(super) json: Box<[u8]>,
}

/// Checks an answer as the claims of a signed token are checked. What the answer does not say a JWS may say of itself: the
/// provider vouches for all of it. Of the times that both name, the one that grants less counts; `exp` ends without leeway.
pub(super) fn judge(question: &Question<'_>, said: &Said, now: Now) -> Result<Judged, VerifyError> {
    let issuer = question.upstream.issuer();
    if said.issuer.as_deref().is_some_and(|named| named != issuer) {
        return Err(VerifyError::WrongIssuer);
    }
    let answer = parse_object(said.claims.as_bytes())
        .map_err(|_| VerifyError::Malformed("the provider's answer is not a JSON object"))?;
    let kinds = ["token_use", "token_type", "typ"].map(|name| answer.get(name).and_then(Value::as_str));
    let is_access = |kind: &str| !NO_ACCESS.contains(&kind.to_ascii_lowercase().as_str());
    if !kinds.into_iter().flatten().all(is_access) {
        return Err(VerifyError::WrongType);
    }

    let rules = question.rules;
    let empty = Map::new();
    let own = question.own.as_ref().map_or(&empty, |own| &own.claims);
    let floor = |at: Option<f64>| at.map(|at| at.floor() as Unix);
    let least = |a: Option<Unix>, b: Option<Unix>| a.into_iter().chain(b).min();
    let issued_at = least(said.issued_at, floor(claims::time(own, "iat")?));
    let not_before = said
        .not_before
        .max(claims::time(own, "nbf")?.map(|at| at.ceil() as Unix));
    // A token that names no end counts for as long as marks are kept that void it.
    let expires_at = least(said.expires_at, floor(claims::time(own, "exp")?)).unwrap_or_else(|| {
        let since = issued_at.unwrap_or(said.asked_at());
        since.saturating_add(rules.max_token_lifetime.as_secs())
    });
    if now.wall >= expires_at {
        return Err(VerifyError::Expired {
            ago: Duration::from_secs(now.wall - expires_at),
        });
    }

    let bindings = (Binding::of(own), Binding::of(&answer));
    let named_dpop = ["token_type", "typ"].map(|name| answer.get(name).and_then(Value::as_str));
    let named_dpop = named_dpop
        .into_iter()
        .flatten()
        .any(|kind| kind.eq_ignore_ascii_case("dpop"));
    let mut members = own.clone();
    members.extend(answer);
    let json = match question.own {
        Some(_) => serde_json::to_vec(&members).map_err(|_| VerifyError::Malformed("it cannot be written as JSON"))?,
        None => said.claims.clone().into_bytes(),
    };
    // What was read from the answer counts, under whatever name it stands there.
    let read = [
        ("sub", said.subject.clone().map(Value::from)),
        ("aud", said.audiences.clone().map(Value::from)),
        ("client_id", said.client.clone().map(Value::from)),
        ("sid", said.session.clone().map(Value::from)),
        ("jti", said.jwt_id.clone().map(Value::from)),
        ("scope", (!said.scopes.is_empty()).then(|| json!(said.scopes.join(" ")))),
        ("exp", Some(Value::from(expires_at))),
    ];
    for (name, value) in read {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    }
    for (name, at) in [("iat", issued_at), ("nbf", not_before)] {
        match at {
            Some(at) => drop(members.insert(name.to_owned(), at.into())),
            None => drop(members.remove(name)),
        }
    }
    let typ = question.own.as_ref().and_then(|own| own.typ.as_deref());
    let checked = claims::check(rules, typ, now.wall, &members)?;
    let binding = if rules.bound_as_bearer {
        checked.binding
    } else {
        // The provider's `null` takes no binding away that the token itself tells.
        let binding = Binding::both(bindings.0?, bindings.1?)?;
        if named_dpop && binding.is_none_or(|binding| binding.jkt().is_none()) {
            return Err(VerifyError::UnsupportedBinding(
                "the provider calls it a DPoP token, and names no key",
            ));
        }
        binding
    };
    Ok(Judged {
        claims: Claims {
            until: expires_at,
            binding,
            ..checked
        },
        json: json.into(),
    })
}

/// The scopes of a token that the provider calls active.
pub(super) fn scopes_of(node: &Node, question: &Question<'_>, checked: &Claims) -> TokenScopes {
    let own = question.token_scope();
    let present = [
        (ScopeKind::Token, Some(own.as_slice())),
        (ScopeKind::Subject, checked.subject.as_deref().map(str::as_bytes)),
        (ScopeKind::Client, checked.client.as_deref().map(str::as_bytes)),
        (ScopeKind::Session, checked.session.as_deref().map(str::as_bytes)),
        (ScopeKind::JwtId, checked.jwt_id.as_deref().map(str::as_bytes)),
    ];
    let values = present.into_iter().filter_map(|(kind, value)| Some((kind, value?)));
    TokenScopes::new(&node.codec.namer, question.upstream.issuer(), checked.issued_at, values)
}
