//! Which server serves which slot.

use std::collections::BTreeSet;

use authmesh_proto::ident::CHANNELS;
use redis::Value;

use super::place::Place;
use crate::address::Address;
use crate::answer::{array, bytes, number};

/// Servers of a cluster that are remembered. Redis itself recommends no more than 1,000.
pub(super) const MAX_SERVERS: usize = 1024;

/// Who serves what, as some server said at some time. It may be out of date; whoever is asked then says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Map {
    /// One server, not a cluster.
    pub(crate) single: bool,
    /// By place: channels, then members.
    primaries: Vec<Option<Address>>,
    /// Everybody who can be asked for a newer map.
    pub(crate) known: BTreeSet<Address>,
}

impl Map {
    pub(crate) fn single(address: &Address) -> Self {
        Self {
            single: true,
            primaries: vec![Some(address.clone()); CHANNELS + 1],
            known: BTreeSet::from([address.clone()]),
        }
    }

    /// Reads the answer of `CLUSTER SLOTS`. `asked` is who gave it: a server that does not know its own address leaves it
    /// out. `None`: unreadable, or nobody serves anything.
    pub(crate) fn parse(asked: &Address, slots: Value) -> Option<Self> {
        let mut map = Self {
            single: false,
            primaries: vec![None; CHANNELS + 1],
            known: BTreeSet::from([asked.clone()]),
        };
        for range in array(slots)? {
            let mut parts = array(range)?.into_iter();
            let first = number(&parts.next()?)?;
            let last = number(&parts.next()?)?;
            let mut primary = None;
            for server in parts {
                let address = address(asked, server)?;
                if map.known.len() < MAX_SERVERS {
                    map.known.insert(address.clone());
                }
                primary.get_or_insert(address);
            }
            for (place, holder) in Place::all().zip(&mut map.primaries) {
                if (first..=last).contains(&i64::from(place.slot())) {
                    holder.clone_from(&primary);
                }
            }
        }
        map.primaries.iter().any(Option::is_some).then_some(map)
    }

    pub(crate) fn primary(&self, place: Place) -> Option<&Address> {
        self.primaries.get(place.index())?.as_ref()
    }

    /// With one place served by another server.
    pub(crate) fn with(&self, place: Place, address: &Address) -> Self {
        let mut map = self.clone();
        if let Some(holder) = map.primaries.get_mut(place.index()) {
            *holder = Some(address.clone());
        }
        map.known.insert(address.clone());
        map
    }
}

/// Host (nothing, or `?`: the one that was asked), port, and more.
fn address(asked: &Address, server: Value) -> Option<Address> {
    let mut parts = array(server)?.into_iter();
    let host = match parts.next()? {
        Value::Nil => String::new(),
        host => String::from_utf8(bytes(host)?).ok()?,
    };
    let port = u16::try_from(number(&parts.next()?)?).ok()?;
    Some(named(asked, &host, port))
}

/// The target of a redirection, `HOST:PORT`; without a host it is the one that was asked.
pub(crate) fn target(asked: &Address, text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some(named(asked, host.trim_matches(['[', ']']), port.parse().ok()?))
}

fn named(asked: &Address, host: &str, port: u16) -> Address {
    if host.is_empty() || host == "?" {
        Address::new(asked.host.clone(), port)
    } else {
        Address::new(host, port)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use authmesh_proto::ident::ChannelId;

    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn server(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])])
    }

    fn range(first: i64, last: i64, servers: Vec<Value>) -> Value {
        let mut parts = vec![Value::Int(first), Value::Int(last)];
        parts.extend(servers);
        Value::Array(parts)
    }

    fn channel(n: u8) -> Place {
        Place::of(ChannelId::new(n).unwrap())
    }

    #[test]
    fn the_first_server_of_a_range_is_its_primary_and_all_are_known() {
        let asked = Address::new("a", 1);
        let slots = Value::Array(vec![
            range(0, 8191, vec![server(text(""), 7), server(text("b"), 8)]),
            range(8192, 16383, vec![server(Value::Nil, 9), server(text("?"), 10)]),
        ]);
        let map = Map::parse(&asked, slots).unwrap();
        assert_eq!(map.primary(channel(0)), Some(&Address::new("a", 7)));
        assert_eq!(map.primary(channel(31)), Some(&Address::new("a", 7)));
        assert_eq!(map.primary(channel(32)), Some(&Address::new("a", 9)));
        assert_eq!(map.known.len(), 5);
        let moved = map.with(channel(0), &Address::new("c", 3));
        assert_eq!(moved.primary(channel(0)), Some(&Address::new("c", 3)));
        assert_eq!(moved.primary(channel(1)), map.primary(channel(1)));
    }

    #[test]
    fn a_slot_that_nobody_serves_has_no_primary() {
        let map = Map::parse(
            &Address::new("a", 1),
            Value::Array(vec![range(0, 8191, vec![server(text("a"), 1)])]),
        )
        .unwrap();
        assert_eq!(map.primary(channel(63)), None);
    }

    #[test]
    fn what_no_server_says_is_no_map() {
        let asked = Address::new("a", 1);
        for value in [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![range(0, 16383, vec![Value::Nil])]),
            Value::Array(vec![range(0, 16383, vec![server(text("a"), 70_000)])]),
        ] {
            assert_eq!(Map::parse(&asked, value), None);
        }
    }

    #[test]
    fn a_redirection_without_a_host_stays_at_the_one_that_was_asked() {
        let asked = Address::new("a", 1);
        assert_eq!(target(&asked, "b:2"), Some(Address::new("b", 2)));
        assert_eq!(target(&asked, ":2"), Some(Address::new("a", 2)));
        assert_eq!(target(&asked, "::1:2"), Some(Address::new("::1", 2)));
        assert_eq!(target(&asked, "[::1]:2"), Some(Address::new("::1", 2)));
        assert_eq!(target(&asked, "b"), None);
    }
}
