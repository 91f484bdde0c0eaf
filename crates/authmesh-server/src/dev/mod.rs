//! Development mode: a whole small world in one process, on loopback.

pub mod issuer;
mod redis;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use authmesh::ports::Gossip;
use authmesh::{AuthMesh, KeyRing, Rules, memory};
use authmesh_gossip::{GossipConfig, SwimGossip};
use authmesh_oidc::{HttpClient, HttpKeySource};
use tokio::net::TcpListener;

use self::issuer::DevIssuer;
use self::redis::{CLUSTER, DevRedis};
use crate::config::Secret;
use crate::serve::{ForwardSettings, Limits, Metrics, RunningNode, ServeError, bind, stop_signal};

/// The audience of the tokens that the development issuer mints.
const AUDIENCE: &str = "dev-api";
/// The admin ports begin so far above the first port.
const ADMIN: u16 = 100;
/// The issuer's port lies so far above the first port.
const ISSUER: u16 = 200;

/// Runs `serve --dev` until it is stopped. With `redis`, the URL of one, the nodes share that instead of a cluster in
/// memory. With `gossip` they talk to each other directly as well, over loopback.
pub async fn run(nodes: u16, port_base: u16, redis: Option<&str>, gossip: bool) -> Result<(), ServeError> {
    let redis = match redis {
        Some(url) => Some(DevRedis::connect(url).await?),
        None => None,
    };
    let port = |offset: u16| {
        if port_base == 0 {
            return Ok(0);
        }
        port_base
            .checked_add(offset)
            .ok_or_else(|| ServeError::new("--port-base is too high: the issuer listens 200 ports above it"))
    };
    let issuer_listener = bind_port(port(ISSUER)?).await?;
    let issuer_url = url_of(&issuer_listener)?;
    let issuer = {
        let url = issuer_url.clone();
        // Making an RSA key takes a moment; it must not hold the runtime up.
        tokio::task::spawn_blocking(move || DevIssuer::new(&url))
            .await
            .map_err(ServeError::new)?
            .map_err(ServeError::new)?
    };
    let app = issuer.router();
    let issuer_task = tokio::spawn(async move { axum::serve(issuer_listener, app).await });

    let credential = secret()?;
    let cluster = Arc::new(memory::Cluster::new());
    let ring = ring()?;
    let mut running = Vec::new();
    let mut rows = Vec::new();
    let mut seeds = Vec::new();
    for index in 0..nodes {
        let name = char::from(b'a' + u8::try_from(index).unwrap_or(25)).to_string();
        let forward = bind_port(port(index)?).await?;
        let admin = bind_port(port(ADMIN + index)?).await?;
        let (forward_url, admin_url) = (url_of(&forward)?, url_of(&admin)?);
        let metrics = Metrics::new()?;
        let builder = AuthMesh::builder().name(&name).cluster(CLUSTER);
        let builder = match &redis {
            Some(redis) => builder.join(redis.adapter()?),
            None => builder.join(Arc::clone(&cluster)),
        };
        let road = if gossip { Some(gossip_among(&seeds)?) } else { None };
        let builder = match &road {
            Some(road) => builder.gossip(Arc::clone(road) as Arc<dyn Gossip>),
            None => builder,
        };
        let mesh = builder
            .address(forward_url.trim_start_matches("http://"))
            .key_ring(ring.clone())
            .issuer(
                &issuer_url,
                Arc::new(key_source(&issuer_url)?),
                Rules::for_audiences([AUDIENCE]),
            )
            .meter(metrics.meter())
            .start()
            .await
            .map_err(ServeError::new)?;
        let address = road.and_then(|road| road.address());
        seeds.extend(address.map(|address| address.to_string()));
        mesh.wait_for_keys(Duration::from_secs(5)).await;
        let settings = ForwardSettings::for_dev(&mesh)?;
        let admin = Some((admin, Secret::new(&credential).map_err(ServeError::new)?));
        running.push(RunningNode::start(
            mesh,
            metrics,
            forward,
            settings,
            admin,
            None,
            Limits::default(),
        ));
        rows.push((name, forward_url, admin_url));
    }
    print!("{}", greeting(&rows, &issuer_url, &credential, redis.as_ref(), gossip));

    stop_signal().await;
    let stats: Vec<_> = running.iter().map(|node| node.mesh.stats()).collect();
    for node in running {
        node.stop().await;
    }
    issuer_task.abort();
    let hits: u64 = stats.iter().map(|stats| stats.counts.hits).sum();
    let verified: u64 = stats.iter().map(|stats| stats.counts.verified).sum();
    let refused: u64 = stats
        .iter()
        .map(|stats| stats.counts.refused + stats.counts.revoked)
        .sum();
    let fetches: u64 = stats.iter().map(|stats| stats.counts.key_fetches_ok).sum();
    println!(
        "\nstopped: {} requests, {hits} hits, {verified} verified, {refused} refused; \
         {fetches} key fetches from the issuer, {} upstream calls saved",
        hits + verified + refused,
        (hits + verified).saturating_sub(fetches)
    );
    if let Some(redis) = &redis {
        print!("{}", redis.farewell());
    }
    Ok(())
}

