//! One server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::{RedisError, Value};

use super::{Asked, Server, Silent, permissions};
use crate::answer::{array, bytes};
use crate::keys::Keys;

/// Settings that decide what a cluster of nodes can rely on.
const SETTINGS: [&str; 7] = [
    "maxmemory-policy",
    "min-replicas-to-write",
    "min-replicas-max-lag",
    "cluster-node-timeout",
    "cluster-require-full-coverage",
    "appendonly",
    "save",
];
/// How often the clock is asked. The quickest answer says most.
const CLOCK_ROUNDS: usize = 3;

pub(super) async fn ask(asked: &mut Asked, keys: &Keys) -> Result<Server, Silent> {
    let info: Result<String, RedisError> = redis::cmd("INFO").query_async(&mut asked.connection).await;
    let info = info.map_err(|error| asked.silent(&error))?;
    let info = Info(&info);
    let mut settings = settings(asked).await;
    if let Some(policy) = info.field("maxmemory_policy") {
        settings
            .entry("maxmemory-policy".into())
            .or_insert_with(|| policy.to_owned());
    }
    let clock = clock(asked).await;
    let cluster = info.field("cluster_enabled") == Some("1");
    let product = info.field("server_name").unwrap_or("redis");
    let version = info.field("valkey_version").or_else(|| info.field("redis_version"));
    let persistent = if info.field("aof_enabled") == Some("1") {
        Some(true)
    } else {
        settings.get("save").map(|save| !save.is_empty())
    };
    Ok(Server {
        address: asked.address.to_string(),
        product: product.to_owned(),
        version: version.unwrap_or_default().to_owned(),
        cluster,
        primary: info.field("role") == Some("master"),
        loading: info.field("loading") == Some("1"),
        replicas: info.replicas(),
        persistent,
        maxmemory: info.number("maxmemory"),
        used_memory: info.number("used_memory"),
        settings,
        clock_ahead_millis: clock.map(|(ahead, _)| ahead),
        clock_uncertainty: clock.map(|(_, uncertainty)| uncertainty).unwrap_or_default(),
        permissions: permissions::ask(asked, keys, cluster).await?,
    })
}

/// The answer of INFO.
struct Info<'a>(&'a str);

impl<'a> Info<'a> {
    fn field(&self, name: &str) -> Option<&'a str> {
        self.0
            .lines()
            .find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':'))
    }

    fn number(&self, name: &str) -> u64 {
        self.field(name).and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// `slave0:ip=...,port=...,state=online,...`
    fn replicas(&self) -> u32 {
        let online = self.0.lines().filter(|line| {
            line.strip_prefix("slave")
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(index, fields)| {
                    index.bytes().all(|b| b.is_ascii_digit()) && fields.split(',').any(|field| field == "state=online")
                })
        });
        u32::try_from(online.count()).unwrap_or(u32::MAX)
    }
}

/// What may not be read is absent.
async fn settings(asked: &mut Asked) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in SETTINGS {
        let answer = redis::cmd("CONFIG")
            .arg("GET")
            .arg(name)
            .query_async::<Value>(&mut asked.connection)
            .await;
        let value = match answer {
            Ok(Value::Map(pairs)) => pairs.into_iter().next().map(|(_, value)| value),
            Ok(answer) => array(answer).and_then(|pair| pair.into_iter().nth(1)),
            // The first refusal is that of the command.
            Err(_) => return found,
        };
        let value = value.and_then(bytes).and_then(|value| String::from_utf8(value).ok());
        if let Some(value) = value {
            found.insert(name.to_owned(), value);
        }
    }
    found
}

/// How far the server's clock is ahead in milliseconds, and half of the time that the quickest answer took.
async fn clock(asked: &mut Asked) -> Option<(i64, Duration)> {
    let mut best: Option<(i64, Duration)> = None;
    for _ in 0..CLOCK_ROUNDS {
        let (before, began) = (SystemTime::now(), Instant::now());
        let answer = redis::cmd("TIME").query_async::<Value>(&mut asked.connection).await;
        let half = began.elapsed() / 2;
        let mut parts = array(answer.ok()?)?.into_iter().map(|part| {
            let text = String::from_utf8(bytes(part)?).ok()?;
            text.parse::<u64>().ok()
        });
        let (seconds, micros) = (parts.next()??, parts.next()??);
        let theirs = i64::try_from(seconds.checked_mul(1000)?.checked_add(micros / 1000)?).ok()?;
        let ours = (before + half).duration_since(UNIX_EPOCH).ok()?.as_millis();
        let ahead = theirs.checked_sub(i64::try_from(ours).ok()?)?;
        if best.is_none_or(|(_, uncertainty)| half < uncertainty) {
            best = Some((ahead, half));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replicas_that_are_up_to_date_count() {
        let info = Info(
            "role:master\r\nconnected_slaves:3\r\nslave0:ip=127.0.0.1,port=1,state=online,offset=1,lag=0\r\n\
             slave1:ip=127.0.0.1,port=2,state=wait_bgsave,offset=0,lag=0\r\nslave2:ip=a,port=3,state=online\r\n\
             slave_repl_offset:5\r\nmaxmemory:1024\r\nmaxmemory_human:1K\r\n",
        );
        assert_eq!(info.replicas(), 2);
        assert_eq!(info.field("role"), Some("master"));
        assert_eq!((info.number("maxmemory"), info.number("absent")), (1024, 0));
    }
}
