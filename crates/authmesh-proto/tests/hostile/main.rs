//! Bytes from anybody: every decoder reads what its encoder wrote, and survives everything else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hot;
mod keys;

use authmesh_proto::crypto::{Context, ENVELOPE_OVERHEAD, KeyRing, Kind, OpenError, ScopeKind, Sealer};
use authmesh_proto::ident::{
    ChannelId, Digest, EntryName, Incarnation, Nonce, Origin, Position, ScopeId, StatementName, StreamId,
};
use authmesh_proto::log::{Head, LogEntry, MAX_PAYLOAD, Payload};
use authmesh_proto::member::MemberRecord;
use authmesh_proto::record::{Content, Holder, MAX_HOLDERS, Record, Stored, TagPosition};
use authmesh_proto::statement::{Body, MAX_NOTE_BYTES, Mark, MarkKey, Note, Statement, StatementError};
use authmesh_proto::wire::{self, DECODE_LIMIT, WireError};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const KINDS: [ScopeKind; 8] = [
    ScopeKind::Token,
    ScopeKind::JwtId,
    ScopeKind::Session,
    ScopeKind::Subject,
    ScopeKind::Client,
    ScopeKind::SigningKey,
    ScopeKind::Issuer,
    ScopeKind::Tag,
];

fn any_channel() -> impl Strategy<Value = ChannelId> {
    (0_u8..64).prop_map(|n| ChannelId::new(n).unwrap())
}

fn any_position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u64>(), any::<[u8; 16]>()).prop_map(|(millis, sequence, nonce)| Position {
        id: StreamId { millis, sequence },
        nonce: Nonce(nonce),
    })
}

fn any_mark() -> impl Strategy<Value = Mark> {
    let key = (any::<[u8; 16]>(), option::of(any::<[u8; 16]>()));
    let text = || "\\PC{0,60}";
    (
        key,
        0..KINDS.len(),
        any::<u64>(),
        0..u64::MAX / 3600,
        any::<u64>(),
        text(),
        text(),
    )
        .prop_map(|((scope, except), kind, not_before, hour, at, by, why)| Mark {
            key: MarkKey {
                scope: ScopeId(scope),
                except: except.map(ScopeId),
            },
            kind: KINDS[kind],
            not_before,
            expires: hour * 3600,
            note: Note { at, by, why },
        })
}

fn any_statement() -> impl Strategy<Value = Statement> {
    let body = prop_oneof![
        any::<[u8; 32]>().prop_map(|name| Body::Drop(EntryName(name))),
        any_mark().prop_map(Body::Mark),
    ];
    (any::<[u8; 16]>(), 1..=u64::MAX, body).prop_map(|(origin, counter, body)| Statement {
        name: StatementName {
            origin: Origin(origin),
            channel: body.slot().channel,
            counter,
        },
        body,
    })
}

fn any_entry() -> impl Strategy<Value = LogEntry> {
    let payload = prop_oneof![
        vec(any::<u8>(), 1..300).prop_map(Payload::Statement),
        vec(any::<u8>(), 0..300).prop_map(Payload::Bare),
        Just(Payload::Mint),
    ];
    let names = (any::<[u8; 16]>(), any::<u64>(), any::<[u8; 16]>());
    (
        any_channel(),
        names,
        any_position(),
        option::of(any_position()),
        payload,
    )
        .prop_map(
            |(channel, (incarnation, generation, root), position, previous, payload)| LogEntry {
                channel,
                head: Head {
                    incarnation: Incarnation(incarnation),
                    generation,
                    position,
                    previous,
                    root: Digest(root),
                },
                payload,
            },
        )
}

fn any_stored() -> impl Strategy<Value = Stored> {
    let content = prop_oneof![
        any::<[u8; 16]>().prop_map(|nonce| Content::Lease(Nonce(nonce))),
        (any::<u64>(), vec(any::<u8>(), 0..300)).prop_map(|(expires, sealed)| Content::Record { expires, sealed }),
        vec((any::<[u8; 16]>(), any::<u64>()), 1..=MAX_HOLDERS).prop_map(|holders| {
            let holder = |(nonce, until)| Holder {
                nonce: Nonce(nonce),
                until,
            };
            Content::Hold(holders.into_iter().map(holder).collect())
        }),
    ];
    (any::<[u8; 16]>(), any::<u64>(), content).prop_map(|(incarnation, generation, content)| Stored {
        incarnation: Incarnation(incarnation),
        generation,
        content,
    })
}

