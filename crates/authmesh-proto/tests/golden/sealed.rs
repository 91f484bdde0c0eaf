//! Vectors of keyed names, digests and sealed envelopes, made a second time from the primitives alone.

use authmesh_proto::crypto::{Context, Kind, Namer, ScopeKind, Sealer};
use authmesh_proto::ident::{ChannelId, Incarnation};
use authmesh_proto::keys::{KeySet, Ticket};
use authmesh_proto::marks::element_digest;
use authmesh_proto::record::{Content, Record, Stored};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::reader::Reader;
use super::{assert_bytes, hex, seq, values};

const NAMING: [u8; 32] = [0xa0; 32];
const SEALING: [u8; 32] = [0x0b; 32];

/// HMAC-SHA256 (RFC 2104).
fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// HKDF-SHA256 (RFC 5869), written out, for one block of output.
fn derive(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; 32] {
    mac(&mac(salt, &[secret]), &[info, &[1]])
}

/// The MAC of parts that are each preceded by their length in eight bytes.
fn keyed(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let framed: Vec<u8> = parts
        .iter()
        .flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat())
        .collect();
    mac(key, &[&framed])
}

fn name_key(label: &str) -> [u8; 32] {
    derive(
        b"authmesh/v1 names",
        &NAMING,
        format!("{label}\0{}", values::CLUSTER).as_bytes(),
    )
}

fn namer() -> Namer {
    Namer::new(&values::ring(), values::CLUSTER)
}

#[test]
fn an_entry_name() {
    let name = namer().entry("profiles", b"user:17").0;
    assert_bytes(
        &name,
        "e1f79c30e7439ec56a11c5e15d314136793a24fed74f4be2239faaf26992657a",
    );
    assert_eq!(name, keyed(&name_key("entry"), &[b"profiles", b"user:17"]));
}

#[test]
fn a_scope_name() {
    let scope = namer()
        .scope(ScopeKind::Subject, "https://login.example.com", b"alice")
        .0;
    assert_bytes(&scope, "0f7f7d71a5b85cee76b71f564f0c95f7");
    let full = keyed(&name_key("scope"), &[&[4], b"https://login.example.com", b"alice"]);
    assert_eq!(scope, full[..16]);
}

#[test]
fn channels_and_stripes_come_from_the_first_bits_of_a_name() {
    let slot = values::name().slot();
    assert_eq!((slot.channel.number(), slot.stripe), (0x0e >> 2, 0x0f >> 2));
    let slot = values::mark().key.scope.slot();
    assert_eq!((slot.channel.number(), slot.stripe), (0x14 >> 2, 0x15 >> 2));
}

#[test]
fn the_digest_of_a_mark() {
    let mut mark = values::mark();
    let key = name_key("digest");
    let digest = element_digest(&namer(), &mark).0;
    assert_bytes(&digest, "e752b62743980c22c7be3fc34a66b5b0");
    let times = [1_700_000_000_u64.to_be_bytes(), 1_700_002_800_u64.to_be_bytes()];
    let parts: [&[u8]; 6] = [&seq::<16>(0x14), &[1], &seq::<16>(0x90), &[3], &times[0], &times[1]];
    assert_eq!(digest, keyed(&key, &parts)[..16]);

    mark.key.except = None;
    let parts: [&[u8]; 6] = [&seq::<16>(0x14), &[0], &[0; 16], &[3], &times[0], &times[1]];
    assert_eq!(element_digest(&namer(), &mark).0, keyed(&key, &parts)[..16]);
}

/// A field of the associated data: label, length, bytes.
fn field(label: u8, bytes: &[u8]) -> Vec<u8> {
    [&[label][..], &(bytes.len() as u64).to_be_bytes(), bytes].concat()
}

/// Opens an envelope from its description. Returns the plaintext.
fn open(kind: u8, fields: &[Vec<u8>], envelope: &[u8]) -> Vec<u8> {
    let mut reader = Reader(envelope);
    assert_eq!(reader.array(), [1, kind], "version, kind");
    assert_eq!(
        reader.array::<8>(),
        keyed(&SEALING, &[b"authmesh key id"])[..8],
        "key ID"
    );
    let nonce = reader.array::<24>();
    let aad = [
        &envelope[..10],
        &(values::CLUSTER.len() as u64).to_be_bytes(),
        values::CLUSTER.as_bytes(),
        &fields.concat(),
    ]
    .concat();
    let subkey = derive(b"authmesh/v1 seal", &SEALING, &[kind]);
    let payload = Payload {
        msg: reader.0,
        aad: &aad,
    };
    XChaCha20Poly1305::new(&subkey.into())
        .decrypt(&XNonce::from(nonce), payload)
        .unwrap()
}

const STATEMENT: &str = "
    01016e86312a504fc647c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d756b4e1bddb1dea84e9c840b60b03
    150e0eaa6d3281f3a31b6e9b30fb7b11e5bd80f51e84dd5e9eefa8ce73dcce83b2ceb266ab069f1b1c4c95440f61206f
    f04dd6432a31
";

