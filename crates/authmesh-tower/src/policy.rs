//! What a route demands of a request.
//!
//! ```
//! use std::time::Duration;
//! use authmesh_tower::policy::RoutePolicy;
//!
//! let staff = RoutePolicy::authenticated().roles_any(["clerk", "manager"]);
//! let refunds = staff.and(RoutePolicy::authenticated().scopes_all(["orders:refund"]).sensitive());
//! assert!(refunds.build().is_ok());
//!
//! let odd = RoutePolicy::public().scopes_all(["orders:refund"]);
//! assert!(odd.build().is_err(), "nobody is asked for a token, so nobody has a scope");
//! ```

#[cfg(test)]
mod tests;

use std::time::Duration;

use authmesh::{Verdict, Verifier};
use serde_json::Value;

use crate::rejection::Rejection;
use crate::scopes::is_scope;

/// Where roles stand, unless a policy says otherwise.
const ROLES: &str = "/roles";

/// What a route demands. Says it, and demands nothing yet: [`RoutePolicy::build`] checks it for contradictions, and so does
/// everything that takes one.
///
/// Each call adds a demand; all of them must be met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct RoutePolicy {
    public: bool,
    groups: Vec<Group>,
    roles_at: Option<String>,
    sensitive: bool,
    max_age: Option<Duration>,
    /// A contradiction inside of a policy that has become a part of this one.
    broken: Option<PolicyError>,
}

/// Some names, of which the token must carry all, or at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    what: What,
    all: bool,
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Scopes,
    /// Roles, in the claim that the pointer names.
    Roles(String),
}

/// Why a policy can never be what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A public route asks nobody for a token, and a demand can be met with a token only.
    #[error("the route is public, and demands something of a token; make it authenticated, or drop the demand")]
    PublicWithDemands,
    /// A route that also takes requests without a token, and demands something of the token.
    #[error(
        "the token is optional, and something is demanded of it: a request without one would pass; drop one of them"
    )]
    OptionalWithDemands,
    /// A list without a name: of none "any" is never met, and "all" demands nothing.
    #[error("a list of scopes or roles is empty; name at least one, or drop the demand")]
    EmptyList,
    /// What no scope can be (RFC 6749 section 3.3): empty, with a space, a quote, a backslash or what is not ASCII.
    #[error("{0:?} can be no scope: RFC 6749 section 3.3 takes printable ASCII without spaces, quotes and backslashes")]
    NotAScope(String),
    /// An empty role.
    #[error("a role is empty; name one")]
    EmptyRole,
    /// What is no origin: a scheme, `http` or `https`, and a host.
    #[error("{0:?} is no origin: it is a URL without user, query and fragment, as https://api.example.com")]
    NotAnOrigin(String),
    /// No JSON pointer (RFC 6901).
    #[error("{0:?} is no JSON pointer: it begins with a slash, as /realm_access/roles does")]
    NotAPointer(String),
    /// A share that is none.
    #[error("a share of the traffic lies between 0 and 1; this is {0}")]
    NotAShare(String),
}

impl RoutePolicy {
    const fn new(public: bool) -> Self {
        Self {
            public,
            groups: Vec::new(),
            roles_at: None,
            sensitive: false,
            max_age: None,
            broken: None,
        }
    }

    /// Anybody may pass, and nobody is asked for a token.
    pub const fn public() -> Self {
        Self::new(true)
    }

    /// A valid token is needed.
    pub const fn authenticated() -> Self {
        Self::new(false)
    }

    /// The token carries all of these scopes.
    pub fn scopes_all<S: Into<String>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.group(What::Scopes, true, scopes)
    }

    /// The token carries at least one of these scopes.
    pub fn scopes_any<S: Into<String>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.group(What::Scopes, false, scopes)
    }

    /// The token's holder has all of these roles.
    pub fn roles_all<S: Into<String>>(self, roles: impl IntoIterator<Item = S>) -> Self {
        let at = What::Roles(self.roles_at());
        self.group(at, true, roles)
    }

    /// The token's holder has at least one of these roles.
    pub fn roles_any<S: Into<String>>(self, roles: impl IntoIterator<Item = S>) -> Self {
        let at = What::Roles(self.roles_at());
        self.group(at, false, roles)
    }

    /// The claim that names the roles in the demands that come after this, as a JSON pointer (RFC 6901): `/realm_access/roles` for
    /// Keycloak. It holds a list of strings, or one string that is one role; anything else is no role. Default: `/roles`.
    pub fn roles_at_claim(mut self, pointer: impl Into<String>) -> Self {
        self.roles_at = Some(pointer.into());
        self
    }

    /// Refused while the node cannot prove that it knows every revocation, and never answered stale
    /// ([`Verifier::sensitive`]).
    pub const fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// The signature was verified, or the provider asked, no longer ago than this. Zero: for this request
    /// ([`Verifier::max_age`]). The shortest of several counts.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(self.max_age.map_or(age, |own| own.min(age)));
        self
    }

    /// Both: what either demands is demanded. A public policy demands nothing, so it changes nothing of the other.
    pub fn and(mut self, other: Self) -> Self {
        self.broken = self.error().or_else(|| other.error());
        self.public &= other.public;
        self.groups.extend(other.groups);
        self.sensitive |= other.sensitive;
        if let Some(age) = other.max_age {
            self = self.max_age(age);
        }
        self
    }

    /// Checks it.
    ///
    /// # Errors
    /// The first contradiction, see [`PolicyError`].
    pub fn build(self) -> Result<Demands, PolicyError> {
        match self.error() {
            Some(error) => Err(error),
            None => Ok(Demands {
                public: self.public,
                groups: self.groups,
                sensitive: self.sensitive,
                max_age: self.max_age,
            }),
        }
    }

    fn roles_at(&self) -> String {
        self.roles_at.clone().unwrap_or_else(|| ROLES.into())
    }

    fn group<S: Into<String>>(mut self, what: What, all: bool, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.groups.push(Group { what, all, names });
        self
    }

    fn error(&self) -> Option<PolicyError> {
        let demands = !self.groups.is_empty() || self.sensitive || self.max_age.is_some();
        if self.broken.is_some() {
            return self.broken.clone();
        }
        if self.public && demands {
            return Some(PolicyError::PublicWithDemands);
        }
        if let Some(pointer) = &self.roles_at
            && !is_pointer(pointer)
        {
            return Some(PolicyError::NotAPointer(pointer.clone()));
        }
        self.groups.iter().find_map(Group::error)
    }
}

