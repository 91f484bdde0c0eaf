//! What cargo knows about this workspace.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::shell::{self, Captured};
use crate::{Error, Result};

/// The workspace, as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    #[serde(rename = "workspace_root")]
    root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// A `[[bench]]` target of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bench {
    pub(crate) package: String,
    pub(crate) name: String,
}

impl Workspace {
    /// Asks cargo. Fails where cargo does, for example on a broken manifest.
    pub(crate) fn find() -> Result<Self> {
        let mut command = shell::cargo();
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        // Set by `cargo run`, so that the checkout is the one that this program was built from, wherever it is called.
        if let Some(manifest) = std::env::var_os("CARGO_MANIFEST_DIR") {
            command
                .arg("--manifest-path")
                .arg(Path::new(&manifest).join("Cargo.toml"));
        }
        let Captured { ok, stdout, stderr } = shell::capture(&mut command)?;
        if !ok {
            return Err(Error(format!(
                "`cargo metadata` failed, so the workspace is unknown:\n{stderr}"
            )));
        }
        Self::parse(&stdout)
    }

    fn parse(metadata: &str) -> Result<Self> {
        serde_json::from_str(metadata).map_err(|e| Error(format!("`cargo metadata` printed what we cannot read: {e}")))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds, `CARGO_TARGET_DIR` included.
    pub(crate) fn target(&self) -> &Path {
        &self.target_directory
    }

    /// Tools that we install for this checkout alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target_directory.join("tools")
    }

    /// All benchmarks, ordered by package and name.
    pub(crate) fn benches(&self) -> Vec<Bench> {
        let mut benches: Vec<Bench> = self
            .packages
            .iter()
            .flat_map(|package| {
                let is_bench = |target: &&Target| target.kind.iter().any(|kind| kind == "bench");
                package.targets.iter().filter(is_bench).map(|target| Bench {
                    package: package.name.clone(),
                    name: target.name.clone(),
                })
            })
            .collect();
        benches.sort();
        benches
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const METADATA: &str = r#"{
        "workspace_root": "/src", "target_directory": "/src/target", "version": 1,
        "packages": [
            {"name": "b", "version": "0.1.0", "targets": [
                {"name": "b", "kind": ["lib"]}, {"name": "verify", "kind": ["bench"]}, {"name": "digest", "kind": ["bench"]}]},
            {"name": "a", "version": "0.1.0", "targets": [
                {"name": "a", "kind": ["bin"]}, {"name": "wire", "kind": ["bench"]}, {"name": "t", "kind": ["test"]}]}
        ]}"#;

    #[test]
    fn benches_are_found_in_a_stable_order() {
        let workspace = Workspace::parse(METADATA).unwrap();
        let found: Vec<_> = workspace
            .benches()
            .into_iter()
            .map(|b| format!("{}/{}", b.package, b.name))
            .collect();
        assert_eq!(found, ["a/wire", "b/digest", "b/verify"]);
    }

    #[test]
    fn tools_are_kept_inside_the_target_directory() {
        let workspace = Workspace::parse(METADATA).unwrap();
        assert_eq!(workspace.tools(), Path::new("/src/target/tools"));
    }

    #[test]
    fn unreadable_metadata_is_an_error() {
        let error = Workspace::parse("{}").unwrap_err();
        assert!(error.to_string().contains("cargo metadata"), "{error}");
    }
}
