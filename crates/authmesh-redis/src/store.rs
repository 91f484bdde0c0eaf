//! The second level: one key per entry, one per counter.

use std::time::Duration;

use authmesh::ports::{BoxFuture, HoldOutcome, LeaseOutcome, PortError, Store, StoreRead};
use authmesh_proto::ident::{EntryName, Incarnation, Nonce};
use authmesh_proto::record::{Content, Stored};
use redis::Value;

use crate::RedisAdapter;
use crate::answer::{array, bytes, fields, head, number, unreadable};
use crate::link::{Call, Place, Script};

/// The longest value, in bytes. A sealed one of the protocol is far below.
const MAX_VALUE: usize = 1 << 20;
/// Longer times are cut to this; the protocol's are at most a day.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// How often a waiter looks whether its lease is gone: this first, then twice as long each time, up to [`SLOWEST_LOOK`].
const FIRST_LOOK: Duration = Duration::from_millis(5);
const SLOWEST_LOOK: Duration = Duration::from_millis(50);

impl Store for RedisAdapter {
    fn read(&self, name: EntryName) -> BoxFuture<'_, Result<StoreRead, PortError>> {
        Box::pin(async move {
            // Two commands of one key each, and not one script of two: that is refused while the slot is moving. The value
            // first: what the head tells about it is then not older than it.
            let channel = name.slot().channel;
            // MGET, to which a key of another type is no value and no error.
            let mut value = redis::cmd("MGET");
            value.arg(self.keys().entry(&name));
            let commands = [value, self.last_of(channel)];
            let answers = self.link().commands(Place::of(channel), &commands).await?;
            let [value, last] = answers.try_into().map_err(|_| unreadable(self.link().peer()))?;
            parse_read(&name, last?, value?).ok_or_else(|| unreadable(self.link().peer()))
        })
    }

    fn lease(
        &self,
        name: EntryName,
        nonce: Nonce,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<LeaseOutcome, PortError>> {
        Box::pin(async move {
            let mut lease = self.in_channel(&self.scripts().lease, &name);
            lease = lease.arg(nonce.as_bytes()).number(millis(ttl));
            if let Some(over) = over {
                lease = lease.arg(over);
            }
            let answer = self.link().invoke(at(&name), &lease).await?;
            parse_lease(answer).ok_or_else(|| unreadable(self.link().peer()))
        })
    }

    fn renew(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            let renew = self.in_channel(&self.scripts().renew, &name);
            let renew = renew.arg(nonce.as_bytes()).number(millis(ttl));
            self.yes_or_no(&name, &renew).await
        })
    }

    fn store(
        &self,
        name: EntryName,
        nonce: Nonce,
        value: Vec<u8>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            short_enough(&value)?;
            let store = self.in_channel(&self.scripts().store, &name);
            let store = store.arg(nonce.as_bytes()).number(millis(ttl)).arg(value);
            self.yes_or_no(&name, &store).await
        })
    }

    fn release(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let release = self.in_channel(&self.scripts().release, &name);
            self.yes_or_no(&name, &release.arg(nonce.as_bytes())).await.map(drop)
        })
    }

    fn hold(&self, name: EntryName, nonce: Nonce, ttl: Duration) -> BoxFuture<'_, Result<HoldOutcome, PortError>> {
        Box::pin(async move {
            let hold = self.in_channel(&self.scripts().hold, &name);
            let hold = hold.arg(nonce.as_bytes()).number(millis(ttl));
            let answer = bytes(self.link().invoke(at(&name), &hold).await?);
            match answer.as_deref() {
                Some(b"T") => Ok(HoldOutcome::Taken),
                Some(b"R") => Ok(HoldOutcome::Renewed),
                Some(b"C") => Ok(HoldOutcome::Crowded),
                Some(b"U") => Ok(HoldOutcome::Unborn),
                _ => Err(unreadable(self.link().peer())),
            }
        })
    }

    fn unhold(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let unhold = self.in_channel(&self.scripts().unhold, &name);
            self.yes_or_no(&name, &unhold.arg(nonce.as_bytes())).await.map(drop)
        })
    }

    /// Looks again and again: after 5 ms, then twice as long each time, up to every 50 ms. A waiter costs the server at most
    /// 20 reads a second, for as long as the lease lives and the caller waits.
    fn gone(&self, name: EntryName, nonce: Nonce) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            let mut pause = FIRST_LOOK;
            while stands(&self.read(name).await?, nonce) {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(SLOWEST_LOOK);
            }
            Ok(())
        })
    }

    fn insert_if_absent(
        &self,
        name: EntryName,
        value: Vec<u8>,
        over: Option<Vec<u8>>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async move {
            short_enough(&value)?;
            let mut insert = self.in_channel(&self.scripts().insert, &name);
            insert = insert.number(millis(ttl)).arg(value);
            if let Some(over) = over {
                insert = insert.arg(over);
            }
            match number(&self.link().invoke(at(&name), &insert).await?) {
                Some(1) => Ok(true),
                Some(0) => Ok(false),
                Some(-1) => Err(PortError::Refused("the channel has no log yet".into())),
                _ => Err(unreadable(self.link().peer())),
            }
        })
    }

    fn increment(&self, name: EntryName, by: i64, ttl: Duration) -> BoxFuture<'_, Result<i64, PortError>> {
        Box::pin(async move {
            let increment = self.scripts().increment.call().key(self.keys().counter(&name));
            let increment = increment.number(by).number(millis(ttl));
            let sum = bytes(self.link().invoke(at(&name), &increment).await?);
            sum.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok())
                .ok_or_else(|| unreadable(self.link().peer()))
        })
    }
}

