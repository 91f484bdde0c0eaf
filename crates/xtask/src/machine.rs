//! What a measurement must say about its machine.

use std::env::consts;
use std::path::Path;
use std::{fmt, fs, thread};

use serde::{Deserialize, Serialize};

use crate::shell::{capture, program};

/// The machine and the code that a report speaks of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Processors that this process may use.
    cores: usize,
    /// Model name of the processor, or `unknown`.
    cpu: String,
    /// Operating system and architecture, as Rust names them.
    system: String,
    /// What `rustc --version` says, or `unknown`.
    rustc: String,
    /// Full hash of the commit, or `unknown`.
    commit: String,
    /// Whether the checkout differs from that commit. Nothing where git does not say.
    modified: Option<bool>,
}

impl Machine {
    /// Looks around. What cannot be found out is `unknown`: a benchmark is worth running all the same.
    pub(crate) fn here(root: &Path) -> Self {
        let git = |args: &[&str]| answer(program("git").current_dir(root).args(args));
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu().unwrap_or_else(unknown),
            system: format!("{}-{}", consts::OS, consts::ARCH),
            rustc: answer(program("rustc").current_dir(root).arg("--version")).unwrap_or_else(unknown),
            commit: git(&["rev-parse", "HEAD"]).unwrap_or_else(unknown),
            modified: git(&["status", "--porcelain"]).map(|changes| !changes.is_empty()),
        }
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        Self {
            cores: 2,
            cpu: "Example 3000".into(),
            system: "linux-x86_64".into(),
            rustc: "rustc 1.95.0".into(),
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            modified: Some(true),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = self.commit.get(..12).unwrap_or(&self.commit);
        let modified = if self.modified == Some(true) { ", modified" } else { "" };
        writeln!(f, "{} cores, {}, {}", self.cores, self.cpu, self.system)?;
        writeln!(f, "{}, commit {commit}{modified}", self.rustc)
    }
}

fn unknown() -> String {
    "unknown".into()
}

fn answer(command: &mut std::process::Command) -> Option<String> {
    capture(command)
        .ok()
        .filter(|answer| answer.ok)
        .map(|answer| answer.stdout.trim().to_owned())
}

fn cpu() -> Option<String> {
    match fs::read_to_string("/proc/cpuinfo") {
        Ok(text) => model_name(&text),
        Err(_) => answer(program("sysctl").args(["-n", "machdep.cpu.brand_string"])),
    }
}

/// Reads Linux's `/proc/cpuinfo`. ARM kernels give no name there.
fn model_name(cpuinfo: &str) -> Option<String> {
    let names = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    names
        .filter(|(key, _)| key.trim() == "model name")
        .map(|(_, name)| name.trim().to_owned())
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_as_linux_names_it() {
        let text = "processor\t: 0\nmodel\t\t: 106\nmodel name\t: Example 3000 @ 2.6GHz\nflags\t\t: a b\nmodel name\t: Other\n";
        assert_eq!(model_name(text).as_deref(), Some("Example 3000 @ 2.6GHz"));
        assert_eq!(model_name("processor\t: 0\n"), None);
    }

    #[test]
    fn the_commit_is_short_for_people() {
        let text = Machine::example().to_string();
        assert!(text.contains("commit 0123456789ab, modified\n"), "{text}");
        assert!(text.starts_with("2 cores, Example 3000, linux-x86_64\n"), "{text}");
        let nowhere = Machine {
            commit: unknown(),
            modified: None,
            ..Machine::example()
        };
        assert!(nowhere.to_string().ends_with("commit unknown\n"));
    }
}
