//! How this service says who it is when it asks about a token.

mod assertion;
mod secret;
mod signing_key;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use zeroize::Zeroizing;

use authmesh::proto::time::Unix;

pub use assertion::{AssertionAudience, PrivateKeyJwt};
pub(crate) use secret::Secret;
pub use signing_key::SigningKey;

use crate::discovery::Metadata;
use crate::form;

/// A credential that cannot be used. Nothing of it is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CredentialError(pub(crate) String);

/// How this service authenticates to an introspection endpoint. RFC 7662 section 2.1 demands that it does, so that nobody can
/// scan for tokens.
///
/// Secrets are given, not read: keep them in files, and read them with care for the line break at their end. They are
/// overwritten in memory when the last copy is dropped; what the HTTP client copies of them for a request is not. `Debug` shows
/// the client's name and nothing else.
#[derive(Clone)]
pub struct ClientAuth {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Basic { client: String, secret: Secret },
    Post { client: String, secret: Secret },
    PrivateKeyJwt(PrivateKeyJwt),
    Bearer { name: String, token: Secret },
}

/// What a request carries of it.
#[derive(Default)]
pub(crate) struct Proof {
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) form: Vec<(&'static str, Zeroizing<String>)>,
}

impl ClientAuth {
    /// `client_secret_basic`: the client's name and secret in the header `Authorization`, each form-urlencoded first, as RFC 6749
    /// section 2.3.1 asks.
    ///
    /// # Errors
    /// [`CredentialError`] when either is empty or holds a control character, such as the line break at the end of a file.
    pub fn client_secret_basic(
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Result<Self, CredentialError> {
        let client = named("the client id", client_id.into())?;
        let secret = Secret::new("the client secret", secret.into())?;
        Ok(Self {
            kind: Kind::Basic { client, secret },
        })
    }

    /// `client_secret_post`: the client's name and secret in the body (RFC 6749 section 2.3.1, which recommends the other way).
    ///
    /// # Errors
    /// As [`client_secret_basic`](Self::client_secret_basic).
    pub fn client_secret_post(
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Result<Self, CredentialError> {
        let client = named("the client id", client_id.into())?;
        let secret = Secret::new("the client secret", secret.into())?;
        Ok(Self {
            kind: Kind::Post { client, secret },
        })
    }

    /// `private_key_jwt`: a JWT that this service signs for each request (RFC 7523 section 2.2). No secret leaves the process.
    #[must_use]
    pub fn private_key_jwt(assertion: PrivateKeyJwt) -> Self {
        Self {
            kind: Kind::PrivateKeyJwt(assertion),
        }
    }

    /// A bearer token of this service's own (RFC 6750). `name` says whom it stands for, in `Debug` and in
    /// [`TokenSource::identity`](authmesh::ports::TokenSource::identity); it is not sent.
    ///
    /// # Errors
    /// As [`client_secret_basic`](Self::client_secret_basic).
    pub fn bearer(name: impl Into<String>, token: impl Into<String>) -> Result<Self, CredentialError> {
        let name = named("the name of the bearer", name.into())?;
        let token = Secret::new("the bearer token", token.into())?;
        if !is_token(token.expose()) {
            return Err(CredentialError(
                "the bearer token holds something other than visible ASCII".to_owned(),
            ));
        }
        Ok(Self {
            kind: Kind::Bearer { name, token },
        })
    }

    /// The client's name, where the way to authenticate has one.
    pub(crate) fn client_id(&self) -> Option<&str> {
        match &self.kind {
            Kind::Basic { client, .. } | Kind::Post { client, .. } => Some(client),
            Kind::PrivateKeyJwt(assertion) => Some(assertion.client_id()),
            Kind::Bearer { .. } => None,
        }
    }

    /// Who asks.
    pub(crate) fn name(&self) -> &str {
        match &self.kind {
            Kind::Bearer { name, .. } => name,
            _ => self.client_id().unwrap_or_default(),
        }
    }

    /// Its name in the registry of token endpoint authentication methods (RFC 7591 section 4.2).
    pub(crate) fn method(&self) -> &'static str {
        match &self.kind {
            Kind::Basic { .. } => "client_secret_basic",
            Kind::Post { .. } => "client_secret_post",
            Kind::PrivateKeyJwt(_) => "private_key_jwt",
            Kind::Bearer { .. } => "bearer",
        }
    }

    /// Whether it can only work with what discovery finds.
    pub(crate) fn needs_discovery(&self) -> bool {
        matches!(&self.kind, Kind::PrivateKeyJwt(assertion) if assertion.needs_discovery())
    }

    /// What to send at `now`. `issuer` and `metadata` are there if they are known.
    pub(crate) fn prove(
        &self,
        issuer: Option<&str>,
        metadata: Option<&Metadata>,
        now: Unix,
    ) -> Result<Proof, CredentialError> {
        Ok(match &self.kind {
            Kind::Basic { client, secret } => {
                let mut pair = form::encode(client);
                pair.push(':');
                pair.push_str(&form::encode(secret.expose()));
                let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
                Proof {
                    authorization: Some(header("Basic", &encoded)?),
                    form: Vec::new(),
                }
            }
            Kind::Post { client, secret } => Proof {
                authorization: None,
                form: vec![
                    ("client_id", Zeroizing::new(client.clone())),
                    ("client_secret", Zeroizing::new(secret.expose().to_owned())),
                ],
            },
            Kind::PrivateKeyJwt(assertion) => Proof {
                authorization: None,
                form: assertion.form(issuer, metadata, now)?,
            },
            Kind::Bearer { token, .. } => Proof {
                authorization: Some(header("Bearer", token.expose())?),
                form: Vec::new(),
            },
        })
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAuth")
            .field("method", &self.method())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Whether text can be a bearer token: RFC 6750 section 2.1 allows less than visible ASCII.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A header that neither `Debug` nor HTTP/2's header table shows.
pub(crate) fn header(scheme: &str, credential: &str) -> Result<HeaderValue, CredentialError> {
    let text = Zeroizing::new(format!("{scheme} {credential}"));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| CredentialError("the credential holds characters that a header cannot carry".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Sets the proof on a request with this form.
pub(crate) fn authorize(request: reqwest::RequestBuilder, proof: &Proof) -> reqwest::RequestBuilder {
    match &proof.authorization {
        Some(value) => request.header(AUTHORIZATION, value.clone()),
        None => request,
    }
}

fn named(what: &str, text: String) -> Result<String, CredentialError> {
    check(what, &text)?;
    Ok(text)
}

fn check(what: &str, text: &str) -> Result<(), CredentialError> {
    if text.is_empty() {
        return Err(CredentialError(format!("{what} is empty")));
    }
    if text.chars().any(char::is_control) {
        return Err(CredentialError(format!(
            "{what} holds a control character. If it comes from a file, cut off the line break at its end"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn basic_encodes_name_and_secret_before_it_joins_them() {
        // RFC 6749 section 2.3.1 and appendix B: a colon in the name must not end it, and %, + and non-ASCII survive.
        let auth = ClientAuth::client_secret_basic("a:b c", "p%+\u{fc}&=").unwrap();
        let proof = auth.prove(None, None, 0).unwrap();
        let value = proof.authorization.unwrap();
        assert!(value.is_sensitive());
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
        assert_eq!(pair, "a%3Ab+c:p%25%2B%C3%BC%26%3D");
        assert!(proof.form.is_empty());
    }

    #[test]
    fn no_debug_shows_a_secret() {
        for auth in [
            ClientAuth::client_secret_basic("app", "hunter2").unwrap(),
            ClientAuth::client_secret_post("app", "hunter2").unwrap(),
            ClientAuth::bearer("app", "hunter2").unwrap(),
        ] {
            let shown = format!("{auth:?} {:?}", auth.prove(None, None, 0).unwrap().authorization);
            assert!(shown.contains("app") && !shown.contains("hunter2"), "{shown}");
            assert!(!shown.contains(&STANDARD.encode("app:hunter2")), "{shown}");
        }
    }

    #[test]
    fn the_line_break_at_the_end_of_a_file_is_told() {
        for bad in ["", "secret\n", "se\u{0}cret"] {
            let error = ClientAuth::client_secret_basic("app", bad).unwrap_err();
            assert!(error.to_string().starts_with("the client secret"), "{error}");
            assert!(!error.to_string().contains("cret\n"));
            ClientAuth::client_secret_post(bad, "s").unwrap_err();
            ClientAuth::bearer("app", bad).unwrap_err();
        }
        ClientAuth::bearer("app", "t\u{fc}r").unwrap_err();
    }
}
