//! The configuration of `authmesh serve`: a TOML file, the environment, and a provenance for every value.
//!
//! Everything derives from one table of settings (`table`): what is read from the file, which variables exist, which
//! keys are unknown, what `config print` shows and what `config default` writes. They cannot drift apart.
//!
//! The way of a value: `file` and `env` collect what was *given*, `resolve` picks the winner and checks it by its
//! `kind`, `checks` compares settings with each other, `build` makes the typed [`Config`].
//!
//! Rules of the whole module:
//! - All problems are reported at once, at most [`Problems::MAX`] of them.
//! - The environment wins over the file, the file over the default.
//! - No message repeats a value: it might be a secret that was put in the wrong place. The location names the place.

mod asked;
mod build;
mod checks;
mod env;
mod file;
mod gossip;
mod kind;
mod preset;
mod print;
mod problem;
mod redis;
mod resolve;
mod routes;
mod rules;
mod schema;
mod secret;
mod sections;
mod source;
mod suggest;
mod table;
mod telemetry;
mod typed;
mod units;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use asked::read_key;
pub use env::process_environment;
pub use preset::IssuerPreset;
pub use print::default_file;
pub use problem::{Location, Problem, Problems};
pub use resolve::{Effective, Source};
pub use secret::Secret;
pub use typed::{
    Access, Admin, AuthMethod, Cache, Cluster, Config, Danger, Gossip, Headers, Issuer, IssuerHttp, IssuerLogout,
    IssuerUpstream, Level, Log, LogFormat, Logout, Redis, Route, Server, Telemetry, Validate, WhenBlind,
};

use std::path::Path;

use problem::Report;

/// A configuration without problems, and where every value came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed configuration.
    pub config: Config,
    /// What is allowed but deserves a look, such as a `danger` option that is on. Log each at start.
    pub warnings: Vec<Problem>,
    /// Every setting with its value and its source, in the order of the documentation. Secrets are redacted.
    pub effective: Vec<Effective>,
}

impl Loaded {
    /// The configuration in effect as TOML text, each line with the source of its value in a comment.
    ///
    /// The text is itself a valid configuration that loads to the same values, except for secrets, which are left out.
    #[must_use]
    pub fn print(&self) -> String {
        print::effective(&self.effective)
    }
}

/// Checks the URL of a Redis by the rule of `redis.url`. The error goes on after the name of what holds it, and does not
/// repeat it.
pub(crate) fn redis_url(url: &str) -> Result<(), String> {
    redis::url(url)
}

impl Config {
    /// Reads the configuration from `file` and from the variables in `env`.
    ///
    /// Where `file` is `None`, the variable `AUTHMESH_CONFIG` may name the file. Without either, the environment alone
    /// counts. Variables that do not begin with `AUTHMESH_` are ignored, except `HOSTNAME` (see `cluster.node`).
    /// A relative path in the file is relative to the folder of the file; in a variable, to the working directory.
    ///
    /// # Errors
    /// [`Problems`] with every problem found, in the order of the file. Where the file cannot be read, or is not TOML,
    /// only that is reported: what follows from half a file would mislead.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Loaded, Problems> {
        let env = env::Environment::new(env);
        let mut report = Report::default();

        let document = match file.or_else(|| env.file()).map(source::read).transpose() {
            Ok(document) => document,
            Err(problem) => return Err(Problems::one(problem)),
        };
        let mut given = match document.as_ref().map(|d| file::collect(d, &mut report)) {
            Some(Ok(given)) => given,
            Some(Err(problems)) => return Err(problems),
            None => resolve::AllGiven::default(),
        };
        env::collect(&env, &mut given, &mut report);

        let resolved = resolve::resolve(&given, &env, document.as_ref(), &mut report);
        let effective = resolved.effective();
        let mut warnings = Report::default();
        let admin_token = checks::run(&resolved, &mut report, &mut warnings);
        report.into_result()?;

        match build::config(resolved, admin_token) {
            Ok(config) => Ok(Loaded {
                config,
                warnings: warnings.into_list(),
                effective,
            }),
            Err(problem) => Err(Problems::one(problem)),
        }
    }
}