fn any_record() -> impl Strategy<Value = Record> {
    let applied = option::of((any::<[u8; 16]>(), any_position()));
    let tag = (any::<[u8; 16]>(), applied).prop_map(|(tag, applied)| TagPosition {
        tag: ScopeId(tag),
        applied: applied.map(|(incarnation, position)| (Incarnation(incarnation), position)),
    });
    (any::<u64>(), vec(tag, 0..8), vec(any::<u8>(), 0..600)).prop_map(|(filled_at, tags, value)| Record {
        filled_at,
        tags,
        value,
    })
}

fn any_member() -> impl Strategy<Value = MemberRecord> {
    let lists = (
        vec(any::<u8>(), 0..4),
        vec(any::<u16>(), 0..6),
        vec(any::<[u8; 8]>(), 0..4),
    );
    ("\\PC{0,20}", "\\PC{0,20}", "\\PC{0,20}", lists, any::<u64>()).prop_map(
        |(name, address, version, (wire_versions, statement_kinds, view), sequence)| MemberRecord {
            gossip: address.clone(),
            view,
            name,
            address,
            version,
            wire_versions,
            statement_kinds,
            sequence,
        },
    )
}

fn sealer() -> Sealer {
    Sealer::new(&KeyRing::new([1; 32], [[2; 32]]).unwrap(), "hostile")
}

/// What an attacker does to bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    /// A length that promises far more than there is, in every width that the encoding knows.
    Promise(usize, u8),
}

