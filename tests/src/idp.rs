//! A real identity provider: `oidc-provider` under node.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{self, http};
use crate::ports::Port;
use crate::process::{NotReady, Process, command, started};
use crate::tools;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// One to begin with, and enough to rotate to.
const KEY_GENERATIONS: &str = "4";

/// The identity provider. Its keys and its port outlive a [`stop`](Idp::stop).
#[derive(Debug)]
pub struct Idp {
    process: Option<Process>,
    port: Port,
    control: Port,
    project: PathBuf,
    http: Client,
    _scratch: TempDir,
}

/// How to treat the requests that reach the identity provider.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// Answer them.
    None,
    /// Answer 500.
    Error,
    /// Accept them and stay silent.
    Hang,
    /// Reset the connection.
    Reset,
}

/// Requests that the identity provider received since it was started.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Counters {
    /// Fetches of the key set.
    pub jwks: u64,
    /// Fetches of the discovery document.
    pub discovery: u64,
    /// Questions about opaque tokens.
    pub introspection: u64,
}

/// What the identity provider posted at a logout, and what it was told.
#[derive(Clone, Debug, Deserialize)]
pub struct LoggedOut {
    /// The logout token.
    pub token: String,
    /// The status of the answer; 0 where the token was kept.
    #[serde(default)]
    pub status: u16,
    /// `Retry-After` of the answer.
    #[serde(default)]
    pub retry_after: Option<String>,
    /// The body of the answer.
    #[serde(default)]
    pub body: String,
    /// What the identity provider made of it: nothing, where it is content.
    pub error: Option<String>,
}

/// What to ask the token endpoint for.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The client: `alice`, `bob` or `carol`. It becomes `sub` too.
    pub client: &'a str,
    /// `orders-api` or `billing-api`.
    pub audience: &'a str,
    /// `RS256`, `ES256` or `EdDSA`.
    pub alg: &'a str,
    /// Out of `orders:read`, `orders:write` and `admin`, separated by spaces.
    pub scope: &'a str,
    /// Life time of the token in seconds.
    pub ttl: u32,
}

impl Default for Order<'_> {
    fn default() -> Self {
        Self {
            client: "alice",
            audience: "orders-api",
            alg: "RS256",
            scope: "orders:read",
            ttl: 600,
        }
    }
}

impl Idp {
    /// Makes keys, and starts the provider with the first generation of them.
    pub async fn start() -> Self {
        started(async || {
            let scratch = tempfile::tempdir().expect("a scratch folder");
            let project = tools::node_project(scratch.path());
            let keys = Command::new("node")
                .args(["keys.mjs", "keys.json", KEY_GENERATIONS])
                .current_dir(&project)
                .output()
                .expect("node runs");
            assert!(
                keys.status.success(),
                "keys.mjs: {}",
                String::from_utf8_lossy(&keys.stderr)
            );
            let (port, control) = (Port::reserve(), Port::reserve());
            let mut idp = Self {
                process: None,
                port,
                control,
                project,
                http: http(),
                _scratch: scratch,
            };
            idp.launch().await?;
            Ok(idp)
        })
        .await
    }

