//! Redis as the shared half of an authmesh cluster: log, bus, second level and registration of members, on one server or on
//! a Redis Cluster, 7.0 or newer.
//!
//! [`WithRedis`] makes it one line of a builder. The adapter by itself:
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
//! # Connections
//!
//! To each primary: one for commands; where it has replicas, up to 8 for commits, each of which waits there for one replica
//! to confirm it (`WAIT`), at most [`replica_wait`](RedisConfig::replica_wait); and one for each subscription to the bus,
//! with a sign of life every 250 ms. Each new one reads the files of the settings again.
//!
//! # Permissions
//!
//! What the ACL user needs, for the prefix `authmesh`:
//!
//! ```text
//! ~authmesh:* &authmesh:* +evalsha +eval +hello +ping +info +client|setinfo +wait +asking
//! +cluster|slots +cluster|info +ssubscribe +sunsubscribe +spublish
//! +xadd +xrange +xrevrange +xinfo|stream +hget +hset +hdel +hgetall +hkeys +hlen +hexists
//! +get +mget +set +del +exists +type +pexpire +incrby +time
//! ```
//!
//! # When Redis is away
//!
//! | fault | what callers see |
//! | --- | --- |
//! | no connection within 1 s, or refused | `Unavailable`; the next attempt waits 50 ms, doubled up to 1 s |
//! | no answer within 1 s, or the connection broke | `Unknown`: it may have been done |
//! | no permission, wrong password, replica, loading, foreign key | `Refused`, with what to do |
//! | above `maxmemory` | `Full`; commits and mints go on |
//! | one primary of a cluster is away | as above for its channels; reading the heads fails as a whole, in time |
//! | a node is cut off from its cluster, or nobody serves a slot | `Unavailable` |
//! | a connection for bells is silent for 1 s, ends, or a slot of it moves | [`BusEvent::Broken`](authmesh::ports::BusEvent::Broken), again when all bells are heard |
//!
//! Nothing here is retried that may have been done. What a server refuses before it does anything is sent on: to the node
//! that serves the slot by now, at most 4 times, and again for a script that the server did not know. After a failure
//! another node is asked who serves what, at most every 200 ms.
//!
//! # While a slot moves
//!
//! Heads, logs, values of L2 and counters are read and written where their one key is. A commit names two keys, and is
//! refused while they are in two places: after three attempts within 100 ms its statement goes into the log alone, by a
//! *bare* entry, which voids the channel's L2. That is all of a drop. Of a mark it is
//! [`PortError::Partly`](authmesh::ports::PortError::Partly): the table gets it when the commit is tried again later.
//! Fill leases and stores of that channel fail meanwhile, which is a miss. A channel without a log gets none until its slot
//! has arrived.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod answer;
mod builder;
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

pub use builder::WithRedis;
pub use config::{RedisConfig, Secret};
pub use error::ConnectError;

use keys::Keys;
use link::Link;
use scripts::Scripts;

/// The ports [`Log`](authmesh::ports::Log), [`Bus`](authmesh::ports::Bus), [`Store`](authmesh::ports::Store) and
/// [`Members`](authmesh::ports::Members) on one Redis server or a Redis Cluster. Clones share connections for commands; each
/// subscription to the bus has its own.
#[derive(Clone)]
pub struct RedisAdapter(Arc<Parts>);

struct Parts {
    link: Link,
    keys: Keys,
    scripts: Scripts,
}

impl RedisAdapter {
    /// Connects, and checks that this Redis can keep what authmesh promises: its version, that it is a primary, its eviction
    /// policy; of a cluster, each primary that can be reached.
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
