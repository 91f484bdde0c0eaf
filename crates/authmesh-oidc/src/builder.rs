//! Issuers as lines in a builder.

use std::sync::Arc;

use authmesh::{BuildError, Builder, Rules};

use crate::presets::Provider;
use crate::{HttpClient, HttpKeySource};

/// Issuers of OpenID Connect in the chain of a [`Builder`].
///
/// ```no_run
/// use authmesh::{AuthMesh, Rules};
/// use authmesh_oidc::WithOidc as _;
///
/// # async fn doc() -> Result<(), authmesh::BuildError> {
/// let mesh = AuthMesh::builder()
///     .oidc("https://login.example.com", Rules::for_audiences(["orders-api"]))
///     .start()
///     .await?;
/// # let _ = mesh; Ok(()) }
/// ```
pub trait WithOidc: Sized {
    /// Adds an issuer whose keys are found by discovery (OpenID Connect Discovery 1.0), and kept fresh. `issuer` is compared with
    /// `iss` byte by byte. The client is one of its own with default settings: for many issuers share one with
    /// [`WithOidc::oidc_through`]. What is wrong, [`Builder::start`] says.
    fn oidc(self, issuer: impl Into<String>, rules: Rules) -> Self;

    /// The same through a client of yours.
    fn oidc_through(self, http: &HttpClient, issuer: impl Into<String>, rules: Rules) -> Self;

    /// Adds a known provider ([`presets`](crate::presets)).
    fn provider(self, http: &HttpClient, provider: Provider) -> Self;
}

impl WithOidc for Builder {
    fn oidc(self, issuer: impl Into<String>, rules: Rules) -> Self {
        let issuer = issuer.into();
        self.at_start(move |builder| {
            let http = HttpClient::new().map_err(|error| BuildError::new("oidc", error.to_string()))?;
            discover(builder, &http, issuer, rules)
        })
    }

    fn oidc_through(self, http: &HttpClient, issuer: impl Into<String>, rules: Rules) -> Self {
        let (http, issuer) = (http.clone(), issuer.into());
        self.at_start(move |builder| discover(builder, &http, issuer, rules))
    }

    fn provider(self, http: &HttpClient, provider: Provider) -> Self {
        let http = http.clone();
        self.at_start(move |builder| {
            let keys = provider.key_source(&http);
            add(builder, keys, provider.issuer, provider.rules)
        })
    }
}

fn discover(builder: Builder, http: &HttpClient, issuer: String, rules: Rules) -> Result<Builder, BuildError> {
    add(builder, HttpKeySource::discover(&issuer, http), issuer, rules)
}

fn add(
    builder: Builder,
    keys: Result<HttpKeySource, authmesh::ports::UpstreamError>,
    issuer: String,
    rules: Rules,
) -> Result<Builder, BuildError> {
    let keys = keys.map_err(|error| BuildError::new("oidc", format!("{issuer}: {error}")))?;
    Ok(builder.issuer(issuer, Arc::new(keys), rules))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use authmesh::AuthMesh;

    use super::*;
    use crate::presets;

    fn rules() -> Rules {
        Rules::for_audiences(["api"])
    }

    #[tokio::test]
    async fn an_issuer_that_cannot_be_asked_stops_the_start_by_its_name() {
        let refused = AuthMesh::builder()
            .oidc("http://login.test", rules())
            .start()
            .await
            .unwrap_err();
        assert_eq!(refused.setting, "oidc");
        assert!(refused.problem.starts_with("http://login.test: "), "{refused}");
    }

    #[tokio::test]
    async fn each_way_to_name_an_issuer_adds_it() {
        let http = HttpClient::new().unwrap();
        let okta = presets::okta("acme.okta.test", "default")
            .unwrap()
            .audience("api")
            .build()
            .unwrap();
        let builder = AuthMesh::builder()
            .oidc("https://one.test", rules())
            .oidc_through(&http, "https://two.test", rules())
            .provider(&http, okta);
        let mesh = builder.start().await.unwrap();
        let issuers: Vec<_> = mesh.issuers().collect();
        assert_eq!(
            issuers,
            [
                "https://acme.okta.test/oauth2/default",
                "https://one.test",
                "https://two.test"
            ]
        );
        mesh.shutdown().await;
    }
}
