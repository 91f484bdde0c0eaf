//! Policies: what a verification demands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::error::BuildError;
use crate::jose::AlgorithmSet;
use crate::possession::DpopRules;

/// The claim that names the audiences, unless the rules name another.
pub(crate) const AUDIENCE: &str = "aud";

/// What a verification demands. Verdicts are cached under the policy's fingerprint: a verdict of one policy never answers
/// for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The issuers that are accepted (`iss`, compared byte by byte), each with its rules.
    pub issuers: BTreeMap<String, Rules>,
    /// Longest token, in bytes. Default: 16 KiB.
    pub max_token_bytes: usize,
    /// How long a verdict may be served without verifying the signature again; never beyond `exp`. Default: 5 min.
    pub max_verdict_age: Duration,
    /// What to do while the node is blind. Default: serve for at most 5 min.
    pub when_blind: WhenBlind,
    /// What is demanded of the proofs of tokens that are bound to a key. Default: [`DpopRules::default`].
    pub dpop: DpopRules,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            issuers: BTreeMap::new(),
            max_token_bytes: 16 * 1024,
            max_verdict_age: Duration::from_secs(300),
            when_blind: WhenBlind::default(),
            dpop: DpopRules::default(),
        }
    }
}

/// What is demanded of the tokens of one issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// One of these must be in `aud`. `None` accepts tokens meant for any service: only
    /// [`Rules::danger_any_audience`] makes it so.
    pub(crate) audiences: Option<Vec<String>>,
    /// Accepted `alg`s. Default: all nine that are supported.
    pub algorithms: AlgorithmSet,
    /// Accepted `typ`s, compared as RFC 7515 section 4.1.9 says. Empty accepts `JWT`, `at+jwt` (RFC 9068) and none at all, so
    /// that no special token passes for an access token. A logout token (`logout+jwt`) or another security event (`events` is an
    /// object, RFC 8417) never does, whatever stands here. Default: empty.
    pub types: Vec<String>,
    /// How far the issuer's clock may be off. Default: 30 s. At most 5 min.
    pub leeway: Duration,
    /// The longest time between `iat` and `exp`. It bounds how long a revocation must be kept. Default: 24 h.
    pub max_token_lifetime: Duration,
    /// Claims that must be there, beside `iss`, `exp`, `iat` and (where audiences are named) `aud`. Default: none.
    pub required_claims: Vec<String>,
    /// Take opaque tokens. See [`Rules::opaque`].
    pub(crate) opaque: bool,
    /// The claim that says whom a token is meant for. See [`Rules::audience_claim`].
    pub(crate) audience_claim: String,
    /// Claims that must have one of these values. See [`Rules::claim_one_of`].
    pub(crate) exact_claims: BTreeMap<String, BTreeSet<String>>,
    /// Refuse tokens that are bound to nothing. See [`Rules::require_bound`].
    pub(crate) require_bound: bool,
    /// Accept tokens that are bound to a key. See [`Rules::danger_bound_as_bearer`].
    pub(crate) bound_as_bearer: bool,
    /// Accept tokens without `iat`. See [`Rules::danger_without_issued_at`].
    pub(crate) without_issued_at: bool,
}

impl Rules {
    /// Rules for tokens meant for one of these audiences.
    #[must_use]
    pub fn for_audiences<S: Into<String>>(audiences: impl IntoIterator<Item = S>) -> Self {
        Self {
            audiences: Some(audiences.into_iter().map(Into::into).collect()),
            ..Self::danger_any_audience()
        }
    }

    /// Rules that accept tokens meant for **any** service of the issuer: whoever holds a token for another service can use
    /// it here.
    #[must_use]
    pub fn danger_any_audience() -> Self {
        Self {
            audiences: None,
            algorithms: AlgorithmSet::ALL,
            types: Vec::new(),
            leeway: Duration::from_secs(30),
            max_token_lifetime: Duration::from_secs(86_400),
            required_claims: Vec::new(),
            opaque: false,
            audience_claim: AUDIENCE.to_owned(),
            exact_claims: BTreeMap::new(),
            require_bound: false,
            bound_as_bearer: false,
            without_issued_at: false,
        }
    }

    /// Demands that a claim is this string, byte by byte. A list that holds it is not accepted, nor is a number or a
    /// boolean that prints like it. Replaces what was demanded of the claim before.
    #[must_use]
    pub fn claim_equals(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.claim_one_of(name, [value])
    }

