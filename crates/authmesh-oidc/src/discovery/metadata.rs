//! The metadata of an issuer: parsed and checked in one place, for all that is found by it.

use serde_json::{Map, Value};

use authmesh::jose::json;
use authmesh::ports::{UpstreamError, UpstreamFault};

use crate::endpoint::{Endpoint, UrlPolicy};
use crate::failure::{quoted, quoted_url};

/// An address that metadata can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member {
    /// The key set (RFC 8414 section 2).
    JwksUri,
    /// Token introspection (RFC 8414 section 2).
    Introspection,
    /// UserInfo (OpenID Connect Discovery 1.0 section 3).
    UserInfo,
}

impl Member {
    fn name(self) -> &'static str {
        match self {
            Self::JwksUri => "jwks_uri",
            Self::Introspection => "introspection_endpoint",
            Self::UserInfo => "userinfo_endpoint",
        }
    }

    fn instead(self) -> &'static str {
        match self {
            Self::JwksUri => "Give the address of the key set directly",
            Self::Introspection => "Give the address of the introspection endpoint directly, if there is one",
            Self::UserInfo => "Give the address of the userinfo endpoint directly, if there is one",
        }
    }
}

/// What matters of an OpenID Connect Discovery 1.0 or RFC 8414 document that belongs to the issuer asked for.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    at: Endpoint,
    policy: UrlPolicy,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    token_endpoint: Option<String>,
    introspection_auth_methods: Option<Vec<String>>,
    introspection_signing_algorithms: Option<Vec<String>>,
}

impl Metadata {
    /// Reads the document `body` of `issuer`, found at `at`.
    pub(crate) fn parse(body: &[u8], issuer: &str, at: &Endpoint, policy: UrlPolicy) -> Result<Self, UpstreamError> {
        let refused = |why: &str| {
            answer(format!(
                "the answer of {at} is not a discovery document: {why}. It must be a JSON object with the strings issuer and jwks_uri"
            ))
        };
        // The parser's words hold no text of the document.
        let members = json::parse_object(body).map_err(|error| refused(&error.to_string()))?;
        let text = |name: &str| text(&members, name).map_err(|()| refused(&format!("{name} is not a string")));
        let list = |name: &str| list(&members, name).map_err(|()| refused(&format!("{name} is not a list of strings")));

        let named = text("issuer")?.ok_or_else(|| refused("it names no issuer"))?;
        // Byte for byte (OpenID Connect Discovery 1.0 section 4.3, RFC 8414 section 3.3): anything looser lets one issuer
        // hand out keys for another.
        if named != issuer {
            let hint = if named.trim_end_matches('/') == issuer.trim_end_matches('/') {
                "They differ only in the slash at the end"
            } else {
                "Its keys must not be trusted for yours"
            };
            return Err(answer(format!(
                "the discovery document at {at} belongs to the issuer {}, not to {}. {hint}. Configure the issuer exactly as its document and its tokens name it",
                quoted_url(&named),
                quoted(issuer)
            )));
        }
        Ok(Self {
            at: at.clone(),
            policy,
            jwks_uri: text("jwks_uri")?,
            introspection_endpoint: text("introspection_endpoint")?,
            userinfo_endpoint: text("userinfo_endpoint")?,
            token_endpoint: text("token_endpoint")?,
            introspection_auth_methods: list("introspection_endpoint_auth_methods_supported")?,
            introspection_signing_algorithms: list("introspection_signing_alg_values_supported")?,
        })
    }

    /// An address that the document names, if policy allows it.
    pub(crate) fn endpoint(&self, member: Member) -> Result<Endpoint, UpstreamError> {
        let (at, name) = (&self.at, member.name());
        let url = match member {
            Member::JwksUri => &self.jwks_uri,
            Member::Introspection => &self.introspection_endpoint,
            Member::UserInfo => &self.userinfo_endpoint,
        };
        let url = url.as_ref().ok_or_else(|| {
            answer(format!(
                "the discovery document at {at} names no {name}. {}",
                member.instead()
            ))
        })?;
        Endpoint::parse(url, self.policy)
            .map_err(|refusal| answer(format!("the {name} in the discovery document at {at} {refusal}")))
    }

    /// Where the issuer hands out tokens: a name to sign for, not an address that is asked.
    pub(crate) fn token_endpoint(&self) -> Option<&str> {
        self.token_endpoint.as_deref()
    }

    /// Whether the introspection endpoint takes this way to authenticate. An issuer that does not say may take any.
    pub(crate) fn takes_auth_method(&self, method: &str) -> bool {
        self.introspection_auth_methods
            .as_ref()
            .is_none_or(|methods| methods.iter().any(|taken| taken == method))
    }

