//! `private_key_jwt`: a JWT that says who asks (RFC 7523 section 2.2, OpenID Connect Core 1.0 section 9).

use std::fmt;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use zeroize::Zeroizing;

use authmesh::proto::time::Unix;

use super::{CredentialError, SigningKey, check};
use crate::discovery::Metadata;

/// How long an assertion is good for, in seconds. It is made for one request, which takes a few.
const LIFETIME: u64 = 60;

/// RFC 7521 section 4.2.
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Whom an assertion is meant for: its `aud`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssertionAudience {
    /// The issuer. The safest: no other server takes it, whatever addresses it claims for its own.
    Issuer,
    /// The token endpoint that discovery finds: what RFC 7523 section 3 allows and older servers insist on.
    TokenEndpoint,
    /// This text.
    Exactly(String),
}

/// A client that signs a JWT for every request. Each lives 60 s and has a random `jti`, so that none can be used again.
///
/// Claims: `iss` and `sub` are the client's name; `aud` see [`AssertionAudience`]; `iat`; `exp`; `jti`.
#[derive(Clone)]
pub struct PrivateKeyJwt {
    client: String,
    key: SigningKey,
    audience: AssertionAudience,
}

impl PrivateKeyJwt {
    /// A client and its key. The issuer must know the public half of it.
    ///
    /// # Errors
    /// [`CredentialError`] when the client's name is empty or holds a control character.
    pub fn new(client_id: impl Into<String>, key: SigningKey) -> Result<Self, CredentialError> {
        let client = client_id.into();
        check("the client id", &client)?;
        Ok(Self {
            client,
            key,
            audience: AssertionAudience::Issuer,
        })
    }

    /// Whom its assertions are meant for.
    ///
    /// Default: [`AssertionAudience::Issuer`]. Where the endpoint is given and the issuer is not, that is refused when the source
    /// is built.
    #[must_use]
    pub fn audience(mut self, audience: AssertionAudience) -> Self {
        self.audience = audience;
        self
    }

    pub(super) fn client_id(&self) -> &str {
        &self.client
    }

    pub(super) fn needs_discovery(&self) -> bool {
        !matches!(self.audience, AssertionAudience::Exactly(_))
    }

    pub(super) fn form(
        &self,
        issuer: Option<&str>,
        metadata: Option<&Metadata>,
        now: Unix,
    ) -> Result<Vec<(&'static str, Zeroizing<String>)>, CredentialError> {
        let audience = match &self.audience {
            AssertionAudience::Exactly(audience) => Some(audience.as_str()),
            AssertionAudience::Issuer => issuer,
            AssertionAudience::TokenEndpoint => metadata.and_then(Metadata::token_endpoint),
        };
        let audience = audience.ok_or_else(|| {
            CredentialError(
                "nothing says whom the client assertion is meant for: the discovery document names no token_endpoint. Set the audience of the private_key_jwt"
                    .to_owned(),
            )
        })?;
        let mut jti = [0; 16];
        SystemRandom::new()
            .fill(&mut jti)
            .map_err(|_| CredentialError("the system gives no random numbers".to_owned()))?;
        let claims = json!({
            "iss": self.client,
            "sub": self.client,
            "aud": audience,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": URL_SAFE_NO_PAD.encode(jti),
        });
        let assertion = self.key.sign(&claims)?;
        Ok(vec![
            ("client_id", Zeroizing::new(self.client.clone())),
            ("client_assertion_type", Zeroizing::new(TYPE.to_owned())),
            ("client_assertion", assertion),
        ])
    }
}

impl fmt::Debug for PrivateKeyJwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKeyJwt")
            .field("client", &self.client)
            .field("key", &self.key)
            .field("audience", &self.audience)
            .finish()
    }
}
