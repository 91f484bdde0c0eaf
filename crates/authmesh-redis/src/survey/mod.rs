//! What a Redis is like, for an operator who wants to know before a node does: plain data, no judgement.
//!
//! Unlike [`RedisAdapter::connect`](crate::RedisAdapter::connect) it also asks a Redis that nodes must refuse. Nothing is
//! changed in it, except where no other way is left to find out what the user may do
//! ([`Tested::Executed`]); then keys of its own are written and deleted.

mod permissions;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Value};

use crate::address::Address;
use crate::answer::{array, bytes, number};
use crate::config::RedisConfig;
use crate::connect;
use crate::error::{self, ConnectError};
use crate::keys::Keys;

/// Slots of a Redis Cluster.
pub const SLOTS: u32 = 16_384;
/// The most primaries of a cluster that are asked.
const MAX_PRIMARIES: usize = 128;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// The servers that answered: the one server, or the primaries of a Redis Cluster, in the order of their slots.
    pub servers: Vec<Server>,
    /// The addresses that did not, with the reason: those of the configuration and primaries of the cluster.
    pub silent: Vec<Silent>,
    /// How many of the [`SLOTS`] have a primary, by what the first node of a cluster says. `None` of a single server, and
    /// where a cluster did not tell.
    pub slots: Option<u32>,
    /// Why the nodes of a cluster are not known.
    pub topology: Option<String>,
}

/// An address that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Silent {
    /// Host and port.
    pub address: String,
    /// What happened, and what to do.
    pub why: String,
    /// Whether the cluster names it as a primary: what it holds is out of reach then.
    pub primary: bool,
    /// Whether somebody answered there, but refused: a wrong password, a missing permission.
    pub refused: bool,
}

/// What one server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// Host and port.
    pub address: String,
    /// `redis` or `valkey`, or whatever it calls itself.
    pub product: String,
    /// Its version. Empty where it says none.
    pub version: String,
    /// Whether it is part of a Redis Cluster.
    pub cluster: bool,
    /// Whether it is a primary.
    pub primary: bool,
    /// Whether it is still loading its data.
    pub loading: bool,
    /// Replicas that follow it and are up to date.
    pub replicas: u32,
    /// Whether it keeps what it has on disk: an append-only file, or snapshots. `None` where the user may not read it.
    pub persistent: Option<bool>,
    /// Memory limit in bytes; 0 means none.
    pub maxmemory: u64,
    /// Memory in use, in bytes.
    pub used_memory: u64,
    /// Settings by their names; those that the user may not read, or that the server does not have, are absent.
    pub settings: BTreeMap<String, String>,
    /// How far its clock is ahead of this machine's, in milliseconds, give or take [`Server::clock_uncertainty`].
    pub clock_ahead_millis: Option<i64>,
    /// Half of the time that asking took.
    pub clock_uncertainty: Duration,
    /// What the user may do.
    pub permissions: Permissions,
}

/// What the Redis user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permissions {
    /// The user's name, where it is known.
    pub user: Option<String>,
    /// How it was found out.
    pub tested: Tested,
    /// What the adapter needs and the user may not do.
    pub missing: Vec<Missing>,
}

/// How permissions were found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tested {
    /// By `ACL DRYRUN`.
    DryRun,
    /// By queueing the commands in a transaction that was discarded.
    Queued,
    /// By carrying them out on keys of the survey's own, which were deleted.
    Executed,
}

/// A permission that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// A command, in lower case.
    Command(String),
    /// The keys that begin with this.
    Keys(String),
    /// The channels of the bus that begin with this.
    Channels(String),
}

/// Asks the server at each address of the configuration until one answers, and, of a Redis Cluster, every primary. Each
/// step is bounded by the time-outs of the configuration.
///
/// Cancel safety: dropping it leaves nothing behind, except with [`Tested::Executed`], where keys of the survey may stay
/// until they expire, 60 s later.
///
/// # Errors
/// When a setting is wrong. A Redis that does not answer is no error but a finding.
pub async fn survey(config: &RedisConfig) -> Result<Survey, ConnectError> {
    config.check()?;
    let keys = Keys::new(&config.prefix, &config.cluster)?;
    let mut found = Survey {
        servers: Vec::new(),
        silent: Vec::new(),
        slots: None,
        topology: None,
    };
    let mut first = None;
    for seed in &config.seeds {
        match Asked::connect(config, seed).await {
            Ok(asked) if first.is_none() => first = Some(asked),
            // Each address is tried, since any one of them must do when the others are away.
            Ok(_) => {}
            Err(silent) => found.silent.push(silent),
        }
    }
    let Some(mut first) = first else {
        return Ok(found);
    };
    let server = server::ask(&mut first, &keys).await;
    let server = match server {
        Ok(server) => server,
        Err(silent) => {
            found.silent.push(silent);
            return Ok(found);
        }
    };
    if !server.cluster {
        found.servers.push(server);
        return Ok(found);
    }
    match first.slots().await {
        Err(why) => {
            found.topology = Some(why);
            found.servers.push(server);
        }
        Ok(slots) => {
            found.slots = Some(slots.covered);
            for primary in slots.primaries.into_iter().take(MAX_PRIMARIES) {
                let asked = match Asked::connect(config, &primary).await {
                    Ok(mut asked) => server::ask(&mut asked, &keys).await,
                    Err(silent) => Err(silent),
                };
                match asked {
                    Ok(server) => found.servers.push(server),
                    Err(silent) => {
                        // It may be an address of the configuration, too.
                        found.silent.retain(|known| known.address != silent.address);
                        found.silent.push(Silent {
                            primary: true,
                            ..silent
                        });
                    }
                }
            }
        }
    }
    Ok(found)
}