#[test]
fn a_sealed_statement() {
    let sealer = Sealer::new(&values::ring(), values::CLUSTER);
    let context = Context::new().channel(ChannelId::new(3).unwrap());
    let plain = values::drop_statement().encode();
    assert_bytes(&sealer.seal(Kind::Statement, &context, seq(0xc0), &plain), STATEMENT);
    let envelope = hex(STATEMENT);
    assert_eq!(sealer.open(Kind::Statement, &context, &envelope).as_ref(), Ok(&plain));
    assert_eq!(open(1, &[field(1, &[3])], &envelope), plain);
}

const RECORD: &str = "
    01036e86312a504fc647d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e73ab56127e93423b34f5a6ce84a29
    6a0d9bd65caa78e08862663bb5f91ea878a971958bf3ccc6b13c3a1db79d629c76b835b874a39a06a741e24fe3823ca4
    719256cbe0af8870e79950d82fb764b13211245c420c0c9361588be492a1f6cad768f706717f2d8fd9d0ead4
";

#[test]
fn a_sealed_record() {
    let sealer = Sealer::new(&values::ring(), values::CLUSTER);
    let (place, expires) = ((Incarnation(seq(0x40)), 3), 1_700_000_600);
    let stored = values::record().seal(&sealer, &values::name(), place, expires, seq(0xd0));
    let Content::Record { sealed, .. } = &stored.content else {
        panic!("a record was sealed")
    };
    assert_bytes(sealed, RECORD);
    let envelope = hex(RECORD);
    let opened = Record::open(&sealer, &values::name(), place, expires, &envelope);
    assert_eq!(opened, Ok(values::record()));

    let fields = [
        field(2, &seq::<32>(0x0e)),
        field(3, &seq::<16>(0x40)),
        field(4, &3_u64.to_be_bytes()),
        field(5, &1_700_000_600_u64.to_be_bytes()),
    ];
    assert_eq!(
        open(3, &fields, &envelope),
        authmesh_proto::wire::encode(&values::record())
    );
}

const KEY_SET: &str = "
    01056e86312a504fc647e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f793ce2044b02da57eb4714492ce02
    ed584284fd6967b58ef4b8c01cfbf548b8f2367dd75e6eeb9f73e4bc9859a235a2e8e6fd12a6d5168ddbd3f46e2b8a7b
";
const TICKET: &str = "
    01056e86312a504fc647f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff0001020304050607acac72f250b2c92b82b928b6a6ed
    ffdd61c03b9baea6199ba12d63b57d5bfa26aaa1c3ff
";

/// The envelope of a record, which stands in the clear beside its place and its expiry.
fn envelope(stored: &Stored) -> &[u8] {
    match &stored.content {
        Content::Record {
            expires: 1_700_000_600,
            sealed,
        } => sealed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sealed_key_set_and_its_ticket() {
    let sealer = Sealer::new(&values::ring(), values::CLUSTER);
    let (name, place, expires) = (values::name(), (Incarnation(seq(0x40)), 3), 1_700_000_600);
    let fields = [
        field(2, &seq::<32>(0x0e)),
        field(3, &seq::<16>(0x40)),
        field(4, &3_u64.to_be_bytes()),
        field(5, &1_700_000_600_u64.to_be_bytes()),
    ];

    let stored = values::key_set().seal(&sealer, &name, place, expires, seq(0xe0));
    assert_eq!((stored.incarnation, stored.generation), place);
    assert_bytes(envelope(&stored), KEY_SET);
    let bytes = hex(KEY_SET);
    assert_eq!(
        KeySet::open(&sealer, &name, place, expires, &bytes),
        Ok(values::key_set())
    );
    assert_eq!(
        open(5, &fields, &bytes),
        authmesh_proto::wire::encode(&values::key_set())
    );

    let stored = values::ticket().seal(&sealer, &name, place, expires, seq(0xf0));
    assert_bytes(envelope(&stored), TICKET);
    let bytes = hex(TICKET);
    assert_eq!(
        Ticket::open(&sealer, &name, place, expires, &bytes),
        Ok(values::ticket())
    );
    assert_eq!(
        open(5, &fields, &bytes),
        authmesh_proto::wire::encode(&values::ticket())
    );
}

#[test]
fn every_kind_and_every_field_of_the_associated_data() {
    let sealer = Sealer::new(&values::ring(), values::CLUSTER);
    let context = Context::new()
        .channel(ChannelId::new(63).unwrap())
        .entry(&values::name())
        .incarnation(Incarnation(seq(0x40)), 7)
        .expires(8)
        .policy(&seq(0x80))
        .name(b"a member");
    let fields = [
        field(1, &[63]),
        field(2, &seq::<32>(0x0e)),
        field(3, &seq::<16>(0x40)),
        field(4, &7_u64.to_be_bytes()),
        field(5, &8_u64.to_be_bytes()),
        field(6, &seq::<32>(0x80)),
        field(7, b"a member"),
    ];
    let kinds = [
        Kind::Statement,
        Kind::Mark,
        Kind::Record,
        Kind::Member,
        Kind::KeySet,
        Kind::Datagram,
    ];
    for (number, kind) in (1..).zip(kinds) {
        let envelope = sealer.seal(kind, &context, seq(number), b"plain");
        assert_eq!(open(number, &fields, &envelope), b"plain", "{kind:?}");
    }
}
