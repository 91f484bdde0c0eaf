//! The addresses of an issuer's metadata.

use crate::endpoint::{Endpoint, Refusal, UrlPolicy};

/// The two addresses of an issuer's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WellKnown {
    /// OpenID Connect Discovery 1.0 section 4: appended to the issuer.
    pub(crate) openid: Endpoint,
    /// RFC 8414 section 3: inserted between host and path. `None` where the operator, or a preset, named the one address.
    pub(crate) oauth: Option<Endpoint>,
}

impl WellKnown {
    pub(crate) fn of(issuer: &str, policy: UrlPolicy) -> Result<Self, Refusal> {
        Endpoint::parse_issuer(issuer, policy)?;
        // parse_issuer has seen "://", so there is an authority after it.
        let authority = issuer.find("://").map_or(0, |at| at + 3);
        let path_at = issuer[authority..].find('/').map_or(issuer.len(), |at| authority + at);
        let (origin, path) = issuer.split_at(path_at);
        // Both standards remove a terminating slash before the well-known part is put in.
        let path = path.strip_suffix('/').unwrap_or(path);
        Ok(Self {
            openid: Endpoint::parse(&format!("{origin}{path}/.well-known/openid-configuration"), policy)?,
            oauth: Some(Endpoint::parse(
                &format!("{origin}/.well-known/oauth-authorization-server{path}"),
                policy,
            )?),
        })
    }

    /// The one address `url`, for an issuer that keeps its metadata elsewhere.
    pub(crate) fn at(url: &str, policy: UrlPolicy) -> Result<Self, Refusal> {
        Ok(Self {
            openid: Endpoint::parse(url, policy)?,
            oauth: None,
        })
    }
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
            let found = WellKnown::of(issuer, UrlPolicy::default()).unwrap();
            assert_eq!(found.openid.url().as_str(), openid);
            assert_eq!(found.oauth.unwrap().url().as_str(), oauth);
        }
    }
}
