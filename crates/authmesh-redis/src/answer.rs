//! Reading what Redis answers. Nothing in it is trusted.

use authmesh::ports::PortError;
use authmesh_proto::ident::{ChannelId, Nonce, Position, StreamId};
use authmesh_proto::log::{Head, LogEntry};
use redis::Value;

/// Redis answered with something that no server of its kind says: what was asked may have been done.
pub(crate) fn unreadable(peer: &str) -> PortError {
    PortError::Unknown(format!(
        "{peer} gave an answer that could not be read: something between is no Redis, or alters it"
    ))
}

pub(crate) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// An array of exactly so many values.
pub(crate) fn fields<const N: usize>(value: Value) -> Option<[Value; N]> {
    array(value)?.try_into().ok()
}

/// The fields of a hash, with their values: a list of both in turn where a script answers, else a map.
pub(crate) fn pairs(value: Value) -> Option<Vec<(Value, Value)>> {
    if let Value::Map(pairs) = value {
        return Some(pairs);
    }
    let (mut flat, mut pairs) = (array(value)?.into_iter(), Vec::new());
    while let Some(field) = flat.next() {
        pairs.push((field, flat.next()?));
    }
    Some(pairs)
}

pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

pub(crate) fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

/// One entry of a stream: its ID, and what it says if it is an entry of this channel's log in its own place.
pub(crate) struct Found {
    pub(crate) id: StreamId,
    pub(crate) entry: Option<LogEntry>,
}

impl Found {
    /// Its position. Of garbage only the ID is known.
    pub(crate) fn position(&self) -> Position {
        self.entry.as_ref().map_or(
            Position {
                id: self.id,
                nonce: Nonce([0; 16]),
            },
            |entry| entry.head.position,
        )
    }
}

/// The answer of XRANGE and XREVRANGE.
pub(crate) fn stream(channel: ChannelId, value: Value) -> Option<Vec<Found>> {
    array(value)?.into_iter().map(|value| found(channel, value)).collect()
}

fn found(channel: ChannelId, value: Value) -> Option<Found> {
    let [id, content] = fields(value)?;
    let id = stream_id(&bytes(id)?)?;
    let entry = fields(content).and_then(|[name, content]| {
        let (name, content) = (bytes(name)?, bytes(content)?);
        let entry = LogEntry::decode(&content).ok()?;
        (name == b"e" && entry.channel == channel && entry.head.position.id == id).then_some(entry)
    });
    if entry.is_none() {
        tracing::warn!(
            target: "authmesh::audit", %channel, ?id,
            "something in the log of the channel is no log entry; it is passed over"
        );
    }
    Some(Found { id, entry })
}

/// The head, from the answer of `XREVRANGE log + - COUNT 1`.
pub(crate) fn head(channel: ChannelId, last: Value) -> Option<Option<Head>> {
    let last = stream(channel, last)?.into_iter().next();
    Some(last.and_then(|found| found.entry).map(|entry| entry.head))
}

fn stream_id(text: &[u8]) -> Option<StreamId> {
    let (millis, sequence) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some(StreamId {
        millis: millis.parse().ok()?,
        sequence: sequence.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use authmesh_proto::ident::{Digest, Incarnation};
    use authmesh_proto::log::Payload;

    use super::*;

    fn entry(millis: u64) -> LogEntry {
        LogEntry {
            channel: ChannelId::new(3).unwrap(),
            head: Head {
                incarnation: Incarnation([1; 16]),
                generation: 2,
                position: Position {
                    id: StreamId { millis, sequence: 4 },
                    nonce: Nonce([5; 16]),
                },
                previous: None,
                root: Digest::EMPTY,
            },
            payload: Payload::Bare,
        }
    }

    fn text(text: impl AsRef<[u8]>) -> Value {
        Value::BulkString(text.as_ref().to_vec())
    }

    fn last(id: &str, parts: Vec<Value>) -> Value {
        Value::Array(vec![Value::Array(vec![text(id), Value::Array(parts)])])
    }

    #[test]
    fn a_head_counts_only_in_its_own_place() {
        let (own, other) = (ChannelId::new(3).unwrap(), ChannelId::new(4).unwrap());
        let bytes = entry(7).encode();
        let at = |id| last(id, vec![text("e"), text(&bytes)]);
        assert_eq!(head(own, at("7-4")), Some(Some(entry(7).head)));
        assert_eq!(head(other, at("7-4")), Some(None), "copied from another channel");
        assert_eq!(head(own, at("8-4")), Some(None), "copied to another ID");
        assert_eq!(head(own, last("7-4", vec![text("x"), text(&bytes)])), Some(None));
        assert_eq!(head(own, last("7-4", vec![text("e"), text("garbage")])), Some(None));
        assert_eq!(head(own, last("7-4", vec![])), Some(None));
        assert_eq!(head(own, Value::Array(vec![])), Some(None), "no log");
    }

    #[test]
    fn what_no_server_says_is_no_answer() {
        let own = ChannelId::new(3).unwrap();
        for value in [
            Value::Nil,
            Value::Okay,
            last("7", vec![]),
            last("7-x", vec![]),
            Value::Array(vec![Value::Int(1)]),
        ] {
            assert!(head(own, value).is_none());
        }
    }
}
