//! From checked values to the typed configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use authmesh::possession::DpopRules;

use super::asked::{self, Section};
use super::preset::{self, IssuerPreset};
use super::problem::Problem;
use super::resolve::Resolved;
use super::secret::Secret;
use super::typed::{
    Admin, Cache, Cluster, Config, Danger, Gossip, Headers, Issuer, IssuerHttp, IssuerLogout, IssuerUpstream, Log,
    Logout, Marks, Possession, Redis, Route, Server, Telemetry, Validate,
};
use super::value::{FromValue, Value};

/// Builds the configuration. Every setting is used exactly once, or the build of authmesh is defective.
pub(super) fn config(resolved: Resolved, admin_token: Option<Secret>) -> Result<Config, Problem> {
    let presets: Vec<_> = (0..resolved.count("issuers"))
        .map(|index| preset::of(index, &resolved))
        .collect();
    let routes = resolved.count("routes");
    let mut values = Values(resolved.into_values());
    // Both are in `admin_token`.
    values.0.remove("admin.token");
    values.0.remove("admin.token_file");

    let config = Config {
        cluster: Cluster {
            name: values.take("cluster.name")?,
            node: values.take("cluster.node")?,
            key_ring_file: values.take("cluster.key_ring_file")?,
        },
        server: Server {
            listen: values.take("server.listen")?,
            cookie: values.take("server.cookie")?,
            explain: values.take("server.explain")?,
            drain: values.take("server.drain")?,
            max_connections: values.take("server.max_connections")?,
            request_timeout: values.take("server.request_timeout")?,
            headers: Headers {
                subject: values.take("server.headers.subject")?,
                issuer: values.take("server.headers.issuer")?,
                client: values.take("server.headers.client")?,
                scopes: values.take("server.headers.scopes")?,
                session: values.take("server.headers.session")?,
                email: values.take("server.headers.email")?,
                expires: values.take("server.headers.expires")?,
            },
        },
        possession: possession(&mut values)?,
        admin: Admin {
            listen: values.take("admin.listen")?,
            token: admin_token,
        },
        logout: Logout {
            listen: values.take("logout.listen")?,
            max_connections: values.take("logout.max_connections")?,
            max_concurrent: values.take("logout.max_concurrent")?,
            per_second: values.take("logout.per_second")?,
            burst: values.take("logout.burst")?,
        },
        redis: redis(&mut values)?,
        gossip: gossip(&mut values)?,
        marks: Marks {
            snapshot: values.take::<Option<String>>("marks.snapshot")?.map(Into::into),
        },
        cache: Cache {
            verdict_bytes: values.take("cache.verdict_bytes")?,
            entry_bytes: values.take("cache.entry_bytes")?,
            max_token_bytes: values.take("cache.max_token_bytes")?,
            max_verdict_age: values.take("cache.max_verdict_age")?,
        },
        issuers: presets
            .into_iter()
            .enumerate()
            .map(|(index, preset)| issuer(&mut values, index, preset))
            .collect::<Result<_, _>>()?,
        routes: (0..routes)
            .map(|index| route(&mut values, index))
            .collect::<Result<_, _>>()?,
        log: Log {
            level: values.take("log.level")?,
            format: values.take("log.format")?,
        },
        telemetry: telemetry(&mut values)?,
        danger: Danger {
            any_audience: values.take("danger.any_audience")?,
            without_issued_at: values.take("danger.without_issued_at")?,
            allow_http: values.take("danger.allow_http")?,
            any_eviction_policy: values.take("danger.any_eviction_policy")?,
        },
    };
    match values.0.into_keys().next() {
        None => Ok(config),
        Some(unused) => Err(Problem::defect(&unused)),
    }
}

fn possession(values: &mut Values) -> Result<Possession, Problem> {
    let mut dpop = DpopRules::default();
    dpop.accepted = values.take("possession.dpop")?;
    dpop.window = values.take("possession.window")?;
    dpop.require_nonce = values.take("possession.require_nonce")?;
    dpop.nonce_lifetime = values.take("possession.nonce_lifetime")?;
    Ok(Possession {
        dpop,
        origins: values.take("possession.origins")?,
        client_cert_header: values.take("possession.client_cert_header")?,
    })
}

/// `None` where no URL is set: `checks` has seen that nothing else is set then.
fn redis(values: &mut Values) -> Result<Option<Redis>, Problem> {
    let urls: Option<Vec<String>> = values.take("redis.url")?;
    let redis = Redis {
        username: values.take("redis.username")?,
        password_file: values.take("redis.password_file")?,
        ca_file: values.take("redis.ca_file")?,
        client_certificate: Option::zip(
            values.take("redis.client_cert_file")?,
            values.take("redis.client_key_file")?,
        ),
        prefix: values.take("redis.prefix")?,
        connect_timeout: values.take("redis.connect_timeout")?,
        response_timeout: values.take("redis.response_timeout")?,
        log_entries: values.take("redis.log_entries")?,
        urls: urls.unwrap_or_default(),
    };
    Ok(Some(redis).filter(|redis| !redis.urls.is_empty()))
}

