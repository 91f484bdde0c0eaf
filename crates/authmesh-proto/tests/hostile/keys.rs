//! What nodes hand each other about signing keys.

use authmesh_proto::crypto::Kind;
use authmesh_proto::ident::{EntryName, Incarnation, Nonce, Origin, ScopeId};
use authmesh_proto::keys::{KeyAnswer, KeyQuestion, KeySet, MAX_DOCUMENT_BYTES, MAX_KID_BYTES, Ticket};
use authmesh_proto::record::{Content, Record};
use authmesh_proto::wire::{self, WireError};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{any_change, changed, promise, sealer};

const PLACE: (Incarnation, u64) = (Incarnation([3; 16]), 4);
const NAME: EntryName = EntryName([9; 32]);

fn any_set() -> impl Strategy<Value = KeySet> {
    (
        any::<(u64, u64, Option<u32>)>(),
        option::of("\\PC{0,60}"),
        any::<[u8; 16]>(),
        vec(any::<u8>(), 0..600),
    )
        .prop_map(|((generation, asked, max_age), etag, by, document)| KeySet {
            generation,
            asked,
            max_age,
            etag,
            by: Origin(by),
            document,
        })
}

fn any_ticket() -> impl Strategy<Value = Ticket> {
    any::<([u8; 16], Option<u32>)>().prop_map(|(lease, failed)| Ticket {
        lease: Nonce(lease),
        failed,
    })
}

fn any_question() -> impl Strategy<Value = KeyQuestion> {
    let numbers = any::<([u8; 16], u64, u64, u64, bool)>();
    (numbers, option::of("\\PC{0,60}")).prop_map(|((issuer, have, asked, generation, afresh), kid)| KeyQuestion {
        issuer: ScopeId(issuer),
        have: (have, asked),
        generation,
        kid,
        afresh,
    })
}

fn any_answer() -> impl Strategy<Value = KeyAnswer> {
    prop_oneof![
        (any_set(), any::<bool>()).prop_map(|(set, proof)| KeyAnswer::Set { set, proof }),
        any::<u32>().prop_map(KeyAnswer::NotNow),
        Just(KeyAnswer::Nothing),
    ]
}

fn sealed(stored: authmesh_proto::record::Stored) -> Vec<u8> {
    let Content::Record { sealed, .. } = stored.content else {
        panic!("a record was sealed")
    };
    sealed
}

/// Every decoder on the same bytes. What one accepts must be a value that its encoder writes and it reads again.
fn feed(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(question) = KeyQuestion::decode(bytes) {
        prop_assert_eq!(KeyQuestion::decode(&question.encode()), Ok(question));
        prop_assert!(KeyQuestion::is_one(bytes));
    }
    if let Ok(answer) = KeyAnswer::decode(bytes) {
        prop_assert_eq!(KeyAnswer::decode(&answer.encode()), Ok(answer));
    }
    if let Ok(set) = wire::decode::<KeySet>(bytes) {
        prop_assert_eq!(wire::decode(&wire::encode(&set)), Ok(set));
    }
    if let Ok(ticket) = wire::decode::<Ticket>(bytes) {
        prop_assert_eq!(wire::decode(&wire::encode(&ticket)), Ok(ticket));
    }
    prop_assert!(KeySet::open(&sealer(), &NAME, PLACE, 5, bytes).is_err());
    prop_assert!(Ticket::open(&sealer(), &NAME, PLACE, 5, bytes).is_err());
    Ok(())
}