    async fn launch(&mut self) -> Result<(), NotReady> {
        let mut node = command("node");
        node.args(["idp.mjs", "--keys", "keys.json"])
            .args([
                "--port",
                &self.port.number().to_string(),
                "--control",
                &self.control.number().to_string(),
            ])
            .current_dir(&self.project);
        let process = self.process.insert(Process::spawn("oidc-provider", node));
        process
            .printed("that it is ready", READY_WITHIN, |log| {
                log.contains(r#"{"ready":true"#).then_some(())
            })
            .await
    }

    /// The issuer, as it stands in `iss`.
    pub fn issuer(&self) -> String {
        self.port.url("")
    }

    /// Kills the provider. Connections to its port are refused from now on.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts a stopped provider again: same port, same keys.
    ///
    /// # Panics
    ///
    /// When it runs, or does not become ready.
    pub async fn restart(&mut self) {
        assert!(self.process.is_none(), "the identity provider runs: stop it first");
        self.launch().await.unwrap_or_else(|trouble| panic!("{trouble}"));
    }

    /// A token by the client credentials grant.
    ///
    /// # Panics
    ///
    /// When the provider refuses.
    pub async fn token(&self, order: Order<'_>) -> String {
        self.token_as(order, "jwt").await
    }

    /// The same, but one that says nothing: its provider has to be asked ([`Idp::revoke`] ends it there).
    ///
    /// # Panics
    ///
    /// When the provider refuses.
    pub async fn opaque_token(&self, order: Order<'_>) -> String {
        let token = self.token_as(order, "opaque").await;
        assert!(!token.contains('.'), "an opaque token has no parts: {token}");
        token
    }

    /// Ends an opaque token at the provider (RFC 7009). Nobody is told.
    pub async fn revoke(&self, client: &str, token: &str) {
        client::send(self.http.post(self.port.url("/token/revocation")).form(&[
            ("token", token),
            ("client_id", client),
            ("client_secret", &format!("{client}-test-secret")),
        ]))
        .await
        .expect(200, "the revocation of a token at its provider");
    }

    async fn token_as(&self, order: Order<'_>, format: &str) -> String {
        let Order {
            client,
            audience,
            alg,
            scope,
            ttl,
        } = order;
        let answer = client::send(self.http.post(self.port.url("/token")).form(&[
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", &format!("{client}-test-secret")),
            (
                "resource",
                &format!("urn:{audience}:alg={alg}:ttl={ttl}:format={format}"),
            ),
            ("scope", scope),
        ]))
        .await;
        match answer.json()["access_token"].as_str() {
            Some(token) if answer.status == 200 => token.to_owned(),
            _ => panic!("the identity provider made no token for {order:?}: {answer:?}"),
        }
    }

    /// The key set, as published.
    pub async fn jwks(&self) -> String {
        client::send(self.http.get(self.port.url("/jwks")))
            .await
            .expect(200, "the key set")
            .body
            .clone()
    }

    /// The public RSA key of the first generation, as PEM.
    pub fn first_rsa_pem(&self) -> String {
        let keys = std::fs::read(self.project.join("keys.json")).expect("keys.json");
        let keys: Value = serde_json::from_slice(&keys).expect("keys.json is JSON");
        keys["generations"][0]["pem"]
            .as_str()
            .expect("keys.mjs writes the PEM")
            .to_owned()
    }

    /// Signs with the next generation from now on. The old keys stay published, or leave the set at once.
    pub async fn rotate(&self, keep_old: bool) {
        self.order("/rotate", json!({ "keep_old": keep_old })).await;
    }

    /// Takes the keys that no longer sign out of the set.
    pub async fn retire(&self) {
        self.order("/retire", json!({})).await;
    }

    /// Begins or ends a fault.
    pub async fn fail(&self, failure: Failure) {
        let mode = match failure {
            Failure::None => "none",
            Failure::Error => "error",
            Failure::Hang => "hang",
            Failure::Reset => "reset",
        };
        self.order("/fail", json!({ "mode": mode })).await;
    }

    /// Ends a session of a client, or without `sid` all sessions of a subject: the provider mints a logout token and posts it
    /// to `uri`.
    pub async fn log_out(&self, client: &str, sid: Option<&str>, uri: &str) -> LoggedOut {
        self.logout(json!({ "client": client, "sub": client, "sid": sid, "uri": uri }))
            .await
    }

    /// A logout token of the same kind, which is posted to nobody.
    pub async fn logout_token(&self, client: &str, sid: Option<&str>) -> String {
        let order = json!({ "client": client, "sub": client, "sid": sid, "keep": true });
        self.logout(order).await.token
    }

    async fn logout(&self, mut order: Value) -> LoggedOut {
        if let Some(order) = order.as_object_mut() {
            order.retain(|_, value| !value.is_null());
        }
        let answer = client::send(self.http.post(self.control.url("/logout")).json(&order)).await;
        serde_json::from_value(answer.expect(200, "/logout").json()).expect("what was posted")
    }

    /// Requests received since the start.
    pub async fn counters(&self) -> Counters {
        let answer = client::send(self.http.get(self.control.url("/counters"))).await;
        serde_json::from_value(answer.expect(200, "counters").json()).expect("counters")
    }

    async fn order(&self, path: &str, body: Value) {
        client::send(self.http.post(self.control.url(path)).json(&body))
            .await
            .expect(200, path);
    }
}
