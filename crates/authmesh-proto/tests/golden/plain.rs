//! Vectors of what is encoded, before it is sealed or where it stands in the clear.

use authmesh_proto::crypto::ScopeKind;
use authmesh_proto::ident::{Incarnation, Nonce};
use authmesh_proto::log::{LogEntry, Payload};
use authmesh_proto::member::MemberRecord;
use authmesh_proto::record::{Content, Holder, Record, Stored};
use authmesh_proto::statement::{KINDS, Mark, Statement};
use authmesh_proto::wire;

use super::reader::Reader;
use super::{assert_bytes, hex, seq, values};

const DROP: &str = "
    707172737475767778797a7b7c7d7e7f03fa01200e0f101112131415161718191a1b1c1d1e1f20212223242526272829
    2a2b2c2d
";

#[test]
fn a_drop_statement() {
    assert_bytes(&values::drop_statement().encode(), DROP);
    let bytes = hex(DROP);
    assert_eq!(Statement::decode(&bytes), Ok(values::drop_statement()));

    let mut reader = Reader(&bytes);
    assert_eq!(reader.array(), seq::<16>(0x70), "origin");
    assert_eq!(reader.byte(), 3, "channel");
    assert_eq!(reader.varint(), 250, "counter");
    assert_eq!(reader.varint(), 1, "kind: drop");
    let mut body = Reader(reader.counted());
    assert_eq!(body.array(), seq::<32>(0x0e), "entry name");
    body.end();
    reader.end();
}

const MARK: &str = "
    707172737475767778797a7b7c7d7e7f05fd000000000001000002441415161718191a1b1c1d1e1f2021222301909192
    939495969798999a9b9c9d9e9f02fc00f15365fcf0fb5365fc01f15365026a6f0f6c6f73742070686f6e6520f09f93b1
";

#[test]
fn a_mark_statement() {
    assert_bytes(&values::mark_statement().encode(), MARK);
    let bytes = hex(MARK);
    assert_eq!(Statement::decode(&bytes), Ok(values::mark_statement()));

    let mut reader = Reader(&bytes);
    assert_eq!(reader.array(), seq::<16>(0x70), "origin");
    assert_eq!(reader.byte(), 5, "channel");
    assert_eq!(reader.varint(), 1 << 40, "counter");
    assert_eq!(reader.varint(), 2, "kind: mark");
    let body = reader.counted();
    assert_eq!(
        body,
        wire::encode(&values::mark()),
        "a table of marks holds the same bytes"
    );
    assert_eq!(wire::decode::<Mark>(body), Ok(values::mark()));
    reader.end();

    let mut body = Reader(body);
    assert_eq!(body.array(), seq::<16>(0x14), "scope");
    assert_eq!(body.option(Reader::array), Some(seq::<16>(0x90)), "exception");
    assert_eq!(body.varint(), 2, "kind of the scope: session");
    assert_eq!(body.varint(), 1_700_000_000, "not_before");
    assert_eq!(body.varint(), 1_700_002_800, "expires");
    assert_eq!(body.varint(), 1_700_000_001, "when");
    assert_eq!(body.text(), "jo", "who");
    assert_eq!(body.text(), "lost phone \u{1f4f1}", "why");
    body.end();
}

#[test]
fn kinds_are_numbers_that_never_change() {
    assert_eq!(KINDS, [1, 2, 3]);
    let scopes = [
        (ScopeKind::Token, 0),
        (ScopeKind::JwtId, 1),
        (ScopeKind::Session, 2),
        (ScopeKind::Subject, 3),
        (ScopeKind::Client, 4),
        (ScopeKind::SigningKey, 5),
        (ScopeKind::Issuer, 6),
        (ScopeKind::Tag, 7),
        (ScopeKind::KeySet, 8),
    ];
    for (n, (kind, number)) in scopes.into_iter().enumerate() {
        assert_eq!(wire::encode(&kind), [number], "{kind} in a mark");
        assert_eq!(kind as usize, n + 1, "{kind} in names and digests");
    }
}

const STATEMENT_ENTRY: &str = "
    013f01404142434445464748494a4b4c4d4e4f00000000000001020000018bcfe5680000000000000000022223242526
    2728292a2b2c2d2e2f3031010000018bcfe5680000000000000000012122232425262728292a2b2c2d2e2f3060616263
    6465666768696a6b6c6d6e6f000000067365616c6564