    /// Demands that a claim is one of these strings, as [`Rules::claim_equals`] does of one.
    #[must_use]
    pub fn claim_one_of<S: Into<String>>(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = S>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.exact_claims.insert(name.into(), values);
        self
    }

    /// Reads the audiences of a token from another claim: `client_id` where an issuer sends no `aud`. It is judged as `aud` is:
    /// a string or a list of strings that names one of [`Rules::for_audiences`]; and it is what
    /// [`Verdict::audiences`](crate::Verdict::audiences) tells. `aud` itself is then not looked at.
    ///
    /// Default: `aud` (RFC 7519 section 4.1.3).
    #[must_use]
    pub fn audience_claim(mut self, name: impl Into<String>) -> Self {
        self.audience_claim = name.into();
        self
    }

    /// Accepts bound tokens only: to a key (DPoP, RFC 9449) or a client certificate (RFC 8705). What is stolen without the key is
    /// worth nothing then. Default: a bound token needs its proof, and one that is bound to nothing is a bearer token.
    #[must_use]
    pub const fn require_bound(mut self) -> Self {
        self.require_bound = true;
        self
    }

    /// Accepts tokens that are bound to a key or certificate of their holder (`cnf`: DPoP, RFC 9449; mutual TLS, RFC 8705) as
    /// if they were bearer tokens: whoever steals one can use it. For services behind something that checks the proof of
    /// possession **on every request**.
    #[must_use]
    pub fn danger_bound_as_bearer(mut self) -> Self {
        self.bound_as_bearer = true;
        self
    }

    /// Accepts tokens without `iat`. Their age is unknown, and so is how long a revocation must be kept to cover them: one
    /// that lives longer than [`Rules::max_token_lifetime`] can outlive the mark that voids it. While a mark is held, it
    /// voids them whatever its time.
    #[must_use]
    pub fn danger_without_issued_at(mut self) -> Self {
        self.without_issued_at = true;
        self
    }

    /// Whether tokens that are no compact JWS are this issuer's: its provider is asked about them
    /// ([`Builder::upstream`](crate::Builder::upstream)). At most one issuer of a policy can have them. Default: no.
    #[must_use]
    pub const fn opaque(mut self, opaque: bool) -> Self {
        self.opaque = opaque;
        self
    }

    /// The same rules for other audiences.
    #[must_use]
    pub fn with_audiences<S: Into<String>>(&self, audiences: impl IntoIterator<Item = S>) -> Self {
        Self {
            audiences: Some(audiences.into_iter().map(Into::into).collect()),
            ..self.clone()
        }
    }

    /// The accepted audiences; `None` accepts any.
    #[must_use]
    pub fn audiences(&self) -> Option<&[String]> {
        self.audiences.as_deref()
    }
}

/// What to do while the node cannot prove that it knows every revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBlind {
    /// Refuse with 503.
    Deny,
    /// Go on answering, marked so, until the node has been blind for so long. A node that was never coherent since its
    /// start answers nothing.
    Serve {
        /// How long.
        at_most: Duration,
    },
}

impl Default for WhenBlind {
    fn default() -> Self {
        Self::Serve {
            at_most: Duration::from_secs(300),
        }
    }
}

/// A policy that was checked, with its fingerprint.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) policy: Policy,
    pub(crate) fingerprint: [u8; 32],
    /// The issuer whose opaque tokens are.
    pub(crate) opaque: Option<String>,
}

impl Compiled {
    pub(crate) fn new(policy: Policy) -> Result<Self, BuildError> {
        check(&policy)?;
        let fingerprint = fingerprint(&policy);
        let opaque = policy.issuers.iter().find(|(_, rules)| rules.opaque);
        let opaque = opaque.map(|(issuer, _)| issuer.clone());
        Ok(Self {
            policy,
            fingerprint,
            opaque,
        })
    }
}

