//! The configuration as the server uses it. Every value here has been checked.
//!
//! Defaults, limits and meanings stand once, in the table of settings; `authmesh config default` prints them. The
//! comments here repeat the defaults for readers of the code.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use authmesh::possession::DpopRules;
use authmesh::{KeyPolicy, UpstreamRules};

use super::preset::IssuerPreset;
use super::secret::Secret;
use super::value::{FromValue, Value};

/// Everything that `authmesh serve` can be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this node is.
    pub cluster: Cluster,
    /// The forward-auth listener.
    pub server: Server,
    /// Tokens that are bound to a key or certificate of their holder.
    pub possession: Possession,
    /// The admin API.
    pub admin: Admin,
    /// The listener for logout tokens.
    pub logout: Logout,
    /// The Redis that makes nodes one cluster. Default: none.
    pub redis: Option<Redis>,
    /// How nodes talk to each other directly. Default: not at all.
    pub gossip: Option<Gossip>,
    /// Revocations.
    pub marks: Marks,
    /// Sizes and ages of what is kept in memory.
    pub cache: Cache,
    /// Whose tokens are accepted: 1 to 512, with different URLs.
    pub issuers: Vec<Issuer>,
    /// What paths demand: 0 to 256, the first match wins. No match means plain authentication.
    pub routes: Vec<Route>,
    /// Logging.
    pub log: Log,
    /// Traces and metrics for a collector.
    pub telemetry: Telemetry,
    /// Options that weaken a rule.
    pub danger: Danger,
}

/// Who this node is.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Name of the cluster: 1 to 64 of `a-z`, `0-9`, `-`. Default: `authmesh`.
    pub name: String,
    /// Name of this node: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_`, `-`. Default: the name of the host, else `node`.
    pub node: String,
    /// File of the key ring. Default: none, which means a ring that lives as long as the process.
    pub key_ring_file: Option<PathBuf>,
}

/// The forward-auth listener.
#[derive(Debug, Clone)]
pub struct Server {
    /// Address to listen on. Default: `127.0.0.1:8400`.
    pub listen: SocketAddr,
    /// Name of a cookie that may carry the token (RFC 6265). Default: none.
    pub cookie: Option<String>,
    /// Whether answers carry `X-Authmesh-*` headers. Default: false.
    pub explain: bool,
    /// How long requests may take to end once the server was told to stop, at most 10 min. Default: 5 s.
    pub drain: Duration,
    /// Connections at one time, 1 to 1,000,000. Default: 10,000.
    pub max_connections: usize,
    /// Limit for one request, 100 ms to 5 min. Default: 10 s.
    pub request_timeout: Duration,
    /// Names of the identity headers.
    pub headers: Headers,
}

/// Names of the identity headers. `None` turns a header off. All are valid field names (RFC 9110 section 5.1), different
/// in any case, and none has a meaning of its own in HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// The subject. Default: `X-Auth-Subject`.
    pub subject: Option<String>,
    /// The issuer. Default: `X-Auth-Issuer`.
    pub issuer: Option<String>,
    /// The client. Default: `X-Auth-Client`.
    pub client: Option<String>,
    /// The scopes, separated by spaces. Default: `X-Auth-Scopes`.
    pub scopes: Option<String>,
    /// The session (`sid`). Default: `X-Auth-Session`.
    pub session: Option<String>,
    /// The e-mail address. Default: `X-Auth-Email`.
    pub email: Option<String>,
    /// End of validity. Default: `X-Auth-Expires`.
    pub expires: Option<String>,
}

/// Tokens that are bound to a key or certificate of their holder.
#[derive(Debug, Clone)]
pub struct Possession {
    /// What is demanded of DPoP proofs. Default: [`DpopRules::default`].
    pub dpop: DpopRules,
    /// Where clients reach the services behind the proxies: 0 to 16 URLs without a path. Default: none, which takes the proxy's word.
    pub origins: Vec<String>,
    /// Header in which the proxy tells the client's certificate. Default: none.
    pub client_cert_header: Option<String>,
}

