//! The binary under test in development mode, and the commands that it tells its user to try.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::process::Command;

use crate::client::Answer;
use crate::process::{Process, command, started};
use crate::tools;

const READY_WITHIN: Duration = Duration::from_secs(30);
const COMMANDS_WITHIN: Duration = Duration::from_secs(60);
/// Stands between the answers in the output of the shell. No answer contains it.
const SEPARATOR: &str = "==== next command ====";

/// One node as the printed table shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The first column.
    pub name: String,
    /// Base URL of forward auth.
    pub forward_auth: String,
    /// Base URL of the admin API.
    pub admin: String,
}

/// What `authmesh serve --dev` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The node table, in order.
    pub nodes: Vec<Node>,
    /// Base URL of the development issuer.
    pub issuer: String,
    /// The lines below `Try it`, without indentation: `T=$(curl ...)`, then `curl` lines.
    pub commands: Vec<String>,
}

/// A printed command, what it promises in its comment, and what it did.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The line, as printed.
    pub command: String,
    /// The answer that `curl -i` showed.
    pub answer: Answer,
}

impl Printed {
    /// Reads the output, once it is complete: a table of `nodes` rows, an issuer, and a command for the other node.
    pub fn parse(stdout: &str, nodes: usize) -> Option<Self> {
        let mut printed = Self {
            nodes: Vec::new(),
            issuer: String::new(),
            commands: Vec::new(),
        };
        let mut trying = false;
        for line in stdout.lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["issuer", url, ..] if url.starts_with("http://") => printed.issuer = url.to_owned(),
                [name, forward_auth, admin] if forward_auth.starts_with("http://") && admin.starts_with("http://") => {
                    let [name, forward_auth, admin] = [name, forward_auth, admin].map(str::to_owned);
                    printed.nodes.push(Node {
                        name,
                        forward_auth,
                        admin,
                    });
                }
                ["Try", "it", ..] => trying = true,
                [first, ..] if trying && (first == "curl" || first.starts_with("T=$(")) => {
                    printed.commands.push(line.to_owned());
                }
                _ => {}
            }
        }
        let complete = printed.nodes.len() == nodes && !printed.issuer.is_empty() && printed.commands.len() >= 5;
        complete.then_some(printed)
    }

    /// The credential of the admin API, out of the printed revocation command.
    ///
    /// # Panics
    ///
    /// When no command revokes.
    pub fn admin_credential(&self) -> &str {
        self.commands
            .iter()
            .filter(|line| line.contains("/v1/revocations"))
            .find_map(|line| line.split_once("Authorization: Bearer ")?.1.split(['"', '\'']).next())
            .unwrap_or_else(|| panic!("no printed command revokes with a credential: {:#?}", self.commands))
    }

    /// Runs the commands verbatim in one shell, as a user does who pastes them.
    ///
    /// # Panics
    ///
    /// When the shell fails, or an answer is not HTTP.
    pub async fn try_it(&self) -> Vec<Tried> {
        tools::require("curl");
        let (setup, requests): (Vec<_>, Vec<_>) = self.commands.iter().partition(|line| line.starts_with("T="));
        let mut script = String::from("set -eu\n");
        for line in setup {
            script.push_str(&format!("{line}\n"));
        }
        for line in &requests {
            script.push_str(&format!("{line}\nprintf '\\n{SEPARATOR}\\n'\n"));
        }
        let shell = Command::from(command("bash"))
            .args(["-c", &script])
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(COMMANDS_WITHIN, shell)
            .await
            .unwrap_or_else(|_| panic!("the printed commands did not end in time:\n{script}"))
            .expect("bash runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "the printed commands failed ({}):\n{script}\n{stderr}",
            output.status
        );
        let stdout = String::from_utf8_lossy(&output.stdout);
        let answers = stdout.split(SEPARATOR).map(str::trim_start);
        requests
            .into_iter()
            .zip(answers)
            .map(|(command, answer)| Tried {
                command: command.clone(),
                answer: crate::raw::parse(answer.as_bytes()),
            })
            .collect()
    }
}

impl Tried {
    /// The comment behind the command: what the user is told to expect. Empty when there is none.
    pub fn promise(&self) -> &str {
        self.command
            .rsplit_once(" # ")
            .map_or("", |(_, promise)| promise.trim())
    }
}

/// A running `authmesh serve --dev`.
#[derive(Debug)]
pub struct DevCluster {
    process: Process,
    printed: Printed,
}

impl DevCluster {
    /// Starts `nodes` nodes in one process, on free ports, and reads what they print.
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[]).await
    }

    /// The same with more arguments, such as `["--redis", URL]`.
    pub async fn start_with(nodes: usize, arguments: &[&str]) -> Self {
        let binary = tools::authmesh_binary();
        started(async || {
            let mut authmesh = command(&binary);
            authmesh
                .args(["serve", "--dev", "--nodes", &nodes.to_string(), "--port-base", "0"])
                .args(arguments)
                // As much as it can say, because the tests search the log for tokens.
                .env("AUTHMESH_LOG", "trace");
            let mut process = Process::spawn("authmesh --dev", authmesh);
            let printed = process
                .printed("its node table and the commands to try", READY_WITHIN, |log| {
                    Printed::parse(log, nodes)
                })
                .await?;
            Ok(Self { process, printed })
        })
        .await
    }

    /// What was printed at the start.
    pub fn printed(&self) -> &Printed {
        &self.printed
    }

    /// The forward-auth listener of a node, counted from zero.
    pub fn address(&self, node: usize) -> SocketAddr {
        let url = &self.printed.nodes[node].forward_auth;
        url.trim_start_matches("http://")
            .trim_end_matches('/')
            .parse()
            .unwrap_or_else(|error| panic!("{url} is not http://ADDRESS:PORT: {error}"))
    }

    /// A token of the development issuer.
    pub async fn token(&self, form: &[(&str, &str)]) -> String {
        let request = crate::client::http()
            .post(format!("{}/token", self.printed.issuer))
            .form(form);
        crate::client::send(request)
            .await
            .expect(200, "the development issuer makes tokens")
            .body
            .trim()
            .to_owned()
    }

    /// Asks a node, counted from zero, about a token.
    pub async fn verify(&self, node: usize, token: &str) -> Answer {
        let url = format!("{}/verify", self.printed.nodes[node].forward_auth);
        crate::client::send(crate::client::http().get(url).bearer_auth(token)).await
    }

    /// The process, for its log, its memory and its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
