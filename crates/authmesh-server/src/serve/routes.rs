//! Which rule covers a request, and the verifier that goes with it.

use authmesh::{AuthMesh, Verifier, WhenBlind};
use authmesh_tower::policy::{Demands, RoutePolicy};

use super::ServeError;
use super::original::Original;
use crate::config::{Access, Route, WhenBlind as Configured};

/// A configured route with its verifier.
#[derive(Debug)]
struct Prepared {
    route: Route,
    verifier: Verifier,
    demands: Demands,
}

/// Every route, and the verifier of what none covers.
#[derive(Debug)]
pub(super) struct Routes {
    prepared: Vec<Prepared>,
    plain: Verifier,
    nothing_more: Demands,
}

/// What a request needs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Demand<'a> {
    /// Nothing: the route is public.
    Nothing,
    /// A token that this verifier accepts, and that meets these demands.
    Token {
        verifier: &'a Verifier,
        demands: &'a Demands,
    },
}

impl Routes {
    pub(super) fn new(mesh: &AuthMesh, routes: &[Route]) -> Result<Self, ServeError> {
        let plain = mesh.verifier();
        let prepared = routes
            .iter()
            .map(|route| prepare(mesh, &plain, route))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            prepared,
            plain,
            nothing_more: Demands::authenticated(),
        })
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
        for Prepared {
            route,
            verifier,
            demands,
        } in &self.prepared
        {
            let host = route.host.is_none() || route.host == original.host;
            // A method that is not told may be any of them.
            let method = route.methods.is_empty()
                || original
                    .method
                    .as_ref()
                    .is_none_or(|method| route.methods.contains(method));
            if host && method && route.covers_path(path) {
                return Ok(if demands.is_public() {
                    Demand::Nothing
                } else {
                    Demand::Token { verifier, demands }
                });
            }
        }
        Ok(self.plain())
    }

    fn plain(&self) -> Demand<'_> {
        Demand::Token {
            verifier: &self.plain,
            demands: &self.nothing_more,
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
    let demands = policy(route)
        .build()
        .map_err(|error| ServeError::new(format!("routes: {}: {error}", route.path)))?;
    Ok(Prepared {
        route: route.clone(),
        verifier: demands.verifier(verifier),
        demands,
    })
}

/// What the configuration says, in the words of the SDK. A public route's other settings count for nothing.
fn policy(route: &Route) -> RoutePolicy {
    if route.access == Access::Public {
        return RoutePolicy::public();
    }
    let mut policy = RoutePolicy::authenticated();
    if !route.scopes.is_empty() {
        policy = policy.scopes_all(&route.scopes);
    }
    if !route.any_scope.is_empty() {
        policy = policy.scopes_any(&route.any_scope);
    }
    if route.sensitive {
        policy = policy.sensitive();
    }
    match route.max_age {
        Some(age) => policy.max_age(age),
        None => policy,
    }
}