proptest! {
    #[test]
    fn key_sets_and_tickets_round_trip_sealed(set in any_set(), ticket in any_ticket(), nonce in any::<[u8; 24]>()) {
        let bytes = sealed(set.seal(&sealer(), &NAME, PLACE, 5, nonce));
        prop_assert_eq!(KeySet::open(&sealer(), &NAME, PLACE, 5, &bytes), Ok(set));
        let bytes = sealed(ticket.seal(&sealer(), &NAME, PLACE, 5, nonce));
        prop_assert_eq!(Ticket::open(&sealer(), &NAME, PLACE, 5, &bytes), Ok(ticket));
    }

    #[test]
    fn questions_and_answers_about_keys_round_trip(question in any_question(), answer in any_answer()) {
        prop_assert_eq!(KeyQuestion::decode(&question.encode()), Ok(question));
        prop_assert_eq!(KeyAnswer::decode(&answer.encode()), Ok(answer));
    }

    #[test]
    fn decoders_of_keys_survive_any_bytes(bytes in vec(any::<u8>(), 0..1_500)) {
        feed(&bytes)?;
        // Past the version and the mark, where random bytes never come.
        feed(&[&[1, 0xff, 0xff][..], &bytes].concat())?;
    }

    #[test]
    fn decoders_of_keys_survive_changed_values(
        which in 0_usize..4,
        set in any_set(),
        ticket in any_ticket(),
        question in any_question(),
        answer in any_answer(),
        changes in vec(any_change(), 1..4),
    ) {
        let valid = match which {
            0 => wire::encode(&set),
            1 => wire::encode(&ticket),
            2 => question.encode(),
            _ => answer.encode(),
        };
        feed(&changed(&valid, &changes))?;
    }

    #[test]
    fn redis_is_hostile_a_key_set_that_was_changed_or_moved_never_opens(
        set in any_set(),
        changes in vec(any_change(), 1..4),
        (name, incarnation, generation, expires) in any::<([u8; 32], [u8; 16], u64, u64)>(),
    ) {
        let bytes = sealed(set.seal(&sealer(), &NAME, PLACE, 5, [6; 24]));
        let open = |name, place, expires, bytes: &[u8]| KeySet::open(&sealer(), &name, place, expires, bytes);
        let altered = changed(&bytes, &changes);
        prop_assert!(altered == bytes || open(NAME, PLACE, 5, &altered).is_err());
        prop_assert!(open(EntryName(name), PLACE, 5, &bytes).is_err());
        prop_assert!(open(NAME, (Incarnation(incarnation), 4), 5, &bytes).is_err());
        prop_assert!(generation == 4 || open(NAME, (PLACE.0, generation), 5, &bytes).is_err());
        prop_assert!(expires == 5 || open(NAME, PLACE, expires, &bytes).is_err());
    }
}

fn set() -> KeySet {
    KeySet {
        generation: 1,
        asked: 2,
        max_age: None,
        etag: None,
        by: Origin([1; 16]),
        document: Vec::new(),
    }
}

fn answer(set: KeySet) -> Vec<u8> {
    KeyAnswer::Set { set, proof: false }.encode()
}

#[test]
fn bounded_everything_a_key_set_has_a_longest_document_and_entity_tag() {
    let with = |document: usize, etag: usize| KeySet {
        document: vec![b' '; document],
        etag: Some("e".repeat(etag)),
        ..set()
    };
    assert!(KeyAnswer::decode(&answer(with(MAX_DOCUMENT_BYTES, 256))).is_ok());
    for long in [with(MAX_DOCUMENT_BYTES + 1, 1), with(1, 257)] {
        assert_eq!(KeyAnswer::decode(&answer(long.clone())), Err(WireError::Malformed));
        let bytes = sealed(long.seal(&sealer(), &NAME, PLACE, 5, [6; 24]));
        assert!(KeySet::open(&sealer(), &NAME, PLACE, 5, &bytes).is_err());
    }
}

#[test]
fn bounded_everything_a_kid_that_is_asked_for_has_a_longest_one() {
    let asking = |kid: usize| KeyQuestion {
        issuer: ScopeId([0; 16]),
        have: (0, 0),
        generation: 0,
        kid: Some("k".repeat(kid)),
        afresh: false,
    };
    assert!(KeyQuestion::decode(&asking(MAX_KID_BYTES).encode()).is_ok());
    let long = asking(MAX_KID_BYTES + 1).encode();
    assert_eq!(KeyQuestion::decode(&long), Err(WireError::Malformed));
}

#[test]
fn bounded_everything_a_promised_document_claims_no_memory() {
    for items in [1, 1 << 20, (1 << 20) + 1, 1 << 40, u64::MAX] {
        let mut bytes = answer(set());
        // The length of the document, and whether there is a proof.
        bytes.truncate(bytes.len() - 2);
        bytes.append(&mut promise(items));
        assert_eq!(KeyAnswer::decode(&bytes), Err(WireError::Malformed), "{items} bytes");
    }
}

#[test]
fn a_record_of_another_kind_is_no_key_set_and_no_key_set_is_a_record() {
    let record = Record {
        filled_at: 1,
        tags: Vec::new(),
        value: Vec::new(),
    };
    let bytes = sealed(record.seal(&sealer(), &NAME, PLACE, 5, [6; 24]));
    assert!(KeySet::open(&sealer(), &NAME, PLACE, 5, &bytes).is_err());
    let bytes = sealed(set().seal(&sealer(), &NAME, PLACE, 5, [6; 24]));
    assert!(Record::open(&sealer(), &NAME, PLACE, 5, &bytes).is_err());
    // Nor by saying so: the kind is bound into the seal.
    let mut renamed = bytes.clone();
    renamed[1] = Kind::Record as u8;
    assert!(Record::open(&sealer(), &NAME, PLACE, 5, &renamed).is_err());
}
