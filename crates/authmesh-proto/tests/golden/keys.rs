//! Vectors of what nodes hand each other about signing keys.

use authmesh_proto::ident::{Origin, ScopeId};
use authmesh_proto::keys::{KeyAnswer, KeyQuestion, KeySet, Ticket};
use authmesh_proto::statement::{KIND_KEY_SET, Mark, Statement};
use authmesh_proto::wire::{self, WireError};

use super::reader::Reader;
use super::{assert_bytes, hex, seq, values};

const KEY_SET: &str = "
    fb2c01fc02f1536501fb5802010422763722707172737475767778797a7b7c7d7e7f0b7b226b657973223a5b5d7d
";

fn read_set(reader: &mut Reader<'_>) {
    assert_eq!(reader.varint(), 300, "generation");
    assert_eq!(reader.varint(), 1_700_000_002, "when the issuer was asked");
    assert_eq!(reader.option(Reader::varint), Some(600), "max-age, in seconds");
    let etag = reader.option(|reader| reader.text().to_owned());
    assert_eq!(etag.as_deref(), Some("\"v7\""), "entity tag");
    assert_eq!(reader.array(), seq::<16>(0x70), "who asked");
    assert_eq!(reader.counted(), br#"{"keys":[]}"#, "document");
}

#[test]
fn a_key_set() {
    assert_bytes(&wire::encode(&values::key_set()), KEY_SET);
    let bytes = hex(KEY_SET);
    assert_eq!(wire::decode::<KeySet>(&bytes), Ok(values::key_set()));
    let mut reader = Reader(&bytes);
    read_set(&mut reader);
    reader.end();
}

#[test]
fn tickets() {
    let failed = "202122232425262728292a2b2c2d2e2f 01 fbdc05";
    assert_bytes(&wire::encode(&values::ticket()), failed);
    let bytes = hex(failed);
    assert_eq!(wire::decode::<Ticket>(&bytes), Ok(values::ticket()));
    let mut reader = Reader(&bytes);
    assert_eq!(reader.array(), seq::<16>(0x20), "the lease of the fetch");
    assert_eq!(
        reader.option(Reader::varint),
        Some(1_500),
        "it failed: not again for so many ms"
    );
    reader.end();

    let good = Ticket {
        failed: None,
        ..values::ticket()
    };
    assert_bytes(&wire::encode(&good), "202122232425262728292a2b2c2d2e2f 00");
}

const QUESTION: &str = "
    01ffff18191a1b1c1d1e1f2021222324252627fb2b01fc00f15365fb2c010107323032362d313101
";

#[test]
fn a_question_about_keys() {
    let question = KeyQuestion {
        issuer: ScopeId(seq(0x18)),
        have: (299, 1_700_000_000),
        generation: 300,
        kid: Some("2026-11".into()),
        afresh: true,
    };
    assert_bytes(&question.encode(), QUESTION);
    let bytes = hex(QUESTION);
    assert!(KeyQuestion::is_one(&bytes));
    assert_eq!(KeyQuestion::decode(&bytes), Ok(question));

    let mut reader = Reader(&bytes);
    assert_eq!(
        reader.array(),
        [1, 0xff, 0xff],
        "version; two bytes that begin no other request"
    );
    assert_eq!(reader.array(), seq::<16>(0x18), "the scope of the issuer's key sets");
    assert_eq!(
        (reader.varint(), reader.varint()),
        (299, 1_700_000_000),
        "what the asker has"
    );
    assert_eq!(reader.varint(), 300, "the least generation");
    let kid = reader.option(|reader| reader.text().to_owned());
    assert_eq!(kid.as_deref(), Some("2026-11"));
    assert_eq!(reader.byte(), 1, "asked for after the question");
    reader.end();
}

#[test]
fn what_is_asked_by_others_is_no_question_about_keys() {
    for request in [&[][..], &[1], &[1, 0xff], &[1, 0xff, 0], &[1, 0, 0xff]] {
        assert!(!KeyQuestion::is_one(request), "{request:?}");
        assert!(KeyQuestion::decode(request).is_err(), "{request:?}");
    }
    assert_eq!(KeyQuestion::decode(&[2, 0xff, 0xff]), Err(WireError::Version(2)));
    assert_eq!(KeyAnswer::decode(&[2, 0xff, 0xff]), Err(WireError::Version(2)));
}

#[test]
fn answers_about_keys() {
    let answer = KeyAnswer::Set {
        set: values::key_set(),
        proof: true,
    };
    let bytes = answer.encode();
    assert_bytes(&bytes, &["01ffff 00", KEY_SET, "01"].concat());
    assert_eq!(KeyAnswer::decode(&bytes), Ok(answer));
    let mut reader = Reader(&bytes);
    assert_eq!(reader.array(), [1, 0xff, 0xff], "version; as the question");
    assert_eq!(reader.varint(), 0, "a set");
    read_set(&mut reader);
    assert_eq!(reader.byte(), 1, "the issuer was asked after the question came");
    reader.end();

    assert_bytes(&KeyAnswer::NotNow(1_500).encode(), "01ffff 01 fbdc05");
    assert_eq!(KeyAnswer::decode(&hex("01ffff01fbdc05")), Ok(KeyAnswer::NotNow(1_500)));
    assert_bytes(&KeyAnswer::Nothing.encode(), "01ffff 02");
    assert_eq!(KeyAnswer::decode(&hex("01ffff02")), Ok(KeyAnswer::Nothing));
}

const STATEMENT: &str = "
    707172737475767778797a7b7c7d7e7f0607032118191a1b1c1d1e1f20212223242526270008fb2c01fcf0fb5365fc01
    f153650000
";

#[test]
fn a_statement_of_a_generation() {
    assert_bytes(&values::key_set_statement().encode(), STATEMENT);
    let bytes = hex(STATEMENT);
    let statement = Statement::decode(&bytes).unwrap();
    assert_eq!(statement, values::key_set_statement());
    assert_eq!(statement.body.kind(), KIND_KEY_SET);

    let mut reader = Reader(&bytes);
    assert_eq!(Origin(reader.array()), Origin(seq(0x70)), "origin");
    assert_eq!(reader.byte(), 6, "channel");
    assert_eq!(reader.varint(), 7, "counter");
    assert_eq!(reader.varint(), 3, "kind: mark of a key set");
    let body = reader.counted();
    reader.end();
    assert_eq!(wire::decode::<Mark>(body), Ok(values::key_set_mark()));

    let mut body = Reader(body);
    assert_eq!(body.array(), seq::<16>(0x18), "scope");
    assert_eq!(body.byte(), 0, "no exception");
    assert_eq!(body.varint(), 8, "kind of the scope: key set");
    assert_eq!(body.varint(), 300, "the generation, where other marks have a time");
    assert_eq!(body.varint(), 1_700_002_800, "expires");
    assert_eq!(body.varint(), 1_700_000_001, "when");
    assert_eq!((body.text(), body.text()), ("", ""), "by nobody in particular");
    body.end();
}

#[test]
fn a_generation_goes_under_its_own_kind_and_under_no_other() {
    // The kind is the byte behind origin, channel and counter.
    for (golden, at) in [(values::key_set_statement(), 18), (values::mark_statement(), 26)] {
        let mut bytes = golden.encode();
        assert!(matches!(bytes[at], 2 | 3), "{bytes:?}");
        bytes[at] ^= 1;
        assert!(Statement::decode(&bytes).is_err());
    }
}
