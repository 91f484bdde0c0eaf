//! Vectors of what members say to each other.

use authmesh_proto::gossip::message::{
    Answer, Ask, Change, Counted, Item, Name, Peer, Request, Speaks, State, Tell, VoidId,
};
use authmesh_proto::ident::{Digest, Origin, ScopeId};
use authmesh_proto::statement::MarkKey;

use super::reader::Reader;
use super::{assert_bytes, hex, seq, values};

fn state() -> State {
    State {
        origin: Origin(seq(0x01)),
        version: 300,
        said: 7,
        yours: 9,
        knows_you: true,
        coherent: false,
        joined: true,
        view: 1 << 40,
        redis_age: Some(1000),
        evidence: vec![0, 17, 255],
        speaks: Speaks {
            versions: vec![1],
            kinds: vec![1, 2],
        },
    }
}

fn read_state(reader: &mut Reader<'_>) {
    assert_eq!(reader.array(), seq::<16>(0x01), "origin");
    assert_eq!(reader.varint(), 300, "version of its changes");
    assert_eq!(reader.varint(), 7, "statements said");
    assert_eq!(reader.varint(), 9, "statements of the asker applied");
    assert_eq!(
        (reader.byte(), reader.byte(), reader.byte()),
        (1, 0, 1),
        "knows the asker, coherent, joined"
    );
    assert_eq!(reader.varint(), 1 << 40, "digest of its view");
    assert_eq!(
        reader.option(Reader::varint),
        Some(1000),
        "age of its proof by Redis, in ms"
    );
    assert_eq!(reader.counted(), [0, 17, 255], "ages of its evidence");
    assert_eq!(reader.counted(), [1], "wire versions");
    assert_eq!(reader.list(Reader::varint), [1, 2], "statement kinds");
}

const ASK: &str = "
    0100050134707172737475767778797a7b7c7d7e7f03fa01200e0f101112131415161718191a1b1c1d1e1f2021222324
    25262728292a2b2c2d0103fa01
";

#[test]
fn a_question() {
    let ask = Request::Ask(Ask {
        since: 5,
        push: vec![values::drop_statement().encode()],
        confirm: vec![(3, 250)],
        evidence: true,
    });
    assert_bytes(&ask.encode(), ASK);
    let bytes = hex(ASK);
    assert_eq!(Request::decode(&bytes), Ok(ask));

    let mut reader = Reader(&bytes);
    assert_eq!((reader.byte(), reader.varint()), (1, 0), "version; ask");
    assert_eq!(reader.varint(), 5, "since");
    let pushed = reader.list(|reader| reader.counted().to_vec());
    assert_eq!(pushed, [values::drop_statement().encode()], "statements");
    assert_eq!(
        reader.list(|reader| (reader.byte(), reader.varint())),
        [(3, 250)],
        "to confirm"
    );
    assert_eq!(reader.byte(), 1, "wants evidence of others");
    reader.end();
}

const TELL: &str = "
    01000102030405060708090a0b0c0d0e0f10fb2c010709010001fd000000000001000001fbe803030011ff010102010201
    0300707172737475767778797a7b7c7d7e7f03fa01051f023f505152535455565758595a5b5c5d5e5f0102090801
";

#[test]
fn its_answer() {
    let name: Name = values::drop_statement().name.into();
    let tell = Answer::Tell(Tell {
        state: state(),
        changes: Some(vec![
            Change::Statement(name),
            Change::Marks { channel: 5, bucket: 31 },
            Change::Void {
                channel: 63,
                id: VoidId(seq(0x50)),
            },
        ]),
        statements: vec![vec![9, 8]],
        confirmed: 1,
    });
    assert_bytes(&tell.encode(), TELL);
    let bytes = hex(TELL);
    assert_eq!(Answer::decode(&bytes), Ok(tell));

    let mut reader = Reader(&bytes);
    assert_eq!((reader.byte(), reader.varint()), (1, 0), "version; answer to ask");
    read_state(&mut reader);
    assert_eq!((reader.byte(), reader.varint()), (1, 3), "three changes");
    assert_eq!(reader.varint(), 0, "a statement");
    assert_eq!(
        (reader.array(), reader.byte(), reader.varint()),
        (seq::<16>(0x70), 3, 250),
        "its name"
    );
    assert_eq!(
        (reader.varint(), reader.byte(), reader.byte()),
        (1, 5, 31),
        "marks: channel, bucket"
    );
    assert_eq!(
        (reader.varint(), reader.byte(), reader.array()),
        (2, 63, seq::<16>(0x50)),
        "a void: channel, name"
    );
    assert_eq!(reader.list(|reader| reader.counted().to_vec()), [[9, 8]], "statements");
    assert_eq!(reader.varint(), 1, "confirmed");
    reader.end();
}

const EVERYTHING: &str = "
    010201202122232425262728292a2b2c2d2e2f010409020bfb2c0101606162636465666768696a6b6c6d6e6f01707172
    737475767778797a7b7c7d7e7f03fa
";