    /// Whether the introspection endpoint may sign its answers (RFC 9701 section 7). An issuer that does not say may.
    pub(crate) fn offers_signed_introspection(&self) -> bool {
        self.introspection_signing_algorithms
            .as_ref()
            .is_none_or(|algorithms| !algorithms.is_empty())
    }
}

fn answer(what: String) -> UpstreamError {
    UpstreamError::new(UpstreamFault::Answer, what)
}

fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, ()> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(()),
    }
}

fn list(members: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, ()> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or(()))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn metadata(body: &str) -> Result<Metadata, UpstreamError> {
        let at = Endpoint::parse(
            "https://a.example/.well-known/openid-configuration",
            UrlPolicy::default(),
        )
        .unwrap();
        Metadata::parse(body.as_bytes(), "https://a.example", &at, UrlPolicy::default())
    }

    fn read(body: &str) -> Result<Endpoint, UpstreamError> {
        metadata(body)?.endpoint(Member::JwksUri)
    }

    #[test]
    fn only_the_configured_issuer_is_believed() {
        let of = |issuer: &str| {
            read(&format!(
                r#"{{"issuer":"{issuer}","jwks_uri":"https://a.example/jwks"}}"#
            ))
        };
        assert_eq!(
            of("https://a.example").unwrap().url().as_str(),
            "https://a.example/jwks"
        );
        for other in ["https://b.example", "https://A.example", "https://a.example:443", ""] {
            let error = of(other).unwrap_err();
            assert_eq!(error.fault, UpstreamFault::Answer);
            assert!(error.what.contains("must not be trusted"), "{other}: {}", error.what);
        }
        let slash = of("https://a.example/").unwrap_err();
        assert!(slash.what.contains("slash at the end"), "{}", slash.what);
        let hidden = of("https://user:secret@b.example").unwrap_err();
        assert!(!hidden.what.contains("secret"), "{}", hidden.what);
    }

    #[test]
    fn documents_that_are_none_are_refused_without_being_quoted() {
        for (body, word) in [
            ("", "not a discovery document"),
            ("[]", "not a discovery document"),
            (
                r#"{"issuer":"https://a.example","issuer":"https://a.example"}"#,
                "not a discovery document",
            ),
            (r#"{"issuer":{"secret":1}}"#, "not a discovery document"),
            (r#"{"issuer":"https://a.example"}"#, "names no jwks_uri"),
            (
                r#"{"issuer":"https://a.example","jwks_uri":"http://a.example/jwks"}"#,
                "uses http",
            ),
            (
                r#"{"issuer":"https://a.example","jwks_uri":"https://u:secret@a.example/"}"#,
                "password",
            ),
            (r#"{"issuer":"https://a.example","jwks_uri":"/jwks"}"#, "is not a URL"),
        ] {
            let error = read(body).unwrap_err();
            assert_eq!(error.fault, UpstreamFault::Answer);
            assert!(error.what.contains(word), "{body}: {}", error.what);
            assert!(!error.what.contains("secret"), "{}", error.what);
        }
    }

    #[test]
    fn an_endpoint_that_policy_forbids_spoils_no_other() {
        let found = metadata(
            r#"{"issuer":"https://a.example","jwks_uri":"https://a.example/jwks",
                "introspection_endpoint":"http://a.example/introspect","token_endpoint":"https://a.example/token"}"#,
        )
        .unwrap();
        assert!(found.endpoint(Member::JwksUri).is_ok());
        assert_eq!(found.token_endpoint(), Some("https://a.example/token"));
        let refused = found.endpoint(Member::Introspection).unwrap_err();
        assert!(refused.what.contains("introspection_endpoint"), "{}", refused.what);
        let absent = found.endpoint(Member::UserInfo).unwrap_err();
        assert!(absent.what.contains("names no userinfo_endpoint"), "{}", absent.what);
    }

    #[test]
    fn what_the_issuer_takes_is_read_and_silence_is_not_a_no() {
        let with = |more: &str| metadata(&format!(r#"{{"issuer":"https://a.example"{more}}}"#));
        let silent = with("").unwrap();
        assert!(silent.takes_auth_method("private_key_jwt") && silent.offers_signed_introspection());
        let says = with(
            r#","introspection_endpoint_auth_methods_supported":["client_secret_basic"],"introspection_signing_alg_values_supported":[]"#,
        )
        .unwrap();
        assert!(says.takes_auth_method("client_secret_basic") && !says.takes_auth_method("private_key_jwt"));
        assert!(!says.offers_signed_introspection());
        for wrong in [
            r#","jwks_uri":7"#,
            r#","introspection_endpoint":["https://a.example"]"#,
            r#","introspection_signing_alg_values_supported":"RS256""#,
            r#","introspection_endpoint_auth_methods_supported":[1]"#,
            r#","other":{"twice":1,"twice":2}"#,
        ] {
            with(wrong).unwrap_err();
        }
    }
}
