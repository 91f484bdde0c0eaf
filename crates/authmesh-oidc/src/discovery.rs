//! Discovery: from an issuer to the address of its key set.

use serde::Deserialize;

use authmesh::ports::{UpstreamError, UpstreamFault};

use crate::endpoint::{Endpoint, Refusal};
use crate::failure::{quoted, quoted_url};

/// The two addresses of an issuer's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WellKnown {
    /// OpenID Connect Discovery 1.0 section 4: appended to the issuer.
    pub(crate) openid: Endpoint,
    /// RFC 8414 section 3: inserted between host and path.
    pub(crate) oauth: Endpoint,
}

impl WellKnown {
    pub(crate) fn of(issuer: &str, allow_http: bool) -> Result<Self, Refusal> {
        Endpoint::parse_issuer(issuer, allow_http)?;
        // parse_issuer has seen "://", so there is an authority after it.
        let authority = issuer.find("://").map_or(0, |at| at + 3);
        let path_at = issuer[authority..].find('/').map_or(issuer.len(), |at| authority + at);
        let (origin, path) = issuer.split_at(path_at);
        // Both standards remove a terminating slash before the well-known part is put in.
        let path = path.strip_suffix('/').unwrap_or(path);
        Ok(Self {
            openid: Endpoint::parse(&format!("{origin}{path}/.well-known/openid-configuration"), allow_http)?,
            oauth: Endpoint::parse(
                &format!("{origin}/.well-known/oauth-authorization-server{path}"),
                allow_http,
            )?,
        })
    }
}

/// The members of a metadata document that matter here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Option<String>,
}

/// Takes the address of the key set from the metadata of `issuer`, found at `at`.
pub(crate) fn jwks_uri(body: &[u8], issuer: &str, at: &Endpoint, allow_http: bool) -> Result<Endpoint, UpstreamError> {
    let answer = |what: String| UpstreamError::new(UpstreamFault::Answer, what);
    // The parser's own message may quote the document, so only the place is told.
    let metadata: Metadata = serde_json::from_slice(body).map_err(|error| {
        answer(format!(
            "the answer of {at} is not a discovery document: wrong at line {}, column {}. It must be a JSON object with the strings issuer and jwks_uri",
            error.line(),
            error.column()
        ))
    })?;
    // Byte for byte (OpenID Connect Discovery 1.0 section 4.3, RFC 8414 section 3.3): anything looser lets one issuer
    // hand out keys for another.
    if metadata.issuer != issuer {
        let hint = if metadata.issuer.trim_end_matches('/') == issuer.trim_end_matches('/') {
            "They differ only in the slash at the end"
        } else {
            "Its keys must not be trusted for yours"
        };
        return Err(answer(format!(
            "the discovery document at {at} belongs to the issuer {}, not to {}. {hint}. Configure the issuer exactly as its document and its tokens name it",
            quoted_url(&metadata.issuer),
            quoted(issuer)
        )));
    }
    let Some(jwks_uri) = metadata.jwks_uri else {
        return Err(answer(format!(
            "the discovery document at {at} names no jwks_uri. Give the address of the key set directly"
        )));
    };
    Endpoint::parse(&jwks_uri, allow_http)
        .map_err(|refusal| answer(format!("the jwks_uri in the discovery document at {at} {refusal}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn well_known_addresses_follow_both_standards() {
        for (issuer, openid, oauth) in [
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://a.example:8443/realms/x",
                "https://a.example:8443/realms/x/.well-known/openid-configuration",
                "https://a.example:8443/.well-known/oauth-authorization-server/realms/x",
            ),
            (
                "https://a.example/tenant/",
                "https://a.example/tenant/.well-known/openid-configuration",
                "https://a.example/.well-known/oauth-authorization-server/tenant",
            ),
        ] {
            let found = WellKnown::of(issuer, false).unwrap();
            assert_eq!(found.openid.url().as_str(), openid);
            assert_eq!(found.oauth.url().as_str(), oauth);
        }
    }

    fn read(body: &str) -> Result<Endpoint, UpstreamError> {
        let at = Endpoint::parse("https://a.example/.well-known/openid-configuration", false).unwrap();
        jwks_uri(body.as_bytes(), "https://a.example", &at, false)
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
}
