//! The binary under test, run from a configuration file as an operator runs it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Answer, http, send};
use crate::ports::Port;
use crate::process::{Process, command, started};
use crate::tools;

const READY_WITHIN: Duration = Duration::from_secs(20);
/// Long enough for authmesh, and of no use to anybody.
const ADMIN_TOKEN: &str = "end-to-end-admin-credential";

/// The configuration of every suite: one issuer, one route that needs a scope.
///
/// The leeway is zero, so that a token's own `exp` is the moment at which it ends. The log says as much as it can,
/// because the tests search it for tokens.
const CONFIG: &str = r#"
[server]
listen = "{listen}"
explain = true

[admin]
listen = "{admin}"
token_file = "{token_file}"

[[issuers]]
url = "{issuer}"
audience = "orders-api"
leeway = "0s"

[[routes]]
path = "/admin"
scopes = ["admin"]

[log]
level = "trace"

[danger]
allow_http = true
"#;

/// A running `authmesh serve --config FILE`.
#[derive(Debug)]
pub struct Authmesh {
    process: Process,
    listen: Port,
    admin: Port,
    http: Client,
    scratch: TempDir,
}

/// How a node is started that is not alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shared<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The addresses of the Redis to share. Empty: none.
    pub redis: &'a [String],
    /// The key ring file to share. Empty: none.
    pub key_ring: &'a str,
    /// More sections of the configuration.
    pub more: &'a str,
    /// Start although the node cannot become ready yet: wait for its listener alone.
    pub unready: bool,
}

impl Shared<'_> {
    fn config(&self) -> String {
        let mut text = String::new();
        if !self.key_ring.is_empty() {
            text.push_str(&format!(
                "\n[cluster]\nnode = \"{}\"\nkey_ring_file = \"{}\"\n",
                self.node, self.key_ring
            ));
        }
        if !self.redis.is_empty() {
            text.push_str(&format!("\n[redis]\nurl = {:?}\n", self.redis));
        }
        text + self.more
    }
}

impl Authmesh {
    /// Starts the binary for one issuer, and waits until it says that it is ready.
    pub async fn start(issuer: &str) -> Self {
        Self::start_shared(issuer, Shared::default()).await
    }

    /// Starts a node of a cluster.
    pub async fn start_shared(issuer: &str, shared: Shared<'_>) -> Self {
        let binary = tools::authmesh_binary();
        started(async || {
            let scratch = tempfile::tempdir().expect("a scratch folder");
            let (listen, admin) = (Port::reserve(), Port::reserve());
            let token_file = scratch.path().join("admin-token");
            std::fs::write(&token_file, ADMIN_TOKEN).expect("admin-token");
            let config = CONFIG
                .replace("{listen}", &listen.address().to_string())
                .replace("{admin}", &admin.address().to_string())
                .replace("{token_file}", &token_file.to_string_lossy())
                .replace("{issuer}", issuer)
                + &shared.config();
            std::fs::write(scratch.path().join("authmesh.toml"), config).expect("authmesh.toml");
            let mut authmesh = command(&binary);
            authmesh
                .args(["serve", "--config", "authmesh.toml"])
                .current_dir(scratch.path());
            let mut process = Process::spawn("authmesh", authmesh);
            let sign_of_life = if shared.unready { "/livez" } else { "/readyz" };
            process.answering(&listen.url(sign_of_life), READY_WITHIN).await?;
            Ok(Self {
                process,
                listen,
                admin,
                http: http(),
                scratch,
            })
        })
        .await
    }

    /// The forward-auth listener.
    pub fn address(&self) -> SocketAddr {
        self.listen.address()
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.scratch.path().join("authmesh.toml")
    }

    /// The process, for its log, its memory and its end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks the forward-auth listener about a GET of `/` with this bearer token.
    pub async fn verify(&self, token: &str) -> Answer {
        self.verify_path("/", token).await
    }

    /// Asks the forward-auth listener about a GET of any path with this bearer token.
    pub async fn verify_path(&self, path: &str, token: &str) -> Answer {
        let request = self.http.get(self.listen.url("/verify"));
        send(request.header("X-Forwarded-Uri", path).bearer_auth(token)).await
    }

    /// Runs another command of the binary with this node's configuration in `AUTHMESH_CONFIG` and its admin credential:
    /// the exit code, standard output, standard error.
    pub fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut run = command(tools::authmesh_binary());
        run.args(arguments)
            .env("AUTHMESH_CONFIG", self.config_file())
            .env("AUTHMESH_ADMIN_URL", self.admin.url(""))
            .env("AUTHMESH_ADMIN_TOKEN", ADMIN_TOKEN);
        let output = run.output().expect("the binary runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().expect("it ends by itself"),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    /// GET of a path on the forward-auth listener, without a credential.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.http.get(self.listen.url(path))).await
    }

    /// A call of the admin API with the right credential.
    pub async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.admin_as(Some(ADMIN_TOKEN), method, path, body).await
    }

    /// A call of the admin API with any credential, or none.
    pub async fn admin_as(&self, credential: Option<&str>, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.http.request(method, self.admin.url(path));
        if let Some(credential) = credential {
            request = request.bearer_auth(credential);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        send(request).await
    }

    /// Revokes, and returns the receipt.
    ///
    /// # Panics
    ///
    /// When the revocation is refused.
    pub async fn revoke(&self, what: &Value) -> Value {
        self.admin(Method::POST, "/v1/revocations", Some(what))
            .await
            .expect(200, "a revocation")
            .json()
    }
}
