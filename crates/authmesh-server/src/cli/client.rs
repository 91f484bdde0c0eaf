//! The admin API of a running node, from outside.

use std::error::Error as _;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Request, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::io::{Failure, Io, read};
use super::text::{HIDDEN, path_name, plain};
use crate::config::{Config, Secret};

const DEFAULT_URL: &str = "http://127.0.0.1:8500";
const URL_VARIABLE: &str = "AUTHMESH_ADMIN_URL";
const TOKEN_VARIABLE: &str = "AUTHMESH_ADMIN_TOKEN";

/// For one request: connecting, sending, and the answer to its last byte.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes. The members of a cluster of 4,096 nodes fit.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Which node is asked, and with which credential.
#[derive(Args)]
pub(super) struct ClientArgs {
    /// Base URL of the node's admin API [env: AUTHMESH_ADMIN_URL] [default: http://127.0.0.1:8500]
    #[arg(long, visible_alias = "url", value_name = "URL", conflicts_with = "config")]
    admin_url: Option<String>,
    /// Take address and credential of the admin API from the node's configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// File with the admin credential and nothing else; it wins over AUTHMESH_ADMIN_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The admin API of one node. No `Debug`: it holds the credential.
pub(super) struct Admin {
    base: Url,
    bearer: HeaderValue,
    credential: String,
    client: Client,
    runtime: Runtime,
}

impl Admin {
    /// Finds the node and the credential. Sends nothing.
    pub(super) fn new(args: &ClientArgs, io: &mut Io<'_>) -> Result<Self, Failure> {
        let (url, configured) = match &args.config {
            Some(path) => from_config(path, io)?,
            None => {
                let given = args.admin_url.as_deref().or_else(|| io.var(URL_VARIABLE));
                (base(given.unwrap_or(DEFAULT_URL))?, None)
            }
        };
        let credential = match (&args.token_file, configured) {
            (Some(path), _) => from_file(path)?,
            (None, Some(configured)) => configured,
            (None, None) => io.var(TOKEN_VARIABLE).map(str::to_owned).ok_or_else(|| {
                Failure::said(format!(
                    "the admin API needs a credential: set {TOKEN_VARIABLE}, or name a file with --token-file"
                ))
            })?,
        };
        Self::at(url, credential, io)
    }

    /// The admin API that a configuration turns on, if it does. Sends nothing.
    pub(super) fn of(config: &Config, io: &mut Io<'_>) -> Result<Option<Self>, Failure> {
        match of_config(config)? {
            Some((url, credential)) => Self::at(url, credential, io).map(Some),
            None => Ok(None),
        }
    }

    fn at(url: Url, credential: String, io: &mut Io<'_>) -> Result<Self, Failure> {
        let bearer = bearer(&credential)?;
        if url.scheme() == "http" && !is_loopback(&url) {
            io.note(&format!(
                "warning: {} is asked over plain http. Whoever sits on the way reads the admin credential: use https, or \
                 run the command on the node itself",
                plain(url.host_str().unwrap_or_default())
            ))?;
        }

        let client = Client::builder()
            .user_agent(concat!("authmesh/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            // A proxy, or a place that the node points to, would be handed the credential.
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            // A revocation that was sent twice would be harmless, but would be reported as one.
            .retry(reqwest::retry::never())
            .build()
            .map_err(|error| Failure::said(format!("the HTTP client could not be made: {}", root_cause(&error))))?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| {
            Failure::said(format!(
                "the runtime could not be started: {}",
                plain(&error.to_string())
            ))
        })?;
        Ok(Self {
            base: url,
            bearer,
            credential,
            client,
            runtime,
        })
    }

    /// `POST` with a JSON body.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.post_within(path, body, Duration::ZERO)
    }

    /// `POST` with a JSON body, whose answer may take so much longer than others.
    pub(super) fn post_within(&self, path: &str, body: &Value, longer: Duration) -> Result<Answer, Failure> {
        let mut request = self.request(Method::POST, path)?;
        *request.timeout_mut() = Some(TIMEOUT + longer);
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.to_string().into());
        self.runtime.block_on(self.send(request))
    }

    /// `GET`. The path may carry a query.
    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        let request = self.request(Method::GET, path)?;
        self.runtime.block_on(self.send(request))
    }

    /// `DELETE`. The path may carry a query.
    pub(super) fn delete(&self, path: &str) -> Result<Answer, Failure> {
        let request = self.request(Method::DELETE, path)?;
        self.runtime.block_on(self.send(request))
    }

    /// Several `GET`s at the same time.
    pub(super) fn get_all(&self, paths: [&str; 3]) -> Result<[Answer; 3], Failure> {
        let [a, b, c] = paths.map(|path| self.request(Method::GET, path));
        let (a, b, c) = (self.send(a?), self.send(b?), self.send(c?));
        let (a, b, c) = self.runtime.block_on(async { tokio::join!(a, b, c) });
        Ok([a?, b?, c?])
    }

    fn request(&self, method: Method, path: &str) -> Result<Request, Failure> {
        let url = self.base.join(path).map_err(|_| Failure::said(BAD_URL))?;
        let mut request = Request::new(method, url);
        request.headers_mut().insert(AUTHORIZATION, self.bearer.clone());
        Ok(request)
    }

    async fn send(&self, request: Request) -> Result<Answer, Failure> {
        let failed = |error: reqwest::Error| Failure::said(self.words(&error));
        let mut response = self.client.execute(request).await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::said(format!(
                    "{} answered with more than {MAX_ANSWER_BYTES} bytes: check that this is the admin API of a node",
                    plain(self.base.as_str())
                )));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            body,
            from: plain(self.base.as_str()),
            credential: self.credential.clone(),
        })
    }

    fn words(&self, error: &reqwest::Error) -> String {
        let url = plain(self.base.as_str());
        let cause = root_cause(error);
        if error.is_timeout() {
            return format!("{url} did not answer in time: check that the node runs and is not overloaded");
        }
        if error.is_connect() {
            return format!(
                "{url} could not be reached ({cause}): check that the node runs, and its address with --admin-url or \
                 {URL_VARIABLE}"
            );
        }
        format!("{url} gave no answer that could be read ({cause}): check that this is the admin API of a node")
    }
}