/// Numbers and pairs were checked as text before.
fn telemetry(values: &mut Values) -> Result<Telemetry, Problem> {
    let sample: Option<String> = values.take("telemetry.sample")?;
    let attributes: Vec<String> = values.take("telemetry.attributes")?;
    let pairs = attributes.iter().filter_map(|pair| pair.split_once('='));
    Ok(Telemetry {
        endpoint: values.take("telemetry.endpoint")?,
        traces: values.take("telemetry.traces")?,
        metrics: values.take("telemetry.metrics")?,
        sample: sample.and_then(|sample| sample.parse().ok()),
        service_name: values.take("telemetry.service_name")?,
        attributes: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        propagate: values.take("telemetry.propagate")?,
        ca_file: values.take("telemetry.ca_file")?,
    })
}

/// `None` where it is off: `checks` has seen that nothing else is set then.
fn gossip(values: &mut Values) -> Result<Option<Gossip>, Problem> {
    let bind: Option<SocketAddr> = values.take("gossip.bind")?;
    let advertise = values.take("gossip.advertise")?;
    let seeds = values.take("gossip.seeds")?;
    let expect = values.take("gossip.expect")?;
    let probe_period = values.take("gossip.probe_period")?;
    let probe_rtt = values.take("gossip.probe_rtt")?;
    let suspicion = values.take("gossip.suspicion")?;
    Ok(bind.map(|bind| Gossip {
        bind,
        advertise,
        seeds,
        expect,
        probe_period,
        probe_rtt,
        suspicion,
    }))
}

fn issuer(values: &mut Values, index: usize, preset: Option<IssuerPreset>) -> Result<Issuer, Problem> {
    let path = |key: &str| format!("issuers[{index}].{key}");
    // They are in `preset`.
    values.0.remove(&path("preset.name"));
    for parameter in preset::parameters() {
        values.0.remove(&path(&format!("preset.{parameter}")));
    }
    let validate = values.take(&path("validate"))?;
    Ok(Issuer {
        url: values.take(&path("url"))?,
        preset,
        audience: values.take(&path("audience"))?,
        jwks_url: values.take(&path("jwks_url"))?,
        algorithms: values.take(&path("algorithms"))?,
        typ: values.take(&path("typ"))?,
        leeway: values.take(&path("leeway"))?,
        max_token_lifetime: values.take(&path("max_token_lifetime"))?,
        required_claims: values.take(&path("required_claims"))?,
        require_bound: values.take(&path("require_bound"))?,
        keys: asked::key_policy(&mut values.section(path("keys")))?,
        upstream: upstream(&mut values.section(path("upstream")), validate)?,
        http: IssuerHttp {
            connect_timeout: values.take(&path("http.connect_timeout"))?,
            total_timeout: values.take(&path("http.total_timeout"))?,
            ca_file: values.take(&path("http.ca_file"))?,
        },
        logout: IssuerLogout {
            client_ids: values.take(&path("logout.client_ids"))?,
            require_typ: values.take(&path("logout.require_typ"))?,
            require_exp: values.take(&path("logout.require_exp"))?,
        },
    })
}

/// `None` where the issuer is not asked: whatever is set then was warned of.
fn upstream(section: &mut Taking<'_>, validate: Validate) -> Result<Option<IssuerUpstream>, Problem> {
    let file: Option<PathBuf> = section.value("client_secret_file")?;
    let secret: Option<Secret> = section.value("client_secret")?;
    let upstream = IssuerUpstream {
        userinfo: validate == Validate::Userinfo,
        endpoint: section.value("endpoint")?,
        client_id: section.value("client_id")?,
        client_secret: None,
        auth_method: section.value("auth_method")?,
        private_key_file: section.value("private_key_file")?,
        assertion_audience: section.value("assertion_audience")?,
        signed: section.value("signed")?,
        honour_no_store: section.value("honour_no_store")?,
        opaque: section.value("opaque")?,
        rules: asked::upstream_rules(section)?,
    };
    if validate == Validate::Signature {
        return Ok(None);
    }
    // `checks` has read it before, unless nobody is asked with it.
    let read = |file: PathBuf| asked::read_secret(&file).map_err(|_| Problem::defect("client_secret_file"));
    let client_secret = match (secret, file) {
        (Some(secret), _) => Some(secret),
        (None, Some(file)) if validate == Validate::Introspection => Some(read(file)?),
        _ => None,
    };
    Ok(Some(IssuerUpstream {
        client_secret,
        ..upstream
    }))
}

fn route(values: &mut Values, index: usize) -> Result<Route, Problem> {
    let path = |key: &str| format!("routes[{index}].{key}");
    Ok(Route {
        host: values.take(&path("host"))?,
        path: values.take(&path("path"))?,
        methods: values.take(&path("methods"))?,
        access: values.take(&path("access"))?,
        scopes: values.take(&path("scopes"))?,
        any_scope: values.take(&path("any_scope"))?,
        sensitive: values.take(&path("sensitive"))?,
        when_blind: values.take(&path("when_blind"))?,
        max_age: values.take(&path("max_age"))?,
        audience: values.take(&path("audience"))?,
    })
}

struct Values(BTreeMap<String, Option<Value>>);

/// One section of the values.
struct Taking<'a> {
    values: &'a mut Values,
    section: String,
}

impl Section for Taking<'_> {
    fn value<T: FromValue>(&mut self, key: &str) -> Result<T, Problem> {
        self.values.take(&format!("{}.{key}", self.section))
    }
}

impl Values {
    fn section(&mut self, section: String) -> Taking<'_> {
        Taking { values: self, section }
    }

    fn take<T: FromValue>(&mut self, path: &str) -> Result<T, Problem> {
        self.0
            .remove(path)
            .and_then(T::from_value)
            .ok_or_else(|| Problem::defect(path))
    }
}
