//! The options that say what is demanded of a token offline.

use std::time::Duration;

use authmesh::Rules;
use authmesh::jose::{Algorithm, AlgorithmSet, KeySet};
use authmesh::offline::{self, Offline};
use authmesh::proto::time::Unix;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::args;
use super::io::{Io, Refusal, Token};

/// What is demanded of a token. The defaults are those of `authmesh serve`.
#[derive(Args)]
#[group(requires = "jwks")]
pub(super) struct RuleArgs {
    /// Accepted issuer (`iss`), compared byte by byte; may be repeated [default: not compared]
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    issuer: Vec<String>,
    /// Accepted audience (one of `aud`); may be repeated [default: not compared]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    audience: Vec<String>,
    /// Accepted algorithms, with commas between [default: all nine: RS256, RS384, RS512, PS256, PS384, PS512, ES256,
    /// ES384, EdDSA]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    algorithms: Vec<Algorithm>,
    /// Accepted type in the token's header, such as at+jwt; may be repeated [default: any, and none]
    #[arg(long, value_name = "TYPE", value_parser = NonEmptyStringValueParser::new())]
    typ: Vec<String>,
    /// How far the issuer's clock may be off: 0s to 5m
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = args::leeway)]
    leeway: Duration,
    /// Longest time from `iat` to `exp`: 1m to 168h
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = args::token_lifetime)]
    max_token_lifetime: Duration,
    /// Check as of this time, in seconds since the Unix epoch [default: now]
    #[arg(long, value_name = "SECONDS")]
    now: Option<Unix>,
}

/// The options of [`RuleArgs`] that concern the claims, for commands that do not look at claims.
pub(super) const ABOUT_CLAIMS: [&str; 6] = ["issuer", "audience", "typ", "leeway", "max_token_lifetime", "now"];

impl RuleArgs {
    pub(super) fn algorithms(&self) -> AlgorithmSet {
        if self.algorithms.is_empty() {
            AlgorithmSet::ALL
        } else {
            AlgorithmSet::of(&self.algorithms)
        }
    }

    /// The accepted issuers; `None` where issuers are not compared.
    pub(super) fn issuers(&self) -> Option<&[String]> {
        (!self.issuer.is_empty()).then_some(&*self.issuer)
    }

    /// The time to check at.
    pub(super) fn now(&self, io: &Io<'_>) -> Unix {
        self.now.unwrap_or(io.now)
    }

    /// Checks a token. What is not compared is said on standard error: silence would read as a pass.
    pub(super) fn check(
        &self,
        token: &Token,
        keys: &KeySet,
        io: &mut Io<'_>,
    ) -> std::io::Result<Result<Offline, Refusal>> {
        for (given, option, what) in [
            (!self.issuer.is_empty(), "--issuer", "the issuer"),
            (!self.audience.is_empty(), "--audience", "the audience"),
        ] {
            if !given {
                io.note(&format!("{what} is not compared, because there is no {option}"))?;
            }
        }
        let checked = offline::check(token.as_bytes(), keys, self.issuers(), &self.rules(), self.now(io));
        Ok(checked.map_err(Refusal::from))
    }

    fn rules(&self) -> Rules {
        let mut rules = if self.audience.is_empty() {
            Rules::danger_any_audience()
        } else {
            Rules::for_audiences(self.audience.iter().cloned())
        };
        rules.algorithms = self.algorithms();
        rules.types.clone_from(&self.typ);
        rules.leeway = self.leeway;
        rules.max_token_lifetime = self.max_token_lifetime;
        rules
    }
}
