//! A token about to be made.

use std::time::Duration;

use authmesh::proto::time::Unix;
use serde_json::{Value, json};

use super::{TestIssuer, overlay};

/// A token about to be made by [`TestIssuer::mint`]. What is not said is as in [`TestIssuer::token`].
#[must_use = "no token is made before `sign` or `opaque`"]
#[derive(Debug, Clone)]
pub struct Mint<'a> {
    issuer: &'a TestIssuer,
    claims: Value,
    header: Value,
}

impl<'a> Mint<'a> {
    pub(super) fn new(issuer: &'a TestIssuer) -> Self {
        Self {
            issuer,
            claims: issuer.claims(json!({})),
            header: json!({}),
        }
    }

    /// `sub`. Default: `alice`.
    pub fn subject(self, subject: impl Into<String>) -> Self {
        self.claim("sub", subject.into())
    }

    /// `aud`, for another service than the issuer's own. Default: [`TestIssuer::audience`].
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.claim("aud", audience.into())
    }

    /// One more scope, or several with spaces between them. Default: none.
    pub fn scope(self, scope: &str) -> Self {
        let all = match self.claims["scope"].as_str() {
            Some(before) => format!("{before} {scope}"),
            None => scope.to_owned(),
        };
        self.claim("scope", all)
    }

    /// `client_id`. Default: none.
    pub fn client(self, client: impl Into<String>) -> Self {
        self.claim("client_id", client.into())
    }

    /// `sid`. Default: none.
    pub fn session(self, session: impl Into<String>) -> Self {
        self.claim("sid", session.into())
    }

    /// `jti`. Default: none.
    pub fn jwt_id(self, id: impl Into<String>) -> Self {
        self.claim("jti", id.into())
    }

    /// How long after `iat` it ends, in whole seconds. Default: 10 min.
    pub fn lifetime(self, lifetime: Duration) -> Self {
        let issued = self.claims["iat"].as_u64().unwrap_or_else(|| self.issuer.now());
        self.claim("exp", issued.saturating_add(lifetime.as_secs()))
    }

    /// `iat`; `exp` stays as long after it as it was. Default: now.
    pub fn issued_at(self, at: Unix) -> Self {
        let time = |name: &str| self.claims[name].as_u64();
        let lifetime = match (time("iat"), time("exp")) {
            (Some(issued), Some(expires)) => expires.saturating_sub(issued),
            _ => 600,
        };
        self.claim("iat", at).claim("exp", at.saturating_add(lifetime))
    }

    /// `nbf`. Default: none.
    pub fn not_before(self, at: Unix) -> Self {
        self.claim("nbf", at)
    }

    /// Any claim; `null` removes it.
    pub fn claim(self, name: &str, value: impl Into<Value>) -> Self {
        self.claims(json!({ name: value.into() }))
    }

    /// Takes a claim away.
    pub fn without(self, name: &str) -> Self {
        self.claim(name, Value::Null)
    }

    /// Lays several claims over the present ones; `null` removes one.
    ///
    /// # Panics
    /// If it is no JSON object.
    pub fn claims(mut self, claims: Value) -> Self {
        overlay(&mut self.claims, claims);
        self
    }

    /// A member of the header: over `alg`, `typ` or `kid`, or beside them; `null` removes it.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        // Kept as it is: what is null must still remove the default when the header is made.
        self.header[name] = value.into();
        self
    }

    /// The token, signed with the newest key.
    #[must_use]
    pub fn sign(self) -> String {
        self.issuer.sign(self.header, &self.claims)
    }

    /// An opaque token with these claims: a random string, which means something to [`TestIssuer::introspection`] alone.
    #[must_use]
    pub fn opaque(self) -> String {
        self.issuer.opaque_tokens().issue(self.claims)
    }
}