/// The admin API.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address to listen on. Default: `127.0.0.1:8500`. `None` turns the admin API off.
    pub listen: Option<SocketAddr>,
    /// The credential, from `AUTHMESH_ADMIN_TOKEN` or from the file in `admin.token_file`. Without it the admin API is off.
    pub token: Option<Secret>,
}

/// The listener for logout tokens (OpenID Connect Back-Channel Logout 1.0).
#[derive(Debug, Clone)]
pub struct Logout {
    /// Address to listen on. Default: none; logout tokens are not taken.
    pub listen: Option<SocketAddr>,
    /// Connections at one time, 1 to 10,000. Default: 256.
    pub max_connections: usize,
    /// Requests at one time, 1 to 10,000. Default: 64.
    pub max_concurrent: usize,
    /// Requests per second on average, 1 to 100,000. Default: 100.
    pub per_second: u32,
    /// Requests at once after a quiet time, 1 to 100,000. Default: 200.
    pub burst: u32,
}

/// Redis. Where it is set, so is [`Cluster::key_ring_file`].
#[derive(Debug, Clone)]
pub struct Redis {
    /// `redis://` or `rediss://` URLs without credentials: 1 to 16, all with the same scheme.
    pub urls: Vec<String>,
    /// The ACL user. Default: none, which means `default`.
    pub username: Option<String>,
    /// File of the password. Default: none.
    pub password_file: Option<PathBuf>,
    /// PEM file of the root certificates that are trusted instead of the machine's. Default: none.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the certificate and of the private key for mutual TLS. Default: none.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// What every key begins with: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_`, `-`. Default: `authmesh`.
    pub prefix: String,
    /// Limit for a connection, 10 ms to 60 s. Default: 1 s.
    pub connect_timeout: Duration,
    /// Limit for an answer, 10 ms to 60 s. Default: 1 s.
    pub response_timeout: Duration,
    /// Entries of each log, 128 to 1,000,000. Default: 4,096.
    pub log_entries: usize,
}

/// Gossip. Where it is set, so is [`Cluster::key_ring_file`].
#[derive(Debug, Clone)]
pub struct Gossip {
    /// Where this node listens, by UDP and TCP.
    pub bind: SocketAddr,
    /// Where others reach it; port 0 stands for that of `bind`. Default: the address it would write to a seed from.
    pub advertise: Option<SocketAddr>,
    /// Where others may be, `host:port` each: 0 to 64. Default: none.
    pub seeds: Vec<String>,
    /// How many nodes found a cluster without Redis, 1 to 1,024. Set where there is no [`Redis`].
    pub expect: Option<usize>,
    /// How often a member is probed, 50 ms to 60 s. Default: 1 s.
    pub probe_period: Duration,
    /// How long the direct answer may take, 5 ms and less than `probe_period`. Default: 300 ms.
    pub probe_rtt: Duration,
    /// How long a suspect may take to speak up, `probe_period` to 10 min. Default: 3 s.
    pub suspicion: Duration,
}

/// Revocations.
#[derive(Debug, Clone)]
pub struct Marks {
    /// Where they are kept for the next start. Where it is set, so is [`Cluster::key_ring_file`]. Default: nowhere.
    pub snapshot: Option<PathBuf>,
}

/// Sizes and ages of what is kept in memory.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Memory for verdicts in bytes, 1 MiB to 64 GiB. Default: 64 MiB.
    pub verdict_bytes: u64,
    /// Memory for other entries in bytes, 1 MiB to 64 GiB. Default: 64 MiB.
    pub entry_bytes: u64,
    /// The longest token that is looked at, in bytes, 1 KiB to 1 MiB. Default: 16 KiB.
    pub max_token_bytes: usize,
    /// How long a verdict may be served without a new check of the signature, 1 s to 24 h, and never beyond `exp`.
    /// Default: 5 min.
    pub max_verdict_age: Duration,
}

