//! Tests of the configuration as a whole. Rules for single words are tested beside them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abuse;
mod defaults;
mod environment;
mod files;
mod gossip;
mod issuers;
mod logout;
mod problems;
mod redis;
mod routes;

use std::path::PathBuf;

use super::{Config, Loaded, Problems};

/// The least that loads.
const MINIMAL: &str = "[[issuers]]\nurl = \"https://login.example.com\"\naudience = \"orders-api\"\n";

/// A folder with an `authmesh.toml`.
struct Setup {
    folder: tempfile::TempDir,
}

impl Setup {
    fn new(text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("authmesh.toml"), text).unwrap();
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("authmesh.toml")
    }

    fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Loaded, Problems> {
        Config::load(Some(&self.file()), vars(env))
    }

    /// The problems, one per line, without the folder.
    fn problems(&self, env: &[(&str, &str)]) -> Vec<String> {
        let problems = self.load(env).expect_err("these settings are refused");
        let folder = format!("{}/", self.folder.path().display());
        problems
            .to_string()
            .lines()
            .map(|line| line.replace(&folder, ""))
            .collect()
    }

    /// The warnings, without the folder.
    fn warnings(&self, env: &[(&str, &str)]) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        let loaded = self.load(env).expect("these settings are accepted");
        loaded
            .warnings
            .iter()
            .map(|warning| warning.to_string().replace(&folder, ""))
            .collect()
    }
}

fn vars(env: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    env.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Loads the minimal file with more text after it.
fn load(more: &str) -> Loaded {
    Setup::new(format!("{MINIMAL}{more}"))
        .load(&[])
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems of the minimal file (3 lines) with more text after it, beginning at line 4.
fn problems(more: &str) -> Vec<String> {
    Setup::new(format!("{MINIMAL}{more}")).problems(&[])
}

/// Checks that the minimal file with `more` after it has exactly one problem, which begins like this.
fn one(more: &str, expected: &str) {
    let found = problems(more);
    assert_eq!(found.len(), 1, "{more}\n{found:#?}");
    assert!(
        found[0].starts_with(expected),
        "{more}\n{found:#?}\nexpected: {expected}"
    );
}
