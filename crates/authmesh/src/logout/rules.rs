//! What is demanded of an issuer's logout tokens.

use std::time::Duration;

use crate::error::BuildError;

/// How long a logout token without `exp` counts, from its `iat`: what the specification recommends for `exp` (section 4).
pub(super) const WITHOUT_EXPIRY: Duration = Duration::from_secs(120);
/// The most clients of one issuer.
const MAX_CLIENTS: usize = 64;

/// What is demanded of the logout tokens of one issuer. Its keys, its algorithms, its leeway and its longest token lifetime
/// are those of its access tokens ([`Rules`](crate::Rules)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutRules {
    pub(super) client_ids: Vec<String>,
    /// Refuse a logout token whose `typ` is not `logout+jwt`. Where it is `false`, none and `JWT` are accepted as well:
    /// the specification only recommends the type, and Keycloak before 25 for one sends `JWT`. Default: `false`.
    pub require_type: bool,
    /// Refuse a logout token without `exp`, as the final specification asks. Drafts had no `exp`, and some issuers still send
    /// none: where this is `false`, such a token counts for 2 min from its `iat`. A replay changes nothing either way.
    /// Default: `true`.
    pub require_expiry: bool,
}

impl LogoutRules {
    /// Rules for logout tokens meant for one of these clients: the `client_id`s under which this service (or whoever signs
    /// users in for it) is registered with the issuer, 1 to 64. One of them must be in `aud`.
    #[must_use]
    pub fn for_clients<S: Into<String>>(client_ids: impl IntoIterator<Item = S>) -> Self {
        Self {
            client_ids: client_ids.into_iter().map(Into::into).collect(),
            require_type: false,
            require_expiry: true,
        }
    }

    /// The clients.
    #[must_use]
    pub fn client_ids(&self) -> &[String] {
        &self.client_ids
    }

    pub(crate) fn check(&self, issuer: &str) -> Result<(), BuildError> {
        let good = (1..=MAX_CLIENTS).contains(&self.client_ids.len()) && !self.client_ids.iter().any(String::is_empty);
        if good {
            return Ok(());
        }
        Err(BuildError::new(
            "logout",
            format!(
                "{issuer}: name 1 to {MAX_CLIENTS} clients, none of them empty: a logout token for another client would \
                 be accepted, or none"
            ),
        ))
    }
}