/// An issuer whose tokens are accepted.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The issuer identifier, byte for byte as in `iss` (OpenID Connect Discovery 1.0 section 3). `https`, or `http`
    /// under [`Danger::allow_http`]; no query, no fragment, no user name.
    pub url: String,
    /// The provider that it is, if that was named. It made `url`, and what else was not set.
    pub preset: Option<IssuerPreset>,
    /// Accepted audiences; one of them must be in `aud`. Empty only under [`Danger::any_audience`].
    pub audience: Vec<String>,
    /// Where the key set is. Default: found by discovery.
    pub jwks_url: Option<String>,
    /// Accepted algorithms by their names (RFC 7518, RFC 8037), at least one, each once. Default: RS256, RS384, RS512,
    /// PS256, PS384, PS512, ES256, ES384, EdDSA.
    pub algorithms: Vec<String>,
    /// Accepted `typ` values. Default: empty, which means absent, `JWT` or `at+jwt`.
    pub typ: Vec<String>,
    /// Tolerance for the issuer's clock, at most 5 min. Default: 30 s.
    pub leeway: Duration,
    /// The longest span from `iat` to `exp`, 1 min to 168 h. Default: 24 h.
    pub max_token_lifetime: Duration,
    /// Claims that every token must carry. Default: none beyond the standard ones.
    pub required_claims: Vec<String>,
    /// Whether every token must be bound. Default: false.
    pub require_bound: bool,
    /// When keys are fetched, and how long they are trusted. Default: [`KeyPolicy::DEFAULT`].
    pub keys: KeyPolicy,
    /// How it is asked about each token. Default: not at all; signatures are checked.
    pub upstream: Option<IssuerUpstream>,
    /// How the issuer is asked.
    pub http: IssuerHttp,
    /// Its logout tokens.
    pub logout: IssuerLogout,
}

/// How an issuer is asked about its tokens.
#[derive(Debug, Clone)]
pub struct IssuerUpstream {
    /// Whether its userinfo endpoint is asked, with the token itself; else introspection (RFC 7662).
    pub userinfo: bool,
    /// The endpoint. Default: found by discovery.
    pub endpoint: Option<String>,
    /// As whom it is asked. Set for introspection.
    pub client_id: Option<String>,
    /// The client secret, from the environment or from its file.
    pub client_secret: Option<Secret>,
    /// How the secret is sent. Default: [`AuthMethod::Basic`].
    pub auth_method: AuthMethod,
    /// The private key that proves who asks, instead of a secret. Default: none.
    pub private_key_file: Option<PathBuf>,
    /// Whom that proof is meant for. Default: the issuer.
    pub assertion_audience: Option<String>,
    /// Whether only signed answers are taken (RFC 9701). Default: false.
    pub signed: bool,
    /// Whether `no-store` in an answer keeps it from being used again. Default: false.
    pub honour_no_store: bool,
    /// Whether opaque tokens are this issuer's. Default: true; at most one issuer has them.
    pub opaque: bool,
    /// How answers are kept and asked for, with the SDK's defaults. What it demands of tokens accepts none, until it is set.
    pub rules: UpstreamRules,
}

/// How an issuer is asked.
#[derive(Debug, Clone)]
pub struct IssuerHttp {
    /// Limit for a connection, 50 ms to 1 min. Default: 2 s.
    pub connect_timeout: Duration,
    /// Limit for a whole request, connection and body included, 50 ms to 1 min. Default: 5 s.
    pub total_timeout: Duration,
    /// PEM file of root certificates to trust in addition. Default: none.
    pub ca_file: Option<PathBuf>,
}

/// What is demanded of an issuer's logout tokens.
#[derive(Debug, Clone)]
pub struct IssuerLogout {
    /// Clients of which a logout token must name one in `aud`. Default: none, which means that no logout token is taken.
    pub client_ids: Vec<String>,
    /// Whether the `typ` must be `logout+jwt`. Default: false, which means that `JWT` and none are accepted too.
    pub require_typ: bool,
    /// Whether there must be an `exp`. Default: true.
    pub require_exp: bool,
}