";
const BARE_ENTRY: &str = "
    013f02404142434445464748494a4b4c4d4e4f00000000000001020000018bcfe5680000000000000000022223242526
    2728292a2b2c2d2e2f3031010000018bcfe5680000000000000000012122232425262728292a2b2c2d2e2f3060616263
    6465666768696a6b6c6d6e6f00000000
";
const BARE_STATEMENT_ENTRY: &str = "
    013f02404142434445464748494a4b4c4d4e4f00000000000001020000018bcfe5680000000000000000022223242526
    2728292a2b2c2d2e2f3031010000018bcfe5680000000000000000012122232425262728292a2b2c2d2e2f3060616263
    6465666768696a6b6c6d6e6f000000067365616c6564
";
const MINT_ENTRY: &str = "
    013f03404142434445464748494a4b4c4d4e4f00000000000001020000018bcfe5680000000000000000022223242526
    2728292a2b2c2d2e2f303100000000000000000000000000000000000000000000000000000000000000000060616263
    6465666768696a6b6c6d6e6f00000000
";

#[test]
fn log_entries() {
    let statement = Payload::Statement(b"sealed".to_vec());
    let vectors = [
        (
            STATEMENT_ENTRY,
            values::entry(Some(values::position(1)), statement),
            1,
            &b"sealed"[..],
        ),
        (
            BARE_ENTRY,
            values::entry(Some(values::position(1)), Payload::Bare(Vec::new())),
            2,
            b"",
        ),
        (
            BARE_STATEMENT_ENTRY,
            values::entry(Some(values::position(1)), Payload::Bare(b"sealed".to_vec())),
            2,
            b"sealed",
        ),
        (MINT_ENTRY, values::entry(None, Payload::Mint), 3, b""),
    ];
    for (golden, entry, kind, payload) in vectors {
        assert_bytes(&entry.encode(), golden);
        let bytes = hex(golden);
        assert_eq!(LogEntry::decode(&bytes).as_ref(), Ok(&entry));

        let mut reader = Reader(&bytes);
        assert_eq!(reader.array(), [1, 63, kind], "version, channel, kind");
        assert_eq!(reader.array(), seq::<16>(0x40), "incarnation");
        assert_eq!(reader.big(), 0x0102, "generation");
        assert_eq!((reader.big(), reader.big()), (1_700_000_000_000, 2), "stream ID");
        assert_eq!(reader.array(), seq::<16>(0x22), "nonce");
        let previous = (reader.byte(), reader.big(), reader.big(), reader.array::<16>());
        match entry.head.previous {
            Some(_) => assert_eq!(previous, (1, 1_700_000_000_000, 1, seq(0x21)), "previous"),
            None => assert_eq!(previous, (0, 0, 0, [0; 16]), "no previous: all zeros"),
        }
        assert_eq!(reader.array(), seq::<16>(0x60), "root");
        let length = u32::from_be_bytes(reader.array()) as usize;
        assert_eq!(reader.bytes(length), payload);
        reader.end();
    }
}

const LEASE: &str = "
    0101404142434445464748494a4b4c4d4e4f0000000000000003202122232425262728292a2b2c2d2e2f
";
const STORED: &str = "
    0102404142434445464748494a4b4c4d4e4f0000000000000003000000006553f3587365616c6564
";

const HOLD: &str = "
    0103404142434445464748494a4b4c4d4e4f0000000000000003202122232425262728292a2b2c2d2e2f0000018bcfe56800
    303132333435363738393a3b3c3d3e3f0000018bcfe56801
";

