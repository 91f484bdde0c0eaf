//! One line in a builder.

use std::sync::Arc;

use authmesh::{BuildError, Builder};

use crate::{GossipConfig, SwimGossip};

/// Gossip in the chain of a [`Builder`].
///
/// ```no_run
/// use authmesh_gossip::WithSwim as _;
///
/// # fn doc(builder: authmesh::Builder) -> authmesh::Builder {
/// builder.key_ring_file("/etc/authmesh/ring.toml").swim("0.0.0.0:7946", ["authmesh.prod.svc:7946"])
/// # }
/// ```
pub trait WithSwim: Sized {
    /// Joins the cluster by gossip: listens at `bind`, an address with its port, for datagrams and streams, and finds the others at
    /// the seeds, `host:port` each. Every node of a cluster has it, or none. What is wrong, [`Builder::start`] says.
    fn swim<S: Into<String>>(self, bind: impl Into<String>, seeds: impl IntoIterator<Item = S>) -> Self;

    /// The same with all settings.
    fn swim_with(self, settings: GossipConfig) -> Self;
}

impl WithSwim for Builder {
    fn swim<S: Into<String>>(self, bind: impl Into<String>, seeds: impl IntoIterator<Item = S>) -> Self {
        let (bind, seeds) = (bind.into(), seeds.into_iter().map(Into::into).collect());
        self.at_start(move |builder| {
            let bind = bind.parse().map_err(|_| {
                BuildError::new(
                    "swim",
                    format!("{bind:?} is no address to listen at, such as \"0.0.0.0:7946\""),
                )
            })?;
            open(
                builder,
                GossipConfig {
                    bind,
                    seeds,
                    ..GossipConfig::default()
                },
            )
        })
    }

    fn swim_with(self, settings: GossipConfig) -> Self {
        self.at_start(move |builder| open(builder, settings))
    }
}

fn open(builder: Builder, settings: GossipConfig) -> Result<Builder, BuildError> {
    let adapter = SwimGossip::new(settings).map_err(|error| BuildError::new("swim", error.to_string()))?;
    Ok(builder.gossip(Arc::new(adapter)))
}