impl Group {
    fn error(&self) -> Option<PolicyError> {
        if self.names.is_empty() {
            return Some(PolicyError::EmptyList);
        }
        match &self.what {
            What::Scopes => {
                let odd = self.names.iter().find(|name| !is_scope(name))?;
                Some(PolicyError::NotAScope(odd.clone()))
            }
            What::Roles(pointer) if !is_pointer(pointer) => Some(PolicyError::NotAPointer(pointer.clone())),
            What::Roles(_) => self
                .names
                .iter()
                .any(String::is_empty)
                .then_some(PolicyError::EmptyRole),
        }
    }

    fn is_met(&self, carries: impl Fn(&str) -> bool) -> bool {
        let mut names = self.names.iter();
        if self.all {
            names.all(|name| carries(name))
        } else {
            names.any(|name| carries(name))
        }
    }
}

/// A policy that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demands {
    public: bool,
    groups: Vec<Group>,
    sensitive: bool,
    max_age: Option<Duration>,
}

impl Demands {
    /// A valid token, and nothing of it.
    #[must_use]
    pub const fn authenticated() -> Self {
        Self {
            public: false,
            groups: Vec::new(),
            sensitive: false,
            max_age: None,
        }
    }

    /// Whether nobody is asked for a token.
    #[must_use]
    pub const fn is_public(&self) -> bool {
        self.public
    }

    /// Whether something is demanded of the token beside its validity.
    #[must_use]
    pub const fn of_the_token(&self) -> bool {
        !self.groups.is_empty() || self.sensitive || self.max_age.is_some()
    }

    /// The verifier that demands as much freshness as this.
    #[must_use]
    pub fn verifier(&self, mut verifier: Verifier) -> Verifier {
        if self.sensitive {
            verifier = verifier.sensitive();
        }
        match self.max_age {
            Some(age) => verifier.max_age(age),
            None => verifier,
        }
    }

    /// Whether the verdict meets the demands for scopes and roles.
    ///
    /// # Errors
    /// 403: `insufficient_scope` with the scopes that are lacking (RFC 6750 section 3.1), or `insufficient-role`.
    pub fn check(&self, verdict: &Verdict) -> Result<(), Rejection> {
        if self.groups.is_empty() {
            return Ok(());
        }
        let mut lacking: Vec<&str> = Vec::new();
        for group in self.groups.iter().filter(|group| group.what == What::Scopes) {
            if group.is_met(|scope| verdict.has_scope(scope)) {
                continue;
            }
            for name in &group.names {
                if !verdict.has_scope(name) && !lacking.contains(&name.as_str()) {
                    lacking.push(name);
                }
            }
        }
        if !lacking.is_empty() {
            return Err(Rejection::insufficient_scope(lacking));
        }
        // The claims are parsed for it, so only where roles are demanded.
        let mut claims: Option<Value> = None;
        for group in &self.groups {
            let What::Roles(pointer) = &group.what else { continue };
            let claims = claims.get_or_insert_with(|| verdict.claims().unwrap_or_default());
            let found = claims.pointer(pointer);
            let carries = |role: &str| match found {
                Some(Value::String(own)) => own == role,
                Some(Value::Array(own)) => own.iter().any(|own| own.as_str() == Some(role)),
                _ => false,
            };
            if !group.is_met(carries) {
                return Err(Rejection::insufficient_role());
            }
        }
        Ok(())
    }
}

/// RFC 6901 section 3; the empty one would be the whole set of claims.
fn is_pointer(text: &str) -> bool {
    let escapes_stand = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.starts_with('/') && escapes_stand
}