/// Loopback, always: the issuer mints a token for whoever asks.
async fn bind_port(port: u16) -> Result<TcpListener, ServeError> {
    bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .await
        .map_err(|error| ServeError::new(format!("{error}. Try `--port-base 0`, which takes free ports")))
}

/// Gossip on a free port of loopback, with those that run already.
fn gossip_among(seeds: &[String]) -> Result<Arc<SwimGossip>, ServeError> {
    SwimGossip::new(GossipConfig {
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        seeds: seeds.to_vec(),
        ..GossipConfig::default()
    })
    .map(Arc::new)
    .map_err(ServeError::new)
}

fn url_of(listener: &TcpListener) -> Result<String, ServeError> {
    let address = listener.local_addr().map_err(ServeError::new)?;
    Ok(format!("http://{address}"))
}

fn key_source(issuer: &str) -> Result<HttpKeySource, ServeError> {
    let http = HttpClient::builder()
        .danger_allow_http(true)
        .environment_proxy(false)
        .system_roots(false)
        .build()
        .map_err(ServeError::new)?;
    HttpKeySource::discover(issuer, &http).map_err(ServeError::new)
}

fn random<const N: usize>() -> Result<[u8; N], ServeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(ServeError::new)?;
    Ok(bytes)
}

fn secret() -> Result<String, ServeError> {
    let bytes: [u8; 12] = random()?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("dev-{hex}"))
}

fn ring() -> Result<KeyRing, ServeError> {
    KeyRing::new(random()?, [random()?]).map_err(ServeError::new)
}

/// What development mode prints: where everything is, and commands that work as they stand.
fn greeting(
    rows: &[(String, String, String)],
    issuer: &str,
    credential: &str,
    redis: Option<&DevRedis>,
    gossip: bool,
) -> String {
    let mut shared = match redis {
        Some(redis) => format!("{} (prefix {})", redis.url, redis.prefix),
        None => "in-memory L2".to_owned(),
    };
    if gossip {
        shared.push_str(", gossip");
    }
    let mut text = format!(
        "authmesh {}  development mode: {} node{} in one process, {shared}, throw-away keys. Not for production.\n\n  \
         {:<7}{:<29}{}\n",
        env!("CARGO_PKG_VERSION"),
        rows.len(),
        if rows.len() == 1 { "" } else { "s" },
        "node",
        "forward auth",
        "admin API (a bearer credential is needed)"
    );
    for (name, forward, admin) in rows {
        text.push_str(&format!("  {name:<7}{forward:<29}{admin}\n"));
    }
    let (Some((_, first, admin)), Some((last_name, last, _))) = (rows.first(), rows.last()) else {
        return text;
    };
    let elsewhere = if rows.len() == 1 {
        String::new()
    } else {
        format!(", on node {last_name}")
    };
    text.push_str(&format!(
        "  issuer {issuer}        (RS256, ES256, EdDSA keys; POST /token mints, POST /rotate makes new keys)\n\n\
         Try it (alice's token is in $T):\n  \
         T=$(curl -s -d sub=alice {issuer}/token)\n  \
         curl -i -H \"Authorization: Bearer $T\" {first}/verify     # 200, X-Authmesh-Outcome: verified\n  \
         curl -i -H \"Authorization: Bearer $T\" {first}/verify     # 200, X-Authmesh-Outcome: hit\n  \
         curl -i -H \"Authorization: Bearer {credential}\" -d '{{\"subject\":\"alice\",\"why\":\"try it\"}}' {admin}/v1/revocations     # 200, state: committed\n  \
         curl -i -H \"Authorization: Bearer $T\" {last}/verify     # 401 revoked{elsewhere}\n\n\
         Ctrl-C stops everything.\n"
    ));
    text
}
