//! Which rule covers a request, and the verifier that goes with it.

use authmesh::{AuthMesh, Verdict, Verifier, WhenBlind};

use super::ServeError;
use super::original::Original;
use crate::config::{Access, Route, WhenBlind as Configured};

/// A configured route with its verifier.
#[derive(Debug)]
struct Prepared {
    route: Route,
    verifier: Verifier,
}

/// Every route, and the verifier of what none covers.
#[derive(Debug)]
pub(super) struct Routes {
    prepared: Vec<Prepared>,
    plain: Verifier,
}

/// What a request needs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Demand<'a> {
    /// Nothing: the route is public.
    Nothing,
    /// A token that this verifier accepts, with these scopes.
    Token {
        verifier: &'a Verifier,
        scopes: &'a [String],
        any_scope: &'a [String],
    },
}

impl Routes {
    pub(super) fn new(mesh: &AuthMesh, routes: &[Route]) -> Result<Self, ServeError> {
        let plain = mesh.verifier();
        let prepared = routes
            .iter()
            .map(|route| prepare(mesh, &plain, route))
            .collect::<Result<_, _>>()?;
        Ok(Self { prepared, plain })
    }

    /// The demand on a request. `Err`: there are routes, and the proxy does not tell which path was asked for.
    pub(super) fn demand(&self, original: &Original) -> Result<Demand<'_>, &'static str> {
        let Some(path) = original.path.as_deref() else {
            return if self.prepared.is_empty() {
                Ok(self.plain())
            } else {
                Err("routes are configured, and the proxy does not tell the original path: let it send X-Forwarded-Uri")
            };
        };
        for Prepared { route, verifier } in &self.prepared {
            let host = route.host.is_none() || route.host == original.host;
            // A method that is not told may be any of them.
            let method = route.methods.is_empty()
                || original
                    .method
                    .as_ref()
                    .is_none_or(|method| route.methods.contains(method));
            if host && method && route.covers_path(path) {
                return Ok(match route.access {
                    Access::Public => Demand::Nothing,
                    Access::Authenticated => Demand::Token {
                        verifier,
                        scopes: &route.scopes,
                        any_scope: &route.any_scope,
                    },
                });
            }
        }
        Ok(self.plain())
    }

    fn plain(&self) -> Demand<'_> {
        Demand::Token {
            verifier: &self.plain,
            scopes: &[],
            any_scope: &[],
        }
    }
}

fn prepare(mesh: &AuthMesh, plain: &Verifier, route: &Route) -> Result<Prepared, ServeError> {
    let mut verifier = if route.audience.is_empty() {
        plain.clone()
    } else {
        let mut policy = plain.policy().clone();
        for rules in policy.issuers.values_mut() {
            let narrowed: Vec<String> = match rules.audiences() {
                Some(own) => route
                    .audience
                    .iter()
                    .filter(|audience| own.contains(audience))
                    .cloned()
                    .collect(),
                None => route.audience.clone(),
            };
            // An issuer whose tokens are never meant for the route accepts none there.
            *rules = rules.with_audiences(narrowed);
        }
        policy
            .issuers
            .retain(|_, rules| rules.audiences().is_some_and(|list| !list.is_empty()));
        mesh.verifier_for(policy).map_err(ServeError::new)?
    };
    verifier = verifier.when_blind(match route.when_blind {
        Configured::Deny => WhenBlind::Deny,
        Configured::Serve(at_most) => WhenBlind::Serve { at_most },
    });
    if route.sensitive {
        verifier = verifier.sensitive();
    }
    if let Some(age) = route.max_age {
        verifier = verifier.max_age(age);
    }
    Ok(Prepared {
        route: route.clone(),
        verifier,
    })
}

/// The scopes that a verdict lacks; empty when it lacks none.
pub(super) fn lacking<'a>(verdict: &Verdict, scopes: &'a [String], any_scope: &'a [String]) -> Vec<&'a str> {
    let mut lacking: Vec<&str> = scopes
        .iter()
        .map(String::as_str)
        .filter(|scope| !verdict.has_scope(scope))
        .collect();
    if lacking.is_empty() && !any_scope.is_empty() && !any_scope.iter().any(|scope| verdict.has_scope(scope)) {
        lacking.extend(any_scope.iter().map(String::as_str));
    }
    lacking
}
