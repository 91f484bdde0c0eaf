//! From the configuration to the adapter of gossip.

use authmesh_gossip::{ConfigError, GossipConfig, SwimGossip};

use crate::config::Config;

/// The settings of the adapter; `None` where gossip is off.
pub(crate) fn settings(config: &Config) -> Option<GossipConfig> {
    let gossip = config.gossip.as_ref()?;
    Some(GossipConfig {
        bind: gossip.bind,
        advertise: gossip.advertise,
        seeds: gossip.seeds.clone(),
        probe_period: gossip.probe_period,
        probe_rtt: gossip.probe_rtt,
        suspicion: gossip.suspicion,
    })
}

/// The adapter; `None` where gossip is off. It binds nothing before the node starts.
///
/// # Errors
/// When the adapter refuses a setting.
pub(crate) fn adapter(config: &Config) -> Result<Option<SwimGossip>, ConfigError> {
    settings(config).map(SwimGossip::new).transpose()
}
