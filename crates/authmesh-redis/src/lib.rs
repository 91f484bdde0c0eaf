//! Redis as the shared half of an authmesh cluster: log, bus, second level and registration of members on **one** Redis
//! server, 7.0 or newer.
//!
//! ```no_run
//! use std::sync::Arc;
//! use authmesh_redis::{ConnectError, RedisAdapter, RedisConfig, Secret};
//!
//! # async fn doc(password: String) -> Result<(), ConnectError> {
//! let config = RedisConfig::new("rediss://redis.example.com:6380")?
//!     .username("authmesh")
//!     .password(Secret::new(password));
//! let redis = Arc::new(RedisAdapter::connect(config).await?);
//! let mesh = authmesh::AuthMesh::builder().join(redis);
//! # let _ = mesh;
//! # Ok(())
//! # }
//! ```
//!
//! # Keys
//!
//! Every key begins with `prefix:1:cluster:{tag}:`. The 64 channels have 64 tags, evenly placed in the slots of a Redis
//! Cluster.
//!
//! | key | type | what |
//! | --- | --- | --- |
//! | `log` | stream | the log; each entry has one field `e`, the bytes of a bell. Its last entry is the head |
//! | `marks:0` to `marks:31` | hash | the table; field: hour (8), field (33); value: rank (8), digest (16), envelope |
//! | `e:NAME` | string | an entry or fill lease, with a time to live |
//! | `c:NAME` | string | a counter, with a time to live |
//! | `bell` | channel | sharded pub/sub: an entry of the log, as it is appended |
//! | `m`, under the tag `members` | hash | registration: ID and sealed record |
//!
//! Logs, marks and members have no time to live, so that the eviction policies `noeviction` and `volatile-*` never take
//! them; with any other policy a server is refused.
//!
//! # When Redis is away
//!
//! | fault | what callers see |
//! | --- | --- |
//! | no connection within 1 s, or refused | `Unavailable`; the next attempt waits 50 ms, doubled up to 1 s |
//! | no answer within 1 s, or the connection broke | `Unknown`: it may have been done |
//! | no permission, wrong password, replica, loading, foreign key | `Refused`, with what to do |
//! | above `maxmemory` | `Full`; commits and mints go on |
//! | the bus is silent for 1 s | [`BusEvent::Broken`](authmesh::ports::BusEvent::Broken), again when it is back |
//!
//! Nothing here is retried, except a script that the server did not know: it did nothing.
//!
//! # Not here yet
//!
//! Redis Cluster, the confirmation of replicas (`Committed::replicas` is always 0), client certificates and own
//! certificate authorities.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod answer;
mod bus;
mod check;
mod config;
mod connect;
mod error;
mod keys;
mod link;
mod log;
mod members;
mod scripts;
mod store;
pub mod survey;

use std::fmt;
use std::sync::Arc;

pub use config::{RedisConfig, Secret};
pub use error::ConnectError;

use keys::Keys;
use link::Link;
use scripts::Scripts;

/// The ports [`Log`](authmesh::ports::Log), [`Bus`](authmesh::ports::Bus), [`Store`](authmesh::ports::Store) and
/// [`Members`](authmesh::ports::Members) on one Redis server. Clones share its connection for commands; each subscription to
/// the bus has a connection of its own.
#[derive(Clone)]
pub struct RedisAdapter(Arc<Parts>);

struct Parts {
    link: Link,
    keys: Keys,
    scripts: Scripts,
}

impl RedisAdapter {
    /// Connects, and checks that this Redis can keep what authmesh promises: its version, that it is a primary, its eviction
    /// policy.
    ///
    /// # Errors
    /// When a setting is wrong, Redis cannot be reached in time, or must not be used. Nothing runs then.
    pub async fn connect(config: RedisConfig) -> Result<Self, ConnectError> {
        let adapter = Self::lazy(config)?;
        adapter.link().connect().await?;
        Ok(adapter)
    }

    /// Connects when it is first used, so that a node can start while Redis is away. What [`RedisAdapter::connect`] checks is
    /// checked then, as at every new connection; until a check passes, every call is refused with the reason.
    ///
    /// # Errors
    /// When a setting is wrong.
    pub fn lazy(config: RedisConfig) -> Result<Self, ConnectError> {
        Ok(Self(Arc::new(Parts {
            keys: Keys::new(&config.prefix, &config.cluster)?,
            link: Link::new(&config)?,
            scripts: Scripts::new(),
        })))
    }

    fn link(&self) -> &Link {
        &self.0.link
    }

    fn keys(&self) -> &Keys {
        &self.0.keys
    }

    fn scripts(&self) -> &Scripts {
        &self.0.scripts
    }
}

impl fmt::Debug for RedisAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAdapter({})", self.link().peer())
    }
}