#[test]
fn stored_values() {
    let stored = |content| Stored {
        incarnation: Incarnation(seq(0x40)),
        generation: 3,
        content,
    };
    let lease = stored(Content::Lease(Nonce(seq(0x20))));
    let record = stored(Content::Record {
        expires: 1_700_000_600,
        sealed: b"sealed".to_vec(),
    });
    let held = |nonce, until| Holder {
        nonce: Nonce(seq(nonce)),
        until,
    };
    let hold = stored(Content::Hold(vec![
        held(0x20, 1_700_000_000_000),
        held(0x30, 1_700_000_000_001),
    ]));
    for (golden, value, kind) in [(LEASE, &lease, 1), (STORED, &record, 2), (HOLD, &hold, 3)] {
        assert_bytes(&value.encode(), golden);
        let bytes = hex(golden);
        assert_eq!(Stored::decode(&bytes).as_ref(), Ok(value));

        let mut reader = Reader(&bytes);
        assert_eq!(reader.array(), [1, kind], "version, kind");
        assert_eq!(reader.array(), seq::<16>(0x40), "incarnation");
        assert_eq!(reader.big(), 3, "generation");
        if kind == 1 {
            assert_eq!(reader.array(), seq::<16>(0x20), "nonce");
            reader.end();
        } else if kind == 3 {
            for (nonce, until) in [(0x20, 1_700_000_000_000), (0x30, 1_700_000_000_001)] {
                assert_eq!(reader.array(), seq::<16>(nonce), "nonce");
                assert_eq!(reader.big(), until, "until");
            }
            reader.end();
        } else {
            assert_eq!(reader.big(), 1_700_000_600, "expires");
            assert_eq!(reader.0, b"sealed", "the envelope, up to the end");
        }
    }
}

const RECORD: &str = "
    fc02f1536502303132333435363738393a3b3c3d3e3f01404142434445464748494a4b4c4d4e4ffd0068e5cf8b010000
    012122232425262728292a2b2c2d2e2f30505152535455565758595a5b5c5d5e5f00077b2261223a317d
";

#[test]
fn a_record() {
    assert_bytes(&wire::encode(&values::record()), RECORD);
    let bytes = hex(RECORD);
    assert_eq!(wire::decode::<Record>(&bytes), Ok(values::record()));

    let mut reader = Reader(&bytes);
    assert_eq!(reader.varint(), 1_700_000_002, "when it was filled");
    let tags = reader.list(|reader| {
        let tag = reader.array::<16>();
        let applied = reader.option(|reader| {
            (
                reader.array::<16>(),
                reader.varint(),
                reader.varint(),
                reader.array::<16>(),
            )
        });
        (tag, applied)
    });
    let first = (seq(0x40), 1_700_000_000_000, 1, seq(0x21));
    assert_eq!(tags, [(seq(0x30), Some(first)), (seq(0x50), None)]);
    assert_eq!(reader.counted(), br#"{"a":1}"#, "the value");
    reader.end();
}

const MEMBER: &str = "
    096f72646572732d37660d31302e302e302e373a3739343605302e312e300101030102fbbc02fbfb00
    0d31302e302e302e373a373934370211111111111111112222222222222222
";

#[test]
fn a_member_record() {
    assert_bytes(&wire::encode(&values::member()), MEMBER);
    let bytes = hex(MEMBER);
    assert_eq!(wire::decode::<MemberRecord>(&bytes), Ok(values::member()));

    let mut reader = Reader(&bytes);
    assert_eq!(reader.text(), "orders-7f");
    assert_eq!(reader.text(), "10.0.0.7:7946");
    assert_eq!(reader.text(), "0.1.0");
    assert_eq!(reader.list(Reader::byte), [1], "wire versions");
    assert_eq!(reader.list(Reader::varint), [1, 2, 700], "statement kinds");
    assert_eq!(reader.varint(), 251, "sequence");
    assert_eq!(reader.text(), "10.0.0.7:7947", "gossip");
    assert_eq!(reader.list(Reader::array::<8>), [[0x11; 8], [0x22; 8]], "view");
    reader.end();
}

#[test]
fn numbers_of_every_length() {
    let lengths = [
        (0, "00"),
        (250, "fa"),
        (251, "fbfb00"),
        (0xffff, "fbffff"),
        (0x1_0000, "fc00000100"),
        (u64::from(u32::MAX), "fcffffffff"),
        (1 << 32, "fd0000000001000000"),
        (u64::MAX, "fdffffffffffffffff"),
    ];
    for (number, golden) in lengths {
        assert_bytes(&wire::encode::<u64>(&number), golden);
        let bytes = hex(golden);
        let mut reader = Reader(&bytes);
        assert_eq!(reader.varint(), number);
        reader.end();
    }
}