fn check(policy: &Policy) -> Result<(), BuildError> {
    if policy.issuers.is_empty() {
        return Err(BuildError::new(
            "issuers",
            "a policy without issuers accepts no token; add one",
        ));
    }
    policy.dpop.check()?;
    if !(256..=1 << 20).contains(&policy.max_token_bytes) {
        return Err(BuildError::new("max_token_bytes", "must be 256 bytes to 1 MiB"));
    }
    let opaque: Vec<_> = policy.issuers.iter().filter(|(_, rules)| rules.opaque).collect();
    if let [(first, _), (second, _), ..] = opaque.as_slice() {
        return Err(BuildError::new(
            "opaque",
            format!(
                "both {first} and {second} take opaque tokens, which do not say whose they are; let one of them, or make a \
                 policy for each"
            ),
        ));
    }
    for (issuer, rules) in &policy.issuers {
        let refuse = |setting, problem: &str| Err(BuildError::new(setting, format!("{issuer}: {problem}")));
        if rules
            .audiences
            .as_ref()
            .is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty))
        {
            return refuse(
                "audience",
                "is empty: a token for any service would be accepted. Name your audience, or use danger_any_audience",
            );
        }
        if rules.algorithms.is_empty() {
            return refuse("algorithms", "is empty: no token could be accepted. Name at least one");
        }
        if rules.audience_claim.is_empty() {
            return refuse("audience_claim", "is empty. Name a claim, or leave it at aud");
        }
        if let Some((name, _)) = rules
            .exact_claims
            .iter()
            .find(|(name, values)| name.is_empty() || values.is_empty())
        {
            return refuse(
                "claim_one_of",
                &format!("{name:?} has no name or no value: no token could be accepted"),
            );
        }
        if rules.leeway > Duration::from_secs(300) {
            return refuse(
                "leeway",
                "is over 5 minutes: an expired token would live on. Mend the clocks instead",
            );
        }
        let lifetime = rules.max_token_lifetime;
        if lifetime < Duration::from_secs(60) || lifetime > Duration::from_secs(7 * 86_400) {
            return refuse("max_token_lifetime", "must be 1 minute to 7 days");
        }
    }
    Ok(())
}

/// SHA-256 over everything that decides whether a token is accepted. `when_blind`, `max_verdict_age` and `dpop` do not:
/// they are looked at on every call.
fn fingerprint(policy: &Policy) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut text = |value: &str| {
        hasher.update((value.len() as u64).to_be_bytes());
        hasher.update(value);
    };
    text("authmesh policy v3");
    text(&policy.max_token_bytes.to_string());
    for (issuer, rules) in &policy.issuers {
        text(issuer);
        for list in [
            rules.audiences.as_ref(),
            Some(&rules.types),
            Some(&rules.required_claims),
        ] {
            let sorted: BTreeSet<&String> = list.into_iter().flatten().collect();
            text(if list.is_some() { "list" } else { "any" });
            text(&sorted.len().to_string());
            sorted.into_iter().for_each(|value| text(value));
        }
        for algorithm in rules.algorithms.iter() {
            text(algorithm.name());
        }
        text(&rules.audience_claim);
        text(&rules.exact_claims.len().to_string());
        for (name, values) in &rules.exact_claims {
            text(name);
            text(&values.len().to_string());
            values.iter().for_each(|value| text(value));
        }
        text(&format!(
            "{} {} {} {} {} {}",
            rules.leeway.as_nanos(),
            rules.max_token_lifetime.as_nanos(),
            rules.without_issued_at,
            rules.opaque,
            rules.bound_as_bearer,
            rules.require_bound
        ));
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn of(rules: Rules) -> Result<Compiled, BuildError> {
        Compiled::new(Policy {
            issuers: BTreeMap::from([("https://issuer.test".to_owned(), rules)]),
            ..Policy::default()
        })
    }

    /// Otherwise a verdict of lax rules would answer for strict ones.
    #[test]
    fn every_demand_on_claims_is_part_of_the_fingerprint() {
        let plain = || Rules::for_audiences(["api"]);
        let all = [
            plain(),
            plain().audience_claim("client_id"),
            plain().audience_claim("azp"),
            plain().claim_equals("a", "b"),
            plain().claim_equals("a", "c"),
            plain().claim_equals("b", "a"),
            plain().claim_one_of("a", ["b", "c"]),
            plain().claim_equals("a", "b").claim_equals("c", "d"),
            plain().claim_one_of("a", ["b", "c", "d"]),
            plain().require_bound(),
            plain().danger_bound_as_bearer(),
        ];
        let prints: BTreeSet<_> = all.iter().map(|rules| of(rules.clone()).unwrap().fingerprint).collect();
        assert_eq!(prints.len(), all.len());
        let order = of(plain().claim_one_of("a", ["c", "b"])).unwrap().fingerprint;
        assert!(prints.contains(&order), "the order of values decides nothing");
    }

    #[test]
    fn demands_that_no_token_meets_are_refused() {
        let plain = || Rules::for_audiences(["api"]);
        for rules in [
            plain().audience_claim(""),
            plain().claim_equals("", "x"),
            plain().claim_one_of("a", [] as [&str; 0]),
        ] {
            of(rules).unwrap_err();
        }
    }
}