/// A server and a connection to it that nobody else uses.
struct Asked {
    address: Address,
    config: RedisConfig,
    connection: redis::aio::MultiplexedConnection,
}

struct Slots {
    primaries: Vec<Address>,
    covered: u32,
}

impl Asked {
    async fn connect(config: &RedisConfig, address: &Address) -> Result<Self, Silent> {
        let silent = |error: authmesh::ports::PortError| {
            let refused = matches!(error, authmesh::ports::PortError::Refused(_));
            Silent {
                address: address.to_string(),
                why: ConnectError::from(error).to_string(),
                primary: false,
                refused,
            }
        };
        let client = connect::client(config, address).map_err(silent)?;
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout));
        let peer = format!("Redis at {address}");
        let connecting = client.get_multiplexed_async_connection_with_config(&settings);
        let connection = match tokio::time::timeout(config.connect_timeout, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(silent(error::connecting(&peer, &error))),
            Err(_) => {
                return Err(silent(authmesh::ports::PortError::Unavailable(format!(
                    "{peer} cannot be reached: no connection within {:?}",
                    config.connect_timeout
                ))));
            }
        };
        Ok(Self {
            address: address.clone(),
            config: config.clone(),
            connection,
        })
    }

    fn silent(&self, error: &redis::RedisError) -> Silent {
        let peer = format!("Redis at {}", self.address);
        let error = error::unanswered(&peer, error).error;
        let refused = matches!(error, authmesh::ports::PortError::Refused(_));
        Silent {
            address: self.address.to_string(),
            why: ConnectError::from(error).to_string(),
            primary: false,
            refused,
        }
    }

    /// The primaries, each once, in the order of their first slot.
    async fn slots(&mut self) -> Result<Slots, String> {
        let answer = redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query_async::<Value>(&mut self.connection)
            .await
            .map_err(|error| self.silent(&error).why)?;
        parse_slots(answer, &self.address).ok_or_else(|| {
            format!(
                "Redis at {} gave an answer to CLUSTER SLOTS that could not be read",
                self.address
            )
        })
    }
}

fn parse_slots(answer: Value, asked: &Address) -> Option<Slots> {
    let mut ranges: Vec<(i64, Address)> = Vec::new();
    let mut covered = 0_u32;
    for range in array(answer)? {
        let mut parts = array(range)?.into_iter();
        let (from, to) = (number(&parts.next()?)?, number(&parts.next()?)?);
        covered = covered.saturating_add(u32::try_from(to.checked_sub(from)?.checked_add(1)?).ok()?);
        let mut primary = array(parts.next()?)?.into_iter();
        // No host means the one that was asked (Redis' documentation of CLUSTER SLOTS).
        let host = bytes(primary.next()?).and_then(|host| String::from_utf8(host).ok());
        let host = host.filter(|host| !host.is_empty() && host != "?");
        let port = u16::try_from(number(&primary.next()?)?).ok()?;
        let host = host.unwrap_or_else(|| asked.host.clone());
        ranges.push((from, Address::new(host, port)));
    }
    ranges.sort();
    let mut primaries = Vec::new();
    for (_, address) in ranges {
        if !primaries.contains(&address) {
            primaries.push(address);
        }
    }
    Some(Slots { primaries, covered })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn node(host: &str, port: i64) -> Value {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        Value::Array(vec![text(host), Value::Int(port), text("id"), Value::Array(vec![])])
    }

    fn range(from: i64, to: i64, nodes: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(from), Value::Int(to)], nodes].concat())
    }

    #[test]
    fn primaries_are_found_once_and_in_order() {
        let asked = Address::new("seed", 1);
        let answer = Value::Array(vec![
            range(100, 199, vec![node("b", 2), node("r", 9)]),
            range(0, 99, vec![node("", 1)]),
            range(200, 200, vec![node("seed", 1)]),
        ]);
        let slots = parse_slots(answer, &asked).unwrap();
        assert_eq!(slots.primaries, [Address::new("seed", 1), Address::new("b", 2)]);
        assert_eq!(slots.covered, 201);
        for bad in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(5, i64::MIN, vec![node("a", 1)])]),
            Value::Array(vec![range(0, 1, vec![node("a", 70_000)])]),
        ] {
            assert!(parse_slots(bad, &asked).is_none());
        }
    }
}