/// An answer of the admin API. No `Debug`: see [`Admin`].
pub(super) struct Answer {
    pub(super) status: u16,
    body: Vec<u8>,
    from: String,
    credential: String,
}

/// Problem details (RFC 9457).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
}

impl Answer {
    /// The body of an answer that says yes.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        // The message of the parser quotes the answer; its place says enough.
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::said(format!(
                "{} answered something else than this command expects (line {}, column {}): check that this is the admin \
                 API of a node, and that node and command have the same version",
                self.from,
                error.line(),
                error.column()
            ))
        })
    }

    /// Whether the answer is about the request itself, not about the node or the credential.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.status, 400 | 409 | 413 | 422 | 507) && self.reported().is_some()
    }

    /// What is wrong, in words. `hide` must not show up in it, whatever the node says.
    pub(super) fn problem(&self, hide: &[&str]) -> String {
        let said = match self.reported() {
            Some(Problem { title, detail }) if detail.is_empty() => title,
            Some(Problem { detail, .. }) => detail,
            None => format!("HTTP status {}", self.status),
        };
        let secrets = hide.iter().copied().chain([self.credential.as_str()]);
        let said = secrets
            .filter(|secret| !secret.is_empty())
            .fold(said, |said, secret| said.replace(secret, HIDDEN));
        let advice = match self.status {
            401 | 403 => format!(". Check the credential in {TOKEN_VARIABLE} or --token-file"),
            404 | 405 => ". Check that the URL is that of the admin API".to_owned(),
            _ => String::new(),
        };
        format!("{} answered: {}{advice}", self.from, plain(said.trim_end_matches('.')))
    }

    fn reported(&self) -> Option<Problem> {
        let problem: Problem = serde_json::from_slice(&self.body).ok()?;
        (!problem.title.is_empty() || !problem.detail.is_empty()).then_some(problem)
    }
}

/// Address and credential from a node's own configuration.
fn from_config(path: &Path, io: &Io<'_>) -> Result<(Url, Option<String>), Failure> {
    let loaded =
        Config::load(Some(path), io.env.iter().cloned()).map_err(|problems| Failure::said(problems.to_string()))?;
    let Some((url, credential)) = of_config(&loaded.config)? else {
        return Err(Failure::said(format!(
            "{}: the admin API is off, since it has no credential: set admin.token_file or {TOKEN_VARIABLE}",
            path_name(path)
        )));
    };
    Ok((url, Some(credential)))
}

/// `None` where the admin API is off.
fn of_config(config: &Config) -> Result<Option<(Url, String)>, Failure> {
    let (Some(listen), Some(token)) = (config.admin.listen, &config.admin.token) else {
        return Ok(None);
    };
    let ip = match listen.ip() {
        // The node listens on all addresses; here, on its own machine, the loopback one is nearest.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let url = base(&format!("http://{}", SocketAddr::new(ip, listen.port())))?;
    Ok(Some((url, token.expose().to_owned())))
}

const BAD_URL: &str = "the URL of the admin API is none: write http://HOST:PORT or https://HOST:PORT, with a path where a \
                       proxy asks for one, and without user, query or fragment";

/// Checks a base URL. It ends in a slash afterwards, so that paths can be joined to it. Never repeats it: it might hold a
/// password.
fn base(text: &str) -> Result<Url, Failure> {
    let refused = || Failure::said(BAD_URL);
    let mut url = Url::parse(text).map_err(|_| refused())?;
    let fit = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !fit {
        return Err(refused());
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    ip.map_or(host == "localhost", |ip| ip.to_canonical().is_loopback())
}

/// Never names the file: somebody may have given the credential itself.
fn from_file(path: &Path) -> Result<String, Failure> {
    let limit = Secret::MAX_BYTES as u64;
    // One byte more for each of the characters that may end the line.
    let bytes = File::open(path)
        .and_then(|file| read(file, limit + 3))
        .map_err(|error| {
            Failure::said(format!(
                "--token-file: the file cannot be read: {}. Name a file that holds the admin credential",
                plain(&error.to_string())
            ))
        })?;
    let text = std::str::from_utf8(bytes.trim_ascii()).unwrap_or_default();
    if text.is_empty() || text.len() as u64 > limit {
        return Err(Failure::said(format!(
            "--token-file: the file must hold the admin credential and nothing else, at most {limit} bytes"
        )));
    }
    Ok(text.to_owned())
}

fn bearer(credential: &str) -> Result<HeaderValue, Failure> {
    let visible = credential.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(&format!("Bearer {credential}"));
    match value {
        Ok(mut value) if visible => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(Failure::said(
            "the admin credential holds a space, a control character or a character beyond ASCII: no header can carry it",
        )),
    }
}

/// The innermost cause, without the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(next) = cause.and_then(|cause| cause.source()) {
        cause = Some(next);
    }
    cause.map_or_else(|| "no cause known".to_owned(), |cause| plain(&cause.to_string()))
}