/// What a path demands.
#[derive(Debug, Clone)]
pub struct Route {
    /// Exact host name in lower case, without a port. Default: any host.
    pub host: Option<String>,
    /// Prefix of the path by whole segments: see [`Route::covers_path`].
    pub path: String,
    /// Methods in upper case. Default: empty, which means all.
    pub methods: Vec<String>,
    /// Whether a token is asked for. Default: [`Access::Authenticated`].
    pub access: Access,
    /// Scopes that the token must all have. Default: none.
    pub scopes: Vec<String>,
    /// Scopes of which the token must have one. Default: empty, which means no such demand.
    pub any_scope: Vec<String>,
    /// Whether a blind node refuses. Default: false.
    pub sensitive: bool,
    /// What a blind node does. Default: serve for 5 min; deny where `sensitive`.
    pub when_blind: WhenBlind,
    /// The signature and the marks must have been checked within this time, at most 24 h. Zero: for every request.
    /// Default: no such demand.
    pub max_age: Option<Duration>,
    /// Audiences of which the token must name one, a subset of the issuers'. Default: empty, which means the issuer's.
    pub audience: Vec<String>,
}

/// Logging.
#[derive(Debug, Clone)]
pub struct Log {
    /// Least level that is written. Default: info.
    pub level: Level,
    /// Form of a line. Default: text.
    pub format: LogFormat,
}

/// Traces and metrics for a collector.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Telemetry {
    /// Base URL of the collector. Default: none; the environment may name one.
    pub endpoint: Option<String>,
    /// Whether traces are sent. Default: true.
    pub traces: bool,
    /// Whether metrics are sent. Default: true.
    pub metrics: bool,
    /// Share of the traces that begin here and are kept, 0 to 1. Default: what the environment says, else all.
    pub sample: Option<f64>,
    /// Name of the service. Default: what the environment says, else `authmesh`.
    pub service_name: Option<String>,
    /// Further attributes of the resource, as (name, value). Default: none.
    pub attributes: Vec<(String, String)>,
    /// Whether requests to issuers carry the trace context. Default: true.
    pub propagate: bool,
    /// PEM file of root certificates for the collector, in addition to the machine's. Default: none.
    pub ca_file: Option<PathBuf>,
}

/// Options that weaken a rule. All are off by default.
#[derive(Debug, Clone)]
pub struct Danger {
    /// An issuer may go without an audience. Default: false.
    pub any_audience: bool,
    /// Tokens without `iat` are accepted of issuers that are asked about them. Default: false.
    pub without_issued_at: bool,
    /// Issuers and key sets may be asked over plain HTTP. Default: false.
    pub allow_http: bool,
    /// Redis may evict revocations. Default: false.
    pub any_eviction_policy: bool,
}

/// What a node that is not coherent does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBlind {
    /// Refuse (503).
    Deny,
    /// Go on from memory for this long after it became blind, 1 s to 1 h.
    Serve(Duration),
}

/// An enum of words, and the words for the table of settings: one list for both.
macro_rules! choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            pub(super) const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl FromValue for $name {
            fn from_value(value: Option<Value>) -> Option<Self> {
                match value? {
                    Value::Text(word) => match word.as_str() {
                        $($word => Some(Self::$variant),)+
                        _ => None,
                    },
                    _ => None,
                }
            }
        }
    };
}

choice! {
    /// Whether a route asks for a token.
    Access {
        /// A valid token is needed.
        Authenticated = "authenticated",
        /// Everybody may pass; no token is looked at.
        Public = "public",
    }
}

choice! {
    /// How an issuer's tokens are checked.
    Validate {
        /// By their signature, here.
        Signature = "signature",
        /// By asking the issuer about each (RFC 7662).
        Introspection = "introspection",
        /// By asking its userinfo endpoint, with the token itself.
        Userinfo = "userinfo",
    }
}

choice! {
    /// How a client secret is sent (RFC 6749 section 2.3.1).
    AuthMethod {
        /// In the header `Authorization`.
        Basic = "client_secret_basic",
        /// In the body.
        Post = "client_secret_post",
    }
}

choice! {
    /// Least level of a log line that is written.
    Level {
        /// Failures that need somebody.
        Error = "error",
        /// What may become a failure.
        Warn = "warn",
        /// Changes of state.
        Info = "info",
        /// Decisions, for a developer.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choice! {
    /// Form of a log line.
    LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
