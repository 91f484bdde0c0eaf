//! Settings.

use std::net::SocketAddr;
use std::time::Duration;

use crate::swim::Times;

/// Settings of gossip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GossipConfig {
    /// Where this node listens, for datagrams and streams alike; port 0 takes a free one. What it sends leaves from this
    /// address too. Default: `0.0.0.0:7946`.
    pub bind: SocketAddr,
    /// Where others reach this node; port 0 stands for the port of `bind`. What it sends must come from this address, as others
    /// see it. Default: `None`, the address that it would write to a seed from.
    pub advertise: Option<SocketAddr>,
    /// Where others may be: `host:port` each. A host name stands for all its addresses, and is looked up again while the node is
    /// alone or in small company. Addresses of the node itself do no harm. Default: none.
    pub seeds: Vec<String>,
    /// How often a member is probed. Default: 1 s; 50 ms to 60 s.
    pub probe_period: Duration,
    /// How long the direct answer to a probe may take; the rest of the period is for others that probe on this node's behalf.
    /// Default: 300 ms; below `probe_period`.
    pub probe_rtt: Duration,
    /// How long a suspect may take to speak up before it is given up. Default: 3 s; at least `probe_period`, at most 10 min.
    pub suspicion: Duration,
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([0, 0, 0, 0], 7946)),
            advertise: None,
            seeds: Vec::new(),
            probe_period: Duration::from_secs(1),
            probe_rtt: Duration::from_millis(300),
            suspicion: Duration::from_secs(3),
        }
    }
}

/// A setting that cannot be, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A seed is not `host:port`.
    #[error("gossip.seeds: {0:?} is not host:port, such as \"authmesh.prod.svc:7946\" or \"10.0.0.7:7946\"")]
    Seed(String),
    /// There are too many seeds.
    #[error("gossip.seeds: {0} are too many; name at most {MAX_SEEDS}, or one host name that stands for all")]
    TooManySeeds(usize),
    /// The advertised address stands for any address.
    #[error("gossip.advertise: {0} is no address that others could write to; name one, or leave it out")]
    Advertise(SocketAddr),
    /// Bind and advertised address are of different families.
    #[error(
        "gossip.advertise: {advertise} cannot be reached by a socket that is bound to {bind}; use two IPv4 or two IPv6 addresses"
    )]
    Families {
        /// The bound address.
        bind: SocketAddr,
        /// The advertised one.
        advertise: SocketAddr,
    },
    /// A time is out of its range.
    #[error("gossip.{setting}: {value:?} is out of range; {range}")]
    Time {
        /// The setting.
        setting: &'static str,
        /// What it was.
        value: Duration,
        /// What it may be.
        range: &'static str,
    },
}

/// The most seeds.
const MAX_SEEDS: usize = 64;

impl GossipConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.seeds.len() > MAX_SEEDS {
            return Err(ConfigError::TooManySeeds(self.seeds.len()));
        }
        if let Some(seed) = self.seeds.iter().find(|seed| !is_host_and_port(seed)) {
            return Err(ConfigError::Seed(seed.clone()));
        }
        if let Some(advertise) = self.advertise {
            if advertise.ip().is_unspecified() {
                return Err(ConfigError::Advertise(advertise));
            }
            // A socket that is bound to all IPv6 addresses speaks IPv4 too, where the system lets it.
            if advertise.is_ipv4() != self.bind.is_ipv4() && !(self.bind.is_ipv6() && self.bind.ip().is_unspecified()) {
                let bind = self.bind;
                return Err(ConfigError::Families { bind, advertise });
            }
        }
        let time = |setting, value, fits: bool, range| match fits {
            true => Ok(()),
            false => Err(ConfigError::Time { setting, value, range }),
        };
        let (period, rtt) = (self.probe_period, self.probe_rtt);
        let fits = (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&period);
        time("probe_period", period, fits, "from 50 ms to 60 s")?;
        let fits = rtt >= Duration::from_millis(5) && rtt < period;
        time("probe_rtt", rtt, fits, "at least 5 ms, and less than probe_period")?;
        let fits = (period..=Duration::from_secs(600)).contains(&self.suspicion);
        time(
            "suspicion",
            self.suspicion,
            fits,
            "at least probe_period, at most 10 min",
        )
    }

    pub(crate) const fn times(&self) -> Times {
        Times {
            probe_period: self.probe_period,
            probe_rtt: self.probe_rtt,
            suspicion: self.suspicion,
        }
    }
}

fn is_host_and_port(seed: &str) -> bool {
    if let Ok(address) = seed.parse::<SocketAddr>() {
        return address.port() != 0 && !address.ip().is_unspecified();
    }
    seed.rsplit_once(':').is_some_and(|(host, port)| {
        let host_fits = (1..=253).contains(&host.len())
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}
