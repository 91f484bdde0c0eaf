//! From configuration to a running node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authmesh::proto::gossip::GossipConfig;
use authmesh::{AuthMesh, KeyRing, LogoutRules, Policy};
use authmesh_redis::RedisAdapter;

use super::{Metrics, ServeError, issuer};
use crate::config::Config;
use crate::{gossip, redis};
use authmesh::keyring::{self, RingFile};

/// The key ring that the configuration names.
pub(super) fn key_ring(config: &Config) -> Result<Option<KeyRing>, ServeError> {
    let Some(path) = &config.cluster.key_ring_file else {
        return Ok(None);
    };
    if keyring::is_open_to_others(path) {
        tracing::warn!(
            "key ring {}: others than its owner may read it; `chmod 600` it, or mount the secret with mode 0400",
            path.display()
        );
    }
    let ring = RingFile::read(path).map_err(ServeError::new)?.ring();
    ring.map(Some).map_err(ServeError::new)
}

/// Starts the node that a configuration describes.
///
/// Redis need not be there: the node starts blind then, and answers once it has its marks.
pub(super) async fn start(
    config: &Config,
    address: SocketAddr,
    ring: Option<&KeyRing>,
    metrics: &Metrics,
) -> Result<AuthMesh, ServeError> {
    let mut builder = AuthMesh::builder()
        .name(&config.cluster.node)
        .cluster(&config.cluster.name)
        .address(address.to_string())
        .verdict_bytes(config.cache.verdict_bytes)
        .entry_bytes(config.cache.entry_bytes)
        .policy(Policy {
            max_token_bytes: config.cache.max_token_bytes,
            max_verdict_age: config.cache.max_verdict_age,
            dpop: config.possession.dpop.clone(),
            ..Policy::default()
        })
        .meter(metrics.meter());
    if let Some(ring) = ring {
        builder = builder.key_ring(ring.clone());
    }
    if let Some(path) = &config.marks.snapshot {
        builder = builder.snapshot(path);
    }
    if let Some(settings) = redis::settings(config).map_err(ServeError::new)? {
        builder = builder.join(Arc::new(RedisAdapter::lazy(settings).map_err(ServeError::new)?));
    }
    if let Some(adapter) = gossip::adapter(config).map_err(ServeError::new)? {
        // Beside Redis nobody is expected: the members register there.
        let expect = config.gossip.as_ref().and_then(|gossip| gossip.expect);
        builder = builder.gossip(Arc::new(adapter)).gossip_config(GossipConfig {
            expect: expect.filter(|_| config.redis.is_none()).unwrap_or(1),
            ..GossipConfig::default()
        });
    }
    for issuer in &config.issuers {
        if let Some(upstream) = &issuer.upstream {
            let source = issuer::token_source(issuer, upstream, config.danger.allow_http)?;
            let rules = issuer::upstream_rules(issuer, upstream, &config.danger)?;
            builder = builder.upstream(&issuer.url, source, rules);
            continue;
        }
        let source = issuer::key_source(issuer, config.danger.allow_http)?;
        builder = builder.issuer_with(&issuer.url, Arc::new(source), issuer.keys, issuer::rules(issuer)?);
        let logout = &issuer.logout;
        if !logout.client_ids.is_empty() {
            let mut rules = LogoutRules::for_clients(logout.client_ids.iter().cloned());
            (rules.require_type, rules.require_expiry) = (logout.require_typ, logout.require_exp);
            builder = builder.logout(&issuer.url, rules);
        }
    }
    let mesh = builder.start().await.map_err(ServeError::new)?;
    if !mesh.wait_for_keys(Duration::from_secs(3)).await {
        tracing::warn!("not every issuer's keys could be fetched yet; tokens of those get 503 until they are");
    }
    Ok(mesh)
}
