//! The binary under test, run from a configuration file as an operator runs it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Answer, http, send, try_send};
use crate::ports::Port;
use crate::process::{NotReady, Process, command, started};
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
level = "{level}"

[danger]
allow_http = true
"#;

/// What a node has before it starts and keeps when it starts again: its addresses and its folder.
#[derive(Debug)]
pub struct Seat {
    /// The node's number, from 0.
    pub index: usize,
    /// The forward-auth listener.
    pub listen: SocketAddr,
    /// The admin API.
    pub admin: SocketAddr,
    scratch: TempDir,
    _ports: Option<[Port; 2]>,
}

impl Seat {
    /// On ports of 127.0.0.1 that nobody else takes.
    pub(crate) fn on_loopback(index: usize) -> Self {
        let ports = [Port::reserve(), Port::reserve()];
        Self::at(index, ports[0].address(), ports[1].address(), Some(ports))
    }

    /// On an IP where nobody else listens, such as that of a network namespace.
    pub(crate) fn on_ip(index: usize, ip: IpAddr) -> Self {
        Self::at(index, (ip, 8_400).into(), (ip, 8_500).into(), None)
    }

    fn at(index: usize, listen: SocketAddr, admin: SocketAddr, ports: Option<[Port; 2]>) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        std::fs::write(scratch.path().join("admin-token"), ADMIN_TOKEN).expect("admin-token");
        Self {
            index,
            listen,
            admin,
            scratch,
            _ports: ports,
        }
    }

    /// A folder that lives as long as the node's addresses. The node is started in it.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The part of a configuration that every suite has: listeners, credential, one issuer, a log of that level.
    pub fn basics(&self, issuer: &str, level: &str) -> String {
        CONFIG
            .replace("{listen}", &self.listen.to_string())
            .replace("{admin}", &self.admin.to_string())
            .replace("{token_file}", &self.folder().join("admin-token").to_string_lossy())
            .replace("{issuer}", issuer)
            .replace("{level}", level)
    }

    fn config_file(&self) -> PathBuf {
        self.folder().join("authmesh.toml")
    }
}

/// A running `authmesh serve --config FILE`.
#[derive(Debug)]
pub struct Authmesh {
    process: Process,
    http: Client,
    seat: Seat,
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
    /// More settings of the issuer.
    pub issuer: &'a str,
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
            let seat = Seat::on_loopback(0);
            let basics = seat.basics(issuer, "trace");
            let last = "leeway = \"0s\"\n";
            let config = basics.replace(last, &format!("{last}{}", shared.issuer)) + &shared.config();
            let mut node = Self::launch(seat, "authmesh", &config, command(&binary));
            let sign_of_life = if shared.unready { "/livez" } else { "/readyz" };
            node.answering(sign_of_life, READY_WITHIN).await?;
            Ok(node)
        })
        .await
    }

    /// Starts a node that says little, as in production: for measurements.
    pub async fn start_quiet(issuer: &str) -> Self {
        let binary = tools::authmesh_binary();
        started(async || {
            let seat = Seat::on_loopback(0);
            let config = seat.basics(issuer, "warn").replace("explain = true\n", "");
            let mut node = Self::launch(seat, "authmesh", &config, command(&binary));
            node.answering("/readyz", READY_WITHIN).await?;
            Ok(node)
        })
        .await
    }

    /// Starts the binary, which `run` runs, and does not wait for it.
    pub(crate) fn launch(seat: Seat, name: &str, config: &str, run: Command) -> Self {
        std::fs::write(seat.config_file(), config).expect("authmesh.toml");
        Self {
            process: spawn(&seat, name, run),
            http: http(),
            seat,
        }
    }

    /// A new process on the same addresses, with the same configuration and folder. Does not wait for it.
    pub(crate) fn relaunch(&mut self, name: &str, run: Command) {
        // The addresses are free only when the one before has ended.
        self.process.kill();
        self.process = spawn(&self.seat, name, run);
    }

    /// Waits until a GET of a path on the forward-auth listener is answered with a 2xx status.
    pub(crate) async fn answering(&mut self, path: &str, deadline: Duration) -> Result<(), NotReady> {
        let url = self.url(path);
        self.process.answering(&url, deadline).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.seat.listen)
    }

    fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.seat.admin)
    }

    /// The forward-auth listener.
    pub fn address(&self) -> SocketAddr {
        self.seat.listen
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.seat.config_file()
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.process.id()
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
        let request = self.http.get(self.url("/verify"));
        send(request.header("X-Forwarded-Uri", path).bearer_auth(token)).await
    }

    /// Runs another command of the binary with this node's configuration in `AUTHMESH_CONFIG` and its admin credential:
    /// the exit code, standard output, standard error.
    pub fn command(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut run = command(tools::authmesh_binary());
        run.args(arguments)
            .env("AUTHMESH_CONFIG", self.config_file())
            .env("AUTHMESH_ADMIN_URL", self.admin_url(""))
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
        send(self.http.get(self.url(path))).await
    }

    /// A call of the admin API with the right credential.
    pub async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        self.admin_as(Some(ADMIN_TOKEN), method, path, body).await
    }

    /// A call of the admin API with any credential, or none.
    pub async fn admin_as(&self, credential: Option<&str>, method: Method, path: &str, body: Option<&Value>) -> Answer {
        send(self.admin_request(credential, method, path, body)).await
    }

    /// GET of a path of the admin API, from a node that may be down or that stands still.
    ///
    /// # Errors
    ///
    /// Why no answer came within the deadline.
    pub async fn try_admin(&self, path: &str, deadline: Duration) -> Result<Answer, String> {
        let request = self.admin_request(Some(ADMIN_TOKEN), Method::GET, path, None);
        try_send(request.timeout(deadline))
            .await
            .map_err(|error| format!("no answer: {error:?}"))
    }

    fn admin_request(
        &self,
        credential: Option<&str>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> RequestBuilder {
        let mut request = self.http.request(method, self.admin_url(path));
        if let Some(credential) = credential {
            request = request.bearer_auth(credential);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request
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

fn spawn(seat: &Seat, name: &str, mut run: Command) -> Process {
    run.args(["serve", "--config", "authmesh.toml"])
        .current_dir(seat.folder());
    Process::spawn(name, run)
}