fn any_change() -> impl Strategy<Value = Change> {
    let at = || any::<usize>();
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        at().prop_map(Change::Cut),
        (at(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1_usize..40).prop_map(|(at, length)| Change::Remove(at, length)),
        (at(), 251_u8..=255).prop_map(|(at, width)| Change::Promise(at, width)),
    ]
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        let inside = |at: usize| at % (bytes.len() + 1);
        match change {
            Change::Set(at, byte) => {
                let at = inside(*at);
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Change::Cut(at) => bytes.truncate(inside(*at)),
            Change::Insert(at, new) => {
                let at = inside(*at);
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = inside(*at);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Change::Promise(at, width) => {
                let at = inside(*at);
                let end = (at + 1).min(bytes.len());
                bytes.splice(at..end, [&[*width][..], &[0xff; 8]].concat());
            }
        }
    }
    bytes
}

/// Every decoder on the same bytes. What one accepts must be a value that its encoder writes and it reads again.
fn feed(bytes: &[u8]) -> Result<(), TestCaseError> {
    macro_rules! stable {
        ($decode:expr, $encode:expr) => {
            if let Ok(value) = $decode(bytes) {
                prop_assert_eq!($decode(&$encode(&value)), Ok(value));
            }
        };
    }
    stable!(Statement::decode, Statement::encode);
    stable!(LogEntry::decode, LogEntry::encode);
    stable!(Stored::decode, Stored::encode);
    stable!(wire::decode::<Mark>, wire::encode);
    stable!(wire::decode::<Record>, wire::encode);
    stable!(wire::decode::<MemberRecord>, wire::encode);
    stable!(wire::decode::<EntryName>, wire::encode);
    stable!(wire::decode::<TagPosition>, wire::encode);
    // The fixed layouts have one form of each value only: nobody can write a second bell of the same entry.
    if let Ok(entry) = LogEntry::decode(bytes) {
        prop_assert_eq!(entry.encode(), bytes);
    }
    if let Ok(stored) = Stored::decode(bytes) {
        prop_assert_eq!(stored.encode(), bytes);
    }
    let sealer = sealer();
    prop_assert!(sealer.open(Kind::Statement, &Context::new(), bytes).is_err());
    let opened = Record::open(&sealer, &EntryName([0; 32]), (Incarnation([0; 16]), 0), 0, bytes);
    prop_assert!(opened.is_err());
    Ok(())
}

proptest! {
    #[test]
    fn statements_round_trip(statement in any_statement()) {
        prop_assert_eq!(Statement::decode(&statement.encode()), Ok(statement));
    }

    #[test]
    fn log_entries_round_trip(entry in any_entry()) {
        prop_assert_eq!(LogEntry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn stored_values_round_trip(stored in any_stored()) {
        prop_assert_eq!(Stored::decode(&stored.encode()), Ok(stored));
    }

    #[test]
    fn records_round_trip_sealed_and_plain(record in any_record(), name in any::<[u8; 32]>(), nonce in any::<[u8; 24]>()) {
        prop_assert_eq!(wire::decode::<Record>(&wire::encode(&record)), Ok(record.clone()));
        let (name, place) = (EntryName(name), (Incarnation([3; 16]), 4));
        let stored = record.seal(&sealer(), &name, place, 5, nonce);
        let Content::Record { expires, sealed } = stored.content else { panic!("a record was sealed") };
        prop_assert_eq!(Record::open(&sealer(), &name, place, expires, &sealed), Ok(record));
    }

    #[test]
    fn members_and_marks_round_trip(member in any_member(), mark in any_mark()) {
        prop_assert_eq!(wire::decode::<MemberRecord>(&wire::encode(&member)), Ok(member));
        prop_assert_eq!(wire::decode::<Mark>(&wire::encode(&mark)), Ok(mark));
    }

    #[test]
    fn decoders_survive_any_bytes(bytes in vec(any::<u8>(), 0..1_500)) {
        feed(&bytes)?;
    }

    #[test]
    fn decoders_survive_bytes_that_begin_well(bytes in vec(any::<u8>(), 0..400), kind in 0_u8..4) {
        // Past the version and the kind, where random bytes seldom come.
        feed(&[&[1, kind % 64, kind][..], &bytes].concat())?;
        feed(&[&[1, kind][..], &bytes].concat())?;
    }

    #[test]
    fn decoders_survive_changed_values(
        which in 0_usize..6,
        statement in any_statement(),
        entry in any_entry(),
        stored in any_stored(),
        record in any_record(),
        member in any_member(),
        mark in any_mark(),
        changes in vec(any_change(), 1..4),
    ) {
        let valid = match which {
            0 => statement.encode(),
            1 => entry.encode(),
            2 => stored.encode(),
            3 => wire::encode(&record),
            4 => wire::encode(&member),
            _ => wire::encode(&mark),
        };
        feed(&changed(&valid, &changes))?;
    }

    #[test]
    fn redis_is_hostile_a_changed_envelope_never_opens(record in any_record(), changes in vec(any_change(), 1..4)) {
        let (name, place) = (EntryName([9; 32]), (Incarnation([3; 16]), 4));
        let stored = record.seal(&sealer(), &name, place, 5, [6; 24]);
        let Content::Record { sealed, .. } = stored.content else { panic!("a record was sealed") };
        let altered = changed(&sealed, &changes);
        prop_assume!(altered != sealed);
        prop_assert!(Record::open(&sealer(), &name, place, 5, &altered).is_err());
    }
}

/// A list whose length promises `items` items, with nothing behind it.
fn promise(items: u64) -> Vec<u8> {
    wire::encode(&items)
}

#[test]
fn bounded_everything_a_promised_length_claims_no_memory() {
    // Were the promise believed, the larger ones would end the process.
    for items in [1, 1 << 16, 1 << 20, (1 << 20) + 1, 1 << 32, 1 << 40, 1 << 62, u64::MAX] {
        let length = promise(items);
        let record = [&[0][..], &length].concat();
        let value = [&[0, 0][..], &length].concat();
        let frame = [&[0; 16][..], &[0, 1, 2], &length].concat();
        assert_eq!(
            wire::decode::<Record>(&record),
            Err(WireError::Malformed),
            "{items} tags"
        );
        assert_eq!(
            wire::decode::<Record>(&value),
            Err(WireError::Malformed),
            "{items} bytes"
        );
        assert_eq!(
            wire::decode::<MemberRecord>(&length),
            Err(WireError::Malformed),
            "{items} characters"
        );
        let error = StatementError::Wire(WireError::Malformed);
        assert_eq!(Statement::decode(&frame), Err(error), "a body of {items} bytes");
    }
}

#[test]
fn bounded_everything_a_list_that_would_outgrow_the_limit_in_memory_is_refused() {
    // A tag without a position takes 17 bytes on the wire and several times as many in memory.
    let record = |tags: usize| Record {
        filled_at: 0,
        tags: vec![
            TagPosition {
                tag: ScopeId([0; 16]),
                applied: None,
            };
            tags
        ],
        value: Vec::new(),
    };
    let fits = DECODE_LIMIT / size_of::<TagPosition>() - 1;
    let decode = |tags: usize| wire::decode::<Record>(&wire::encode(&record(tags)));
    assert_eq!(decode(fits), Ok(record(fits)));
    let (too_many, bytes) = (fits + 2, wire::encode(&record(fits + 2)).len());
    assert!(bytes < DECODE_LIMIT, "short enough on the wire: {bytes}");
    assert_eq!(decode(too_many), Err(WireError::Malformed));
}

#[test]
fn bounded_everything_bytes_over_the_limit_are_not_looked_at() {
    assert_eq!(
        wire::decode::<Record>(&vec![0; DECODE_LIMIT + 1]),
        Err(WireError::TooLong)
    );
    let mut entry = any_golden_entry().encode();
    let at = entry.len() - 4 - 1;
    entry[at..at + 4].copy_from_slice(&(MAX_PAYLOAD as u32 + 1).to_be_bytes());
    assert_eq!(LogEntry::decode(&entry), Err(WireError::TooLong));
    entry[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(LogEntry::decode(&entry), Err(WireError::TooLong));
}

/// An entry with a payload of one byte.
fn any_golden_entry() -> LogEntry {
    LogEntry {
        channel: ChannelId::new(1).unwrap(),
        head: Head {
            incarnation: Incarnation([1; 16]),
            generation: 0,
            position: Position {
                id: StreamId::default(),
                nonce: Nonce([2; 16]),
            },
            previous: None,
            root: Digest::EMPTY,
        },
        payload: Payload::Statement(vec![7]),
    }
}

#[test]
fn a_statement_stands_only_where_it_belongs() {
    let malformed = Err(StatementError::Wire(WireError::Malformed));
    let drop = |channel: u8, counter| Statement {
        name: StatementName {
            origin: Origin([1; 16]),
            channel: ChannelId::new(channel).unwrap(),
            counter,
        },
        body: Body::Drop(EntryName([4; 32])),
    };
    assert!(Statement::decode(&drop(1, 1).encode()).is_ok());
    assert_eq!(
        Statement::decode(&drop(2, 1).encode()),
        malformed,
        "the name is of channel 1"
    );
    assert_eq!(
        Statement::decode(&drop(1, 0).encode()),
        malformed,
        "the counters of drops begin at 1"
    );

    let mark = |note: usize, expires| Statement {
        name: drop(1, 1).name,
        body: Body::Mark(Mark {
            key: MarkKey {
                scope: ScopeId([4; 16]),
                except: None,
            },
            kind: ScopeKind::Subject,
            not_before: 1,
            expires,
            note: Note {
                at: 0,
                by: "b".repeat(note),
                why: String::new(),
            },
        }),
    };
    assert!(Statement::decode(&mark(MAX_NOTE_BYTES, 3600).encode()).is_ok());
    assert_eq!(Statement::decode(&mark(MAX_NOTE_BYTES + 1, 3600).encode()), malformed);
    assert_eq!(Statement::decode(&mark(0, 3601).encode()), malformed, "not a full hour");

    let mut restated = mark(0, 3600);
    restated.name = StatementName::restatement(restated.name.origin, restated.name.channel);
    assert_eq!(
        Statement::decode(&restated.encode()),
        Ok(restated),
        "a mark may be said again without being counted"
    );

    let mut unknown = drop(1, 1).encode();
    // Origin, channel and counter are before it.
    unknown[18] = 9;
    assert_eq!(
        Statement::decode(&unknown),
        Err(StatementError::UnknownKind(9)),
        "told apart from garbage"
    );
}

#[test]
fn another_version_is_told_apart_from_garbage() {
    let mut entry = any_golden_entry().encode();
    entry[0] = 2;
    assert_eq!(LogEntry::decode(&entry), Err(WireError::Version(2)));
    assert_eq!(Stored::decode(&[2, 1, 0]), Err(WireError::Version(2)));
    let mut envelope = sealer().seal(Kind::Mark, &Context::new(), [0; 24], b"");
    assert_eq!(envelope.len(), ENVELOPE_OVERHEAD);
    assert_eq!(sealer().open(Kind::Mark, &Context::new(), &envelope), Ok(Vec::new()));
    envelope[0] = 2;
    assert_eq!(
        sealer().open(Kind::Mark, &Context::new(), &envelope),
        Err(OpenError::Version(2))
    );
}

proptest! {
    #[test]
    fn what_members_say_is_read_or_refused_whatever_it_is(bytes in vec(any::<u8>(), 0..400), kind in 0_u8..6) {
        use authmesh_proto::gossip::message::{Answer, Item, Request};
        let _ = (Request::decode(&bytes), Answer::decode(&bytes), Item::decode(&bytes));
        // With a version and a kind in front, so that more than the first byte is looked at.
        let mut bytes = bytes;
        bytes.splice(0..0, [1, kind]);
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        if let Ok(answer) = Answer::decode(&bytes) {
            prop_assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }
}
