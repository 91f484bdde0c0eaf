//! The values behind the vectors.

use authmesh_proto::crypto::{KeyRing, ScopeKind};
use authmesh_proto::ident::{
    ChannelId, Digest, EntryName, Incarnation, Nonce, Origin, Position, ScopeId, StatementName, StreamId,
};
use authmesh_proto::keys::{KeySet, Ticket};
use authmesh_proto::log::{Head, LogEntry, Payload};
use authmesh_proto::member::MemberRecord;
use authmesh_proto::record::{Record, TagPosition};
use authmesh_proto::statement::{Body, Mark, MarkKey, Note, Statement};

use super::seq;

pub const CLUSTER: &str = "orders";

pub fn ring() -> KeyRing {
    KeyRing::new([0xa0; 32], [[0x0b; 32], [0x0c; 32]]).unwrap()
}

pub fn name() -> EntryName {
    // 0x0e >> 2 is channel 3, 0x0f >> 2 is stripe 3.
    EntryName(seq(0x0e))
}

pub fn mark() -> Mark {
    Mark {
        key: MarkKey {
            // Channel 5.
            scope: ScopeId(seq(0x14)),
            except: Some(ScopeId(seq(0x90))),
        },
        kind: ScopeKind::Session,
        not_before: 1_700_000_000,
        expires: 472_223 * 3600,
        note: Note {
            at: 1_700_000_001,
            by: "jo".into(),
            why: "lost phone \u{1f4f1}".into(),
        },
    }
}

fn named(channel: u8, counter: u64, body: Body) -> Statement {
    Statement {
        name: StatementName {
            origin: Origin(seq(0x70)),
            channel: ChannelId::new(channel).unwrap(),
            counter,
        },
        body,
    }
}

pub fn drop_statement() -> Statement {
    named(3, 250, Body::Drop(name()))
}

pub fn mark_statement() -> Statement {
    named(5, 1 << 40, Body::Mark(mark()))
}

pub fn key_set_mark() -> Mark {
    Mark {
        key: MarkKey {
            // Channel 6.
            scope: ScopeId(seq(0x18)),
            except: None,
        },
        kind: ScopeKind::KeySet,
        // A generation, not a time.
        not_before: 300,
        expires: 472_223 * 3600,
        note: Note {
            at: 1_700_000_001,
            ..Note::default()
        },
    }
}

pub fn key_set_statement() -> Statement {
    named(6, 7, Body::Mark(key_set_mark()))
}

pub fn key_set() -> KeySet {
    KeySet {
        generation: 300,
        asked: 1_700_000_002,
        max_age: Some(600),
        etag: Some("\"v7\"".into()),
        by: Origin(seq(0x70)),
        document: br#"{"keys":[]}"#.to_vec(),
    }
}

pub fn ticket() -> Ticket {
    Ticket {
        lease: Nonce(seq(0x20)),
        failed: Some(1_500),
    }
}

pub fn position(n: u8) -> Position {
    Position {
        id: StreamId {
            millis: 0x0000_018b_cfe5_6800,
            sequence: u64::from(n),
        },
        nonce: Nonce(seq(0x20 + n)),
    }
}

pub fn entry(previous: Option<Position>, payload: Payload) -> LogEntry {
    LogEntry {
        channel: ChannelId::new(63).unwrap(),
        head: Head {
            incarnation: Incarnation(seq(0x40)),
            generation: 0x0102,
            position: position(2),
            previous,
            root: Digest(seq(0x60)),
        },
        payload,
    }
}

pub fn record() -> Record {
    Record {
        filled_at: 1_700_000_002,
        tags: vec![
            TagPosition {
                tag: ScopeId(seq(0x30)),
                applied: Some((Incarnation(seq(0x40)), position(1))),
            },
            TagPosition {
                tag: ScopeId(seq(0x50)),
                applied: None,
            },
        ],
        value: br#"{"a":1}"#.to_vec(),
    }
}

pub fn member() -> MemberRecord {
    MemberRecord {
        name: "orders-7f".into(),
        address: "10.0.0.7:7946".into(),
        version: "0.1.0".into(),
        wire_versions: vec![1],
        statement_kinds: vec![1, 2, 700],
        sequence: 251,
        gossip: "10.0.0.7:7947".into(),
        view: vec![[0x11; 8], [0x22; 8]],
    }
}