#[test]
fn everything() {
    let request = Request::Everything {
        counters: vec![Counted {
            origin: Origin(seq(0x20)),
            channels: vec![(4, 9, vec![11, 300])],
        }],
        digests: vec![Digest(seq(0x60))],
        after: Some(values::drop_statement().name.into()),
    };
    assert_bytes(&request.encode(), EVERYTHING);
    let bytes = hex(EVERYTHING);
    assert_eq!(Request::decode(&bytes), Ok(request));

    let mut reader = Reader(&bytes);
    assert_eq!((reader.byte(), reader.varint()), (1, 2), "version; everything");
    assert_eq!(reader.varint(), 1, "one origin");
    assert_eq!(reader.array(), seq::<16>(0x20), "origin");
    let channels = reader.list(|reader| (reader.byte(), reader.varint(), reader.list(Reader::varint)));
    assert_eq!(
        channels,
        [(4, 9, vec![11, 300])],
        "channel, every one up to, those beyond"
    );
    assert_eq!(reader.list(Reader::array), [seq::<16>(0x60)], "digests");
    let behind = reader.option(|reader| (reader.array(), reader.byte(), reader.varint()));
    assert_eq!(behind, Some((seq::<16>(0x70), 3, 250)), "behind");
    reader.end();
}

const ALL_OF_IT: &str = "
    01020102030405060708090a0b0c0d0e0f10fb2c010709010001fd000000000001000001fbe803030011ff010102010200
    01010700010102013f
";

#[test]
fn everything_answered() {
    let answer = Answer::Everything {
        state: state(),
        counters: Vec::new(),
        statements: vec![vec![7]],
        next: None,
        differing: vec![(1, 2)],
        dirty: vec![63],
    };
    assert_bytes(&answer.encode(), ALL_OF_IT);
    let bytes = hex(ALL_OF_IT);
    assert_eq!(Answer::decode(&bytes), Ok(answer));

    let mut reader = Reader(&bytes);
    assert_eq!((reader.byte(), reader.varint()), (1, 2), "version; everything");
    read_state(&mut reader);
    assert_eq!(reader.varint(), 0, "counters");
    assert_eq!(reader.list(|reader| reader.counted().to_vec()), [[7]], "statements");
    assert_eq!(reader.byte(), 0, "no further page");
    assert_eq!(
        reader.list(|reader| (reader.byte(), reader.byte())),
        [(1, 2)],
        "buckets that differ"
    );
    assert_eq!(reader.counted(), [63], "dirty channels");
    reader.end();
}

const BUCKETS: &str = "
    010301051f606162636465666768696a6b6c6d6e6f011415161718191a1b1c1d1e1f2021222300
";

#[test]
fn buckets_and_their_marks() {
    let request = Request::Buckets {
        buckets: vec![(5, 31, Digest(seq(0x60)))],
        after: Some(MarkKey {
            scope: ScopeId(seq(0x14)),
            except: None,
        }),
    };
    assert_bytes(&request.encode(), BUCKETS);
    let bytes = hex(BUCKETS);
    assert_eq!(Request::decode(&bytes), Ok(request));
    let mut reader = Reader(&bytes);
    assert_eq!((reader.byte(), reader.varint()), (1, 3), "version; buckets");
    let buckets = reader.list(|reader| (reader.byte(), reader.byte(), reader.array()));
    assert_eq!(buckets, [(5, 31, seq::<16>(0x60))], "channel, bucket, digest");
    assert_eq!(
        (reader.byte(), reader.array(), reader.byte()),
        (1, seq::<16>(0x14), 0),
        "behind: scope, exception"
    );
    reader.end();

    let answer = Answer::Buckets {
        marks: vec![values::mark()],
        next: Some((1, None)),
    };
    let bytes = answer.encode();
    assert_eq!(Answer::decode(&bytes).as_ref(), Ok(&answer));
    assert_eq!(
        bytes[..3],
        [1, 3, 1],
        "version; buckets; one mark, packed as in a table"
    );
    assert_eq!(bytes[bytes.len() - 3..], [1, 1, 0], "next: one is done, no mark behind");
}

const VIEW: &str = "
    0104010102030405060708090a0b0c0d0e0f100d31302e302e302e313a37393436016101303132333435363738393a3b
    3c3d3e3f
";

#[test]
fn a_view() {
    assert_bytes(&Request::View.encode(), "0104");
    let changes = Request::Changes {
        since: 251,
        counters: Vec::new(),
    };
    assert_bytes(&changes.encode(), "0101fbfb0000");
    let answer = Answer::View {
        members: vec![Peer {
            origin: Origin(seq(0x01)),
            address: "10.0.0.1:7946".into(),
            name: "a".into(),
        }],
        gone: vec![Origin(seq(0x30))],
    };
    assert_bytes(&answer.encode(), VIEW);
    let bytes = hex(VIEW);
    assert_eq!(Answer::decode(&bytes), Ok(answer));

    let mut reader = Reader(&bytes);
    assert_eq!((reader.byte(), reader.varint()), (1, 4), "version; view");
    let members = reader.list(|reader| (reader.array(), reader.text().to_owned(), reader.text().to_owned()));
    assert_eq!(
        members,
        [(seq::<16>(0x01), "10.0.0.1:7946".to_owned(), "a".to_owned())],
        "origin, address, name"
    );
    assert_eq!(reader.list(Reader::array), [seq::<16>(0x30)], "gone");
    reader.end();
}

#[test]
fn a_broadcast_item() {
    let item = Item {
        statements: vec![vec![1, 2], vec![3]],
    };
    assert_bytes(&item.encode(), "0102020102 0103");
    assert_eq!(Item::decode(&hex("01020201020103")), Ok(item));
}