impl RedisAdapter {
    fn in_channel<'a>(&self, script: &'a Script, name: &EntryName) -> Call<'a> {
        let channel = name.slot().channel;
        let call = script.call().key(self.keys().log(channel));
        call.key(self.keys().entry(name)).arg([channel.number()])
    }

    async fn yes_or_no(&self, name: &EntryName, call: &Call<'_>) -> Result<bool, PortError> {
        match number(&self.link().invoke(at(name), call).await?) {
            Some(1) => Ok(true),
            Some(0) => Ok(false),
            _ => Err(unreadable(self.link().peer())),
        }
    }
}

fn at(name: &EntryName) -> Place {
    Place::of(name.slot().channel)
}

/// Whole milliseconds, rounded up, at least one: Redis takes no shorter time.
fn millis(ttl: Duration) -> u64 {
    let ttl = ttl.min(LONGEST);
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000))
        .unwrap_or(u64::MAX)
        .max(1)
}

fn short_enough(value: &[u8]) -> Result<(), PortError> {
    if value.len() <= MAX_VALUE {
        return Ok(());
    }
    Err(PortError::Refused(format!(
        "a value has at most {MAX_VALUE} bytes, this one {}",
        value.len()
    )))
}

/// Whether the lease is held, for the log that the channel has now.
fn stands(read: &StoreRead, nonce: Nonce) -> bool {
    let (Some(head), Some(value)) = (&read.head, &read.value) else {
        return false;
    };
    Stored::decode(value).is_ok_and(|stored| {
        (stored.incarnation, stored.generation) == (head.incarnation, head.generation)
            && stored.content == Content::Lease(nonce)
    })
}

fn parse_read(name: &EntryName, last: Value, value: Value) -> Option<StoreRead> {
    let [value] = fields(value)?;
    Some(StoreRead {
        head: head(name.slot().channel, last)?,
        value: match value {
            Value::Nil => None,
            value => Some(bytes(value)?),
        },
    })
}

fn parse_lease(answer: Value) -> Option<LeaseOutcome> {
    let mut parts = array(answer)?.into_iter();
    match &bytes(parts.next()?)?[..] {
        b"U" => Some(LeaseOutcome::Unborn),
        b"P" => Some(LeaseOutcome::Present),
        b"B" => Some(LeaseOutcome::OnHold),
        b"H" => Some(LeaseOutcome::Held(Nonce(bytes(parts.next()?)?.try_into().ok()?))),
        b"T" => {
            let identity = bytes(parts.next()?)?;
            let (incarnation, generation) = identity.split_first_chunk()?;
            Some(LeaseOutcome::Taken(
                Incarnation(*incarnation),
                u64::from_be_bytes(generation.try_into().ok()?),
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_time_is_never_none_and_never_more_than_the_server_takes() {
        assert_eq!(millis(Duration::ZERO), 1);
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_micros(1001)), 2);
        assert_eq!(millis(Duration::from_secs(3)), 3000);
        assert_eq!(millis(Duration::MAX), 366 * 24 * 3_600_000);
    }
}
